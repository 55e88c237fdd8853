import type { Clock } from '../host.ts'

/** A wall clock that is behind by more has forgotten the time; what is less somebody may have meant. */
const forgottenMs = 3_600_000
/** By how much the wall clock and the monotonic one may drift apart until that is worth a record. */
const driftMs = 1000

/**
 * The time of a store, in which all is written down that must come to its end, and when a frame was sealed. It goes on with
 * the monotonic clock while the process runs. How long none has run only the wall clock can tell: so it is written down
 * by how much that is ahead, and each time that somebody has set it.
 *
 *   wall clock   ─────────┐ is set   ┌───────────     ahead = wall clock − store's time
 *                         └──────────┘
 *   store's time ─────────────────────···─────────    never goes back, and begins as the wall clock does
 *                  a process           the next one
 */
export class StoreTime {
  /** From the monotonic clock to the store's time. */
  offsetMs = 0
  readonly #clock: Clock
  #writtenMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Goes on where a store was last heard of, and by how much the wall clock was ahead then. One that is behind that has been
   * set back since, or has forgotten the time: then nobody knows how long it was, and it counts as nothing. One that was far
   * behind the store, and is not any more, was set right: nobody takes the time until then for a pause.
   */
  resume(lastMs: number, aheadMs: number): void {
    const wallMs = this.#clock.wall()
    const isSetRight = aheadMs < -forgottenMs && wallMs >= lastMs
    this.#writtenMs = aheadMs
    this.offsetMs = Math.max(lastMs, isSetRight ? wallMs : wallMs - aheadMs) - this.#clock.now()
  }

  now(): number {
    return this.#clock.now() + this.offsetMs
  }

  get aheadMs(): number {
    return this.#clock.wall() - this.now()
  }

  /** The wall clock was set since that was last written down. */
  get wasSet(): boolean {
    return Math.abs(this.aheadMs - this.#writtenMs) > driftMs
  }

  /** Gives what is to be written down now. */
  written(): number {
    return (this.#writtenMs = this.aheadMs)
  }
}

/**
 * The second in which a queue drops what expires at `atMs` of its store's time; 0: in none. What expires beyond 32 bits stays, and
 * whoever sends it looks at the message.
 */
export function dropSeconds(atMs: number): number {
  const seconds = Math.max(1, Math.ceil(atMs / 1000))
  return seconds > 0xffff_ffff ? 0 : seconds
}
