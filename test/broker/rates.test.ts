import { describe, expect, test } from 'vitest'
import type { Rates } from '../../src/broker/rates.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { join } from '../standard/kit.ts'
import { startBroker } from '../support/broker.ts'
import { HandBroker } from '../support/hand.ts'

const slow: Rates = { client: { messages: { perSecond: 10, burst: 10 } }, user: {}, over: 'slow' }
const refuse: Rates = { ...slow, over: 'refuse' }
const frames = (count: number, qos: 0 | 1 | 2 = 0) =>
  Array.from({ length: count }, (_, at) => ({
    cmd: 'publish' as const,
    topic: 'a',
    payload: 'x',
    qos,
    dup: false,
    retain: false,
    ...(qos > 0 && { messageId: at + 1 }),
  }))

describe('slow', () => {
  test('whoever owes is not read, and then all that it sent counts', () => {
    const hand = new HandBroker({ rates: slow })
    const { ledger } = hand.broker
    const client = hand.client('fast')
    client.send(...frames(30))
    // The eleventh is in debt, and what follows it in the chunk waits.
    expect(ledger).toMatchObject({ published: 11, slowed: 1, overRate: 0 })
    client.send(...frames(1))
    expect(client.paused).toBe(true)
    hand.pass(1000)
    expect(ledger.published).toBeGreaterThanOrEqual(18)
    expect(ledger.published).toBeLessThanOrEqual(22)
    hand.pass(2000)
    expect(ledger.published).toBe(31)
    hand.pass(1000)
    expect(client.paused).toBe(false)
    expect(client.closed).toBe(false)
  })

  test('nobody is called silent who is not read', () => {
    const hand = new HandBroker({ rates: { ...slow, client: { bytes: { perSecond: 10, burst: 10 } } } })
    const client = hand.client('fast', { keepalive: 1 })
    client.publish('a', Buffer.alloc(100))
    hand.pass(5000)
    expect(client.closed).toBe(false)
  })

  test('two clients of a user share its rate; others have nothing to do with it', () => {
    const hand = new HandBroker({ rates: { ...slow, client: {}, user: { messages: { perSecond: 1, burst: 10 } } } })
    const of = (id: string, username: string) => hand.client(id, { username, password: Buffer.from('x') })
    const [one, two, other] = [of('1', 'ann'), of('2', 'ann'), of('3', 'bob')]
    one.send(...frames(11))
    two.send(...frames(5))
    other.send(...frames(5))
    expect(hand.broker.ledger.published).toBe(11 + 1 + 5)
  })

  test('one that leaves in debt is gone within a second, and what it had sent counts', () => {
    const hand = new HandBroker({ rates: { ...slow, client: { bytes: { perSecond: 1, burst: 1 } } } })
    const client = hand.client('fast')
    client.send(...frames(20))
    expect(hand.broker.ledger.published).toBe(1)
    client.leave()
    expect(hand.broker.sessions.online).toBe(1)
    hand.pass(1200)
    expect(hand.broker.sessions.online).toBe(0)
    expect(hand.broker.ledger.published).toBe(20)
  })

  test('coming back does not pay a debt, and a clean start neither', () => {
    const hand = new HandBroker({ rates: slow })
    hand.client('fast').send(...frames(11))
    const again = hand.client('fast')
    again.send(...frames(5))
    expect(hand.broker.ledger.published).toBe(12)
  })

  test('said once at its beginning and once at its end, however often', () => {
    const hand = new HandBroker({ rates: slow })
    const client = hand.client('fast')
    for (let i = 0; i < 5; i++) {
      client.send(...frames(11))
      hand.pass(3000)
    }
    client.send({ cmd: 'disconnect' })
    expect(hand.log).toEqual([
      {
        fields: { client: 'fast', remote: '192.0.2.1:1' },
        message: 'sends more than its rate: is not read until it has paid for it',
      },
      { fields: { client: 'fast', slowed: 5, refused: 0 }, message: 'sent more than its rate' },
    ])
  })
})

describe.each(['slow', 'refuse'] as const)('SUBSCRIBE and UNSUBSCRIBE, over: %s', (over) => {
  const filters = (count: number) => Array.from({ length: count }, (_, at) => `f/${at}`)
  const subscribe = (count: number) => ({
    cmd: 'subscribe' as const,
    messageId: 1,
    subscriptions: filters(count).map((topic) => ({ topic, qos: 0 as const })),
  })
  const unsubscribe = (count: number) => ({
    cmd: 'unsubscribe' as const,
    messageId: 1,
    unsubscriptions: filters(count),
  })

  test('each filter counts as a message: all are taken, and whoever owes is not read', () => {
    const hand = new HandBroker({ rates: { ...slow, over } })
    const client = hand.client('fast')
    client.send(subscribe(10))
    expect(client.paused).toBe(false)
    for (const packet of [subscribe(10), unsubscribe(10)]) {
      client.send(packet)
      client.forget()
      client.send({ cmd: 'pingreq' })
      expect(client.paused).toBe(true)
      hand.pass(700)
      expect(client.taken()).toEqual([])
      hand.pass(500)
      expect(client.taken()).toMatchObject([{ cmd: 'pingresp' }])
    }
    expect(hand.broker.ledger).toMatchObject({ slowed: 2, overRate: 0 })
    expect(hand.broker.tree.size).toBe(0)
  })

  test('their bytes count, and a flood of packets as well as one with many filters', () => {
    const hand = new HandBroker({ rates: { ...slow, over, client: { bytes: { perSecond: 100, burst: 100 } } } })
    const client = hand.client('fast')
    client.send(...Array.from({ length: 1000 }, () => subscribe(1)))
    // Three bytes each: the 34th is in debt, and what follows it waits.
    expect(client.taken()).toHaveLength(34)
    hand.pass(10_000)
    expect(client.taken().length).toBeLessThan(400)
  })

  test('what is paid for them is not there for messages', () => {
    const hand = new HandBroker({ rates: { ...slow, over } })
    const client = hand.client('fast')
    client.send(subscribe(10), ...frames(5, 1))
    const { published, refused, overRate } = hand.broker.ledger
    expect([published - refused, overRate]).toEqual(over === 'slow' ? [1, 0] : [0, 5])
  })
})

describe('refuse', () => {
  test('MQTT 5: PUBACK and PUBREC with 0x97, QoS 0 is dropped; all of it is counted by its name', () => {
    const told: string[] = []
    const observer = { lost: (why: string, id: string) => void told.push(`${id} ${why}`) }
    const hand = new HandBroker({ rates: refuse, observer })
    const client = hand.client('fast')
    client.send(...frames(10), ...frames(1), ...frames(1, 1), ...frames(1, 2))
    expect(client.taken()).toMatchObject([
      { cmd: 'puback', reasonCode: Reason.quotaExceeded },
      { cmd: 'pubrec', reasonCode: Reason.quotaExceeded },
    ])
    const { ledger } = hand.broker
    expect(ledger).toMatchObject({ published: 13, refused: 3, overRate: 3, slowed: 0 })
    expect(Object.fromEntries(ledger.refusals)).toEqual({ messageRateTooHigh: 3 })
    expect(told).toEqual(['fast over-rate', 'fast over-rate', 'fast over-rate'])
    hand.pass(1000)
    client.send(...frames(1, 1))
    expect(client.taken()).toMatchObject([{ cmd: 'puback', reasonCode: Reason.noMatchingSubscribers }])
    expect(client.closed).toBe(false)
  })

  for (const version of [3, 4] as const)
    test(`MQTT ${version === 3 ? '3.1' : '3.1.1'}: closed without an acknowledgement, which would be a promise`, () => {
      const hand = new HandBroker({ rates: refuse })
      const client = hand.client('fast', {}, version)
      client.send(...frames(12))
      expect(client.closed).toBe(false)
      client.send(...frames(1, 1))
      expect(client.taken()).toEqual([])
      expect(client.closed).toBe(true)
    })

  test('a QoS 2 message that was taken before is acknowledged again, whatever the rate says', () => {
    const hand = new HandBroker({ rates: refuse })
    const client = hand.client('fast')
    client.send(...frames(1, 2), ...frames(9))
    client.send(...frames(1, 2).map((packet) => ({ ...packet, dup: true })))
    expect(client.taken()).toMatchObject([{ reasonCode: Reason.noMatchingSubscribers }, { cmd: 'pubrec' }])
    expect(hand.broker.ledger.refused).toBe(0)
  })
})

test('other rates hold for those too who are here, and begin without debts', () => {
  const hand = new HandBroker({ rates: slow })
  const { broker } = hand
  const client = hand.client('fast')
  client.send(...frames(20))
  expect(broker.ledger.published).toBe(11)
  const limits = { ...broker.sessions.limits } as never
  broker.relimit(limits, undefined, { ...slow, client: { messages: { perSecond: 1, burst: 5 } } })
  // What was held went on; the new ones count from here.
  expect(broker.ledger.published).toBe(17)
  broker.relimit(limits, undefined, undefined)
  expect(broker.ledger.published).toBe(20)
  client.send(...frames(100))
  expect(broker.ledger.published).toBe(120)
  expect(client.connection.allowance).toBeUndefined()
})

test('so do those of a configuration that is read again', async () => {
  const broker = await startBroker()
  const client = await join(broker, 'fast')
  await broker.reload(undefined, { rates: { ...refuse, client: { messages: { perSecond: 1, burst: 1 } } } })
  for (const packet of frames(2, 1)) client.send(packet)
  for (const reasonCode of [Reason.noMatchingSubscribers, Reason.quotaExceeded])
    expect((await client.expect('puback')).reasonCode).toBe(reasonCode)
})

test('without rates nothing is asked of a message', () => {
  const hand = new HandBroker()
  expect(hand.client('any').connection.allowance).toBeUndefined()
})
