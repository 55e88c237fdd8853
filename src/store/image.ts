import { copyBytes } from '../mqtt/bytes.ts'
import type { Message } from '../mqtt/message.ts'
import { writeBody } from './message-record.ts'
import { Entry, type Lsn, type QueueView, type SessionState } from './port.ts'
import { type HeadRecord, readGrant, readHead, writeHead, writeSubscription } from './records.ts'
import { Subscriptions } from './subscriptions.ts'
import { chunkSeqs } from './tracks.ts'
import { CorruptRecordError, type RecordReader, RecordWriter } from './writer.ts'

// What stands in the index, by key. `n` is a session's number in 14 hexadecimal digits, `c` a chunk's in 12.
//
//   #meta     format · lsn to replay from · next session number · time · references of each segment so far · by how
//             much the wall clock is ahead
//   r<topic>  body of the retained message; R<number> where the topic is too long for a key
//   s<n>      lsn · head · subscriptions
//   s<n>!     lsn · head and next of the queue · QoS 2 packet ids from the client
//   s<n>/<c>  the queue's places [c * 1024, (c + 1) * 1024)
//
// An lsn says when the session was looked at: what the log has from before it is in there already.

/**
 * The layout of the index and of the log's records, as this version writes them; older ones are read. One that is larger is
 * from a newer version. 2: retained messages may have a stamp, and empty ones stand where a topic was cleared by one. 3: times
 * are the store's, which begin as the wall clock's did, and the log says when that is set.
 */
export const format = 3

export const metaKey = '#meta'
export const retainedPrefix = 'r'
export const longRetainedPrefix = 'R'
export const sessionPrefix = 's'
const numberDigits = 14
const chunkDigits = 12
const queueMark = '!'
const chunkMark = '/'
const longestKeyTopicBytes = 480

export function sessionKey(number: number): string {
  return sessionPrefix + number.toString(16).padStart(numberDigits, '0')
}

export function queueKey(number: number): string {
  return sessionKey(number) + queueMark
}

export function chunkKey(number: number, chunk: number): string {
  return sessionKey(number) + chunkMark + chunk.toString(16).padStart(chunkDigits, '0')
}

/** What a key that starts with `sessionPrefix` is for; `chunk` -1 for the head, -2 for the queue. */
export function parseSessionKey(key: string): { number: number; chunk: number } {
  const number = parseInt(key.slice(1, 1 + numberDigits), 16)
  const mark = key[1 + numberDigits]
  if (mark === undefined) return { number, chunk: headPart }
  if (mark === queueMark) return { number, chunk: queuePart }
  return { number, chunk: parseInt(key.slice(2 + numberDigits), 16) }
}

export const headPart = -1
export const queuePart = -2

/** Keys of retained messages. A topic that is too long for a key gets a number, so that no two ever share one. */
export class RetainedKeys {
  readonly #long = new Map<string, string>()
  #next = 1

  of(topic: string): string {
    const known = this.#long.get(topic)
    if (known !== undefined) return known
    if (Buffer.byteLength(topic) <= longestKeyTopicBytes) return retainedPrefix + topic
    const key = longRetainedPrefix + this.#next++
    this.#long.set(topic, key)
    return key
  }

  /** A long one was found in the index. */
  known(key: string, topic: string): void {
    this.#long.set(topic, key)
    this.#next = Math.max(this.#next, Number(key.slice(1)) + 1)
  }

  /** The topic has no retained message any more, and none is in the index. */
  forget(topic: string): void {
    this.#long.delete(topic)
  }
}

export interface Meta {
  readonly format: number
  readonly replayFrom: Lsn
  readonly nextNumber: number
  /** The store's time, and by how much the wall clock is ahead of it. */
  readonly atMs: number
  readonly aheadMs: number
  /** Recipients that were ever written into each segment, by the segment's first address. */
  readonly references: ReadonlyMap<Lsn, number>
}

/** Encodes values of the index; each is in bytes of its own. */
export class ImageWriter {
  readonly #writer = new RecordWriter(4096)

  meta(meta: Meta): Uint8Array {
    const writer = this.#begin()
    writer.varint(meta.format)
    writer.varint(meta.replayFrom)
    writer.varint(meta.nextNumber)
    writer.f64(meta.atMs)
    writer.varint(meta.references.size)
    for (const [first, count] of meta.references) {
      writer.varint(first)
      writer.varint(count)
    }
    writer.f64(meta.aheadMs)
    return this.#value()
  }

  retained(message: Message, offsetMs: number): Uint8Array {
    writeBody(this.#begin(), message, offsetMs)
    return this.#value()
  }

  session(state: SessionState, lsn: Lsn, offsetMs: number): Uint8Array {
    const writer = this.#begin()
    writer.varint(lsn)
    writeHead(writer, state, offsetMs)
    writer.varint(state.subscriptions.size)
    for (const [filter, grant] of state.subscriptions) writeSubscription(writer, filter, grant)
    return this.#value()
  }

  queue(lsn: Lsn, head: number, next: number, incoming: Iterable<number>): Uint8Array {
    const writer = this.#begin()
    writer.varint(lsn)
    writer.varint(head)
    writer.varint(next)
    for (const packetId of incoming) writer.u16(packetId)
    return this.#value()
  }

  /**
   * A stretch of a queue: `first` and, for each place from there on, 0 when it is gone, else its entry, lsn (as what lies
   * between it and the one before) and expiry. Undefined when nothing in it is alive.
   */
  chunk(queue: QueueView, chunk: number): Uint8Array | undefined {
    const first = Math.max(queue.head, chunk * chunkSeqs)
    const end = Math.min(queue.next, (chunk + 1) * chunkSeqs)
    const writer = this.#begin()
    writer.varint(first)
    let before = 0
    let alive = 0
    for (let seq = first; seq < end; seq++) {
      const entry = queue.entryOf(seq)
      const lsn = queue.lsnOf(seq)
      if ((entry & Entry.stateBits) === Entry.gone || lsn === 0) {
        writer.u8(0)
        continue
      }
      alive++
      const delta = lsn - before
      before = lsn
      const expiry = queue.expiryOf(seq)
      writer.u8(1 | (expiry === 0 ? 0 : 2))
      writer.varint(entry)
      writer.varint(delta >= 0 ? delta * 2 : delta * -2 - 1)
      if (expiry !== 0) writer.u32(expiry)
    }
    return alive === 0 ? undefined : this.#value()
  }

  #begin(): RecordWriter {
    this.#writer.clear()
    return this.#writer
  }

  #value(): Uint8Array {
    const { buffer, start, at } = this.#writer
    return copyBytes(buffer, start, at)
  }
}

/** @throws CorruptRecordError; only `format` is read when that is newer than ours */
export function readMeta(reader: RecordReader): Meta {
  const itsFormat = reader.varint()
  if (itsFormat > format)
    return { format: itsFormat, replayFrom: 0, nextNumber: 1, atMs: 0, aheadMs: 0, references: new Map() }
  const replayFrom = reader.varint()
  const nextNumber = reader.varint()
  const atMs = reader.f64()
  const references = new Map<Lsn, number>()
  for (let left = reader.varint(); left > 0; left--) references.set(reader.varint(), reader.varint())
  const aheadMs = itsFormat < 3 ? 0 : reader.f64()
  return { format: itsFormat, replayFrom, nextNumber, atMs, aheadMs, references }
}

/** @throws CorruptRecordError */
export function readSession(reader: RecordReader): {
  lsn: Lsn
  head: HeadRecord
  subscriptions: Subscriptions
} {
  const lsn = reader.varint()
  const head = readHead(reader)
  const subscriptions = new Subscriptions()
  for (let left = reader.varint(); left > 0; left--) subscriptions.set(reader.text(), readGrant(reader))
  return { lsn, head, subscriptions }
}

/** @throws CorruptRecordError */
export function readQueue(reader: RecordReader): { lsn: Lsn; head: number; next: number; incoming: number[] } {
  const lsn = reader.varint()
  const head = reader.varint()
  const next = reader.varint()
  const incoming: number[] = []
  while (reader.left > 0) incoming.push(reader.u16())
  return { lsn, head, next, incoming }
}

/**
 * Calls `place` for each place of a chunk that is alive.
 * @throws CorruptRecordError
 */
export function readChunk(
  reader: RecordReader,
  place: (seq: number, entry: number, lsn: Lsn, expirySeconds: number) => void,
): void {
  let lsn = 0
  for (let seq = reader.varint(); reader.left > 0; seq++) {
    const has = reader.u8()
    if (has === 0) continue
    if (has > 3) throw new CorruptRecordError('a place of a queue is of no known kind')
    const entry = reader.varint()
    const delta = reader.varint()
    lsn += delta % 2 === 0 ? delta / 2 : (delta + 1) / -2
    place(seq, entry, lsn, has & 2 ? reader.u32() : 0)
  }
}
