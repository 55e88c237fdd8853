import { expect, test } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import {
  answer,
  block,
  clausesLogged,
  connect,
  type ConnectFields,
  each,
  expectRefusal,
  hex,
  text,
  transports,
  versions,
  type Version,
  type Part,
  only5,
} from './wire.ts'

// Section 3.1: CONNECT as it must be. Its answer, client ids, wills, sessions and keep alive have files of their own.

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
