/** From so many on the others cost nothing more. */
const few = 256
const words = 65_536 / 32

/**
 * A set of packet ids: a few as they are, many as a bit each. So a client that never releases one has 8 KiB of us and no more,
 * whatever version it speaks: 3.x knows no receive maximum, and its PUBREL may stand behind any number of messages.
 */
export class PacketIds {
  size = 0
  readonly #few = new Set<number>()
  #bits: Uint32Array | undefined = undefined

  has(id: number): boolean {
    return this.#bits === undefined ? this.#few.has(id) : (this.#bits[id >>> 5]! & (1 << (id & 31))) !== 0
  }

  add(id: number): void {
    if (this.has(id)) return
    this.size++
    if (this.#bits === undefined && this.size > few) this.#spread()
    if (this.#bits === undefined) this.#few.add(id)
    else this.#bits[id >>> 5]! |= 1 << (id & 31)
  }

  /** False when it was not there. */
  delete(id: number): boolean {
    if (!this.has(id)) return false
    this.size--
    if (this.#bits === undefined) this.#few.delete(id)
    else if (this.size === 0) this.#bits = undefined
    else this.#bits[id >>> 5]! &= ~(1 << (id & 31))
    return true
  }

  *[Symbol.iterator](): Generator<number> {
    if (this.#bits === undefined) return yield* this.#few
    for (let id = 0; id < words * 32; id++) if (this.has(id)) yield id
  }

  /** Bytes that its bits take. */
  get bytes(): number {
    return this.#bits?.byteLength ?? 0
  }

  #spread(): void {
    this.#bits = new Uint32Array(words)
    for (const id of this.#few) this.#bits[id >>> 5]! |= 1 << (id & 31)
    this.#few.clear()
  }
}
