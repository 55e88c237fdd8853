const slash = 0x2f
const plus = 0x2b
const hash = 0x23

/** Two secret 32-bit numbers: whoever knows them can choose levels that collide. */
export type HashKey = readonly [number, number]

/**
 * A topic or a filter, split at its slashes into levels and hashed, in one pass and into arrays that are used again.
 * Levels are compared as bytes, as the standard wants [MQTT-4.7.3-4], and are never normalised. An empty level is a level.
 */
export class Path {
  bytes: Uint8Array = new Uint8Array(0)
  /** Number of levels: at least one. */
  length = 0
  readonly starts: number[] = []
  readonly ends: number[] = []
  readonly hashes: number[] = []
  /** Numbers of the levels, for those who look them up. */
  readonly levels: number[] = []
  /** Nodes that the levels lead to, and of how many first levels they are known: most filters begin as the last one did. */
  readonly nodes: number[] = []
  known = 0
  readonly #key: HashKey
  #size = 0
  /** Texts by turns, so that the last one can be compared. */
  #scratch = new Uint8Array(512)
  #lastScratch = new Uint8Array(512)

  constructor(key: HashKey) {
    this.#key = key
  }

  /** `bytes` must not change before the next one is read. */
  read(bytes: Uint8Array, size = bytes.length): this {
    this.length = this.#shared(bytes, size)
    this.known = Math.min(this.known, this.length)
    this.bytes = bytes
    this.#size = size
    const from = this.length === 0 ? 0 : this.ends[this.length - 1]! + 1
    for (let start = from, at = from; at <= size; at++) {
      if (at !== size && bytes[at] !== slash) continue
      this.starts[this.length] = start
      this.ends[this.length] = at
      this.hashes[this.length++] = keyedHash(this.#key, bytes, start, at)
      start = at + 1
    }
    return this
  }

  readText(text: string): this {
    const scratch = this.#lastScratch.length < text.length * 3 ? new Uint8Array(text.length * 3) : this.#lastScratch
    this.#lastScratch = this.#scratch
    this.#scratch = scratch
    return this.read(scratch, encode(text, scratch))
  }

  isPlus(level: number): boolean {
    const start = this.starts[level]!
    return this.ends[level] === start + 1 && this.bytes[start] === plus
  }

  /** Does it end in `#`? */
  get open(): boolean {
    const start = this.starts[this.length - 1]!
    return this.ends[this.length - 1] === start + 1 && this.bytes[start] === hash
  }

  /** How many first levels, with the slash behind each, are those of the last one. */
  #shared(bytes: Uint8Array, size: number): number {
    const last = this.bytes
    const most = Math.min(size, this.#size)
    let at = 0
    while (at < most && bytes[at] === last[at]) at++
    let levels = 0
    while (levels < this.length && this.ends[levels]! < at) levels++
    return levels
  }
}

const encoder = new TextEncoder()
/** By hand that is quicker up to here. */
const shortText = 64

/** Writes `text` as UTF-8 into bytes that have room for it, and gives its length. */
function encode(text: string, into: Uint8Array): number {
  const { length } = text
  if (length > shortText) return encoder.encodeInto(text, into).written
  for (let at = 0; at < length; at++) {
    const code = text.charCodeAt(at)
    if (code >= 0x80) return encoder.encodeInto(text, into).written
    into[at] = code
  }
  return length
}

/** Up to four bytes of `bytes[at, end)`, the first one lowest; zeros behind the end. */
export function wordAt(bytes: Uint8Array, at: number, end: number): number {
  if (at + 4 <= end) return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
  let word = 0
  for (let shift = 0; at < end; shift += 8) word |= bytes[at++]! << shift
  return word
}

/**
 * HalfSipHash-1-3 (Aumasson and Bernstein, github.com/veorq/SipHash): clients choose the levels, so with a plain hash they could choose
 * thousands that fall into one bucket, and make each lookup walk them all.
 */
function keyedHash(key: HashKey, bytes: Uint8Array, start: number, end: number): number {
  let v0 = key[0]
  let v1 = key[1]
  let v2 = 0x6c796765 ^ v0
  let v3 = 0x74656462 ^ v1
  const words = (end - start) >> 2
  // One round for each word, one for the rest with the length, three to finish.
  for (let round = 0; round < words + 4; round++) {
    let word = 0
    if (round <= words) word = wordAt(bytes, start + round * 4, end)
    if (round === words) word |= (end - start) << 24
    else if (round === words + 1) v2 ^= 0xff
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
  }
  return v1 ^ v3
}
