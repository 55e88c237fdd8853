import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ExpiryHeap } from '../../src/retain/expiry.ts'
import { Scan } from '../../src/retain/scan.ts'
import { filters, naiveMatches, topicNames } from '../routing/naive.ts'

// Characters on both sides of the slash in the order of names.
const names = fc.oneof(
  topicNames,
  fc.string({ unit: fc.constantFrom('a', 'b', '/', '/', '!', '0', '$'), minLength: 1, maxLength: 7 }),
)
const wild = fc.oneof(
  filters,
  fc.constantFrom('a/+/b', 'a/b/#', '+/b/a', 'a/b', '+/b/#', '+/+/b', 'a/+/b/#', '/b/#', 'b!/+', '+/b!/a'),
)

test('a leap lands behind the name that it starts from, and passes over no match', () => {
  fc.assert(
    fc.property(wild, names, fc.array(names, { maxLength: 30, size: 'max' }), (filter, name, others) => {
      const scan = new Scan(filter)
      for (const other of [name, ...others]) {
        expect(scan.matches(other)).toBe(naiveMatches(filter, other))
        if (scan.matches(other)) expect(scan.start <= other).toBe(true)
      }
      if (scan.matches(name)) return
      const leap = scan.leap(name)
      if (leap !== undefined) expect(leap >= name).toBe(true)
      for (const other of others)
        if (other > name && scan.matches(other)) expect(leap !== undefined && leap <= other, `to ${other}`).toBe(true)
    }),
    { numRuns: 2000 },
  )
})

for (const [filter, name, leap] of [
  ['a/+/c', 'a/1/b', 'a/1/c'],
  ['a/+/c', 'a/1/d/x', 'a/10'],
  ['a/+/c', 'b/1/c', undefined],
  ['+/b/c', 'a/b!/c', 'a/b/'],
  ['+/b/c', 'a/b', 'a/b'],
  ['+/b/c', 'a/b/c/d', 'a/b/c0'],
  ['#', '$SYS/x', '%'],
  ['a/b', 'a/c', 'a0'],
] as const)
  test(`"${filter}" leaps from "${name}" to ${leap === undefined ? 'the end' : `"${leap}"`}`, () => {
    expect(new Scan(filter).leap(name)).toBe(leap)
  })

test('the heap gives what expires first, whatever is removed from its middle', () => {
  const step = fc.record({ remove: fc.boolean(), which: fc.nat(40), time: fc.nat(100) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
      const heap = new ExpiryHeap<{ heapAt: number; time: number }>()
      const naive: { heapAt: number; time: number }[] = []
      for (const { remove, which, time } of steps) {
        if (remove && naive.length > 0) heap.remove(naive.splice(which % naive.length, 1)[0]!)
        else {
          const item = { heapAt: -1, time }
          naive.push(item)
          heap.add(item, time)
        }
        const first = Math.min(...naive.map((item) => item.time))
        expect(heap.expired(Infinity)?.time ?? Infinity).toBe(first)
        expect(heap.expired(first - 1)).toBeUndefined()
      }
    }),
  )
})
