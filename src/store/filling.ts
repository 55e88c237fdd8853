import type { Extent, Extents } from './extents.ts'
import { beginFrame, type FrameKey, frameHead, recordHead, sealFrame, segmentHead, writeSegmentHead } from './frames.ts'
import type { Lsn } from './port.ts'
import type { Segment, Segments } from './segments.ts'
import type { StoreTime } from './store-time.ts'
import { RecordWriter } from './writer.ts'

/** Sealed frames in one segment, to be written at once. */
export interface Batch {
  readonly segment: Segment
  readonly pieces: readonly Buffer[]
  readonly from: Lsn
  readonly to: Lsn
  /** Somebody waits until it is synced. */
  readonly sync: boolean
}

// What has to be read and checked to see one record; also what is read ahead.
const frameBytes = 128 * 1024

/**
 * Where records are encoded, right in the bytes that will be written, and stay there for reading.
 *
 *   pages:  …written… │ being written │ frame · frame │ frame · frame · frame…  ▶ a new page takes over the last frame
 *                                     └ the batch, in pieces
 */
export class Filling {
  readonly #segments: Segments
  readonly #extents: Extents
  readonly #time: Pick<StoreTime, 'now'>
  readonly #key: FrameKey
  readonly #pageBytes: number
  readonly #writer: RecordWriter
  /** Batches of segments that are full. */
  readonly #ready: Batch[] = []
  #segment: Segment
  #page!: Extent
  /** Of the batch, what stands in earlier pages. */
  #pieces: Buffer[] = []
  /** Where its piece in this page begins. */
  #piece: Lsn = 0
  /** Where the batch begins, its last frame, the record that is being encoded; and where the last one ended. */
  #batch: Lsn
  #frame: Lsn
  #record: Lsn = 0
  #at: Lsn
  /** Records in the last frame. */
  #count = 0
  #sync = false
  #readyBytes = 0

  /** @param end where the log ends @param tail the segment that ends there; undefined: none, begin one at `floor` or behind */
  constructor(
    segments: Segments,
    extents: Extents,
    time: Pick<StoreTime, 'now'>,
    key: FrameKey,
    pageBytes: number,
    end: Lsn,
    floor: Lsn,
    tail: Segment | undefined,
  ) {
    this.#segments = segments
    this.#extents = extents
    this.#writer = new RecordWriter(0, (bytes) => extents.buffers.take(Math.max(bytes, pageBytes)))
    this.#time = time
    this.#key = key
    this.#pageBytes = pageBytes
    this.#at = this.#batch = this.#frame = end
    if (tail && end >= floor && end < segments.fullAt(tail.first)) {
      this.#segment = tail
      this.#turn(end)
    } else {
      this.#segment = this.#begin(segments.slotFrom(Math.max(end, floor)), end)
    }
  }

  /** Where the next record will begin. */
  get next(): Lsn {
    return this.#count > 0 ? this.#at : this.#at + frameHead
  }

  /** Bytes that nobody has taken. */
  get waiting(): number {
    return this.#readyBytes + this.#at - this.#batch
  }

  /** Is there something to take? */
  get pending(): boolean {
    return this.#ready.length > 0 || this.#at > Math.max(this.#batch, this.#segment.first + segmentHead)
  }

  /** The segment that is being filled. */
  get segment(): Segment {
    return this.#segment
  }

  begin(type: number): RecordWriter {
    const writer = this.#writer
    // What an encoder that failed has left is written over.
    this.#adopt()
    writer.at = this.#at - this.#page.base
    writer.need(frameHead + recordHead)
    this.#adopt()
    if (this.#count === 0) {
      beginFrame(writer.buffer, writer.at, this.#frame)
      writer.at += frameHead
    }
    this.#record = this.#page.base + writer.at
    writer.at += recordHead
    writer.buffer[writer.at - 1] = type
    writer.start = writer.at
    return writer
  }

  /** @param sync somebody waits until it is synced */
  end(sync: boolean): Lsn {
    this.#adopt()
    const writer = this.#writer
    const lsn = this.#record
    const page = this.#page
    const start = lsn - page.base
    const length = writer.at - start
    writer.setU32(start, length)
    writer.setU32(start + 4, lsn - this.#frame)
    this.#at = page.end = lsn + length
    this.#count++
    this.#sync ||= sync
    if (this.#at - this.#frame >= frameBytes || this.#at >= this.#segments.fullAt(this.#segment.first)) this.#seal()
    return lsn
  }

  /** The next batch to write; undefined when there is nothing. */
  take(): Batch | undefined {
    if (this.#ready.length === 0) {
      if (this.#count > 0) this.#seal()
      if (this.#ready.length === 0) this.#close()
    }
    const batch = this.#ready.shift()
    if (batch) this.#readyBytes -= batch.to - batch.from
    return batch
  }

  /** Completes the frame. The next one begins behind it, or in the next segment if this one is full. */
  #seal(): void {
    const page = this.#page
    const { base, buffer } = page
    sealFrame(buffer, this.#frame - base, this.#at - base, this.#count, this.#time.now(), this.#key)
    this.#frame = this.#at
    this.#count = 0
    this.#writer.keep = this.#at - base
    if (this.#at < this.#segments.fullAt(this.#segment.first)) return
    this.#close()
    this.#segment = this.#begin(this.#segments.slotFrom(this.#at), this.#at)
  }

  /** Makes a batch of the frames that were sealed. */
  #close(): void {
    const from = this.#batch
    const to = this.#frame
    const hasFrames = to > Math.max(from, this.#segment.first + segmentHead)
    if (!hasFrames) return
    this.#cut()
    this.#ready.push({ segment: this.#segment, pieces: this.#pieces, from, to, sync: this.#sync })
    this.#pieces = []
    this.#readyBytes += to - from
    this.#segment.end = to
    this.#sync = false
    this.#batch = to
  }

  /** What was sealed in this page becomes a piece of the batch. */
  #cut(): void {
    const { base, buffer } = this.#page
    if (this.#frame > this.#piece) this.#pieces.push(buffer.subarray(this.#piece - base, this.#frame - base))
    this.#piece = this.#frame
  }

  /** Begins a segment, whose head goes with its first batch. */
  #begin(first: Lsn, previous: Lsn): Segment {
    this.#turn(first)
    const page = this.#page
    writeSegmentHead(page.buffer, first, previous, this.#segments.slotBytes, this.#key)
    this.#at = this.#frame = page.end = first + segmentHead
    this.#writer.keep = segmentHead
    return this.#segments.add(first, this.#at)
  }

  /** Turns to a new page, which begins at `base`. */
  #turn(base: Lsn): void {
    const writer = this.#writer
    writer.buffer = this.#extents.buffers.take(this.#pageBytes)
    writer.at = writer.keep = 0
    this.#page = this.#extents.append(base, writer.buffer)
    this.#batch = this.#piece = base
  }

  /** The writer may have moved the last frame to another buffer: then that is the page from here on. */
  #adopt(): void {
    const writer = this.#writer
    const before = this.#page
    if (writer.buffer === before.buffer) return
    before.end = this.#frame
    this.#cut()
    this.#page = this.#extents.append(this.#frame, writer.buffer)
    this.#page.end = this.#at
  }
}
