import { once } from 'node:events'
import net from 'node:net'
import { generate, type Packet, parser } from 'mqtt-packet'

/** What the little broker does wrong, if anything. */
export interface Faults {
  /** The nth PUBLISH is acknowledged and not delivered. */
  loses?: number
  /** The nth one is delivered after the one behind it. */
  swaps?: number
  /** The nth one is never acknowledged. */
  ignores?: number
  /** Return code of CONNACK. */
  refuses?: number
  /** Publishers are disconnected at the nth PUBLISH. */
  drops?: number
  /** Nothing is answered at all. */
  mute?: boolean
}

/** Exact topics, `#` and `$share/bench/…#` in turns; all QoS levels, decoded with mqtt-packet. Call `close` at the end. */
export async function brokerWith(faults: Faults): Promise<{ port: number; close: () => void }> {
  const subscribers: { filter: string; send: (packet: Packet) => void }[] = []
  let held: (() => void) | undefined
  let count = 0
  let turn = 0
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    let protocolVersion = 4
    const send = (packet: Packet): void => void socket.write(generate(packet, { protocolVersion }))
    const route = (packet: Packet & { cmd: 'publish' }): void => {
      const matching = subscribers.filter(({ filter }) => filter.endsWith('#') || filter === packet.topic)
      const shared = matching.some(({ filter }) => filter.startsWith('$share/'))
      for (const to of shared ? [matching[turn++ % matching.length]!] : matching)
        to.send({ ...packet, messageId: (count % 65_535) + 1 })
    }
    const reader = parser()
    if (!faults.mute) socket.on('data', (bytes) => reader.parse(bytes))
    reader.on('packet', (packet) => {
      switch (packet.cmd) {
        case 'connect':
          protocolVersion = packet.protocolVersion ?? 4
          send({
            cmd: 'connack',
            sessionPresent: false,
            returnCode: faults.refuses ?? 0,
            reasonCode: faults.refuses ?? 0,
          })
          return
        case 'subscribe':
          subscribers.push({ filter: packet.subscriptions[0]!.topic, send })
          return send({ cmd: 'suback', messageId: packet.messageId!, granted: [packet.subscriptions[0]!.qos] })
        case 'pingreq':
          return send({ cmd: 'pingresp' })
        case 'publish': {
          count++
          if (count === faults.drops) return void socket.destroy()
          const late = held
          held = undefined
          if (count === faults.swaps) held = () => route(packet)
          else if (count !== faults.loses) route(packet)
          late?.()
          if (count === faults.ignores) return
          if (packet.qos > 0) send({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId: packet.messageId! })
          return
        }
        case 'pubrec':
          return send({ cmd: 'pubrel', messageId: packet.messageId! })
        case 'pubrel':
          return send({ cmd: 'pubcomp', messageId: packet.messageId! })
        default:
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = (): void => {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
  return { port: (server.address() as net.AddressInfo).port, close }
}
