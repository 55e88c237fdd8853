import { copyInto } from '../mqtt/bytes.ts'

// How fields stand in a record: numbers little-endian; a varint is LEB128 (seven bits a byte, the lowest first).

/** A record's bytes are not what a record of its type looks like. */
export class CorruptRecordError extends Error {
  override readonly name = 'CorruptRecordError'
}

/** Writes fields one behind the other into a buffer that grows. Numbers are trusted to fit their field. */
export class RecordWriter {
  /** Where the fields go. It is replaced when it has to grow: what was written into the old one stays there, too. */
  buffer: Buffer
  /** Where the next field goes. */
  at = 0
  /** Where this record's content began. */
  start = 0
  /** A larger buffer takes over what stands from here on. */
  keep = 0

  readonly #allocate: (bytes: number) => Buffer

  /** @param allocate gives a buffer of at least so many bytes, when it has to grow */
  constructor(capacity = 256, allocate = (bytes: number): Buffer => Buffer.allocUnsafeSlow(bytes)) {
    this.#allocate = allocate
    this.buffer = Buffer.allocUnsafeSlow(capacity)
  }

  /** Bytes of content so far. */
  get length(): number {
    return this.at - this.start
  }

  /** Forgets what was written, to be used again. */
  clear(): void {
    this.at = this.start = this.keep = 0
  }

  /** The content so far: a view, which the next `clear` and what follows write over. */
  view(): Buffer {
    return this.buffer.subarray(this.start, this.at)
  }

  u8(value: number): void {
    this.need(1)
    this.buffer[this.at++] = value
  }

  u16(value: number): void {
    this.need(2)
    const { buffer } = this
    buffer[this.at++] = value
    buffer[this.at++] = value >>> 8
  }

  u32(value: number): void {
    this.need(4)
    this.setU32(this.at, value)
    this.at += 4
  }

  /** Writes over what stands at `at`. */
  setU32(at: number, value: number): void {
    const { buffer } = this
    buffer[at] = value
    buffer[at + 1] = value >>> 8
    buffer[at + 2] = value >>> 16
    buffer[at + 3] = value >>> 24
  }

  /** An integer in [0, 2^53). */
  varint(value: number): void {
    this.need(8)
    const { buffer } = this
    while (value > 0x7fff_ffff) {
      buffer[this.at++] = (value % 128) | 0x80
      value = Math.floor(value / 128)
    }
    while (value > 0x7f) {
      buffer[this.at++] = (value & 0x7f) | 0x80
      value >>>= 7
    }
    buffer[this.at++] = value
  }

  f64(value: number): void {
    this.need(8)
    this.at = this.buffer.writeDoubleLE(value, this.at)
  }

  /** `from[start, end)` as it is; the reader has to know how long it was. */
  bytes(from: Uint8Array, start: number, end: number): void {
    this.need(end - start)
    copyInto(this.buffer, this.at, from, start, end)
    this.at += end - start
  }

  /** `from[start, end)` behind its length, a varint. */
  block(from: Uint8Array, start: number, end: number): void {
    this.varint(end - start)
    this.bytes(from, start, end)
  }

  /** UTF-8 behind its length in bytes, a varint. */
  text(text: string): void {
    if (text.length <= shortText && this.#plain(text)) return
    const length = Buffer.byteLength(text)
    this.varint(length)
    this.need(length)
    this.at += this.buffer.write(text, this.at, length, 'utf8')
  }

  /** A short text of ASCII, as most are: by hand that takes half as long as two calls into the engine. False: it is none. */
  #plain(text: string): boolean {
    const { length } = text
    this.need(1 + length)
    const { buffer } = this
    const start = this.at + 1
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) return false
      buffer[start + i] = code
    }
    buffer[this.at] = length
    this.at = start + length
    return true
  }

  /** Makes room for `count` more bytes. */
  need(count: number): void {
    if (this.at + count > this.buffer.length) this.#grow(count)
  }

  #grow(count: number): void {
    const { keep } = this
    const buffer = this.#allocate(Math.ceil((this.at - keep + count) * 1.5))
    buffer.set(this.buffer.subarray(keep, this.at))
    this.buffer = buffer
    this.at -= keep
    this.start -= keep
    this.keep = 0
  }
}

const shortText = 64

/** Walks a record's content. Each method throws CorruptRecordError when it is shorter than its fields say. */
export class RecordReader {
  at = 0
  end = 0
  buffer: Buffer = empty

  /** Looks at `bytes[start, end)`. A reader is reused: it holds no state between records. */
  over(bytes: Uint8Array, start: number, end: number): this {
    this.buffer = Buffer.isBuffer(bytes) ? bytes : bufferOver(bytes)
    this.at = start
    this.end = end
    return this
  }

  get left(): number {
    return this.end - this.at
  }

  u8(): number {
    this.#need(1)
    return this.buffer[this.at++]!
  }

  u16(): number {
    this.#need(2)
    return this.buffer[this.at++]! | (this.buffer[this.at++]! << 8)
  }

  u32(): number {
    return this.u16() + this.u16() * 0x1_0000
  }

  varint(): number {
    let value = 0
    for (let scale = 1; scale < 2 ** 53; scale *= 128) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      if (byte >= 0x80) continue
      if (value > Number.MAX_SAFE_INTEGER) break
      return value
    }
    throw new CorruptRecordError('a number in a record has more than 53 bits')
  }

  f64(): number {
    this.#need(8)
    this.at += 8
    return this.buffer.readDoubleLE(this.at - 8)
  }

  /** The next `length` bytes: a view, not a copy. */
  bytes(length: number): Uint8Array {
    this.#need(length)
    this.at += length
    return this.buffer.subarray(this.at - length, this.at)
  }

  /** What `RecordWriter.block` wrote: a view, not a copy. */
  block(): Uint8Array {
    return this.bytes(this.varint())
  }

  /** As many values as the number before them says; each takes a byte at least. */
  list<T>(read: () => T): T[] {
    const values: T[] = []
    for (let left = this.varint(); left > 0; left--) values.push(read())
    return values
  }

  text(): string {
    const length = this.varint()
    this.#need(length)
    this.at += length
    return this.buffer.toString('utf8', this.at - length, this.at)
  }

  #need(count: number): void {
    if (this.end - this.at < count) throw new CorruptRecordError('a record is shorter than its fields say')
  }
}

function bufferOver(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

const empty = Buffer.alloc(0)
