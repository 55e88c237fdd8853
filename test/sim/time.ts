import type { Clock } from '../../src/host.ts'
import type { Dice } from './dice.ts'

interface Event {
  readonly atMs: number
  /** Decides between events of the same moment. */
  readonly tie: number
  /** Goes on for ever, like a ticking clock: it does not keep the world busy. */
  readonly background: boolean
  run: (() => void) | undefined
}

/**
 * The only clock of a world, and its agenda. Time stands still while something runs, and then moves to the next event.
 *
 *   agenda: a binary heap by (time, a throw of the dice)
 */
export class Time implements Clock {
  /** Events that have run: a total order on everything that happens. */
  seq = 0
  /** How much slower than asked `every` may tick: above 1 to get through quiet days. */
  lazy = 1
  /** By how much the wall clock was set, altogether. */
  setMs = 0
  #nowMs: number
  #busy = 0
  readonly #dice: Dice
  readonly #heap: Event[] = []

  constructor(dice: Dice) {
    this.#dice = dice
    this.#nowMs = 1000 + dice.between(0, 1e6)
  }

  now(): number {
    return this.#nowMs
  }

  wall(): number {
    return 1_700_000_000_000 + this.#nowMs + this.setMs
  }

  /** Is something under way, apart from what ticks for ever? */
  get busy(): boolean {
    return this.#busy > 0
  }

  /** Runs `run` at `atMs`, or now if that is over; gives what calls it off. */
  at(atMs: number, run: () => void, background = false): () => void {
    const event: Event = { atMs, tie: this.#dice.below(0x1_0000_0000), background, run }
    if (!background) this.#busy++
    this.#push(event)
    return () => {
      if (event.run && !background) this.#busy--
      event.run = undefined
    }
  }

  after(delayMs: number, run: () => void, background = false): () => void {
    return this.at(this.#nowMs + delayMs, run, background)
  }

  every(periodMs: number, tick: () => void): () => void {
    let callOff: () => void
    // Like an interval of Node: late at times, and what was missed is not made up for.
    const next = () => {
      callOff = this.after(periodMs * this.lazy + (this.#dice.chance(0.1) ? this.#dice.between(0, 5) : 0), run, true)
    }
    const run = () => {
      next()
      tick()
    }
    next()
    return () => callOff()
  }

  endOfTurn(run: () => void): void {
    this.after(this.#dice.chance(0.3) ? this.#dice.between(0, 0.5) : 0, run)
  }

  /** Time goes on, and nothing runs: the process was stopped. */
  stall(ms: number): void {
    this.#nowMs += ms
  }

  /** Runs the next event. False when there is none. */
  step(): boolean {
    for (let event = this.#pop(); event; event = this.#pop()) {
      const { run } = event
      if (!run) continue
      event.run = undefined
      if (!event.background) this.#busy--
      if (event.atMs > this.#nowMs) this.#nowMs = event.atMs
      this.seq++
      run()
      return true
    }
    return false
  }

  /** When the next event runs; Infinity when there is none. */
  get nextMs(): number {
    while (this.#heap.length > 0 && !this.#heap[0]!.run) this.#pop()
    return this.#heap[0]?.atMs ?? Infinity
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const parent = (at - 1) >>> 1
      if (!before(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  #pop(): Event | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (let child = 1; child < heap.length; child = at * 2 + 1) {
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.tie < b.tie)
}
