import { createConnection } from 'node:net'
import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import { WebSocket } from 'ws'
import type { TestBroker } from './broker.ts'

export type Transport = 'tcp' | 'ws'

/** A packet as it came: mqtt-packet's reading of it, and the bytes. */
export type Received = Packet & { readonly raw: Buffer } & Record<string, unknown>

interface Pipe {
  write(bytes: Uint8Array): void
  end(): void
  destroy(): void
}

/**
 * A client that does nothing by itself: it sends the bytes that a test hands it, and keeps what comes. Every `expect…`
 * waits for the event, and fails with what came instead; nothing sleeps.
 */
export class RawClient {
  readonly packets: Received[] = []
  closed = false
  readonly #version: 3 | 4 | 5
  readonly #waiting: (() => void)[] = []
  #pipe!: Pipe
  #rest = Buffer.alloc(0)

  private constructor(version: 3 | 4 | 5) {
    this.#version = version
  }

  /** Opens a connection, and sends nothing. */
  static async open(broker: TestBroker, version: 3 | 4 | 5 = 5, transport: Transport = 'tcp'): Promise<RawClient> {
    const client = new RawClient(version)
    if (transport === 'tcp') {
      const socket = createConnection({ port: broker.port, host: '127.0.0.1', noDelay: true })
      socket.on('data', (chunk: Buffer) => client.#data(chunk))
      socket.on('error', () => {})
      socket.on('close', () => client.#close())
      await new Promise<void>((resolve) => socket.once('connect', resolve))
      client.#pipe = { write: (b) => socket.write(b), end: () => socket.end(), destroy: () => socket.destroy() }
    } else {
      const socket = new WebSocket(broker.ws, 'mqtt')
      socket.on('message', (data: Buffer) => client.#data(data))
      socket.on('error', () => {})
      socket.on('close', () => client.#close())
      await new Promise<void>((resolve) => socket.once('open', resolve))
      client.#pipe = { write: (b) => socket.send(b), end: () => socket.close(), destroy: () => socket.terminate() }
    }
    return client
  }

  /** Opens, sends CONNECT, and waits for CONNACK 0. */
  static async connect(
    broker: TestBroker,
    version: 3 | 4 | 5 = 5,
    connect: Partial<IConnectPacket> = {},
    transport: Transport = 'tcp',
  ): Promise<RawClient> {
    const client = await RawClient.open(broker, version, transport)
    client.send(connectPacket(version, connect))
    const connack = await client.expect('connack')
    const code = version === 5 ? connack.reasonCode : connack.returnCode
    if (code !== 0) throw new Error(`CONNECT was refused with ${String(code)}`)
    return client
  }

  /** Sends a packet, encoded by mqtt-packet. */
  send(packet: Packet): this {
    return this.bytes(mqttPacket.generate(packet, { protocolVersion: this.#version }))
  }

  /** Sends bytes as they are; a string is hex, blanks allowed. */
  bytes(bytes: Uint8Array | string): this {
    this.#pipe.write(typeof bytes === 'string' ? Buffer.from(bytes.replaceAll(' ', ''), 'hex') : bytes)
    return this
  }

  /** The next packet, whatever it is; it is taken out. */
  async next(what = 'packet'): Promise<Received> {
    await this.#until(() => this.packets.length > 0 || this.closed, `a ${what}`)
    const packet = this.packets.shift()
    if (!packet) throw new Error(`the connection closed; a ${what} was expected`)
    return packet
  }

  /** The next packet, which must be a `cmd`; it is taken out. */
  async expect(cmd: Packet['cmd']): Promise<Received> {
    const packet = await this.next(cmd)
    if (packet.cmd !== cmd) throw new Error(`expected ${cmd}, got ${describe(packet)}`)
    return packet
  }

  /** The connection must close without another packet. */
  async expectClosed(): Promise<void> {
    await this.#until(() => this.closed || this.packets.length > 0, 'the end of the connection')
    const [packet] = this.packets
    if (packet) throw new Error(`expected the connection to close, got ${describe(packet)}`)
  }

  /** v5: DISCONNECT with this reason, then the end; 3.x: the end alone. */
  async expectDisconnect(reason: number): Promise<void> {
    if (this.#version === 5) {
      const packet = await this.expect('disconnect')
      if (packet.reasonCode !== reason)
        throw new Error(`expected DISCONNECT 0x${reason.toString(16)}, got ${describe(packet)}`)
    }
    await this.expectClosed()
  }

  /** Nothing may come before the answer to a PINGREQ: what the broker had to say, it has said. */
  async expectQuiet(): Promise<void> {
    this.bytes('c0 00')
    await this.expect('pingresp')
  }

  /** SUBSCRIBE to one filter; gives the granted code. */
  async subscribe(
    filter: string,
    qos: 0 | 1 | 2 = 0,
    options: { nl?: boolean; rap?: boolean; rh?: 0 | 1 | 2; id?: number } = {},
  ): Promise<number> {
    const { id, ...flags } = options
    this.send({
      cmd: 'subscribe',
      messageId: 9,
      subscriptions: [{ topic: filter, qos, ...(this.#version === 5 && { nl: false, rap: false, rh: 0, ...flags }) }],
      ...(id !== undefined && { properties: { subscriptionIdentifier: id } }),
    })
    const suback = await this.expect('suback')
    return (suback.granted as number[])[0]!
  }

  /** Sends a PUBLISH; give `messageId` for QoS 1 and 2. */
  publish(topic: string, payload: string | Buffer = '', options: Record<string, unknown> = {}): this {
    return this.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...options })
  }

  /** Ends the network connection without DISCONNECT, and waits until it is gone. */
  async drop(): Promise<void> {
    this.#pipe.destroy()
    await this.#until(() => this.closed, 'the end of the connection')
  }

  /** DISCONNECT in order. */
  async disconnect(reasonCode = 0, properties: Record<string, unknown> = {}): Promise<void> {
    this.send({ cmd: 'disconnect', reasonCode, properties })
    await this.#until(() => this.closed, 'the end of the connection')
  }

  async #until(done: () => boolean, what: string): Promise<void> {
    const deadline = Date.now() + 10_000
    while (!done()) {
      const left = deadline - Date.now()
      if (left <= 0)
        throw new Error(`waited 10 s for ${what}; have ${this.packets.map(describe).join(', ') || 'nothing'}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#waiting.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  #close(): void {
    this.closed = true
    this.#wake()
  }

  #data(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    for (;;) {
      const length = frameLength(this.#rest)
      if (length === undefined || this.#rest.length < length) break
      this.packets.push(decode(this.#rest.subarray(0, length), this.#version))
      this.#rest = this.#rest.subarray(length)
    }
    this.#wake()
  }
}

export function connectPacket(version: 3 | 4 | 5, connect: Partial<IConnectPacket> = {}): Packet {
  return {
    cmd: 'connect',
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: version,
    clean: true,
    clientId: 'raw',
    keepalive: 0,
    ...connect,
  }
}

function decode(frame: Buffer, version: 3 | 4 | 5): Received {
  let decoded: Packet | undefined
  const parser = mqttPacket.parser({ protocolVersion: version })
  parser.on('packet', (packet) => (decoded = packet))
  parser.on('error', (fault: Error) => {
    throw new Error(`the broker sent ${frame.toString('hex')}: ${fault.message}`)
  })
  parser.parse(frame)
  return Object.assign(decoded!, { raw: Buffer.from(frame) }) as Received
}

function frameLength(bytes: Buffer): number | undefined {
  let length = 0
  for (let i = 1, scale = 1; i < bytes.length; i++, scale *= 128) {
    length += (bytes[i]! & 127) * scale
    if (bytes[i]! < 128) return 1 + i + length
  }
  return undefined
}

function describe(packet: Received): string {
  return `${packet.cmd} ${packet.raw.toString('hex')}`
}
