import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../src/broker/limits.ts'
import { HandBroker } from '../support/hand.ts'

describe('abuse 23: a subscriber that stops reading', () => {
  for (const qos of [0, 1] as const)
    test(`QoS ${qos}: what it holds is bounded, others get everything, and it is disconnected in time`, () => {
      const hand = new HandBroker()
      const [deaf, well] = [hand.client('deaf').subscribe('a', qos), hand.client('well').subscribe('a', qos)]
      const from = hand.client('from')
      deaf.reads = false
      well.forget()
      const payload = Buffer.alloc(10_000)
      let sent = 0
      let arrived = 0
      const send = (count: number) => {
        for (let i = 0; i < count; i++, sent++) from.publish('a', payload, { qos, ...(qos > 0 && { messageId: 1 }) })
        from.forget()
        for (const packet of well.taken()) {
          if (packet.cmd !== 'publish') continue
          arrived++
          if (qos > 0) well.send({ cmd: 'puback', messageId: packet.messageId! })
        }
      }
      send(200)
      // Its publisher waits for it a second, once, and then no more.
      hand.pass(1200)
      let most = 0
      for (let i = 0; i < 27; i++) {
        send(100)
        most = Math.max(most, deaf.connection.heldBytes)
        hand.pass(1000)
      }
      expect(deaf.closed).toBe(false)
      expect(most).toBeLessThan(defaultLimits.unsentBytes + 2 * payload.length)
      hand.pass(20_000)
      send(0)
      expect(deaf.closed).toBe(true)
      expect(arrived).toBe(sent)
      const { ledger } = hand.broker
      expect(ledger.refusals.get('quotaExceeded')).toBe(1)
      if (qos === 0) expect(ledger.lost.congested).toBeGreaterThan(2000)
      else expect(hand.broker.sessions.queued.bytes).toBe(0)
    })
})
