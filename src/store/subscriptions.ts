/** The grants of a session, packed, by filter as the client wrote it. Most sessions have one filter: no map is made for that. */
export class Subscriptions implements Iterable<readonly [filter: string, grant: number]> {
  #first: string | undefined = undefined
  #grant = 0
  #others: Map<string, number> | undefined = undefined

  get size(): number {
    return (this.#first === undefined ? 0 : 1) + (this.#others?.size ?? 0)
  }

  get(filter: string): number | undefined {
    return filter === this.#first ? this.#grant : this.#others?.get(filter)
  }

  has(filter: string): boolean {
    return this.get(filter) !== undefined
  }

  set(filter: string, grant: number): void {
    if (this.size === 0 || filter === this.#first) {
      this.#first = filter
      this.#grant = grant
    } else (this.#others ??= new Map<string, number>()).set(filter, grant)
  }

  delete(filter: string): boolean {
    if (filter !== this.#first) return this.#others?.delete(filter) ?? false
    this.#first = undefined
    return true
  }

  clear(): void {
    this.#first = this.#others = undefined
  }

  *keys(): Generator<string, void, void> {
    for (const [filter] of this) yield filter
  }

  *[Symbol.iterator](): Generator<readonly [filter: string, grant: number], void, void> {
    if (this.#first !== undefined) yield [this.#first, this.#grant]
    if (this.#others) yield* this.#others
  }
}
