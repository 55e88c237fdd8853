import type { Clock } from '../../src/host.ts'
import type { Time } from './time.ts'

/** The broker's process: while it is stopped, as by SIGSTOP, nothing of the outside reaches it, and its time goes on. */
export class Process implements Clock {
  #stopped = false
  #over = false
  readonly #time: Time
  readonly #sinceMs: number
  readonly #skewMs: number
  readonly #intervals: (() => void)[] = []
  #ticks: (() => void)[] = []
  #events: (() => void)[] = []

  /**
   * @param sinceMs the world's time at which its monotonic clock showed 0
   * @param skewMs how far its wall clock is ahead
   */
  constructor(time: Time, sinceMs: number, skewMs = 0) {
    this.#time = time
    this.#sinceMs = sinceMs
    this.#skewMs = skewMs
  }

  now(): number {
    return this.#time.now() - this.#sinceMs
  }

  wall(): number {
    return this.#time.wall() + this.#skewMs
  }

  every(periodMs: number, tick: () => void): () => void {
    let waits = false
    const callOff = this.#time.every(periodMs, () => {
      // However many ticks a stopped process has missed, one is made up for.
      if (waits) return
      waits = true
      const run = () => {
        waits = false
        tick()
      }
      if (this.#stopped) this.#ticks.push(run)
      else run()
    })
    this.#intervals.push(callOff)
    return callOff
  }

  endOfTurn(run: () => void): void {
    this.#time.endOfTurn(() => this.enter(run))
  }

  /** Something reaches the process: at once, or when it goes on. */
  enter(event: () => void): void {
    if (this.#over) return
    if (this.#stopped) this.#events.push(event)
    else event()
  }

  get isStopped(): boolean {
    return this.#stopped
  }

  stop(): void {
    this.#stopped = true
  }

  /** It is over, at once and for good. */
  kill(): void {
    this.#over = true
    for (const callOff of this.#intervals) callOff()
    this.#ticks = this.#events = []
  }

  /** Goes on: what has come meanwhile is handled in its order, timers before it or behind it. */
  resume(timersFirst: boolean): void {
    const [ticks, events] = [this.#ticks, this.#events]
    this.#ticks = []
    this.#events = []
    this.#stopped = false
    for (const event of timersFirst ? [...ticks, ...events] : [...events, ...ticks]) event()
  }
}
