// A node joins one that retains very much: how long it takes, and the longest stretch that either of them works in one go.
//   node bench/cluster.retained.mjs [messages] [bytes]        (after npm run build)
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance, PerformanceObserver } from 'node:perf_hooks'
import { RetainedReplication } from '../dist/cluster/retained.js'
import { Message } from '../dist/mqtt/message.js'
import { TopicTable } from '../dist/mqtt/topic.js'
import { checksum } from '../dist/platform/checksum.js'
import { openDataFolder } from '../dist/platform/data-folder.js'
import { nodeHost } from '../dist/platform/host.js'
import { RetainedStore } from '../dist/retain/retained.js'
import { openDiskStore } from '../dist/store/disk-store.js'
import { RecordReader, RecordWriter } from '../dist/store/writer.js'
import { waitedMs } from './waited.mjs'

const count = Number(process.argv[2] ?? 1_000_000)
const size = Number(process.argv[3] ?? 64)
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const host = nodeHost(silent)
const folder = mkdtempSync(join(tmpdir(), 'godwit-bench-'))

/** What took one node longer than this in one go, and when the collector was at work: of both heaps, which are one here. */
const shortMs = 5
const stretches = []
const collections = []
const collector = new PerformanceObserver((list) => collections.push(...list.getEntries()))
collector.observe({ entryTypes: ['gc'] })
let frames = 0
let bytes = 0

function timed(node, what, run) {
  const [startTime, waited] = [performance.now(), waitedMs()]
  run()
  const duration = performance.now() - startTime
  if (duration > shortMs) stretches.push({ node, what, startTime, duration, waited: waitedMs() - waited })
}

class Replica {
  constructor(self, store, topics) {
    this.self = self
    this.store = store
    this.topics = topics
    this.retained = new RetainedStore({ messages: Infinity, bytes: Infinity })
    store.serve({ session: () => undefined, retained: (topic) => this.retained.get(topic), moved() {} })
    this.clock = {
      now: () => host.clock.now(),
      wall: () => host.clock.wall(),
      every: (periodMs, tick) => host.clock.every(periodMs, () => timed(self, 'tick', tick)),
      endOfTurn: (run) => host.clock.endOfTurn(() => timed(self, 'turn', run)),
    }
  }

  replicate(peers) {
    this.replication = new RetainedReplication({
      ...{ self: this.self, clock: this.clock, random: host.random, log: silent, peers, retained: this.retained },
      ...{
        store: this.store,
        topics: this.topics,
        durability: () => 'fsync',
        members: () => [],
        tombstoneSeconds: 86_400,
      },
    })
    this.replication.start()
  }
}

/** One way of a link. Of what has come a turn reads what libuv does: up to 32 times 64 KiB. */
class Way {
  constructor(from, to) {
    this.writer = new RecordWriter(65_536)
    this.queue = []
    this.from = from
    this.to = to
  }

  begin(type) {
    this.type = type
    this.writer.clear()
    return this.writer
  }

  end() {
    const frame = Buffer.from(this.writer.view())
    frames++
    bytes += frame.length
    if (this.queue.push({ type: this.type, frame }) === 1) setImmediate(() => this.deliver())
  }

  deliver() {
    let taken = 0
    let at = 0
    const { queue } = this
    timed(this.to.self, `frames of ${this.queue[0].type.toString(16)}`, () => {
      for (; at < queue.length && taken < 32 * 65_536; at++) {
        const { type, frame } = queue[at]
        taken += frame.length
        this.to.replication.frame(this.from.self, type, new RecordReader().over(frame, 0, frame.length))
      }
    })
    queue.splice(0, at)
    if (queue.length > 0) setImmediate(() => this.deliver())
  }
}

async function open(name) {
  const data = await openDataFolder(join(folder, name), true)
  const topics = new TopicTable()
  const { disk, index, storeId } = data
  const { store } = openDiskStore({ disk, index, storeId, clock: host.clock, log: silent, topics, checksum })
  return { replica: new Replica(name, store, topics), close: () => store.close().then(() => data.close()) }
}

const first = await open('first')
const joiner = await open('joiner')
const [a, b] = [first.replica, joiner.replica]
const payload = Buffer.alloc(size, 'x')
for (let i = 0; i < count; i++) {
  const topic = a.topics.named(`site/${i % 1000}/device/${i}/temperature`)
  const message = new Message(topic, 1, true, payload, 0, size, undefined, Infinity, undefined, 5)
  message.stamp = { ms: Date.now(), count: i % 65_536, node: 'first' }
  a.retained.set(message.keep())
}
const ways = { first: new Way(a, b), joiner: new Way(b, a) }
const peers = (self, other) => ({
  self,
  linked: () => [other],
  version: () => 2,
  congested: () => false,
  begin: (_to, type) => ways[self].begin(type),
  end: () => ways[self].end(),
})
let startMs = performance.now()
a.replicate(peers('first', 'joiner'))
b.replicate(peers('joiner', 'first'))
console.log(
  `${count} retained messages of ${size} B; taken up in ${((performance.now() - startMs) / 1000).toFixed(2)} s`,
)
stretches.length = 0
startMs = performance.now()
timed('first', 'linked', () => a.replication.linked('joiner'))
timed('joiner', 'linked', () => b.replication.linked('first'))
await new Promise((resolve) => {
  const stop = host.clock.every(20, () => {
    if (b.retained.size < count) return
    stop()
    resolve()
  })
})
const seconds = (performance.now() - startMs) / 1000
console.log(
  `the joiner has them in ${seconds.toFixed(1)} s (${Math.round(count / seconds)}/s, ${(bytes / count).toFixed(0)} B each)`,
)
/** The longest stretches of each node, and how much of each the collector took. */
const turns = (when) => {
  collections.push(...collector.takeRecords())
  for (const node of ['first', 'joiner']) {
    const longest = stretches.filter((stretch) => stretch.node === node).sort((a, b) => b.duration - a.duration)
    const told = longest.slice(0, 3).map(({ what, startTime, duration, waited }) => {
      const inside = (gc) =>
        Math.min(gc.startTime + gc.duration, startTime + duration) - Math.max(gc.startTime, startTime)
      const ofGc = collections.reduce((sum, gc) => sum + Math.max(0, inside(gc)), 0)
      return `${duration.toFixed(1)} ms (${what}; collector ${ofGc.toFixed(1)}, without a core ${waited.toFixed(1)})`
    })
    console.log(`${when}, ${node}: ${longest.length} stretches above ${shortMs} ms; ${told.join(', ')}`)
  }
  stretches.length = collections.length = 0
}
turns('while it joins')
const [framesBefore, bytesBefore] = [frames, bytes]
await new Promise((resolve) => setTimeout(resolve, 10_000))
turns('in 10 s of quiet')
console.log(
  `${frames - framesBefore} frames, ${bytes - bytesBefore} B; the same: ${a.replication.digest.join() === b.replication.digest.join()}`,
)
a.replication.stop()
b.replication.stop()
await Promise.all([first.close(), joiner.close()])
rmSync(folder, { recursive: true })
