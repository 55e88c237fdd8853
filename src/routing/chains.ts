import type { Records } from './records.ts'

/** Fields that a chained record starts with. */
export const next = 0
export const hashed = 1

const perPage = 1024
/** Buckets that are split, or put together, at a time; it divides `perPage`. */
const run = 64

/**
 * A hash table over records, grown and shrunk by a run of buckets at a time (W. Litwin, "Linear hashing", VLDB 1980):
 * nothing is ever rehashed at once, so no insert pauses, and memory follows the number of records.
 *
 *   buckets  0 … split-1 │ split … mask │ mask+1 … mask+split      each bucket: record → record → 0
 *            already split, so a hash      the upper halves
 *            that lands here takes one
 *            more bit
 *
 * A lookup is the caller's loop, because only the caller can compare:
 * `for (let id = chains.first(hash); id !== 0; id = records.get(id, next)) if (…) return id`
 */
export class Chains {
  readonly #records: Records
  readonly #heads: Int32Array[] = [new Int32Array(perPage)]
  #mask = perPage - 1
  #split = 0
  #size = 0
  readonly #firsts = new Int32Array(run)
  readonly #hashes = new Int32Array(run)

  constructor(records: Records) {
    this.#records = records
  }

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#heads.length * perPage * 4
  }

  /** The first record whose hash may equal `hash`. */
  first(hash: number): number {
    const bucket = this.#bucket(hash)
    return this.#heads[bucket >>> 10]![bucket & (perPage - 1)]!
  }

  insert(id: number, hash: number): void {
    this.#records.set(id, hashed, hash)
    this.#push(this.#bucket(hash), id)
    if (++this.#size > this.#buckets) this.#grow()
  }

  remove(id: number): void {
    const records = this.#records
    const bucket = this.#bucket(records.get(id, hashed))
    let before = 0
    for (let at = this.#head(bucket); at !== id; at = records.get(at, next)) before = at
    if (before === 0) this.#setHead(bucket, records.get(id, next))
    else records.set(before, next, records.get(id, next))
    this.#size--
    if (this.#size * 2 + run <= this.#buckets && this.#buckets > perPage) this.#shrink()
  }

  get #buckets(): number {
    return this.#mask + 1 + this.#split
  }

  #bucket(hash: number): number {
    const bucket = hash & this.#mask
    return bucket < this.#split ? hash & (this.#mask * 2 + 1) : bucket
  }

  #head(bucket: number): number {
    return this.#heads[bucket >>> 10]![bucket & (perPage - 1)]!
  }

  #setHead(bucket: number, id: number): void {
    this.#heads[bucket >>> 10]![bucket & (perPage - 1)] = id
  }

  #push(bucket: number, id: number): void {
    this.#records.set(id, next, this.#head(bucket))
    this.#setHead(bucket, id)
  }

  /** Splits a run of buckets: what stands in them is cold, and read for all before any is split, so that one does not wait for another. */
  #grow(): void {
    const records = this.#records
    const from = this.#split
    for (let at = 0; at < run; at++) {
      const id = this.#head(from + at)
      this.#firsts[at] = id
      this.#hashes[at] = id === 0 ? 0 : records.get(id, hashed)
    }
    const bit = this.#mask + 1
    if ((from + bit) >>> 10 === this.#heads.length) this.#heads.push(new Int32Array(perPage))
    for (let at = 0; at < run; at++) this.#splitBucket(from + at, bit, this.#firsts[at]!, this.#hashes[at]!)
    this.#split += run
    if (this.#split <= this.#mask) return
    this.#mask = this.#mask * 2 + 1
    this.#split = 0
  }

  #splitBucket(low: number, bit: number, first: number, hash: number): void {
    const records = this.#records
    let lower = 0
    let upper = 0
    for (let id = first; id !== 0;) {
      const after = records.get(id, next)
      if ((hash & bit) === 0) {
        records.set(id, next, lower)
        lower = id
      } else {
        records.set(id, next, upper)
        upper = id
      }
      if (after !== 0) hash = records.get(after, hashed)
      id = after
    }
    this.#setHead(low, lower)
    this.#setHead(low + bit, upper)
  }

  /** Puts a run of buckets back into those that they were split from. */
  #shrink(): void {
    if (this.#split === 0) {
      this.#mask >>>= 1
      this.#split = this.#mask + 1
    }
    this.#split -= run
    const bit = this.#mask + 1
    for (let low = this.#split; low < this.#split + run; low++) {
      for (let id = this.#head(low + bit); id !== 0;) {
        const after = this.#records.get(id, next)
        this.#push(low, id)
        id = after
      }
      this.#setHead(low + bit, 0)
    }
    if (((this.#split + bit) & (perPage - 1)) === 0) this.#heads.pop()
  }
}

/** A hash of two numbers and a secret (the finish of Murmur3, Austin Appleby, public domain). */
export function pairHash(secret: number, a: number, b: number): number {
  let hash = Math.imul(a ^ secret, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 15) ^ b, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
