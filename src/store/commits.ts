import type { Clock, Disk, DiskFault } from '../host.ts'
import type { Batch } from './filling.ts'
import type { Lsn } from './port.ts'
import { logFolder, type Segment, type Segments } from './segments.ts'

/** Whom the commits work for. */
export interface CommitSource {
  /** The next batch; undefined when there is nothing to write. */
  take(): Batch | undefined
  /** `durable`, `written` or `full` has changed. */
  progress(): void
  /** Nothing will ever be durable again. */
  failed(fault: DiskFault): void
  /** Nothing is under way any more, and nothing waits. */
  idle(): void
}

const retryMs = 1000

/**
 * Group commit: one batch after the other is written and, if somebody waits for that, synced; what is recorded meanwhile
 * makes the next batch.
 *
 *   take ─▶ (another segment? sync the old one, make the new one) ─▶ write ─▶ sync ─▶ sync the folder ─▶ take
 *              └──────────── the disk is full: again, a second later ──┘       └─ a fault: dead for good
 */
export class Commits {
  written: Lsn
  durable: Lsn
  /** Why the disk has taken nothing of late: it is full. */
  refusal: DiskFault | undefined
  /** Why nothing will be durable any more. */
  fault: DiskFault | undefined
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #segments: Segments
  readonly #source: CommitSource
  /** The segment that was written to last, whose file is held open. */
  #tail: Segment | undefined
  #batch: Batch | undefined
  #busy = false
  /** Sync even if no batch asks for it. */
  #wanted = false
  /** The name of the tail's file may not be durable; nor that of the folder. */
  #namesDirty: boolean
  #folderDirty = true
  #callOff: (() => void) | undefined

  constructor(
    disk: Disk,
    clock: Clock,
    segments: Segments,
    source: CommitSource,
    end: Lsn,
    durable: Lsn,
    tail: Segment | undefined,
  ) {
    this.#disk = disk
    this.#clock = clock
    this.#segments = segments
    this.#source = source
    this.written = end
    this.durable = durable
    this.#tail = tail
    this.#namesDirty = tail !== undefined
    if (tail) segments.use(tail)
  }

  get full(): boolean {
    return this.refusal !== undefined
  }

  get busy(): boolean {
    return this.#busy
  }

  /** Begins a commit, unless one is under way. @param sync makes durable what was written, even without a batch */
  run(sync: boolean): void {
    this.#wanted ||= sync
    if (this.#busy || this.fault) return
    this.#busy = true
    this.#batch = this.#source.take()
    if (this.#batch) this.#write(this.#batch)
    else if (this.#wanted && this.durable < this.written) this.#sync(this.#done)
    else {
      this.#wanted = this.#busy = false
      this.#source.idle()
    }
  }

  /** Stops waiting for room on the disk. */
  giveUp(): void {
    this.#callOff?.()
    this.#callOff = undefined
  }

  #write(batch: Batch): void {
    const { segment } = batch
    if (segment === this.#tail) return this.#writeIn(segment, batch)
    // The new file says that all before it was durable.
    if (this.#tail && this.durable < this.written) return this.#sync(this.#roll)
    this.#roll()
  }

  readonly #roll = (): void => {
    const batch = this.#batch!
    const { segment } = batch
    try {
      this.#segments.create(segment)
    } catch (fault) {
      return this.#refused(fault as DiskFault)
    }
    segment.users++
    if (this.#tail) this.#segments.release(this.#tail)
    this.#tail = segment
    this.#namesDirty = true
    this.#writeIn(segment, batch)
  }

  #writeIn(segment: Segment, { pieces, from }: Batch): void {
    segment.file!.write(pieces, from - segment.first, this.#wrote)
  }

  readonly #wrote = (fault: DiskFault | undefined): void => {
    if (fault) return this.#refused(fault)
    const { to, sync } = this.#batch!
    this.refusal = undefined
    this.#batch = undefined
    this.written = to
    if (!sync && !this.#wanted) return this.#done()
    this.#source.progress()
    this.#sync(this.#done)
  }

  /** A full disk has taken nothing that counts: the same batch goes to the same place again. */
  #refused(fault: DiskFault): void {
    if (fault.code !== 'ENOSPC' && fault.code !== 'EDQUOT') return this.#die(fault)
    this.#callOff = this.#clock.every(retryMs, () => {
      this.giveUp()
      this.#write(this.#batch!)
    })
    const already = this.full
    this.refusal = fault
    if (!already) this.#source.progress()
  }

  #sync(then: () => void): void {
    const { written } = this
    this.#wanted = false
    const synced = (fault: DiskFault | undefined) => {
      // What a failed sync has dropped, the next one would not miss: there is no next one.
      if (fault) return this.#die(fault)
      if (this.#namesDirty) {
        this.#namesDirty = false
        return this.#disk.syncFolder(logFolder, synced)
      }
      if (this.#folderDirty) {
        this.#folderDirty = false
        return this.#disk.syncFolder('', synced)
      }
      this.durable = written
      then()
    }
    this.#tail!.file!.sync(synced)
  }

  readonly #done = (): void => {
    this.#busy = false
    this.run(false)
    this.#source.progress()
  }

  #die(fault: DiskFault): void {
    this.giveUp()
    this.fault = fault
    this.#source.failed(fault)
  }
}
