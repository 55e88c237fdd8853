import { expect, test } from 'vitest'
import { Tenants, type TenantTerms } from '../../src/broker/tenants.ts'
import { Traffic } from '../../src/mqtt/output.ts'
import { ownId, sessionKey, tenantOf } from '../../src/sessions/client-key.ts'

const free: TenantTerms = {
  connections: Infinity,
  sessions: Infinity,
  subscriptions: Infinity,
  retained: { messages: Infinity, bytes: Infinity },
  rates: {},
}

test('tenants that have nothing here are forgotten when there are too many, and what they sent still counts', () => {
  const tenants = new Tenants({ named: new Map(), others: free }, 3)
  const key = (name: string) => sessionKey(name, undefined, 'c')
  const busy = ['a', 'b'].map((name) => tenants.join(key(name))!)
  for (const name of ['c', 'd', 'e']) {
    tenants.get(name).traffic.messagesIn = 5
    expect(tenants.refusal(name)).toBeUndefined()
  }
  const sum = new Traffic()
  tenants.addTraffic(sum)
  expect([tenants.size, tenants.forgotten, sum.messagesIn]).toEqual([3, 2, 15])
  busy.push(tenants.join(key('e'))!)
  expect(tenants.refusal('f')).toBe('tenant "f" would be one more than 3')
  expect(tenants.refusal('a')).toBeUndefined()
  // What is read back is there, whatever the bound is.
  busy.push(tenants.join(key('g'))!)
  expect(tenants.size).toBe(4)
  for (const tenant of busy) tenants.leave(tenant)
  expect([tenants.size, [...tenants.known()].map(({ sessions }) => sessions)]).toEqual([3, [0, 0, 0]])
})

test('a session key says whose it is, and what its client calls itself', () => {
  for (const [tenant, user, id] of [
    [undefined, undefined, 'c'],
    ['north', undefined, 'c'],
    [undefined, 'ann', 'c'],
    ['north', 'ann', 'c'],
    [undefined, 't/north', 'c'],
    ['u', 'u/t/x', ''],
    ['north', 'a\u00fcb/c', 't/x'],
  ] as const) {
    const key = sessionKey(tenant, user, id)
    expect([tenantOf(key), ownId(key)]).toEqual([tenant, id])
  }
  const keys = [sessionKey('a', 'b', 'c'), sessionKey(undefined, 'a/u/b', 'c'), sessionKey('a', undefined, 'c')]
  expect(new Set([...keys, sessionKey(undefined, 't/a', 'c'), 'c']).size).toBe(5)
})
