import { Checker } from './checker.ts'
import { Crowd } from './crowd.ts'
import { Dice } from './dice.ts'
import { decidingHooks } from './hooks.ts'
import type { StoreHabits } from './machine.ts'
import { World } from './world.ts'

/** A short world: a crowd lives in it, calls out, and leaves; then the checker judges. Gives the hash of all that crossed. */
export function runSeed(seed: number, tell?: (line: string) => void, habits: StoreHabits = {}): number {
  const dice = new Dice(seed).fork(9)
  const hookMs = dice.pick([-1, -1, -1, 0, 5, 50])
  const world = new World({
    seed,
    limits: {
      queueMessages: dice.pick([5, 40, 1000]),
      inflightMessages: dice.pick([1, 3, 1024]),
      unsentBytes: dice.pick([4096, 65_536, 1024 * 1024]),
      receiveMaximum: dice.pick([2, 20, 100]),
      retainedMessages: dice.pick([1000, 1000, 1000, 2]),
      topicAliases: dice.pick([0, 2, 32]),
      sessionExpirySeconds: 60,
      sysSeconds: dice.pick([0, 0, 0, 1]),
    },
    syncMs: dice.pick([0, 1, 10, 60]),
    keeps: {
      segmentBytes: dice.pick([16_384, 65_536]),
      checkpointBytes: dice.pick([2048, 8192, 65_536]),
      cacheBytes: dice.pick([8192, 65_536]),
      batchBytes: dice.pick([4096, 1_000_000]),
      collectBytesPerSecond: 1_000_000,
      ...habits,
    },
    weather: {
      latencyMs: dice.pick([1, 5, 30]),
      hiccup: dice.pick([0, 0.02]),
      burstBytes: dice.pick([100, 3000, 200_000]),
    },
    ...(hookMs >= 0 && { hooks: ({ time }) => decidingHooks(time, dice.fork(1), hookMs) }),
    ...(tell && { tell }),
  })
  const crowd = new Crowd(world, {
    clients: 2 + dice.below(4),
    deeds: dice.pick([10, 20, 30]),
    trouble: dice.pick([0, 2, 2, 5]),
    shares: dice.chance(0.5),
    denies: hookMs >= 0,
    falls: dice.pick([0, 0, 1, 1, 2, 4]),
  })
  crowd.live()
  const quietFrom = world.history.publications.length
  crowd.callOut()
  new Checker(world, quietFrom, hookMs > 0).check()
  crowd.leave()
  world.empty()
  return world.hash
}
