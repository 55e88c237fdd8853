import { expect } from 'vitest'
import { Denied, type Hooks } from '../../src/access/hooks.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { startBroker } from '../support/broker.ts'
import type { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import { acknowledge, closes, eachRow, hasten, hears, join, joinKept, publishes, settle, told } from './kit.ts'
import { block, hex, packet, text, u16, type Version, versions } from './wire.ts'

/** A PUBLISH of either layout: v5 has an empty property block more. */
const publish =
  (first: number, ...parts: (number | string | Uint8Array)[]) =>
  (version: Version) =>
    packet(first, ...parts, ...(version === 5 ? [0] : []))

/** A v5 PUBLISH to `t` with these properties. */
const carrying = (...properties: (number | string | Uint8Array)[]) => packet(0x30, 't', block(...properties))

covers(
  ['5:MQTT-3.3.1-2', '5:MQTT-3.3.1-4', '5:MQTT-2.2.1-2', '3.1.1:MQTT-3.3.1-2', '3.1.1:MQTT-3.3.1-4'],
  'a PUBLISH with impossible flags closes the connection',
  () =>
    closes(versions, [
      ['QoS 3', publish(0x36, 't', u16(1)), 0x81],
      ['QoS 3 with DUP', publish(0x3e, 't', u16(1)), 0x81],
      ['QoS 3 with RETAIN', publish(0x37, 't', u16(1)), 0x81],
      ['DUP on QoS 0', publish(0x38, 't'), 0x81],
      ['DUP and RETAIN on QoS 0', publish(0x39, 't'), 0x81],
    ]),
)

covers(['3.1.1:MQTT-2.3.1-1'], 'a PUBLISH of QoS 1 or 2 without a packet id closes the connection', () =>
  closes(versions, [
    ['QoS 1, id 0', publish(0x32, 't', u16(0)), 0x82],
    ['QoS 2, id 0', publish(0x34, 't', u16(0)), 0x82],
    ['QoS 1, no id', packet(0x32, 't'), 0x81],
    ['QoS 2, half an id', packet(0x34, 't', 1), 0x81],
  ]),
)

covers(
  [
    '5:MQTT-3.3.2-1',
    '5:MQTT-3.3.2-2',
    '5:MQTT-4.7.0-1',
    '5:MQTT-4.7.3-1',
    '5:MQTT-4.7.3-2',
    '3.1.1:MQTT-3.3.2-1',
    '3.1.1:MQTT-3.3.2-2',
    '3.1.1:MQTT-4.7.1-1',
    '3.1.1:MQTT-4.7.3-1',
    '3.1.1:MQTT-4.7.3-2',
    '3.1.1:MQTT-4.8.0-1',
  ],
  'a PUBLISH with a topic that is none closes the connection',
  async () => {
    await closes(versions, [
      ['#', publish(0x30, '#'), 0x90],
      ['a level +', publish(0x32, 'a/+', u16(1)), 0x90],
      ['+ inside a level', publish(0x34, 'a+b', u16(1)), 0x90],
      ['# inside a level', publish(0x30, 'a/b#'), 0x90],
      ['NUL', publish(0x30, 'a\0b'), 0x81],
      ['overlong NUL', publish(0x30, text(hex('61 c080'))), 0x81],
      ['a surrogate', publish(0x30, text(hex('61 eda080'))), 0x81],
      ['a lone continuation byte', publish(0x30, text(hex('80'))), 0x81],
      ['a sequence cut short', publish(0x30, text(hex('e282'))), 0x81],
      ['beyond U+10FFFF', publish(0x30, text(hex('f4908080'))), 0x81],
      ['longer than the packet', packet(0x30, u16(2), 0x61), 0x81],
      ['no topic length', packet(0x30), 0x81],
      ['half a topic length', packet(0x30, 0), 0x81],
    ])
    // 3.x: a topic that is empty. v5: neither a topic nor an alias.
    await closes([3, 4], [['no topic', packet(0x30, ''), 0x90]])
    await closes([5], [['neither topic nor alias', packet(0x30, '', 0), 0x82]])
  },
)

covers(
  ['5:MQTT-3.3.2-8', '5:MQTT-3.3.2-13', '5:MQTT-3.3.2-14', '5:MQTT-3.3.2-19', '5:MQTT-3.3.4-6'],
  'a PUBLISH with a property that is wrong closes the connection',
  () =>
    closes(
      [5],
      [
        ['topic alias 0', carrying(0x23, u16(0)), 0x94],
        ['topic alias above the maximum', carrying(0x23, u16(33)), 0x94],
        ['topic alias 65,535', carrying(0x23, u16(65_535)), 0x94],
        ['an alias never set', packet(0x30, '', block(0x23, u16(1))), 0x82],
        ['two aliases', carrying(0x23, u16(1), 0x23, u16(2)), 0x82],
        ['a subscription id', carrying(0x0b, 1), 0x82],
        ['a response topic with #', carrying(0x08, 'a/#'), 0x82],
        ['a response topic with +', carrying(0x08, '+'), 0x82],
        ['a response topic of bad UTF-8', carrying(0x08, text(hex('ff'))), 0x81],
        ['two response topics', carrying(0x08, 'a', 0x08, 'a'), 0x82],
        ['a content type of bad UTF-8', carrying(0x03, text(hex('c3 28'))), 0x81],
        ['a content type with NUL', carrying(0x03, text(hex('00'))), 0x81],
        ['a user property name of bad UTF-8', carrying(0x26, text(hex('eda080')), 'v'), 0x81],
        ['a user property value of bad UTF-8', carrying(0x26, 'n', text(hex('ff'))), 0x81],
        ['payload format 2', carrying(0x01, 2), 0x82],
        ['payload format 1 on bytes that are no text', Buffer.concat([packet(0x30, 't', block(1, 1), 0xff)]), 0x99],
        ['two expiry intervals', carrying(0x02, u16(0), u16(1), 0x02, u16(0), u16(1)), 0x82],
        ['a property that is cut short', carrying(0x02, u16(0)), 0x81],
        ['a property of CONNECT', carrying(0x21, u16(1)), 0x81],
        ['a property that does not exist', carrying(0x7f), 0x81],
        ['a property length beyond the packet', packet(0x30, 't', 9), 0x81],
        ['a property length of five bytes', packet(0x30, 't', 0x80, 0x80, 0x80, 0x80, 0), 0x81],
        ['a property length longer than needed', packet(0x30, 't', 0x80, 0), 0x81],
        ['no property length', packet(0x30, 't'), 0x81],
      ],
    ),
)

covers(
  [
    '5:MQTT-3.3.4-1',
    '5:MQTT-2.2.1-5',
    '5:MQTT-4.3.2-4',
    '5:MQTT-4.3.3-8',
    '5:MQTT-4.3.3-11',
    '3.1.1:MQTT-3.3.4-1',
    '3.1.1:MQTT-2.3.1-6',
  ],
  'a PUBLISH is answered as its QoS wants, under its own packet id',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const client = await join(broker, 'pub', version)
      client.publish('t', 'x')
      await client.expectQuiet()
      for (const messageId of [1, 256, 65_535]) {
        client.publish('t', 'x', { qos: 1, messageId })
        expect((await client.expect('puback')).messageId).toBe(messageId)
        client.publish('t', 'x', { qos: 2, messageId })
        expect((await client.expect('pubrec')).messageId).toBe(messageId)
        client.send({ cmd: 'pubrel', messageId })
        expect((await client.expect('pubcomp')).messageId).toBe(messageId)
      }
      await client.expectQuiet()
    }
  },
)

covers(
  [
    '5:MQTT-3.3.1-3',
    '5:MQTT-4.3.1-1',
    '5:MQTT-4.3.2-2',
    '5:MQTT-4.3.3-2',
    '3.1.1:MQTT-3.3.1-3',
    '3.1.1:MQTT-4.3.1-1',
    '3.1.1:MQTT-2.3.1-5',
  ],
  'what is forwarded has DUP 0, whatever came, and no packet id at QoS 0',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (const version of versions) {
      const subs = await Promise.all([0, 1, 2].map((qos) => join(broker, `sub${qos}`, version)))
      await Promise.all(subs.map((sub, qos) => sub.subscribe('t', qos as 0 | 1 | 2)))
      for (const [qos, dup] of [
        [0, false],
        [1, true],
        [1, false],
        [2, true],
      ] as const) {
        pub.publish('t', 'x', { qos, dup, messageId: 7 })
        if (qos === 1) await pub.expect('puback')
        if (qos === 2) {
          await pub.expect('pubrec')
          pub.send({ cmd: 'pubrel', messageId: 7 })
          await pub.expect('pubcomp')
        }
        const heard = await Promise.all(subs.map(async (sub) => (await hears(sub, 1))[0]))
        expect(heard).toEqual([0, 1, 2].map((granted) => `t=x q${Math.min(granted, qos)}`))
      }
      // The bytes themselves: a topic, no id, (v5) no properties, the payload.
      pub.publish('t', 'x')
      for (const sub of subs)
        expect((await publishes(sub, 1))[0]!.raw.toString('hex')).toBe(
          publish(
            0x30,
            't',
          )(version)
            .toString('hex')
            .replace(/^30../, version === 5 ? '3005' : '3004') + '78',
        )
    }
  },
)

// A block with everything that is forwarded, in an odd order, with names that stand more than once.
const forwarded: (number | string | Uint8Array)[] = [
  [0x26, 'b', '1'],
  [0x09, text(hex('00 ff 80 00'))],
  [0x26, 'a', '2'],
  [0x03, 'text/plain; ü'],
  [0x26, 'b', '1'],
  [0x01, 1],
  [0x26, '', ''],
  [0x08, 'reply/to/me'],
  [0x26, 'b', '0'],
].flat()

covers(
  ['5:MQTT-3.3.2-4', '5:MQTT-3.3.2-15', '5:MQTT-3.3.2-16', '5:MQTT-3.3.2-17', '5:MQTT-3.3.2-18', '5:MQTT-3.3.2-20'],
  'properties reach every v5 subscriber unaltered and in order, on every way there is',
  async () => {
    const broker = await startBroker()
    const whole = block(...forwarded).subarray(1)
    const [plain, own, aliased, low] = await Promise.all([
      join(broker, 'plain'),
      join(broker, 'with an id'),
      join(broker, 'with aliases', 5, { properties: { topicAliasMaximum: 5 } }),
      join(broker, 'low'),
    ])
    const away = await joinKept(broker, 'away')
    await Promise.all([plain, aliased, away].map((sub) => sub.subscribe('t', 2)))
    await own.subscribe('t', 2, { id: 300 })
    await low.subscribe('t', 0)
    const old = await join(broker, 'old', 4)
    await old.subscribe('t', 2)
    await away.disconnect()
    const pub = await join(broker, 'pub')
    // With an expiry and an alias in between, which are the broker's to rewrite.
    const mixed = [...forwarded.slice(0, 3), 0x02, u16(0), u16(900), ...forwarded.slice(3), 0x23, u16(1)]
    await eachRow(
      [
        ['QoS 0', 0x30, forwarded],
        ['QoS 1', 0x32, forwarded],
        ['QoS 2', 0x34, forwarded],
        ['QoS 1, expiry and alias', 0x32, mixed],
        ['QoS 1, retained', 0x33, forwarded],
      ] as const,
      async (_, first, parts) => {
        pub.bytes(packet(first, 't', ...(first === 0x30 ? [] : [u16(5)]), block(...parts), 'payload'))
        if (first & 2) await pub.expect('puback')
        if (first & 4) {
          await pub.expect('pubrec')
          pub.send({ cmd: 'pubrel', messageId: 5 })
          await pub.expect('pubcomp')
        }
        for (const sub of [plain, own, aliased, low])
          expect((await sub.expect('publish')).raw.includes(whole)).toBe(true)
        expect((await old.expect('publish')).raw.includes(whole)).toBe(false)
      },
    )
    const back = await joinKept(broker, 'away')
    const late = await join(broker, 'late')
    await late.subscribe('t')
    for (const packet of [...(await publishes(back, 4)), ...(await publishes(late, 1))])
      expect(packet.raw.includes(whole)).toBe(true)
  },
)

covers(['5:MQTT-3.3.2-3', '3.1.1:MQTT-3.3.2-3'], 'the topic that a subscriber sees is the one published', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  for (const version of versions) {
    const sub = await join(broker, 'sub', version)
    for (const filter of ['a/+', 'b/#', '+/+/c']) await sub.subscribe(filter, 1)
    for (const topic of ['a/1', 'b', 'b/2/c', 'a/b', 'a', 'c/c']) pub.publish(topic)
    await settle(pub)
    expect((await publishes(sub, 4)).map(({ topic }) => topic)).toEqual(['a/1', 'b', 'b/2/c', 'a/b'])
    await sub.expectQuiet()
  }
})

covers(['5:MQTT-3.3.2-6'], 'the expiry interval counts down while a message waits', async () => {
  const broker = await startBroker()
  const away = await joinKept(broker, 'away')
  await away.subscribe('t/#', 2)
  await away.disconnect()
  const pub = await join(broker, 'pub')
  const expiring = (messageExpiryInterval: number) => ({ qos: 1, messageId: 1, properties: { messageExpiryInterval } })
  pub.publish('t/1', 'x', expiring(100)).publish('t/2', 'x', { ...expiring(200), retain: true })
  await settle(pub)
  hasten(30)
  pub.publish('t/3', 'x', expiring(100))
  await settle(pub)
  hasten(20)
  const left = async (client: RawClient, count: number) =>
    (await publishes(client, count)).map(({ topic, properties: block }) => [
      topic,
      (block as { messageExpiryInterval: number }).messageExpiryInterval,
    ])
  const back = await joinKept(broker, 'away')
  expect(await left(back, 3)).toEqual([
    ['t/1', 50],
    ['t/2', 150],
    ['t/3', 80],
  ])
  // Online it goes out as it came; so does a retained message, with what is left.
  await back.subscribe('t/2')
  expect(await left(back, 1)).toEqual([['t/2', 150]])
  pub.publish('t/4', 'x', { properties: { messageExpiryInterval: 7 } })
  expect(await left(back, 1)).toEqual([['t/4', 7]])
})

covers(['5:MQTT-3.3.2-5'], 'what has expired in a queue, or retained, is sent to nobody', async () => {
  const broker = await startBroker()
  const away = await joinKept(broker, 'away', 5)
  const old = await joinKept(broker, 'old', 4)
  for (const sub of [away, old]) await sub.subscribe('t/#', 1)
  await Promise.all([away.disconnect(), old.disconnect()])
  const pub = await join(broker, 'pub')
  const expiring = { qos: 1, messageId: 1, properties: { messageExpiryInterval: 1 } }
  pub.publish('t/gone', 'x', expiring).publish('t/kept', 'x', { qos: 1, messageId: 2 })
  pub.publish('t/retained', 'x', { ...expiring, retain: true })
  await settle(pub)
  hasten(2)
  const late = await join(broker, 'late')
  expect(await late.subscribe('t/#')).toBe(0)
  await late.expectQuiet()
  for (const version of [5, 4] as const) {
    const back = await joinKept(broker, version === 5 ? 'away' : 'old', version)
    expect(await hears(back, 1)).toEqual(['t/kept=x q1'])
    await back.expectQuiet()
  }
  expect(broker.node.broker.ledger.lost.expired).toBe(4)
})

covers(['5:MQTT-3.3.2-5'], 'nor is what expires while its subscriber has no room for it', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  const expiring = { qos: 1, messageId: 1, properties: { messageExpiryInterval: 10 } }
  for (const topic of ['r/1', 'r/2', 'r/3', 'r/4']) pub.publish(topic, 'x', { ...expiring, retain: true })
  await settle(pub)
  const sub = await join(broker, 'sub', 5, { properties: { receiveMaximum: 1 } })
  await sub.subscribe('$share/g/s', 1)
  await sub.subscribe('r/#', 1)
  const [first] = await publishes(sub, 1)
  expect(told(first!)).toBe('r/1=x q1 retain')
  for (const topic of ['r/5', 's', 'r/6']) pub.publish(topic, 'x', expiring)
  await settle(pub)
  hasten(20)
  await acknowledge(sub, first!)
  await sub.expectQuiet()
  // Sent in time, it is owed to this member; to the next one it would be late.
  pub.publish('s', 'y', expiring)
  expect(await hears(sub, 1)).toEqual(['s=y q1'])
  const next = await join(broker, 'next')
  await next.subscribe('$share/g/s', 1)
  hasten(20)
  await sub.disconnect()
  await next.expectQuiet()
  expect(broker.node.broker.pending).toBe(0)
})

covers(['5:MQTT-3.3.2-12'], 'a client may set, use and change every alias up to the maximum', async () => {
  const broker = await startBroker({ limits: { topicAliases: 3 } })
  const sub = await join(broker, 'sub')
  await sub.subscribe('#')
  const pub = await join(broker, 'pub')
  const send = (topic: string, topicAlias: number) => pub.publish(topic, '', { properties: { topicAlias } })
  for (const alias of [1, 2, 3]) send(`t/${alias}`, alias)
  for (const alias of [3, 1, 2, 1]) send('', alias)
  send('other', 1)
  for (const alias of [1, 2]) send('', alias)
  expect((await publishes(sub, 10)).map(({ topic }) => topic)).toEqual([
    't/1',
    't/2',
    't/3',
    't/3',
    't/1',
    't/2',
    't/1',
    'other',
    'other',
    't/2',
  ])
})

covers(['5:MQTT-3.3.2-7'], 'an alias ends with its connection, on both sides', async () => {
  const broker = await startBroker()
  const properties = { topicAliasMaximum: 1 }
  const connect = () => joinKept(broker, 'client', 5, properties)
  const first = await connect()
  await first.subscribe('t', 0)
  first.publish('t', 'x', { properties: { topicAlias: 1 } }).publish('', 'y', { properties: { topicAlias: 1 } })
  expect((await publishes(first, 2)).map(({ topic }) => topic)).toEqual(['t', ''])
  await first.disconnect()
  const second = await connect()
  // Ours is set anew: the topic comes along again.
  second.publish('t', 'z')
  expect((await second.expect('publish')).topic).toBe('t')
  second.publish('', 'x', { properties: { topicAlias: 1 } })
  await second.expectDisconnect(Reason.protocolError)
})

covers(
  ['5:MQTT-3.1.2-26', '5:MQTT-3.1.2-27', '5:MQTT-3.3.2-10', '5:MQTT-3.3.2-11'],
  'the broker sets as many aliases as the client takes, and none when it takes none',
  async () => {
    const broker = await startBroker({ limits: { topicAliases: 3 } })
    const pub = await join(broker, 'pub')
    await eachRow(
      [
        [2, ['a:1', 'b:2', 'c:', ':1', ':2', 'c:']],
        [1, ['a:1', 'b:', 'c:', ':1', 'b:', 'c:']],
        [65_535, ['a:1', 'b:2', 'c:3', ':1', ':2', ':3']],
        [0, ['a:', 'b:', 'c:', 'a:', 'b:', 'c:']],
        [undefined, ['a:', 'b:', 'c:', 'a:', 'b:', 'c:']],
      ] as const,
      async (topicAliasMaximum, expected) => {
        const asked = topicAliasMaximum === undefined ? {} : { properties: { topicAliasMaximum } }
        const sub = await join(broker, 'sub', 5, asked)
        await sub.subscribe('+', 1)
        for (const topic of ['a', 'b', 'c', 'a', 'b', 'c']) pub.publish(topic)
        const seen = (await publishes(sub, 6)).map(({ topic, properties: block }) => {
          const alias = (block as { topicAlias?: number } | undefined)?.topicAlias
          return `${String(topic)}:${alias ?? ''}`
        })
        expect(seen).toEqual(expected)
      },
    )
  },
)

const sorting: Hooks = {
  authorizePublish: (_, { topic }) => {
    if (topic.startsWith('banned')) throw new Denied(Reason.banned, 'a code of CONNACK')
    return !topic.startsWith('denied')
  },
}

covers(
  ['5:MQTT-3.4.2-1', '5:MQTT-3.5.2-1', '5:MQTT-4.3.3-9', '3.1.1:MQTT-3.3.5-2'],
  'a publish that is not allowed goes to nobody: v5 is told so, 3.x gets a plain acknowledgement',
  async () => {
    const broker = await startBroker({ hooks: sorting })
    const sub = await join(broker, 'sub')
    await sub.subscribe('#', 0)
    for (const version of versions) {
      const pub = await join(broker, 'pub', version)
      const code = (packet: Record<string, unknown>) => (version === 5 ? packet.reasonCode : 0)
      const expected = version === 5 ? Reason.notAuthorized : 0
      for (const topic of ['denied', 'banned', '$SYS/x', '$share/g/x']) {
        pub.publish(topic, 'x').publish(topic, 'x', { qos: 1, messageId: 1 })
        expect(code(await pub.expect('puback')), topic).toBe(expected)
        // The packet id of what was refused is free at once.
        for (let i = 0; i < 2; i++) {
          pub.publish(topic, 'x', { qos: 2, messageId: 2 })
          expect(code(await pub.expect('pubrec')), topic).toBe(expected)
        }
      }
      pub.publish('allowed', String(version), { qos: 2, messageId: 2 })
      expect((await pub.expect('pubrec')).messageId).toBe(2)
      expect(await hears(sub, 1)).toEqual([`allowed=${version} q0`])
      await sub.expectQuiet()
    }
    // 12 for each version, each counted.
    expect(broker.node.broker.ledger.refused).toBe(48)
  },
)

covers(
  ['5:MQTT-3.1.2-29', '5:MQTT-3.4.2-2', '5:MQTT-3.4.2-3', '5:MQTT-3.5.2-2', '5:MQTT-3.5.2-3'],
  'PUBACK and PUBREC explain themselves to those who want it and have room for it',
  async () => {
    const broker = await startBroker({
      hooks: {
        authorizePublish() {
          throw new Denied(Reason.quotaExceeded, 'x'.repeat(50))
        },
      },
    })
    await eachRow(
      [
        [{}, true],
        [{ requestProblemInformation: true }, true],
        [{ requestProblemInformation: false }, false],
        // Header 2, packet id 2, reason 1, property length 1, property 3, text 50.
        [{ maximumPacketSize: 59 }, true],
        [{ maximumPacketSize: 58 }, false],
      ] as const,
      async (asked, explained) => {
        const client = await join(broker, 'client', 5, { properties: asked })
        for (const [qos, answer] of [
          [1, 'puback'],
          [2, 'pubrec'],
        ] as const) {
          client.publish('t', 'x', { qos, messageId: 1 })
          const { reasonCode, properties: block } = await client.expect(answer)
          expect(reasonCode).toBe(Reason.quotaExceeded)
          expect(block ?? {}).toEqual(explained ? { reasonString: 'x'.repeat(50) } : {})
        }
      },
    )
  },
)

covers(['5:MQTT-4.5.0-1', '3.1.1:MQTT-4.5.0-1'], 'a message is kept for every session that wants it', async () => {
  const broker = await startBroker()
  for (const version of versions) {
    const names = ['one', 'two', 'three'].map((name) => `${name}${version}`)
    for (const name of names) {
      const sub = await joinKept(broker, name, version)
      await sub.subscribe('t/+', 2)
      await sub.disconnect()
    }
    const pub = await join(broker, 'pub', version)
    pub.publish('t/1', 'x', { qos: 1, messageId: 1 }).publish('t/2', 'x', { qos: 2, messageId: 2 })
    await pub.expect('puback')
    await pub.expect('pubrec')
    for (const name of names)
      expect(await hears(await joinKept(broker, name, version), 2)).toEqual(['t/1=x q1', 't/2=x q2'])
  }
})

covers(['3.1.1:MQTT-4.8.0-2'], 'a failure of the broker over a packet ends that connection and no other', async () => {
  const broker = await startBroker({
    observer: {
      published({ topic }) {
        if (topic.name === 'fails') throw new Error('no room on the moon')
      },
    },
  })
  const other = await join(broker, 'other')
  for (const version of versions) {
    const client = await join(broker, 'client', version)
    client.publish('fails', 'x', { qos: 1, messageId: 1 })
    await client.expectDisconnect(Reason.unspecifiedError)
    await settle(other)
  }
  expect(broker.log.filter(({ level }) => level === 'error')).toHaveLength(3)
})

covers(['5:MQTT-3.4.2-1'], 'PUBACK and PUBREC say when nobody wanted the message', async () => {
  const broker = await startBroker()
  const client = await join(broker, 'client')
  for (const [qos, answer] of [
    [1, 'puback'],
    [2, 'pubrec'],
  ] as const) {
    client.publish('t', 'x', { qos, messageId: 1 })
    expect((await client.expect(answer)).reasonCode).toBe(Reason.noMatchingSubscribers)
  }
  await client.subscribe('t')
  client.publish('t', 'x', { qos: 1, messageId: 2 })
  expect(told(await client.expect('publish'))).toBe('t=x q0')
  expect((await client.expect('puback')).reasonCode).toBe(Reason.success)
})
