const smallestShift = 12

/**
 * Buffers of the log that nobody looks at any more, to be used again. They live too long to die young, so made anew for each
 * stretch of the log they would have the engine collect its old generation ten times a second, and more while a backlog
 * is read.
 */
export class Buffers {
  readonly #most: number
  /** By the logarithm of their size. */
  readonly #shelves: Buffer[][] = Array.from({ length: 33 }, () => [])

  /** @param most bytes of each size that are kept for later */
  constructor(most: number) {
    this.#most = most
  }

  /** A buffer of at least `bytes`, with whatever stands in it. */
  take(bytes: number): Buffer {
    const shift = Math.max(smallestShift, 32 - Math.clz32(bytes - 1))
    return this.#shelves[shift]!.pop() ?? Buffer.allocUnsafeSlow(2 ** shift)
  }

  /** Takes a buffer of `take` back. */
  give(buffer: Buffer): void {
    const shelf = this.#shelves[31 - Math.clz32(buffer.length)]!
    if ((shelf.length + 1) * buffer.length <= this.#most) shelf.push(buffer)
  }
}
