import type { Clock, DiskFault, Log } from '../host.ts'
import { bytesAt } from './damage.ts'
import type { Extents } from './extents.ts'
import { type FrameKey, frameHead, frameLength, isFrame, isWhole, recordHead, segmentHead } from './frames.ts'
import type { Lsn } from './port.ts'
import type { Quarantine } from './quarantine.ts'
import { scanSegment } from './scan.ts'
import type { Segment, Segments } from './segments.ts'

const aheadBytes = 256 * 1024

type Waiter = readonly [lsn: Lsn, then: (found: boolean) => void]
type DamageListener = (from: Lsn, to: Lsn, file: string) => void

/** Brings frames from the files into memory, and notices what cannot be read any more. */
export class Reading {
  readonly #segments: Segments
  readonly #extents: Extents
  readonly #clock: Clock
  readonly #key: FrameKey
  readonly #quarantine: Quarantine
  readonly #log: Log
  /** How far the files are complete. */
  readonly #written: () => Lsn
  readonly #pending: Fetch[] = []
  readonly #listeners: DamageListener[] = []
  #idle: (() => void) | undefined

  constructor(
    segments: Segments,
    extents: Extents,
    clock: Clock,
    key: FrameKey,
    quarantine: Quarantine,
    log: Log,
    written: () => Lsn,
  ) {
    this.#segments = segments
    this.#extents = extents
    this.#clock = clock
    this.#key = key
    this.#quarantine = quarantine
    this.#log = log
    this.#written = written
  }

  onDamage(listener: DamageListener): void {
    this.#listeners.push(listener)
  }

  /** Calls `then` in a later turn. Who asks for the same place meanwhile waits for the same read. */
  fetch(lsn: Lsn, then: (found: boolean) => void): void {
    const segment = this.#segments.of(lsn)
    if (this.#extents.has(lsn) || !segment) {
      this.#clock.endOfTurn(() => {
        // By then it may have been evicted.
        if (this.#extents.has(lsn) || !this.#segments.of(lsn)) then(this.#extents.find(lsn))
        else this.fetch(lsn, then)
      })
      return
    }
    const pending = this.#pending.find((fetch) => fetch.segment === segment && fetch.covers(lsn))
    if (pending) {
      pending.waiters.push([lsn, then])
      return
    }
    const fetch = new Fetch(segment, lsn, this.#extents, this.#key)
    fetch.waiters.push([lsn, then])
    this.#pending.push(fetch)
    try {
      this.#segments.use(segment)
    } catch (fault) {
      this.#clock.endOfTurn(() => this.#finish(fetch, fault as DiskFault))
      return
    }
    const step = () => {
      const into = this.#extents.buffers.take(fetch.length)
      segment.file!.read(into.subarray(0, fetch.length), fetch.position, (fault, count) => {
        if (!fault && fetch.take(into, count)) return step()
        this.#segments.release(segment)
        this.#finish(fetch, fault)
      })
    }
    step()
  }

  /** Reads the frame of `lsn` at once. Gives whether `found` of the extents says what stands there. */
  readNow(lsn: Lsn): boolean {
    const segment = this.#segments.of(lsn)
    if (!segment || this.#extents.has(lsn)) return this.#extents.find(lsn)
    const fetch = new Fetch(segment, lsn, this.#extents, this.#key)
    try {
      const file = this.#segments.use(segment)
      try {
        for (let more = true; more;) {
          const into = this.#extents.buffers.take(fetch.length)
          more = fetch.take(into, file.readNow(into.subarray(0, fetch.length), fetch.position))
        }
      } finally {
        this.#segments.release(segment)
      }
    } catch (fault) {
      this.#log.error({ fault, file: segment.name }, 'the log could not be read')
    }
    if (this.#extents.find(lsn)) return true
    this.#examine(segment)
    return false
  }

  /** Calls `then` when nothing is being read: now, or later. */
  whenIdle(then: () => void): void {
    if (this.#pending.length === 0) then()
    else this.#idle = then
  }

  #finish(fetch: Fetch, fault: DiskFault | undefined): void {
    const { segment, lsn, waiters } = fetch
    if (fault) this.#log.error({ fault, file: segment.name }, 'the log could not be read')
    this.#pending.splice(this.#pending.indexOf(fetch), 1)
    const found = this.#extents.find(lsn)
    if (!found) this.#examine(segment)
    for (const [wanted, then] of waiters) {
      if (this.#extents.find(wanted)) then(true)
      // It turned out to lie beyond what was read, or was evicted by what those before it did.
      else if (found || (wanted !== lsn && !fault)) this.fetch(wanted, then)
      else then(false)
    }
    if (this.#pending.length === 0) this.#idle?.()
  }

  /** Something in `segment` could not be read: looks for all that cannot. Blocks, once a segment. */
  #examine(segment: Segment): void {
    if (segment.examined || segment.dropped) return
    segment.examined = true
    const { first, end } = segment
    try {
      const file = this.#segments.use(segment)
      try {
        const gap = (from: Lsn, to: Lsn) => this.#tell(from, to, bytesAt(file, first, from, to))
        const visitor = { head: () => undefined, frame: () => undefined, gap }
        const whole = scanSegment(file, first, this.#segments.slotBytes, this.#key, visitor)
        const complete = Math.min(end, this.#written())
        if (whole < complete) gap(whole, complete)
      } finally {
        this.#segments.release(segment)
      }
    } catch (fault) {
      this.#log.error({ fault, file: segment.name }, 'a segment of the log could not be read')
      this.#tell(first, end, Buffer.alloc(0))
    }
  }

  #tell(from: Lsn, to: Lsn, bytes: Buffer): void {
    const file = this.#quarantine.save(from, to, bytes)
    this.#log.error({ from, to, file }, 'a part of the log is damaged')
    for (const listener of this.#listeners) listener(from, to, file)
  }
}

/**
 * The reads that one record takes: its head, which says where its frame begins; that frame, and what follows of the gap
 * in memory; and the rest of the frame, if it is longer.
 */
class Fetch {
  readonly segment: Segment
  readonly lsn: Lsn
  readonly waiters: Waiter[] = []
  readonly #extents: Extents
  readonly #key: FrameKey
  readonly #end: Lsn
  /** Where the frame begins; 0: not yet known. */
  #frame = 0
  /** What to read next, in the file. */
  position: number
  length: number

  constructor(segment: Segment, lsn: Lsn, extents: Extents, key: FrameKey) {
    this.segment = segment
    this.lsn = lsn
    this.#extents = extents
    this.#key = key
    const gap = extents.gapAt(lsn)
    this.#end = Math.min(segment.end, gap.end)
    this.position = lsn - segment.first
    this.length = recordHead
    // Who reads on where the last read ended is at the first record of a frame.
    const first = Math.max(gap.first, segment.first + segmentHead)
    if (first + frameHead === lsn) this.#readFrame(first, aheadBytes)
  }

  covers(lsn: Lsn): boolean {
    return lsn >= (this.#frame || this.lsn) && lsn < this.lsn + aheadBytes
  }

  /** Takes what was read, and its buffer. True when more has to be read; otherwise the extents have what was whole. */
  take(bytes: Buffer, count: number): boolean {
    const { segment, lsn } = this
    if (this.#frame === 0) {
      const frame = count < recordHead ? lsn : lsn - bytes.readUInt32LE(4)
      this.#extents.buffers.give(bytes)
      if (frame < segment.first + segmentHead || frame + frameHead > lsn) return false
      this.#readFrame(frame, Math.max(aheadBytes, lsn - frame + recordHead))
      return true
    }
    const frame = this.#frame
    let at = 0
    while (at + frameHead <= count && isFrame(bytes, at, frame + at)) {
      const length = frameLength(bytes, at)
      if (at + length > count) {
        if (at > 0 || frame + length > this.#end || length <= this.length) break
        this.#extents.buffers.give(bytes)
        this.length = length
        return true
      }
      if (!isWhole(bytes, at, length, this.#key)) break
      at += length
    }
    if (at === 0) this.#extents.buffers.give(bytes)
    else this.#extents.add(lsn, frame, bytes, frame, frame + at)
    return false
  }

  #readFrame(frame: Lsn, length: number): void {
    this.#frame = frame
    this.position = frame - this.segment.first
    this.length = Math.max(frameHead, Math.min(length, this.#end - frame))
  }
}
