import { isNewer, type Stamp } from '../mqtt/stamp.ts'
import type { Topic, TopicFilter } from '../mqtt/topic.ts'
import { ExpiryHeap, type Heaped } from './expiry.ts'
import { Ordered, type Place } from './ordered.ts'
import { Scan } from './scan.ts'
import { Tombstone, Tombstones } from './tombstones.ts'

/** What the store asks of a message. */
export interface Retainable {
  readonly topic: Topic
  /** What it holds in memory, for the limit. */
  readonly bytes: number
  /** Monotonic milliseconds; Infinity when it never expires. */
  readonly expiresAtMs: number
  /** 0: it clears its topic. */
  readonly payloadLength: number
  /** Undefined for a node alone, and for what is its own affair. */
  readonly stamp: Stamp | undefined
}

export interface RetainedLimits {
  readonly messages: number
  readonly bytes: number
}

/** How much there is. */
export interface RetainedVolume {
  messages: number
  bytes: number
}

const empty: Readonly<RetainedVolume> = { messages: 0, bytes: 0 }

/** Hears of what has a stamp: a message, or a tombstone, which then comes with it. */
export interface RetainedWatcher {
  came(name: string, stamp: Stamp, tombstone: Tombstone | undefined): void
  went(name: string, stamp: Stamp, tombstone: Tombstone | undefined): void
}

/** Above it some go, the oldest first: 200 bytes each. */
const mostTombstones = 1_000_000

class Kept<M extends Retainable> implements Heaped {
  heapAt = -1

  constructor(
    public name: string,
    public message: M,
    /** When it was set, in sets. */
    public serial: number,
  ) {}
}

/** Names looked at one by one before it pays to work out how far to leap. */
const missesBeforeLeap = 8

/**
 * The last retained message of each topic (MQTT 5.0, 3.3.1.3), ordered by name.
 *
 *   a/1/temp   a/2/temp   a/2/vibration   b …         by name: `a/#` is one stretch, `a/+/temp` leaps (`scan.ts`)
 *
 * A walk remembers a name and no node, so whatever is set, cleared or expires between two steps, it goes on from there,
 * and one that is dropped half-way leaves nothing behind. That is why this is an ordered list and not a trie.
 *
 * In a cluster a change has a stamp, and whoever makes one asks `admits` first: the last writer wins. A topic that was
 * cleared by a stamp keeps it, as a tombstone, so that an older message which comes late does not come back.
 */
export class RetainedStore<M extends Retainable> {
  readonly #messages = new Ordered<Kept<M>>()
  readonly #expiry = new ExpiryHeap<Kept<M>>()
  readonly #limits: RetainedLimits
  readonly #tombstones = new Tombstones()
  readonly #mostTombstones: number
  #watcher: RetainedWatcher | undefined = undefined
  /** Tombstones that went as there were too many. */
  droppedTombstones = 0
  /** What stands below the root of each tenant that has something. */
  readonly #volumes = new Map<string, RetainedVolume>()
  #bytes = 0
  #sets = 0

  constructor(limits: RetainedLimits, tombstones = mostTombstones) {
    this.#limits = limits
    this.#mostTombstones = tombstones
  }

  /** Tells `watcher` of what is there, and then of all changes. */
  watch(watcher: RetainedWatcher): void {
    this.#watcher = watcher
    for (const { name, message } of this.#messages.all())
      if (message.stamp !== undefined) watcher.came(name, message.stamp, undefined)
    for (const tombstone of this.#tombstones.all()) watcher.came(tombstone.name, tombstone.stamp, tombstone)
  }

  /** All messages, ordered by name. Nothing may be changed meanwhile. */
  *all(): Generator<M, void, void> {
    for (const { message } of this.#messages.all()) yield message
  }

  get tombstones(): number {
    return this.#tombstones.size
  }

  /** Messages, with those that have expired and were not met since. */
  get size(): number {
    return this.#messages.size
  }

  /** Sum of the messages' `bytes`. */
  get bytes(): number {
    return this.#bytes
  }

  /** What stands below the root of a tenant. */
  volume(root: string): Readonly<RetainedVolume> {
    return this.#volumes.get(root) ?? empty
  }

  /** Roots of tenants below which something stands. */
  roots(): Iterable<string> {
    return this.#volumes.keys()
  }

  /**
   * Keeps a message in place of its topic's last one; an empty one clears. False when it would go above a limit: then
   * nothing changes. One that is no larger than the one it replaces is always taken, even above a limit that has been
   * lowered.
   * @param quota what may stand below the root of its tenant; undefined: nobody asks
   */
  set(message: M, quota?: RetainedLimits): boolean {
    if (message.payloadLength === 0) return this.clear(message.topic, message.stamp)
    const { name } = message.topic
    const kept = this.#messages.find(name)
    const more = message.bytes - (kept?.message.bytes ?? 0)
    if (!hasRoom(this.size, this.#bytes, kept === undefined, more, this.#limits)) return false
    if (quota) {
      const volume = this.volume(rootOf(message.topic))
      if (!hasRoom(volume.messages, volume.bytes, kept === undefined, more, quota)) return false
    }
    this.#count(message.topic, kept === undefined ? 1 : 0, more)
    if (this.#tombstones.size > 0) this.unbury(name)
    if (kept === undefined) {
      const added = new Kept(name, message, ++this.#sets)
      this.#came(name, message.stamp)
      this.#messages.insert(added)
      this.#expiry.add(added, message.expiresAtMs)
      return true
    }
    this.#expiry.remove(kept)
    this.#went(name, kept.message.stamp)
    this.#came(name, message.stamp)
    kept.name = name
    kept.message = message
    kept.serial = ++this.#sets
    this.#expiry.add(kept, message.expiresAtMs)
    return true
  }

  /** Forgets the topic's message, and keeps a tombstone if there is a stamp; false when nothing has changed. */
  clear(topic: Topic, stamp?: Stamp): boolean {
    const { name } = topic
    const kept = this.#messages.find(name)
    if (kept !== undefined) this.#remove(kept)
    if (this.#tombstones.size > 0) this.unbury(name)
    if (stamp === undefined) return kept !== undefined
    this.#bury(new Tombstone(name, stamp, false))
    return true
  }

  /** May a change with this stamp be made, or is there a newer one? */
  admits(name: string, stamp: Stamp): boolean {
    return isNewer(stamp, this.stampOf(name))
  }

  /** Of the topic's message, or of its tombstone. */
  stampOf(name: string): Stamp | undefined {
    return this.#messages.find(name)?.message.stamp ?? this.#tombstones.find(name)?.stamp
  }

  tombstone(name: string): Tombstone | undefined {
    return this.#tombstones.find(name)
  }

  /** Up to `most` tombstones behind `name`, ordered by name. */
  tombstonesBehind(name: string, most: number): Tombstone[] {
    return this.#tombstones.behind(name, most)
  }

  /** Forgets that the topic was cleared. */
  unbury(name: string): void {
    const tombstone = this.#tombstones.find(name)
    if (tombstone === undefined) return
    this.#tombstones.remove(tombstone)
    this.#watcher?.went(name, tombstone.stamp, tombstone)
  }

  /** The topic's message, whether it has expired or not. */
  get(topicName: string): M | undefined {
    return this.#messages.find(topicName)?.message
  }

  /**
   * The messages that match, one for each step, ordered by name. Each one that was there from this call on comes once. One
   * that is set later does not come: its subscriber gets it as it is published. Those expired by `nowMs` are removed.
   *
   * A step goes on until it finds one, and a filter like `+/+/x` may pass over all that is retained. With `stride` it
   * gives undefined after so many names without a match, so that a caller can let others have their turn.
   */
  matching(filter: TopicFilter, nowMs: number): Generator<M, void, void>
  matching(filter: TopicFilter, nowMs: number, stride: number): Generator<M | undefined, void, void>
  matching(filter: TopicFilter, nowMs: number, stride = Infinity): Generator<M | undefined, void, void> {
    // A generator's body starts with its first step, but what counts is what was retained at this moment.
    return this.#walk(new Scan(filter), nowMs, stride, this.#sets)
  }

  /** Removes up to `most` messages that have expired by `nowMs`, and gives their number: fewer than `most` when all are gone. */
  expire(nowMs: number, most = 2_000): number {
    for (let removed = 0; removed < most; removed++) {
      const kept = this.#expiry.expired(nowMs)
      if (kept === undefined) return removed
      this.#expired(kept)
    }
    return most
  }

  *#walk(scan: Scan, nowMs: number, stride: number, lastSet: number): Generator<M | undefined, void, void> {
    const messages = this.#messages
    const place: Place = { version: -1, leaf: 0, index: 0 }
    let kept = messages.seek(place, scan.start)
    for (let misses = 0, passed = 1; kept !== undefined; passed++) {
      const { name, message } = kept
      let leap: string | undefined = name
      if (!scan.matches(name)) {
        if (++misses % missesBeforeLeap === 0) leap = scan.leap(name)
        if (leap === undefined) return
      } else if (message.expiresAtMs <= nowMs) this.#expired(kept)
      else if (kept.serial <= lastSet) {
        misses = 0
        passed = 0
        yield message
      }
      if (passed >= stride) {
        passed = 0
        yield undefined
      }
      // What was retained may be another after each `yield`, so from here on only the name counts.
      kept = leap === name ? messages.after(place, name) : messages.seek(place, leap)
    }
  }

  #came(name: string, stamp: Stamp | undefined): void {
    if (stamp !== undefined) this.#watcher?.came(name, stamp, undefined)
  }

  #went(name: string, stamp: Stamp | undefined): void {
    if (stamp !== undefined) this.#watcher?.went(name, stamp, undefined)
  }

  /** In a cluster an older message, which this one had replaced, may be somewhere still: it must not come back. */
  #expired(kept: Kept<M>): void {
    this.#remove(kept)
    const { name, message } = kept
    if (this.#watcher && message.stamp !== undefined) this.#bury(new Tombstone(name, message.stamp, true))
  }

  #bury(tombstone: Tombstone): void {
    this.#tombstones.add(tombstone)
    this.#watcher?.came(tombstone.name, tombstone.stamp, tombstone)
    if (this.#tombstones.size <= this.#mostTombstones) return
    this.droppedTombstones++
    this.unbury(this.#tombstones.least()!.name)
  }

  #remove(kept: Kept<M>): void {
    this.#went(kept.name, kept.message.stamp)
    this.#messages.remove(kept)
    this.#expiry.remove(kept)
    this.#count(kept.message.topic, -1, -kept.message.bytes)
  }

  #count(topic: Topic, messages: number, bytes: number): void {
    this.#bytes += bytes
    if (topic.hidden === 0) return
    const root = rootOf(topic)
    const volume = this.#volumes.get(root) ?? { ...empty }
    volume.messages += messages
    volume.bytes += bytes
    if (volume.messages === 0) this.#volumes.delete(root)
    else this.#volumes.set(root, volume)
  }
}

function rootOf({ name, hidden }: Topic): string {
  return name.slice(0, hidden)
}

/** @param more bytes, or fewer when it is negative */
function hasRoom(messages: number, bytes: number, isNew: boolean, more: number, limits: RetainedLimits): boolean {
  return !(isNew && messages >= limits.messages) && !(more > 0 && bytes + more > limits.bytes)
}
