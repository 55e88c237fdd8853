import { describe, expect } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import {
  block,
  bytes,
  clausesLogged,
  connect,
  each,
  expectRefusal,
  hex,
  only5,
  packet,
  text,
  transports,
  u16,
  varint,
  type Version,
  versions,
} from './wire.ts'

// Sections 1.5.4 to 1.5.7 (5.0), 1.5.3 (3.1.1): text and numbers.

const bad: Record<string, Buffer> = {
  'U+0000': hex('61 00 62'),
  'a high surrogate': hex('61 ed a0 80'),
  'a low surrogate': hex('61 ed bf bf'),
  'a surrogate pair': hex('61 ed a0 bd ed b8 80'),
  'U+0000 overlong': hex('61 c0 80'),
  '"/" overlong in two bytes': hex('61 c0 af'),
  'U+007F overlong in two bytes': hex('61 c1 bf'),
  '"/" overlong in three bytes': hex('61 e0 80 af'),
  'U+07FF overlong in three bytes': hex('61 e0 9f bf'),
  '"/" overlong in four bytes': hex('61 f0 80 80 af'),
  'U+FFFF overlong in four bytes': hex('61 f0 8f bf bf'),
  'one byte of two': hex('61 c3'),
  'two bytes of three': hex('61 e2 82'),
  'three bytes of four': hex('61 f0 9f 98'),
  'a sequence broken off by a letter': hex('e2 82 61'),
  'a continuation byte alone': hex('61 80'),
  'what lies above U+10FFFF': hex('61 f4 90 80 80'),
  'a five-byte sequence': hex('61 f8 88 80 80 80'),
  FE: hex('61 fe'),
  FF: hex('61 ff'),
}
const clausesOfBad = Object.keys(bad).map((name) => (name === 'U+0000' ? 'MQTT-1.5.4-2' : 'MQTT-1.5.4-1'))

const pair = (name: Uint8Array, value: Uint8Array) => bytes(0x26, text(name), text(value))
const fine = Buffer.from('fine')

const connects: Record<string, (bad: Buffer, version: Version) => Buffer> = {
  'client id': (t, v) => connect(v, { payload: [text(t)] }),
  'user name': (t, v) => connect(v, { flags: 0x82, payload: ['id', text(t)] }),
  'will topic': (t, v) => connect(v, { flags: 0x06, payload: ['id', only5(v), text(t), 'gone'] }),
}
const connects5: Record<string, (bad: Buffer) => Buffer> = {
  'authentication method': (t) => connect(5, { properties: block(0x15, text(t)) }),
  'name of a user property': (t) => connect(5, { properties: block(pair(t, fine)) }),
  'value of a user property': (t) => connect(5, { properties: block(pair(fine, t)) }),
  'content type of a will': (t) => connect(5, { flags: 6, payload: ['id', block(3, text(t)), 'a', 'gone'] }),
  'response topic of a will': (t) => connect(5, { flags: 6, payload: ['id', block(8, text(t)), 'a', 'gone'] }),
  'user property of a will': (t) => connect(5, { flags: 6, payload: ['id', block(pair(t, t)), 'a', 'gone'] }),
}

covers(
  [
    '5:MQTT-1.5.4-1',
    '5:MQTT-1.5.4-2',
    '5:MQTT-3.1.3-4',
    '5:MQTT-3.1.3-11',
    '5:MQTT-3.1.3-12',
    '3.1.1:MQTT-1.5.3-1',
    '3.1.1:MQTT-1.5.3-2',
    '3.1.1:MQTT-3.1.3-4',
    '3.1.1:MQTT-3.1.3-10',
    '3.1.1:MQTT-3.1.3-11',
  ],
  'CONNECT is refused when its client id, will topic or user name is no UTF-8, or contains U+0000',
  async () => {
    for (const version of versions)
      await each(connects, async (build) => {
        const broker = await startBroker()
        await each(bad, (t) => expectRefusal(broker, version, build(t, version), version === 5 ? 0x81 : undefined))
        expect(clausesLogged(broker)).toEqual(clausesOfBad)
      })
  },
)

covers(
  ['5:MQTT-1.5.4-1', '5:MQTT-1.5.4-2', '5:MQTT-1.5.7-1'],
  'CONNECT is refused when a text in its properties is no UTF-8, or contains U+0000',
  () =>
    each(connects5, async (build) => {
      const broker = await startBroker()
      await each(bad, (t) => expectRefusal(broker, 5, build(t), 0x81))
      expect(clausesLogged(broker)).toEqual(clausesOfBad)
    }),
)

const later: Record<string, (bad: Buffer, version: Version) => Buffer> = {
  'the topic of PUBLISH': (t, v) => packet(0x30, text(t), only5(v)),
  'a filter of SUBSCRIBE': (t, v) => packet(0x82, u16(1), only5(v), 'a', 0, text(t), 0),
  'a filter of UNSUBSCRIBE': (t, v) => packet(0xa2, u16(1), only5(v), 'a', text(t)),
}
const later5: Record<string, (bad: Buffer) => Buffer> = {
  'the content type of PUBLISH': (t) => packet(0x30, 'a', block(0x03, text(t))),
  'the response topic of PUBLISH': (t) => packet(0x30, 'a', block(0x08, text(t))),
  'the name of a user property of PUBLISH': (t) => packet(0x30, 'a', block(pair(t, fine))),
  'the value of a user property of PUBLISH': (t) => packet(0x30, 'a', block(pair(fine, t))),
  'a user property of SUBSCRIBE': (t) => packet(0x82, u16(1), block(pair(fine, t)), 'a', 0),
  'a user property of UNSUBSCRIBE': (t) => packet(0xa2, u16(1), block(pair(fine, t)), 'a'),
  'the reason string of PUBACK': (t) => packet(0x40, u16(1), 0, block(0x1f, text(t))),
  'the reason string of PUBREC': (t) => packet(0x50, u16(1), 0, block(0x1f, text(t))),
  'the reason string of PUBREL': (t) => packet(0x62, u16(1), 0, block(0x1f, text(t))),
  'the reason string of PUBCOMP': (t) => packet(0x70, u16(1), 0, block(0x1f, text(t))),
  'the reason string of DISCONNECT': (t) => packet(0xe0, 0, block(0x1f, text(t))),
  'a user property of DISCONNECT': (t) => packet(0xe0, 0, block(pair(t, fine))),
}

covers(
  [
    '5:MQTT-1.5.4-1',
    '5:MQTT-1.5.4-2',
    '3.1.1:MQTT-1.5.3-1',
    '3.1.1:MQTT-1.5.3-2',
    '3.1.1:MQTT-3.3.2-1',
    '3.1.1:MQTT-3.8.3-1',
    '3.1.1:MQTT-3.10.3-1',
  ],
  'the connection closes when a topic or a filter is no UTF-8, or contains U+0000',
  async () => {
    for (const version of versions)
      await each(later, async (build) => {
        const broker = await startBroker()
        await each(bad, async (t) => {
          const client = await RawClient.connect(broker, version)
          await client.bytes(build(t, version)).expectDisconnect(0x81)
        })
        expect(clausesLogged(broker)).toEqual(clausesOfBad)
      })
  },
)

covers(
  ['5:MQTT-1.5.4-1', '5:MQTT-1.5.4-2', '5:MQTT-1.5.7-1'],
  'the connection closes when a text in properties is no UTF-8, or contains U+0000',
  () =>
    each(later5, async (build) => {
      const broker = await startBroker()
      await each(bad, async (t) => {
        const client = await RawClient.connect(broker)
        await client.bytes(build(t)).expectDisconnect(0x81)
      })
      expect(clausesLogged(broker)).toEqual(clausesOfBad)
    }),
)

for (const version of versions)
  covers(
    ['5:MQTT-1.5.4-3', '3.1.1:MQTT-1.5.3-3'],
    `U+FEFF is kept wherever it stands, version ${version}`,
    async () => {
      for (const transport of transports) {
        const broker = await startBroker()
        const client = await RawClient.connect(broker, version, {}, transport)
        for (const topic of ['\ufeffa', 'a\ufeffb', 'a\ufeff', 'a', 'ab']) await client.subscribe(topic)
        for (const topic of ['\ufeffa', 'a\ufeffb', 'a\ufeff']) {
          client.publish(topic)
          expect((await client.expect('publish')).raw).toEqual(packet(0x30, topic, only5(version)))
          await client.expectQuiet()
        }
      }
    },
  )

covers(['5:MQTT-1.5.4-3', '3.1.1:MQTT-1.5.3-3'], 'U+FEFF makes another client id', async () => {
  const broker = await startBroker()
  const plain = await RawClient.connect(broker, 4, { clientId: 'a' })
  await RawClient.connect(broker, 4, { clientId: '\ufeffa' })
  await plain.expectQuiet()
  expect([...broker.node.broker.sessions.values()].map(({ clientId }) => clientId)).toEqual(['a', '\ufeffa'])
})

covers(['5:MQTT-1.5.4-3', '5:MQTT-1.5.7-1'], 'U+FEFF is kept in what is only forwarded', async () => {
  const broker = await startBroker()
  const client = await RawClient.connect(broker)
  await client.subscribe('a')
  const properties = block(0x03, '\ufefftext', 0x26, '\ufeffname', '\ufeff')
  client.bytes(packet(0x30, 'a', properties))
  expect((await client.expect('publish')).raw).toEqual(packet(0x30, 'a', properties))
})

describe('a variable byte integer', () => {
  const longer: Record<string, Buffer> = {
    'the remaining length in two bytes': bytes(0xc0, hex('80 00')),
    'the remaining length in four bytes': bytes(0xc0, hex('80 80 80 00')),
    'the remaining length in five bytes': bytes(0xc0, hex('80 80 80 80 01')),
    'the remaining length that never ends': bytes(0xc0, hex('ff ff ff ff ff ff')),
    'the length of a long packet': bytes(0x30, hex('83 80 00'), hex('00 01 61')),
  }
  for (const transport of transports)
    covers(
      ['5:MQTT-1.5.5-1'],
      `closes the connection when it is longer than needed as a remaining length, over ${transport}`,
      async () => {
        const broker = await startBroker()
        for (const version of versions)
          await each(longer, async (frame) => {
            const client = await RawClient.connect(broker, version, {}, transport)
            await client.bytes(frame).expectDisconnect(0x81)
          })
        for (const clause of clausesLogged(broker)) expect(clause).toBe('MQTT-1.5.5-1')
      },
    )

  const inside: Record<string, Buffer> = {
    'property length': packet(0x30, 'a', hex('80 00')),
    'property length of SUBSCRIBE': packet(0x82, u16(1), hex('80 80 00'), 'a', 0),
    'property identifier': packet(0x30, 'a', block(hex('81 00 01'))),
    'subscription identifier': packet(0x82, u16(1), block(0x0b, hex('81 00')), 'a', 0),
    'subscription identifier of five bytes': packet(0x82, u16(1), block(0x0b, hex('ff ff ff ff 01')), 'a', 0),
  }
  covers(['5:MQTT-1.5.5-1'], 'closes the connection when it is longer than needed inside a packet', async () => {
    const broker = await startBroker()
    await each(inside, async (frame) => {
      const client = await RawClient.connect(broker)
      await client.bytes(frame).expectDisconnect(0x81)
    })
    expect(clausesLogged(broker)).toEqual(Object.keys(inside).map(() => 'MQTT-1.5.5-1'))
    await expectRefusal(broker, 5, connect(5, { properties: hex('80 00') }), 0x81)
  })

  covers(['5:MQTT-1.5.5-1', '5:MQTT-2.2.2-1'], 'is sent in as few bytes as it needs', async () => {
    const broker = await startBroker()
    const publisher = await RawClient.connect(broker, 5, { clientId: 'publisher' })
    const client = await RawClient.connect(broker)
    for (const id of [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
      await client.subscribe('a', 0, { id })
      publisher.publish('a')
      expect((await client.expect('publish')).raw).toEqual(packet(0x30, 'a', block(0x0b, varint(id))))
    }
    await client.subscribe('length')
    for (const length of [0, 118, 119, 16_374, 16_375, 1_900_000]) {
      const payload = Buffer.alloc(length, 'x')
      publisher.publish('length', payload)
      const { raw } = await client.expect('publish')
      expect(raw.equals(packet(0x30, 'length', block(), payload))).toBe(true)
    }
  })
})
