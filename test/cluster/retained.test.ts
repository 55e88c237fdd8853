import { describe, expect, test } from 'vitest'
import { Agreements } from '../../src/cluster/agreements.ts'
import { Buckets } from '../../src/cluster/buckets.ts'
import { RetainedStore } from '../../src/retain/retained.ts'
import { patch } from '../sim/patch.ts'
import { Fleet } from './retained-kit.ts'

const seeds = Number(process.env.RETAINED_SEEDS ?? 60)
const first = Number(process.env.RETAINED_SEED ?? 0)
const topicCount = 12
const tombstoneSeconds = 60

/** What is wrong after a life of a few nodes, or what has ended it. */
function judge(seed: number): string[] {
  try {
    return live(seed)
  } catch (fault) {
    return [`thrown: ${String(fault)}`]
  }
}

/** A few nodes, everything that can go wrong, then quiet: what is wrong then? */
function live(seed: number): string[] {
  const nodes = 3 + (seed % 4 === 0 ? seed % 8 : 0)
  const fleet = new Fleet(seed, { nodes, tombstoneSeconds, skewMs: seed % 3 === 0 ? 50_000 : 0 })
  const { dice, replicas } = fleet
  fleet.heal()
  let texts = 0
  const publish = (): void => {
    const replica = dice.pick(replicas)
    const topic = `t/${dice.below(topicCount)}`
    const text = dice.chance(0.3) ? '' : `${texts++}`
    if (replica.running) fleet.publish(replica, topic, text, dice.chance(0.15) ? dice.pick([1, 5, 20]) : Infinity)
  }
  const deeds = 200
  for (let deed = 0; deed < deeds; deed++)
    dice.weighted<() => void>([
      [40, publish],
      [25, () => fleet.run(dice.between(0, 30))],
      [6, () => fleet.run(dice.between(1000, 8000))],
      [6, () => fleet.cut(dice.pick(replicas), dice.pick(replicas))],
      [8, () => fleet.link(dice.pick(replicas), dice.pick(replicas))],
      [2, () => split(fleet)],
      [2, () => fleet.heal()],
      [2, () => stopOne(fleet)],
      [3, () => startOne(fleet)],
      // Longer than a tombstone is kept.
      [1, () => fleet.run(2 * tombstoneSeconds * 1000)],
    ])()
  fleet.heal()
  fleet.run(60_000)
  const faults = fleet.faults()
  // Tombstones go, and nothing comes back.
  fleet.run(20 * tombstoneSeconds * 1000)
  faults.push(...fleet.faults().map((fault) => `later ${fault}`))
  for (const { name, retained } of replicas)
    if (retained.tombstones > 0) faults.push(`${name} has ${retained.tombstones} tombstones`)
  for (const { name, replication } of replicas)
    if (replication.digest.join() !== replicas[0]!.replication.digest.join()) faults.push(`${name} has another digest`)
  return faults
}

function split(fleet: Fleet): void {
  const side = new Set(fleet.replicas.filter(() => fleet.dice.chance(0.5)))
  for (const a of side) for (const b of fleet.replicas) if (!side.has(b)) fleet.cut(a, b)
}

function stopOne(fleet: Fleet): void {
  const running = fleet.replicas.filter((replica) => replica.running)
  if (running.length > 1) fleet.stop(fleet.dice.pick(running), fleet.dice.pick(['kill', 'crash']))
}

function startOne(fleet: Fleet): void {
  const replica = fleet.replicas.find(({ running }) => !running)
  if (replica === undefined) return
  replica.start()
  for (const other of fleet.replicas) if (fleet.dice.chance(0.7)) fleet.link(replica, other)
}

describe('whatever happens, all nodes retain the last that was set', () => {
  for (let seed = first; seed < first + (process.env.RETAINED_SEED === undefined ? seeds : 1); seed++)
    test(`RETAINED_SEED=${seed}`, () => expect(live(seed)).toEqual([]))
})

describe('planted bugs are found', () => {
  const wrong = /^(later )?t\/\d+: /
  const mutants: readonly (readonly [what: string, sign: RegExp, plant: () => () => void])[] = [
    ['an older one wins', wrong, () => patch(RetainedStore.prototype, 'admits', () => () => true)],
    [
      'a cleared topic leaves no tombstone',
      wrong,
      () =>
        patch(
          RetainedStore.prototype,
          'clear',
          (clear) =>
            function (this: RetainedStore<never>, topic) {
              return clear.call(this, topic)
            },
        ),
    ],
    [
      'what has expired leaves no tombstone',
      wrong,
      () =>
        patch(
          RetainedStore.prototype,
          'expire',
          (expire) =>
            function (this: RetainedStore<never>, nowMs, most) {
              const removed = expire.call(this, nowMs, most)
              for (const { name, expired } of this.tombstonesBehind('', Infinity)) if (expired) this.unbury(name)
              return removed
            },
        ),
    ],
    [
      'hashes of buckets keep what went',
      /has another digest/,
      () =>
        patch(
          Buckets.prototype,
          'went',
          (went) =>
            function (this: Buckets, name, stamp, tombstone) {
              const [hashes, root] = [this.hashes.slice(), this.root.slice()]
              went.call(this, name, stamp, tombstone)
              this.hashes.set(hashes)
              this.root.set(root)
            },
        ),
    ],
    // A name without a stamp cannot be listed.
    ['buckets keep what went', /^thrown: TypeError/, () => patch(Buckets.prototype, 'went', () => () => {})],
    [
      'tombstones go while others have something else',
      wrong,
      () => patch(Agreements.prototype, 'since', () => () => true),
    ],
  ]
  for (const [what, sign, plant] of mutants)
    test(what, () => {
      const undo = plant()
      try {
        let found = false
        for (let seed = 0; seed < 200 && !found; seed++) found = judge(seed).some((fault) => sign.test(fault))
        expect(found).toBe(true)
      } finally {
        undo()
      }
    })
})
