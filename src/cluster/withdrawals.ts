import { Here } from './interest.ts'
import type { NodeId } from './peers.ts'

/** By then we have heard of all others, by a link that is new or by the digests of somebody who hears them. */
const lateMs = 2000

interface Held {
  /** What the keys are to be, and when, in the order of that time. */
  readonly keys: Map<string, { readonly value: number; readonly atMs: number }>
  /** What the node wants to know of all that we have sent: before these times that is not all yet. */
  fences: { readonly id: number; readonly atMs: number }[]
}

/**
 * What a node does not want any more, as its session has gone on to one that we do not hear, or that we both have not heard for a while:
 * where it is now we may learn a moment later, and in between nobody would want what is published here.
 *
 *   "nobody here wants x", says the one ─────────────────────┬─▶ counts
 *         "x is wanted here", says the other ───▶            │
 *                                                messages go to both: the first passes on what comes for the session
 *                                                (`Stragglers`), which takes it once (`Witnesses`)
 */
export class Withdrawals {
  readonly #now: () => number
  readonly #hearsAll: () => boolean
  readonly #change: (node: NodeId, key: string, value: number) => void
  readonly #fence: (node: NodeId, id: number) => void
  readonly #linkedMs = new Map<NodeId, number>()
  readonly #held = new Map<NodeId, Held>()

  /**
   * @param hearsAll is there a link to each node that lives?
   * @param change a key of a node's table has this value now, for whoever publishes here
   * @param fence answers a node's question by its id
   */
  constructor(
    now: () => number,
    hearsAll: () => boolean,
    change: (node: NodeId, key: string, value: number) => void,
    fence: (node: NodeId, id: number) => void,
  ) {
    this.#now = now
    this.#hearsAll = hearsAll
    this.#change = change
    this.#fence = fence
  }

  linked(node: NodeId): void {
    this.#linkedMs.set(node, this.#now())
  }

  /** Whoever asked asks again. */
  unlinked(node: NodeId): void {
    const held = this.#held.get(node)
    if (held) held.fences = []
  }

  /** Does a change of a node's table count only later? That nobody there wants a filter whose session outlived its connection. */
  waits(node: NodeId, key: string, value: number, before: number): boolean {
    const held = this.#held.get(node)
    if (value & Here.persistent) {
      held?.keys.delete(key)
      return false
    }
    const known = held?.keys.get(key)
    if (known === undefined && !this.#isEarly(node, key, before)) return false
    const change = { value, atMs: known?.atMs ?? this.#now() + lateMs }
    if (held) held.keys.set(key, change)
    else this.#held.set(node, { keys: new Map([[key, change]]), fences: [] })
    return true
  }

  /** A node asks what `Outgoing.fence` answers. */
  fence(node: NodeId, id: number): void {
    const held = this.#held.get(node)
    if (held) held.fences.push({ id, atMs: this.#now() + lateMs })
    else this.#fence(node, id)
  }

  /** Nothing of a node counts any more, but for what it says from now on. */
  forget(node: NodeId): void {
    this.#linkedMs.delete(node)
    this.#release(node, Infinity)
  }

  tick(): void {
    for (const node of [...this.#held.keys()]) this.#release(node, this.#now())
  }

  #isEarly(node: NodeId, key: string, before: number): boolean {
    if (!key.startsWith('f') || (before & Here.persistent) === 0) return false
    return this.#now() - (this.#linkedMs.get(node) ?? -Infinity) < lateMs || !this.#hearsAll()
  }

  #release(node: NodeId, nowMs: number): void {
    const held = this.#held.get(node)
    if (held === undefined) return
    const { keys, fences } = held
    for (const [key, { value, atMs }] of keys) {
      if (atMs > nowMs) break
      keys.delete(key)
      this.#change(node, key, value)
    }
    if (keys.size === 0) this.#held.delete(node)
    while (fences.length > 0 && (keys.size === 0 || fences[0]!.atMs <= nowMs)) this.#fence(node, fences.shift()!.id)
  }
}
