/**
 * Bytes of the messages of a stream that are on their way: a ring by their places that grows with them, as most streams have
 * few.
 */
export class InFlight {
  bytes = 0
  #sizes = new Uint32Array(leastPlaces)
  /** Places: the first that is on its way, and the one behind the last. */
  #first = 0
  #next = 0

  /** The message at a place behind all others has gone. */
  sent(seq: number, bytes: number): void {
    if (this.#first === this.#next) this.#first = this.#next = seq
    while (seq - this.#first >= this.#sizes.length) this.#grow()
    const mask = this.#sizes.length - 1
    // What is not sent at all leaves a gap.
    for (; this.#next < seq; this.#next++) this.#sizes[this.#next & mask] = 0
    this.#sizes[seq & mask] = bytes
    this.#next = seq + 1
    this.bytes += bytes
  }

  /** All up to this place have come to their end. */
  arrived(seq: number): void {
    const mask = this.#sizes.length - 1
    for (; this.#first <= seq && this.#first < this.#next; this.#first++) this.bytes -= this.#sizes[this.#first & mask]!
  }

  clear(): void {
    this.bytes = this.#first = this.#next = 0
  }

  #grow(): void {
    const sizes = this.#sizes
    const more = new Uint32Array(sizes.length * 2)
    for (let seq = this.#first; seq < this.#next; seq++)
      more[seq & (more.length - 1)] = sizes[seq & (sizes.length - 1)]!
    this.#sizes = more
  }
}

/** A power of two. */
const leastPlaces = 64
