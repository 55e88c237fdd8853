import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { Aedes, type AedesOptions } from 'aedes'
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet'
import { afterEach } from 'vitest'

const open: (() => Promise<void>)[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((close) => close()))
})

/** Lets a server listen on a free port of this machine until the test is over. */
export async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.once('close', () => sockets.delete(socket)).on('error', () => {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  })
  return (server.address() as AddressInfo).port
}

export interface TestBroker {
  readonly aedes: Aedes
  readonly port: number
  /** Done at the next SUBSCRIBE that the broker has taken. */
  subscribed(): Promise<void>
  /** Everything that clients have published so far. */
  readonly published: { topic: string; payload: Buffer; qos: number; retain: boolean }[]
}

/** Another broker than ours: Aedes, in this process. `wrap` puts TLS or WebSocket around its connections. */
export async function startAedes(
  options: AedesOptions = {},
  wrap: (handle: (socket: Socket) => void) => Server = createServer,
): Promise<TestBroker> {
  const aedes = await Aedes.createBroker(options)
  const published: TestBroker['published'] = []
  aedes.on('publish', ({ topic, payload, qos, retain }, client) => {
    if (client) published.push({ topic, payload: Buffer.from(payload), qos, retain })
  })
  const port = await listen(wrap((socket) => void aedes.handle(socket)))
  open.push(() => new Promise((resolve) => aedes.close(() => resolve())))
  const subscribed = (): Promise<void> => new Promise((resolve) => void aedes.once('subscribe', () => resolve()))
  return { aedes, port, published, subscribed }
}

export interface Conversation {
  readonly socket: Socket
  readonly send: (packet: Packet) => void
}

/** A broker that says what a test tells it to: for MQTT 5, and for refusals. @returns its port. */
export async function startScripted(
  answer: (packet: Packet, conversation: Conversation) => void,
  protocolVersion: 4 | 5 = 5,
): Promise<number> {
  return listen(
    createServer((socket) => {
      const parser = mqttPacket.parser({ protocolVersion })
      const conversation: Conversation = {
        socket,
        send: (packet) => void socket.write(mqttPacket.generate(packet, { protocolVersion })),
      }
      parser.on('packet', (packet) => {
        if (packet.cmd === 'disconnect') socket.end()
        answer(packet, conversation)
      })
      socket.on('data', (bytes) => void parser.parse(bytes))
    }),
  )
}

/** The answers of a broker that accepts everything. */
export function accept(packet: Packet, { send }: Conversation): void {
  const { messageId = 0 } = packet
  switch (packet.cmd) {
    case 'connect':
      return send({ cmd: 'connack', reasonCode: 0, returnCode: 0, sessionPresent: false })
    case 'publish':
      if (packet.qos === 1) send({ cmd: 'puback', messageId, reasonCode: 0 })
      if (packet.qos === 2) send({ cmd: 'pubrec', messageId, reasonCode: 0 })
      return
    case 'pubrel':
      return send({ cmd: 'pubcomp', messageId, reasonCode: 0 })
    case 'subscribe':
      return send({ cmd: 'suback', messageId, granted: packet.subscriptions.map(({ qos }) => qos) })
    case 'unsubscribe':
      return send({ cmd: 'unsuback', messageId, granted: packet.unsubscriptions.map(() => 0) })
    default:
  }
}

/** A PUBLISH as a broker sends it. */
export function publish(topic: string, payload: string | Buffer, more: Partial<IPublishPacket> = {}): IPublishPacket {
  return { cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...more }
}
