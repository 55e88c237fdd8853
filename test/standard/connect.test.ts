import { expect, test } from 'vitest'
import { Denied } from '../../src/access/hooks.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { startBroker } from '../support/broker.ts'
import { connectPacket, RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import {
  answer,
  block,
  bytes,
  clausesLogged,
  connect,
  type ConnectFields,
  each,
  expectRefusal,
  hex,
  only5,
  packet,
  type Part,
  propertiesOf,
  text,
  transports,
  u16,
  u32,
  type Version,
  versions,
} from './wire.ts'

// Sections 3.1 and 3.2: CONNECT and its answer. Wills, sessions and keep alive have files of their own.

for (const transport of transports) {
  covers(
    ['5:MQTT-3.1.4-5', '5:MQTT-3.2.0-1', '5:MQTT-3.2.2-1', '3.1.1:MQTT-3.1.4-4', '3.1.1:MQTT-3.2.0-1'],
    `CONNECT is answered with CONNACK 0, over ${transport}`,
    async () => {
      const broker = await startBroker({ limits: { receiveMaximum: 100 } })
      for (const version of [3, 4] as const) {
        const client = await RawClient.open(broker, version, transport)
        expect((await client.bytes(connect(version)).expect('connack')).raw).toEqual(hex('20 02 00 00'))
        await client.expectQuiet()
      }
      const client = await RawClient.open(broker, 5, transport)
      const { raw, properties } = await client.bytes(connect(5, { keepAliveSeconds: 60 })).expect('connack')
      expect([...raw.subarray(2, 4)]).toEqual([0, 0])
      expect(properties).toEqual({ receiveMaximum: 100, topicAliasMaximum: 32, maximumPacketSize: 2_000_000 })
      await client.expectQuiet()
    },
  )
}

// ── protocol name and version ────────────────────────────────────────────────────────────────────────────────────

covers(
  ['5:MQTT-3.1.2-1', '3.1.1:MQTT-3.1.2-1'],
  'another protocol name closes the connection without CONNACK',
  async () => {
    const broker = await startBroker()
    for (const transport of transports)
      for (const protocol of ['', 'mqtt', 'MQTt', 'MQTT ', 'MQTTX', 'AMQP', 'MQIsd', 'mqisdp', '\ufeffMQTT'])
        for (const version of versions)
          await expectRefusal(broker, version, connect(version, { protocol }), undefined, transport)
    expect(new Set(clausesLogged(broker))).toEqual(new Set(['MQTT-3.1.2-1']))
  },
)

covers(
  ['5:MQTT-3.1.2-2', '3.1.1:MQTT-3.1.2-2'],
  'a protocol level that is not spoken is told so, with CONNACK 1, and closes the connection',
  async () => {
    const broker = await startBroker()
    const levels = { MQTT: [0, 1, 2, 3, 6, 7, 127, 131, 132, 255], MQIsdp: [0, 2, 4, 5, 131] }
    for (const transport of transports)
      await each(levels, async (unknown, protocol) => {
        for (const level of unknown) await expectRefusal(broker, 4, connect(4, { protocol, level }), 0x01, transport)
      })
    expect(new Set(clausesLogged(broker))).toEqual(new Set(['MQTT-3.1.2-2']))
  },
)

// ── flags ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What the flags of CONNECT announce. */
function payloadOf(flags: number, version: Version): Part[] {
  return [
    'id',
    ...(flags & 0x04 ? [only5(version), 'will/topic', 'will'] : []),
    ...(flags & 0x80 ? ['user'] : []),
    ...(flags & 0x40 ? ['password'] : []),
  ]
}

function areAllowed(flags: number, version: Version): boolean {
  const [reserved, will, retain, password, user] = [1, 4, 32, 64, 128].map((bit) => (flags & bit) !== 0)
  const qos = (flags >> 3) & 3
  if (reserved || qos === 3) return false
  if (!will && (qos > 0 || retain)) return false
  return version === 5 || !password || user!
}

for (const version of versions)
  for (const transport of transports)
    covers(
      [
        '5:MQTT-3.1.2-3',
        '5:MQTT-3.1.2-11',
        '5:MQTT-3.1.2-12',
        '5:MQTT-3.1.2-13',
        '5:MQTT-3.1.4-1',
        '5:MQTT-3.2.2-12',
        '5:MQTT-3.2.2-13',
        '3.1.1:MQTT-3.1.2-3',
        '3.1.1:MQTT-3.1.4-1',
      ],
      `all 256 connect flags are taken or refused as they should, version ${version} over ${transport}`,
      async () => {
        const broker = await startBroker()
        const code = version === 5 ? 0x81 : undefined
        for (let flags = 0; flags < 256; flags++) {
          const client = await RawClient.open(broker, version, transport)
          const payload = payloadOf(flags, version)
          const got = await answer(client, connect(version, { flags, payload }))
          expect(got, `flags ${flags.toString(2)}`).toBe(areAllowed(flags, version) ? 0 : code)
          if (got === 0) await client.drop()
          else await client.expectClosed()
        }
        clausesLogged(broker)
      },
    )

covers(
  [
    '5:MQTT-3.1.2-9',
    '5:MQTT-3.1.2-16',
    '5:MQTT-3.1.2-17',
    '5:MQTT-3.1.2-18',
    '5:MQTT-3.1.2-19',
    '5:MQTT-3.1.3-3',
    '5:MQTT-3.1.4-1',
    '3.1.1:MQTT-3.1.2-18',
    '3.1.1:MQTT-3.1.3-3',
    '3.1.1:MQTT-3.1.4-1',
  ],
  'what the connect flags announce must be there, and nothing else',
  async () => {
    const rows: Record<string, ConnectFields> = {
      'no client id': { payload: [] },
      'a user name that is not announced': { flags: 0x02, payload: ['id', 'user'] },
      'a user name that is missing': { flags: 0x82, payload: ['id'] },
      'a password that is not announced': { flags: 0x82, payload: ['id', 'user', 'password'] },
      'a password that is missing': { flags: 0xc2, payload: ['id', 'user'] },
      'a will that is not announced': { flags: 0x02, payload: ['id', 'topic', 'will'] },
      'a will that is missing': { flags: 0x06, payload: ['id'] },
      'a will without a topic and a payload': { flags: 0x06, payload: ['id', block()] },
      'a will without a payload': { flags: 0x06, payload: ['id', block(), 'topic'] },
    }
    const broker = await startBroker()
    for (const transport of transports)
      for (const version of [4, 5] as const)
        await each(rows, (fields) =>
          expectRefusal(broker, version, connect(version, fields), version === 5 ? 0x81 : undefined, transport),
        )
    await expectRefusal(broker, 5, connect(5, { flags: 0x06, payload: ['id', 'topic', 'will'] }), 0x81)
    clausesLogged(broker)
  },
)

test('MQTT 3.1 may announce a user name and a password, and leave them out', async () => {
  const asked: unknown[] = []
  const broker = await startBroker({
    hooks: { authenticate: ({ username }, password) => void asked.push([username, password?.length]) },
  })
  for (const payload of [['id'], ['id', 'user'], ['id', 'user', 'password']])
    await answer(await RawClient.open(broker, 3), connect(3, { flags: 0xc2, payload }))
  expect(asked).toEqual([
    [undefined, undefined],
    ['user', undefined],
    ['user', 8],
  ])
})

covers(
  ['5:MQTT-3.1.2-17', '5:MQTT-3.1.2-19', '3.1.1:MQTT-3.1.3-1'],
  'client id, will, user name and password are read in this order',
  async () => {
    const asked: unknown[] = []
    const broker = await startBroker({
      hooks: {
        authenticate: ({ id, username, version }, password) =>
          void asked.push([version, id, username, password && Buffer.from(password).toString()]),
        authorizePublish: (_, { topic, payload, will }) =>
          void asked.push([topic, Buffer.from(payload).toString(), will]),
      },
    })
    for (const transport of transports)
      for (const version of versions) {
        const client = await RawClient.open(broker, version, transport)
        await answer(client, connect(version, { flags: 0xc6, payload: payloadOf(0xc6, version) }))
        await client.disconnect()
        expect(asked.splice(0)).toEqual([
          [version, 'id', 'user', 'password'],
          ['will/topic', 'will', true],
        ])
      }
    // 5.0 lets a password stand alone, and both may be empty.
    const rows = [
      [0x42, ['id', 'password'], [5, 'id', undefined, 'password']],
      [0x82, ['id', 'user'], [5, 'id', 'user', undefined]],
      [0xc2, ['id', '', ''], [5, 'id', '', '']],
      [0x02, ['id'], [5, 'id', undefined, undefined]],
    ] as const
    for (const [flags, payload, seen] of rows) {
      await answer(await RawClient.open(broker), connect(5, { flags, payload }))
      expect(asked.splice(0)).toEqual([seen])
    }
    // A password is bytes, not text.
    await answer(await RawClient.open(broker), connect(5, { flags: 0x42, payload: ['id', text(hex('00 ff'))] }))
    expect(asked).toEqual([[5, 'id', undefined, '\0\ufffd']])
  },
)

// ── client ids ───────────────────────────────────────────────────────────────────────────────────────────────────

const alphabet = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'

covers(
  ['5:MQTT-3.1.3-5', '3.1.1:MQTT-3.1.3-5'],
  'client ids of 1 to 23 letters and digits are taken, and longer ones up to the limit',
  async () => {
    const ids = [
      ...alphabet,
      ...[0, 23, 39].map((at) => alphabet.slice(at, at + 23)),
      'x'.repeat(256),
      'a b/#ü\u{1f426}',
    ]
    const broker = await startBroker()
    for (const version of versions) for (const id of ids) await RawClient.connect(broker, version, { clientId: id })
    expect([...broker.node.broker.sessions.values()].map(({ clientId }) => clientId)).toEqual(ids)
  },
)

covers(
  ['5:MQTT-3.1.3-8', '3.1.1:MQTT-3.1.3-9', '3.1.1:MQTT-3.2.2-5'],
  'a client id that is too long is refused: 0x85, or 2',
  async () => {
    const broker = await startBroker()
    for (const transport of transports)
      for (const version of versions) {
        const request = connect(version, { payload: ['x'.repeat(257)] })
        await expectRefusal(broker, version, request, version === 5 ? 0x85 : 2, transport)
      }
    expect(new Set(clausesLogged(broker))).toEqual(new Set(['MQTT-3.1.3-8']))
  },
)

covers(
  ['5:MQTT-3.1.3-6', '5:MQTT-3.2.2-16'],
  'a v5 client without a client id is given one of its own, and told it',
  async () => {
    const broker = await startBroker()
    const assigned = new Set<unknown>()
    for (const transport of transports)
      for (const flags of [0, 2]) {
        const client = await RawClient.open(broker, 5, transport)
        client.bytes(connect(5, { flags, payload: [''], properties: block(0x11, u32(60)) }))
        const connack = await client.expect('connack')
        expect(connack.sessionPresent).toBe(false)
        assigned.add(propertiesOf(connack).assignedClientIdentifier)
        await client.drop()
      }
    expect(assigned.size).toBe(4)
    // The session stands under that id.
    for (const id of assigned) {
      const client = await RawClient.open(broker)
      client.send(connectPacket(5, { clientId: id as string, clean: false }))
      expect((await client.expect('connack')).sessionPresent).toBe(true)
    }
  },
)

covers(['5:MQTT-3.2.2-16'], 'a client with an id of its own is assigned none', async () => {
  const broker = await startBroker()
  const client = await RawClient.open(broker)
  expect((await client.send(connectPacket(5)).expect('connack')).properties).not.toHaveProperty(
    'assignedClientIdentifier',
  )
})

covers(
  ['3.1.1:MQTT-3.1.3-6', '3.1.1:MQTT-3.1.3-7', '3.1.1:MQTT-3.1.3-8'],
  'a 3.1.1 client may be without a client id for a clean session alone; 3.1 knows no such thing',
  async () => {
    const broker = await startBroker()
    for (const transport of transports) {
      const clients = [await RawClient.open(broker, 4, transport), await RawClient.open(broker, 4, transport)]
      for (const client of clients) expect(await answer(client, connect(4, { payload: [''] }))).toBe(0)
      for (const client of clients) await client.expectQuiet()
      expect(broker.node.broker.sessions.size).toBe(2)
      await expectRefusal(broker, 4, connect(4, { flags: 0, payload: [''] }), 2, transport)
      await expectRefusal(broker, 3, connect(3, { flags: 0, payload: [''] }), 2, transport)
      await expectRefusal(broker, 3, connect(3, { flags: 2, payload: [''] }), 2, transport)
      for (const client of clients) await client.disconnect()
    }
  },
)

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
  [Reason.quotaExceeded, 0x97, undefined],
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
    for (const version of versions) await expectRefusal(broker, version, connect(version), version === 5 ? 0x87 : 5)
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
          const request = bytes(connect(version), packet(0x31, 'a', only5(version), 'x'), hex('c0 00'))
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
