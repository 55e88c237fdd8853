/** Something that wants to be called at a time. It may be called early, and then asks for its time again. */
export interface Timed {
  /** Monotonic milliseconds; Infinity when it wants nothing. */
  dueMs: number
  /** The slot that holds it, -1 when none. The wheel's own. */
  tick: number
  due(nowMs: number): void
}

const slots = 512

/**
 * A timing wheel: thousands of deadlines at the cost of one timer. A deadline that moves later costs nothing: its entry is
 * found early, and moved on. What lies beyond one turn (51 s) is looked at once a turn.
 *
 *   tick ▶ [0] [1] [2] … [511]      a slot holds what is due within its 100 ms, or must be looked at again
 */
export class TimingWheel {
  readonly resolutionMs = 100
  readonly #slots: Timed[][] = Array.from({ length: slots }, () => [])
  #tick: number

  constructor(nowMs: number) {
    this.#tick = Math.floor(nowMs / this.resolutionMs)
  }

  /** Calls `item.due` at `atMs` or up to two ticks later. Replaces an earlier wish of the same item. */
  schedule(item: Timed, atMs: number): void {
    item.dueMs = atMs
    if (atMs === Infinity) return
    const wanted = Math.max(Math.ceil(atMs / this.resolutionMs), this.#tick + 1)
    const tick = Math.min(wanted, this.#tick + slots - 1)
    if (item.tick > this.#tick && item.tick <= tick) return
    item.tick = tick
    this.#slots[tick % slots]!.push(item)
  }

  cancel(item: Timed): void {
    item.dueMs = Infinity
  }

  /** Calls everything that is due by `nowMs`. */
  advance(nowMs: number): void {
    const until = Math.floor(nowMs / this.resolutionMs)
    // After a long stop every slot is looked at once, not once a missed turn.
    if (until - this.#tick > slots) this.#skipTo(until - slots)
    while (this.#tick < until) {
      const tick = ++this.#tick
      const slot = this.#slots[tick % slots]!
      if (slot.length === 0) continue
      this.#slots[tick % slots] = []
      for (const item of slot) {
        // An entry that was replaced by an earlier one is found with another tick, and forgotten.
        if (item.tick !== tick) continue
        item.tick = -1
        if (item.dueMs > nowMs) this.schedule(item, item.dueMs)
        else item.due(nowMs)
      }
    }
  }

  #skipTo(tick: number): void {
    const moved = this.#slots.splice(0).flat()
    for (let i = 0; i < slots; i++) this.#slots.push([])
    this.#tick = tick
    for (const item of moved) {
      const dueMs = item.dueMs
      if (item.tick < 0) continue
      item.tick = -1
      this.schedule(item, dueMs)
    }
  }
}
