import type { Clock, DiskFault, Index } from '../host.ts'
import type { Message } from '../mqtt/message.ts'
import { Checkpoint, type CheckpointContext } from './checkpoint.ts'
import { Collection, type CollectionContext } from './collection.ts'
import type { DiskStoreOptions, StoreFigures } from './disk-options.ts'
import { format, type Meta, type RetainedKeys } from './image.ts'
import type { CommitLog } from './log.ts'
import { type Loss, report } from './loss.ts'
import { MessageReader, RecipientWriter, writeBody } from './message-record.ts'
import {
  type Durability,
  Entry,
  type Lsn,
  type Recovered,
  type SessionHead,
  StaleEpochError,
  type StateSource,
  type Store,
  type StoredCopy,
} from './port.ts'
import { RecordType, writeHead, writeSettled, writeSubscription } from './records.ts'
import { type Opened, recover } from './recover.ts'
import type { StoreTime } from './store-time.ts'
import type { Tracks } from './tracks.ts'
import { RecordWriter } from './writer.ts'

const MiB = 1024 * 1024

/**
 * Opens a store, and reads back what it holds. Blocks.
 * @throws StoreFormatError when this version cannot read it, LogFormatError when the log is not this store's, DiskFault
 */
export function openDiskStore(options: DiskStoreOptions): { store: DiskStore; recovered: Recovered } {
  const { recovered, ...opened } = recover(options)
  return { store: new DiskStore(options, opened), recovered }
}

const settleMs = 200
const pollMs = 1000
const aliveMs = 10_000
/** After the index was refused room. */
const refusedMs = 5000

/**
 * Keeps sessions, their queues and retained messages on disk: one log of all changes, in order, and an index that follows
 * it by checkpoints. What a queue holds stays in the log; the queue knows where (`QueueView`).
 *
 *   change ─▶ record in the log ─▶ durable ─▶ promise                    (`CommitLog`)
 *        └─▶ dirty ─────────────────────────▶ index, now and then        (`Checkpoint`) ─▶ old segments are dropped
 */
export class DiskStore implements Store, CheckpointContext, CollectionContext {
  readonly clock: Clock
  readonly index: Index
  readonly log: CommitLog
  readonly tracks: Tracks
  readonly retainedKeys: RetainedKeys
  readonly segmentBytes: number
  readonly bytesPerSecond: number
  readonly offsetMs: number
  readonly #options: DiskStoreOptions
  readonly #time: StoreTime
  readonly #checkpointBytes: number
  readonly #reserveBytes: number
  readonly #syncs: boolean
  readonly #checkpoint: Checkpoint
  readonly #collection: Collection
  readonly #recipients = new RecipientWriter()
  readonly #reader = new MessageReader()
  /** Recipients written into each segment before the log was opened, less those that it has counted again. */
  readonly #references: Map<Lsn, number>
  readonly #progressListeners: (() => void)[] = []
  readonly #failureListeners: ((fault: DiskFault) => void)[] = []
  readonly #lossListeners: ((loss: Loss) => void)[] = []
  readonly #stopClocks: (() => void)[]
  /** What the replay found damaged. */
  readonly losses: readonly Loss[]
  #source: StateSource = nobody
  /** Where its fields go. */
  #writer = new RecordWriter(0)
  /** Where the message is being recorded that gets its recipients; 0: none is. */
  #open: Lsn = 0
  /** Somebody gets it with QoS 2: his copy waits for a sync, whatever the publisher waits for. */
  #exact = false
  /** The message that was read last: whoever shares it reads it one after the other. */
  #lastLsn: Lsn = 0
  #lastBytes: Uint8Array | undefined = undefined
  #lastStart = 0
  #lastMessage: Message | undefined = undefined
  #nextNumber: number
  #replayFrom: Lsn
  #checkpointAt: Lsn
  #low = false
  /** What was written when the disk was last asked for its room. */
  #polledAt: Lsn = 0
  /** Not sooner does a checkpoint begin only to get room, by the clock. */
  #reclaimAtMs = 0
  #failed = false
  #closed = false
  #idleSinceMs: number
  #idleNext: Lsn
  #checkpointed: (() => void) | undefined = undefined
  /** Segments that a checkpoint under way must leave alone. */
  #pinned: Lsn[] = []
  #checkpoints = 0
  #droppedBytes = 0
  #quarantined: number
  #lostCopies = 0

  constructor(options: DiskStoreOptions, { log, restore, tracks, time }: Omit<Opened, 'recovered'>) {
    this.#options = options
    this.clock = options.clock
    this.index = options.index
    this.log = log
    this.tracks = tracks
    this.#time = time
    this.offsetMs = time.offsetMs
    this.retainedKeys = restore.retainedKeys
    this.segmentBytes = options.segmentBytes ?? 64 * MiB
    this.bytesPerSecond = options.collectBytesPerSecond ?? 8 * MiB
    this.#checkpointBytes = options.checkpointBytes ?? 64 * MiB
    this.#reserveBytes = options.reserveBytes ?? 32 * MiB
    this.#syncs = (options.durability ?? 'fsync') === 'fsync'
    this.#nextNumber = restore.nextNumber
    this.#replayFrom = restore.replayFrom
    // Addresses do not begin at 0.
    this.#checkpointAt = Math.max(restore.replayFrom, log.segments()[0]?.first ?? 0) + this.#checkpointBytes
    this.#references = new Map(restore.references)
    for (const { first, holds } of log.segments())
      this.#references.set(first, Math.max(0, (this.#references.get(first) ?? 0) - holds))
    this.losses = restore.losses.all
    this.#quarantined = this.losses.length
    for (const loss of this.losses) this.#lostCopies += copiesOf(loss)
    this.#idleSinceMs = this.clock.now()
    this.#idleNext = log.next
    this.#checkpoint = new Checkpoint(this)
    this.#collection = new Collection(this)
    log.onCommit(() => {
      this.#writeSettled()
      this.#writeClock()
    })
    log.onProgress(() => this.#progress())
    log.onFailure((fault) => this.#fail(fault))
    log.onDamage((from, to, file) => this.#damaged(from, to, file))
    this.#poll()
    this.#stopClocks = [
      this.clock.every(settleMs, () => {
        if (tracks.settling.length > 0) log.commitSoon()
      }),
      this.clock.every(pollMs, () => this.#tick()),
    ]
  }

  get next(): Lsn {
    return this.log.next
  }

  get durable(): Lsn {
    return this.log.durable
  }

  get written(): Lsn {
    return this.log.written
  }

  get full(): boolean {
    return this.#low || this.log.full
  }

  get behind(): boolean {
    return this.log.behind
  }

  get source(): StateSource {
    return this.#source
  }

  get figures(): StoreFigures {
    const segments = this.log.segments()
    return {
      segments: segments.length,
      logBytes: segments.reduce((sum, { first, end }) => sum + end - first, 0),
      liveBytes: this.#collection.liveBytes(),
      sessions: this.tracks.byNumber.size,
      checkpoints: this.#checkpoints,
      droppedBytes: this.#droppedBytes,
      copiedBytes: this.#collection.copiedBytes,
      quarantined: this.#quarantined,
      lostCopies: this.#lostCopies,
    }
  }

  onProgress(listener: () => void): void {
    this.#progressListeners.push(listener)
  }

  /** Calls `listener` once, when the disk has failed: nothing will be durable any more, and the node must stop. */
  onFailure(listener: (fault: DiskFault) => void): void {
    this.#failureListeners.push(listener)
  }

  /** Calls `listener` for each stretch of damage that is found from now on; those of the start are in `losses`. */
  onLoss(listener: (loss: Loss) => void): void {
    this.#lossListeners.push(listener)
  }

  serve(source: StateSource): void {
    this.#source = source
    // A long replay is not to be done twice.
    if (this.next >= this.#checkpointAt) this.#checkpoint.start()
  }

  number(): number {
    return this.#nextNumber++
  }

  session(head: SessionHead): Lsn {
    const owner = this.tracks.owner(head.clientId)
    if (owner && head.epoch < owner.epoch) throw new StaleEpochError(head.clientId, head.epoch, owner.epoch)
    // A replay ends it, too, when it comes by the new number.
    if (owner && owner.number !== head.number) this.tracks.end(owner)
    this.tracks.head(head)
    writeHead(this.log.begin(RecordType.session), head, this.offsetMs)
    return this.log.end(this.#syncs)
  }

  ended(session: number): Lsn {
    const track = this.tracks.byNumber.get(session)
    if (track === undefined) return 0
    this.tracks.end(track)
    this.log.begin(RecordType.ended).varint(session)
    return this.log.end(this.#syncs)
  }

  subscribed(session: number, filter: string, grant: number): Lsn {
    const writer = this.log.begin(RecordType.subscribed)
    writer.varint(session)
    writeSubscription(writer, filter, grant)
    return this.#headChanged(session)
  }

  unsubscribed(session: number, filter: string): Lsn {
    const writer = this.log.begin(RecordType.unsubscribed)
    writer.varint(session)
    writer.text(filter)
    return this.#headChanged(session)
  }

  recipient(
    message: Message,
    session: number,
    seq: number,
    flags: number,
    subscriptionIds: readonly number[] | undefined,
    shared: string | undefined,
  ): void {
    if (this.#open === 0) this.#begin(message)
    const track = this.tracks.byNumber.get(session)
    // Numbers that were never in the log leave a gap: too wide a one could not be told from 16 bits, nor one behind it.
    const wide = track !== undefined && (seq - track.next > 0xffff || seq < track.next)
    this.#recipients.write(this.#writer, session, seq, flags, wide, subscriptionIds, shared)
    if ((flags & Entry.qos2) !== 0) this.#exact = true
    if (track !== undefined) this.tracks.appended(track, seq)
  }

  message(message: Message, retains: boolean, publisher: number, packetId: number, durability: Durability): Lsn {
    const retained = message.retain && retains
    const arrived = packetId === 0 ? 0 : publisher
    if (this.#open === 0) {
      if (!retained) return arrived === 0 ? 0 : this.#arrived(arrived, packetId, durability)
      this.#begin(message)
    }
    this.log.hold(this.#open, this.#recipients.count)
    this.#recipients.trailer(this.#writer, retained, arrived, packetId)
    this.#open = 0
    if (retained) this.tracks.dirtyTopics.add(message.topic.name)
    if (arrived !== 0) this.#queueChanged(arrived)
    return this.#end(durability)
  }

  released(session: number, packetId: number): Lsn {
    const writer = this.log.begin(RecordType.released)
    writer.varint(session)
    writer.u16(packetId)
    this.#queueChanged(session)
    return this.log.end(this.#syncs)
  }

  received(session: number, seq: number): Lsn {
    const writer = this.log.begin(RecordType.received)
    writer.varint(session)
    writer.varint(seq)
    const track = this.tracks.byNumber.get(session)
    if (track) this.tracks.touched(track, seq)
    return this.log.end(this.#syncs)
  }

  settled(session: number, head: number, seq: number, lsn: Lsn): void {
    if (lsn !== 0) this.log.free(lsn)
    const track = this.tracks.byNumber.get(session)
    if (track !== undefined) this.tracks.settled(track, head, seq)
  }

  read(lsn: Lsn, session: number, seq: number): StoredCopy | undefined {
    // What is being recorded is no record yet.
    if (lsn === this.#open || !this.log.read(lsn)) return undefined
    return this.#copy(lsn, session, seq)
  }

  fetch(lsn: Lsn, then: (found: boolean) => void): void {
    this.log.fetch(lsn, then)
  }

  readNow(lsn: Lsn, session: number, seq: number): StoredCopy | undefined {
    if (lsn === this.#open || !this.log.readNow(lsn)) return undefined
    return this.#copy(lsn, session, seq)
  }

  /** @throws DiskFault when not all of it is durable */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const stop of this.#stopClocks) stop()
    this.#collection.stop()
    try {
      if (!this.#failed && !this.log.full && this.#source !== nobody) await this.#lastCheckpoint()
      await this.log.close()
    } finally {
      await this.index.close()
    }
  }

  // What the checkpoint asks.

  began(): void {
    // What comes to its end from now on may be alive in what the checkpoint writes: its segments stay until the next one.
    for (const { first, held } of this.log.segments()) if (held > 0) this.#pinned.push(first)
    for (const first of this.#pinned) this.log.hold(first)
  }

  mark(): Lsn {
    this.log.begin(RecordType.alive)
    return this.log.end(true)
  }

  meta(replayFrom: Lsn): Meta {
    const references = new Map<Lsn, number>()
    for (const { first, holds } of this.log.segments()) references.set(first, holds + this.references(first))
    const { aheadMs } = this.#time
    return { format, replayFrom, nextNumber: this.#nextNumber, atMs: this.#time.now(), aheadMs, references }
  }

  finished(replayFrom: Lsn): void {
    this.#checkpoints++
    this.#replayFrom = replayFrom
    this.#checkpointAt = replayFrom + this.#checkpointBytes
    this.#drop()
    this.#unpin()
    this.#checkpointed?.()
    if (!this.#closed) this.#collection.consider(replayFrom)
  }

  failed(fault: DiskFault): void {
    this.#unpin()
    if (fault.code !== 'ENOSPC') this.#fail(fault)
    else this.#options.log.warn({ fault: fault.message }, 'the index has no room on the disk; it will be tried again')
    // Not at once: the disk is as full as it was.
    this.#checkpointAt = this.next + this.#checkpointBytes / 4
    this.#reclaimAtMs = this.clock.now() + refusedMs
    this.#checkpointed?.()
  }

  // What the collection asks.

  references(first: Lsn): number {
    return this.#references.get(first) ?? 0
  }

  copied(): void {
    if (!this.#closed) this.#checkpoint.start()
  }

  #begin(message: Message): void {
    this.#writer = this.log.begin(RecordType.message)
    this.#open = this.log.next
    this.#recipients.reset()
    writeBody(this.#writer, message, this.offsetMs)
  }

  #arrived(publisher: number, packetId: number, durability: Durability): Lsn {
    const writer = this.log.begin(RecordType.arrived)
    writer.varint(publisher)
    writer.u16(packetId)
    this.#queueChanged(publisher)
    return this.#end(durability)
  }

  #end(durability: Durability): Lsn {
    const syncs = durability === 'fsync' || this.#exact
    this.#exact = false
    const lsn = this.log.end(syncs)
    if (!syncs) this.log.commitSoon()
    return lsn
  }

  #headChanged(session: number): Lsn {
    const track = this.tracks.byNumber.get(session)
    if (track) {
      track.headChanged = true
      this.tracks.soil(track)
    }
    return this.log.end(this.#syncs)
  }

  #queueChanged(session: number): void {
    const track = this.tracks.byNumber.get(session)
    if (track) this.tracks.queueChanged(track)
  }

  /** What was settled since the last commit goes along with this one. */
  #writeSettled(): void {
    const { settling } = this.tracks
    if (settling.length === 0) return
    const writer = this.log.begin(RecordType.settled)
    for (const track of settling) {
      if (!track.ended) writeSettled(writer, track.number, track.head, track.gone)
      track.settling = false
      track.gone = undefined
    }
    settling.length = 0
    this.log.end(false)
  }

  /** Whatever was written since the wall clock was set says so, too. */
  #writeClock(): void {
    if (!this.#time.wasSet) return
    this.log.begin(RecordType.clock).f64(this.#time.written())
    this.log.end(true)
  }

  #copy(lsn: Lsn, session: number, seq: number): StoredCopy | undefined {
    const reader = this.#reader
    const { type, bytes, start, end } = this.log.found
    // It may have been read into other bytes meanwhile.
    if (!this.#lastMessage || lsn !== this.#lastLsn || bytes !== this.#lastBytes || start !== this.#lastStart) {
      if (type !== RecordType.message && type !== RecordType.moved) return undefined
      this.#lastMessage = reader.over(bytes, start, end).message(this.#options.topics, this.offsetMs)
      this.#lastLsn = lsn
      this.#lastBytes = bytes
      this.#lastStart = start
    }
    const track = this.tracks.byNumber.get(session)
    const block = reader.find(session, seq, track?.block ?? 0)
    if (block < 0) return undefined
    if (track) track.block = block
    return { message: this.#lastMessage, subscriptionIds: reader.ids(), shared: reader.filter() }
  }

  #progress(): void {
    this.#checkpoint.progress()
    if (this.next >= this.#checkpointAt && !this.#closed && this.#source !== nobody) this.#checkpoint.start()
    if (this.log.full) this.#checkpointed?.()
    // A load may fill the disk from one tick to the next.
    if (this.written - this.#polledAt > this.#reserveBytes / 4) this.#poll()
    this.#tell()
  }

  #tell(): void {
    for (const listener of this.#progressListeners) listener()
  }

  #tick(): void {
    this.#poll()
    this.#reclaim()
    if (this.#time.wasSet) this.log.commitSoon()
    const nowMs = this.clock.now()
    if (this.next !== this.#idleNext) {
      this.#idleNext = this.next
      this.#idleSinceMs = nowMs
    } else if (this.tracks.online > 0 && nowMs - this.#idleSinceMs >= aliveMs && !this.log.full) {
      // So that a start after a crash knows until when they were there.
      this.log.begin(RecordType.alive)
      this.log.end(false)
      this.log.commitSoon()
    }
  }

  /**
   * A backlog that is drained leaves much to drop, and writes too little for a checkpoint to come by itself; on a disk
   * that is full of it none ever would.
   */
  #reclaim(): void {
    if (this.#closed || this.#failed || this.log.full || this.#source === nobody) return
    if (this.#checkpoint.running || this.clock.now() < this.#reclaimAtMs) return
    let dead = 0
    for (const { first, end, held } of this.log.segments().slice(0, -1)) if (held === 0) dead += end - first
    // As much as this is there between two checkpoints anyway.
    const usual = this.#checkpointBytes + 2 * this.segmentBytes
    if (dead > (this.#low ? 0 : usual)) this.#checkpoint.start()
    else this.#collection.consider(this.#replayFrom)
  }

  #poll(): void {
    this.#polledAt = this.written
    let low: boolean
    try {
      low = this.#options.disk.freeBytes() < this.#reserveBytes
    } catch (fault) {
      return this.#options.log.warn({ fault: String(fault) }, 'the disk does not say how much room it has')
    }
    if (low === this.#low) return
    this.#low = low
    this.#tell()
  }

  #unpin(): void {
    for (const first of this.#pinned) this.log.free(first)
    this.#pinned = []
  }

  /** Unlinks what nobody needs. */
  #drop(): void {
    try {
      this.#droppedBytes += this.log.dropBefore(this.#replayFrom)
    } catch (fault) {
      this.#options.log.warn({ fault: String(fault) }, 'old segments of the log could not be removed')
    }
    const left = new Set(this.log.segments().map(({ first }) => first))
    for (const first of this.#references.keys()) if (!left.has(first)) this.#references.delete(first)
  }

  #fail(fault: DiskFault): void {
    if (this.#failed) return
    this.#failed = true
    this.#collection.stop()
    this.#checkpointed?.()
    for (const listener of this.#failureListeners) listener(fault)
  }

  /** Somebody read what is damaged. Who else needs something of it? */
  #damaged(from: Lsn, to: Lsn, file: string): void {
    const copies = new Map<string, number>()
    for (const { number, clientId } of this.tracks.byNumber.values()) {
      const queue = this.#source.session(number)?.queue
      if (queue === undefined) continue
      let count = 0
      for (let seq = queue.head; seq < queue.next; seq++) {
        const lsn = queue.lsnOf(seq)
        if (lsn >= from && lsn < to && (queue.entryOf(seq) & Entry.stateBits) !== Entry.gone) count++
      }
      if (count > 0) copies.set(clientId, count)
    }
    const loss = { from, to, file, records: undefined, copies }
    this.#quarantined++
    this.#lostCopies += copiesOf(loss)
    report(loss, this.#options.log)
    for (const listener of this.#lossListeners) listener(loss)
  }

  /** So that the next start has nothing to replay. Goes on without it when the disk refuses. */
  #lastCheckpoint(): Promise<void> {
    const run = (then: () => void) => {
      this.#checkpointed = then
      this.#checkpoint.start()
    }
    // One that is under way may have looked at some sessions before their last change.
    const again = this.#checkpoint.running
    return new Promise((resolve) => run(() => (again && !this.#failed && !this.log.full ? run(resolve) : resolve())))
  }
}

function copiesOf({ copies }: Loss): number {
  let sum = 0
  for (const count of copies.values()) sum += count
  return sum
}

const nobody: StateSource = { session: () => undefined, retained: () => undefined, moved: () => undefined }
