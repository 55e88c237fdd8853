import type { Disk, Log } from '../host.ts'
import type { Message } from '../mqtt/message.ts'
import { TopicTable } from '../mqtt/topic.ts'
import { type Checksum, crc32 } from './crc.ts'
import { soundEntries } from './entries.ts'
import { type FrameKey, readSlotBytes, segmentHead } from './frames.ts'
import { LogReplay } from './log-replay.ts'
import type { Loss } from './loss.ts'
import { Entry, type Lsn, type QueueView } from './port.ts'
import { Quarantine } from './quarantine.ts'
import type { HeadRecord } from './records.ts'
import { rehearsal } from './rehearsal.ts'
import { Restore, type Restored } from './restore.ts'
import { logFolder, Segments } from './segments.ts'

/** Something that is not as it was written, or not there. */
export interface Damage {
  /** A file and the bytes in it, or a key of the index. */
  readonly place: string
  readonly what: string
  /** Records that it took, as far as that can be told. */
  readonly records: number | undefined
  /** Messages that it took from whom, by client id. */
  readonly copies: ReadonlyMap<string, number>
}

/** The queue of a session, with what it adds up to. */
export interface OfflineQueue {
  readonly places: QueueView
  readonly messages: number
  readonly bytes: number
}

export interface OfflineSession {
  readonly head: HeadRecord
  readonly subscriptions: ReadonlyMap<string, number>
  /** QoS 2 packet ids that the client has sent and not released. */
  readonly incoming: ReadonlySet<number>
  readonly queue: OfflineQueue
}

export interface OfflineOptions {
  /** It is not written to. */
  readonly disk: Disk
  /** The index's; undefined when they cannot be read: then there is what the log still has. */
  readonly entries: Iterable<readonly [key: string, value: Uint8Array]> | undefined
  readonly storeId: number
  readonly checksum?: Checksum
}

/** What a store would come back with, were it opened now. Times are the store's. */
export interface OfflineStore {
  readonly disk: Disk
  readonly key: FrameKey
  readonly slotBytes: number
  /** By number. */
  readonly sessions: ReadonlyMap<number, OfflineSession>
  readonly retained: ReadonlyMap<string, Message>
  readonly indexEntries: number
  /** The index knows of all before it. */
  readonly replayFrom: Lsn
  /** What has to be read again behind that. */
  readonly replayBytes: number
  /** When it was last heard of. */
  readonly lastMs: number
  /** By how much the wall clock was ahead of the store's time then. */
  readonly aheadMs: number
  /** What a write that was cut short has left behind the end. It was promised to nobody. */
  readonly tornBytes: number
  /** What an opening comes by. Below `replayFrom` it does not look. */
  readonly damage: readonly Damage[]
}

/**
 * Does what an opening does, and changes nothing. Blocks.
 * @throws StoreFormatError, LogFormatError when this version cannot read it, DiskFault
 */
export function readStore(options: OfflineOptions): OfflineStore {
  const disk = rehearsal(options.disk)
  const key = { storeId: options.storeId, checksum: options.checksum ?? crc32 }
  const slotBytes = slotBytesOf(disk, key)
  const topics = new TopicTable()
  const damage: Damage[] = []
  const restore = new Restore(topics, slotBytes, nobody)
  let indexEntries = 0
  if (options.entries) {
    const wrong = (entry: string, what: string) =>
      damage.push({ place: `index, ${JSON.stringify(entry)}`, what, records: undefined, copies: none })
    restore.load(counted(soundEntries(options.entries, topics, wrong), () => indexEntries++))
  }
  const segments = new Segments(disk, slotBytes)
  const files = segments.all().map(({ first, end }) => ({ first, end }))
  const quarantine = new Quarantine(disk, nobody)
  const { replayFrom, floor, losses } = restore
  const { end } = new LogReplay(segments, key, replayFrom, quarantine, restore).run(nobody)
  restore.finish()
  segments.close()
  const all = new Segments(disk, slotBytes)
  for (const loss of losses.all) damage.push(damageOf(loss, all))
  if (end < floor)
    damage.push({ ...stretch(all, end, floor), what: 'missing at the end', records: undefined, copies: none })
  const tornBytes = files.reduce((bytes, file) => bytes + between(file, end, Infinity), 0)
  const sessions = new Map<number, OfflineSession>()
  for (const [number, restored] of restore.sessions) sessions.set(number, sessionOf(restored))
  const replayBytes = files.reduce((bytes, file) => bytes + between(file, replayFrom, end), 0)
  const { retained, lastMs, aheadMs } = restore
  const found = { sessions, retained, indexEntries, replayFrom, replayBytes, lastMs, aheadMs }
  return { disk, key, slotBytes, ...found, tornBytes, damage }
}

/** Bytes of a file that lie in [from, to). */
function between(file: { readonly first: Lsn; readonly end: Lsn }, from: Lsn, to: Lsn): number {
  return Math.max(0, Math.min(file.end, to) - Math.max(file.first, from))
}

/** Where [from, to) of the log stands, for a person. */
export function stretch(segments: Segments, from: Lsn, to: Lsn): { readonly place: string } {
  const file = segments.all().findLast(({ first }) => first <= from)
  // Behind the last byte of the file before: in one that is missing.
  if (file === undefined || (from >= file.end && from >= file.first + segments.slotBytes))
    return { place: `${logFolder}, addresses ${from} to ${to}` }
  return { place: `${file.name}, bytes ${from - file.first} to ${to - file.first}` }
}

const none: ReadonlyMap<string, number> = new Map()

function damageOf({ from, to, file, records, copies }: Loss, segments: Segments): Damage {
  const what = file === '' ? 'missing' : 'not as it was written'
  return { ...stretch(segments, from, to), what, records, copies }
}

function sessionOf({ head, subscriptions, incoming, queue }: Restored): OfflineSession {
  // Trims what is gone from its head.
  queue.sift(() => true)
  let messages = 0
  let bytes = 0
  for (let seq = queue.head; seq < queue.next; seq++) {
    const entry = queue.entryOf(seq)
    if (!isAlive(entry)) continue
    messages++
    bytes += entry >>> Entry.bytesShift
  }
  return { head, subscriptions: new Map(subscriptions), incoming, queue: { places: queue, messages, bytes } }
}

export function isAlive(entry: number): boolean {
  return (entry & Entry.stateBits) !== Entry.gone
}

const MiB = 1024 * 1024

/** What the first segment says whose head is whole. */
function slotBytesOf(disk: Disk, key: FrameKey): number {
  const head = Buffer.alloc(segmentHead)
  for (const name of disk.list(logFolder)) {
    const file = disk.open(`${logFolder}/${name}`, false)
    try {
      const slotBytes = readSlotBytes(head.subarray(0, file.readNow(head, 0)), key)
      if (slotBytes !== undefined) return slotBytes
    } finally {
      file.close()
    }
  }
  return 64 * MiB
}

function* counted<T>(items: Iterable<T>, count: () => void): Generator<T> {
  for (const item of items) {
    count()
    yield item
  }
}

const nobody: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
