// The subscription tree at a million subscriptions: memory, matches a second, pauses.
//   npm run -s build && node --expose-gc bench/routing.mjs [shared|unique|literal]
// Run it alone: a neighbour costs half of the cache, and its turns show up in p99.9.
// shared: device numbers repeat across sites · unique: each device number once · literal: 500 filters with 1,000 subscribers each
import { parseFilter, Topic } from '../dist/mqtt/topic.js'
import { SubscriptionTree } from '../dist/routing/tree.js'

const shape = process.argv[2] ?? 'shared'
const sessions = 1000
const filters = 1000
const count = sessions * filters
const device = (s, f) => (shape === 'unique' ? `d${s * filters + f}` : f)
const exact = (s, f) => `site/${s}/device/${device(s, f)}/temp`
const wild = (s, f) =>
  shape === 'shared'
    ? `site/${s}/+/${f}/#`
    : shape === 'unique'
      ? `site/+/device/${device(s, f)}/#`
      : `site/+/device/${f}/#`
const filterOf = (s, f) => (f & 1 ? exact(s, f) : wild(s, f))
const member = (room) => ({ online: true, room, mayReceive: () => true })
const grant = Object.freeze({ qos: 1, noLocal: false, retainAsPublished: false, subscriptionId: 0 })

let seed = 1
const below = (n) => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor((seed / 2 ** 32) * n)
}
const topicOf = (name) => new Topic(name, Buffer.from(name))
const collect = () => {
  for (let i = 0; i < 4; i++) gc()
}
const rss = () => {
  collect()
  return process.memoryUsage().rss
}
const figures = (name, samples) => {
  samples.sort()
  const at = (p) => samples[Math.min(samples.length - 1, Math.floor(samples.length * p))].toFixed(2)
  console.log(`${name}: p50 ${at(0.5)} µs  p99 ${at(0.99)} µs  p99.9 ${at(0.999)} µs  max ${at(1)} µs`)
}
const rate = (name, times, run) => {
  collect()
  const start = performance.now()
  const cpu = process.cpuUsage()
  run()
  const seconds = (performance.now() - start) / 1000
  const cpuNs = (process.cpuUsage(cpu).user * 1000) / times
  console.log(`${name}: ${(times / seconds / 1e6).toFixed(2)} M/s (${cpuNs.toFixed(0)} ns of CPU each)`)
}

// Warm the code on another tree, so that the first of the million are not timed in the interpreter.
{
  const tree = new SubscriptionTree()
  const s = member(1)
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 20_000; i++) tree.subscribe(s, parseFilter(filterOf(i % 100, i)), grant)
    for (let i = 0; i < 20_000; i++) tree.match(topicOf(`site/${i % 100}/device/${i}/temp`))
    for (let i = 0; i < 20_000; i++) tree.unsubscribe(s, parseFilter(filterOf(i % 100, i)))
  }
}

const samples = new Float64Array(count).fill(1)
const sessionOf = Array.from({ length: sessions }, (_, i) => member(i))
const before = rss()
const tree = new SubscriptionTree()
for (let s = 0, i = 0; s < sessions; s++)
  for (let f = 0; f < filters; f++) {
    const parsed = parseFilter(filterOf(s, f))
    const start = performance.now()
    tree.subscribe(sessionOf[s], parsed, grant)
    samples[i++] = (performance.now() - start) * 1000
  }
const perSubscription = (bytes) => (bytes / count).toFixed(0)
console.log(`${shape}: ${tree.size} subscriptions, ${tree.nodes} nodes`)
console.log(
  `memory: tree ${perSubscription(rss() - before)} B a subscription (RSS); its tables ${perSubscription(tree.bytes)} B`,
)
figures('subscribe, growing', samples)

const churn = new Float64Array(400_000)
for (let i = 0; i < churn.length; i += 2) {
  const s = below(sessions)
  const parsed = parseFilter(filterOf(s, below(filters)))
  const start = performance.now()
  tree.unsubscribe(sessionOf[s], parsed)
  const between = performance.now()
  tree.subscribe(sessionOf[s], parsed, grant)
  churn[i] = (between - start) * 1000
  churn[i + 1] = (performance.now() - between) * 1000
}
figures('unsubscribe and subscribe, at that size', churn)

const topics = Array.from({ length: 200_000 }, () => {
  const s = below(sessions)
  const f = below(filters)
  return topicOf(exact(s, shape === 'literal' ? f | 1 : f))
})
let delivered = 0
const matchAll = () => {
  for (const topic of topics) delivered += tree.match(topic).deliveries.length
}
rate('match, not cached', topics.length, matchAll)
console.log(`deliveries a topic: ${(delivered / topics.length).toFixed(2)}`)
const order = Uint32Array.from({ length: 4_000_000 }, () => below(topics.length))
rate('match, cached, 200,000 topics at random', order.length, () => {
  for (const i of order) delivered += tree.match(topics[i]).deliveries.length
})
rate('match, cached, one topic', 50_000_000, () => {
  const topic = topics[0]
  for (let i = 0; i < 50_000_000; i++) delivered += tree.match(topic).deliveries.length
})

{
  const workers = Array.from({ length: 100 }, (_, i) => member(100 + (i % 3)))
  for (const worker of workers) tree.subscribe(worker, parseFilter('$share/workers/jobs/#'), grant)
  const [group] = tree.match(topicOf('jobs/1')).groups
  rate('pick of 100 members', 5_000_000, () => {
    for (let i = 0; i < 5_000_000; i++) delivered += group.pick().qos
  })
  for (const worker of workers) tree.unsubscribe(worker, parseFilter('$share/workers/jobs/#'))
}

// A storm of subscriptions elsewhere: how many of 1,000 hot routes must be built again?
const hot = topics.slice(0, 1000)
const stormer = member(1)
let rebuilt = 0
let storm = 0
for (let i = 0; i < 10_000; i++) {
  tree.subscribe(stormer, parseFilter(i & 1 ? `site/+/device/new${i}/#` : `site/7/device/new${i}/temp`), grant)
  if (i % 10) continue
  for (const topic of hot) {
    const was = tree.match(topic).deliveries
    storm++
    if (topic.seen !== undefined && topic.seen !== was) rebuilt++
    topic.seen = was
  }
}
console.log(`storm of 10,000 subscribes, 1,000 hot topics: ${rebuilt} of ${storm} matches built again`)
rate('match, cached, after a change elsewhere', 1_000_000, () => {
  const parsed = [parseFilter('elsewhere/x'), parseFilter('elsewhere/y')]
  for (let i = 0; i < 1000; i++) {
    tree.subscribe(stormer, parsed[i & 1], { ...grant, qos: (i >> 1) & 1 })
    for (const topic of hot) delivered += tree.match(topic).deliveries.length
  }
})

for (let i = 0; i < 10_000; i++)
  tree.unsubscribe(stormer, parseFilter(i & 1 ? `site/+/device/new${i}/#` : `site/7/device/new${i}/temp`))
tree.unsubscribe(stormer, parseFilter('elsewhere/x'))
tree.unsubscribe(stormer, parseFilter('elsewhere/y'))
for (let s = 0, i = 0; s < sessions; s++)
  for (let f = 0; f < filters; f++) {
    const parsed = parseFilter(filterOf(s, f))
    const start = performance.now()
    tree.unsubscribe(sessionOf[s], parsed)
    samples[i++] = (performance.now() - start) * 1000
  }
figures('unsubscribe, shrinking', samples)
console.log(`left: ${tree.size} subscriptions, ${tree.nodes} nodes, ${tree.bytes} B of tables`)
