import type { DurabilityRule } from '../../../src/broker/durability.ts'
import { parseFilter } from '../../../src/mqtt/topic.ts'
import { Dice } from '../dice.ts'
import { Checker } from './checker.ts'
import { Crowd, type Habits } from './crowd.ts'
import { Town } from './town.ts'

/** What may happen in a world: one kind of trouble, or all of them. */
export const shapes: readonly Partial<Habits>[] = [
  { fall: 4, part: 3, breaks: 3 },
  { move: 25 },
  { move: 25, leave: 6, race: 4, wills: 40 },
  { move: 15, fall: 4 },
  { move: 10, leave: 4, part: 4, oneWay: 2, pause: 2 },
  { move: 10, leave: 4, race: 3, wills: 30, fall: 4, part: 3, oneWay: 2, breaks: 3, pause: 2 },
  { move: 12, fall: 5, breaks: 2, expires: 25, classes: true },
  { move: 12, leave: 4, drain: 3, expires: 10 },
  { move: 8, fall: 2, part: 2, evict: 2 },
]

const none: Habits = {
  ...{ roamers: 4, steps: 40, publish: 50, subscribe: 10, move: 0, leave: 0, race: 0, wills: 0, shares: false },
  ...{ retains: 0, fall: 0, part: 0, oneWay: 0, breaks: 0, pause: 0, drain: 0, evict: 0, expires: 0, classes: false },
}

const classes: readonly DurabilityRule[] = [
  { filter: parseFilter('u').filter, durability: 'os' },
  { filter: parseFilter('t/b/x').filter, durability: 'memory' },
]

/** A short world of a cluster: its clients live, call out, and leave; a checker judges. Gives the hash of all that crossed. */
export function runTown(seed: number, tell?: (line: string) => void, only?: Partial<Habits>): number {
  const dice = new Dice(seed).fork(9)
  const shape = only ?? new Dice(seed).fork(31).pick(shapes)
  const nodes = dice.pick([2, 3, 3, 3, 4, 5])
  const old = dice.pick(['none', 'none', 'none', 'some', 'all'])
  const town = new Town({
    seed,
    nodes,
    settings: {
      handoffAfterMs: dice.pick([300, 2000]),
      absentOwner: dice.pick(['wait', 'wait', 'fresh']),
    },
    limits: { inflightMessages: dice.pick([2, 1024]), sessionExpirySeconds: 1_000_000 },
    creditBytes: dice.pick([500, 4096, 4_194_304]),
    wireOf: (node) =>
      old === 'all' || (old === 'some' && node.charCodeAt(0) % 2 === 0)
        ? { oldest: 1, newest: 1 }
        : { oldest: 1, newest: 2 },
    weather: {
      latencyMs: dice.pick([
        [1, 1],
        [0.2, 3],
        [5, 40],
      ] as const),
      syncMs: dice.pick([
        [0.2, 1],
        [1, 15],
      ] as const),
      hiccup: dice.pick([0, 0, 0.01]),
    },
    keeps: {
      segmentBytes: dice.pick([16_384, 262_144]),
      checkpointBytes: dice.pick([4096, 65_536]),
      cacheBytes: dice.pick([8192, 262_144]),
      collectBytesPerSecond: 1_000_000,
    },
    ...(dice.chance(0.2) && { skewMs: 3000 }),
    ...(shape.classes === true && { classes }),
    // One that has left, or was given up, is known to nobody when it comes back.
    joinsAll: (shape.drain ?? 0) + (shape.evict ?? 0) > 0,
    tell,
  })
  const crowd = new Crowd(town, {
    ...none,
    roamers: 2 + dice.below(4),
    steps: dice.pick([20, 40, 60]),
    shares: dice.chance(0.3),
    retains: dice.pick([0, 15]),
    ...shape,
  })
  crowd.live()
  crowd.callOut()
  new Checker(town).check()
  crowd.leave()
  town.empty()
  return town.hash
}
