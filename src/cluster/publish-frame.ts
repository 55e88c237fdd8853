import { copyBytes } from '../mqtt/bytes.ts'
import { Message } from '../mqtt/message.ts'
import { MqttError } from '../mqtt/reason.ts'
import type { QoS, Topic, TopicTable } from '../mqtt/topic.ts'
import type { Publisher } from '../sessions/backpressure.ts'
import { readStamp, writeStamp } from '../store/message-record.ts'
import type { Durability } from '../store/port.ts'
import { publisherOf } from '../store/records.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import type { NodeId } from './peers.ts'
import { WireError } from './wire.ts'

// A message on its way to another node:
//
//   flags u8 · more u8 · [place] · serial varint · topic · [expiry in ms varint] · [properties] · [stamp] · [publisher]
//   · [count varint · groups] · payload
//
//   place   QoS 1 and 2:  stream varint, as `streams` has listed them · seq varint · how far what is past lies behind it
//   topic   version 1: its name.  From 2 on a number: of one that this link has seen; the next number, and the name that it
//           stands for from now on; 0, and a name that gets none

const Flags = { qos: 3, retain: 4, dup: 8, plain: 16, kept: 32, expires: 64, properties: 128 } as const
const More = { durability: 3, groups: 4, stamp: 8, publisher: 16 } as const

const classes: readonly Durability[] = ['fsync', 'os', 'memory']

/** A class of durability in two bits. */
export function classOf(durability: Durability): number {
  return classes.indexOf(durability)
}

export function durabilityOf(bits: number): Durability {
  const durability = classes[bits & More.durability]
  if (durability === undefined) throw new WireError('a class of durability that is none')
  return durability
}

/** Topics that get a number on one link; later ones go by their name. */
const mostTopics = 0x1_0000

/** Where a message stands in its stream. */
export interface Place {
  readonly stream: number
  readonly seq: number
  /** Nothing below it will be sent again. */
  readonly past: number
  /** It is in the store of its origin, which may send it again after a crash. */
  readonly kept: boolean
}

/** What the receiver is told beside the message. */
export interface Share {
  readonly durability: Durability
  /** Sessions that are in no group want it. */
  readonly plain: boolean
  /** One member of each shall get it. */
  readonly groups: readonly string[]
}

/** Writes messages for one link. */
export class PublishWriter {
  readonly #topics = new Map<Topic, number>()

  constructor(readonly version: number) {}

  write(
    writer: RecordWriter,
    message: Message,
    qos: QoS,
    dup: boolean,
    place: Place | undefined,
    share: Share,
    nowMs: number,
  ): void {
    const { properties, expiresAtMs, stamp } = message
    const publisher = message.retain ? publisherOf(message) : undefined
    const expires = expiresAtMs !== Infinity
    const groups = share.groups.length
    writer.u8(
      qos |
        (message.retain ? Flags.retain : 0) |
        (dup ? Flags.dup : 0) |
        (share.plain ? Flags.plain : 0) |
        (place?.kept ? Flags.kept : 0) |
        (expires ? Flags.expires : 0) |
        (properties ? Flags.properties : 0),
    )
    writer.u8(
      classOf(share.durability) |
        (groups > 0 ? More.groups : 0) |
        (stamp ? More.stamp : 0) |
        (publisher === undefined ? 0 : More.publisher),
    )
    if (place) {
      writer.varint(place.stream)
      writer.varint(place.seq)
      writer.varint(place.seq - place.past)
    }
    writer.varint(message.serial)
    this.#topic(writer, message.topic)
    if (expires) writer.varint(Math.max(0, Math.ceil(expiresAtMs - nowMs)))
    if (properties) writer.block(properties, 0, properties.length)
    if (stamp) writeStamp(writer, stamp)
    if (publisher !== undefined) writer.text(publisher)
    if (groups > 0) {
      writer.varint(groups)
      for (const group of share.groups) writer.text(group)
    }
    writer.block(message.source, message.payloadStart, message.payloadEnd)
  }

  #topic(writer: RecordWriter, topic: Topic): void {
    const { bytes } = topic
    if (this.version >= 2) {
      const known = this.#topics.get(topic)
      if (known !== undefined) return writer.varint(known)
      const number = this.#topics.size < mostTopics ? this.#topics.size + 1 : 0
      if (number > 0) this.#topics.set(topic, number)
      writer.varint(number)
    }
    writer.block(bytes, 0, bytes.length)
  }
}

/** Reads the messages of one link, one at a time: what it gives is overwritten by the next. */
export class PublishReader implements Share {
  message!: Message
  durability: Durability = 'fsync'
  plain = false
  groups: readonly string[] = none
  dup = false
  // Where it stands; QoS 1 and 2 only.
  stream = 0
  seq = 0
  past = 0
  kept = false
  readonly #topics: Topic[] = []
  readonly #table: TopicTable

  constructor(
    readonly origin: NodeId,
    /** Held when somebody here is behind, as a publisher of ours would be. */
    readonly source: Publisher,
    readonly version: number,
    table: TopicTable,
  ) {
    this.#table = table
  }

  /** @throws WireError, CorruptRecordError when it is malformed */
  read(reader: RecordReader, nowMs: number): void {
    const flags = reader.u8()
    const more = reader.u8()
    const qos = flags & Flags.qos
    if (qos === 3) throw new WireError('a message of QoS 3')
    this.dup = (flags & Flags.dup) !== 0
    this.plain = (flags & Flags.plain) !== 0
    this.kept = (flags & Flags.kept) !== 0
    this.durability = durabilityOf(more)
    if (qos > 0) {
      this.stream = reader.varint()
      this.seq = reader.varint()
      this.past = this.seq - reader.varint()
      if (this.past < 0) throw new WireError('a stream whose past lies before its beginning')
    }
    const serial = reader.varint()
    const topic = this.#topic(reader)
    const expiresAtMs = flags & Flags.expires ? nowMs + reader.varint() : Infinity
    const properties = flags & Flags.properties ? reader.block() : undefined
    const stamp = more & More.stamp ? readStamp(reader) : undefined
    const publisher =
      more & More.publisher ? { clientId: reader.text(), connection: this.source.connection } : this.source
    this.groups = more & More.groups ? texts(reader) : none
    const payloadStart = skipBlock(reader)
    this.message = new Message(
      topic,
      qos as QoS,
      (flags & Flags.retain) !== 0,
      reader.buffer,
      payloadStart,
      reader.at,
      properties && copyBytes(properties, 0, properties.length),
      expiresAtMs,
      publisher,
      5,
    )
    this.message.origin = this.origin
    this.message.serial = serial
    this.message.stamp = stamp
  }

  #topic(reader: RecordReader): Topic {
    const number = this.version >= 2 ? reader.varint() : 0
    if (number > 0 && number <= this.#topics.length) return this.#topics[number - 1]!
    if (number > this.#topics.length + 1) throw new WireError('the number of a topic that was never named')
    const start = skipBlock(reader)
    const topic = topicAt(this.#table, reader.buffer, start, reader.at)
    if (number > 0) this.#topics.push(topic)
    return topic
  }
}

/** @throws WireError when it is no topic's name */
function topicAt(table: TopicTable, bytes: Uint8Array, start: number, end: number): Topic {
  try {
    return table.at(bytes, start, end)
  } catch (fault) {
    throw fault instanceof MqttError ? new WireError(fault.message) : fault
  }
}

/** Steps over a block without making a view of it; gives where its content begins. @throws WireError */
function skipBlock(reader: RecordReader): number {
  const length = reader.varint()
  if (length > reader.left) throw new WireError('a message that is shorter than it says')
  reader.at += length
  return reader.at - length
}

function texts(reader: RecordReader): string[] {
  const all: string[] = []
  for (let left = reader.varint(); left > 0; left--) all.push(reader.text())
  return all
}

const none: readonly string[] = []
