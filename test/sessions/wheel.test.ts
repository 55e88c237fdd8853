import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Timed, TimingWheel } from '../../src/sessions/wheel.ts'

const turnMs = 51_200

/** Something with a deadline, which it may move when it is called. */
class Item implements Timed {
  dueMs = Infinity
  tick = -1
  calls: number[] = []
  then: ((nowMs: number) => void) | undefined = undefined

  due(nowMs: number): void {
    this.calls.push(nowMs)
    this.then?.(nowMs)
  }
}

describe('a timing wheel', () => {
  test.each<[name: string, at: number, advances: number[], called: number[]]>([
    ['not before its time', 1000, [999], []],
    ['in the tick of its time', 1000, [1000], [1000]],
    ['two ticks late at most', 1001, [1099, 1100], [1100]],
    ['what is past, in the next tick', -5, [50, 100], [100]],
    ['what is now, in the next tick', 0, [0, 99, 100], [100]],
    ['once', 1000, [1000, 2000, 60_000, 120_000], [1000]],
    ['behind a whole turn', turnMs + 1000, [turnMs, turnMs + 999, turnMs + 1000], [turnMs + 1000]],
    ['behind many turns', 10 * turnMs, [3 * turnMs, 10 * turnMs - 1, 10 * turnMs], [10 * turnMs]],
    ['after a day without a tick', 1000, [86_400_000], [86_400_000]],
    ['not after a day, when it waits for the day after', 2 * 86_400_000, [86_400_000], []],
    ['never', Infinity, [86_400_000], []],
    ['not by a clock that goes back', 1000, [900, 100, 999], []],
  ])('calls %s', (_name, at, advances, called) => {
    const wheel = new TimingWheel(0)
    const item = new Item()
    wheel.schedule(item, at)
    for (const nowMs of advances) wheel.advance(nowMs)
    expect(item.calls).toEqual(called)
  })

  test('an item that moves its deadline each time is called each time', () => {
    const wheel = new TimingWheel(0)
    const item = new Item()
    item.then = (nowMs) => wheel.schedule(item, nowMs + 30_000)
    wheel.schedule(item, 30_000)
    for (let nowMs = 0; nowMs <= 600_000; nowMs += 100) wheel.advance(nowMs)
    expect(item.calls).toEqual(Array.from({ length: 20 }, (_, n) => (n + 1) * 30_000))
  })

  test('a deadline that moves with every packet costs no entry, and is kept', () => {
    const wheel = new TimingWheel(0)
    const item = new Item()
    for (let nowMs = 0; nowMs < 200_000; nowMs += 10) {
      wheel.advance(nowMs)
      wheel.schedule(item, nowMs + 1500)
    }
    expect(item.calls).toEqual([])
    wheel.advance(201_490)
    expect(item.calls).toEqual([201_490])
  })

  test('does what a plain list does', () => {
    fc.assert(fc.property(fc.nat(300_000), fc.array(step, { maxLength: 80 }), run), { numRuns: 2000, seed: 1 })
  })
})

type Step =
  | { readonly do: 'schedule'; readonly item: number; readonly inMs: number; readonly again: number }
  | { readonly do: 'cancel'; readonly item: number }
  | { readonly do: 'advance'; readonly byMs: number }

const delay = fc.oneof(
  fc.integer({ min: -500, max: 500 }),
  fc.nat(3000),
  fc.integer({ min: turnMs - 300, max: turnMs + 300 }),
  fc.nat(5 * turnMs),
  fc.constant(Infinity),
)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('schedule' as const), item: fc.nat(7), inMs: delay, again: fc.nat(4000) }),
  },
  fc.record({ do: fc.constant('cancel' as const), item: fc.nat(7) }),
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('advance' as const),
      byMs: fc.oneof(
        fc.integer({ min: -200, max: 300 }),
        fc.nat(2000),
        fc.integer({ min: turnMs - 300, max: turnMs + 300 }),
        fc.nat(10 * turnMs),
      ),
    }),
  },
)

/** Each item is called once for each wish, never before its time, and by the first tick behind it. */
function run(startMs: number, steps: readonly Step[]): void {
  const wheel = new TimingWheel(startMs)
  let nowMs = startMs
  /** The latest tick that was reached: the wheel does not go back. */
  let tick = Math.floor(startMs / 100)
  const wishes = new Map<Item, { dueMs: number; lastTick: number }>()
  const wish = (item: Item, dueMs: number): void => {
    wheel.schedule(item, dueMs)
    // What is wished for while the wheel turns may be found in this turn or in the next tick.
    wishes.set(item, { dueMs, lastTick: Math.max(Math.ceil(dueMs / 100), tick + 1) })
  }
  const items = Array.from({ length: 8 }, () => new Item())
  for (const it of steps) {
    if (it.do === 'schedule') {
      const item = items[it.item]!
      item.then = (calledMs) => {
        const { dueMs } = wishes.get(item) ?? expect.fail('called without a wish')
        if (calledMs !== nowMs || dueMs > nowMs)
          expect.fail(`called at ${calledMs}, wished for ${dueMs}, it is ${nowMs}`)
        wishes.delete(item)
        if (it.again > 2000) wish(item, nowMs + it.again)
      }
      wish(item, nowMs + it.inMs)
    } else if (it.do === 'cancel') {
      wheel.cancel(items[it.item]!)
      wishes.delete(items[it.item]!)
    } else {
      nowMs += it.byMs
      tick = Math.max(tick, Math.floor(nowMs / 100))
      wheel.advance(nowMs)
      for (const { dueMs, lastTick } of wishes.values())
        if (lastTick <= Math.floor(nowMs / 100)) expect.fail(`${dueMs} was forgotten at ${nowMs}`)
    }
  }
}
