import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseFilter, type Topic, type TopicFilter, TopicTable } from '../../src/mqtt/topic.ts'
import { isNewer, type Stamp } from '../../src/mqtt/stamp.ts'
import { RetainedStore } from '../../src/retain/retained.ts'
import type { Tombstone } from '../../src/retain/tombstones.ts'
import { filters, naiveMatches, topicNames } from '../routing/naive.ts'

interface Fake {
  readonly topic: Topic
  readonly bytes: number
  readonly expiresAtMs: number
  readonly payloadLength: number
  readonly stamp: Stamp | undefined
}
const table = new TopicTable()
const fake = (name: string, bytes = 1, expiresAtMs = Infinity, stamp?: Stamp, payloadLength = 1): Fake => ({
  payloadLength,
  stamp,
  topic: table.named(name),
  bytes,
  expiresAtMs,
})
const filter = (text: string): TopicFilter => parseFilter(text).filter
const unlimited = { messages: Infinity, bytes: Infinity }
function storeOf(...messages: Fake[]): RetainedStore<Fake> {
  const store = new RetainedStore<Fake>(unlimited)
  for (const message of messages) store.set(message)
  return store
}
const names = (messages: Iterable<Fake>): string[] => [...messages].map(({ topic }) => topic.name)

describe('limits', () => {
  const limited = new RetainedStore<Fake>({ messages: 2, bytes: 100 })
  for (const [what, message, taken, size, bytes] of [
    ['a first message', fake('a', 60), true, 1, 60],
    ['too many bytes', fake('b', 41), false, 1, 60],
    ['up to the limit', fake('b', 40), true, 2, 100],
    ['too many messages', fake('c', 0), false, 2, 100],
    ['a replacement that is too large', fake('a', 61), false, 2, 100],
    ['one of the same size', fake('a', 60), true, 2, 100],
    ['a smaller one', fake('a', 10), true, 2, 50],
    ['a larger one that fits', fake('b', 90), true, 2, 100],
  ] as const)
    test(`${what} is ${taken ? 'kept' : 'refused'}`, () => {
      const before = limited.get(message.topic.name)
      expect(limited.set(message)).toBe(taken)
      expect([limited.size, limited.bytes]).toEqual([size, bytes])
      expect(limited.get(message.topic.name)).toBe(taken ? message : before)
    })

  test('a smaller one is taken even where the limit has been lowered', () => {
    const limits = { messages: 10, bytes: 100 }
    const store = new RetainedStore<Fake>(limits)
    store.set(fake('a', 50))
    store.set(fake('b', 50))
    Object.assign(limits, { messages: 1, bytes: 10 })
    expect([store.set(fake('a', 49)), store.set(fake('a', 50)), store.bytes]).toEqual([true, false, 99])
  })
})

test('clear forgets, and says whether there was one', () => {
  const store = storeOf(fake('a/b', 3), fake('a', 4))
  const [there, not] = [table.named('a/b'), table.named('a/c')]
  expect([store.clear(not), store.clear(there), store.clear(there)]).toEqual([false, true, false])
  expect([store.size, store.bytes, store.get('a/b'), names(store.matching(filter('#'), 0))]).toEqual([
    1,
    4,
    undefined,
    ['a'],
  ])
})

const retained = [
  '$SYS/up',
  '/',
  '/a',
  'a',
  'a!',
  'a!/x',
  'a/',
  'a/b',
  'a/b/c',
  'a/b!',
  'a/b!/c',
  'a/b0',
  'a/é/c',
  'ab',
  'b/b/c',
  '__proto__/x',
]
for (const text of [
  '#',
  '+',
  '+/#',
  'a',
  'a/#',
  'a/+',
  'a/+/c',
  '+/b/c',
  '+/+/c',
  'a/b/#',
  '/#',
  '/+',
  '+/',
  '$SYS/#',
  '$SYS/+',
  'z/#',
  'a/b/c/d',
  '__proto__/+',
  '+/+/+/+',
])
  test(`matching "${text}" agrees with the rules, in order`, () => {
    const store = storeOf(...retained.map((name) => fake(name)))
    expect(names(store.matching(filter(text), 0))).toEqual(retained.filter((name) => naiveMatches(text, name)).sort())
  })

test('what has expired is skipped and removed, and expire finds the rest', () => {
  const store = storeOf(fake('a/1', 1, 10), fake('a/2', 1, 20), fake('b/1', 1, 10), fake('b/2', 1, 30), fake('c'))
  expect(names(store.matching(filter('a/#'), 10))).toEqual(['a/2'])
  expect([store.size, store.bytes]).toEqual([4, 4])
  expect([store.expire(9), store.expire(20), store.expire(20), store.expire(1e9)]).toEqual([0, 2, 0, 1])
  expect(names(store.matching(filter('#'), 1e9))).toEqual(['c'])
})

test('a new expiry replaces the old one, and a bounded expire goes on where it stopped', () => {
  const store = new RetainedStore<Fake>(unlimited)
  for (let round = 0; round < 3; round++)
    for (let i = 0; i < 1000; i++) store.set(fake(`d/${i}`, 1, 100 + ((i * 7) % 1000) + round))
  expect(store.expire(101)).toBe(0)
  expect([store.expire(601, 300), store.expire(601, 300), store.size]).toEqual([300, 200, 500])
})

test('a walk over very many starts at once, and goes on through sets and clears', () => {
  const count = 20_000
  const store = new RetainedStore<Fake>(unlimited)
  for (let i = 0; i < count; i++) store.set(fake(`dev/${i}/temp`))
  const walk = store.matching(filter('#'), 0)
  const seen = new Set<string>()
  for (let i = 0; i < count / 2; i++) seen.add(walk.next().value!.topic.name)
  for (let i = 0; i < count; i += 2) store.clear(table.named(`dev/${i}/temp`))
  for (let i = 0; i < count; i++) store.set(fake(`dev/${i}/new`))
  for (const message of walk) {
    expect(seen.has(message.topic.name)).toBe(false)
    seen.add(message.topic.name)
  }
  for (let i = 1; i < count; i += 2) expect(seen.has(`dev/${i}/temp`)).toBe(true)
  expect([...seen].some((name) => name.endsWith('new'))).toBe(false)
})

test('leaves split and merge under walks', () => {
  const change = fc.tuple(fc.boolean(), fc.nat(2999), fc.nat(20))
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 50, maxLength: 50 }),
      fc.integer({ min: 1, max: 400 }),
      (changes, stride) => {
        const store = new RetainedStore<Fake>(unlimited)
        const naive = new Set<string>()
        for (let i = 0; i < 3000; i += 2) naive.add(`dev/${i}`)
        for (const name of naive) store.set(fake(name))
        const untouched = new Set(naive)
        const walk = store.matching(filter('dev/+'), 0)
        const given: string[] = []
        for (const [add, from, pace] of changes) {
          for (let i = from; i < Math.min(3000, from + stride); i++) {
            const name = `dev/${i}`
            untouched.delete(name)
            if (add) store.set(fake(name))
            else store.clear(table.named(name))
            if (add) naive.add(name)
            else naive.delete(name)
          }
          for (let i = 0; i < pace; i++) {
            const next = walk.next()
            if (next.done !== true) given.push(next.value.topic.name)
          }
        }
        given.push(...names(walk))
        expect(new Set(given).size, 'each comes once').toBe(given.length)
        for (const name of untouched) expect(given).toContain(name)
        expect(names(store.matching(filter('#'), 0))).toEqual([...naive].sort())
      },
    ),
    { numRuns: 30 },
  )
})

test('a subscriber that clears each message that it gets, sees each one', () => {
  const store = storeOf(...Array.from({ length: 1000 }, (_, i) => fake(`dev/${i}`)))
  let seen = 0
  for (const message of store.matching(filter('dev/+'), 0)) {
    seen++
    store.clear(message.topic)
  }
  expect([seen, store.size]).toEqual([1000, 0])
})

test('with a stride, a walk that finds nothing gives others their turn', () => {
  const store = storeOf(...Array.from({ length: 1000 }, (_, i) => fake(`dev/${i}`)), fake('x/y/z'))
  const steps = [...store.matching(filter('+/+/z'), 0, 100)]
  expect(steps.filter((step) => step === undefined).length).toBeGreaterThanOrEqual(9)
  expect(steps.filter((step) => step !== undefined).length).toBe(1)
})

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('set' as const),
      name: topicNames,
      bytes: fc.nat(9),
      lifeMs: fc.constantFrom(1, 5, 50, Infinity),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('clear' as const), name: topicNames }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('walk' as const), filter: filters, stride: fc.constantFrom(1, 2, 1000) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('step' as const), which: fc.nat(3), times: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expire' as const), most: fc.constantFrom(1, 10_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(6) }) },
)

test('any sequence of set, clear, expire and interleaved walks agrees with a Map', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80, size: 'max' }), fc.constantFrom(20, 60, Infinity), (steps, limit) => {
      const limits = { messages: limit / 5, bytes: limit }
      const store = new RetainedStore<Fake>(limits)
      const naive = new Map<string, Fake>()
      const bytes = () => [...naive.values()].reduce((sum, message) => sum + message.bytes, 0)
      const walks: {
        text: string
        startMs: number
        due: Set<Fake>
        given: Set<Fake>
        steps: Iterator<Fake | undefined, void>
      }[] = []
      let nowMs = 0
      const stepWalk = (walk: (typeof walks)[number]): boolean => {
        const { done, value } = walk.steps.next()
        // A walk may remove what had expired when it began, and nothing else.
        for (const [name, message] of naive)
          if (message.expiresAtMs <= walk.startMs && store.get(name) === undefined) naive.delete(name)
        if (done === true) {
          for (const message of walk.due)
            if (naive.get(message.topic.name) === message) expect(walk.given).toContain(message)
          return false
        }
        if (value === undefined) return true
        expect(walk.due, 'it was there when the walk began').toContain(value)
        expect(walk.given, 'it comes once').not.toContain(value)
        expect(naive.get(value.topic.name), 'it is there still').toBe(value)
        walk.given.add(value)
        return true
      }
      for (const step of steps) {
        if (step.do === 'set') {
          const message = fake(step.name, step.bytes, nowMs + step.lifeMs)
          const old = naive.get(step.name)
          const after = bytes() - (old?.bytes ?? 0) + step.bytes
          const taken =
            (old !== undefined || naive.size + 1 <= limits.messages) &&
            (after <= limits.bytes || (old !== undefined && step.bytes <= old.bytes))
          expect(store.set(message)).toBe(taken)
          if (taken) naive.set(step.name, message)
        } else if (step.do === 'clear') expect(store.clear(table.named(step.name))).toBe(naive.delete(step.name))
        else if (step.do === 'walk') {
          const matching = [...naive.values()].filter(
            ({ topic, expiresAtMs }) => naiveMatches(step.filter, topic.name) && expiresAtMs > nowMs,
          )
          const due = new Set(matching)
          walks.push({
            text: step.filter,
            startMs: nowMs,
            due,
            given: new Set(),
            steps: store.matching(filter(step.filter), nowMs, step.stride),
          })
        } else if (step.do === 'step') {
          const walk = walks[step.which]
          for (let i = 0; walk && i <= step.times; i++) if (!stepWalk(walk)) break
        } else if (step.do === 'wait') nowMs += step.ms
        else {
          const expired = [...naive.values()].filter(({ expiresAtMs }) => expiresAtMs <= nowMs)
          expect(store.expire(nowMs, step.most)).toBe(Math.min(expired.length, step.most))
          for (const { topic } of expired) if (store.get(topic.name) === undefined) naive.delete(topic.name)
        }
        expect([store.size, store.bytes]).toEqual([naive.size, bytes()])
        for (const [name, message] of naive) expect(store.get(name)).toBe(message)
      }
      for (const walk of walks) while (stepWalk(walk));
    }),
    { numRuns: 400 },
  )
})

describe('in a cluster', () => {
  const stamp = (ms: number, count = 0, node = 'a'): Stamp => ({ ms, count, node })
  const cleared = (name: string, ms: number): Fake => fake(name, 1, Infinity, stamp(ms), 0)
  const watched = (most?: number) => {
    const store = new RetainedStore<Fake>(unlimited, most)
    const told: string[] = []
    const tell =
      (what: string) =>
      (name: string, { ms }: Stamp, tombstone: Tombstone | undefined) =>
        void told.push(`${what} ${name} ${ms}${tombstone ? (tombstone.expired ? ' expired' : ' cleared') : ''}`)
    store.watch({ came: tell('came'), went: tell('went') })
    return { store, told }
  }

  test.each<[stamp: Stamp, than: Stamp | undefined, newer: boolean]>([
    [stamp(1), undefined, true],
    [stamp(2), stamp(1, 9, 'z'), true],
    [stamp(1, 9, 'z'), stamp(2), false],
    [stamp(1, 2), stamp(1, 1, 'z'), true],
    [stamp(1, 1, 'b'), stamp(1, 1, 'a'), true],
    [stamp(1, 1, 'a'), stamp(1, 1, 'a'), false],
  ])('%j is newer than %j: %s', (one, than, newer) => expect(isNewer(one, than)).toBe(newer))

  test('a topic that was cleared keeps its stamp, and a watcher hears of all that has one', () => {
    const { store, told } = watched()
    store.set(fake('t', 1, Infinity, stamp(1)))
    store.set(fake('t', 1, Infinity, stamp(2)))
    expect([store.admits('t', stamp(2)), store.admits('t', stamp(3)), store.admits('u', stamp(0))]).toEqual([
      false,
      true,
      true,
    ])
    expect(store.set(cleared('t', 3))).toBe(true)
    expect([store.size, store.tombstones, store.get('t'), store.stampOf('t')]).toEqual([0, 1, undefined, stamp(3)])
    expect(store.set(cleared('t', 4))).toBe(true)
    store.set(fake('t', 1, Infinity, stamp(5)))
    expect([store.size, store.tombstones]).toEqual([1, 0])
    store.set(fake('t'))
    expect(told).toEqual([
      'came t 1',
      'went t 1',
      'came t 2',
      'went t 2',
      'came t 3 cleared',
      'went t 3 cleared',
      'came t 4 cleared',
      'went t 4 cleared',
      'came t 5',
      'went t 5',
    ])
  })

  test('what expires leaves a tombstone, if there is a stamp', () => {
    const { store, told } = watched()
    store.set(fake('a', 1, 10, stamp(1)))
    store.set(fake('b', 1, 10))
    store.set(fake('c', 1, 10, stamp(2)))
    expect(names(store.matching(filter('c'), 10))).toEqual([])
    expect(store.expire(10)).toBe(2)
    expect([store.size, store.tombstones, store.stampOf('a'), store.stampOf('c')]).toEqual([0, 2, stamp(1), stamp(2)])
    expect(told.slice(2)).toEqual(['went c 2', 'came c 2 expired', 'went a 1', 'came a 1 expired'])
  })

  test('a node alone keeps none of what expires', () => {
    const store = storeOf(fake('a', 1, 10, stamp(1)))
    expect([store.expire(10), store.tombstones]).toEqual([1, 0])
  })

  test('of too many tombstones those of expired messages go first, then the oldest', () => {
    const { store } = watched(2)
    store.set(cleared('a', 5))
    store.set(fake('b', 1, 10, stamp(7)))
    store.expire(10)
    store.set(cleared('c', 6))
    expect([store.stampOf('a'), store.stampOf('b'), store.stampOf('c')]).toEqual([stamp(5), undefined, stamp(6)])
    store.set(cleared('d', 7))
    expect([store.stampOf('a'), store.tombstones, store.droppedTombstones]).toEqual([undefined, 2, 2])
  })

  test('tombstones are walked by name', () => {
    const { store } = watched()
    for (let i = 0; i < 1000; i++) store.set(cleared(`t/${String(i).padStart(4, '0')}`, i + 1))
    const walked: string[] = []
    for (let some = store.tombstonesBehind('', 7); some.length > 0; some = store.tombstonesBehind(walked.at(-1)!, 7))
      walked.push(...some.map(({ name }) => name))
    expect(walked).toEqual(Array.from({ length: 1000 }, (_, i) => `t/${String(i).padStart(4, '0')}`))
  })
})
