import {
  connect,
  type IClientOptions,
  type IConnackPacket,
  type IPublishPacket,
  type MqttClient,
  type Packet,
} from 'mqtt'
import { afterEach } from 'vitest'
import { Bell } from '../support/bell.ts'
import type { TestBroker } from '../support/broker.ts'

// mqtt.js, which nobody here wrote, as the client.

export const versions = [3, 4, 5] as const
export type Version = (typeof versions)[number]
export const transports = ['tcp', 'tls', 'ws', 'wss'] as const
export type Transport = (typeof transports)[number]

const running = new Set<MqttClient>()
afterEach(async () => {
  const clients = [...running]
  running.clear()
  await Promise.all(clients.map((client) => client.endAsync(true)))
})

export interface JoinOptions extends IClientOptions {
  readonly transport?: Transport
  /** Called before anything is sent or received. */
  readonly prepare?: (mqtt: MqttClient) => void
}

/** One mqtt.js client, with everything that it has received. */
export class Client {
  readonly mqtt: MqttClient
  /** Messages that no test has taken yet. */
  readonly inbox: IPublishPacket[] = []
  /** Every packet, in order. */
  readonly received: Packet[] = []
  readonly sent: Packet[] = []
  connack!: IConnackPacket
  readonly #bell = new Bell()

  private constructor(broker: TestBroker, version: Version, { transport = 'tcp', prepare, ...options }: JoinOptions) {
    const url = {
      tcp: `mqtt://127.0.0.1:${broker.port}`,
      tls: broker.tls.replace('tls', 'mqtts'),
      ws: broker.ws,
      wss: broker.wss,
    }
    this.mqtt = connect(url[transport], {
      protocolVersion: version,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      // Who is sent away stays away, unless the test wants it back.
      reconnectPeriod: 0,
      connectTimeout: 20_000,
      ...options,
    })
    running.add(this.mqtt)
    prepare?.(this.mqtt)
    this.mqtt.on('message', (topic, _payload, packet) => {
      this.inbox.push({ ...packet, topic })
      this.#bell.ring()
    })
    this.mqtt.on('packetreceive', (packet) => {
      this.received.push(packet)
      this.#bell.ring()
    })
    this.mqtt.on('packetsend', (packet) => this.sent.push(packet))
    this.mqtt.on('connect', (connack) => {
      this.connack = connack
      this.#bell.ring()
    })
    for (const event of ['close', 'disconnect'] as const) this.mqtt.on(event, () => this.#bell.ring())
  }

  /** Connects, and waits for CONNACK. @throws what mqtt.js says when it is refused. */
  static async join(broker: TestBroker, version: Version = 5, options: JoinOptions = {}): Promise<Client> {
    const client = new Client(broker, version, options)
    await new Promise<void>((resolve, reject) => {
      client.mqtt.once('connect', () => resolve())
      // What has once been connected is looked at through what came, not through errors.
      client.mqtt.on('error', reject)
      client.mqtt.once('close', () => reject(new Error('closed before CONNACK')))
    })
    return client
  }

  /** The next `count` messages; they are taken out. */
  async take(count: number): Promise<IPublishPacket[]> {
    await this.#bell.until(
      () => this.inbox.length >= count,
      () => `${this.inbox.length} of ${count} messages`,
    )
    return this.inbox.splice(0, count)
  }

  /** The next message. */
  async next(): Promise<IPublishPacket> {
    return (await this.take(1))[0]!
  }

  /** Done as soon as `done` says so, asked whenever a packet or an event of the connection comes. */
  until(done: () => boolean, what: string): Promise<void> {
    return this.#bell.until(done, () => `${what}; have ${this.received.map(({ cmd }) => cmd).join(' ') || 'nothing'}`)
  }

  /** Everything that the broker had for it has come: what it publishes to itself comes last. */
  async settled(): Promise<IPublishPacket[]> {
    const topic = `settled/${this.mqtt.options.clientId}`
    await this.mqtt.subscribeAsync(topic)
    await this.mqtt.publishAsync(topic, '', { qos: 1 })
    await this.until(() => this.inbox.some((message) => message.topic === topic), 'its own last message')
    return this.inbox.splice(0).filter((message) => message.topic !== topic)
  }

  /** Cuts the connection without DISCONNECT. */
  async cut(): Promise<void> {
    this.mqtt.stream.destroy()
    await this.gone()
  }

  /** The connection is over. */
  gone(): Promise<void> {
    return this.until(() => !this.mqtt.connected, 'the end of the connection')
  }

  /** Leaves in order. */
  async leave(): Promise<void> {
    await this.mqtt.endAsync()
  }
}

/** A message in one line: `a/b=text q1 retain`. */
export function told({ topic, payload, qos, retain }: IPublishPacket): string {
  return `${topic}=${payload.toString()} q${qos}${retain ? ' retain' : ''}`
}

/** Bytes that repeat only after 251, so that a part which is lost or doubled shows. */
export function bytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, at) => at % 251))
}
