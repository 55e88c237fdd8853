import { Message } from '../mqtt/message.ts'
import type { Stamp } from '../mqtt/stamp.ts'
import type { Topic } from '../mqtt/topic.ts'
import { ExpiryHeap, type Heaped } from './expiry.ts'
import { Ordered, type Place } from './ordered.ts'

/** Says that the message of a topic was cleared, or has expired, and what its stamp was. */
export class Tombstone implements Heaped {
  heapAt = -1
  /** For who collects them: since when it is no longer told, in a count of its own. 0: it is. */
  retiredAt = 0

  constructor(
    readonly name: string,
    readonly stamp: Stamp,
    readonly expired: boolean,
  ) {}
}

/** The empty message that clears a topic: as it came, or as it is written down. Without a stamp it leaves no tombstone. */
export function clearing(topic: Topic, stamp: Stamp | undefined): Message {
  const message = new Message(topic, 0, true, nothing, 0, 0, undefined, Infinity, undefined, 5)
  message.stamp = stamp
  return message.keep()
}

const nothing = new Uint8Array(0)

/** At most one for each topic, ordered by name; and it is known which one is missed the least. */
export class Tombstones {
  readonly #all = new Ordered<Tombstone>()
  readonly #cleared = new ExpiryHeap<Tombstone>()
  readonly #expired = new ExpiryHeap<Tombstone>()

  get size(): number {
    return this.#all.size
  }

  find(name: string): Tombstone | undefined {
    return this.#all.find(name)
  }

  all(): Iterable<Tombstone> {
    return this.#all.all()
  }

  /** The oldest, of those whose message has expired if there are any. */
  least(): Tombstone | undefined {
    return this.#expired.expired(Infinity) ?? this.#cleared.expired(Infinity)
  }

  add(tombstone: Tombstone): void {
    this.#all.insert(tombstone)
    this.#heapOf(tombstone).add(tombstone, tombstone.stamp.ms)
  }

  remove(tombstone: Tombstone): void {
    this.#all.remove(tombstone)
    this.#heapOf(tombstone).remove(tombstone)
  }

  #heapOf({ expired }: Tombstone): ExpiryHeap<Tombstone> {
    return expired ? this.#expired : this.#cleared
  }

  /** Up to `most` of them, behind `name`. */
  behind(name: string, most: number): Tombstone[] {
    const some: Tombstone[] = []
    const place: Place = { version: -1, leaf: 0, index: 0 }
    let next = this.#all.seek(place, name)
    if (next?.name === name) next = this.#all.after(place, name)
    for (; next !== undefined && some.length < most; next = this.#all.after(place, next.name)) some.push(next)
    return some
  }
}
