import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../src/broker/limits.ts'
import { HandBroker } from '../support/hand.ts'

/** ABUSE_RETAINED=500000: as many as the row says. */
const many = Number(process.env['ABUSE_RETAINED'] ?? 50_000)

describe('abuse 24: retained messages without end', () => {
  function filled(): HandBroker {
    const hand = new HandBroker()
    const payload = Buffer.alloc(100)
    for (let i = 0; i < many; i++) hand.broker.inject({ topic: `t/${i}`, payload, qos: 0, retain: true })
    return hand
  }

  test(`${many} for one who subscribes to #: at the pace of its socket, each once, and others are served between`, () => {
    const hand = filled()
    const to = hand.client('to')
    const other = hand.client('other')
    to.reads = false
    to.subscribe('#')
    let [rounds, came] = [0, 0]
    const seen = new Set<string>()
    while (seen.size < many && rounds++ < many) {
      // A quarter of what may wait for a socket, and what one message more makes of it.
      expect(to.connection.heldBytes).toBeLessThan(defaultLimits.unsentBytes / 4 + 1000)
      for (const packet of to.taken())
        if (packet.cmd === 'publish') {
          came++
          seen.add(packet.topic)
        }
      other.send({ cmd: 'pingreq' })
      expect(other.taken()).toMatchObject([{ cmd: 'pingresp' }])
      to.read()
    }
    expect([came, seen.size]).toEqual([many, many])
    expect(rounds).toBeGreaterThan((many * 100) / defaultLimits.unsentBytes)
  })

  test('as many as are retained, and no more: a topic more is not kept, and counted', () => {
    const hand = new HandBroker({ limits: { retainedMessages: 10, retainedBytes: 2000 } })
    const client = hand.client('from')
    for (let i = 0; i < 20; i++) client.publish(`t/${i}`, 'x', { retain: true })
    expect([hand.broker.retained.size, hand.broker.ledger.notRetained]).toEqual([10, 10])
    client.publish('t/1', Buffer.alloc(5000), { retain: true })
    expect(hand.broker.ledger.notRetained).toBe(11)
  })
})
