/** What has a last moment; `heapAt` is where the heap keeps it, below 0 when it does not. */
export interface Expiring {
  readonly expiresAtMs: number
  heapAt: number
}

/** A binary heap by last moment. Each item knows its index, so that one that is replaced or cleared leaves no trace. */
export class ExpiryHeap<T extends Expiring> {
  readonly #heap: T[] = []

  /** The item that expires first. */
  get first(): T | undefined {
    return this.#heap[0]
  }

  /** Keeps an item that is not kept yet; one that never expires is passed over. */
  add(item: T): void {
    if (item.expiresAtMs !== Infinity) this.#rise(item, this.#heap.length)
  }

  remove(item: T): void {
    const at = item.heapAt
    if (at < 0) return
    item.heapAt = -1
    const last = this.#heap.pop()!
    if (last === item) return
    if (at > 0 && last.expiresAtMs < this.#heap[(at - 1) >>> 1]!.expiresAtMs) this.#rise(last, at)
    else this.#sink(last, at)
  }

  #rise(item: T, hole: number): void {
    let at = hole
    while (at > 0) {
      const parent = this.#heap[(at - 1) >>> 1]!
      if (parent.expiresAtMs <= item.expiresAtMs) break
      at = this.#put(parent, at, (at - 1) >>> 1)
    }
    this.#put(item, at, at)
  }

  #sink(item: T, hole: number): void {
    let at = hole
    for (let child = at * 2 + 1; child < this.#heap.length; child = at * 2 + 1) {
      const right = this.#heap[child + 1]
      if (right !== undefined && right.expiresAtMs < this.#heap[child]!.expiresAtMs) child++
      const least = this.#heap[child]!
      if (item.expiresAtMs <= least.expiresAtMs) break
      at = this.#put(least, at, child)
    }
    this.#put(item, at, at)
  }

  /** Puts an item into the hole `at`; the hole is at `from` now. */
  #put(item: T, at: number, from: number): number {
    this.#heap[at] = item
    item.heapAt = at
    return from
  }
}
