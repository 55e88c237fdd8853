import { expect } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient, type Received } from '../support/raw.ts'
import { covers } from './covering.ts'
import { acknowledge, eachRow, join, joinKept, publishEach, publishes, settle, told } from './kit.ts'
import { transports, versions } from './wire.ts'

const idOf = (received: Received) => received.messageId as number
const last = <T>(list: readonly T[]): T => list[list.length - 1]!

/** `a`, `b`, … at QoS 1 and 2 by turns. */
const letters = (count: number) =>
  Array.from({ length: count }, (_, i) => [String.fromCharCode(97 + i), 1 + (i % 2)] as const)

// ── what the broker sends ───────────────────────────────────────────────────────────────────────────────────────────

covers(
  ['5:MQTT-3.3.4-9', '5:MQTT-4.9.0-1', '5:MQTT-4.9.0-2'],
  'a client has never more unacknowledged than it takes, and one that ends makes room for one',
  async () => {
    const broker = await startBroker({ limits: { inflightMessages: 6 } })
    for (const transport of transports)
      await eachRow(
        [
          [5, 1],
          [5, 2],
          [5, 5],
          [5, undefined],
          [4, undefined],
          [3, undefined],
        ],
        async (version, asked) => {
          const window = asked ?? 6
          const properties = asked === undefined ? {} : { receiveMaximum: asked }
          const sub = await join(broker, 'sub', version, version === 5 ? { properties } : {}, transport)
          await sub.subscribe('t', 2)
          const greedy = await join(broker, 'greedy')
          await greedy.subscribe('t', 0)
          await publishEach(await join(broker, 'pub'), letters(12))
          // Others go on.
          expect((await publishes(greedy, 12)).map(told).join(' ')).toMatch(/^t=a q0 .* t=l q0$/)
          const out = await publishes(sub, window)
          await sub.expectQuiet()
          for (let next = window; next < 12; next++) {
            // The newest first, so that what ends is not always the oldest.
            await acknowledge(sub, out.pop()!)
            out.push(...(await publishes(sub, 1)))
            expect(String(last(out).payload)).toBe(String.fromCharCode(97 + next))
            await sub.expectQuiet()
          }
          for (const received of out) await acknowledge(sub, received)
          await sub.expectQuiet()
          expect(broker.node.broker.pending).toBe(0)
        },
      )
  },
)

covers(
  ['5:MQTT-3.3.4-9', '5:MQTT-4.9.0-2'],
  'what makes room: PUBACK, PUBCOMP and a refusal; PUBREC does not',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    await eachRow(
      [
        ['PUBACK', 1, [['puback', 0, true]]],
        ['PUBACK 0x97', 1, [['puback', 0x97, true]]],
        [
          'PUBREC, then PUBCOMP',
          2,
          [
            ['pubrec', 0, false],
            ['pubcomp', 0, true],
          ],
        ],
        [
          'PUBREC twice',
          2,
          [
            ['pubrec', 0, false],
            ['pubrec', 0, false],
            ['pubcomp', 0, true],
          ],
        ],
        ['PUBREC 0x97', 2, [['pubrec', 0x97, true]]],
        [
          'PUBREC, then PUBCOMP 0x92',
          2,
          [
            ['pubrec', 0, false],
            ['pubcomp', 0x92, true],
          ],
        ],
        [
          'PUBACK of something else',
          1,
          [
            ['puback', -1, false],
            ['puback', 0, true],
          ],
        ],
        [
          'PUBCOMP before PUBREC',
          2,
          [
            ['pubcomp', 0, false],
            ['pubrec', 0, false],
            ['pubcomp', 0, true],
          ],
        ],
      ] as const,
      async (_, qos, answers) => {
        const sub = await join(broker, 'sub', 5, { properties: { receiveMaximum: 1 } })
        await sub.subscribe('t', 2)
        await publishEach(pub, [
          ['first', qos],
          ['second', 1],
        ])
        const first = await sub.expect('publish')
        for (const [cmd, reason, room] of answers) {
          const other = reason < 0
          sub.send({ cmd, messageId: idOf(first) + (other ? 1000 : 0), reasonCode: other ? 0 : reason })
          if (cmd === 'pubrec' && reason < 0x80) expect(idOf(await sub.expect('pubrel'))).toBe(idOf(first))
          if (room) expect(told(await sub.expect('publish'))).toBe('t=second q1')
          else await sub.expectQuiet()
        }
      },
    )
  },
)

covers(
  ['5:MQTT-4.9.0-3', '5:MQTT-3.3.4-10'],
  'with no room for PUBLISH of QoS 1 and 2 everything else goes on',
  async () => {
    const broker = await startBroker()
    const sub = await join(broker, 'sub', 5, { properties: { receiveMaximum: 1 } })
    await sub.subscribe('t', 2)
    const pub = await join(broker, 'pub')
    await publishEach(pub, letters(4))
    const first = await sub.expect('publish')
    sub.bytes('c0 00')
    await sub.expect('pingresp')
    expect(await sub.subscribe('other', 1)).toBe(1)
    sub.publish('nobody', 'x', { qos: 1, messageId: 1 }).publish('nobody', 'x', { qos: 2, messageId: 2 })
    expect([idOf(await sub.expect('puback')), idOf(await sub.expect('pubrec'))]).toEqual([1, 2])
    sub.send({ cmd: 'pubrel', messageId: 2 })
    expect(idOf(await sub.expect('pubcomp'))).toBe(2)
    sub.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['other'] })
    expect(idOf(await sub.expect('unsuback'))).toBe(3)
    pub.publish('t', 'urgent', { qos: 0 })
    expect(told(await sub.expect('publish'))).toBe('t=urgent q0')
    await acknowledge(sub, first)
    expect(told(await sub.expect('publish'))).toBe('t=b q2')
  },
)

covers(
  ['5:MQTT-3.3.4-9', '5:MQTT-4.4.0-1'],
  'a smaller window on the next connection holds for what comes again',
  async () => {
    const broker = await startBroker()
    const sub = await joinKept(broker, 'sub')
    await sub.subscribe('t', 2)
    await publishEach(await join(broker, 'pub'), letters(6))
    const sent = await publishes(sub, 6)
    // One is released, which takes its place in the window.
    sub.send({ cmd: 'pubrec', messageId: idOf(sent[1]!) })
    await sub.expect('pubrel')
    const back = await joinKept(broker, 'sub', 5, { receiveMaximum: 2 })
    expect(idOf(await back.expect('pubrel'))).toBe(idOf(sent[1]!))
    for (const payload of 'acdef') {
      const [again] = await publishes(back, 1)
      expect(told(again!)).toBe(`t=${payload} q${'bdf'.includes(payload) ? 2 : 1} dup`)
      await back.expectQuiet()
      await acknowledge(back, again!)
    }
    await back.expectQuiet()
    back.send({ cmd: 'pubcomp', messageId: idOf(sent[1]!) })
    await back.expectQuiet()
    expect(broker.node.broker.pending).toBe(0)
  },
)

covers(['5:MQTT-3.3.4-9'], 'what is released keeps its place in a window of one until PUBCOMP', async () => {
  const broker = await startBroker()
  const sub = await joinKept(broker, 'sub')
  await sub.subscribe('t', 2)
  const pub = await join(broker, 'pub')
  await publishEach(pub, letters(2))
  await publishEach(pub, [['c', 2]])
  const [a, b, c] = (await publishes(sub, 3)).map(idOf) as [number, number, number]
  sub.send({ cmd: 'pubrec', messageId: c })
  await sub.expect('pubrel')
  const back = await joinKept(broker, 'sub', 5, { receiveMaximum: 1 })
  expect(idOf(await back.expect('pubrel'))).toBe(c)
  await back.expectQuiet()
  back.send({ cmd: 'pubcomp', messageId: c })
  expect(told(await back.expect('publish'))).toBe('t=a q1 dup')
  // It has b from the last connection, and says so before that comes again.
  back.send({ cmd: 'pubrec', messageId: b })
  expect(idOf(await back.expect('pubrel'))).toBe(b)
  await publishEach(pub, [['d', 1]])
  back.send({ cmd: 'puback', messageId: a })
  await back.expectQuiet()
  back.send({ cmd: 'pubcomp', messageId: b })
  expect(told(await back.expect('publish'))).toBe('t=d q1')
})

// ── what the broker receives ────────────────────────────────────────────────────────────────────────────────────────

covers(
  ['5:MQTT-3.3.4-7', '5:MQTT-3.3.4-8'],
  'a client that sends more than the receive maximum is told 0x93 and cut off',
  async () => {
    // 'denied' gets PUBREC 0x87, which makes room at once.
    const broker = await startBroker({
      limits: { receiveMaximum: 3 },
      hooks: { authorizePublish: (_, { topic }) => topic !== 'denied' },
    })
    const publish2 =
      (id: number, topic = 't') =>
      (client: RawClient) =>
        client.publish(topic, 'x', { qos: 2, messageId: id })
    const publish1 = (id: number) => (client: RawClient) => client.publish('t', 'x', { qos: 1, messageId: id })
    const pubrel = (id: number) => (client: RawClient) => client.send({ cmd: 'pubrel', messageId: id })
    const full = [publish2(1), publish2(2), publish2(3)]
    for (const transport of transports)
      await eachRow<[string, ((client: RawClient) => RawClient)[], boolean]>(
        [
          ['as many as there is room for', full, true],
          ['one more at QoS 2', [...full, publish2(4)], false],
          ['one more at QoS 1', [...full, publish1(4)], false],
          ['QoS 1, which ends at once', Array.from({ length: 20 }, (_, id) => publish1(id + 1)), true],
          ['one that was released', [...full, pubrel(2), publish2(4)], true],
          ['one that was released, and one too many', [...full, pubrel(2), publish2(4), publish2(5)], false],
          ['refused ones', [...full.slice(1), ...[5, 6, 7, 8].map((id) => publish2(id, 'denied')), publish2(4)], true],
        ],
        async (_, steps, fine) => {
          const client = await RawClient.open(broker, 5, transport)
          client.send({
            cmd: 'connect',
            protocolId: 'MQTT',
            protocolVersion: 5,
            clean: true,
            clientId: 'c',
            keepalive: 9,
          })
          expect((await client.expect('connack')).properties).toMatchObject({ receiveMaximum: 3 })
          for (const step of steps) step(client)
          const answers = fine ? steps.length : steps.length - 1
          for (let i = 0; i < answers; i++) await client.next()
          // With no room left everything else is still taken.
          if (fine) expect(await client.subscribe('other', 1)).toBe(1)
          else await client.expectDisconnect(0x93)
        },
      )
  },
)

covers(['3.1.1:MQTT-4.3.3-2'], 'a 3.x client, which cannot be told a maximum, may leave many unreleased', async () => {
  const broker = await startBroker({ limits: { receiveMaximum: 3 } })
  for (const version of [3, 4] as const) {
    const client = await join(broker, 'client', version)
    for (let messageId = 1; messageId <= 300; messageId++) client.publish('t', 'x', { qos: 2, messageId })
    for (let messageId = 1; messageId <= 300; messageId++) expect(idOf(await client.expect('pubrec'))).toBe(messageId)
  }
})

covers(['5:MQTT-3.3.4-7'], 'the count begins anew with a connection', async () => {
  const broker = await startBroker({ limits: { receiveMaximum: 2 } })
  for (const id of [1, 3, 5]) {
    const client = await joinKept(broker, 'client')
    for (const messageId of [id, id + 1]) {
      client.publish('t', 'x', { qos: 2, messageId })
      await client.expect('pubrec')
    }
    await client.drop()
  }
  const client = await joinKept(broker, 'client')
  for (let messageId = 1; messageId <= 6; messageId++) {
    client.send({ cmd: 'pubrel', messageId })
    expect((await client.expect('pubcomp')).reasonCode).toBe(0)
  }
})

// ── maximum packet size ─────────────────────────────────────────────────────────────────────────────────────────────

const most = 100
/** What may be told of losses: how many were too large. */
const tooLarge = (broker: TestBroker) => broker.node.broker.ledger.lost['too-large']

covers(
  ['5:MQTT-3.1.2-24', '5:MQTT-3.1.2-25'],
  'a message larger than a client accepts is dropped for it alone, to the byte, and counted',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    const other = await join(broker, 'other')
    await other.subscribe('t', 2)
    // Header 2, topic 3, property length 1; what else stands in it, and the payload.
    await eachRow(
      [
        ['QoS 0', 0, 0, {}, {}],
        ['QoS 1', 2, 1, {}, {}],
        ['QoS 2', 2, 2, {}, {}],
        ['a subscription id', 3, 0, {}, { id: 300 }],
        ['an expiry', 7, 1, { messageExpiryInterval: 60 }, {}],
        ['a content type', 7, 0, { contentType: 'text' }, {}],
        ['a user property and an id', 10, 1, { userProperties: { n: '' } }, { id: 5 }],
      ] as const,
      async (_, extra, qos, properties, options) => {
        const sub = await join(broker, 'sub', 5, { properties: { maximumPacketSize: most } })
        await sub.subscribe('t', 2, options)
        const fits = most - 6 - extra
        const before = tooLarge(broker)
        for (const [length, payload] of [
          [fits, 'f'],
          [fits + 1, 'l'],
          [5000, 'h'],
          [fits, 'g'],
        ] as const)
          pub.publish('t', payload.repeat(length), { qos, messageId: 1 + payload.charCodeAt(0), properties })
        const small = await publishes(sub, 2)
        expect(small.map(({ raw, payload }) => [raw.length, String(payload)[0]])).toEqual([
          [most, 'f'],
          [most, 'g'],
        ])
        for (const received of small) await acknowledge(sub, received)
        await sub.expectQuiet()
        expect(tooLarge(broker) - before).toBe(2)
        const heard = await publishes(other, 4)
        expect(heard.map(({ payload }) => String(payload)[0])).toEqual(['f', 'l', 'h', 'g'])
        for (const received of heard) await acknowledge(other, received)
      },
    )
  },
)

covers(['5:MQTT-3.1.2-24'], 'an alias is left out where it would make a message too large', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  const sub = await join(broker, 'sub', 5, { properties: { maximumPacketSize: most, topicAliasMaximum: 5 } })
  await sub.subscribe('t', 0)
  for (const length of [94, 92, 91, 94]) pub.publish('t', 'x'.repeat(length))
  expect(
    (await publishes(sub, 4)).map(({ raw, topic, properties }) => [
      raw.length,
      topic,
      (properties as { topicAlias?: number } | undefined)?.topicAlias,
    ]),
  ).toEqual([
    [100, 't', undefined],
    [98, 't', undefined],
    [100, 't', 1],
    [100, 't', undefined],
  ])
})

covers(
  ['5:MQTT-3.1.2-25'],
  'what is too large for the connection that comes back, queued, in flight or retained, counts as done',
  async () => {
    const broker = await startBroker()
    const sub = await joinKept(broker, 'sub')
    await sub.subscribe('t', 2)
    const pub = await join(broker, 'pub')
    const large = 'l'.repeat(most)
    const send = (payload: string, qos: number, messageId: number) =>
      pub.publish('t', payload, { qos, messageId, retain: true })
    send(large, 1, 1)
    send('small', 2, 2)
    send(large, 2, 3)
    await settle(pub)
    await publishes(sub, 3)
    await sub.disconnect()
    send(large, 1, 4)
    send('new', 1, 5)
    send(large, 2, 6)
    await settle(pub)
    const back = await joinKept(broker, 'sub', 5, { maximumPacketSize: most, receiveMaximum: 2 })
    const heard = await publishes(back, 2)
    expect(heard.map(told)).toEqual(['t=small q2 dup', 't=new q1'])
    for (const received of heard) await acknowledge(back, received)
    expect(await back.subscribe('t', 2)).toBe(2)
    await back.expectQuiet()
    expect([tooLarge(broker), broker.node.broker.pending]).toEqual([5, 0])
  },
)

covers(['5:MQTT-3.1.2-24'], 'an answer that cannot be made small enough ends the connection, unsent', async () => {
  const broker = await startBroker()
  const client = await join(broker, 'client', 5, { properties: { maximumPacketSize: most } })
  const filters = (count: number) => Array.from({ length: count }, (_, at) => ({ topic: `f/${at}`, qos: 0 as const }))
  // SUBACK: header 2, packet id 2, property length 1, a code each.
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters(most - 5) })
  expect((await client.expect('suback')).raw.length).toBe(most)
  client.send({ cmd: 'subscribe', messageId: 2, subscriptions: filters(most - 4) })
  await client.expectClosed()
})

covers(['5:MQTT-3.1.2-24'], 'a client without a maximum, and one of 3.x, gets whatever the broker takes', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  for (const version of versions) {
    const sub = await join(broker, 'sub', version)
    await sub.subscribe('t')
    for (const length of [1, 120, 128, 16_384, 70_000, 1_900_000]) {
      pub.publish('t', Buffer.alloc(length, 'x'))
      expect((await publishes(sub, 1))[0]!.payload).toHaveLength(length)
    }
  }
})
