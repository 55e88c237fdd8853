import type { PermissionKey, Topic } from '../mqtt/topic.ts'

/** A topic's number in one table: those of several brokers may see the same topic. */
class Key implements PermissionKey {
  constructor(
    readonly owner: Decisions,
    readonly number: number,
  ) {}
}

/** Entries that are tried for a pair. */
const ways = 2
const least = 1024

/**
 * What was decided for (client, topic), in two typed arrays of numbers and one of bits. Bounded: a new pair takes the place of
 * an old one. To drop what is known of a client, give it another number.
 *
 *   hash(client, topic) ─▶ [newer][older]     both compared in full: a collision is a miss, never an answer
 */
export class Decisions {
  /** Pairs that were decided, as nobody knew them (any more). */
  misses = 0
  readonly #limit: number
  #numbers = 0
  #mask = 0
  #clients = new Float64Array(0)
  #topics = new Float64Array(0)
  #bits = new Uint8Array(0)
  #kept = 0

  /** @param limit entries, a power of two: 17 bytes each */
  constructor(limit = 262_144) {
    this.#limit = limit
    this.#resize(Math.min(least, limit))
  }

  /** Entries that there is room for now. */
  get size(): number {
    return this.#mask + ways
  }

  /** The bits kept for the pair; -1: none. */
  find(client: number, topic: Topic): number {
    const number = this.#numberOf(topic)
    if (number === 0) return -1
    const at = slotOf(client, number) & this.#mask
    if (this.#topics[at] === number && this.#clients[at] === client) return this.#bits[at]!
    if (this.#topics[at + 1] === number && this.#clients[at + 1] === client) return this.#bits[at + 1]!
    return -1
  }

  /** @param client above 0 */
  keep(client: number, topic: Topic, bits: number): void {
    let number = this.#numberOf(topic)
    if (number === 0) topic.permissionKey = new Key(this, (number = ++this.#numbers))
    this.misses++
    // Half full, or one displaces the other again and again: either way it is too small.
    if (++this.#kept * 2 > this.size && this.size < this.#limit) this.#resize(this.size * 2)
    const at = slotOf(client, number) & this.#mask
    this.#clients[at + 1] = this.#clients[at]!
    this.#topics[at + 1] = this.#topics[at]!
    this.#bits[at + 1] = this.#bits[at]!
    this.#clients[at] = client
    this.#topics[at] = number
    this.#bits[at] = bits
  }

  /** 0: this table has not seen it. */
  #numberOf({ permissionKey }: Topic): number {
    return permissionKey instanceof Key && permissionKey.owner === this ? permissionKey.number : 0
  }

  /** What was in it is decided once more: that is cheaper than moving it. */
  #resize(size: number): void {
    this.#mask = size - ways
    this.#clients = new Float64Array(size)
    this.#topics = new Float64Array(size)
    this.#bits = new Uint8Array(size)
    this.#kept = 0
  }
}

/** Both are numbers that count up; neighbours must not fall on neighbours. */
function slotOf(client: number, topic: number): number {
  let mixed = Math.imul(client | 0, 0x9e3779b1) + (topic | 0)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  return mixed ^ (mixed >>> 13)
}
