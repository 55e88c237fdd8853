import { expect } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import {
  block,
  bytes,
  answer,
  clausesLogged,
  connect,
  each,
  expectFault,
  expectRefusal,
  hex,
  only5,
  packet,
  type Part,
  text,
  transports,
  u16,
  u32,
  varint,
  type Version,
  versions,
} from './wire.ts'

// Section 2: fixed header, packet ids, properties. And which packet may come when.

/** One of each that a client may send: first byte, content, and at which lengths it may stop short of that. */
function packets(
  version: Version,
): Record<string, { first: number; parts: Part[]; enough?: (length: number) => boolean }> {
  const five = version === 5
  const noReason = five ? { enough: (length: number) => length === 2 || length === 3 } : {}
  const reason: Part[] = five ? [0, block(0x1f, 'why', 0x26, 'name', 'value')] : []
  const pair = only5(version, 0x26, 'name', 'value')
  return {
    'PUBLISH QoS 0': { first: 0x30, parts: ['a/b', pair], enough: (length) => !five && length === 5 },
    'PUBLISH QoS 1': { first: 0x32, parts: ['a/b', u16(1), pair], enough: (length) => !five && length === 7 },
    'PUBLISH QoS 2': { first: 0x34, parts: ['a/b', u16(1), pair], enough: (length) => !five && length === 7 },
    PUBACK: { first: 0x40, parts: [u16(1), ...reason], ...noReason },
    PUBREC: { first: 0x50, parts: [u16(1), ...reason], ...noReason },
    PUBREL: { first: 0x62, parts: [u16(1), ...reason], ...noReason },
    PUBCOMP: { first: 0x70, parts: [u16(1), ...reason], ...noReason },
    SUBSCRIBE: { first: 0x82, parts: [u16(1), only5(version, 0x0b, 7, 0x26, 'name', 'value'), 'a/b', 0] },
    UNSUBSCRIBE: { first: 0xa2, parts: [u16(1), pair, 'a/b'] },
    PINGREQ: { first: 0xc0, parts: [] },
    DISCONNECT: {
      first: 0xe0,
      parts: five ? [4, block(0x11, u32(0), 0x1f, 'why')] : [],
      enough: (length) => five && length < 2,
    },
  }
}

for (const transport of transports) {
  covers(
    ['5:MQTT-3.1.0-1', '5:MQTT-4.13.1-1', '3.1.1:MQTT-4.8.0-1'],
    `every packet but CONNECT is refused by its first byte when it comes first, over ${transport}`,
    async () => {
      const broker = await startBroker()
      for (let type = 0; type < 16; type++)
        for (const flags of type === 1 ? [1, 2, 4, 8, 15] : [0, 2, 15]) {
          const client = await RawClient.open(broker, 5, transport)
          await client.bytes(Buffer.of((type << 4) | flags)).expectClosed()
          expect(clausesLogged(broker).pop()).toBe(type === 1 ? 'MQTT-2.1.3-1' : 'MQTT-3.1.0-1')
        }
    },
  )

  covers(
    ['5:MQTT-3.1.0-2', '3.1.1:MQTT-3.1.0-2'],
    `a second CONNECT ends the connection, over ${transport}`,
    async () => {
      const broker = await startBroker()
      for (const version of versions)
        for (const again of versions) {
          const client = await RawClient.connect(broker, version, {}, transport)
          await client.bytes(connect(again)).expectDisconnect(0x82)
          expect(clausesLogged(broker).pop()).toBe('MQTT-3.1.0-2')
        }
    },
  )

  covers(
    ['5:MQTT-4.13.1-1', '3.1.1:MQTT-4.8.0-1'],
    `what only a server may send ends the connection, and so do types that there are not, over ${transport}`,
    async () => {
      const broker = await startBroker()
      const rows: Record<string, string> = {
        CONNACK: '20 02 00 00',
        'CONNACK of 5.0': '20 03 00 00 00',
        SUBACK: '90 03 00 01 00',
        UNSUBACK: 'b0 02 00 01',
        PINGRESP: 'd0 00',
        'type 0': '00 00',
        'type 15, empty': 'f0 00',
        'type 15, as AUTH': 'f0 02 18 00',
      }
      for (const version of versions)
        await each(rows, async (digits) => {
          const client = await RawClient.connect(broker, version, {}, transport)
          await client.bytes(digits).expectDisconnect(0x82)
        })
      expect(clausesLogged(broker)).toHaveLength(3 * 8)
    },
  )
}

covers(
  [
    '5:MQTT-2.1.3-1',
    '5:MQTT-3.14.1-1',
    '5:MQTT-3.15.1-1',
    '3.1.1:MQTT-2.2.2-1',
    '3.1.1:MQTT-2.2.2-2',
    '3.1.1:MQTT-3.14.1-1',
  ],
  'a reserved flag in the first byte of a packet ends the connection',
  async () => {
    const right: Record<number, number> = { 4: 0, 5: 0, 6: 2, 7: 0, 8: 2, 10: 2, 12: 0, 14: 0, 15: 0 }
    const method = { properties: { authenticationMethod: 'M' } }
    const broker = await startBroker({ hooks: { exchange: () => ({ done: true }) } })
    for (const version of versions)
      for (const [type, rightFlags] of Object.entries(right)) {
        const content = Object.values(packets(version)).find(({ first }) => first >> 4 === Number(type))?.parts
        for (let flags = 0; flags < 16; flags++) {
          // 3.1 lets what is sent again carry DUP.
          if (flags === rightFlags || (version === 3 && rightFlags === 2 && flags === 10)) continue
          if (type === '15' && version !== 5) continue
          const client = await RawClient.connect(broker, version, type === '15' ? method : {})
          client.bytes(packet((Number(type) << 4) | flags, ...(content ?? [0x19, block(0x15, 'M')])))
          await client.expectDisconnect(0x81)
        }
      }
    expect(new Set(clausesLogged(broker))).toEqual(
      new Set(['6', '8', '10', '14', '15'].map((type) => `MQTT-3.${type}.1-1`).concat('MQTT-2.1.3-1')),
    )
  },
)

covers(['3.1.1:MQTT-2.2.2-1'], 'MQTT 3.1 may set DUP on what it sends again', async () => {
  const broker = await startBroker()
  const client = await RawClient.connect(broker, 3)
  client.bytes(packet(0x8a, u16(1), 'a', 1))
  expect((await client.expect('suback')).raw).toEqual(packet(0x90, u16(1), 1))
  client.bytes(packet(0xaa, u16(2), 'a'))
  expect((await client.expect('unsuback')).raw).toEqual(packet(0xb0, u16(2)))
  client.publish('a', 'x', { qos: 2, messageId: 3 })
  expect((await client.expect('pubrec')).raw).toEqual(packet(0x50, u16(3)))
  client.bytes(packet(0x6a, u16(3)))
  expect((await client.expect('pubcomp')).raw).toEqual(packet(0x70, u16(3)))
})

for (const version of versions) {
  covers(
    ['5:MQTT-4.13.1-1', '3.1.1:MQTT-4.8.0-1'],
    `a packet that is shorter than its fields ends the connection, version ${version}`,
    async () => {
      const broker = await startBroker()
      for (const transport of transports)
        await each(packets(version), async ({ first, parts, enough }) => {
          const content = bytes(...parts)
          for (let length = 0; length < content.length; length++) {
            if (enough?.(length)) continue
            const client = await RawClient.connect(broker, version, {}, transport)
            await expectFault(client.bytes(packet(first, content.subarray(0, length))), version)
          }
        })
      clausesLogged(broker)
    },
  )

  covers(
    ['5:MQTT-4.13.1-1', '3.1.1:MQTT-4.8.0-1', '3.1.1:MQTT-3.14.1-1'],
    `a packet that goes on behind its last field ends the connection, version ${version}`,
    async () => {
      const broker = await startBroker()
      for (const transport of transports)
        await each(packets(version), async ({ first, parts }) => {
          // A payload may go on, and another filter may follow.
          if (first >> 4 === 3) return
          for (const more of ['00', '05', '00 05 61']) {
            const client = await RawClient.connect(broker, version, {}, transport)
            await expectFault(client.bytes(packet(first, ...parts, hex(more))), version)
          }
        })
      clausesLogged(broker)
    },
  )

  covers(
    ['5:MQTT-4.13.1-1', '3.1.1:MQTT-4.8.0-1'],
    `a length inside a packet that lies ends the connection, version ${version}`,
    async () => {
      const broker = await startBroker()
      for (const transport of transports)
        await each(packets(version), async ({ first, parts }) => {
          for (const [at, part] of parts.entries()) {
            if (typeof part !== 'string') continue
            // A payload would take up what the topic leaves.
            for (const lie of first >> 4 === 3 ? [6, 65_535] : [0, part.length - 1, part.length + 1, 65_535]) {
              const client = await RawClient.connect(broker, version, {}, transport)
              client.bytes(packet(first, ...parts.with(at, text(Buffer.from(part), lie))))
              await expectFault(client, version)
            }
          }
        })
      clausesLogged(broker)
    },
  )
}

covers(
  ['5:MQTT-4.13.1-1', '5:MQTT-3.1.4-1', '3.1.1:MQTT-3.1.4-1'],
  'a CONNECT that is shorter or longer than its fields, or whose lengths lie, is refused',
  async () => {
    const broker = await startBroker()
    for (const transport of transports)
      for (const version of versions) {
        const head = bytes(version === 3 ? 'MQIsdp' : 'MQTT', version, 0xc6, u16(0))
        const properties = only5(version, 0x26, 'name', 'value')
        const parts = [head, properties, 'id', properties, 'topic', 'will', 'user', 'password']
        const content = bytes(...parts)
        const lies: Buffer[] = []
        for (let length = 0; length < content.length; length++)
          // 3.1 lets the password be left out, or the user name with it, whatever the flags say.
          if (version !== 3 || ![10, 16].includes(content.length - length)) lies.push(content.subarray(0, length))
        lies.push(bytes(content, 0), bytes(content, 'more'))
        for (const [at, part] of parts.entries())
          if (typeof part === 'string')
            for (const lie of [0, part.length - 1, part.length + 1, 65_535])
              lies.push(bytes(...parts.with(at, text(Buffer.from(part), lie))))
        for (const lie of lies) {
          const client = await RawClient.open(broker, version, transport)
          // What is not known to be 5.0, or is 3.x, gets no CONNACK; a topic of no length has a code of its own.
          const code = await answer(client, packet(0x10, lie))
          expect(version === 5 && lie.length > 6 ? [0x81, 0x90] : [undefined]).toContain(code)
          await client.expectClosed()
        }
      }
    clausesLogged(broker)
  },
)

covers(['5:MQTT-4.13.1-1'], 'a property whose length lies ends the connection', async () => {
  const name = Buffer.from('name')
  const rows: Record<string, Buffer> = {
    'block longer than the packet': packet(0x30, 'a', 8, 0x26, 'n', 'v'),
    'block that ends in a value': packet(0x30, 'a', 6, 0x26, 'n', 'v'),
    'block that ends in a length': packet(0x30, 'a', 5, 0x26, 'n', 'v'),
    'block that ends behind an identifier': packet(0x30, 'a', 1, 0x26, 'n', 'v'),
    'name longer than the block': packet(0x30, 'a', block(0x26, text(name, 65_535), 'value')),
    'value longer than the block': packet(0x30, 'a', block(0x26, 'name', text(name, 5)), 'payload'),
    'value shorter than the block': packet(0x30, 'a', block(0x26, 'name', text(name, 3)), 'payload'),
    'correlation data longer than the block': packet(0x30, 'a', block(0x09, text(name, 5)), 'payload'),
    'four-byte integer of three': packet(0x30, 'a', block(0x02, hex('00 00 01')), 'payload'),
    'two-byte integer of one': packet(0x30, 'a', block(0x23, 0), 'payload'),
    'flag without a value': packet(0x30, 'a', block(0x01), 'payload'),
    'block of the largest length': packet(0x30, 'a', hex('ff ff ff 7f'), 'payload'),
  }
  const broker = await startBroker()
  for (const transport of transports)
    await each(rows, async (frame) => {
      const client = await RawClient.connect(broker, 5, {}, transport)
      await client.bytes(frame).expectDisconnect(0x81)
    })
  clausesLogged(broker)
})

// Table 2-4: what stands in a property, and where it may stand.
type Place =
  | 'connect'
  | 'will'
  | 'publish'
  | 'puback'
  | 'pubrec'
  | 'pubrel'
  | 'pubcomp'
  | 'subscribe'
  | 'unsubscribe'
  | 'disconnect'
  | 'auth'
const acks: Place[] = ['puback', 'pubrec', 'pubrel', 'pubcomp']
const properties: readonly (readonly [
  id: number,
  value: Buffer,
  places: readonly Place[],
  wrong?: readonly Buffer[],
])[] = [
  [0x01, hex('01'), ['publish', 'will'], [hex('02'), hex('ff')]],
  [0x02, u32(60), ['publish', 'will']],
  [0x03, bytes('text/plain'), ['publish', 'will']],
  [0x08, bytes('answer'), ['publish', 'will'], [bytes('a/+'), bytes('a/#')]],
  [0x09, bytes('data'), ['publish', 'will']],
  [0x0b, hex('07'), ['subscribe'], [hex('00')]],
  [0x11, u32(60), ['connect', 'disconnect']],
  [0x12, bytes('id'), []],
  [0x13, u16(60), []],
  [0x15, bytes('M'), ['connect', 'auth']],
  [0x16, bytes('data'), ['connect', 'auth']],
  [0x17, hex('01'), ['connect'], [hex('02'), hex('ff')]],
  [0x18, u32(60), ['will']],
  [0x19, hex('01'), ['connect'], [hex('02'), hex('ff')]],
  [0x1a, bytes('info'), []],
  [0x1c, bytes('server'), ['disconnect']],
  [0x1f, bytes('why'), [...acks, 'disconnect', 'auth']],
  [0x21, u16(10), ['connect'], [u16(0)]],
  [0x22, u16(10), ['connect']],
  [0x23, u16(1), ['publish']],
  [0x24, hex('01'), []],
  [0x25, hex('01'), []],
  [0x27, u32(100_000), ['connect'], [u32(0)]],
  [0x28, hex('01'), []],
  [0x29, hex('01'), []],
  [0x2a, hex('01'), []],
]
const unknown = [0x00, 0x04, 0x0a, 0x0c, 0x14, 0x20, 0x2b, 0x7f, 0x80, 0x3fff]

type Carried = (...parts: readonly Part[]) => Buffer
const carriers: Record<Place, Carried> = {
  connect: (...p) => connect(5, { properties: block(...(p[0] === 0x16 ? [0x15, 'M', ...p] : p)) }),
  will: (...p) => connect(5, { flags: 0x06, payload: ['id', block(...p), 'topic', 'will'] }),
  publish: (...p) => packet(0x30, 'a', block(...p)),
  puback: (...p) => packet(0x40, u16(1), 0, block(...p)),
  pubrec: (...p) => packet(0x50, u16(1), 0, block(...p)),
  pubrel: (...p) => packet(0x62, u16(1), 0, block(...p)),
  pubcomp: (...p) => packet(0x70, u16(1), 0, block(...p)),
  subscribe: (...p) => packet(0x82, u16(1), block(...p), 'b', 0),
  unsubscribe: (...p) => packet(0xa2, u16(1), block(...p), 'b'),
  disconnect: (...p) => packet(0xe0, 4, block(...p)),
  auth: (...p) => packet(0xf0, 0x19, block(...(p[0] === 0x15 ? p : [0x15, 'M', ...p]))),
}
const places = Object.keys(carriers) as Place[]
const answers = {
  pubrec: 'pubrel',
  pubrel: 'pubcomp',
  subscribe: 'suback',
  unsubscribe: 'unsuback',
  auth: 'auth',
} as const

/** Sends a packet with these properties, which must be answered with this reason; 0: as if they were not there. */
async function expectReason(broker: TestBroker, place: Place, parts: readonly Part[], reason: number): Promise<void> {
  const frame = carriers[place](...parts)
  if (place === 'connect' || place === 'will') {
    const client = await RawClient.open(broker)
    expect(await answer(client, frame)).toBe(reason)
    return client.drop()
  }
  const client = await RawClient.connect(broker, 5, {
    properties: { authenticationMethod: 'M', sessionExpiryInterval: 60 },
  })
  client.bytes(frame)
  if (reason !== 0) return client.expectDisconnect(reason)
  if (place === 'disconnect') return client.expectClosed()
  if (place in answers) await client.expect(answers[place as keyof typeof answers])
  await client.expectQuiet()
  return client.drop()
}

const startWithExchange = () => startBroker({ hooks: { exchange: () => ({ done: true }) } })

for (const place of places) {
  covers(
    ['5:MQTT-4.13.1-1', '5:MQTT-3.1.4-1'],
    `properties stand where table 2-4 says, and nowhere else: ${place}`,
    async () => {
      const broker = await startWithExchange()
      for (const [id, value, allowed] of properties) {
        const fine = allowed.includes(place)
        // A client may not send a subscription identifier in PUBLISH, though a server may [MQTT-3.3.4-6].
        await expectReason(broker, place, [id, value], fine ? 0 : place === 'publish' && id === 0x0b ? 0x82 : 0x81)
        if (fine) await expectReason(broker, place, [id, value, id, value], 0x82)
      }
      for (const id of unknown) await expectReason(broker, place, [varint(id), 0, 0], 0x81)
      clausesLogged(broker)
    },
  )

  covers(['5:MQTT-4.13.1-1', '5:MQTT-3.1.4-1'], `properties have the values that are allowed: ${place}`, async () => {
    const broker = await startWithExchange()
    for (const [id, , allowed, wrong = []] of properties)
      if (allowed.includes(place)) for (const value of wrong) await expectReason(broker, place, [id, value], 0x82)
    clausesLogged(broker)
  })

  covers(['5:MQTT-1.5.7-1'], `a user property may come again: ${place}`, async () => {
    const broker = await startWithExchange()
    await expectReason(broker, place, [0x26, 'name', 'value', 0x26, 'name', '', 0x26, '', 'value'], 0)
  })
}

covers(['5:MQTT-4.13.1-1'], 'authentication data needs a method', async () => {
  const broker = await startWithExchange()
  await expectRefusal(broker, 5, connect(5, { properties: block(0x16, 'data') }), 0x82)
})

for (const version of versions) {
  covers(
    ['3.1.1:MQTT-2.3.1-1', '5:MQTT-4.13.1-1'],
    `a packet id of 0 ends the connection, version ${version}`,
    async () => {
      const broker = await startBroker()
      for (const transport of transports)
        await each(packets(version), async ({ first, parts }) => {
          const at = parts.findIndex((part) => part instanceof Buffer && part.equals(u16(1)))
          if (at < 0) return
          const client = await RawClient.connect(broker, version, {}, transport)
          await client.bytes(packet(first, ...parts.with(at, u16(0)))).expectDisconnect(0x82)
        })
      expect(clausesLogged(broker)).toHaveLength(2 * 8)
    },
  )

  covers(
    ['5:MQTT-2.2.1-5', '5:MQTT-2.2.1-6', '3.1.1:MQTT-2.3.1-6', '3.1.1:MQTT-2.3.1-7'],
    `an acknowledgement carries the packet id of what it acknowledges, version ${version}`,
    async () => {
      const broker = await startBroker()
      for (const transport of transports) {
        const client = await RawClient.connect(broker, version, {}, transport)
        for (const id of [1, 255, 256, 65_535]) {
          const rows = [
            [packet(0x32, 'a', u16(id), only5(version)), 'puback'],
            [packet(0x34, 'a', u16(id), only5(version)), 'pubrec'],
            [packet(0x62, u16(id)), 'pubcomp'],
            [packet(0x82, u16(id), only5(version), 'b', 0), 'suback'],
            [packet(0xa2, u16(id), only5(version), 'b'), 'unsuback'],
          ] as const
          for (const [request, reply] of rows)
            expect((await client.bytes(request).expect(reply)).raw.readUInt16BE(2)).toBe(id)
        }
      }
    },
  )

  covers(
    ['5:MQTT-2.2.1-2', '5:MQTT-2.2.2-1', '3.1.1:MQTT-2.3.1-5'],
    `a PUBLISH of QoS 0 carries no packet id, version ${version}`,
    async () => {
      const broker = await startBroker()
      const client = await RawClient.connect(broker, version)
      await client.subscribe('a', 2)
      // What stands where an id would is payload.
      client.bytes(packet(0x30, 'a', only5(version), u16(1)))
      expect((await client.expect('publish')).raw).toEqual(packet(0x30, 'a', only5(version), u16(1)))
    },
  )

  covers(
    ['5:MQTT-2.2.1-4', '3.1.1:MQTT-2.3.1-2', '3.1.1:MQTT-2.3.1-4'],
    `messages in flight have ids of their own, and never 0, version ${version}`,
    async () => {
      const broker = await startBroker()
      const client = await RawClient.connect(broker, version)
      await client.subscribe('a', 2)
      const publisher = await RawClient.connect(broker, version, { clientId: 'publisher' })
      for (let n = 1; n <= 50; n++) publisher.publish('a', String(n), { qos: n % 2 === 0 ? 1 : 2, messageId: n })
      const ids = new Set<unknown>()
      for (let n = 1; n <= 50; n++) ids.add((await client.expect('publish')).messageId)
      expect(ids.size).toBe(50)
      expect(ids).not.toContain(0)
    },
  )

  covers(
    ['3.1.1:MQTT-2.3.1-3'],
    `what is sent again under its packet id is taken as the same, version ${version}`,
    async () => {
      const broker = await startBroker()
      const client = await RawClient.connect(broker, version)
      await client.subscribe('a')
      for (const first of [0x34, 0x3c, 0x3c]) {
        client.bytes(packet(first, 'a', u16(7), only5(version), 'once'))
        if (first === 0x34) await client.expect('publish')
        expect((await client.expect('pubrec')).messageId).toBe(7)
      }
      client.bytes(packet(0x62, u16(7)))
      expect((await client.expect('pubcomp')).messageId).toBe(7)
      // The id is free again.
      client.bytes(packet(0x34, 'a', u16(7), only5(version), 'new'))
      await client.expect('publish')
      await client.expect('pubrec')
    },
  )
}

covers(['5:MQTT-2.2.2-1'], 'a packet without properties says so with a length of 0', async () => {
  const broker = await startBroker()
  const client = await RawClient.connect(broker)
  client.bytes(packet(0x82, u16(1), block(), 'a', 0))
  expect((await client.expect('suback')).raw).toEqual(packet(0x90, u16(1), block(), 0))
  client.bytes(packet(0x30, 'a', block(), 'x'))
  expect((await client.expect('publish')).raw).toEqual(packet(0x30, 'a', block(), 'x'))
  client.bytes(packet(0xa2, u16(2), block(), 'a'))
  expect((await client.expect('unsuback')).raw).toEqual(packet(0xb0, u16(2), block(), 0))
})
