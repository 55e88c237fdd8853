import { beforeEach, describe, expect, test } from 'vitest'
import { Decisions } from '../../src/access/decisions.ts'
import { actions, compileRules, type Rule } from '../../src/access/rules.ts'
import type { Rulebook } from '../../src/broker/entitling.ts'
import { patch } from '../sim/patch.ts'
import { HandBroker } from '../support/hand.ts'

// What a reload of rules costs, and from when on it holds.

const kept = { clean: false, properties: { sessionExpiryInterval: 3600 } }
const will = { topic: 'secret', payload: Buffer.from('gone'), qos: 0, retain: false, properties: {} } as const
const others: Rule = { effect: 'allow', who: { everybody: true }, actions: ['publish', 'receive'], topics: ['open'] }

/** Users whose sessions are given their rights, each time that one is. */
let given: string[]
beforeEach(() => (given = []))

function rulebook(...rules: Rule[]): Rulebook {
  return {
    policies: rules.length === 0 ? [] : [compileRules(rules)],
    named: (user) => {
      given.push(user)
      return { user }
    },
  }
}

/** Sessions of users who are not here, each with a message that waits for it. */
function crowd(count: number): HandBroker {
  const hand = new HandBroker({ hooks: { authenticate: () => true }, rulebook: rulebook() })
  for (let at = 0; at < count; at++) {
    const client = hand.client(`c${at}`, { ...kept, username: `u${at}` }).subscribe('#', 1)
    client.forget()
    client.leave()
  }
  hand.client('first').publish('secret', 'x', { qos: 1, messageId: 1 })
  return hand
}

test('a reload looks at no session, a tick at a thousand, and in the end each was given its rights once', () => {
  const hand = crowd(3500)
  given = []
  hand.broker.permit(rulebook(others))
  expect(given).toEqual([])
  for (const sum of [1000, 2000, 3000]) {
    hand.pass(100)
    expect(given.length).toBeGreaterThan(sum - 100)
    expect(given.length).toBeLessThanOrEqual(sum)
  }
  hand.pass(1000)
  expect(new Set(given).size).toBe(3500)
  expect(given).toHaveLength(3500)
})

test('a reload while one goes on: each is given what the second says', () => {
  const hand = crowd(1500)
  hand.broker.permit(rulebook(others))
  hand.pass(100)
  given = []
  hand.broker.permit(rulebook())
  hand.pass(1000)
  expect([given.length, new Set(given).size]).toEqual([1500, 1500])
})

test('the same publisher, the same subscriber, the same topic: asked of once, and once more after a reload', () => {
  const all: Rule = { effect: 'allow', who: { everybody: true }, actions, topics: ['#'] }
  const except: Rule = { ...all, effect: 'deny', topics: ['secret'] }
  const hand = new HandBroker({ rulebook: rulebook(all, except) })
  const [from, to] = [hand.client('from'), hand.client('to').subscribe('#', 1)]
  const asked: string[] = []
  const undo = patch(
    Decisions.prototype,
    'find',
    (find) =>
      function (this: Decisions, client, topic) {
        asked.push(topic.name)
        return find.call(this, client, topic)
      },
  )
  const publish = (...topics: string[]): string[] => {
    for (let at = 0; at < 20; at++) for (const topic of topics) from.publish(topic, 'x', { qos: 0 })
    return asked.splice(0)
  }
  try {
    expect(publish('a')).toEqual(['a', 'a'])
    hand.broker.permit(rulebook(all, except))
    expect(publish('a')).toEqual(['a', 'a'])
    hand.broker.permit(rulebook(all))
    // All of what it subscribes to may come: of that nobody is asked.
    expect(publish('secret')).toEqual(['secret'])
    // Topics in turn, and then publishers in turn.
    expect(publish('a', 'secret')).toEqual(['a'])
    const other = hand.client('other')
    for (let at = 0; at < 20; at++) for (const each of [from, other]) each.publish('a', 'x', { qos: 0 })
    expect(asked).toEqual(['a'])
  } finally {
    undo()
  }
  expect(to.taken().filter(({ cmd }) => cmd === 'publish')).toHaveLength(140)
})

describe('before any tick', () => {
  test('whoever is here is judged by the rules of now: what it publishes, what it is sent', () => {
    const hand = crowd(10)
    const [from, to] = [hand.client('from'), hand.client('to').subscribe('#')]
    to.forget()
    hand.broker.permit(rulebook(others))
    from.publish('secret', 'x', { qos: 1, messageId: 1 }).publish('open', 'x', { qos: 1, messageId: 2 })
    expect(from.taken()).toMatchObject([{ reasonCode: 0x87 }, { reasonCode: 0 }])
    hand.broker.inject({ topic: 'secret', payload: Buffer.of(1), qos: 0, retain: false })
    expect(to.taken()).toMatchObject([{ topic: 'open' }])
  })

  test('what waits for somebody is asked of again, and nothing more comes to wait', () => {
    const hand = crowd(1)
    hand.broker.permit(rulebook(others))
    const { ledger } = hand.broker
    hand.broker.inject({ topic: 'secret', payload: Buffer.of(1), qos: 1, retain: false })
    expect(ledger.lost['not-allowed']).toBe(1)
    const back = hand.client('c0', { ...kept, username: 'u0' })
    expect(back.taken()).toEqual([])
    expect(ledger.lost['not-allowed']).toBe(2)
  })

  test('the will of one who goes is held against them', () => {
    const hand = crowd(0)
    const to = hand.client('to').subscribe('#')
    const delayed = { ...will, properties: { willDelayInterval: 5 } }
    const [now, later] = [hand.client('now', { will }), hand.client('later', { ...kept, will: delayed })]
    later.leave()
    to.forget()
    hand.broker.permit(rulebook(others, { ...others, effect: 'allow', actions: ['receive'], topics: ['#'] }))
    now.leave()
    hand.pass(6000)
    expect(to.taken()).toEqual([])
    expect(hand.broker.ledger.refused).toBe(2)
  })

  test('who was a client when it went has what the rules say of that one, not of a name', () => {
    const hand = crowd(0)
    const client = hand.client('c', { ...kept, username: 'u' })
    given = []
    hand.broker.permit(rulebook(others))
    client.leave()
    hand.pass(1000)
    expect(hand.broker.sessions.get('c')!.rights).toBeDefined()
    expect(given).toEqual([])
  })
})
