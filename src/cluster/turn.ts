import type { Clock } from '../host.ts'

/** Work of one part, in slices: at most so long in a turn of the event loop, and the rest in the next ones. */
export class Turn {
  readonly #clock: Clock
  readonly #budgetMs: number
  readonly #work: () => boolean
  #begun = false
  #untilMs = 0

  /** @param work runs at the end of each turn that was begun, until `over`; says whether there is more to do. */
  constructor(clock: Clock, budgetMs: number, work: () => boolean) {
    this.#clock = clock
    this.#budgetMs = budgetMs
    this.#work = work
  }

  /** Something happens in this turn. */
  begin(): void {
    if (this.#begun) return
    this.#begun = true
    this.#untilMs = this.#clock.now() + this.#budgetMs
    this.#clock.endOfTurn(this.#end)
  }

  /** Has this turn had its share? */
  get over(): boolean {
    return this.#clock.now() >= this.#untilMs
  }

  readonly #end = () => {
    // Others may have had the turn for long: that must not stop us for good.
    this.#untilMs = Math.max(this.#untilMs, this.#clock.now() + this.#budgetMs / 2)
    let more = true
    try {
      more = this.#work()
    } finally {
      this.#begun = false
      if (more) this.begin()
    }
  }
}
