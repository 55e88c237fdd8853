import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Numbered } from '../../src/store/numbered.ts'
import { noPage, type Page, pagePlaces, Places, placesFor } from '../../src/store/places.ts'
import { Subscriptions } from '../../src/store/subscriptions.ts'

const commands = <T>(argument: fc.Arbitrary<T>) =>
  fc.array(fc.record({ do: fc.constantFrom('set', 'set', 'delete', 'clear'), it: argument }), { maxLength: 60 })

describe('what goes by number', () => {
  // Neighbours, pages apart, and beyond 32 bits.
  const number = fc.oneof(
    fc.nat(600),
    fc.nat(5).map((n) => 2 ** 32 + n * 256),
    fc.nat(3),
  )

  test('does what a map does', () => {
    fc.assert(
      fc.property(commands(number), (steps) => {
        const numbered = new Numbered<{ at: number }>()
        const map = new Map<number, { at: number }>()
        for (const [at, { do: what, it }] of steps.entries()) {
          if (what === 'set') {
            numbered.set(it, { at })
            map.set(it, { at })
          } else {
            numbered.delete(it)
            map.delete(it)
          }
          expect(numbered.get(it)).toEqual(map.get(it))
          expect(numbered.size).toBe(map.size)
        }
        for (const [key, value] of map) expect(numbered.get(key)).toEqual(value)
        expect(Array.from(numbered.values(), ({ at }) => at).sort()).toEqual(
          Array.from(map.values(), ({ at }) => at).sort(),
        )
      }),
      { seed: 1, numRuns: 300 },
    )
  })
})

describe('subscriptions of a session', () => {
  test('do what a map does', () => {
    fc.assert(
      fc.property(commands(fc.constantFrom('a', 'b', 'c/#')), (steps) => {
        const subscriptions = new Subscriptions()
        const map = new Map<string, number>()
        for (const [at, { do: what, it }] of steps.entries()) {
          if (what === 'set') {
            subscriptions.set(it, at % 3)
            map.set(it, at % 3)
          } else if (what === 'delete') expect(subscriptions.delete(it)).toBe(map.delete(it))
          else {
            subscriptions.clear()
            map.clear()
          }
          expect([subscriptions.get(it), subscriptions.has(it)]).toEqual([map.get(it), map.has(it)])
          expect(subscriptions.size).toBe(map.size)
          expect(new Map(subscriptions)).toEqual(map)
          expect([...subscriptions.keys()].sort()).toEqual([...map.keys()].sort())
        }
      }),
      { seed: 1, numRuns: 300 },
    )
  })
})

describe('places', () => {
  test.each([
    ...[
      [0, 4],
      [1, 4],
      [4, 4],
      [5, 8],
      [16, 16],
      [17, 32],
      [5_000_000, 8_388_608],
    ],
  ] as const)('a queue of %i has %i', (length, places) => expect(placesFor(length)).toBe(places))

  test('blocks do not overlap, are of zeros, and are used again', () => {
    const block = fc.record({ length: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constant(3000)), ends: fc.nat(8) })
    fc.assert(
      fc.property(fc.array(block, { maxLength: 400 }), (steps) => {
        const places = new Places()
        const held: { page: Page; first: number; count: number; mark: number }[] = []
        const check = ({ page, first, count }: (typeof held)[number], expected: number) => {
          const places = Array.from({ length: count }, (_, at) => first + at)
          const is = places.every(
            (at) => page.entries[at] === expected && page.lsn(at) === expected && page.expiry(at) === expected,
          )
          expect(is, `places ${first} to ${first + count} are ${expected}`).toBe(true)
        }
        for (const [at, { length, ends }] of steps.entries()) {
          const count = placesFor(length)
          const page = places.page(count)
          const taken = { page, first: page.take(), count, mark: at + 1 }
          check(taken, 0)
          for (let place = taken.first; place < taken.first + count; place++) {
            page.entries[place] = taken.mark
            page.setLsn(place, taken.mark)
            page.setExpiry(place, taken.mark)
          }
          held.push(taken)
          if (ends > 4) continue
          const [over] = held.splice(ends % held.length, 1)
          check(over!, over!.mark)
          over!.page.release(over!.first)
        }
        for (const one of held) check(one, one.mark)
      }),
      { seed: 1, numRuns: 60 },
    )
  })

  test('a full page makes room for others, and the room of those that have left is used first', () => {
    const places = new Places()
    const blocks = Array.from({ length: pagePlaces / 4 }, () => {
      const page = places.page(4)
      return { page, first: page.take() }
    })
    expect(new Set(blocks.map(({ page }) => page)).size).toBe(1)
    const next = places.page(4)
    expect(next).not.toBe(blocks[0]!.page)
    next.release(next.take())
    for (const { page, first } of blocks.slice(0, 2)) page.release(first)
    // One page without any is kept, and no more.
    expect([next, blocks[0]!.page]).toContain(places.page(4))
  })

  test('what is copied takes all that is known of it along', () => {
    const places = new Places()
    const from = places.page(4)
    const first = from.take()
    from.entries.set([1, 2, 3, 4], first)
    from.setLsn(first + 1, 2 ** 40)
    const to = places.page(8)
    const at = to.take()
    from.copy(first, 4, to, at)
    expect([...to.entries.subarray(at, at + 8)]).toEqual([1, 2, 3, 4, 0, 0, 0, 0])
    expect([to.lsn(at), to.lsn(at + 1), to.expiry(at + 1)]).toEqual([0, 2 ** 40, 0])
    expect([noPage.lsn(0), noPage.expiry(0)]).toEqual([0, 0])
  })
})
