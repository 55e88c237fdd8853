import type { PermissionKey, Topic } from '../mqtt/topic.ts'

/**
 * A topic's number in one table: those of several brokers may see the same topic. With it what was said to the two who were
 * asked about last: mostly that is who publishes there and who is sent it.
 */
class Key implements PermissionKey {
  client = 0
  bits = 0
  clientBefore = 0
  bitsBefore = 0

  constructor(
    readonly owner: Decisions,
    readonly number: number,
  ) {}

  remember(client: number, bits: number): number {
    this.clientBefore = this.client
    this.bitsBefore = this.bits
    this.client = client
    this.bits = bits
    return bits
  }
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
    const key = this.#keyOf(topic)
    if (key === undefined) return -1
    if (key.client === client) return key.bits
    if (key.clientBefore === client) return key.bitsBefore
    return this.#look(client, key)
  }

  #look(client: number, key: Key): number {
    const { number } = key
    const at = slotOf(client, number) & this.#mask
    if (this.#topics[at] === number && this.#clients[at] === client) return key.remember(client, this.#bits[at]!)
    if (this.#topics[at + 1] === number && this.#clients[at + 1] === client)
      return key.remember(client, this.#bits[at + 1]!)
    return -1
  }

  /** @param client above 0 */
  keep(client: number, topic: Topic, bits: number): void {
    let key = this.#keyOf(topic)
    if (key === undefined) topic.permissionKey = key = new Key(this, ++this.#numbers)
    key.remember(client, bits)
    const { number } = key
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

  /** Undefined: this table has not seen it. */
  #keyOf({ permissionKey }: Topic): Key | undefined {
    return permissionKey instanceof Key && permissionKey.owner === this ? permissionKey : undefined
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
