import type { Clock, Disk, DiskFault, Log } from '../host.ts'
import { Commits, type CommitSource } from './commits.ts'
import { type Checksum, crc32 } from './crc.ts'
import { Extents, type FoundRecord } from './extents.ts'
import { type Batch, Filling } from './filling.ts'
import type { Lsn } from './port.ts'
import { Quarantine } from './quarantine.ts'
import { Reading } from './reading.ts'
import { LogReplay, type LogVisitor } from './log-replay.ts'
import { type SegmentInfo, Segments } from './segments.ts'
import type { StoreTime } from './store-time.ts'
import type { RecordWriter } from './writer.ts'

export type { LogVisitor } from './log-replay.ts'
export type { SegmentInfo } from './segments.ts'

export interface LogOptions {
  readonly disk: Disk
  readonly clock: Clock
  /** What frames are stamped with. It is not asked before the replay is over. */
  readonly time: Pick<StoreTime, 'now'>
  readonly log: Log
  /** 32 bits that no other store has: a frame of another one never passes for ours. */
  readonly storeId: number
  /** How much of the address space a file covers; the same for the life of a log. */
  readonly segmentBytes?: number
  /** Verified frames that are kept in memory for reading. */
  readonly cacheBytes?: number
  /** When more than this waits to be written, `behind` is true. */
  readonly batchBytes?: number
  readonly checksum?: Checksum
}

const MiB = 1024 * 1024
const pageBytes = 256 * 1024

/**
 * A log of records that only grows, and is collected from behind. What is recorded in a turn is written at its end, as one
 * frame or a few, and synced if anybody waits for that. A record survives whole or not at all.
 *
 *   begin ▶ Filling ─▶ Commits ─▶ disk        encoded once, in the bytes that are written
 *              └──▶ Extents ◀── Reading ◀─┘   what is in memory of it
 */
export class CommitLog implements CommitSource {
  /** What `read` or `readNow` has found. */
  readonly found: FoundRecord
  readonly #clock: Clock
  readonly #batchBytes: number
  readonly #segments: Segments
  readonly #extents: Extents
  readonly #filling: Filling
  readonly #commits: Commits
  readonly #reading: Reading
  readonly #quarantine: Quarantine
  readonly #commitListeners: (() => void)[] = []
  readonly #progressListeners: (() => void)[] = []
  readonly #failureListeners: ((fault: DiskFault) => void)[] = []
  #scheduled = false
  /** Commit even if only the listeners have something. */
  #forced = false
  #wasBehind = false
  #closing: Promise<void> | undefined
  #closed: ((fault?: DiskFault) => void) | undefined

  /**
   * Shows every record from `from` on (0: from the oldest segment), cuts off a torn end, and opens the log for appending
   * at its end, or at `floor` or behind it if that is further. Blocks.
   * @throws LogFormatError when the files are not this log's, DiskFault
   */
  static open(options: LogOptions, from: Lsn, floor: Lsn, visitor: LogVisitor): CommitLog {
    return new CommitLog(options, from, floor, visitor)
  }

  private constructor(options: LogOptions, from: Lsn, floor: Lsn, visitor: LogVisitor) {
    const { disk, clock, time, log, cacheBytes = 16 * MiB } = options
    const key = { storeId: options.storeId, checksum: options.checksum ?? crc32 }
    this.#clock = clock
    this.#batchBytes = options.batchBytes ?? 8 * MiB
    const segments = (this.#segments = new Segments(disk, options.segmentBytes ?? 64 * MiB))
    this.#quarantine = new Quarantine(disk, log)
    let replayed
    try {
      replayed = new LogReplay(segments, key, from, this.#quarantine, visitor).run(log)
    } catch (fault) {
      segments.close()
      throw fault
    }
    const { end, tail } = replayed
    if (end < floor) log.warn({ end, floor }, 'the log ends before what is known of it')
    // The file was just synced; its name only if somebody has counted on what is in it.
    const durable = tail && from <= tail.first ? tail.first : end
    const extents = (this.#extents = new Extents(cacheBytes))
    this.found = extents.found
    extents.unpin(end)
    const page = Math.min(pageBytes, Math.max(4096, cacheBytes / 8))
    this.#filling = new Filling(segments, extents, time, key, page, end, floor, tail)
    this.#commits = new Commits(disk, clock, segments, this, end, durable, tail)
    this.#reading = new Reading(segments, extents, clock, key, this.#quarantine, log, () => this.#commits.written)
    if (durable < end) {
      clock.endOfTurn(() => {
        if (!this.#closing) this.#commits.run(true)
      })
    }
  }

  /** Where the next record will stand: exact, while no turn ends. */
  get next(): Lsn {
    return this.#filling.next
  }

  /** Records that begin below it survive a power cut. */
  get durable(): Lsn {
    return this.#commits.durable
  }

  /** Records that begin below it survive the end of the process. */
  get written(): Lsn {
    return this.#commits.written
  }

  /** The disk takes nothing: what is recorded waits in memory. */
  get full(): boolean {
    return this.#commits.full
  }

  get behind(): boolean {
    return this.#filling.waiting > this.#batchBytes
  }

  /** Begins a record; its fields go to the writer, and then `end` completes it. A record that is not ended is none. */
  begin(type: number): RecordWriter {
    return this.#filling.begin(type)
  }

  /**
   * Completes the record, and has it committed at the end of the turn or behind the commit that is under way.
   * @param sync it must be synced; else it is only written
   * @returns its address
   */
  end(sync: boolean): Lsn {
    const lsn = this.#filling.end(sync)
    if (!this.#scheduled && !this.#commits.busy) this.#schedule()
    if (!this.#wasBehind && this.behind) {
      this.#wasBehind = true
      this.#clock.endOfTurn(() => this.progress())
    }
    return lsn
  }

  /** Calls `listener` when a batch is about to be written: the moment to record what nobody waits for. */
  onCommit(listener: () => void): void {
    this.#commitListeners.push(listener)
  }

  /** Calls `listener` when `durable`, `written`, `full` or `behind` may have changed. */
  onProgress(listener: () => void): void {
    this.#progressListeners.push(listener)
  }

  /** Calls `listener` once, when a sync has failed, or a write for another reason than a full disk: nothing is durable any more. */
  onFailure(listener: (fault: DiskFault) => void): void {
    this.#failureListeners.push(listener)
  }

  /** Calls `listener` for each stretch that turns out to be damaged while reading. */
  onDamage(listener: (from: Lsn, to: Lsn, file: string) => void): void {
    this.#reading.onDamage(listener)
  }

  /** Commits at the end of the turn, even if nothing was recorded: the listeners of `onCommit` may have something. */
  commitSoon(): void {
    this.#forced = true
    if (!this.#scheduled) this.#schedule()
  }

  /** Is the record at `lsn` in memory? Then `found` says what it is, until something else is read. */
  read(lsn: Lsn): boolean {
    return this.#extents.find(lsn)
  }

  /** Brings the frame of `lsn`, and some of those behind it, into memory, and calls `then` in a later turn. */
  fetch(lsn: Lsn, then: (found: boolean) => void): void {
    this.#reading.fetch(lsn, then)
  }

  /** Like `read`, but reads it from the disk if it must. Blocks. */
  readNow(lsn: Lsn): boolean {
    return this.#reading.readNow(lsn)
  }

  /** So many need the record at `lsn`, each until `free`. */
  hold(lsn: Lsn, count = 1): void {
    const segment = this.#segments.of(lsn)
    if (!segment) return
    segment.held += count
    segment.holds += count
  }

  free(lsn: Lsn): void {
    const segment = this.#segments.of(lsn)
    if (segment) segment.held--
  }

  /** The files, the oldest first. */
  segments(): readonly SegmentInfo[] {
    return this.#segments.all()
  }

  /**
   * Unlinks the segments that end at or below `before` and that nobody holds; never the one that is written to.
   * @returns their bytes
   * @throws DiskFault
   */
  dropBefore(before: Lsn): number {
    const current = Math.min(this.#segments.slotStart(this.#commits.written), this.#filling.segment.first)
    let bytes = 0
    for (const segment of this.#segments.all()) {
      if (segment.first >= current || segment.end > before || segment.held > 0) continue
      this.#segments.remove(segment)
      this.#extents.forget(segment.first, segment.end)
      bytes += segment.end - segment.first
    }
    return bytes
  }

  /**
   * Commits and syncs everything, then closes the files. Does not wait for room on a full disk.
   * @throws DiskFault why what was recorded is not durable
   */
  close(): Promise<void> {
    return (this.#closing ??= new Promise((resolve, reject) => {
      this.#closed = (fault) => {
        this.#closed = undefined
        this.#commits.giveUp()
        this.#reading.whenIdle(() =>
          this.#quarantine.whenIdle(() => {
            this.#segments.close()
            if (fault) reject(fault)
            else resolve()
          }),
        )
      }
      this.#forced = true
      if (!this.#gaveUp()) this.#commits.run(true)
    }))
  }

  /** For the commits. */
  take(): Batch | undefined {
    if (!this.#forced && !this.#filling.pending) return undefined
    this.#forced = false
    for (const listener of this.#commitListeners) listener()
    return this.#filling.take()
  }

  /** For the commits. */
  progress(): void {
    this.#wasBehind = this.behind
    this.#extents.unpin(this.#commits.written)
    for (const listener of this.#progressListeners) listener()
    if (this.#closing) this.#gaveUp()
  }

  /** For the commits. */
  failed(fault: DiskFault): void {
    for (const listener of this.#failureListeners) listener(fault)
    if (this.#closing) this.#gaveUp()
  }

  /** For the commits. */
  idle(): void {
    if (this.#closed && this.durable < this.written) this.#commits.run(true)
    else this.#closed?.()
  }

  /** While closing: ends it if what was recorded cannot be made durable. */
  #gaveUp(): boolean {
    const { fault, refusal } = this.#commits
    const why = fault ?? refusal
    if (why) this.#closed?.(why)
    return why !== undefined
  }

  #schedule(): void {
    this.#scheduled = true
    this.#clock.endOfTurn(this.#endOfTurn)
  }

  readonly #endOfTurn = (): void => {
    this.#scheduled = false
    this.#commits.run(false)
  }
}
