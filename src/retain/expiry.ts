/** Where the heap keeps an item; below 0 when it does not. */
export interface Heaped {
  heapAt: number
}

/**
 * A binary heap by last moment. Each item knows its index, so that one that is replaced or cleared leaves no trace. The
 * moments stand in an array of their own: to compare them touches no item.
 */
export class ExpiryHeap<T extends Heaped> {
  readonly #times: number[] = []
  readonly #items: T[] = []

  /** The item that expires first, if that is at `nowMs` or before. */
  expired(nowMs: number): T | undefined {
    return this.#items.length > 0 && this.#times[0]! <= nowMs ? this.#items[0] : undefined
  }

  /** Keeps an item that is not kept yet; one that never expires is passed over. */
  add(item: T, expiresAtMs: number): void {
    if (expiresAtMs !== Infinity) this.#rise(item, expiresAtMs, this.#items.length)
  }

  remove(item: T): void {
    const at = item.heapAt
    if (at < 0) return
    item.heapAt = -1
    const last = this.#items.pop()!
    const time = this.#times.pop()!
    if (last === item) return
    if (at > 0 && time < this.#times[(at - 1) >>> 1]!) this.#rise(last, time, at)
    else this.#sink(last, time, at)
  }

  /** Puts an item into the hole, or above it. */
  #rise(item: T, time: number, hole: number): void {
    let at = hole
    for (let parent = (at - 1) >>> 1; at > 0 && this.#times[parent]! > time; parent = (at - 1) >>> 1) {
      this.#put(this.#items[parent]!, this.#times[parent]!, at)
      at = parent
    }
    this.#put(item, time, at)
  }

  /** Puts an item into the hole, or below it. */
  #sink(item: T, time: number, hole: number): void {
    let at = hole
    for (let child = at * 2 + 1; child < this.#items.length; child = at * 2 + 1) {
      if (child + 1 < this.#items.length && this.#times[child + 1]! < this.#times[child]!) child++
      if (this.#times[child]! >= time) break
      this.#put(this.#items[child]!, this.#times[child]!, at)
      at = child
    }
    this.#put(item, time, at)
  }

  #put(item: T, time: number, at: number): void {
    this.#items[at] = item
    this.#times[at] = time
    item.heapAt = at
  }
}
