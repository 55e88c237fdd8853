import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { patternOf } from '../../src/access/placeholders.ts'
import { Asked, RuleTree } from '../../src/access/rule-tree.ts'
import { filters, naiveMatches, topicNames } from '../routing/naive.ts'

const runs = { numRuns: Number(process.env.COVERAGE_RUNS ?? 3000) }
const nobody = { user: undefined, groups: [], clientId: '' }

function treeOf(...texts: readonly string[]): RuleTree<string> {
  const tree = new RuleTree<string>()
  for (const text of texts) tree.add(patternOf(text), text)
  return tree
}

function covering(tree: RuleTree<string>, asked: string): string[] {
  const found: string[] = []
  tree.covering(new Asked(asked), nobody, found)
  return found
}

function overlapping(tree: RuleTree<string>, asked: string): string[] {
  const found: string[] = []
  tree.overlapping(new Asked(asked), nobody, found)
  return found
}

const covers = (wide: string, narrow: string): boolean => covering(treeOf(wide), narrow).length > 0
const overlaps = (one: string, other: string): boolean => overlapping(treeOf(one), other).length > 0

test('what is said of a topic is what the standard says', () => {
  fc.assert(
    fc.property(filters, topicNames, (filter, topic) => {
      expect(covers(filter, topic)).toBe(naiveMatches(filter, topic))
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

test('covering and overlapping are what every topic says, each alone and all in one tree', () => {
  const sets = small.map((filter) => universe.map((topic) => naiveMatches(filter, topic)))
  const all = treeOf(...small)
  const wrong: string[] = []
  for (const [b, narrow] of small.entries()) {
    const matched = sets[b]!.flatMap((matches, at) => (matches ? [at] : []))
    const covered = small.filter((_, a) => matched.every((at) => sets[a]![at]))
    const shared = small.filter((_, a) => matched.some((at) => sets[a]![at]))
    const same = (which: string, found: readonly string[], wanted: readonly string[]): void => {
      if (found.toSorted().join(' ') !== wanted.toSorted().join(' '))
        wrong.push(`${which} ${narrow}: ${found.join(' ')}`)
    }
    same('covering', covering(all, narrow), covered)
    same('overlapping', overlapping(all, narrow), shared)
    for (const wide of small) {
      if (covers(wide, narrow) !== covered.includes(wide)) wrong.push(`${wide} covers ${narrow}`)
      if (overlaps(wide, narrow) !== shared.includes(wide)) wrong.push(`${wide} overlaps ${narrow}`)
    }
  }
  expect(wrong).toEqual([])
  expect(small.length).toBeGreaterThan(150)
})

test('longer filters: what covers matches all that is matched, and what overlaps is symmetric', () => {
  fc.assert(
    fc.property(filters, filters, topicNames, (one, other, topic) => {
      expect(overlaps(one, other)).toBe(overlaps(other, one))
      if (covers(one, other)) expect(overlaps(one, other)).toBe(true)
      if (covers(one, other) && covers(other, topic)) expect(covers(one, topic)).toBe(true)
      if (covers(one, topic) && covers(other, topic)) expect(overlaps(one, other)).toBe(true)
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
    test(`${wide} ${wanted ? 'covers' : 'does not cover'} ${narrow}`, () => expect(covers(wide, narrow)).toBe(wanted))
})
