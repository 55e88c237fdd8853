import type { Log } from '../host.ts'
import { bytesAt, recordsIn } from './damage.ts'
import { type FrameKey, frameHead, frameMs, recordHead, segmentHead } from './frames.ts'
import type { Lsn } from './port.ts'
import type { Quarantine } from './quarantine.ts'
import { scanSegment, type ScanVisitor } from './scan.ts'
import type { Segment, Segments } from './segments.ts'

export interface LogVisitor {
  /**
   * Each record from `from` on, in order.
   * @param bytes its content is `bytes[start, end)`, and never changes
   * @param atMs the store's time when its frame was sealed
   */
  record(lsn: Lsn, type: number, bytes: Uint8Array, start: number, end: number, atMs: number): void
  /**
   * Frames in [from, to) could not be read.
   * @param file where what stood there is being saved; '' when there was nothing to save
   * @param records how many were lost, if the frames' heads tell
   */
  damaged(from: Lsn, to: Lsn, file: string, records: number | undefined): void
}

/**
 * Shows what the log holds from one place on, and finds its end. What is not whole lies either behind everything that is
 * whole, then it is the torn end of a last write, and is cut off; or it has something whole behind it, and is damage.
 * The head of a segment is written after all before it was synced, and says where that ended: so a head is something
 * whole, too, and a file that is missing or too short shows.
 *
 *   [head frame frame ~~~~~ frame][head frame ~~~~]·····[head frame ~~~~~]
 *                     damage                  damage              torn
 */
export class LogReplay implements ScanVisitor {
  readonly #segments: Segments
  readonly #key: FrameKey
  readonly #from: Lsn
  readonly #quarantine: Quarantine
  readonly #visitor: LogVisitor
  /** All below it has been shown or reported; undefined: wherever the first file says. */
  #at: Lsn | undefined
  #segment!: Segment
  /** Bytes behind `#at`, of which it is not yet known whether they are torn or damaged. */
  #doubtful: Buffer[] = []

  constructor(segments: Segments, key: FrameKey, from: Lsn, quarantine: Quarantine, visitor: LogVisitor) {
    this.#segments = segments
    this.#key = key
    this.#from = from
    this.#at = from === 0 ? undefined : from
    this.#quarantine = quarantine
    this.#visitor = visitor
  }

  /**
   * @returns where the log ends, and the segment that ends there, if there is one
   * @throws LogFormatError, DiskFault
   */
  run(log: Log): { readonly end: Lsn; readonly tail: Segment | undefined } {
    const segments = this.#segments.all()
    const containing = segments.findLastIndex(({ first }) => first <= this.#from)
    const begin = Math.max(0, containing)
    let tail: Segment | undefined
    for (const segment of segments.slice(begin)) if (this.#scan(segment)) tail = segment
    // Whoever starts at `from` has relied on all below it: that is missed, torn or not.
    if (this.#at !== undefined && this.#at < this.#from) this.#report(this.#at, this.#from)
    // Behind the last thing that is whole, everything else is torn.
    let torn = 0
    for (const segment of segments.slice(tail ? segments.indexOf(tail) + 1 : begin).reverse()) {
      torn += segment.end - segment.first
      this.#segments.remove(segment)
    }
    if (tail) torn += this.#cut(tail)
    const end = tail?.end ?? this.#from
    if (torn > 0) log.info({ bytes: torn, end }, 'cut off the torn end of the log')
    return { end, tail }
  }

  head(previous: Lsn): void {
    this.#damaged(previous)
    this.#at = this.#segment.first + segmentHead
  }

  gap(from: Lsn, to: Lsn): void {
    this.#at ??= from
    this.#doubtful.push(this.#read(from, to))
    this.#damaged(to)
  }

  frame(lsn: Lsn, buffer: Buffer, at: number, length: number): void {
    this.#at = lsn + length
    if (this.#at <= this.#from) return
    const atMs = frameMs(buffer, at)
    let next: number
    for (let record = at + frameHead; record < at + length; record = next) {
      next = record + buffer.readUInt32LE(record)
      const address = lsn + record - at
      if (address < this.#from) continue
      this.#visitor.record(address, buffer[record + recordHead - 1]!, buffer, record + recordHead, next, atMs)
    }
  }

  /** False when nothing in the segment is whole. */
  #scan(segment: Segment): boolean {
    this.#segment = segment
    const { first } = segment
    const file = this.#segments.use(segment)
    try {
      const end = scanSegment(file, first, this.#segments.slotBytes, this.#key, this)
      if (segment.end > end) this.#doubtful.push(this.#read(end, segment.end))
      this.#at ??= first
      if (end === first) return false
      segment.end = end
      return true
    } finally {
      this.#segments.release(segment)
    }
  }

  /** There is something whole at `to`, or a head that says so: what is missing up to there is damage. */
  #damaged(to: Lsn): void {
    const from = this.#at ?? to
    // What was damaged below `from` is no news to whoever starts there.
    if (to > from && to > this.#from) this.#report(from, to)
    this.#doubtful = []
  }

  #report(from: Lsn, to: Lsn): void {
    const bytes = this.#doubtful.length === 1 ? this.#doubtful[0]! : Buffer.concat(this.#doubtful)
    const records = recordsIn(bytes, from, to)
    this.#visitor.damaged(from, to, this.#quarantine.save(from, to, bytes), records)
  }

  #read(from: Lsn, to: Lsn): Buffer {
    return bytesAt(this.#segment.file!, this.#segment.first, from, to)
  }

  /** Cuts off what is torn behind the end of `tail`, and makes the file durable. Gives the bytes. */
  #cut(tail: Segment): number {
    const file = this.#segments.use(tail)
    try {
      const size = tail.end - tail.first
      const torn = file.size - size
      // Even if nothing is torn: what a killed process wrote may not have been synced.
      file.truncate(size)
      return torn
    } finally {
      this.#segments.release(tail)
    }
  }
}
