// What is measured of a broker that keeps things, beside its throughput: each takes a trial of `measure` and gives a result.
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import { memoryOf, writtenBytes } from './processes.mjs'
import { median } from './report.mjs'

/** For what takes minutes with slow contenders: loading a backlog, making many sessions. */
const longSeconds = 240
/** What was kept comes at once, or not at all. */
const checkSeconds = 20
const prefix = 'kept'

/** Latency at a rate, beside what the disk itself takes for a batch right before and after. */
export async function paced({ folder, load, pace, run }) {
  const diskUs = appendTimesUs(folder, 65_536)
  const result = await run({ ...load, seconds: pace.seconds * 2, warmupSeconds: pace.warmupSeconds * 12 })
  diskUs.push(...appendTimesUs(folder, 65_536))
  Object.assign(result.figures, { diskP50Us: quantile(diskUs, 0.5), diskP99Us: quantile(diskUs, 0.99) })
  return result
}

/** Messages that come one by one, each for many offline sessions: when they are acknowledged, and what is written for them. */
export async function single({ folder, load, pid, run, syncs }) {
  const { rate, messages, ...rest } = load
  // Sessions made, and the broker's code compiled. A publisher without subscribers then reaches those that are there.
  const made = await run({ ...rest, sessions: 'offline', prefix, count: messages, window: 1 }, longSeconds)
  if (made.fault) return made
  const diskUs = appendTimesUs(folder, 16_384)
  const before = writtenBytes(pid())
  const result = await run({ ...rest, subscribers: 0, prefix, rate, seconds: messages / rate, warmupSeconds: 0 })
  const written = writtenBytes(pid()) - before
  diskUs.push(...appendTimesUs(folder, 16_384))
  const { figures } = result
  const diskP50Us = quantile(diskUs, 0.5)
  // mqload does not say when a message was acknowledged.
  const { ackP50Us } = figures
  const brokerUs = syncs && ackP50Us !== undefined ? Math.max(0, ackP50Us - diskP50Us) : ackP50Us
  return { ...result, figures: { ...figures, diskP50Us, brokerUs, writtenBytesEach: Math.round(written / messages) } }
}

/** A backlog for one session, and one client that takes it; memory meanwhile. */
export async function backlog({ load, pid, run }) {
  const before = memoryOf(pid())
  if (before === undefined) return { figures: {}, fault: 'no /proc on this system', lost: 0 }
  let [anonymousBytes, fileBytes] = [0, 0]
  const timer = setInterval(() => {
    const now = memoryOf(pid()) ?? before
    anonymousBytes = Math.max(anonymousBytes, now.anonymousBytes)
    fileBytes = Math.max(fileBytes, now.fileBytes)
  }, 50)
  try {
    const loaded = await run({ ...load, prefix }, longSeconds)
    if (loaded.fault) return loaded
    const drained = await takeOut(run, load.count, 1, longSeconds)
    const figures = {
      loadedPerSecond: loaded.figures.inPerSecond,
      drainedPerSecond: drained.figures.outPerSecond,
      generatorCpu: drained.figures.generatorCpu,
      grownBytes: anonymousBytes - before.anonymousBytes,
      grownFileBytes: fileBytes - before.fileBytes,
    }
    return { ...drained, figures }
  } finally {
    clearInterval(timer)
  }
}

/** @param signal how the broker ends @returns a measure of how soon it is back with what it had, and of its memory then */
export function restarted(signal) {
  return async ({ load, pid, run, restart }) => {
    const { check, ...rest } = load
    const loaded = await run({ ...rest, prefix }, longSeconds)
    if (loaded.fault) return loaded
    const readyMs = await restart(signal)
    const { residentBytes, anonymousBytes } = memoryOf(pid()) ?? {}
    const kept = await takeOut(run, check.messages, check.sessions, checkSeconds)
    return { ...kept, figures: { readyMs, residentBytes, anonymousBytes, loadedPerSecond: loaded.figures.inPerSecond } }
  }
}

async function takeOut(run, messages, subscribers, seconds) {
  const result = await run({ drain: messages, subscribers, prefix }, seconds)
  const { received = 0 } = result.figures
  if (result.fault === undefined || received >= messages) return result
  return {
    ...result,
    lost: messages - received,
    fault: `${received} of ${messages} kept messages came: ${result.fault}`,
  }
}

/** What the disk takes for an append and its fdatasync, in microseconds. */
function appendTimesUs(folder, bytes, times = 200) {
  const file = path.join(folder, 'append')
  const content = Buffer.alloc(bytes, 'x')
  const fd = openSync(file, 'wx')
  try {
    return Array.from({ length: times }, () => {
      const begun = performance.now()
      writeSync(fd, content)
      fdatasyncSync(fd)
      return (performance.now() - begun) * 1000
    })
  } finally {
    closeSync(fd)
    rmSync(file)
  }
}

function quantile(values, share) {
  if (share === 0.5) return median(values)
  return [...values].sort((a, b) => a - b)[Math.ceil(values.length * share) - 1]
}
