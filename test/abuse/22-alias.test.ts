import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../src/broker/limits.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { HandBroker } from '../support/hand.ts'

const most = defaultLimits.topicAliases
/** PUBLISH with QoS 0, a topic of one letter or none, and an alias. */
const aliased = (topic: string, alias: number) =>
  Buffer.from([0x30, 6 + topic.length, 0, topic.length, ...Buffer.from(topic), 3, 0x23, alias >> 8, alias & 255])

describe('abuse 22: topic aliases', () => {
  // An alias that cannot be is 0x94; one that was not set is a protocol error (MQTT 5.0, 3.3.4 and 3.3.2.3.4).
  for (const [name, topic, alias, reason] of [
    ['0', 'a', 0, Reason.topicAliasInvalid],
    ['above the maximum', 'a', most + 1, Reason.topicAliasInvalid],
    ['the largest there is', 'a', 65_535, Reason.topicAliasInvalid],
    ['never set', '', 1, Reason.protocolError],
  ] as const)
    test(`${name}: 0x${reason.toString(16)}, and nothing is published`, () => {
      const hand = new HandBroker()
      const client = hand.client('alias').bytes(aliased(topic, alias))
      expect(client.taken()).toMatchObject([{ cmd: 'disconnect', reasonCode: reason }])
      expect(hand.broker.ledger.published).toBe(0)
    })

  test('each connection begins with none, whatever its session keeps', () => {
    const hand = new HandBroker()
    const keeping = { clean: false, properties: { sessionExpiryInterval: 100 } }
    const before = hand.client('alias', keeping).subscribe('a')
    before.bytes(aliased('a', most)).bytes(aliased('', most))
    expect(hand.broker.ledger.published).toBe(2)
    before.leave()
    const after = hand.client('alias', keeping).bytes(aliased('', most))
    expect(after.taken()).toMatchObject([{ cmd: 'disconnect', reasonCode: Reason.protocolError }])
  })

  test('those of another are not mine', () => {
    const hand = new HandBroker()
    hand.client('one').bytes(aliased('a', 1))
    expect(hand.client('two').bytes(aliased('', 1)).closed).toBe(true)
  })
})
