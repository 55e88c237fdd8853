import { expect, test } from 'vitest'
import { Denied } from '../../src/access/hooks.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'

// That every sum balances is asserted after each test by `startBroker`, and in test/sim at every step.

test('everything that is refused is counted by its reason, and told', async () => {
  const told: string[] = []
  const broker = await startBroker({
    limits: { subscriptionsPerSession: 1 },
    hooks: {
      authenticate: ({ username }) => username !== 'nobody',
      authorizePublish: (_, { topic }) => {
        if (topic === 'full') throw new Denied(Reason.quotaExceeded, 'no more')
        return topic !== 'no'
      },
      authorizeSubscribe: (_, { filter }) => filter !== 'no',
    },
    observer: { lost: (reason, id, topic) => told.push(`${id} ${topic} ${reason}`) },
  })
  const stranger = await RawClient.open(broker)
  stranger.send({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: true,
    clientId: 'x',
    username: 'nobody',
  })
  expect(await stranger.expect('connack')).toMatchObject({ reasonCode: Reason.notAuthorized })
  const client = await RawClient.connect(broker, 5, { clientId: 'c' })
  expect(await client.subscribe('no')).toBe(Reason.notAuthorized)
  expect(await client.subscribe('a/#/b')).toBe(Reason.topicFilterInvalid)
  expect(await client.subscribe('yes', 1)).toBe(1)
  expect(await client.subscribe('another')).toBe(Reason.quotaExceeded)
  client.publish('no', 'x', { qos: 1, messageId: 1 })
  expect(await client.expect('puback')).toMatchObject({ reasonCode: Reason.notAuthorized })
  client.publish('full', 'x', { qos: 1, messageId: 2 })
  expect(await client.expect('puback')).toMatchObject({ reasonCode: Reason.quotaExceeded })
  client.publish('no', 'x')
  await client.expectQuiet()
  client.bytes('00 00')
  await client.expectDisconnect(Reason.protocolError)
  const { ledger } = broker.node.broker
  expect(Object.fromEntries(ledger.refusals)).toEqual({
    notAuthorized: 4,
    topicFilterInvalid: 1,
    quotaExceeded: 2,
    protocolError: 1,
  })
  expect(ledger).toMatchObject({ published: 3, refused: 3, matched: 0, unmatched: 0 })
  expect(told).toEqual(['c no not-authorized', 'c full quota-exceeded', 'c no not-authorized'])
})

test('a message over the limit of retained ones goes to its subscribers, and is counted as not retained', async () => {
  const told: string[] = []
  const broker = await startBroker({
    limits: { retainedMessages: 1 },
    observer: { lost: (reason, id, topic) => told.push(`${id} ${topic} ${reason}`) },
  })
  const client = await RawClient.connect(broker, 5, { clientId: 'c' })
  await client.subscribe('#')
  for (const topic of ['one', 'two', 'one']) {
    client.publish(topic, 'x', { retain: true })
    expect(await client.expect('publish')).toMatchObject({ topic })
  }
  expect(broker.node.broker.ledger.notRetained).toBe(1)
  expect(told).toEqual(['c two retained-full'])
  const other = await RawClient.connect(broker, 5, { clientId: 'd' })
  await other.subscribe('#')
  expect(await other.expect('publish')).toMatchObject({ topic: 'one', retain: true })
  await other.expectQuiet()
})

test('what a full queue, an absent client and a small packet limit lose is counted, and told', async () => {
  const told: string[] = []
  const broker = await startBroker({
    limits: { queueMessages: 2 },
    observer: { lost: (reason, id, topic) => told.push(`${id} ${topic} ${reason}`) },
  })
  const keeping = { clean: false, properties: { sessionExpiryInterval: 100 } }
  const away = await RawClient.connect(broker, 5, { clientId: 'away', ...keeping })
  await away.subscribe('a/#', 1)
  await away.disconnect(0)
  const small = await RawClient.connect(broker, 5, { clientId: 'small', properties: { maximumPacketSize: 60 } })
  await small.subscribe('big', 1)
  const client = await RawClient.connect(broker, 5, { clientId: 'c' })
  client.publish('a/0', 'x')
  for (let id = 1; id <= 3; id++) {
    client.publish(`a/${id}`, 'x', { qos: 1, messageId: id })
    await client.expect('puback')
  }
  client.publish('big', 'x'.repeat(100), { qos: 1, messageId: 9 })
  await client.expect('puback')
  const { ledger } = broker.node.broker
  expect(ledger.lost).toMatchObject({ offline: 1, 'queue-full': 1, 'too-large': 1 })
  expect(told).toEqual(['away a/0 offline', 'away a/3 queue-full', 'small big too-large'])
  expect(ledger.copies).toBe(ledger.delivered + broker.node.broker.pending + ledger.lostTotal)
  expect(broker.node.broker.pending).toBe(2)
})
