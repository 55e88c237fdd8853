import { WireError } from './wire.ts'

/** Takes what stands behind a frame's length, in `bytes[start, end)`. False: nothing more is wanted. */
export interface FrameSink {
  framed(bytes: Uint8Array, start: number, end: number): boolean
}

const headBytes = 4

/**
 * Cuts what comes over a link into frames, wherever its chunks begin and end. A frame that lies whole in a chunk is not
 * copied; one that does not is put together in a buffer of its own, which grows with what has come and not with what was
 * announced.
 *
 *   chunk:  …end of a frame ┃ length · frame ┃ length · frame ┃ length · beginni…
 *           └▶ partial                                         └▶ partial
 */
export class Deframer {
  /** Longest frame that is taken. */
  mostBytes: number
  #partial: Buffer | undefined = undefined
  #have = 0

  constructor(mostBytes: number) {
    this.mostBytes = mostBytes
  }

  /** Frames may keep views of `chunk`, and of what was put together: neither is written to again. @throws WireError */
  take(chunk: Uint8Array, sink: FrameSink): void {
    let at = this.#partial === undefined ? 0 : this.#complete(chunk, sink)
    while (chunk.length - at >= headBytes) {
      const start = at + headBytes
      const end = start + this.#lengthAt(chunk, at)
      if (end > chunk.length) break
      at = end
      if (!sink.framed(chunk, start, end)) return
    }
    if (at >= chunk.length) return
    this.#have = 0
    this.#partial = empty
    this.#append(chunk, at, chunk.length - at, headBytes)
  }

  /** Adds to the frame that has begun. Gives where the next one begins; Infinity when nothing more is wanted. */
  #complete(chunk: Uint8Array, sink: FrameSink): number {
    let at = 0
    if (this.#have < headBytes) {
      at = Math.min(headBytes - this.#have, chunk.length)
      this.#append(chunk, 0, at, headBytes)
      if (this.#have < headBytes) return chunk.length
    }
    const whole = headBytes + this.#lengthAt(this.#partial!, 0)
    const count = Math.min(whole - this.#have, chunk.length - at)
    this.#append(chunk, at, count, whole)
    if (this.#have < whole) return chunk.length
    const frame = this.#partial!
    this.#partial = undefined
    return sink.framed(frame, headBytes, whole) ? at + count : Infinity
  }

  #append(chunk: Uint8Array, at: number, count: number, whole: number): void {
    const need = this.#have + count
    let partial = this.#partial!
    if (need > partial.length) {
      // Doubled, so that a large frame in small pieces costs a few copies, and not one for each piece.
      const larger = Buffer.allocUnsafeSlow(Math.max(need, Math.min(whole, Math.max(need, smallest) * 2)))
      larger.set(partial.subarray(0, this.#have))
      this.#partial = partial = larger
    }
    partial.set(chunk.subarray(at, at + count), this.#have)
    this.#have = need
  }

  #lengthAt(bytes: Uint8Array, at: number): number {
    const length = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
    if (length === 0) throw new WireError('a frame without a type')
    if (length > this.mostBytes)
      throw new WireError(`a frame of ${length} bytes, where ${this.mostBytes} are the most that is taken`)
    return length
  }
}

const smallest = 256
const empty = Buffer.alloc(0)
