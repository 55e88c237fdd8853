import mqttPacket, { type Packet, type Parser } from 'mqtt-packet'
import type { Broker } from '../../src/broker/broker.ts'
import type { StreamEvents } from '../../src/host.ts'

/** A message as it came to a client. */
export interface Came {
  readonly topic: string
  readonly text: string
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
}

/** What a client needs of its world. */
export interface Ways {
  /** Runs something of the outside, in the next event. */
  later(run: () => void): void
}

export interface SessionWish {
  readonly clean?: boolean
  readonly expirySeconds?: number
  readonly version?: 4 | 5
  /** Acknowledges what comes. Default true. */
  readonly acks?: boolean
  readonly username?: string
  /** Of QoS 1. */
  readonly will?: { readonly topic: string; readonly payload: string; readonly delaySeconds?: number }
}

type Any = Packet & Record<string, unknown>

/** An MQTT client in the same process: packets in, packets out. */
export class TestClient {
  readonly came: Came[] = []
  /** PUBACK and PUBREC by packet id, as they came, with their reason codes. */
  readonly acked: { readonly id: number; readonly reason: number }[] = []
  readonly subacks: number[] = []
  state: 'new' | 'connected' | 'closed' = 'new'
  present = false
  /** Of DISCONNECT or CONNACK from the broker. */
  reason = 0
  /** Where the broker says that it may go on. */
  reference: string | undefined = undefined
  acks: boolean
  readonly #version: 4 | 5
  readonly #parser: Parser
  readonly #stream: StreamEvents
  #nextId = 1

  constructor(
    readonly id: string,
    broker: Broker,
    ways: Ways,
    { clean = true, expirySeconds = 0, version = 5, acks = true, will, username }: SessionWish = {},
  ) {
    this.#version = version
    this.acks = acks
    this.#parser = mqttPacket.parser({ protocolVersion: version })
    this.#parser.on('packet', (packet: Packet) => this.#packet(packet as Any))
    this.#stream = broker.accept({
      remote: id,
      write: (bytes, written) => {
        const copy = Buffer.from(bytes)
        ways.later(() => {
          written()
          if (this.state !== 'closed') this.#parser.parse(copy)
        })
      },
      pause: () => {},
      end: () => ways.later(() => this.#over()),
      destroy: () => ways.later(() => this.#over()),
    })
    this.#send({
      cmd: 'connect',
      clientId: id,
      protocolId: 'MQTT',
      protocolVersion: version,
      clean,
      keepalive: 0,
      ...(username !== undefined && { username }),
      ...(version === 5 && { properties: { sessionExpiryInterval: expirySeconds } }),
      ...(will && {
        will: {
          ...{ topic: will.topic, payload: Buffer.from(will.payload), qos: 1, retain: false },
          ...(will.delaySeconds !== undefined && { properties: { willDelayInterval: will.delaySeconds } }),
        },
      }),
    })
  }

  /** Gives its packet id, which `subacks` shows when SUBACK has come. */
  subscribe(filter: string, qos: 0 | 1 | 2 = 1): number {
    const messageId = this.#nextId++
    this.#send({ cmd: 'subscribe', messageId, subscriptions: [{ topic: filter, qos, nl: false, rap: true, rh: 0 }] })
    return messageId
  }

  unsubscribe(filter: string): void {
    this.#send({ cmd: 'unsubscribe', messageId: this.#nextId++, unsubscriptions: [filter] })
  }

  /** Gives its packet id; 0 for QoS 0. */
  publish(
    topic: string,
    payload: string,
    qos: 0 | 1 | 2 = 1,
    more: { retain?: boolean; expiry?: number } = {},
  ): number {
    const messageId = qos === 0 ? 0 : this.#nextId++
    const properties = more.expiry === undefined ? undefined : { messageExpiryInterval: more.expiry }
    const { retain = false } = more
    this.#send({
      cmd: 'publish',
      messageId,
      topic,
      payload,
      qos,
      retain,
      dup: false,
      ...(properties && { properties }),
    })
    return messageId
  }

  disconnect(): void {
    this.#send({ cmd: 'disconnect' })
    this.#over()
  }

  /** Its network is gone. */
  drop(): void {
    this.#over()
  }

  get texts(): string[] {
    return this.came.map(({ text }) => text)
  }

  hasAck(id: number): boolean {
    return this.acked.some((acked) => acked.id === id)
  }

  #packet(packet: Any): void {
    const id = packet.messageId as number
    switch (packet.cmd) {
      case 'connack':
        this.reason = packet.reasonCode ?? packet.returnCode ?? 0
        this.reference = packet.properties?.serverReference
        this.present = packet.sessionPresent === true
        if (this.reason === 0) this.state = 'connected'
        return
      case 'publish':
        this.came.push({
          topic: packet.topic,
          text: String(packet.payload),
          qos: packet.qos,
          retain: packet.retain === true,
          dup: packet.dup === true,
        })
        if (!this.acks || packet.qos === 0) return
        return this.#send({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId: id })
      case 'pubrel':
        return this.#send({ cmd: 'pubcomp', messageId: id })
      case 'pubrec':
        this.acked.push({ id, reason: packet.reasonCode ?? 0 })
        return this.#send({ cmd: 'pubrel', messageId: id })
      case 'puback':
        return void this.acked.push({ id, reason: packet.reasonCode ?? 0 })
      case 'suback':
        return void this.subacks.push(id)
      case 'disconnect':
        this.reason = packet.reasonCode as number
        this.reference = packet.properties?.serverReference
        return
      default:
    }
  }

  #send(packet: Packet): void {
    if (this.state !== 'closed') this.#stream.data(mqttPacket.generate(packet, { protocolVersion: this.#version }))
  }

  #over(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#stream.closed()
  }
}
