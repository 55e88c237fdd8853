import { type KeyedHash, mix, upper } from './hash.ts'

/** Keys have a position in [0, positions), by their hash: the same at every node. It says how far a snapshot has come. */
export const positions = 1024

/**
 * What an owner tells of itself: keys and numbers, and a hash of all of it.
 *
 *   small: one Map          large: a Map for each position, so that none of them is ever rehashed for long
 *   hash: exclusive or of the hashes of all (key, value), so that it follows each change, and the order does not matter
 */
export class Table {
  size = 0
  /** The set hash: two integers of 32 bits. */
  low = 0
  high = 0
  readonly #hash: KeyedHash
  readonly #splitAt: number
  #whole: Map<string, number> | undefined
  /** Those that hold something. */
  #parts: (Map<string, number> | undefined)[] | undefined

  constructor(hash: KeyedHash, splitAt = 8192) {
    this.#hash = hash
    this.#splitAt = splitAt
  }

  /** 0: absent. */
  get(key: string): number {
    if (this.#parts === undefined) return this.#whole?.get(key) ?? 0
    this.#hash.over(key)
    return this.#parts[this.#position()]?.get(key) ?? 0
  }

  position(key: string): number {
    this.#hash.over(key)
    return this.#position()
  }

  /** Gives what it was. A value of 0 removes the key. */
  set(key: string, value: number): number {
    this.#hash.over(key)
    const part = this.#part()
    const before = part.get(key) ?? 0
    if (before === value) return before
    if (before !== 0) this.#toggle(before)
    if (value === 0) {
      part.delete(key)
      this.size--
      return before
    }
    this.#toggle(value)
    part.set(key, value)
    if (before === 0 && ++this.size > this.#splitAt && this.#parts === undefined) this.#split()
    return before
  }

  /** Gets ready for `size` keys. */
  expect(size: number): void {
    if (size > this.#splitAt && this.#parts === undefined) this.#split()
  }

  /** One Map for all positions? It may become many, but not one again. */
  get whole(): boolean {
    return this.#parts === undefined
  }

  /** What stands at `position`: of a table in one piece, everything. */
  part(position: number): ReadonlyMap<string, number> {
    return (this.#parts === undefined ? this.#whole : this.#parts[position]) ?? nothing
  }

  *entries(): IterableIterator<[key: string, value: number]> {
    for (const part of this.#parts ?? [this.#whole]) if (part !== undefined) yield* part
  }

  /** Where the key that was hashed last has its place. */
  #part(): Map<string, number> {
    if (this.#parts === undefined) return (this.#whole ??= new Map<string, number>())
    return (this.#parts[this.#position()] ??= new Map<string, number>())
  }

  /** Of the key that was hashed last. */
  #position(): number {
    return this.#hash.high >>> 22
  }

  /** Puts the last key with `value` into the set hash, or takes it out. */
  #toggle(value: number): void {
    const { low, high } = this.#hash
    const salt = mix((value | 0) + 0x3c6ef372) ^ upper(value)
    this.low ^= mix(low ^ salt)
    this.high ^= mix(high + salt)
  }

  #split(): void {
    const whole = this.#whole ?? nothing
    this.#parts = new Array<undefined>(positions).fill(undefined)
    this.#whole = undefined
    for (const [key, value] of whole) {
      this.#hash.over(key)
      this.#part().set(key, value)
    }
  }
}

const nothing: ReadonlyMap<string, number> = new Map()

/** The last changes of a table, one a version: (since, until]. A ring that grows up to a limit, and then forgets the oldest. */
export class Recent {
  since = 0
  until = 0
  readonly #most: number
  #keys: string[] = []
  #values: number[] = []

  constructor(most: number) {
    this.#most = most
  }

  push(key: string, value: number): void {
    if (this.until - this.since === this.#keys.length) {
      if (this.#keys.length < this.#most) this.#grow()
      else this.since++
    }
    const at = this.until++ % this.#keys.length
    this.#keys[at] = key
    this.#values[at] = value
  }

  /** Forgets all; the next change makes `version` + 1. */
  restart(version: number): void {
    this.since = this.until = version
    this.#keys = []
    this.#values = []
  }

  key(version: number): string {
    return this.#keys[(version - 1) % this.#keys.length]!
  }

  value(version: number): number {
    return this.#values[(version - 1) % this.#keys.length]!
  }

  #grow(): void {
    const length = Math.min(this.#most, Math.max(4, this.#keys.length * 2))
    const keys = new Array<string>(length).fill('')
    const values = new Array<number>(length).fill(0)
    for (let version = this.since + 1; version <= this.until; version++) {
      keys[(version - 1) % length] = this.key(version)
      values[(version - 1) % length] = this.value(version)
    }
    this.#keys = keys
    this.#values = values
  }
}
