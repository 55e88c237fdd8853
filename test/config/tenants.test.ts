import { describe, expect, test } from 'vitest'
import { complaint, load } from './given.ts'

test('tenants: what is not said is not limited', () => {
  const file = `
tenants:
  north:
    connections: 100
    sessions: 200
    subscriptions: 500
    retainedMessages: 10
    retainedBytes: 1000
    rates: { messagesPerSecond: 50, bytesPerSecond: 5000, bytesBurst: 9000 }
  '*': {}
`
  const { named, others } = load({ file }).tenants
  expect([...named]).toEqual([
    [
      'north',
      {
        connections: 100,
        sessions: 200,
        subscriptions: 500,
        retained: { messages: 10, bytes: 1000 },
        rates: { messages: { perSecond: 50, burst: 50 }, bytes: { perSecond: 5000, burst: 9000 } },
      },
    ],
  ])
  const nothing = { connections: Infinity, sessions: Infinity, subscriptions: Infinity }
  expect(others).toEqual({ ...nothing, retained: { messages: Infinity, bytes: Infinity }, rates: {} })
  const one = load({ file: 'tenants: { a.B_c-1: {}, constructor: {} }' }).tenants
  expect([[...one.named.keys()], one.others]).toEqual([['a.B_c-1', 'constructor'], undefined])
  expect(load({}).tenants).toEqual({ named: new Map(), others: undefined })
})

const at = (place: string, key: string): string => `etc/godwit.yaml:1:${place}: tenants${key}: `
const rule = 'must be 1 to 64 letters, digits, ".", "_" and "-", or "*" for all that have no entry'
const keys = 'connections, sessions, subscriptions, retainedMessages, retainedBytes, rates'

describe('mistakes', () => {
  for (const [file, wanted] of [
    ['tenants: 5', `${at('10', '')}must be a map of tenants, not 5`],
    ['tenants: {}', `${at('10', '')}{}: must name a tenant, or be left out`],
    ['tenants: { a/b: {} }', `${at('12', '.a/b')}${rule}`],
    ['tenants: { "": {} }', `${at('12', '.')}${rule}`],
    ['tenants: { a: 5 }', `${at('15', '.a')}must be a map with ${keys}, not 5`],
    [
      'tenants: { a: { connections: 0 } }',
      `${at('30', '.a.connections')}must be a whole number from 1 to 1000000000, not 0`,
    ],
    ['tenants: { a: { conections: 1 } }', `${at('17', '.a.conections')}unknown key, did you mean "connections"?`],
    [
      'tenants: { a: { rates: { bytePerSecond: 1 } } }',
      `${at('26', '.a.rates.bytePerSecond')}unknown key, did you mean "bytesPerSecond"?`,
    ],
    ['tenants: { a: { rates: {} } }', `${at('24', '.a.rates')}{}: must say how much, or be left out`],
  ] as const)
    test(file, () => expect(complaint({ file })).toBe(wanted))
})
