import type { Message } from '../mqtt/message.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import type { Terms } from '../sessions/outlet.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import type { NodeId } from './peers.ts'
import { PublishReader, PublishWriter } from './publish-frame.ts'

// One message of a queue on its way to another node:
//
//   take varint · entry u8 · origin text · [count varint · subscription ids] · message as in a `publish` frame of version 1
//
//   entry    its state and flags, as `Entry` has them, and 0x80: with subscription ids
//   place    its number in the queue stands where that of a stream's message does
const withIds = 0x80

export class EntryWriter {
  readonly #self: NodeId
  // Topics in full: a queue may be read again from its beginning.
  readonly #publish = new PublishWriter(1)

  constructor(self: NodeId) {
    this.#self = self
  }

  write(writer: RecordWriter, seq: number, entry: number, message: Message, terms: Terms, nowMs: number): void {
    const { subscriptionIds: ids, shared } = terms
    writer.u8((entry & 0x1f) | (ids ? withIds : 0))
    writer.text(message.origin ?? this.#self)
    if (ids) {
      writer.varint(ids.length)
      for (const id of ids) writer.varint(id)
    }
    const place = { stream: 0, seq, past: seq, kept: false }
    const share = { durability: 'fsync' as const, plain: true, groups: shared === undefined ? [] : [shared] }
    this.#publish.write(writer, message, message.qos, false, place, share, nowMs)
  }
}

export interface TransferredEntry {
  readonly seq: number
  readonly entry: number
  readonly message: Message
  readonly terms: Terms
  /** The node where it was published. */
  readonly origin: NodeId
}

/** @throws WireError, CorruptRecordError */
export function readEntry(reader: RecordReader, self: NodeId, topics: TopicTable, nowMs: number): TransferredEntry {
  const bits = reader.u8()
  const origin = reader.text()
  const ids = bits & withIds ? reader.list(() => reader.varint()) : undefined
  const publish = new PublishReader(origin, nobody, 1, topics)
  publish.read(reader, nowMs)
  const { message, seq, groups } = publish
  if (origin === self) message.origin = undefined
  return { seq, entry: bits & 0x1f, message, terms: { subscriptionIds: ids, shared: groups[0] }, origin }
}

const nobody = { connection: undefined }
