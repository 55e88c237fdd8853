import type { Stamp } from '../mqtt/stamp.ts'
import { readStamp, writeStamp } from '../store/message-record.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import { bucketCount } from './buckets.ts'
import { WireError } from './wire.ts'

// Frames of the replication of retained messages, beside `retained`, which is a message's body as the store writes it, with
// its stamp, and the milliseconds that it has left as its expiry.
//
//   digest    flags u8 · topics varint · root (2 × u32) · [hashes of all buckets]
//   bucket    bucket u16 · last, full u8 · ( topic · stamp )…
//   wanted    bucket u16 · topics…
//   applied   bytes of `retained` on this link that were handled, varint

const Flags = { ask: 1, durable: 2, give: 4, buckets: 8 } as const

/** What a node has, in short. */
export interface Digest {
  /** An answer is asked for. */
  readonly ask: boolean
  /** With the hashes of buckets, even if that node has more topics than we have. */
  readonly give: boolean
  /** All of it survives a crash. */
  readonly durable: boolean
  readonly topics: number
  readonly root: ArrayLike<number>
  readonly buckets: ArrayLike<number> | undefined
}

export function writeDigest(writer: RecordWriter, { ask, give, durable, topics, root, buckets }: Digest): void {
  writer.u8(
    (ask ? Flags.ask : 0) | (durable ? Flags.durable : 0) | (give ? Flags.give : 0) | (buckets ? Flags.buckets : 0),
  )
  writer.varint(topics)
  for (let i = 0; i < 2; i++) writer.u32(root[i]!)
  if (buckets) for (let i = 0; i < 2 * bucketCount; i++) writer.u32(buckets[i]!)
}

/** @throws CorruptRecordError */
export function readDigest(reader: RecordReader): Digest {
  const flags = reader.u8()
  const topics = reader.varint()
  const root = words(reader, 2)
  return {
    ask: (flags & Flags.ask) !== 0,
    give: (flags & Flags.give) !== 0,
    durable: (flags & Flags.durable) !== 0,
    topics,
    root,
    buckets: flags & Flags.buckets ? words(reader, 2 * bucketCount) : undefined,
  }
}

function words(reader: RecordReader, count: number): Int32Array {
  const all = new Int32Array(count)
  for (let i = 0; i < count; i++) all[i] = reader.u32()
  return all
}

/** @throws CorruptRecordError, WireError */
export function readBucket(reader: RecordReader): number {
  const bucket = reader.u16()
  if (bucket >= bucketCount) throw new WireError(`there is no bucket ${bucket}`)
  return bucket
}

/** What a part of a list says of the whole: nothing follows; and its node has no room for topics that are not listed. */
export const ListFlags = { last: 1, full: 2 } as const

/** Topics that one frame lists at most: about 32 KiB. */
export const listedTopics = 512
/** And a bucket: a peer that lists more is not in its right mind. */
const mostListed = 4_000_000

/** What one peer says that it has in a bucket, while the parts come. */
export class Listed {
  readonly stamps = new Map<string, Stamp>()

  constructor(readonly bucket: number) {}

  /** @throws CorruptRecordError, WireError */
  read(reader: RecordReader): void {
    while (reader.left > 0) this.stamps.set(reader.text(), readStamp(reader))
    if (this.stamps.size > mostListed) throw new WireError('a bucket without an end')
  }
}

export function writeListed(writer: RecordWriter, name: string, stamp: Stamp): void {
  writer.text(name)
  writeStamp(writer, stamp)
}

export function readNames(reader: RecordReader): string[] {
  const names: string[] = []
  while (reader.left > 0) names.push(reader.text())
  return names
}
