// A million subscriptions in a whole broker: 1,000 sessions with 1,000 filters each, half with wildcards. No sockets.
//   npm run -s build && node --expose-gc bench/routing.broker.mjs
import mqttPacket from 'mqtt-packet'
import { Broker } from '../dist/broker/broker.js'
import { defaultLimits } from '../dist/broker/limits.js'
import { alone } from '../dist/cluster/alone.js'
import { nodeHost } from '../dist/platform/host.js'
import { MemoryStore } from '../dist/store/memory.js'

const sessions = 1000
const filters = 1000
const log = { debug() {}, info() {}, warn: console.error, error: console.error }
const broker = new Broker({
  host: nodeHost(log),
  limits: { ...defaultLimits, sysSeconds: 0 },
  store: new MemoryStore(),
  cluster: alone,
  hooks: {},
  observer: {},
  version: 'bench',
  heapBytes: () => 0,
})
const stream = { remote: 'bench', write: (_, written) => queueMicrotask(written), pause() {}, end() {}, destroy() {} }
const turn = () => new Promise((resolve) => setImmediate(resolve))
const memory = () => {
  for (let i = 0; i < 4; i++) gc()
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss, heap: heapUsed + external }
}

const clients = Array.from({ length: sessions }, (_, s) => {
  const client = broker.accept(stream)
  const connect = {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    clientId: `c${s}`,
    keepalive: 0,
  }
  client.data(mqttPacket.generate(connect))
  return client
})
await turn()
const before = memory()
for (const [s, client] of clients.entries()) {
  const subscriptions = Array.from({ length: filters }, (_, f) => ({
    topic: f & 1 ? `site/${s}/device/${f}/temp` : `site/${s}/+/${f}/#`,
    qos: 1,
  }))
  client.data(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions }))
  await turn()
}
const after = memory()
const each = (what) => ((after[what] - before[what]) / broker.tree.size).toFixed(0)
console.log(
  `${broker.tree.size} subscriptions in a broker: ${each('rss')} B of RSS each, ${each('heap')} B of heap and buffers (target 300)`,
)
broker.stop()
