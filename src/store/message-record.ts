import { Message } from '../mqtt/message.ts'
import type { Stamp } from '../mqtt/stamp.ts'
import type { QoS, Topic, TopicTable } from '../mqtt/topic.ts'
import { copyBytes } from '../mqtt/bytes.ts'
import { direct } from '../mqtt/output.ts'
import { publisherOf, recipientFlags } from './records.ts'
import { CorruptRecordError, RecordReader, type RecordWriter } from './writer.ts'

// A message as it stands in the log, and (its body alone) retained in the index:
//
//   body        flags u8 · bytes that it counts varint · topic · [expiry f64] · [properties] · [publisher] · [stamp]
//               · [origin] · payload
//   stamp       ms varint · count varint · node         from format 2 on
//   origin      node ('': this one) · serial varint                                                         from format 2 on
//   recipients  blocks of 64: ( session: zigzag varint from the one before, from 0 at the start of a block · flags u8
//               · seq u16 · [seq >> 16 varint] · [ids] · [filter] )…
//   trailer     [where blocks 1 … n begin u32 · n u32] · [publishing session f64 · packet id u16] · flags u8
//
// The trailer stands at the end because all of it is known only when the last recipient is. A queue's number is cut to 16
// bits: the next above what the queue had is meant, and what is missing in between shows what damage took. Blocks are for
// one of ten thousand recipients, who wants its copy and nobody else's.

const Body = { qos: 3, retain: 4, expires: 8, properties: 16, publisher: 32, stamp: 64, origin: 128 } as const
const Recipient = { ids: 1, filter: 2, wide: 32 } as const
const Trailer = { retains: 1, publisher: 2, blocks: 4 } as const
const blockRecipients = 64

/** The message itself. */
export function writeBody(writer: RecordWriter, message: Message, offsetMs: number): void {
  const { properties, expiresAtMs } = message
  const expires = expiresAtMs !== Infinity
  const publisher = message.retain ? publisherOf(message) : undefined
  const stamp = message.retain ? message.stamp : undefined
  writer.u8(
    message.qos |
      (message.retain ? Body.retain : 0) |
      (expires ? Body.expires : 0) |
      (properties ? Body.properties : 0) |
      (publisher === undefined ? 0 : Body.publisher) |
      (stamp === undefined ? 0 : Body.stamp) |
      (message.serial === 0 ? 0 : Body.origin),
  )
  writer.varint(message.bytes)
  writer.block(message.topic.bytes, 0, message.topic.bytes.length)
  if (expires) writer.f64(expiresAtMs + offsetMs)
  if (properties) writer.block(properties, 0, properties.length)
  if (publisher !== undefined) writer.text(publisher)
  if (stamp !== undefined) writeStamp(writer, stamp)
  if (message.serial !== 0) {
    writer.text(message.origin ?? '')
    writer.varint(message.serial)
  }
  writer.block(message.source, message.payloadStart, message.payloadEnd)
}

export function writeStamp(writer: RecordWriter, { ms, count, node }: Stamp): void {
  writer.varint(ms)
  writer.varint(count)
  writer.text(node)
}

/** @throws CorruptRecordError */
export function readStamp(reader: RecordReader): Stamp {
  return { ms: reader.varint(), count: reader.varint(), node: reader.text() }
}

/** Writes the recipients of one message after the other, and then the trailer of its record. */
export class RecipientWriter {
  /** So far. */
  count = 0
  #before = 0
  #inBlock = 0
  /** Where blocks begin, but for the first. Reused. */
  readonly #blocks: number[] = []

  /** A new record begins. */
  reset(): void {
    this.count = this.#before = this.#inBlock = 0
    // To set a length is a call into the engine, and most messages have one block.
    if (this.#blocks.length > 0) this.#blocks.length = 0
  }

  /** @param wide the whole `seq`: it does not follow from what the queue had */
  write(
    writer: RecordWriter,
    session: number,
    seq: number,
    flags: number,
    wide: boolean,
    ids: readonly number[] | undefined,
    filter: string | undefined,
  ): void {
    if (this.#inBlock === blockRecipients) {
      this.#blocks.push(writer.length)
      this.#before = this.#inBlock = 0
    }
    this.#inBlock++
    this.count++
    const delta = session - this.#before
    this.#before = session
    writer.varint(delta >= 0 ? delta * 2 : delta * -2 - 1)
    writer.u8(
      (flags & recipientFlags) |
        (ids === undefined ? 0 : Recipient.ids) |
        (filter === undefined ? 0 : Recipient.filter) |
        (wide ? Recipient.wide : 0),
    )
    writer.u16(seq % 0x1_0000)
    if (wide) writer.varint(Math.floor(seq / 0x1_0000))
    if (ids !== undefined) {
      writer.varint(ids.length)
      for (let i = 0; i < ids.length; i++) writer.varint(ids[i]!)
    }
    if (filter !== undefined) writer.text(filter)
  }

  /** @param publisher 0: no QoS 2 packet id comes with it */
  trailer(writer: RecordWriter, retains: boolean, publisher: number, packetId: number): void {
    const blocks = this.#blocks
    for (let i = 0; i < blocks.length; i++) writer.u32(blocks[i]!)
    if (blocks.length > 0) writer.u32(blocks.length)
    if (publisher !== 0) {
      writer.f64(publisher)
      writer.u16(packetId)
    }
    writer.u8(
      (retains ? Trailer.retains : 0) |
        (publisher === 0 ? 0 : Trailer.publisher) |
        (blocks.length === 0 ? 0 : Trailer.blocks),
    )
  }
}

/** Walks one message record. Reused: it looks at one at a time, and what it gives out is a view unless it says otherwise. */
export class MessageReader {
  qos: QoS = 0
  retain = false
  /** What the message counts in limits. */
  countedBytes = 0
  /** Infinity: never. */
  expiryStoreMs = Infinity
  payloadStart = 0
  payloadEnd = 0
  /** The retained message of its topic changes. */
  retains = false
  /** The publishing session whose QoS 2 `packetId` it came with; 0: none. */
  publisher = 0
  packetId = 0
  // The recipient that `next` came to.
  session = 0
  flags = 0
  /** The lowest 16 bits of its number in the queue, or all of them when it is `wide`. */
  seq = 0
  wide = false
  readonly #reader = new RecordReader()
  #topicStart = 0
  #topicEnd = 0
  #propertiesStart = -1
  #propertiesEnd = 0
  #publisherStart = -1
  #publisherEnd = 0
  #stampAt = -1
  #originAt = -1
  /** Nodes that stamps name: a string each, not one for each stamp. */
  readonly #nodes = new Map<string, string>()
  #start = 0
  #recipientsEnd = 0
  /** Where the trailer says where blocks begin, and how many do. */
  #blocksAt = 0
  #blocks = 0
  #inBlock = 0
  /** The block of the last recipient that was found. */
  #lastBlock = 0
  #idsAt = -1
  #filterAt = -1

  /**
   * Reads a record's body and trailer; `next` then goes through its recipients.
   * @throws CorruptRecordError
   */
  over(bytes: Uint8Array, start: number, end: number): this {
    this.#readTrailer(bytes, start, end)
    this.#readBody(bytes, start, this.#recipientsEnd)
    return this
  }

  /**
   * Reads a body without recipients.
   * @throws CorruptRecordError
   */
  overBody(bytes: Uint8Array, start: number, end: number): this {
    this.retains = false
    this.publisher = this.packetId = this.#blocks = 0
    this.#recipientsEnd = end
    this.#readBody(bytes, start, end)
    return this
  }

  /** Comes to the next recipient; false when there is none. @throws CorruptRecordError */
  next(): boolean {
    const reader = this.#reader
    if (reader.at >= this.#recipientsEnd) return false
    if (this.#inBlock === blockRecipients) this.session = this.#inBlock = 0
    this.#inBlock++
    const delta = reader.varint()
    this.session += delta % 2 === 0 ? delta / 2 : (delta + 1) / -2
    const flags = reader.u8()
    this.flags = flags & recipientFlags
    this.wide = (flags & Recipient.wide) !== 0
    this.seq = reader.u16()
    if (this.wide) this.seq += reader.varint() * 0x1_0000
    this.#idsAt = flags & Recipient.ids ? reader.at : -1
    if (flags & Recipient.ids) for (let left = reader.varint(); left > 0; left--) reader.varint()
    this.#filterAt = flags & Recipient.filter ? reader.at : -1
    if (flags & Recipient.filter) reader.bytes(reader.varint())
    return true
  }

  /**
   * Comes to the recipient that is message `seq` of a session's queue.
   * @param hint the block where it is likely to stand
   * @returns the block where it stands; -1: it is none
   * @throws CorruptRecordError
   */
  find(session: number, seq: number, hint: number): number {
    const count = this.#blocks + 1
    if (hint < count && this.#findIn(hint, session, seq)) return hint
    // Those who share a message often ask one after the other, in the order of the record.
    for (let i = 0, block = this.#lastBlock; i < count; i++, block++) {
      if (block >= count) block = 0
      if (this.#findIn(block, session, seq)) return (this.#lastBlock = block)
    }
    return -1
  }

  /** Subscription ids of the recipient: a new list. */
  ids(): number[] | undefined {
    if (this.#idsAt < 0) return undefined
    const reader = this.#reader
    const back = reader.at
    reader.at = this.#idsAt
    const ids = new Array<number>(reader.varint())
    for (let i = 0; i < ids.length; i++) ids[i] = reader.varint()
    reader.at = back
    return ids
  }

  /** The shared subscription that the recipient got it by. */
  filter(): string | undefined {
    if (this.#filterAt < 0) return undefined
    const reader = this.#reader
    const back = reader.at
    reader.at = this.#filterAt
    const filter = reader.text()
    reader.at = back
    return filter
  }

  /** @throws MqttError when the name is none, which no record of ours holds */
  topic(topics: TopicTable): Topic {
    return topics.at(this.#reader.buffer, this.#topicStart, this.#topicEnd)
  }

  /** The message as it goes out: its payload stays where it is, unless it is so large that a socket takes it from there. */
  message(topics: TopicTable, offsetMs: number): Message {
    const { buffer } = this.#reader
    const properties =
      this.#propertiesStart < 0 ? undefined : copyBytes(buffer, this.#propertiesStart, this.#propertiesEnd)
    const message = this.#message(topics, offsetMs, properties, undefined)
    message.stamp = this.stamp()
    if (this.#originAt >= 0) this.#readOrigin(message)
    return message.payloadLength < direct ? message : message.keep()
  }

  /** The stamp of a change of what is retained. @throws CorruptRecordError */
  stamp(): Stamp | undefined {
    if (this.#stampAt < 0) return undefined
    const reader = this.#reader
    const back = reader.at
    reader.at = this.#stampAt
    const stamp = readStamp(reader)
    reader.at = back
    return { ...stamp, node: this.#nodeOf(stamp.node) }
  }

  /** The message as it is retained: in bytes of its own, and it knows its publisher's client id. */
  retained(topics: TopicTable, offsetMs: number): Message {
    const { buffer } = this.#reader
    const properties =
      this.#propertiesStart < 0 ? undefined : copyBytes(buffer, this.#propertiesStart, this.#propertiesEnd)
    const publisher =
      this.#publisherStart < 0
        ? undefined
        : { clientId: Buffer.from(buffer.subarray(this.#publisherStart, this.#publisherEnd)).toString('utf8') }
    const message = this.#message(topics, offsetMs, properties, publisher).keep()
    message.stamp = this.stamp()
    return message
  }

  /** Copies the body as it stands. */
  copyBody(to: RecordWriter, start: number): void {
    to.bytes(this.#reader.buffer, start, this.payloadEnd)
  }

  #message(
    topics: TopicTable,
    offsetMs: number,
    properties: Uint8Array | undefined,
    publisher: object | undefined,
  ): Message {
    const { qos, retain, payloadStart, payloadEnd } = this
    const source = this.#reader.buffer
    const expiresAtMs = this.expiryStoreMs - offsetMs
    const topic = this.topic(topics)
    return new Message(topic, qos, retain, source, payloadStart, payloadEnd, properties, expiresAtMs, publisher, 5)
  }

  #findIn(block: number, session: number, seq: number): boolean {
    this.#reader.at = block === 0 ? this.payloadEnd : this.#start + this.#blockStart(block)
    this.session = this.#inBlock = 0
    for (let left = blockRecipients; left > 0 && this.next(); left--)
      if (this.session === session && this.seq % 0x1_0000 === seq % 0x1_0000) return true
    return false
  }

  #blockStart(block: number): number {
    const at = this.#blocksAt + (block - 1) * 4
    const { buffer } = this.#reader
    return buffer[at]! + buffer[at + 1]! * 0x100 + buffer[at + 2]! * 0x1_0000 + buffer[at + 3]! * 0x100_0000
  }

  #readTrailer(bytes: Uint8Array, start: number, end: number): void {
    let at = end - 1
    const back = (count: number) => {
      at -= count
      if (at < start) throw new CorruptRecordError('a message record has no room for its trailer')
      return this.#reader.over(bytes, at, end)
    }
    const flags = back(0).u8()
    this.#start = start
    this.retains = (flags & Trailer.retains) !== 0
    this.publisher = this.packetId = this.#blocks = this.#lastBlock = 0
    if (flags & Trailer.publisher) {
      const reader = back(10)
      this.publisher = reader.f64()
      this.packetId = reader.u16()
    }
    if (flags & Trailer.blocks) {
      this.#blocks = back(4).u32()
      back(this.#blocks * 4)
    }
    this.#blocksAt = this.#recipientsEnd = at
  }

  #readBody(bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader.over(bytes, start, end)
    const flags = reader.u8()
    this.qos = (flags & Body.qos) as QoS
    this.retain = (flags & Body.retain) !== 0
    this.countedBytes = reader.varint()
    this.#topicStart = this.#skipBlock()
    this.#topicEnd = reader.at
    this.expiryStoreMs = flags & Body.expires ? reader.f64() : Infinity
    this.#propertiesStart = flags & Body.properties ? this.#skipBlock() : -1
    this.#propertiesEnd = reader.at
    this.#publisherStart = flags & Body.publisher ? this.#skipBlock() : -1
    this.#publisherEnd = reader.at
    this.#stampAt = flags & Body.stamp ? this.#skipStamp() : -1
    this.#originAt = flags & Body.origin ? this.#skipOrigin() : -1
    this.payloadStart = this.#skipBlock()
    this.payloadEnd = reader.at
    this.session = this.#inBlock = 0
  }

  #readOrigin(message: Message): void {
    const reader = this.#reader
    const back = reader.at
    reader.at = this.#originAt
    const node = reader.text()
    if (node !== '') message.origin = this.#nodeOf(node)
    message.serial = reader.varint()
    reader.at = back
  }

  #nodeOf(name: string): string {
    const node = this.#nodes.get(name)
    if (node === undefined) this.#nodes.set(name, name)
    return node ?? name
  }

  #skipOrigin(): number {
    const start = this.#reader.at
    this.#skipBlock()
    this.#reader.varint()
    return start
  }

  #skipStamp(): number {
    const reader = this.#reader
    const start = reader.at
    reader.varint()
    reader.varint()
    reader.bytes(reader.varint())
    return start
  }

  /** Steps over a block without making a view of it; gives where its content begins. */
  #skipBlock(): number {
    const reader = this.#reader
    const length = reader.varint()
    const start = reader.at
    if (reader.left < length) throw new CorruptRecordError('a record is shorter than its fields say')
    reader.at += length
    return start
  }
}
