import type { Clock } from '../../src/host.ts'

/** A clock that stands still until it is told to go on. */
export class StillClock implements Clock {
  #nowMs: number
  readonly #ticks = new Set<() => void>()
  #turn: (() => void)[] = []

  constructor(nowMs = 1_000_000) {
    this.#nowMs = nowMs
  }

  now(): number {
    return this.#nowMs
  }

  wall(): number {
    return 1_700_000_000_000 + this.#nowMs
  }

  every(_periodMs: number, tick: () => void): () => void {
    this.#ticks.add(tick)
    return () => void this.#ticks.delete(tick)
  }

  endOfTurn(run: () => void): void {
    this.#turn.push(run)
  }

  /** Ends the turn. False when there was nothing to do. */
  endTurn(): boolean {
    if (this.#turn.length === 0) return false
    const runs = this.#turn
    this.#turn = []
    for (const run of runs) run()
    return true
  }

  /** Time goes on by so many milliseconds, in steps of a second at most: more at a time is taken for a stop of the process. */
  *pass(ms: number): Generator<void, void, void> {
    for (let left = ms; left > 0; left -= 1000) {
      this.#nowMs += Math.min(left, 1000)
      for (const tick of this.#ticks) tick()
      yield
    }
  }
}
