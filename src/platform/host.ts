import { randomBytes, randomInt } from 'node:crypto'
import type { Clock, Host, Log, Random } from '../host.ts'

const clock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  every(periodMs, tick) {
    const timer = setInterval(tick, periodMs)
    return () => clearInterval(timer)
  },
  endOfTurn(run) {
    setImmediate(run)
  },
}

export const random: Random = {
  bytes: (count) => randomBytes(count),
  below: (below) => randomInt(below),
}

/** For libraries that want a Date. */
export function dateOf(wallMs: number): Date {
  return new Date(wallMs)
}

/** Node's clock and randomness, with a log of the caller's. */
export function nodeHost(log: Log): Host {
  return { clock, random, log }
}
