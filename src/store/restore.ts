import type { Log } from '../host.ts'
import type { Message } from '../mqtt/message.ts'
import { MqttError } from '../mqtt/reason.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import {
  format,
  headPart,
  longRetainedPrefix,
  type Meta,
  metaKey,
  parseSessionKey,
  queuePart,
  readChunk,
  readMeta,
  readQueue,
  readSession,
  RetainedKeys,
  retainedPrefix,
  sessionPrefix,
} from './image.ts'
import type { LogVisitor } from './log.ts'
import { Losses } from './loss.ts'
import { MessageReader } from './message-record.ts'
import { Places } from './places.ts'
import { Entry, type Lsn } from './port.ts'
import { RecoveredQueue } from './recovered-queue.ts'
import { type HeadRecord, readGrant, readHead, RecordType } from './records.ts'
import { dropSeconds } from './store-time.ts'
import { Subscriptions } from './subscriptions.ts'
import { chunkOf, Track } from './tracks.ts'
import { CorruptRecordError, RecordReader } from './writer.ts'

/** The directory holds what this version cannot read. */
export class StoreFormatError extends Error {
  override readonly name = 'StoreFormatError'
}

/** A session while it is put together. */
export class Restored {
  readonly track: Track
  /** Records from before it are in `head` and `subscriptions`. */
  lsn: Lsn = 0
  /** Most have none. */
  incoming: ReadonlySet<number> = none
  readonly queue: RecoveredQueue
  /** How many stretches of damage lay before the last message for it. */
  damagesSeen = 0

  constructor(
    public head: HeadRecord,
    places: Places,
    readonly subscriptions = new Subscriptions(),
  ) {
    this.queue = new RecoveredQueue(places)
    this.track = new Track(head.number, head.clientId, head.epoch)
  }

  arrived(packetId: number): void {
    if (this.incoming === none) this.incoming = new Set<number>()
    ;(this.incoming as Set<number>).add(packetId)
  }

  released(packetId: number): void {
    if (this.incoming !== none) (this.incoming as Set<number>).delete(packetId)
  }
}

const none: ReadonlySet<number> = new Set<number>()

/**
 * What an index and the log behind it add up to.
 *
 *   load(index) ──▶ what was true at some moment, each session at its own ──▶ record, record … ──▶ what is true now
 *
 * The index was written while the broker went on, so a record may be in there already: queues know by their lsn, and of
 * everything else the last word counts, whoever says it.
 */
export class Restore implements LogVisitor {
  readonly sessions = new Map<number, Restored>()
  /** Their expiries are in the store's time. */
  readonly retained = new Map<string, Message>()
  /** What was cleared, and since when, for the other nodes of a cluster. */
  readonly tombstones = new Map<string, Message>()
  /** Topics whose retained message the index does not have as it is now. */
  readonly dirtyTopics = new Set<string>()
  readonly retainedKeys = new RetainedKeys()
  /** Sessions that have ended and are still in the index. */
  readonly ended: Track[] = []
  readonly losses: Losses
  /** Recipients that were ever written into each segment, by its first address. */
  readonly references = new Map<Lsn, number>()
  replayFrom: Lsn = 0
  /** The log must go on behind this: the index has seen it. */
  floor: Lsn = 0
  nextNumber = 1
  /** When the store was last heard of, by its own time; and by how much the wall clock was ahead. */
  lastMs = 0
  aheadMs = 0
  records = 0
  /** When the index was written. */
  #indexedMs = 0
  readonly #byClient = new Map<string, Restored>()
  readonly #topics: TopicTable
  readonly #segmentBytes: number
  readonly #log: Log
  readonly #reader = new RecordReader()
  readonly #message = new MessageReader()
  readonly #places: Places
  #segment: Lsn = 0
  #segmentReferences = 0

  constructor(topics: TopicTable, segmentBytes: number, log: Log, places = new Places()) {
    this.#places = places
    this.#topics = topics
    this.#segmentBytes = segmentBytes
    this.#log = log
    this.losses = new Losses(log)
  }

  /**
   * Takes over what the index has, in the order of its keys.
   * @throws StoreFormatError, CorruptRecordError
   */
  load(entries: Iterable<readonly [key: string, value: Uint8Array]>): void {
    let restored: Restored | undefined
    for (const [key, value] of entries) {
      const reader = this.#reader.over(value, 0, value.length)
      if (key === metaKey) this.#loadMeta(readMeta(reader))
      else if (key.startsWith(sessionPrefix)) restored = this.#loadSession(key, reader, restored)
      else if (key.startsWith(retainedPrefix) || key.startsWith(longRetainedPrefix)) this.#loadRetained(key, value)
      else throw new StoreFormatError(`the index holds "${key}", which is none of its keys`)
    }
  }

  record(lsn: Lsn, type: number, bytes: Uint8Array, start: number, end: number, atMs: number): void {
    this.records++
    this.lastMs = Math.max(atMs, this.#indexedMs)
    try {
      this.#apply(lsn, type, bytes, start, end)
    } catch (fault) {
      // Its checksum is right, so it is no damage of the disk: say so, and go on with what can be read.
      if (!(fault instanceof CorruptRecordError || fault instanceof MqttError)) throw fault
      this.#log.error({ lsn, type, fault: fault.message }, 'a record of the log makes no sense, and was passed over')
    }
  }

  damaged(from: Lsn, to: Lsn, file: string, records: number | undefined): void {
    this.losses.damaged(from, to, file, records)
  }

  /** All records were there. Counts what is left over, and makes an end of what the damage has taken. */
  finish(): void {
    this.#countSegment()
    this.#byClient.clear()
    if (!this.losses.any) return
    for (const { queue, head } of this.sessions.values()) queue.sift((_, lsn) => !this.losses.takes(lsn, head.clientId))
  }

  #loadMeta(meta: Meta): void {
    if (meta.format > format)
      throw new StoreFormatError(`the store has format ${meta.format}, and this version reads up to ${format}`)
    this.replayFrom = meta.replayFrom
    this.floor = Math.max(this.floor, meta.replayFrom)
    this.nextNumber = Math.max(this.nextNumber, meta.nextNumber)
    this.lastMs = meta.atMs
    // Before, it was the wall clock's, which may have been set back since.
    if (meta.format >= 3) this.#indexedMs = meta.atMs
    this.aheadMs = meta.aheadMs
    for (const [first, count] of meta.references) this.references.set(first, count)
  }

  #loadSession(key: string, reader: RecordReader, last: Restored | undefined): Restored {
    const { number, chunk } = parseSessionKey(key)
    if (chunk === headPart) {
      const { lsn, head, subscriptions } = readSession(reader)
      const restored = this.#add(head, subscriptions)
      restored.lsn = lsn
      restored.track.indexed = true
      this.floor = Math.max(this.floor, lsn)
      return restored
    }
    if (last?.head.number !== number)
      throw new CorruptRecordError(`the index has "${key}" of a session that it has not`)
    const { queue, track } = last
    if (chunk === queuePart) {
      const { lsn, head, next, incoming } = readQueue(reader)
      queue.open(lsn, head, next)
      if (incoming.length > 0) last.incoming = new Set(incoming)
      track.indexedFrom = track.indexedTo = chunkOf(head)
      this.floor = Math.max(this.floor, lsn)
      return last
    }
    track.indexedFrom = Math.min(track.indexedFrom, chunk)
    track.indexedTo = chunk + 1
    readChunk(reader, (seq, entry, lsn, expirySeconds) => queue.place(seq, entry, lsn, expirySeconds))
    return last
  }

  #loadRetained(key: string, value: Uint8Array): void {
    const message = this.#message.overBody(value, 0, value.length).retained(this.#topics, 0)
    const { name } = message.topic
    if (key.startsWith(longRetainedPrefix)) this.retainedKeys.known(key, name)
    this.#keep(name, message)
  }

  #apply(lsn: Lsn, type: number, bytes: Uint8Array, start: number, end: number): void {
    if (type === RecordType.message) return this.#published(lsn, bytes, start, end)
    const reader = this.#reader.over(bytes, start, end)
    switch (type) {
      case RecordType.moved:
        return this.#moved(lsn, bytes, start, end)
      case RecordType.arrived: {
        const restored = this.#queueOf(reader.varint(), lsn)
        restored?.arrived(reader.u16())
        return
      }
      case RecordType.released: {
        const restored = this.#queueOf(reader.varint(), lsn)
        restored?.released(reader.u16())
        return
      }
      case RecordType.received:
        return this.#queueOf(reader.varint(), lsn)?.queue.released(reader.varint())
      case RecordType.settled:
        return this.#settled(lsn, reader)
      case RecordType.session:
        return this.#session(lsn, readHead(reader))
      case RecordType.ended: {
        const restored = this.sessions.get(this.#seen(reader.varint()))
        if (restored) this.#end(restored)
        return
      }
      case RecordType.subscribed: {
        const restored = this.#headOf(reader.varint(), lsn)
        const filter = reader.text()
        restored?.subscriptions.set(filter, readGrant(reader))
        return
      }
      case RecordType.unsubscribed: {
        const restored = this.#headOf(reader.varint(), lsn)
        restored?.subscriptions.delete(reader.text())
        return
      }
      case RecordType.alive:
        return
      case RecordType.clock:
        // The index may know of a later time, which the log has lost.
        if (this.lastMs > this.#indexedMs) this.aheadMs = reader.f64()
        return
      default:
        throw new CorruptRecordError(`records of type ${type} are not known`)
    }
  }

  #published(lsn: Lsn, bytes: Uint8Array, start: number, end: number): void {
    const message = this.#message.over(bytes, start, end)
    const { expiryStoreMs } = message
    const expirySeconds = dropSeconds(expiryStoreMs)
    const first = Entry.waiting | (Math.min(message.countedBytes, Entry.mostBytes) << Entry.bytesShift)
    let count = 0
    for (; message.next(); count++) {
      const restored = this.#queueOf(message.session, lsn)
      if (restored === undefined) continue
      const { queue } = restored
      const seq = message.wide ? message.seq : queue.numberOf(message.seq)
      if (seq < queue.next) {
        if (message.wide) queue.fill(seq, first | message.flags, lsn, expirySeconds)
        continue
      }
      if (restored.damagesSeen < this.losses.damages) {
        restored.damagesSeen = this.losses.damages
        this.losses.gap(restored.head.clientId, seq - queue.next)
      }
      queue.append(seq, first | message.flags, lsn, expirySeconds)
    }
    if (message.publisher !== 0) this.#queueOf(message.publisher, lsn)?.arrived(message.packetId)
    if (message.retains) this.#retain(message)
    this.#count(lsn, count)
  }

  #retain(message: MessageReader): void {
    const { name } = message.topic(this.#topics)
    this.#keep(name, message.retained(this.#topics, 0))
    this.dirtyTopics.add(name)
  }

  #keep(name: string, message: Message): void {
    this.retained.delete(name)
    this.tombstones.delete(name)
    if (message.payloadLength > 0) this.retained.set(name, message)
    else if (message.stamp !== undefined) this.tombstones.set(name, message)
  }

  #moved(lsn: Lsn, bytes: Uint8Array, start: number, end: number): void {
    const message = this.#message.over(bytes, start, end)
    let count = 0
    for (; message.next(); count++) this.#queueOf(message.session, lsn)?.queue.moved(message.seq, lsn)
    this.#count(lsn, count)
  }

  #settled(lsn: Lsn, reader: RecordReader): void {
    while (reader.left > 0) {
      const queue = this.#queueOf(reader.varint(), lsn)?.queue
      const head = reader.varint()
      queue?.trim(head)
      for (let ranges = reader.varint(); ranges > 0; ranges--) {
        const first = head + reader.varint()
        const length = reader.varint()
        if (queue === undefined) continue
        for (let seq = first; seq < first + length && seq < queue.next; seq++) queue.gone(seq)
      }
    }
  }

  #session(lsn: Lsn, head: HeadRecord): void {
    const restored = this.sessions.get(this.#seen(head.number))
    if (restored === undefined) {
      const owner = this.#byClient.get(head.clientId)
      // Numbers grow: the index knows already that a later session took over.
      if (owner && owner.head.number > head.number) return
      if (owner) this.#end(owner)
      this.#add(head).lsn = lsn
      return
    }
    if (lsn < restored.lsn) return
    if (restored.head.clientId !== head.clientId) this.#rename(restored, head.clientId)
    restored.head = head
    restored.track.epoch = head.epoch
    restored.track.headChanged = true
  }

  /** A session that came from another node got its own name: whoever had it before has ended. */
  #rename(restored: Restored, clientId: string): void {
    const owner = this.#byClient.get(clientId)
    if (owner && owner !== restored) this.#end(owner)
    if (this.#byClient.get(restored.head.clientId) === restored) this.#byClient.delete(restored.head.clientId)
    restored.track.clientId = clientId
    this.#byClient.set(clientId, restored)
  }

  #add(head: HeadRecord, subscriptions?: Subscriptions): Restored {
    const restored = new Restored(head, this.#places, subscriptions)
    this.sessions.set(this.#seen(head.number), restored)
    this.#byClient.set(head.clientId, restored)
    restored.damagesSeen = this.losses.damages
    return restored
  }

  #end({ head, track }: Restored): void {
    this.sessions.delete(head.number)
    if (this.#byClient.get(head.clientId)?.head.number === head.number) this.#byClient.delete(head.clientId)
    if (!track.indexed) return
    track.ended = true
    this.ended.push(track)
  }

  /** The session, if its head does not know of a record at `lsn` yet. */
  #headOf(number: number, lsn: Lsn): Restored | undefined {
    const restored = this.sessions.get(this.#seen(number))
    if (restored === undefined || lsn < restored.lsn) return undefined
    restored.track.headChanged = true
    return restored
  }

  /** The session, if its queue does not know of a record at `lsn` yet. */
  #queueOf(number: number, lsn: Lsn): Restored | undefined {
    const restored = this.sessions.get(this.#seen(number))
    if (restored === undefined || lsn < restored.queue.lsn) return undefined
    restored.track.queueChanged = true
    return restored
  }

  /** No number is used again, not even one whose session was lost. */
  #seen(number: number): number {
    if (number >= this.nextNumber) this.nextNumber = number + 1
    return number
  }

  #count(lsn: Lsn, recipients: number): void {
    const segment = lsn - (lsn % this.#segmentBytes)
    if (segment !== this.#segment) this.#countSegment()
    this.#segment = segment
    this.#segmentReferences += recipients
  }

  #countSegment(): void {
    if (this.#segmentReferences > 0)
      this.references.set(this.#segment, (this.references.get(this.#segment) ?? 0) + this.#segmentReferences)
    this.#segmentReferences = 0
  }
}
