// Half a million retained messages: memory, sets a second, the pauses of a walk.
//   npm run -s build && node --expose-gc bench/routing.retained.mjs
import { Topic } from '../dist/mqtt/topic.js'
import { RetainedStore } from '../dist/retain/retained.js'

const count = 500_000
const collect = () => {
  for (let i = 0; i < 4; i++) gc()
}
const figures = (name, samples) => {
  samples.sort()
  const at = (p) => samples[Math.min(samples.length - 1, Math.floor(samples.length * p))].toFixed(2)
  console.log(`${name}: p50 ${at(0.5)} µs  p99 ${at(0.99)} µs  p99.9 ${at(0.999)} µs  max ${at(1)} µs`)
}
const timed = (name, times, run) => {
  const samples = new Float64Array(times)
  for (let i = 0; i < times; i++) {
    const start = performance.now()
    run(i)
    samples[i] = (performance.now() - start) * 1000
  }
  figures(name, samples)
}

const messages = Array.from({ length: count }, (_, i) => {
  const name = `site/${i % 100}/device/${i}/temp`
  return {
    topic: new Topic(name, Buffer.from(name)),
    bytes: 200,
    expiresAtMs: i % 5 ? Infinity : 1000 + ((i * 7919) % count),
  }
})
const store = new RetainedStore({ messages: count, bytes: Infinity })
collect()
const before = process.memoryUsage().rss
timed('set, growing', count, (i) => store.set(messages[i]))
collect()
console.log(
  `memory: ${((process.memoryUsage().rss - before) / count).toFixed(0)} B a message, beside the message (RSS)`,
)
timed('set, replacing at random', count, (i) => store.set(messages[(i * 7919) % count]))

for (const filter of ['#', 'site/7/#', 'site/+/device/+/temp', '+/+/+/+/zzz']) {
  const walk = store.matching(filter, 0)
  const samples = []
  let found = 0
  const begun = performance.now()
  for (let start = begun; ;) {
    const { done } = walk.next()
    const now = performance.now()
    samples.push((now - start) * 1000)
    start = now
    if (done) break
    found++
  }
  figures(
    `walk ${filter} (${found} found, ${(performance.now() - begun).toFixed(0)} ms): a step`,
    Float64Array.from(samples),
  )
}
const samples = []
for (const walk = store.matching('+/+/+/+/zzz', 0, 1000); ;) {
  const start = performance.now()
  const { done } = walk.next()
  samples.push((performance.now() - start) * 1000)
  if (done) break
}
figures('walk +/+/+/+/zzz with stride 1000: a step', Float64Array.from(samples))

const expired = []
for (let removed = 1; removed > 0;) {
  const start = performance.now()
  removed = store.expire(1e9, 1000)
  expired.push((performance.now() - start) * 1000)
}
figures('expire, 1,000 at a time', Float64Array.from(expired))
timed('clear', count, (i) => store.clear(messages[i].topic))
console.log(`left: ${store.size} messages, ${store.bytes} bytes`)
