const firstMs = 250
const mostMs = 30_000
/** After so long without a failure it is forgotten. */
const forgetMs = 600_000

interface Failures {
  count: number
  /** When the next attempt may be looked at; those that wait for it count. */
  nextMs: number
  /** The same, if nobody waited. */
  leastMs: number
}

/**
 * Slows down who guesses passwords, by address and user: 0.25 s after the first failure, twice as long after each, 30 s at most.
 * Nobody is locked out, for then everybody could lock out everybody.
 *
 *   attempt ─▶ ms to wait before it is looked at ─▶ failed | succeeded
 */
export class Backoff {
  readonly #most: number
  /** The last that failed stands last. */
  readonly #failures = new Map<string, Failures>()
  #dropped = 0

  /** @param most pairs of address and user that are remembered */
  constructor(most = 100_000) {
    this.#most = most
  }

  get size(): number {
    return this.#failures.size
  }

  /** Pairs that were forgotten before their time because there were too many. */
  get dropped(): number {
    return this.#dropped
  }

  /**
   * Somebody wants to log in. Attempts that come at a time wait one behind the other: else a hundred connections would be a
   * hundred guesses.
   * @param address as the caller groups them: without the port
   * @returns milliseconds
   */
  attempt(address: string, user: string, nowMs: number): number {
    const failures = this.#failures.get(keyOf(address, user))
    if (!failures) return 0
    const waitMs = Math.min(Math.max(0, failures.nextMs - nowMs), mostMs)
    failures.nextMs = nowMs + waitMs + delayMs(failures.count)
    return waitMs
  }

  /** Whoever had that attempt has left before it was looked at: the next need not wait for it. */
  withdraw(address: string, user: string): void {
    const failures = this.#failures.get(keyOf(address, user))
    if (failures) failures.nextMs = Math.max(failures.leastMs, failures.nextMs - delayMs(failures.count))
  }

  failed(address: string, user: string, nowMs: number): void {
    const key = keyOf(address, user)
    const failures = this.#failures.get(key) ?? { count: 0, nextMs: 0, leastMs: 0 }
    failures.count++
    failures.leastMs = nowMs + delayMs(failures.count)
    failures.nextMs = Math.max(failures.nextMs, failures.leastMs)
    this.#failures.delete(key)
    this.#failures.set(key, failures)
    this.#forget(nowMs)
  }

  succeeded(address: string, user: string): void {
    this.#failures.delete(keyOf(address, user))
  }

  // At each failure two at most, so that it never takes long, and the table shrinks all the same.
  #forget(nowMs: number): void {
    for (let looks = 0; looks < 2; looks++) {
      const [oldest] = this.#failures
      if (!oldest) return
      const over = oldest[1].nextMs + forgetMs <= nowMs
      if (!over && this.#failures.size <= this.#most) return
      this.#failures.delete(oldest[0])
      if (!over) this.#dropped++
    }
  }
}

function delayMs(count: number): number {
  return Math.min(firstMs * 2 ** (count - 1), mostMs)
}

// An address has no NUL in it.
function keyOf(address: string, user: string): string {
  return `${address}\0${user}`
}
