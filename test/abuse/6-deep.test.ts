import { describe, expect, test } from 'vitest'
import { maxLevels } from '../../src/mqtt/topic.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { connectPacket } from '../support/raw.ts'
import { HandBroker } from '../support/hand.ts'

const deep = '/'.repeat(65_535)

describe('abuse 6: 65,535 slashes', () => {
  test('PUBLISH: 0x90', () => {
    const client = new HandBroker().client('deep').publish(deep)
    expect(client.taken()).toMatchObject([{ cmd: 'disconnect', reasonCode: Reason.topicNameInvalid }])
  })

  test('will: 0x90', () => {
    const will = { topic: deep.slice(0, 60_000), payload: Buffer.alloc(0), qos: 0 as const, retain: false }
    const client = new HandBroker().open().send(connectPacket(5, { clientId: 'deep', will }))
    expect(client.taken()).toMatchObject([{ cmd: 'connack', reasonCode: Reason.topicNameInvalid }])
  })

  test('SUBSCRIBE and UNSUBSCRIBE: 0x8F for that filter, and the others hold', () => {
    const hand = new HandBroker()
    const client = hand.client('deep')
    const subscriptions = [deep, 'a'].map((topic) => ({ topic, qos: 0 as const }))
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions })
    expect(client.taken()).toMatchObject([{ cmd: 'suback', granted: [Reason.topicFilterInvalid, 0] }])
    expect(hand.broker.tree.size).toBe(1)
    client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: [deep, 'a'] })
    expect(client.taken()).toMatchObject([{ cmd: 'unsuback', granted: [Reason.topicFilterInvalid, 0] }])
  })

  test('what is as deep as may be is matched without a stack, wildcards at each level', () => {
    const hand = new HandBroker()
    const client = hand.client('deep')
    const levels = (level: string) => Array.from({ length: maxLevels }, () => level).join('/')
    const filters = Array.from({ length: 200 }, (_, at) =>
      [...levels('+').split('/')].map((level, depth) => ((at >> (depth % 8)) & 1 ? 'a' : level)).join('/'),
    )
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters.map((topic) => ({ topic, qos: 0 as const })) })
    client.forget()
    client.publish(levels('a'))
    expect(client.taken()).toHaveLength(1)
    client.publish(`${levels('a')}/a`)
    expect(client.taken()).toMatchObject([{ cmd: 'disconnect', reasonCode: Reason.topicNameInvalid }])
  })
})
