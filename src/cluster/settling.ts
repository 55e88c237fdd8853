import type { Clock } from '../host.ts'
import type { Durability, Lsn, Store } from '../store/port.ts'

/** What waits for the disk for longer is told without saying that all of it is there. */
const settleMs = 1000

/** Waits until what it tells of is on disk. */
interface Unsettled {
  readonly synced: Lsn
  readonly written: Lsn
  readonly sinceMs: number
  readonly run: (durable: boolean) => void
}

/** Knows which changes are not as safe yet as they will be: others may not count on them. */
export class Settling {
  readonly #store: Store
  readonly #clock: Clock
  /** The last change that must be synced, or written. */
  #synced: Lsn = 0
  #written: Lsn = 0
  #unsettled: Unsettled[] = []

  constructor(store: Store, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** A change stands at `lsn`. */
  note(lsn: Lsn, durability: Durability): void {
    if (durability === 'fsync') this.#synced = Math.max(this.#synced, lsn)
    else if (durability === 'os') this.#written = Math.max(this.#written, lsn)
  }

  /** Calls `run` once all changes so far are as safe as they will be; with false when that takes too long. */
  whenSettled(run: (durable: boolean) => void): void {
    const unsettled = { synced: this.#synced, written: this.#written, sinceMs: this.#clock.now(), run }
    if (this.#isSettled(unsettled)) run(true)
    else this.#unsettled.push(unsettled)
  }

  /** The store has come further. */
  progress(): void {
    if (this.#unsettled.length === 0) return
    const waiting = this.#unsettled
    this.#unsettled = []
    for (const unsettled of waiting)
      if (this.#isSettled(unsettled)) unsettled.run(true)
      else this.#unsettled.push(unsettled)
  }

  tick(nowMs: number): void {
    while (this.#unsettled.length > 0 && nowMs - this.#unsettled[0]!.sinceMs > settleMs)
      this.#unsettled.shift()!.run(false)
  }

  #isSettled({ synced, written }: Unsettled): boolean {
    const { durable, written: reached } = this.#store
    return (synced === 0 || synced < durable) && (written === 0 || written < reached)
  }
}
