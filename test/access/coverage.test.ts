import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { covers, levelsOf, matches, overlaps } from '../../src/access/coverage.ts'
import { filters, naiveMatches, topicNames } from '../routing/naive.ts'

const runs = { numRuns: Number(process.env.COVERAGE_RUNS ?? 3000) }

test('matching is what the standard says', () => {
  fc.assert(
    fc.property(filters, topicNames, (filter, topic) => {
      expect(matches(levelsOf(filter), levelsOf(topic))).toBe(naiveMatches(filter, topic))
    }),
    { numRuns: runs.numRuns * 5 },
  )
})

// Every topic of up to four levels over the words that filters here are made of, and one word that is in none of them:
// of two filters with up to three levels that is enough to tell them apart.
const words = ['', 'a', '$s', 'z']
const universe: string[] = []
const grow = (levels: readonly string[]): void => {
  if (levels.length > 0 && levels.join('/') !== '') universe.push(levels.join('/'))
  if (levels.length < 4) for (const word of words) grow([...levels, word])
}
grow([])

const small: string[] = []
for (const open of [false, true]) {
  const extend = (levels: readonly string[]): void => {
    const text = [...levels, ...(open ? ['#'] : [])].join('/')
    if (text !== '') small.push(text)
    if (levels.length < 3) for (const word of ['', 'a', '$s', '+']) extend([...levels, word])
  }
  extend([])
}

test('covering and overlapping are what every topic says', () => {
  const sets = small.map((filter) => universe.map((topic) => naiveMatches(filter, topic)))
  const wrong: string[] = []
  for (const [a, wide] of small.entries())
    for (const [b, narrow] of small.entries()) {
      const all = sets[b]!.every((matched, at) => !matched || sets[a]![at])
      const some = sets[b]!.some((matched, at) => matched && sets[a]![at])
      if (covers(levelsOf(wide), levelsOf(narrow)) !== all) wrong.push(`${wide} covers ${narrow}: ${all}`)
      if (overlaps(levelsOf(wide), levelsOf(narrow)) !== some) wrong.push(`${wide} overlaps ${narrow}: ${some}`)
    }
  expect(wrong).toEqual([])
  expect(small.length).toBeGreaterThan(150)
})

test('longer filters: what covers matches all that is matched, and what overlaps is symmetric', () => {
  fc.assert(
    fc.property(filters, filters, topicNames, (one, other, topic) => {
      const [a, b, name] = [levelsOf(one), levelsOf(other), levelsOf(topic)]
      expect(overlaps(a, b)).toBe(overlaps(b, a))
      if (covers(a, b)) expect(overlaps(a, b)).toBe(true)
      if (covers(a, b) && matches(b, name)) expect(matches(a, name)).toBe(true)
      if (matches(a, name) && matches(b, name)) expect(overlaps(a, b)).toBe(true)
    }),
    runs,
  )
})

describe('corners', () => {
  for (const [wide, narrow, wanted] of [
    ['#', '$SYS/#', false],
    ['$SYS/#', '$SYS/a/+', true],
    ['+/#', '#', true],
    ['#', '+/#', true],
    ['+/+/#', '#', false],
    ['a/#', 'a', true],
    ['a/+/#', 'a/#', false],
    ['a/+', 'a/#', false],
    ['a/#', 'a/+/b/#', true],
    ['a/b', 'a/+', false],
    ['__proto__/#', '__proto__/constructor', true],
  ] as const)
    test(`${wide} ${wanted ? 'covers' : 'does not cover'} ${narrow}`, () =>
      expect(covers(levelsOf(wide), levelsOf(narrow))).toBe(wanted))
})
