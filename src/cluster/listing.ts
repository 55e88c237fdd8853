import type { NodeId } from './peers.ts'
import type { Roster } from './roster.ts'

export interface ListingSettings {
  /** Lists that differ after so long without news are compared entry by entry. */
  readonly settleMs: number
  /** Entries of whole lists that we send, at most. */
  readonly listedPerSecond: number
}

/** How a node's list looks from afar. */
export interface Digest {
  /** Of those who belong to the cluster, and how many they are. */
  readonly hash: number
  readonly size: number
  /** Of those whom it holds for dead. */
  readonly deaths: number
}

/** A list of no more entries is sent without a thought. */
const shortList = 32

/**
 * Who gets the whole of our list. Each frame carries the hash of its sender's; where they differ, news are on their way, or
 * somebody has missed some.
 */
export class Listing {
  readonly #roster: Roster
  readonly #settings: ListingSettings
  /** Nodes with a new link, whose list was not the same as ours yet, and did not get ours. */
  readonly #strangers = new Set<NodeId>()
  /** When our list last went to them. */
  readonly #listed = new Map<NodeId, number>()
  #room: number

  constructor(roster: Roster, settings: ListingSettings) {
    this.#roster = roster
    this.#settings = settings
    this.#room = settings.listedPerSecond
  }

  linked(node: NodeId): void {
    this.#strangers.add(node)
  }

  unlinked(node: NodeId): void {
    this.#strangers.delete(node)
    this.#listed.delete(node)
  }

  /** Time goes on. */
  pass(ms: number): void {
    const { listedPerSecond } = this.#settings
    this.#room = Math.min(listedPerSecond, this.#room + (listedPerSecond * ms) / 1000)
  }

  /** Up to `count` nodes that may not know us yet: the first words to them may have been in vain. They take turns. */
  strangers(count: number): NodeId[] {
    const some: NodeId[] = []
    for (const node of this.#strangers) {
      if (some.length === count) break
      some.push(node)
    }
    for (const node of some) {
      this.#strangers.delete(node)
      this.#strangers.add(node)
    }
    return some
  }

  /**
   * Should `node`, whose list is this, get the whole of ours? At once when it is new here and knows little, or lists are short;
   * else only when no news on their way explain the difference. @param roundMs time between two frames to it
   */
  lacks(node: NodeId, { hash, deaths, size }: Digest, nowMs: number, roundMs: number): boolean {
    const roster = this.#roster
    // What we think of each other's neighbours is no matter for strangers: links tell more, and they are just coming up.
    if (hash === roster.hash) this.#strangers.delete(node)
    if (hash === roster.hash && deaths === roster.deaths) return false
    const stranger = this.#strangers.has(node)
    const atOnce = stranger && (roster.hashed <= shortList || size * 2 <= roster.hashed)
    const quietMs = nowMs - Math.max(roster.changedMs, this.#listed.get(node) ?? -Infinity)
    if (!atOnce && quietMs < (stranger ? roundMs : this.#settings.settleMs)) return false
    if (this.#room <= 0) return false
    this.#room -= roster.size
    this.#strangers.delete(node)
    this.#listed.set(node, nowMs)
    return true
  }
}
