import { describe, expect, test } from 'vitest'
import { Message } from '../../src/mqtt/message.ts'
import type { WillPacket } from '../../src/mqtt/packets.ts'
import { type QoS, TopicTable } from '../../src/mqtt/topic.ts'
import { MessageReader, RecipientWriter, writeBody } from '../../src/store/message-record.ts'
import { Entry, type SessionHead } from '../../src/store/port.ts'
import { readHead, writeHead, writeSettled } from '../../src/store/records.ts'
import { CorruptRecordError, RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { SeededRandom } from '../support/random.ts'

const offsetMs = 1_700_000_000_000.25
const topics = new TopicTable()

const head: SessionHead = {
  number: 1,
  clientId: 'c',
  epoch: 1,
  expirySeconds: 0,
  username: undefined,
  will: undefined,
  endDueMs: Infinity,
  willDueMs: Infinity,
  online: true,
}
const will: WillPacket = {
  topic: 'w',
  payload: Uint8Array.of(),
  qos: 0,
  retain: false,
  delaySeconds: 0,
  expirySeconds: -1,
  properties: undefined,
}

describe('a head comes back as it was', () => {
  const heads: [what: string, head: SessionHead][] = [
    ['plain', head],
    ['offline, ends', { ...head, online: false, expirySeconds: 4_294_967_295, endDueMs: 12.5, willDueMs: 7 }],
    ['never ends', { ...head, expirySeconds: Infinity, number: 2 ** 40, epoch: 2 ** 50 }],
    ['names', { ...head, clientId: 'ü'.repeat(300), username: '' }],
    ['will', { ...head, will }],
    [
      'full will',
      {
        ...head,
        username: 'u',
        will: {
          ...{ topic: 'ä/b', payload: Uint8Array.from({ length: 70_000 }, (_, i) => i & 255), qos: 2, retain: true },
          ...{ delaySeconds: 4_294_967_295, expirySeconds: 0, properties: Uint8Array.of(1, 1) },
        },
      },
    ],
  ]
  test.each(heads)('%s', (_, head) => {
    const writer = new RecordWriter()
    writeHead(writer, head, offsetMs)
    const bytes = Uint8Array.from(writer.view())
    const { endDueMs, willDueMs, ...rest } = head
    expect(readHead(new RecordReader().over(bytes, 0, bytes.length))).toEqual({
      ...rest,
      ...{ endDueStoreMs: endDueMs + offsetMs, willDueStoreMs: willDueMs + offsetMs },
    })
    for (let end = 0; end < Math.min(bytes.length, 100); end++)
      expect(() => readHead(new RecordReader().over(bytes, 0, end))).toThrow(CorruptRecordError)
  })
})

test.each([
  [5, undefined, []],
  [0, [1], [[1, 1]]],
  [2, [5, 3, 4, 9, 3], [[1, 3], [7, 1]]], // prettier-ignore
  [7, [1, 6, 7, 8], [[0, 2]]],
  [70_000, [200_000, 69_999], [[130_000, 1]]],
] as const)('what was settled above %i: %j', (head, gone, ranges) => {
  const writer = new RecordWriter()
  writeSettled(writer, 3, head, gone && [...gone])
  const reader = new RecordReader().over(writer.view(), 0, writer.length)
  expect([reader.varint(), reader.varint(), reader.varint()]).toEqual([3, head, ranges.length])
  for (const range of ranges) expect([reader.varint(), reader.varint()]).toEqual(range)
  expect(reader.left).toBe(0)
})

interface Recipient {
  readonly session: number
  readonly seq: number
  readonly flags: number
  readonly wide: boolean
  readonly ids: number[] | undefined
  readonly filter: string | undefined
}

function recipients(random: SeededRandom, count: number): Recipient[] {
  return Array.from({ length: count }, (_, i) => ({
    session: random.once(10) ? 2 ** 44 + i : 1 + random.below(5000),
    // No two of a session with the same lowest bits.
    seq: i + 0x1_0000 * random.below(5),
    flags: random.pick([0, Entry.qos2, Entry.retain | Entry.shared, Entry.qos2 | Entry.retain | Entry.shared]),
    wide: random.once(5),
    ids: random.once(3) ? [1, 268_435_455] : random.once(3) ? [] : undefined,
    filter: random.once(5) ? '$share/grüppe/a/#' : undefined,
  }))
}

function record(message: Message, all: readonly Recipient[], retains: boolean, publisher: number, packetId: number) {
  const writer = new RecordWriter(16)
  const to = new RecipientWriter()
  to.reset()
  writeBody(writer, message, offsetMs)
  for (const { session, seq, flags, wide, ids, filter } of all) to.write(writer, session, seq, flags, wide, ids, filter)
  to.trailer(writer, retains, publisher, packetId)
  return Uint8Array.from(writer.view())
}

function messageOf(random: SeededRandom): Message {
  const source = random.bytes(random.pick([0, 1, 100, 5000]))
  const retain = random.once(2)
  const properties = random.once(2) ? Uint8Array.of(1, 1, 3, 0, 1, 65) : undefined
  const expiresAtMs = random.once(2) ? Infinity : random.below(1e6) + 0.5
  const topic = topics.named(random.pick(['a', 'ü/b', 'x'.repeat(500)]))
  const start = source.length >> 2
  return new Message(
    ...([topic, random.below(3) as QoS, retain, source, start, source.length, properties, expiresAtMs] as const),
    random.once(2) ? { clientId: 'pub' } : undefined,
    5,
  )
}

describe('a message record comes back as it was', () => {
  test.each([0, 1, 2, 63, 64, 65, 128, 1000])('with %i recipients', (count) => {
    const random = new SeededRandom(count)
    const reader = new MessageReader()
    for (let round = 0; round < 20; round++) {
      const message = messageOf(random)
      const all = recipients(random, count)
      const publisher = random.once(2) ? 0 : 2 ** 40
      const bytes = record(message, all, round % 2 === 0, publisher, 65_535)
      const framed = Uint8Array.of(7, 7, ...bytes, 7)
      reader.over(framed, 2, framed.length - 1)
      expect([reader.retains, reader.publisher, reader.packetId]).toEqual([
        ...[round % 2 === 0, publisher, publisher === 0 ? 0 : 65_535],
      ])
      expect(reader.countedBytes).toBe(message.bytes)
      const face = ({ session, seq, flags, wide, ids, filter }: Recipient) => {
        return [session, wide ? seq : seq % 0x1_0000, flags, wide, ids, filter]
      }
      const back: unknown[] = []
      while (reader.next())
        back.push([reader.session, reader.seq, reader.flags, reader.wide, reader.ids(), reader.filter()])
      expect(back).toEqual(all.map(face))
      for (const one of all.slice(-70)) {
        expect(reader.find(one.session, one.seq, random.below(20))).toBeGreaterThanOrEqual(0)
        expect([reader.session, reader.ids(), reader.filter()]).toEqual([one.session, one.ids, one.filter])
      }
      expect(reader.find(6000, 0, 0)).toBe(-1)
      for (const copy of [reader.message(topics, offsetMs), reader.retained(topics, offsetMs)]) {
        expect(copy.topic).toBe(message.topic)
        expect(Buffer.from(copy.payload())).toEqual(Buffer.from(message.payload()))
        expect(copy.properties && [...copy.properties]).toEqual(message.properties && [...message.properties])
        expect([copy.qos, copy.retain, copy.bytes]).toEqual([message.qos, message.retain, message.bytes])
        if (copy.expiresAtMs !== message.expiresAtMs) expect(copy.expiresAtMs).toBeCloseTo(message.expiresAtMs, 3)
      }
      expect(reader.retained(topics, offsetMs).publisher).toEqual(message.retain ? message.publisher : undefined)
    }
  })

  test('cut short or garbled, it is refused or wrong, but never more than that', () => {
    const random = new SeededRandom(1)
    const reader = new MessageReader()
    for (let round = 0; round < 3000; round++) {
      const bytes = record(messageOf(random), recipients(random, random.below(100)), true, 5, 6)
      const end = random.once(2) ? bytes.length : random.below(bytes.length)
      for (let left = random.below(4); left > 0; left--) bytes[random.below(bytes.length)] = random.below(256)
      try {
        reader.over(bytes, 0, end)
        let count = 0
        while (reader.next() && ++count <= end) void [reader.ids(), reader.filter()]
        reader.find(1, 1, 0)
      } catch (fault) {
        expect(fault).toBeInstanceOf(CorruptRecordError)
      }
    }
  })

  test('one message for ten thousand sessions takes less than 64 KiB', () => {
    const random = new SeededRandom(1)
    const all = Array.from({ length: 10_000 }, (_, i) => {
      return { session: 1 + random.below(10_000), seq: i, flags: 0, wide: false, ids: undefined, filter: undefined }
    })
    expect(record(messageOf(random), all, false, 0, 0).length).toBeLessThan(65_536)
  })
})

test.each([4095, 4096, 70_000])(
  'of a record that is written over, the properties and a payload of %i bytes',
  (length) => {
    const payload = new Uint8Array(length).fill(7)
    const properties = Uint8Array.of(1, 1)
    const topic = topics.named('a')
    const bytes = record(
      new Message(topic, 1, false, payload, 0, length, properties, Infinity, undefined, 5),
      [],
      false,
      0,
      0,
    )
    const message = new MessageReader().over(bytes, 0, bytes.length).message(topics, offsetMs)
    bytes.fill(0)
    expect(Uint8Array.from(message.properties!)).toEqual(properties)
    // What is handed to a socket without a copy stays; what is copied at once need not.
    expect(message.payload()[0]).toBe(length < 4096 ? 0 : 7)
  },
)

describe('a list', () => {
  const over = (write: (writer: RecordWriter) => void): RecordReader => {
    const writer = new RecordWriter(64)
    write(writer)
    return new RecordReader().over(writer.buffer, 0, writer.at)
  }

  test.each([0, 1, 3, 200])('of %i values comes back', (length) => {
    const values = Array.from({ length }, (_, at) => at * 100)
    const reader = over((writer) => {
      writer.varint(length)
      for (const value of values) writer.varint(value)
    })
    expect(reader.list(() => reader.varint())).toEqual(values)
    expect(reader.left).toBe(0)
  })

  test.each([2, 1000, 2 ** 32, Number.MAX_SAFE_INTEGER])('that says %i values, and has one, is a fault', (length) => {
    const reader = over((writer) => {
      writer.varint(length)
      writer.varint(7)
    })
    expect(() => reader.list(() => reader.varint())).toThrow(CorruptRecordError)
  })
})
