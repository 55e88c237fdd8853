import { expect, test } from 'vitest'
import { closest } from '../../src/config/suggest.ts'

const known = ['listeners', 'data', 'logLevel', 'limits', 'ca', 'cert']
for (const [word, wanted] of [
  ['listners', 'listeners'],
  ['listener', 'listeners'],
  ['Listeners', 'listeners'],
  ['loglevel', 'logLevel'],
  ['dtaa', 'data'],
  ['limit', 'limits'],
  ['cret', 'cert'],
  ['car', 'ca'],
  ['x', undefined],
  ['storage', undefined],
  ['', undefined],
] as const)
  test(`"${word}" ${wanted ? `means ${wanted}` : 'means nothing known'}`, () => {
    expect(closest(word, known)).toBe(wanted)
  })
