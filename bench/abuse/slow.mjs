// A consumer that is far behind: what waits for it goes to the disk, and others notice nothing.
import mqtt from 'mqtt'
import { startBroker } from './kit/broker.mjs'

const mebibyte = 2 ** 20
const perSecond = 5000
/** mqtt.js does not ask what the broker's receive maximum is. */
const inFlight = 500
const kilobyte = Buffer.alloc(1024, 'x')

const config = `listeners: [{ url: 'tcp://127.0.0.1:0' }]
limits: { queueMessages: 1000000, queueBytes: 1073741824, sysSeconds: 0 }
`

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const join = (port, clientId, more) =>
  mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { clientId, protocolVersion: 5, reconnectPeriod: 0, ...more })

/** One who takes what it is sent at its own pace, and in the end all of it. */
class Consumer {
  /** Milliseconds for a message; 0: as fast as it can. */
  paceMs = 0
  next = 0
  wrong = 0

  constructor(client) {
    this.client = client
    client.handleMessage = ({ payload }, done) => {
      if (payload.readUInt32BE(0) !== this.next++) this.wrong++
      if (this.paceMs > 0) setTimeout(done, this.paceMs)
      else done()
    }
  }
}

/** How long a message of QoS 1 takes from one to another, 200 a second, until `over`. */
async function roundTrips(port, over) {
  const [from, to] = await Promise.all(['from', 'to'].map((name) => join(port, name)))
  await to.subscribeAsync('others', { qos: 1 })
  const times = []
  let came
  to.on('message', () => came())
  while (!over()) {
    const startMs = performance.now()
    const arrived = new Promise((resolve) => (came = resolve))
    from.publish('others', 'x', { qos: 1 })
    await arrived
    times.push(performance.now() - startMs)
    await pause(5 - (performance.now() - startMs))
  }
  await Promise.all([from.endAsync(true), to.endAsync(true)])
  times.sort((a, b) => a - b)
  return times[Math.floor(times.length * 0.99)]
}

/** So many messages of 1 KiB, at an even pace; done when all are acknowledged. */
async function flood(client, count, each) {
  const startMs = performance.now()
  let acknowledged = 0
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, ((performance.now() - startMs) / 1000) * perSecond, acknowledged + inFlight)
    for (; sent < due; sent++) {
      kilobyte.writeUInt32BE(sent)
      void client.publishAsync('flood', Buffer.from(kilobyte), { qos: 1 }).then(() => acknowledged++)
    }
    each()
    await pause(10)
  }
  while (acknowledged < count) await pause(10)
}

/** A flood for one consumer, with a pace: what it costs others, and the broker. */
async function round(broker, count, paceMs) {
  const { tcp } = broker.ports
  // What a session that ends with its connection wants stays in memory, up to `queueBytes`.
  const kept = { clean: false, properties: { sessionExpiryInterval: 3600 } }
  const consumer = new Consumer(await join(tcp, `consumer ${count} ${paceMs}`, kept))
  await consumer.client.subscribeAsync('flood', { qos: 1 })
  consumer.paceMs = paceMs
  const publisher = await join(tcp, 'publisher')
  let over = false
  let most = 0
  const others = roundTrips(tcp, () => over)
  await flood(publisher, count, () => (most = Math.max(most, broker.rssBytes())))
  over = true
  const p99Ms = await others
  const behind = count - consumer.next
  consumer.paceMs = 0
  while (consumer.next < count) {
    await pause(50)
    most = Math.max(most, broker.rssBytes())
  }
  await Promise.all([publisher.endAsync(), consumer.client.endAsync(true)])
  return { p99Ms, most, behind, wrong: consumer.wrong }
}

export default {
  row: 'slow',
  name: 'a consumer that is behind by 100,000 × 1 KB: memory, and the p99 of others',
  async run({ full }) {
    const count = full ? 100_000 : 15_000
    const broker = await startBroker(config)
    try {
      await round(broker, 5000, 0)
      const before = broker.rssBytes()
      // The same load, for one that keeps up.
      const well = await round(broker, count, 0)
      const slow = await round(broker, count, 10)
      const grown = slow.most - before
      return {
        figure: (grown / mebibyte).toFixed(1),
        unit:
          `MiB, ${((well.most - before) / mebibyte).toFixed(1)} for one that keeps up; ${slow.behind} behind at most, ` +
          `${well.wrong + slow.wrong} lost or out of order; p99 of others ${slow.p99Ms.toFixed(1)} ms, ${well.p99Ms.toFixed(1)} beside one that keeps up`,
        limit: '64 MiB, 0, 2 ×',
        ok: grown < 64 * mebibyte && well.wrong + slow.wrong === 0 && slow.p99Ms < 2 * well.p99Ms,
      }
    } finally {
      await broker.stop()
    }
  },
}
