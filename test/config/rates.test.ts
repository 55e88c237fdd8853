import { describe, expect, test } from 'vitest'
import { complaint, load } from './given.ts'

test('rates: a burst is what a second brings, unless it is given', () => {
  const file = `
rates:
  client: { messagesPerSecond: 100, bytesPerSecond: 50000, bytesBurst: 2000000 }
  user: { messagesPerSecond: 500, messagesBurst: 1 }
  over: refuse
`
  expect(load({ file }).rates).toEqual({
    client: { messages: { perSecond: 100, burst: 100 }, bytes: { perSecond: 50_000, burst: 2_000_000 } },
    user: { messages: { perSecond: 500, burst: 1 } },
    over: 'refuse',
  })
  expect(load({ file: 'rates: { client: { messagesPerSecond: 1 } }' }).rates).toEqual({
    client: { messages: { perSecond: 1, burst: 1 } },
    user: {},
    over: 'slow',
  })
  expect(load({}).rates).toBeUndefined()
})

const at = (place: string, key: string): string => `etc/godwit.yaml:1:${place}: rates${key}: `

describe('mistakes', () => {
  for (const [file, wanted] of [
    ['rates: 5', `${at('8', '')}must be a map with client, user, over or connections, not 5`],
    ['rates: { client: 5 }', `${at('18', '.client')}must be a map with messagesPerSecond or bytesPerSecond, not 5`],
    ['rates: { client: {} }', `${at('18', '.client')}{}: must say how much, or be left out`],
    ['rates: { over: drop }', `${at('16', '.over')}must be slow or refuse, not "drop"`],
    ['rates: { clients: 5 }', `${at('10', '.clients')}unknown key, did you mean "client"?`],
    [
      'rates: { client: { messagePerSecond: 5 } }',
      `${at('20', '.client.messagePerSecond')}unknown key, did you mean "messagesPerSecond"?`,
    ],
    [
      'rates: { user: { bytesPerSecond: 0 } }',
      `${at('34', '.user.bytesPerSecond')}must be a whole number from 1 to 1099511627776, not 0`,
    ],
    ['rates: { user: { bytesBurst: 5 } }', `${at('30', '.user.bytesBurst')}5: needs bytesPerSecond beside it`],
  ] as const)
    test(file, () => expect(complaint({ file })).toBe(wanted))
})
