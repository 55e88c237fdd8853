import type { Lsn } from '../../src/store/port.ts'
import type { Time } from './time.ts'

/** One direction of a link: whatever enters leaves in the same order, at times of its own. */
export class Lane {
  /** Nothing that entered before arrives any more once it is cut. */
  cut = false
  #lastMs = 0
  readonly #time: Time

  constructor(time: Time) {
    this.#time = time
  }

  pass(delayMs: number, arrive: () => void): void {
    this.#lastMs = Math.max(this.#lastMs + 1e-6, this.#time.now() + delayMs)
    this.#time.at(this.#lastMs, () => {
      if (!this.cut) arrive()
    })
  }
}

/** What was true when some bytes left the broker. */
export interface Stamp {
  /** Records below it were durable. */
  readonly durable: Lsn
  readonly ms: number
}

/** The stamps of all bytes that went one way. */
export class Stamps {
  readonly #stamps: { readonly end: number; readonly stamp: Stamp }[] = []
  #bytes = 0
  #at = 0

  note(bytes: number, stamp: Stamp): void {
    this.#bytes += bytes
    this.#stamps.push({ end: this.#bytes, stamp })
  }

  /** The stamp of the byte at `offset`; ask with growing offsets. */
  at(offset: number): Stamp {
    while (this.#stamps[this.#at]!.end <= offset) this.#at++
    return this.#stamps[this.#at]!.stamp
  }
}
