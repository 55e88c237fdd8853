import type { IPublishPacket } from 'mqtt'
import { beforeAll, describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { type Certificates, listenerTls, makeCertificates } from '../support/certificates.ts'
import { Client, type JoinOptions, told, transports } from './kit.ts'

// MQTT 5.0 as mqtt.js speaks it.

let certificates: Certificates
beforeAll(async () => {
  certificates = await makeCertificates()
})

for (const transport of transports)
  describe(`over ${transport}`, () => {
    let broker: TestBroker
    const start = async (): Promise<void> => {
      broker = await startBroker({ tls: listenerTls(certificates) })
    }
    const join = (clientId: string, options: JoinOptions = {}): Promise<Client> =>
      Client.join(broker, 5, { transport, clientId, ca: certificates.cert, ...options })

    test('properties of a message arrive as they were sent', async () => {
      await start()
      const [publisher, subscriber] = await Promise.all([join('publisher'), join('subscriber')])
      await subscriber.mqtt.subscribeAsync('a', { qos: 2 })
      const sent = {
        payloadFormatIndicator: true,
        contentType: 'text/plain; charset=utf-8',
        responseTopic: 'answers/ä',
        correlationData: Buffer.from([0, 255, 1, 254]),
        userProperties: { z: ['1', '2', '3'], a: 'first', ä: '', '': 'no name', __proto__x: '4' },
      }
      for (const qos of [0, 1, 2] as const) {
        await publisher.mqtt.publishAsync('a', 'grüße', { qos, properties: sent })
        const { payload, properties } = await subscriber.next()
        expect([payload.toString(), properties]).toEqual(['grüße', sent])
        expect(Object.keys(properties!.userProperties!)).toEqual(Object.keys(sent.userProperties))
      }
    })

    test('aliases both ways: assigned by mqtt.js for what it sends, and by the broker for what it gets', async () => {
      await start()
      const publisher = await join('publisher', { autoAssignTopicAlias: true })
      const subscriber = await join('subscriber', { properties: { topicAliasMaximum: 20 } })
      const maximum = publisher.connack.properties!.topicAliasMaximum!
      await subscriber.mqtt.subscribeAsync('room/#', { qos: 1 })
      // More topics than either side has aliases: some are replaced, some go without.
      const topics = Array.from({ length: maximum + 10 }, (_, at) => `room/${at}/temperature`)
      const rounds = [...topics, ...topics, ...topics.slice(-5), ...topics.slice(-5)]
      await Promise.all(rounds.map((topic, at) => publisher.mqtt.publishAsync(topic, String(at), { qos: 1 })))
      const came = await subscriber.take(rounds.length)
      expect(came.map(({ topic, payload }) => [topic, payload.toString()])).toEqual(
        rounds.map((topic, at) => [topic, String(at)]),
      )
      for (const packets of [publisher.sent, subscriber.received]) {
        const publishes = packets.filter(({ cmd }) => cmd === 'publish') as IPublishPacket[]
        expect(publishes.some(({ topic, properties }) => topic === '' && properties?.topicAlias)).toBe(true)
      }
    })

    test('aliases that the program sets itself', async () => {
      await start()
      const publisher = await join('publisher', { autoUseTopicAlias: true })
      const subscriber = await join('subscriber')
      await subscriber.mqtt.subscribeAsync('#')
      const { mqtt } = publisher
      await mqtt.publishAsync('a/b', '1', { properties: { topicAlias: 7 } })
      await mqtt.publishAsync('a/b', '2')
      await mqtt.publishAsync('c/d', '3', { properties: { topicAlias: 7 } })
      await mqtt.publishAsync('a/b', '4')
      await mqtt.publishAsync('c/d', '5')
      expect((await subscriber.take(5)).map(told)).toEqual(['a/b=1 q0', 'a/b=2 q0', 'c/d=3 q0', 'a/b=4 q0', 'c/d=5 q0'])
      const publishes = publisher.sent.filter(({ cmd }) => cmd === 'publish') as IPublishPacket[]
      expect(publishes.map(({ topic }) => topic)).toEqual(['a/b', '', 'c/d', 'a/b', ''])
    })

    test('requests and responses', async () => {
      await start()
      const responder = await join('responder')
      await responder.mqtt.subscribeAsync('service/double', { qos: 1 })
      responder.mqtt.on('message', (_topic, payload, { properties }) => {
        const { responseTopic, correlationData } = properties!
        const answer = String(Number(payload.toString()) * 2)
        responder.mqtt.publish(responseTopic!, answer, { qos: 1, properties: { correlationData: correlationData! } })
      })
      const requester = await join('requester', { properties: { requestResponseInformation: true } })
      const responseTopic = requester.connack.properties!.responseInformation!
      await requester.mqtt.subscribeAsync(responseTopic, { qos: 1 })
      for (const number of [1, 21]) {
        const correlationData = Buffer.from([number])
        await requester.mqtt.publishAsync('service/double', String(number), {
          qos: 1,
          properties: { responseTopic, correlationData },
        })
        const { payload, properties } = await requester.next()
        expect([payload.toString(), properties]).toEqual([String(number * 2), { correlationData }])
      }
    })
  })

test('subscription identifiers of all that match', async () => {
  const client = await Client.join(await startBroker())
  for (const [filter, subscriptionIdentifier] of [
    ['a/+', 1],
    ['a/#', 268_435_455],
    ['other', 3],
  ] as const)
    await client.mqtt.subscribeAsync(filter, { qos: 1, properties: { subscriptionIdentifier } })
  await client.mqtt.publishAsync('a/b', 'x', { qos: 1 })
  const came = await client.settled()
  const ids = came.flatMap(({ properties }) => properties!.subscriptionIdentifier!)
  expect(ids.toSorted((a, b) => a - b)).toEqual([1, 268_435_455])
})

test('no local, retain as published, retain handling', async () => {
  const broker = await startBroker()
  const client = await Client.join(broker)
  const { mqtt } = client
  const other = await Client.join(broker)
  await other.mqtt.publishAsync('kept', 'x', { retain: true, qos: 1 })
  await mqtt.subscribeAsync('kept', { qos: 1, rh: 2 })
  await mqtt.subscribeAsync('kept', { qos: 1, rh: 1 })
  expect(await client.settled()).toEqual([])
  await mqtt.subscribeAsync('kept', { qos: 1, rh: 0, rap: true, nl: true })
  await mqtt.publishAsync('kept', 'own', { retain: true, qos: 1 })
  await other.mqtt.publishAsync('kept', 'y', { retain: true, qos: 1 })
  expect((await client.settled()).map(told)).toEqual(['kept=x q1 retain', 'kept=y q1 retain'])
})

test('an expiring message says how long it still lives', async () => {
  const client = await Client.join(await startBroker())
  await client.mqtt.subscribeAsync('a')
  await client.mqtt.publishAsync('a', 'x', { properties: { messageExpiryInterval: 1000 } })
  const { messageExpiryInterval } = (await client.next()).properties!
  expect(messageExpiryInterval).toBeGreaterThan(900)
  expect(messageExpiryInterval).toBeLessThanOrEqual(1000)
})

test('what the broker announces, and what it grants', async () => {
  const broker = await startBroker({
    limits: { sessionExpirySeconds: 3600, keepAliveSeconds: 120, receiveMaximum: 77 },
  })
  const { connack } = await Client.join(broker, 5, {
    clientId: '',
    keepalive: 300,
    properties: { sessionExpiryInterval: 4_294_967_295 },
  })
  expect(connack).toMatchObject({
    reasonCode: 0,
    sessionPresent: false,
    properties: {
      sessionExpiryInterval: 3600,
      serverKeepAlive: 120,
      receiveMaximum: 77,
      maximumPacketSize: 2_000_000,
      topicAliasMaximum: 32,
      assignedClientIdentifier: expect.stringMatching(/./) as string,
    },
  })
})

describe('session expiry', () => {
  const expiring = (seconds: number): JoinOptions => ({
    clientId: 'kept',
    clean: false,
    properties: { sessionExpiryInterval: seconds },
  })
  for (const [name, seconds, atDisconnect, present] of [
    ['0 ends with the connection', 0, undefined, false],
    ['300 outlives it', 300, undefined, true],
    ['DISCONNECT with 0 ends it', 300, 0, false],
    ['DISCONNECT may prolong it', 300, 3000, true],
  ] as const)
    test(name, async () => {
      const broker = await startBroker()
      const first = await Client.join(broker, 5, expiring(seconds))
      await first.mqtt.endAsync(
        false,
        atDisconnect === undefined ? {} : { properties: { sessionExpiryInterval: atDisconnect } },
      )
      expect((await Client.join(broker, 5, expiring(seconds))).connack.sessionPresent).toBe(present)
    })
})

for (const receiveMaximum of [1, 3, 65_535])
  test(`receive maximum ${receiveMaximum} holds for what the broker sends`, async () => {
    const broker = await startBroker()
    const publisher = await Client.join(broker)
    const unacknowledged = new Set<number | undefined>()
    let most = 0
    const subscriber = await Client.join(broker, 5, {
      properties: { receiveMaximum },
      prepare: (mqtt) => {
        mqtt.on('packetreceive', (packet) => {
          if (packet.cmd === 'publish' && packet.qos > 0) unacknowledged.add(packet.messageId)
          most = Math.max(most, unacknowledged.size)
        })
        mqtt.on('packetsend', (packet) => {
          if (packet.cmd === 'puback' || packet.cmd === 'pubcomp') unacknowledged.delete(packet.messageId)
        })
      },
    })
    await subscriber.mqtt.subscribeAsync('#', { qos: 2 })
    const count = 300
    for (let at = 0; at < count; at += 50)
      await Promise.all(
        Array.from({ length: 50 }, (_, more) =>
          publisher.mqtt.publishAsync('a', String(at + more), { qos: more % 2 === 0 ? 1 : 2 }),
        ),
      )
    const came = (await subscriber.take(count)).map(({ payload }) => Number(payload.toString()))
    for (const parity of [0, 1])
      expect(came.filter((number) => number % 2 === parity)).toEqual(
        Array.from({ length: count / 2 }, (_, at) => 2 * at + parity),
      )
    expect(most).toBeLessThanOrEqual(receiveMaximum)
  })

test('reasons: nobody listens, a filter is wrong', async () => {
  const client = await Client.join(await startBroker())
  const answers: unknown[] = []
  client.mqtt.on('packetreceive', (packet) => {
    if (packet.cmd === 'puback' || packet.cmd === 'pubrec') answers.push(packet.reasonCode ?? 0)
    if (packet.cmd === 'suback') answers.push(packet.granted)
  })
  await client.mqtt.publishAsync('a', '', { qos: 1 })
  await client.mqtt.publishAsync('a', '', { qos: 2 })
  await client.mqtt.subscribeAsync(['a', '$share/g/a'], { qos: 2 })
  await client.mqtt.publishAsync('a', '', { qos: 1 })
  expect(answers).toEqual([0x10, 0x10, [2, 2], 0])
})
