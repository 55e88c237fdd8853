import { mostAccusers } from './member.ts'
import type { NodeId } from './peers.ts'

/** How long a node that does not answer has before it counts as dead. */
export interface Patience {
  /** When enough others say the same. */
  readonly leastMs: number
  /** When nobody does: then it may be us who hear nothing. */
  readonly mostMs: number
  /** So many others are enough. */
  readonly confirmations: number
  /** Dialling it was refused outright. */
  readonly refusedMs: number
}

/** A node did not answer. Each node counts down by itself; the suspect may refute it, until then. */
export class Suspicion {
  readonly #sinceMs: number
  readonly #accusers: NodeId[] = []
  #refusedMs = Infinity
  #looked = false

  constructor(nowMs: number) {
    this.#sinceMs = nowMs
  }

  get accusers(): readonly NodeId[] {
    return this.#accusers
  }

  /** Do we know as many accusers as matter? */
  get confirmed(): boolean {
    return this.#accusers.length >= mostAccusers
  }

  /** One that found so by itself. False when that is not new, or enough have said so. */
  accusedBy(node: NodeId): boolean {
    if (this.confirmed || this.#accusers.includes(node)) return false
    this.#accusers.push(node)
    return true
  }

  /** Nobody is at its address. */
  refused(nowMs: number): void {
    this.#refusedMs = Math.min(this.#refusedMs, nowMs)
  }

  /** True once, when half of the shortest time is over: it is time to look for ourselves, as its answer may have missed us. */
  look(nowMs: number, { leastMs }: Patience): boolean {
    if (this.#looked || nowMs < this.#sinceMs + leastMs / 2) return false
    this.#looked = true
    return true
  }

  /** When the suspect is dead; `witnesses` other nodes, of `nodes` in all, could confirm that it does not answer. */
  deadlineMs({ leastMs, mostMs, confirmations, refusedMs }: Patience, witnesses: number, nodes: number): number {
    const wanted = Math.min(confirmations, witnesses)
    const confirmed = Math.max(0, this.#accusers.length - 1)
    const share = wanted === 0 ? 1 : Math.min(1, Math.log1p(confirmed) / Math.log1p(wanted))
    // A suspicion and its refutation take some rounds more to get through a large cluster.
    const scale = Math.max(1, Math.log10(nodes))
    const waitMs = (mostMs - (mostMs - leastMs) * share) * scale
    return Math.min(this.#sinceMs + waitMs, this.#refusedMs + refusedMs)
  }
}
