import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../src/broker/limits.ts'
import { HandBroker } from '../support/hand.ts'

const many = 70_000

describe('abuse 20: QoS 2 state', () => {
  test('70,000 of one id without PUBREL: delivered once, acknowledged each time, remembered once', () => {
    const hand = new HandBroker()
    const to = hand.client('to').subscribe('a', 2)
    const from = hand.client('from')
    to.forget()
    let answers = 0
    for (let i = 0; i < many; i += 100) {
      const again = {
        cmd: 'publish',
        topic: 'a',
        payload: 'x',
        qos: 2,
        dup: i > 0,
        retain: false,
        messageId: 7,
      } as const
      from.send(...Array.from({ length: 100 }, () => again))
      answers += from.taken().filter(({ cmd }) => cmd === 'pubrec').length
    }
    expect(answers).toBe(many)
    expect(to.taken()).toHaveLength(1)
    expect([...hand.broker.sessions.get('from')!.incoming()]).toEqual([7])
    expect(hand.broker.ledger.published).toBe(1)
  })

  for (const [name, version, most] of [
    ['MQTT 5: as many as receive maximum, then 0x93', 5, defaultLimits.receiveMaximum],
    ['3.1.1 has no receive maximum: as many as there are ids, a bit each', 4, 65_535],
  ] as const)
    test(`70,000 without PUBREL: ${name}`, () => {
      const hand = new HandBroker()
      const from = hand.client('from', {}, version)
      for (let i = 0; i < many && !from.closed; i++)
        from.publish('a', 'x', { qos: 2, messageId: (i % 65_535) + 1 }).forget()
      const { published } = hand.broker.ledger
      expect(published).toBe(most)
      expect([...(hand.broker.sessions.get('from')?.incoming() ?? [])].length).toBeLessThanOrEqual(most)
      expect(from.closed).toBe(version === 5)
    })

  for (const qos of [1, 2] as const)
    test(`a subscriber that never acknowledges QoS ${qos}: no id twice, and no more than its limits hold`, () => {
      const hand = new HandBroker()
      const to = hand.client('to').subscribe('a', qos)
      const from = hand.client('from')
      const sent: number[] = []
      to.forget()
      for (let i = 0; i < many; i += 100) {
        for (let at = 0; at < 100; at++) from.publish('a', 'x', { qos: 1, messageId: 1 })
        from.forget()
        sent.push(...to.taken().map((packet) => (packet as { messageId: number }).messageId))
        // Whoever is slowed for it is slowed for a second, once.
        if (hand.nowMs < 2000) hand.pass(1000)
      }
      hand.pass(2000)
      const { inflightMessages, queueMessages } = defaultLimits
      expect(sent).toHaveLength(inflightMessages)
      expect(new Set(sent).size).toBe(sent.length)
      const { ledger, pending } = hand.broker
      expect(pending).toBeLessThanOrEqual(inflightMessages + queueMessages + 10)
      expect(ledger.lost['queue-full']).toBe(many - pending)
    })
})
