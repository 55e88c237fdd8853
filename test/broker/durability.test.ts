import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DurabilityRules, type DurabilityRule } from '../../src/broker/durability.ts'
import { parseFilter, Topic } from '../../src/mqtt/topic.ts'
import type { Durability } from '../../src/store/port.ts'
import { filters, naiveMatches, topicNames } from '../routing/naive.ts'

const topic = (name: string): Topic => new Topic(name, Buffer.from(name))
const rulesOf = (rules: readonly (readonly [filter: string, durability: Durability])[]): DurabilityRule[] =>
  rules.map(([filter, durability]) => ({ filter: parseFilter(filter).filter, durability }))

const table = rulesOf([
  ['telemetry/alarm/#', 'fsync'],
  ['telemetry/#', 'os'],
  ['+/debug', 'memory'],
  ['a/+/c', 'memory'],
  ['exact', 'memory'],
  ['$internal/#', 'os'],
])
describe('the first rule that matches wins, and where none does, the listener', () => {
  const rules = new DurabilityRules(table)
  for (const [name, listener, wanted] of [
    ['telemetry', 'fsync', 'os'],
    ['telemetry/', 'fsync', 'os'],
    ['telemetry/x/y', 'fsync', 'os'],
    ['telemetryx', 'fsync', 'fsync'],
    ['telemetry/alarm', 'memory', 'fsync'],
    ['telemetry/alarm/fire', 'memory', 'fsync'],
    ['telemetry/alarms', 'memory', 'os'],
    ['telemetry/debug', 'fsync', 'os'],
    ['x/debug', 'fsync', 'memory'],
    ['/debug', 'fsync', 'memory'],
    ['x/debug/y', 'os', 'os'],
    ['$SYS/debug', 'fsync', 'fsync'],
    ['$internal', 'fsync', 'os'],
    ['$internal/a', 'fsync', 'os'],
    ['a//c', 'fsync', 'memory'],
    ['a/b/c', 'fsync', 'memory'],
    ['a/b/c/', 'fsync', 'fsync'],
    ['a/b', 'fsync', 'fsync'],
    ['exac', 'fsync', 'fsync'],
    ['exact', 'fsync', 'memory'],
    ['exact/', 'fsync', 'fsync'],
    ['unruled', 'memory', 'memory'],
  ] as const)
    test(`${name} through a listener of class ${listener}: ${wanted}`, () => {
      const known = topic(name)
      expect(rules.of(known, listener)).toBe(wanted)
      expect(rules.of(known, listener)).toBe(wanted)
    })
})

test('the listener is asked each time, not remembered', () => {
  const rules = new DurabilityRules(table)
  const unruled = topic('unruled')
  expect((['fsync', 'os', 'memory', 'fsync'] as const).map((listener) => rules.of(unruled, listener))).toEqual([
    'fsync',
    'os',
    'memory',
    'fsync',
  ])
})

test('without rules a topic is not touched', () => {
  const rules = new DurabilityRules([])
  const any = topic('a')
  expect(rules.none).toBe(true)
  expect(new DurabilityRules(table).none).toBe(false)
  expect(rules.of(any, 'os')).toBe('os')
  expect(any.durability).toBeUndefined()
})

test('a new instance forgets what the old one decided, and two do not disturb each other', () => {
  const before = new DurabilityRules(rulesOf([['a', 'os']]))
  const after = new DurabilityRules(rulesOf([['+', 'memory']]))
  const known = topic('a')
  for (let round = 0; round < 2; round++) {
    expect(before.of(known, 'fsync')).toBe('os')
    expect(after.of(known, 'fsync')).toBe('memory')
  }
})

test('random rules and topics: the same as trying each filter by splitting strings', () => {
  const durability = fc.constantFrom('fsync', 'os', 'memory')
  const rules = fc.array(fc.record({ filter: filters.map((text) => parseFilter(text).filter), durability }), {
    maxLength: 5,
  })
  const asked = fc.array(topicNames, { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(rules, asked, durability, (given, names, listener) => {
      const made = new DurabilityRules(given)
      for (const name of names) {
        const wanted = given.find(({ filter }) => naiveMatches(filter, name))?.durability ?? listener
        const known = topic(name)
        expect([made.of(known, listener), made.of(known, listener)]).toEqual([wanted, wanted])
      }
    }),
    { numRuns: 2000 },
  )
})
