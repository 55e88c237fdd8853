import { Buffers } from './buffers.ts'
import { isFrame, recordHead } from './frames.ts'
import type { Lsn } from './port.ts'

/** A stretch of the log in memory, of whole frames. */
export interface Extent {
  /** The address of `buffer[0]`. */
  readonly base: Lsn
  /** From `Buffers`. */
  readonly buffer: Buffer
  /** Of the buffer, [first, end) is valid. */
  readonly first: Lsn
  /** Grows while records are appended to it. */
  end: Lsn
  /** When it was last used, in turns of the cache. */
  used: number
}

/** A record as it was found. One object, used again and again; what is in `bytes` stays until something else is read. */
export interface FoundRecord {
  type: number
  bytes: Uint8Array
  /** Its content is `bytes[start, end)`. */
  start: number
  end: number
}

/**
 * What of the log is in memory: what was just written, and what was read. Ordered by address, without overlap.
 *
 *   …[ read ]…………[ read ][ read ]……………[ written ][ written ][ filling
 */
export class Extents {
  readonly found: FoundRecord = { type: 0, bytes: new Uint8Array(0), start: 0, end: 0 }
  /** Where the buffers of extents come from, and go to. */
  readonly buffers: Buffers
  readonly #most: number
  readonly #extents: Extent[] = []
  #bytes = 0
  #turn = 0
  /** What lies at or above it has to stay: it is not yet written. */
  #pinned: Lsn = 0
  #filling: Extent | undefined

  /** @param most bytes that it may hold, beside what is not yet written */
  constructor(most: number) {
    this.#most = most
    this.buffers = new Buffers(most / 4)
  }

  /** Adds what will be appended to, behind all others. What was appended to before stays as it is, unless it is empty. */
  append(base: Lsn, buffer: Buffer): Extent {
    const before = this.#filling
    if (before && before.end === before.first) this.#remove((extent) => extent === before)
    this.#filling = { base, buffer, first: base, end: base, used: ++this.#turn }
    this.#extents.push(this.#filling)
    this.#bytes += buffer.length
    return this.#filling
  }

  /** Everything below `lsn` has been written, and may go. */
  unpin(lsn: Lsn): void {
    this.#pinned = lsn
    if (this.#bytes > this.#most) this.#evict()
  }

  /** Adds the frames [first, end) that were read for `lsn`, as far as they are not here. */
  add(lsn: Lsn, base: Lsn, buffer: Buffer, first: Lsn, end: Lsn): void {
    const { length } = this.#extents
    const at = this.#indexOf(lsn)
    const before = this.#extents[at]
    const after = at + 1 < length ? this.#extents[at + 1]!.first : Infinity
    if (before && lsn < before.end) return
    first = Math.max(first, before?.end ?? 0)
    end = Math.min(end, after)
    if (lsn < first || lsn >= end) return
    this.#extents.splice(at + 1, 0, { base, buffer, first, end, used: ++this.#turn })
    this.#bytes += buffer.length
    if (this.#bytes > this.#most) this.#evict()
  }

  /** The stretch around `lsn` that is not here: [first, end). Empty when `lsn` is here. */
  gapAt(lsn: Lsn): { readonly first: Lsn; readonly end: Lsn } {
    const at = this.#indexOf(lsn)
    const before = this.#extents[at]
    if (before && lsn < before.end) return { first: lsn, end: lsn }
    return { first: before?.end ?? 0, end: this.#extents[at + 1]?.first ?? Infinity }
  }

  has(lsn: Lsn): boolean {
    const extent = this.#extents[this.#indexOf(lsn)]
    return extent !== undefined && lsn < extent.end
  }

  /** Sets `found` to the record at `lsn`. False when that is not here, or no record. */
  find(lsn: Lsn): boolean {
    const extent = this.#extents[this.#indexOf(lsn)]
    if (!extent || lsn + recordHead > extent.end) return false
    const { buffer, base } = extent
    const at = lsn - base
    const length = buffer.readUInt32LE(at)
    const frame = lsn - buffer.readUInt32LE(at + 4)
    if (length < recordHead || lsn + length > extent.end) return false
    if (frame < extent.first || frame === lsn || !isFrame(buffer, frame - base, frame)) return false
    extent.used = ++this.#turn
    const { found } = this
    found.type = buffer[at + recordHead - 1]!
    found.bytes = buffer
    found.start = at + recordHead
    found.end = at + length
    return true
  }

  /** Forgets what lies in [first, end). */
  forget(first: Lsn, end: Lsn): void {
    this.#remove((extent) => extent.first >= first && extent.end <= end)
  }

  /** The last extent that begins at or below `lsn`; -1 when there is none. */
  #indexOf(lsn: Lsn): number {
    const extents = this.#extents
    let low = -1
    let high = extents.length - 1
    // Most of what is asked for was just written.
    if (high >= 0 && extents[high]!.first <= lsn) return high
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (extents[middle]!.first <= lsn) low = middle
      else high = middle - 1
    }
    return low
  }

  #evict(): void {
    const turn = this.#turn
    while (this.#bytes > this.#most) {
      let oldest: Extent | undefined
      for (const extent of this.#extents) {
        if (extent.end > this.#pinned || extent === this.#filling || extent.used === turn) continue
        if (!oldest || extent.used < oldest.used) oldest = extent
      }
      if (!oldest) return
      this.#remove((extent) => extent === oldest)
    }
  }

  #remove(which: (extent: Extent) => boolean): void {
    const extents = this.#extents
    let kept = 0
    for (const extent of extents) {
      if (which(extent)) {
        this.#bytes -= extent.buffer.length
        this.buffers.give(extent.buffer)
      } else extents[kept++] = extent
    }
    extents.length = kept
  }
}
