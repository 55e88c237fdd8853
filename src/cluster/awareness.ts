/**
 * How well we are ourselves (Lifeguard: "local health awareness"). A node that misses answers, has to refute, or gets its
 * ticks late should doubt itself before it doubts others: everything takes `factor` times as long.
 */
export class Health {
  #score = 0
  readonly #most: number

  constructor(most: number) {
    this.#most = most
  }

  get factor(): number {
    return 1 + this.#score
  }

  worse(): void {
    if (this.#score < this.#most) this.#score++
  }

  better(): void {
    if (this.#score > 0) this.#score--
  }
}

/**
 * The time that we were awake. While the process stood still nobody could answer it, and the answers that came wait
 * unread; so that time does not count, and the first tick after it judges nobody.
 */
export class AwakeTime {
  nowMs = 0
  #tickedMs: number
  #wasLate = false
  readonly #tickMs: number
  readonly #lateMs: number

  constructor(clockMs: number, tickMs: number, lateMs: number) {
    this.#tickedMs = clockMs
    this.#tickMs = tickMs
    this.#lateMs = lateMs
  }

  /** A tick. `late`: we stood still. `judge`: there was a turn to read what came. */
  pass(clockMs: number): { late: boolean; judge: boolean } {
    const elapsedMs = clockMs - this.#tickedMs
    this.#tickedMs = clockMs
    const late = elapsedMs > this.#tickMs + this.#lateMs
    // A process that is always late has turns between its ticks all the same: its time goes on, slowly.
    const judge = !late || this.#wasLate
    this.#wasLate = late
    if (judge) this.nowMs += late ? this.#tickMs : elapsedMs
    return { late, judge }
  }
}
