/** So much a second, and so much at a time after a rest. Whole numbers above 0. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/**
 * A token bucket in whole numbers: thousandths of a token, of which `perSecond` come each millisecond. It may go into debt,
 * as what has been read from a socket cannot be put back; then it says how long to read nothing.
 *
 *   level:  −debt … 0 … burst        a cost is taken as a whole, however far below 0 that leads
 */
export class TokenBucket {
  readonly #perMs: number
  readonly #most: number
  readonly #msToFull: number
  #level: number
  #atMs: number

  constructor({ perSecond, burst }: Rate, nowMs: number) {
    this.#perMs = perSecond
    this.#most = burst * 1000
    // Beyond this it is full from any debt that `least` allows: no product of ours leaves the whole numbers.
    this.#msToFull = Math.ceil((this.#most - least) / perSecond)
    this.#level = this.#most
    this.#atMs = Math.floor(nowMs)
  }

  /** Takes `cost`, be it there or not. @returns milliseconds until the debt is paid; 0: there is none */
  spend(cost: number, nowMs: number): number {
    this.#refill(nowMs)
    this.#level = Math.max(least, this.#level - cost * 1000)
    return this.#debtMs()
  }

  /** Takes `cost` if it is there. What is larger than the bucket passes when that is full. */
  take(cost: number, nowMs: number): boolean {
    if (!this.has(cost, nowMs)) return false
    this.#level -= cost * 1000
    return true
  }

  /** Would `take` take it? */
  has(cost: number, nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#level >= Math.min(cost * 1000, this.#most)
  }

  /** Milliseconds until there is no debt. */
  waitMs(nowMs: number): number {
    this.#refill(nowMs)
    return this.#debtMs()
  }

  /** Nothing is remembered: it is as good as a new one. */
  full(nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#level === this.#most
  }

  #debtMs(): number {
    return this.#level >= 0 ? 0 : Math.ceil(-this.#level / this.#perMs)
  }

  #refill(nowMs: number): void {
    const elapsedMs = Math.floor(nowMs) - this.#atMs
    // A clock that goes back gives nothing, and takes nothing.
    if (elapsedMs <= 0) return
    this.#atMs += elapsedMs
    this.#level = elapsedMs >= this.#msToFull ? this.#most : Math.min(this.#most, this.#level + elapsedMs * this.#perMs)
  }
}

/** The deepest debt, in thousandths: 10^12 tokens. */
const least = -1e15
