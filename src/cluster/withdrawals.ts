import { Here } from './interest.ts'
import type { NodeId } from './peers.ts'

/** So long behind the begin of its link a node's withdrawals wait: by then we have heard of the others, too. */
const lateMs = 1000

interface Held {
  /** What the keys are to be. */
  readonly keys: Map<string, number>
  /** What the node wants to know of all that we have sent: that is not all yet. */
  fences: number[]
}

/**
 * What a node that we were cut off from does not want any more, as its session has gone on meanwhile: whoever has that now may
 * tell us so a moment later, and in between nobody would want what is published here.
 *
 *   cut off ─────── linked ──┬── "nobody here wants x" ── … ──┬─▶ counts
 *   the session goes         └── "x is wanted here" ──────────┘
 *   from one to another          by the other one                messages go to both: the first passes on what comes for the
 *                                                                session (`Stragglers`), which takes it once (`Witnesses`)
 */
export class Withdrawals {
  readonly #now: () => number
  readonly #change: (node: NodeId, key: string, value: number) => void
  readonly #fence: (node: NodeId, id: number) => void
  readonly #linkedMs = new Map<NodeId, number>()
  readonly #held = new Map<NodeId, Held>()

  /**
   * @param change a key of a node's table has this value now, for whoever publishes here
   * @param fence answers a node's question by its id
   */
  constructor(
    now: () => number,
    change: (node: NodeId, key: string, value: number) => void,
    fence: (node: NodeId, id: number) => void,
  ) {
    this.#now = now
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
    if (held?.keys.has(key) !== true && !this.#isEarly(node, key, before)) return false
    if (held) held.keys.set(key, value)
    else this.#held.set(node, { keys: new Map([[key, value]]), fences: [] })
    return true
  }

  /** A node asks what `Outgoing.fence` answers. */
  fence(node: NodeId, id: number): void {
    const held = this.#held.get(node)
    if (held) held.fences.push(id)
    else this.#fence(node, id)
  }

  /** Nothing of a node counts any more, but for what it says from now on. */
  forget(node: NodeId): void {
    this.#linkedMs.delete(node)
    this.#release(node)
  }

  tick(): void {
    for (const node of [...this.#held.keys()]) if (!this.#isNew(node)) this.#release(node)
  }

  #isEarly(node: NodeId, key: string, before: number): boolean {
    return key.startsWith('f') && (before & Here.persistent) !== 0 && this.#isNew(node)
  }

  #isNew(node: NodeId): boolean {
    return this.#now() - (this.#linkedMs.get(node) ?? -Infinity) < lateMs
  }

  #release(node: NodeId): void {
    const held = this.#held.get(node)
    if (held === undefined) return
    this.#held.delete(node)
    for (const [key, value] of held.keys) this.#change(node, key, value)
    for (const id of held.fences) this.#fence(node, id)
  }
}
