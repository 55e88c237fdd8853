// What else the machine does is none of the broker's stalls: how long this process's main thread was ready to run, and had no core.
import { existsSync, openSync, readSync } from 'node:fs'

const schedule = `/proc/self/task/${process.pid}/schedstat`
const file = existsSync(schedule) ? openSync(schedule, 'r') : undefined
const line = Buffer.alloc(128)

/** Milliseconds since its start; 0 where the system does not say. */
export function waitedMs() {
  if (file === undefined) return 0
  const length = readSync(file, line, 0, line.length, 0)
  return Number(line.toString('latin1', 0, length).split(' ')[1]) / 1e6
}
