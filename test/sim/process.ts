import type { Clock } from '../../src/host.ts'
import type { Time } from './time.ts'

/** The broker's process: while it is stopped, as by SIGSTOP, nothing of the outside reaches it, and its time goes on. */
export class Process implements Clock {
  #stopped = false
  readonly #time: Time
  #ticks: (() => void)[] = []
  #events: (() => void)[] = []

  constructor(time: Time) {
    this.#time = time
  }

  now(): number {
    return this.#time.now()
  }

  wall(): number {
    return this.#time.wall()
  }

  every(periodMs: number, tick: () => void): () => void {
    let waits = false
    return this.#time.every(periodMs, () => {
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
  }

  endOfTurn(run: () => void): void {
    this.#time.endOfTurn(() => this.enter(run))
  }

  /** Something reaches the process: at once, or when it goes on. */
  enter(event: () => void): void {
    if (this.#stopped) this.#events.push(event)
    else event()
  }

  get isStopped(): boolean {
    return this.#stopped
  }

  stop(): void {
    this.#stopped = true
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
