// Loaded into a node before its own code (`--import`): tells whoever started it how long its event loop was held up.
import { PerformanceObserver } from 'node:perf_hooks'
import { waitedMs } from './waited.mjs'

const tickMs = 5
const mostStalls = 1000
let last = performance.now()
let waited = waitedMs()
let longestGcMs = 0
/** Each: when it ended, by the clock on the wall, how long it was, and how much of that there was no core for us. */
let stalls = []

setInterval(() => {
  const now = performance.now()
  const ms = now - last - tickMs
  const waitedNow = waitedMs()
  const withoutCoreMs = Math.min(ms, waitedNow - waited)
  if (ms > tickMs && stalls.length < mostStalls) stalls.push({ endMs: Date.now(), ms, withoutCoreMs })
  waited = waitedNow
  last = now
}, tickMs).unref()

new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) longestGcMs = Math.max(longestGcMs, duration)
}).observe({ entryTypes: ['gc'] })

// Each question begins anew.
process.on('message', () => {
  const cpu = process.cpuUsage()
  process.send({ stalls, longestGcMs, cpuMs: (cpu.user + cpu.system) / 1000 })
  stalls = []
  longestGcMs = 0
})
process.channel.unref()
