// Ten thousand clients of one id: one is there in the end, and of the others nothing is left.
import { once } from 'node:events'
import { connect } from 'node:net'
import mqttPacket from 'mqtt-packet'
import { startBroker } from './kit/broker.mjs'

const atOnce = 50
const seconds = 4
const config = `listeners: [{ url: 'tcp://127.0.0.1:0' }]
limits: { sysSeconds: 1, connectSeconds: ${seconds}, stallSeconds: ${seconds} }
`
/** A deadline of one that is gone stands in the wheel until it is looked at, so long at most. */
const settled = () => new Promise((resolve) => setTimeout(resolve, (seconds + 1) * 1000))

const packet = (fields) => mqttPacket.generate(fields, { protocolVersion: 5 })
const connectOf = (clientId) =>
  packet({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: false,
    clientId,
    keepalive: 60,
    properties: { sessionExpiryInterval: 3600 },
    will: { topic: 'will', payload: Buffer.from('x'), qos: 1, retain: true },
  })
const subscribe = (topic) => packet({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 1 }] })
const publish = packet({ cmd: 'publish', topic: 't/1', payload: 'x', qos: 1, messageId: 2, dup: false, retain: false })

/** One after the other, many at a time. @returns those that the broker has not sent away */
async function storm(port, count) {
  const open = new Set()
  let welcomed = 0
  let left = count
  const comes = async () => {
    while (left-- > 0) {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      // It is sent away at any time, and has a subscription of its own by then, or not.
      socket.write(Buffer.concat([connectOf('one'), subscribe(`t/${left % 20}`), publish]))
      await Promise.race([once(socket, 'data'), once(socket, 'close')])
      if (socket.bytesRead > 0) welcomed++
      socket.resume()
    }
  }
  await Promise.all(Array.from({ length: atOnce }, comes))
  return { open, welcomed }
}

/** One is there: `$SYS` says so, and its socket is the only one. */
async function alone(port, { open }) {
  const observer = connect(port, '127.0.0.1')
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  observer.on('data', (bytes) => parser.parse(bytes))
  const online = new Promise((resolve) =>
    parser.on('packet', ({ cmd, payload }) => {
      if (cmd === 'publish' && payload.toString() === '2') resolve()
    }),
  )
  observer.write(Buffer.concat([connectOf('observer'), subscribe('$SYS/broker/clients/connected')]))
  await online
  observer.destroy()
  for (const socket of open) socket.destroy()
  return open.size
}

export default {
  row: 'takeover',
  name: 'a storm of takeovers over sockets: heap behind a collection',
  async run({ full }) {
    const count = full ? 10_000 : 2000
    const broker = await startBroker(config, { inspected: true })
    try {
      const { tcp } = broker.ports
      // What is compiled and kept for all is there behind this one.
      await alone(tcp, await storm(tcp, 2000))
      await settled()
      const before = await broker.engine.heapBytes()
      const stormed = await storm(tcp, count)
      const left = await alone(tcp, stormed)
      await settled()
      const after = await broker.engine.heapBytes()
      const figure = ((after - before) / before) * 100
      return {
        figure,
        unit: `% more than the ${(before / 2 ** 20).toFixed(1)} MiB before ${count}, of whom ${stormed.welcomed} were let in; left: ${left}`,
        limit: '5 %, 1',
        ok: figure < 5 && left === 1 && stormed.welcomed > count / 10,
      }
    } finally {
      await broker.stop()
    }
  },
}
