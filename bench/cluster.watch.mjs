// Loaded into a node before its own code (`--import`): tells whoever started it how long its event loop was held up.
import { PerformanceObserver } from 'node:perf_hooks'

const tickMs = 5
const mostStalls = 1000
let last = performance.now()
let longestGcMs = 0
/** Each: when it ended, by the clock on the wall, and how long it was. */
let stalls = []

setInterval(() => {
  const now = performance.now()
  const ms = now - last - tickMs
  if (ms > tickMs && stalls.length < mostStalls) stalls.push({ endMs: Date.now(), ms })
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
