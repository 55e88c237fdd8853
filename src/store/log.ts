import type { Clock, Disk, DiskFault, Log } from '../host.ts'
import type { Checksum } from './crc.ts'
import type { Lsn } from './port.ts'
import type { RecordWriter } from './writer.ts'

export interface LogOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly log: Log
  /** 32 bits that no other store has: a frame of another one never passes for ours. */
  readonly storeId: number
  /** How much of the address space a file covers. */
  readonly segmentBytes?: number
  /** Verified frames that are kept in memory for reading. */
  readonly cacheBytes?: number
  /** When more than this waits to be written, `behind` is true. */
  readonly batchBytes?: number
  readonly checksum?: Checksum
}

export interface LogVisitor {
  /**
   * Each record from `from` on, in order.
   * @param bytes its content is `bytes[start, end)`, and never changes
   * @param wallMs the wall clock when its frame was sealed
   */
  record(lsn: Lsn, type: number, bytes: Uint8Array, start: number, end: number, wallMs: number): void
  /**
   * Frames in [from, to) could not be read.
   * @param file where what stood there was saved; '' when nothing stood there
   * @param records how many were lost, if the frames' headers tell
   */
  damaged(from: Lsn, to: Lsn, file: string, records: number | undefined): void
}

/** One file of the log. */
export interface SegmentInfo {
  readonly first: Lsn
  readonly end: Lsn
  /** Records that somebody still needs. */
  readonly held: number
  /** Records that anybody has needed since the log was opened. */
  readonly holds: number
}

export class CommitLog {
  readonly found: { type: number; bytes: Uint8Array; start: number; end: number } = {
    type: 0,
    bytes: new Uint8Array(0),
    start: 0,
    end: 0,
  }

  private constructor(readonly options: LogOptions) {}

  static open(options: LogOptions, _from: Lsn, _floor: Lsn, _visitor: LogVisitor): CommitLog {
    return new CommitLog(options)
  }
  /** Where the next record will stand: exact, until a commit begins. */
  get next(): Lsn {
    return todo()
  }
  get durable(): Lsn {
    return todo()
  }
  get written(): Lsn {
    return todo()
  }
  get full(): boolean {
    return todo()
  }
  get behind(): boolean {
    return todo()
  }
  begin(_type: number): RecordWriter {
    return todo()
  }
  end(_sync: boolean): Lsn {
    return todo()
  }
  onCommit(_listener: () => void): void {
    todo()
  }
  onProgress(_listener: () => void): void {
    todo()
  }
  onFailure(_listener: (fault: DiskFault) => void): void {
    todo()
  }
  onDamage(_listener: (from: Lsn, to: Lsn, file: string) => void): void {
    todo()
  }
  commitSoon(): void {
    todo()
  }
  read(_lsn: Lsn): boolean {
    return todo()
  }
  fetch(_lsn: Lsn, _then: (found: boolean) => void): void {
    todo()
  }
  readNow(_lsn: Lsn): boolean {
    return todo()
  }
  hold(_lsn: Lsn): void {
    todo()
  }
  free(_lsn: Lsn): void {
    todo()
  }
  segments(): readonly SegmentInfo[] {
    return todo()
  }
  dropBefore(_before: Lsn): number {
    return todo()
  }
  close(): Promise<void> {
    return todo()
  }
}

function todo(): never {
  throw new Error('to be written')
}
