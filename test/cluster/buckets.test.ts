import { expect, test } from 'vitest'
import { bucketCount, bucketOf, Buckets } from '../../src/cluster/buckets.ts'
import type { Stamp } from '../../src/mqtt/stamp.ts'
import { Topic } from '../../src/mqtt/topic.ts'
import { RetainedStore } from '../../src/retain/retained.ts'
import { Dice } from '../sim/dice.ts'

interface Kept {
  readonly topic: Topic
  readonly bytes: number
  readonly expiresAtMs: number
  readonly payloadLength: number
  readonly stamp: Stamp | undefined
}

/** What buckets should hold, from nothing but what is retained now. */
function anew(retained: RetainedStore<Kept>): Buckets {
  const buckets = new Buckets()
  for (const { topic, stamp } of retained.all()) if (stamp !== undefined) buckets.came(topic.name, stamp)
  for (const { name, stamp, retiredAt } of retained.tombstonesBehind('', Infinity))
    if (retiredAt === 0) buckets.came(name, stamp)
  return buckets
}

test('whatever comes and goes, a bucket lists what has a stamp, and its hash is that of what is there', () => {
  for (let seed = 0; seed < 60; seed++) {
    const dice = new Dice(seed)
    const retained = new RetainedStore<Kept>({ messages: 12, bytes: 400 }, 6)
    const buckets = new Buckets()
    const topics = Array.from({ length: 20 }, (_, i) => new Topic(`t/${i}`, Buffer.from(`t/${i}`)))
    let ms = 0
    const stampOrNone = (): Stamp | undefined =>
      dice.chance(0.1) ? undefined : { ms: ++ms, count: dice.below(3), node: dice.pick(['a', 'b']) }
    const keep = (): void => {
      const [topic, bytes] = [dice.pick(topics), dice.between(1, 60)]
      const expiresAtMs = dice.chance(0.3) ? ms + dice.between(0, 40) : Infinity
      retained.set({ topic, bytes, expiresAtMs, payloadLength: dice.chance(0.2) ? 0 : 1, stamp: stampOrNone() })
    }
    for (let deed = 0; deed < 20; deed++) keep()
    retained.watch(buckets)
    for (let deed = 0; deed < 300; deed++) {
      dice.weighted<() => void>([
        [40, keep],
        [10, () => void retained.clear(dice.pick(topics), stampOrNone())],
        [10, () => void retained.expire(ms)],
        [5, () => retained.unbury(dice.pick(topics).name)],
        [5, () => void [...retained.matching('t/+' as never, ms)]],
        [
          10,
          () => {
            const tombstone = retained.tombstonesBehind('', Infinity).find(({ retiredAt }) => retiredAt === 0)
            if (tombstone) buckets.retire(tombstone)
          },
        ],
      ])()
      const right = anew(retained)
      const told = [buckets.size, ...buckets.root].join()
      expect(told, `seed ${seed}, deed ${deed}`).toBe([right.size, ...right.root].join())
    }
    const right = anew(retained)
    expect([...buckets.hashes]).toEqual([...right.hashes])
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      expect([...buckets.names(bucket)].sort()).toEqual([...right.names(bucket)].sort())
      for (const name of buckets.names(bucket)) {
        expect(bucketOf(name)).toBe(bucket)
        expect(retained.stampOf(name)).toBeDefined()
      }
    }
  }
})
