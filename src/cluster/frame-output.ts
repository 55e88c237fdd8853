import type { Stream } from '../host.ts'
import { RecordWriter } from '../store/writer.ts'

const pageBytes = 64 * 1024
/** With less room than this a page is full: it goes, before a frame has to move from it into a larger one. */
const spareBytes = 4 * 1024
const mostPages = 64

/** Lends pages to all links. Keeps some; the rest goes back to the collector. */
export class FramePages {
  readonly #shelf: Buffer[] = []

  take(): Buffer {
    return this.#shelf.pop() ?? Buffer.allocUnsafeSlow(pageBytes)
  }

  /** One of another size was made for a large frame, and is not kept. */
  give(page: Buffer): void {
    if (page.length === pageBytes && this.#shelf.length < mostPages) this.#shelf.push(page)
  }
}

/**
 * What goes out over one link. Frames are encoded right where they are sent from.
 *
 *   page:  frame · frame · length type body…  ▶ a frame that outgrows it takes a larger page; what stood before it goes
 *
 * A page leaves when it is full, and at the end of a turn; while the stream still holds an earlier one, only full pages go.
 */
export class FrameOutput {
  /** Bytes handed to the stream that it has not yet taken. */
  unsentBytes = 0
  readonly #stream: Stream
  readonly #pages: FramePages
  readonly #writer = new RecordWriter(0)
  readonly #lent: (Buffer | undefined)[] = []
  readonly #lengths: number[] = []
  #page: Buffer | undefined = undefined
  /** Where in the page the frame that is being written began. */
  #frameAt = 0
  /** A turn has ended, and the stream had enough to do. */
  #behind = false
  #closed = false

  constructor(stream: Stream, pages: FramePages) {
    this.#stream = stream
    this.#pages = pages
  }

  /** Everything that waits here or in the stream, in bytes. */
  get waitingBytes(): number {
    return this.unsentBytes + (this.#page === undefined ? 0 : this.#writer.at)
  }

  /** Sends bytes that are a whole frame already, ahead of everything. */
  raw(bytes: Uint8Array): void {
    this.#write(bytes, undefined)
  }

  /** Begins a frame: its body is written with what this gives, and then `end` is called. */
  begin(type: number): RecordWriter {
    const writer = this.#writer
    if (this.#page !== undefined && writer.at + spareBytes > this.#page.length) this.#writePage()
    if (this.#page === undefined) {
      this.#page = writer.buffer = this.#pages.take()
      writer.clear()
    }
    // If it has to grow, the frame moves as a whole, and what stands before it stays.
    this.#frameAt = writer.keep = writer.at
    writer.u32(0)
    writer.u8(type)
    writer.start = writer.at
    return writer
  }

  /** Ends the frame. Gives its bytes on the wire. */
  end(): number {
    const writer = this.#writer
    const { buffer, keep, at } = writer
    if (buffer !== this.#page) this.#outgrown(buffer)
    const length = at - keep - 4
    buffer[keep] = length
    buffer[keep + 1] = length >>> 8
    buffer[keep + 2] = length >>> 16
    buffer[keep + 3] = length >>> 24
    return at - keep
  }

  /** The turn is over: hands everything to the stream, unless that still has enough to do. */
  flush(): void {
    this.#behind = this.unsentBytes > 0
    if (!this.#behind) this.#writePage()
  }

  /** Sends what waits, and closes the stream in order. */
  finish(): void {
    this.#writePage()
    this.#closed = true
    this.#stream.end()
  }

  /** Forgets everything: the stream is gone. */
  close(): void {
    this.#closed = true
    if (this.#page) this.#pages.give(this.#page)
    this.#page = undefined
  }

  /** The frame that was being written has moved into a larger page; what stood before it goes. */
  #outgrown(larger: Buffer): void {
    const page = this.#page!
    this.#page = larger
    if (this.#frameAt > 0) this.#write(page.subarray(0, this.#frameAt), page)
    else this.#pages.give(page)
  }

  #writePage(): void {
    const page = this.#page
    if (page === undefined) return
    this.#page = undefined
    this.#write(page.subarray(0, this.#writer.at), page)
  }

  #write(bytes: Uint8Array, page: Buffer | undefined): void {
    if (this.#closed) return
    this.unsentBytes += bytes.length
    this.#lent.push(page)
    this.#lengths.push(bytes.length)
    this.#stream.write(bytes, this.#written)
  }

  // Writes end in the order in which they began, so one callback serves all of them.
  readonly #written = (): void => {
    const page = this.#lent.shift()
    this.unsentBytes -= this.#lengths.shift() ?? 0
    if (page) this.#pages.give(page)
    if (this.unsentBytes === 0 && this.#behind) this.flush()
  }
}
