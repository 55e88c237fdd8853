import { expect, test } from 'vitest'
import { Denied } from '../../src/access/hooks.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import {
  answer,
  block,
  bytes,
  clausesLogged,
  connect,
  expectRefusal,
  hex,
  only5,
  packet,
  propertiesOf,
  transports,
  u16,
  u32,
  versions,
  each,
} from './wire.ts'

// Section 3.2: CONNACK, which refuses a client, or tells it what there is.

// ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────

const refusals: readonly (readonly [reason: Reason, v5: number, v3: number | undefined])[] = [
  [Reason.unspecifiedError, 0x80, undefined],
  [Reason.implementationError, 0x83, undefined],
  [Reason.clientIdNotValid, 0x85, 2],
  [Reason.badUserNameOrPassword, 0x86, 4],
  [Reason.notAuthorized, 0x87, 5],
  [Reason.serverUnavailable, 0x88, 3],
  [Reason.serverBusy, 0x89, 3],
  [Reason.banned, 0x8a, 5],
  [Reason.badAuthenticationMethod, 0x8c, 5],
  [Reason.quotaExceeded, 0x97, 3],
  [Reason.useAnotherServer, 0x9c, 3],
  [Reason.serverMoved, 0x9d, 3],
  [Reason.connectionRateExceeded, 0x9f, undefined],
  // No code of CONNACK (tables 3-1 and 3-2): one that says nearly the same.
  [Reason.serverShuttingDown, 0x88, 3],
  [Reason.sessionTakenOver, 0x88, 3],
  [Reason.topicFilterInvalid, 0x87, 5],
  [Reason.packetIdInUse, 0x87, 5],
  [Reason.grantedQos1, 0x87, 5],
]

for (const transport of transports)
  covers(
    [
      '5:MQTT-3.1.4-2',
      '5:MQTT-3.2.2-6',
      '5:MQTT-3.2.2-7',
      '5:MQTT-3.2.2-8',
      '5:MQTT-4.13.2-1',
      '3.1.1:MQTT-3.2.2-4',
      '3.1.1:MQTT-3.2.2-5',
      '3.1.1:MQTT-3.2.2-6',
    ],
    `a client that is refused is told why, without a session, and the connection closes, over ${transport}`,
    async () => {
      for (const [reason, v5, v3] of refusals) {
        let deny = false
        const broker = await startBroker({
          hooks: {
            authenticate() {
              if (deny) throw new Denied(reason, 'go away')
            },
          },
        })
        for (const version of versions) {
          deny = false
          await (await RawClient.connect(broker, version, { clean: false })).drop()
          deny = true
          const client = await RawClient.open(broker, version, transport)
          client.bytes(connect(version, { flags: 0 }))
          const code = version === 5 ? v5 : v3
          if (code !== undefined) {
            const { raw, properties } = await client.expect('connack')
            expect([...raw.subarray(2, 4)]).toEqual([0, code])
            if (version === 5) expect(properties).toEqual({ reasonString: 'go away' })
          }
          await client.expectClosed()
        }
      }
    },
  )

covers(['5:MQTT-3.1.4-2', '3.1.1:MQTT-3.1.4-1'], 'a hook that fails, or says no, refuses the client', async () => {
  const hooks: Record<string, () => void | boolean | Promise<void | boolean>> = {
    false: () => false,
    'false later': () => Promise.resolve(false),
    'a throw': () => {
      throw new Error('no database')
    },
    'a throw later': () => Promise.reject(new Error('no database')),
  }
  await each(hooks, async (authenticate) => {
    const broker = await startBroker({ hooks: { authenticate } })
    // Of one user the second would wait.
    for (const version of versions) {
      const request = connect(version, { flags: 0x82, payload: ['raw', `user ${version}`] })
      await expectRefusal(broker, version, request, version === 5 ? 0x87 : 5)
    }
  })
})

for (const transport of transports)
  covers(
    ['5:MQTT-3.1.4-6', '3.1.1:MQTT-3.1.4-5'],
    `nothing that a refused client sends after CONNECT counts, over ${transport}`,
    async () => {
      for (const later of [false, true]) {
        const broker = await startBroker({
          hooks: { authenticate: ({ id }) => (later ? Promise.resolve(id === 'witness') : id === 'witness') },
        })
        const witness = await RawClient.connect(broker, 5, { clientId: 'witness' })
        await witness.subscribe('#')
        for (const version of versions) {
          const hello = connect(version, { flags: 0x82, payload: ['raw', `user ${version}`] })
          const request = bytes(hello, packet(0x31, 'a', only5(version), 'x'), hex('c0 00'))
          await expectRefusal(broker, version, request, version === 5 ? 0x87 : 5, transport)
        }
        await witness.expectQuiet()
        expect(broker.node.broker.retained.size).toBe(0)
      }
    },
  )

for (const transport of transports)
  covers(
    ['5:MQTT-3.2.0-1', '3.1.1:MQTT-3.2.0-1'],
    `a client need not wait for CONNACK, and it comes first, over ${transport}`,
    async () => {
      for (const later of [false, true]) {
        const broker = await startBroker({ hooks: { authenticate: () => (later ? Promise.resolve() : undefined) } })
        for (const version of versions) {
          const client = await RawClient.open(broker, version, transport)
          client.bytes(
            bytes(
              connect(version),
              packet(0x82, u16(1), only5(version), 'a', 0),
              packet(0x30, 'a', only5(version), 'x'),
              hex('c0 00'),
            ),
          )
          for (const cmd of ['connack', 'suback', 'publish', 'pingresp'] as const) await client.expect(cmd)
        }
      }
    },
  )

covers(['5:MQTT-3.2.0-2'], 'no second CONNACK is sent, whatever comes', async () => {
  const broker = await startBroker()
  for (const version of versions) {
    const client = await RawClient.open(broker, version)
    client.bytes(bytes(connect(version), connect(version), connect(version)))
    await client.expect('connack')
    await client.expectDisconnect(0x82)
  }
})

covers(['5:MQTT-3.1.4-1', '5:MQTT-4.13.2-1'], 'a will that may not be left refuses the client', async () => {
  const will = (topic: string) => ({ will: { topic, payload: Buffer.from('x'), qos: 0 as const, retain: false } })
  const broker = await startBroker({ hooks: { authorizePublish: () => false } })
  const rows: readonly (readonly [topic: string, v5: number, v3: number | undefined])[] = [
    ['forbidden', 0x87, 5],
    ['$SYS/broker/version', 0x87, 5],
    ['a/+', 0x90, undefined],
    ['a/#', 0x90, undefined],
    ['', 0x90, undefined],
  ]
  for (const version of versions)
    for (const [topic, v5, v3] of rows)
      await expectRefusal(
        broker,
        version,
        connect(version, { flags: 6, payload: ['id', only5(version), will(topic).will.topic, 'x'] }),
        version === 5 ? v5 : v3,
      )
  clausesLogged(broker)
})

// ── what is asked for, and announced ─────────────────────────────────────────────────────────────────────────────

covers(
  ['5:MQTT-3.2.2-9', '5:MQTT-3.2.2-10', '5:MQTT-3.2.2-12', '5:MQTT-3.2.2-13'],
  'every QoS, retained messages, wildcards, subscription ids and shared subscriptions are there',
  async () => {
    const broker = await startBroker()
    const client = await RawClient.open(broker)
    const { properties } = await client.bytes(connect(5)).expect('connack')
    for (const absent of ['maximumQoS', 'retainAvailable', 'wildcardSubscriptionAvailable'])
      expect(properties).not.toHaveProperty(absent)
    for (const absent of ['subscriptionIdentifiersAvailable', 'sharedSubscriptionAvailable'])
      expect(properties).not.toHaveProperty(absent)
    for (const qos of [0, 1, 2] as const) expect(await client.subscribe(`${qos}/+`, qos, { id: 7 })).toBe(qos)
    expect(await client.subscribe('$share/group/a', 2)).toBe(2)
    client.publish('2/x', 'x', { qos: 2, messageId: 1, retain: true })
    await client.expect('publish')
    await client.expect('pubrec')
    expect(broker.node.broker.retained.size).toBe(1)
  },
)

test('CONNACK announces the limits of the broker', async () => {
  const rows = [
    { receiveMaximum: 1, packetBytes: 100, topicAliases: 0 },
    { receiveMaximum: 65_535, packetBytes: 268_435_455, topicAliases: 65_535 },
  ]
  for (const limits of rows) {
    const broker = await startBroker({ limits })
    const connack = await (await RawClient.open(broker)).bytes(connect(5)).expect('connack')
    const { receiveMaximum, maximumPacketSize, topicAliasMaximum = 0 } = propertiesOf(connack)
    expect({ receiveMaximum, packetBytes: maximumPacketSize, topicAliases: topicAliasMaximum }).toEqual(limits)
  }
})

covers(['5:MQTT-3.1.2-28'], 'response information comes only when it was asked for', async () => {
  const broker = await startBroker()
  for (const [asked, told] of [
    [block(), undefined],
    [block(0x19, 0), undefined],
    [block(0x19, 1), 'response/raw'],
  ] as const) {
    const client = await RawClient.open(broker)
    const connack = await client.bytes(connect(5, { properties: asked })).expect('connack')
    expect(propertiesOf(connack).responseInformation).toBe(told)
  }
})

covers(
  ['5:MQTT-3.1.2-29'],
  'a client that wants no problem information gets reasons in CONNACK and DISCONNECT alone',
  async () => {
    const broker = await startBroker({
      hooks: {
        authenticate({ id }) {
          if (id === 'refused') throw new Denied(Reason.notAuthorized, 'go away')
        },
        authorizePublish() {
          throw new Denied(Reason.notAuthorized, 'not you')
        },
        authorizeSubscribe() {
          throw new Denied(Reason.notAuthorized, 'not you')
        },
      },
    })
    for (const [wants, told] of [
      [1, { reasonString: 'not you' }],
      [0, undefined],
    ] as const) {
      const properties = block(0x17, wants)
      const client = await RawClient.open(broker)
      await client.bytes(connect(5, { properties })).expect('connack')
      client.bytes(packet(0x32, 'a', u16(1), block()))
      expect(await client.expect('puback')).toMatchObject({ reasonCode: 0x87, ...(told && { properties: told }) })
      client.bytes(packet(0x34, 'a', u16(2), block()))
      const pubrec = await client.expect('pubrec')
      expect([pubrec.reasonCode, pubrec.properties]).toEqual([0x87, told])
      client.bytes(packet(0x82, u16(3), block(), 'a', 0))
      const suback = await client.expect('suback')
      expect([suback.granted, propertiesOf(suback).reasonString]).toEqual([[0x87], told?.reasonString])
      client.bytes(packet(0x82, u16(3), block()))
      expect((await client.expect('disconnect')).properties).toHaveProperty('reasonString')
      const refused = await RawClient.open(broker)
      refused.bytes(connect(5, { properties, payload: ['refused'] }))
      expect((await refused.expect('connack')).properties).toEqual({ reasonString: 'go away' })
    }
  },
)

covers(
  ['5:MQTT-3.1.2-24', '5:MQTT-3.2.2-19', '5:MQTT-3.2.2-20'],
  'CONNACK leaves its reason out, or is left out, when it is larger than the client accepts',
  async () => {
    const broker = await startBroker({
      hooks: {
        authenticate({ id }) {
          if (id === 'refused') throw new Denied(Reason.notAuthorized, 'a reason of some length')
        },
      },
    })
    const refused = (bytes: number) => connect(5, { properties: block(0x27, u32(bytes)), payload: ['refused'] })
    // 2 of header, 2 of content, 1 of property length; the reason string takes 3 + 23.
    for (const [limit, length] of [
      [31, 31],
      [30, 5],
      [5, 5],
    ] as const) {
      const client = await RawClient.open(broker)
      expect((await client.bytes(refused(limit)).expect('connack')).raw).toHaveLength(length)
      await client.expectClosed()
    }
    for (const limit of [4, 1]) await expectRefusal(broker, 5, refused(limit), undefined)
    const whole = (await (await RawClient.open(broker)).bytes(connect(5)).expect('connack')).raw.length
    const accepted = (bytes: number) => connect(5, { properties: block(0x27, u32(bytes)) })
    expect(await answer(await RawClient.open(broker), accepted(whole))).toBe(0)
    await expectRefusal(broker, 5, accepted(whole - 1), undefined)
    expect(clausesLogged(broker).pop()).toBe('MQTT-3.1.2-24')
  },
)

covers(
  ['5:MQTT-3.1.2-24', '5:MQTT-4.1.0-2'],
  'a client that cannot take its CONNACK is gone as any other: its will is published, its session is offline',
  async () => {
    const events: string[] = []
    const broker = await startBroker({
      observer: { connected: ({ id }) => events.push(`${id} in`), disconnected: ({ id }) => events.push(`${id} out`) },
    })
    const witness = await RawClient.connect(broker, 5, { clientId: 'witness' })
    await witness.subscribe('#')
    for (const transport of transports) {
      const properties = block(0x27, u32(10), 0x11, u32(60))
      const payload = ['c', block(), 'gone', 'x']
      await expectRefusal(broker, 5, connect(5, { flags: 0x04, properties, payload }), undefined, transport)
      expect((await witness.expect('publish')).topic).toBe('gone')
      const { sessions } = broker.node.broker
      expect([sessions.get('c')?.online, sessions.online]).toEqual([false, 1])
    }
    expect(events).toEqual(['witness in', 'c in', 'c out', 'c in', 'c out'])
  },
)

covers(
  ['5:MQTT-3.2.0-1', '5:MQTT-3.14.4-3', '3.1.1:MQTT-3.14.4-3', '5:MQTT-4.13.1-1'],
  'what a client sends behind CONNECT is read when CONNACK is sent, whatever it is',
  async () => {
    const broker = await startBroker({ hooks: { authenticate: () => Promise.resolve() } })
    const witness = await RawClient.connect(broker, 5, { clientId: 'witness' })
    await witness.subscribe('#')
    for (const transport of transports)
      for (const version of versions) {
        const request = connect(version, { flags: 6, payload: ['c', only5(version), 'gone', 'x'] })
        const orderly = await RawClient.open(broker, version, transport)
        orderly.bytes(bytes(request, hex('e0 00')))
        await orderly.expect('connack')
        await orderly.expectClosed()
        await witness.expectQuiet()
        const disorderly = await RawClient.open(broker, version, transport)
        disorderly.bytes(bytes(request, hex('00 00')))
        await disorderly.expect('connack')
        await disorderly.expectDisconnect(0x82)
        expect((await witness.expect('publish')).topic).toBe('gone')
      }
    expect([broker.node.clients, broker.node.broker.connections]).toEqual([1, 1])
  },
)

covers(
  ['5:MQTT-3.1.2-26', '5:MQTT-3.1.2-27'],
  'topic aliases are given up to what the client takes, and none unless it asks',
  async () => {
    const broker = await startBroker({ limits: { topicAliases: 3 } })
    for (const [asked, given] of [
      [block(), 0],
      [block(0x22, u16(0)), 0],
      [block(0x22, u16(2)), 2],
      [block(0x22, u16(65_535)), 3],
    ] as const) {
      const client = await RawClient.open(broker)
      await client.bytes(connect(5, { properties: asked })).expect('connack')
      await client.subscribe('#')
      const aliases: unknown[] = []
      for (let n = 0; n < 10; n++) {
        client.publish(`topic/${n % 5}`)
        const publish = await client.expect('publish')
        if (n < 5) expect(publish.topic).toBe(`topic/${n}`)
        aliases.push(propertiesOf(publish).topicAlias)
      }
      const wanted = [1, 2, 3, 4, 5].map((alias) => (alias <= given ? alias : undefined))
      expect(aliases).toEqual([...wanted, ...wanted])
    }
  },
)
