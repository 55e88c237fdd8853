import type { Known } from './member.ts'

/**
 * News that ride on pings and acks, each a number of times that grows with the logarithm of the cluster.
 *
 *   fresh: not told yet ─▶ told: in turn, until each was told often enough
 */
export class Rumours {
  readonly #fresh = new Set<Known>()
  readonly #told = new Map<Known, number>()

  get size(): number {
    return this.#fresh.size + this.#told.size
  }

  /** Something about `known` is new: what was told of it counts no more. */
  add(known: Known): void {
    this.#told.delete(known)
    this.#fresh.add(known)
  }

  delete(known: Known): void {
    this.#fresh.delete(known)
    this.#told.delete(known)
  }

  /** Up to `most` of them, which count as told once more; each is told `times` times. */
  take(most: number, times: number): Known[] {
    const taken: Known[] = []
    for (const known of this.#fresh) {
      if (taken.length === most) break
      taken.push(known)
      this.#fresh.delete(known)
    }
    const fresh = taken.length
    for (const known of this.#told.keys()) {
      if (taken.length === most) break
      taken.push(known)
    }
    taken.forEach((known, at) => this.#tellAgain(known, at < fresh ? 1 : this.#told.get(known)! + 1, times))
    return taken
  }

  #tellAgain(known: Known, told: number, times: number): void {
    this.#told.delete(known)
    if (told < times) this.#told.set(known, told)
  }
}
