import mqttPacket, { type Packet } from 'mqtt-packet'
import type { Clock } from '../host.ts'
import { varintLength } from './bytes.ts'
import type { Message } from './message.ts'
import type { Output } from './output.ts'
import type { ConnectPacket, Version } from './packets.ts'
import { Reason } from './reason.ts'
import type { QoS, Topic } from './topic.ts'

mqttPacket.writeToStream.cacheNumbers = false

/** Writes packets for one client: in its version, within the size that it accepts, with aliases if it takes them. */
export class Sender {
  readonly output: Output
  readonly #clock: Clock
  readonly #unsentBytes: number
  #version: Version = 4
  #explains = true
  /** The client asked for problem information in so many words: acknowledgements name the class of durability. */
  #tellsDurability = false
  #maximumPacketBytes = Infinity
  #aliases: Map<Topic, number> | undefined = undefined
  #aliasMaximum = 0

  /** `unsentBytes`: what may wait for the client's socket before it counts as congested. */
  constructor(output: Output, clock: Clock, unsentBytes: number) {
    this.output = output
    this.#clock = clock
    this.#unsentBytes = unsentBytes
  }

  /** Speaks this version from now on; known before CONNECT is decoded, so that a refusal can be told. */
  speak(version: Version): void {
    this.#version = version
  }

  /** Takes over what CONNECT asked for. `aliases`: how many topics we give an alias at most. */
  configure(packet: ConnectPacket, aliases: number): void {
    this.#version = packet.version
    this.#explains = packet.wantsProblemInformation
    this.#tellsDurability = packet.asksForProblemInformation
    this.#maximumPacketBytes = packet.maximumPacketBytes
    this.#aliasMaximum = Math.min(packet.topicAliasMaximum, aliases)
  }

  /** Bytes wait here that the client's socket does not take: QoS 1 and 2 wait, QoS 0 is dropped. */
  get congested(): boolean {
    return this.output.isBehind(this.#unsentBytes)
  }

  /**
   * Sends a PUBLISH.
   * @param packetId 0 for QoS 0
   * @returns false when it is larger than the client accepts [MQTT-3.1.2-25]; nothing was sent then
   */
  send(
    message: Message,
    qos: QoS,
    retain: boolean,
    dup: boolean,
    packetId: number,
    subscriptionIds: readonly number[] | undefined,
  ): boolean {
    const v5 = this.#version === 5
    if (
      message.frameStart >= 0 &&
      message.qos === qos &&
      v5 === (message.version === 5) &&
      !retain &&
      !dup &&
      subscriptionIds === undefined &&
      this.#aliasMaximum === 0
    ) {
      if (message.frameEnd - message.frameStart > this.#maximumPacketBytes) return false
      if (qos === 0) this.output.forward(message)
      else this.output.forwardAs(message, packetId)
      return true
    }
    const header = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
    if (!v5) {
      this.output.publish(message, header, packetId, -1, 0, -1, undefined)
      return true
    }
    const expirySeconds = message.expiresAtMs === Infinity ? -1 : message.expirySecondsLeft(this.#clock.now())
    let properties = (expirySeconds >= 0 ? 5 : 0) + (message.properties?.length ?? 0)
    if (subscriptionIds) for (const id of subscriptionIds) properties += 1 + varintLength(id)
    const content = 2 + message.topic.wire.length + (packetId ? 2 : 0) + message.payloadLength
    if (this.#packetBytes(content, properties) > this.#maximumPacketBytes) return false
    // An alias is left out where setting it would make the packet too large.
    const aliased = this.#aliasMaximum > 0 && this.#packetBytes(content, properties + 3) <= this.#maximumPacketBytes
    const alias = aliased ? this.#alias(message.topic) : 0
    if (alias !== 0) properties += 3
    this.output.publish(message, header, packetId, properties, alias, expirySeconds, subscriptionIds)
    return true
  }

  #packetBytes(content: number, properties: number): number {
    const remaining = content + varintLength(properties) + properties
    return 1 + varintLength(remaining) + remaining
  }

  /** The alias of a topic: negative when this PUBLISH sets it, 0 when all are taken. */
  #alias(topic: Topic): number {
    const aliases = (this.#aliases ??= new Map<Topic, number>())
    const alias = aliases.get(topic)
    if (alias !== undefined) return alias
    if (aliases.size >= this.#aliasMaximum) return 0
    aliases.set(topic, aliases.size + 1)
    return -aliases.size
  }

  pubrel(packetId: number, reason: number = Reason.success): void {
    this.ack(0x62, packetId, reason)
  }

  /**
   * PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70). `why` goes along if the client wants to know, and so
   * does what was done before a PUBACK or PUBREC left, if it asked.
   */
  ack(first: 0x40 | 0x50 | 0x62 | 0x70, packetId: number, reason: number, why?: string, durability?: string): void {
    if (this.#tellsDurability && durability !== undefined) {
      const properties = { userProperties: { durability } }
      const packet = { cmd: ackNames[first], messageId: packetId, reasonCode: reason, properties } as Packet
      if (this.packet(packet)) return
    }
    if (reason === 0 || this.#version !== 5) return this.output.short(first, packetId)
    if (why === undefined || !this.#explains)
      return this.output.frame(Uint8Array.of(first, 3, packetId >> 8, packetId & 0xff, reason))
    this.packet({ cmd: ackNames[first], messageId: packetId, reasonCode: reason, properties: { reasonString: why } })
  }

  /**
   * Sends any other packet, encoded by mqtt-packet. A reason string is left out when the client does not want it
   * [MQTT-3.1.2-29] or it does not fit [MQTT-3.2.2-19].
   * @returns false when the packet is larger than the client accepts even so; nothing was sent then
   */
  packet(packet: Packet): boolean {
    const options = { protocolVersion: this.#version }
    const { properties } = packet as { properties?: { reasonString?: string } }
    if (properties?.reasonString !== undefined) {
      if (this.#explains || packet.cmd === 'connack' || packet.cmd === 'disconnect') {
        const frame = mqttPacket.generate(packet, options)
        if (frame.length <= this.#maximumPacketBytes) {
          this.output.frame(frame)
          return true
        }
      }
      delete properties.reasonString
    }
    const frame = mqttPacket.generate(packet, options)
    if (frame.length > this.#maximumPacketBytes) return false
    this.output.frame(frame)
    return true
  }
}

const ackNames = { 0x40: 'puback', 0x50: 'pubrec', 0x62: 'pubrel', 0x70: 'pubcomp' } as const
