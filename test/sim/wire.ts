import mqttPacket, { type Packet, type Parser } from 'mqtt-packet'
import type { Stamp } from './lane.ts'
import type { Link, Peer } from './link.ts'

/** Any packet, as mqtt-packet reads it. */
export interface Received {
  readonly cmd: Packet['cmd']
  readonly length: number
  readonly messageId: number
  readonly reasonCode?: number
  readonly returnCode?: number
  readonly sessionPresent?: boolean
  readonly granted?: readonly number[]
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly dup: boolean
  readonly properties?: Record<string, unknown>
}

export type AckKind = 'puback' | 'pubrec' | 'pubcomp' | 'suback' | 'unsuback'

/** Who acts on what comes over a wire. */
export interface WireEars {
  packet(wire: Wire, packet: Received): void
  closed(wire: Wire): void
  blame(rule: string, what: string): never
}

/**
 * A client's end of one connection: packets in, packets out, by mqtt-packet, so that the broker's codec is not its own
 * judge. It holds the broker to the order of its acknowledgements [MQTT-4.6.0-2 to -4].
 */
export class Wire implements Peer {
  /** The broker has said CONNACK. */
  accepted = false
  /** The client has nothing more to do with it. */
  deaf = false
  isClosed = false
  link!: Link
  /** Topic aliases that the broker takes, and those that have been set. */
  aliasMaximum = 0
  readonly aliases = new Map<string, number>()
  readonly #version: 3 | 4 | 5
  readonly #ears: WireEars
  readonly #parser: Parser
  readonly #owed: string[] = []
  #offset = 0
  #packetOffset = 0

  constructor(version: 3 | 4 | 5, ears: WireEars) {
    this.#version = version
    this.#ears = ears
    this.#parser = mqttPacket.parser({ protocolVersion: version })
    this.#parser.on('packet', (packet) => this.#packet(packet as unknown as Received))
    this.#parser.on('error', (fault: Error) =>
      this.#ears.blame('codec', `mqtt-packet cannot read it: ${fault.message}`),
    )
  }

  send(packet: Packet): void {
    if (this.deaf) return
    this.link.send(mqttPacket.generate(packet, { protocolVersion: this.#version }))
  }

  /** The broker now owes this acknowledgement. */
  owes(kind: AckKind, packetId: number): void {
    this.#owed.push(`${kind} ${packetId}`)
  }

  /** What was true when the packet at hand left the broker. */
  get stamp(): Stamp {
    return this.link.stampOf(this.#packetOffset)
  }

  data(chunk: Buffer): void {
    if (!this.deaf) this.#parser.parse(chunk)
  }

  closed(): void {
    this.isClosed = true
    this.#ears.closed(this)
  }

  #packet(packet: Received): void {
    if (this.deaf) return
    this.#packetOffset = this.#offset
    this.#offset += 1 + lengthOfLength(packet.length) + packet.length
    const { cmd, messageId } = packet
    if (!this.accepted && cmd !== 'connack') this.#ears.blame('MQTT-3.2.0-1', `${cmd} came before CONNACK`)
    if (cmd === 'puback' || cmd === 'pubrec' || cmd === 'pubcomp' || cmd === 'suback' || cmd === 'unsuback') {
      const owed = this.#owed.shift()
      if (owed !== `${cmd} ${messageId}`)
        this.#ears.blame('acks in order', `${cmd} ${messageId} came; ${owed ?? 'nothing'} was owed`)
    }
    this.#ears.packet(this, packet)
  }
}

function lengthOfLength(length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : 4
}
