import type { Message } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import type { QoS } from '../mqtt/topic.ts'
import { Entry, type SessionHead } from './port.ts'
import type { RecordReader, RecordWriter } from './writer.ts'

// What stands in the log, but for messages (`message-record.ts`). Times are those of the store (`store-time.ts`): a monotonic
// clock dies with its process. `offsetMs` is what lies between the two.
//
//   arrived        number varint · packet id u16              QoS 2 from a client, that nobody else needs
//   released       number varint · packet id u16           PUBREL from a client
//   received       number varint · seq varint              PUBREC from a client
//   settled        ( number · head · ranges ( start, length )… )…      all of them varints, the start from the head
//   session        head, below
//   ended          number varint
//   subscribed     number varint · filter text · grant u32
//   unsubscribed   number varint · filter text
//   alive          nothing: its frame says when
//   clock          ahead f64                               from format 3 on

/** The first byte of a record. Numbers are never used for something else. */
export const RecordType = {
  message: 1,
  /** Copies of a message that moved out of an old segment. */
  moved: 2,
  arrived: 3,
  released: 4,
  received: 5,
  settled: 6,
  session: 7,
  ended: 8,
  subscribed: 9,
  unsubscribed: 10,
  /** Somebody was connected at this time. */
  alive: 11,
  /** The wall clock was set: by so many milliseconds it is ahead of the store's time. */
  clock: 12,
} as const

/** A session's head as it is kept: `SessionHead` in the store's time. */
export interface HeadRecord {
  number: number
  clientId: string
  epoch: number
  expirySeconds: number
  username: string | undefined
  will: WillPacket | undefined
  /** Infinity: never, or not known as it is online. */
  endDueStoreMs: number
  willDueStoreMs: number
  online: boolean
}

const Has = { username: 1, will: 2, online: 4 } as const
const WillHas = { qos: 3, retain: 4, properties: 8, expiry: 16 } as const

export function writeHead(writer: RecordWriter, head: SessionHead, offsetMs: number): void {
  const { username, will } = head
  writer.varint(head.number)
  writer.u8((username === undefined ? 0 : Has.username) | (will ? Has.will : 0) | (head.online ? Has.online : 0))
  writer.text(head.clientId)
  writer.varint(head.epoch)
  writer.f64(head.expirySeconds)
  writer.f64(head.endDueMs + offsetMs)
  writer.f64(head.willDueMs + offsetMs)
  if (username !== undefined) writer.text(username)
  if (will) writeWill(writer, will)
}

/** @throws CorruptRecordError */
export function readHead(reader: RecordReader): HeadRecord {
  const number = reader.varint()
  const has = reader.u8()
  return {
    number,
    clientId: reader.text(),
    epoch: reader.varint(),
    expirySeconds: reader.f64(),
    endDueStoreMs: reader.f64(),
    willDueStoreMs: reader.f64(),
    username: has & Has.username ? reader.text() : undefined,
    will: has & Has.will ? readWill(reader) : undefined,
    online: (has & Has.online) !== 0,
  }
}

export function writeWill(writer: RecordWriter, will: WillPacket): void {
  const { payload, properties, expirySeconds } = will
  const has = (will.retain ? WillHas.retain : 0) | (properties ? WillHas.properties : 0)
  writer.u8(will.qos | has | (expirySeconds >= 0 ? WillHas.expiry : 0))
  writer.text(will.topic)
  writer.f64(will.delaySeconds)
  if (expirySeconds >= 0) writer.f64(expirySeconds)
  if (properties) writer.block(properties, 0, properties.length)
  writer.block(payload, 0, payload.length)
}

export function readWill(reader: RecordReader): WillPacket {
  const has = reader.u8()
  return {
    qos: (has & WillHas.qos) as QoS,
    retain: (has & WillHas.retain) !== 0,
    topic: reader.text(),
    delaySeconds: reader.f64(),
    expirySeconds: has & WillHas.expiry ? reader.f64() : -1,
    properties: has & WillHas.properties ? ownBlock(reader) : undefined,
    payload: ownBlock(reader),
  }
}

/** A copy, so that a session does not hold the whole frame that it was read from. */
function ownBlock(reader: RecordReader): Uint8Array {
  return Uint8Array.from(reader.block())
}

/** A grant uses all 32 bits, and so may be negative. */
export function writeSubscription(writer: RecordWriter, filter: string, grant: number): void {
  writer.text(filter)
  writer.u32(grant >>> 0)
}

export function readGrant(reader: RecordReader): number {
  return reader.u32() | 0
}

/**
 * What came to its end above the head of a queue, as ranges behind the number of them.
 * @param gone in any order; what stands below `head`, or twice, is passed over. It is sorted.
 */
export function writeSettled(writer: RecordWriter, number: number, head: number, gone: number[] | undefined): void {
  writer.varint(number)
  writer.varint(head)
  if (gone === undefined) return writer.varint(0)
  gone.sort(ascending)
  let ranges = 0
  forRanges(gone, head, () => ranges++)
  writer.varint(ranges)
  forRanges(gone, head, (start, length) => {
    writer.varint(start - head)
    writer.varint(length)
  })
}

/** Calls `range` for each stretch of `sorted` from `head` on. */
function forRanges(sorted: readonly number[], head: number, range: (start: number, length: number) => void): void {
  for (let at = 0; at < sorted.length;) {
    const start = sorted[at++]!
    if (start < head) continue
    let end = start + 1
    while (at < sorted.length && sorted[at]! <= end) end = Math.max(end, sorted[at++]! + 1)
    range(start, end - start)
  }
}

function ascending(a: number, b: number): number {
  return a - b
}

/** Who published a message, as far as 'no local' asks [MQTT-3.8.3-3]: a session, or what is left of one. */
export function publisherOf(message: Message): string | undefined {
  const clientId = (message.publisher as { readonly clientId?: unknown } | undefined)?.clientId
  return typeof clientId === 'string' ? clientId : undefined
}

/** The bits of an `Entry` that are the recipient's, and are kept with it. */
export const recipientFlags = Entry.qos2 | Entry.retain | Entry.shared
