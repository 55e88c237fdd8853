import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import { Broker } from '../../src/broker/broker.ts'
import type { BrokerOptions } from '../../src/broker/options.ts'
import { defaultLimits, type Limits } from '../../src/broker/limits.ts'
import { alone } from '../../src/cluster/alone.ts'
import type { Stream } from '../../src/host.ts'
import type { Connection } from '../../src/mqtt/connection.ts'
import type { Session } from '../../src/sessions/session.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { connectPacket } from './raw.ts'

/** A broker whose time and turns go on when a test says so, and whose clients are held in its hand: no sockets. */
export class HandBroker {
  readonly broker: Broker
  readonly log: { readonly fields: Record<string, unknown>; readonly message: string }[] = []
  nowMs = 0
  #tick = () => {}
  #turns: (() => void)[] = []

  constructor({ limits, ...options }: Partial<Omit<BrokerOptions, 'limits'>> & { limits?: Partial<Limits> } = {}) {
    const line = (fields: object, message: string) => void this.log.push({ fields: { ...fields }, message })
    this.broker = new Broker({
      host: {
        clock: {
          now: () => this.nowMs,
          wall: () => this.nowMs,
          every: (_, tick) => {
            this.#tick = tick
            return () => (this.#tick = () => {})
          },
          endOfTurn: (run) => this.later(run),
        },
        random: { bytes: (count) => new Uint8Array(count), below: () => 1 },
        log: { debug() {}, info: line, warn: line, error: line },
      },
      store: new MemoryStore(),
      cluster: alone,
      hooks: {},
      observer: {},
      version: 'test',
      heapBytes: () => 0,
      ...options,
      limits: { ...defaultLimits, sysSeconds: 0, ...limits },
    })
  }

  /** Time passes, tick by tick. */
  pass(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end;) {
      this.nowMs = Math.min(end, this.nowMs + 100)
      this.#tick()
      this.turn()
    }
  }

  /** Time passes and the process does not run: one tick when it goes on. */
  stop(ms: number): void {
    this.nowMs += ms
    this.#tick()
    this.turn()
  }

  /** Runs something in the next turn. */
  later(run: () => void): void {
    this.#turns.push(run)
  }

  /** The turn ends, and those that follow from it. */
  turn(): void {
    while (this.#turns.length > 0) for (const run of this.#turns.splice(0)) run()
  }

  /** Opens a stream and says nothing. */
  open(version: 3 | 4 | 5 = 5): HandClient {
    return new HandClient(this, version)
  }

  /** A client that was welcomed. */
  client(clientId: string, connect: Partial<IConnectPacket> = {}, version: 3 | 4 | 5 = 5): HandClient {
    const client = this.open(version)
    client.send(connectPacket(version, { clientId, ...connect }))
    const [connack] = client.taken() as { cmd: string; returnCode?: number; reasonCode?: number }[]
    if (connack?.cmd !== 'connack' || (connack.reasonCode ?? connack.returnCode) !== 0)
      throw new Error(`CONNECT was refused: ${JSON.stringify(connack)}`)
    return client
  }
}

export class HandClient {
  readonly connection: Connection<Session>
  /** It takes what is sent to it. */
  reads = true
  /** Its socket is not read. */
  paused = false
  closed = false
  /** Bytes that were sent to it. */
  sentBytes = 0
  readonly #hand: HandBroker
  readonly #version: 3 | 4 | 5
  readonly #unread: (() => void)[] = []
  #bytes: Uint8Array[] = []

  constructor(hand: HandBroker, version: 3 | 4 | 5) {
    this.#hand = hand
    this.#version = version
    const close = () => {
      if (this.closed) return
      this.closed = true
      this.connection.closed()
    }
    const stream: Stream = {
      remote: '192.0.2.1:1',
      write: (bytes, written) => {
        this.sentBytes += bytes.length
        this.#bytes.push(Uint8Array.from(bytes))
        if (this.reads) hand.later(written)
        else this.#unread.push(written)
      },
      pause: (paused) => (this.paused = paused),
      end: close,
      destroy: close,
    }
    this.connection = hand.broker.accept(stream)
  }

  send(...packets: Packet[]): this {
    return this.bytes(
      Buffer.concat(packets.map((packet) => mqttPacket.generate(packet, { protocolVersion: this.#version }))),
    )
  }

  /** One chunk comes from it. */
  bytes(bytes: Uint8Array): this {
    this.connection.data(bytes)
    this.#hand.turn()
    return this
  }

  publish(topic: string, payload: string | Buffer = '', options: Record<string, unknown> = {}): this {
    return this.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...options })
  }

  subscribe(topic: string, qos: 0 | 1 | 2 = 0): this {
    return this.send({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic, qos }] })
  }

  /** What has been sent to it and was not taken yet. */
  taken(): Packet[] {
    const packets: Packet[] = []
    const parser = mqttPacket.parser({ protocolVersion: this.#version })
    parser.on('packet', (packet: Packet) => packets.push(packet))
    for (const bytes of this.#bytes.splice(0)) parser.parse(Buffer.from(bytes))
    return packets
  }

  /** Forgets what has been sent to it. */
  forget(): void {
    this.#bytes = []
  }

  /** Takes what it has left lying. */
  read(): void {
    for (const written of this.#unread.splice(0)) written()
    this.#hand.turn()
  }

  /** Its network connection ends. */
  leave(): void {
    this.closed = true
    this.connection.closed()
    this.#hand.turn()
  }
}
