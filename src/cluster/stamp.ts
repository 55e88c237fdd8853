import type { Clock } from '../host.ts'
import { isNewer, type Stamp } from '../mqtt/stamp.ts'

/** A stamp further ahead of our clock than this is not believed: it would win over all that is set for as long. */
export const mostAheadMs = 60_000
const counts = 0x1_0000

/**
 * A hybrid logical clock: the wall clock, or ahead of it where another node's is. What is stamped after something was seen
 * is newer than that.
 */
export class StampClock {
  readonly #node: string
  readonly #clock: Clock
  /** From the monotonic clock to the wall clock, as that was at the start. */
  readonly #offsetMs: number
  #ms = 0
  #count = 0

  constructor(node: string, clock: Clock) {
    this.#node = node
    this.#clock = clock
    this.#offsetMs = clock.wall() - clock.now()
  }

  /**
   * A stamp for a change that is made now.
   * @param after what it must be newer than, even where that is too far ahead to be followed
   */
  next(after: Stamp | undefined): Stamp {
    const wallMs = Math.max(1, Math.floor(this.#clock.wall()))
    // Set ahead, and right again: nobody would believe what goes on from there.
    const wasAhead = this.#ms > wallMs + mostAheadMs && this.#isAsAtStart(wallMs)
    if (wallMs > this.#ms || wasAhead) this.#set(wallMs, 0)
    else this.#set(this.#ms, this.#count + 1)
    const stamp = { ms: this.#ms, count: this.#count, node: this.#node }
    if (after === undefined || isNewer(stamp, after)) return stamp
    const full = after.count + 1 === counts
    return { node: this.#node, ms: full ? after.ms + 1 : after.ms, count: full ? 0 : after.count + 1 }
  }

  /** Another node's stamp was seen. False when it is too far ahead to be true: then nothing changes. */
  saw({ ms, count }: Stamp): boolean {
    if (this.isAhead(ms)) return false
    if (ms > this.#ms || (ms === this.#ms && count > this.#count)) this.#set(ms, count)
    return true
  }

  isAhead(ms: number): boolean {
    return ms > this.#clock.wall() + mostAheadMs
  }

  #isAsAtStart(wallMs: number): boolean {
    return Math.abs(wallMs - this.#clock.now() - this.#offsetMs) <= mostAheadMs
  }

  #set(ms: number, count: number): void {
    this.#ms = count === counts ? ms + 1 : ms
    this.#count = count === counts ? 0 : count
  }
}
