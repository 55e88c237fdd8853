import { varintLength } from './bytes.ts'
import { malformed } from './reader.ts'

/** Who takes the packets. */
export interface FrameSink {
  /** Refuses, by a throw, a packet by its first byte and declared content length, before anything of it is buffered. */
  admit(first: number, length: number): void
  /** One whole packet: `chunk[start, end)`, its content from `body`. `chunk` is never changed afterwards. */
  frame(chunk: Uint8Array, start: number, body: number, end: number): void
}

/**
 * Splits chunks into packets without copying. Only a packet that crosses chunks is put together, in a buffer of its own
 * that grows with what has come, never with what was promised.
 */
export class Framer {
  readonly #sink: FrameSink
  readonly #unfinished: { bytes: number }
  #partial: Uint8Array | undefined = undefined
  #have = 0
  /** Length of the partial packet; 0 while its header is not complete. */
  #total = 0
  #body = 0
  #held = false
  #closed = false
  #backlog: Uint8Array[] | undefined = undefined

  /** @param unfinished counts what is kept of packets that have not come whole, of all framers that share it */
  constructor(sink: FrameSink, unfinished = { bytes: 0 }) {
    this.#sink = sink
    this.#unfinished = unfinished
  }

  /** Bytes that are kept here: of a packet that has not come whole, and of chunks that wait. */
  get keptBytes(): number {
    let bytes = this.#partial?.length ?? 0
    if (this.#backlog) for (const chunk of this.#backlog) bytes += chunk.length
    return bytes
  }

  receive(chunk: Uint8Array): void {
    if (this.#held || this.#backlog) {
      ;(this.#backlog ??= []).push(chunk)
      return
    }
    this.#split(chunk)
  }

  /** No packet comes out until `release`; chunks are kept. */
  hold(): void {
    this.#held = true
  }

  release(): void {
    this.#held = false
    const backlog = this.#backlog
    if (!backlog) return
    this.#backlog = undefined
    for (let i = 0; i < backlog.length; i++) {
      this.#split(backlog[i]!)
      if (this.#held) {
        // Held again: the rest of this chunk stands first in the new backlog.
        const rest = backlog.slice(i + 1)
        if (rest.length > 0) this.#backlog = [...((this.#backlog as Uint8Array[] | undefined) ?? []), ...rest]
        return
      }
    }
  }

  close(): void {
    this.#closed = true
    this.#keep(undefined)
    this.#backlog = undefined
  }

  #split(chunk: Uint8Array): void {
    let at = this.#partial ? this.#fill(chunk) : 0
    const end = chunk.length
    while (at < end) {
      if (this.#closed) return
      if (this.#held) {
        this.#backlog = [chunk.subarray(at)]
        return
      }
      const first = chunk[at]!
      let length = at + 1 < end ? chunk[at + 1]! : 0x80
      let body = at + 2
      if (length >= 0x80) {
        length = this.#longLength(chunk, at, end)
        if (length < 0) {
          this.#sink.admit(first, 0)
          break
        }
        body = at + 1 + varintLength(length)
      }
      this.#sink.admit(first, length)
      const next = body + length
      if (next > end) break
      this.#sink.frame(chunk, at, body, next)
      at = next
    }
    if (at < end && !this.#closed) this.#begin(chunk, at)
  }

  /** A remaining length of two bytes or more at `at + 1`; -1 while it is not complete. */
  #longLength(chunk: Uint8Array, at: number, end: number): number {
    let value = 0
    for (let i = 1, shift = 0; i <= 4; i++, shift += 7) {
      if (at + i >= end) return -1
      const byte = chunk[at + i]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        if (byte === 0 && i > 1) throw malformed('MQTT-1.5.5-1', 'the remaining length is longer than needed')
        return value
      }
    }
    throw malformed('MQTT-1.5.5-1', 'the remaining length has more than four bytes')
  }

  /** Starts a packet that goes on in the next chunk. */
  #begin(chunk: Uint8Array, at: number): void {
    this.#keep(Buffer.allocUnsafeSlow(Math.max(16, chunk.length - at)))
    this.#have = this.#total = 0
    this.#append(chunk, at, chunk.length)
    this.#header()
  }

  /** Goes on with the packet at hand; gives how much of the chunk belonged to it. */
  #fill(chunk: Uint8Array): number {
    let at = 0
    while (this.#total === 0 && at < chunk.length) {
      this.#append(chunk, at, ++at)
      this.#header()
    }
    if (this.#total === 0) return at
    const end = Math.min(chunk.length, at + this.#total - this.#have)
    this.#append(chunk, at, end)
    if (this.#have === this.#total) {
      const partial = this.#partial!
      this.#keep(undefined)
      this.#sink.frame(partial, 0, this.#body, this.#total)
    }
    return end
  }

  #header(): void {
    const partial = this.#partial!
    const length = this.#longLength(partial, 0, this.#have)
    if (length < 0) return
    this.#body = 1 + varintLength(length)
    this.#total = this.#body + length
    this.#sink.admit(partial[0]!, length)
  }

  #keep(partial: Uint8Array | undefined): void {
    this.#unfinished.bytes += (partial?.length ?? 0) - (this.#partial?.length ?? 0)
    this.#partial = partial
  }

  #append(chunk: Uint8Array, start: number, end: number): void {
    if (end === start) return
    let partial = this.#partial!
    if (this.#have + end - start > partial.length) {
      const wanted = Math.max(this.#have + end - start, Math.min(partial.length * 2, this.#total || 16))
      partial = Buffer.allocUnsafeSlow(wanted)
      partial.set(this.#partial!.subarray(0, this.#have))
      this.#keep(partial)
    }
    partial.set(chunk.subarray(start, end), this.#have)
    this.#have += end - start
  }
}
