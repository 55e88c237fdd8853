import { HashIndex } from './hash-index.ts'
import { type Path, wordAt } from './path.ts'
import { Records } from './records.ts'

// A level:   hash · uses · length in bytes · its first 12 bytes · first cell of the others
const hashed = 0
const uses = 1
const length = 2
const text = 3
const words = 3
const rest = text + words
// A cell:    next cell · 12 bytes of text
const next = 0

/** Levels by number, each kept once: of a million filters, a few thousand levels differ. Numbers start at 1. */
export class Levels {
  readonly #levels = new Records(rest + 1)
  readonly #cells = new Records(1 + words)
  readonly #index = new HashIndex()

  get size(): number {
    return this.#index.size
  }

  get bytes(): number {
    return this.#levels.bytes + this.#cells.bytes + this.#index.bytes
  }

  /** The number of level `at` of `path`; 0 when nobody uses it. */
  find(path: Path, at: number): number {
    const hash = path.hashes[at]!
    for (let id = this.#index.first(hash); id !== 0; id = this.#index.next())
      if (this.#equals(id, path.bytes, path.starts[at]!, path.ends[at]!)) return id
    return 0
  }

  /** The same, stored when it is new. The caller must then `hold` it. */
  intern(path: Path, at: number): number {
    return this.find(path, at) || this.#store(path.hashes[at]!, path.bytes, path.starts[at]!, path.ends[at]!)
  }

  /** Counts a use more. */
  hold(id: number): void {
    this.#levels.add(id, uses, 1)
  }

  /** Counts a use fewer; the last one frees the level. */
  release(id: number): void {
    if (this.#levels.add(id, uses, -1) > 0) return
    this.#index.remove(this.#levels.get(id, hashed), id)
    for (let cell = this.#levels.get(id, rest); cell !== 0;) {
      const after = this.#cells.get(cell, next)
      this.#cells.free(cell)
      cell = after
    }
    this.#levels.free(id)
  }

  /** How often the level is held. */
  uses(id: number): number {
    return this.#levels.get(id, uses)
  }

  #equals(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    const levels = this.#levels
    if (levels.get(id, length) !== end - start) return false
    let at = start
    for (let field = text; field < rest && at < end; field++, at += 4)
      if (levels.get(id, field) !== wordAt(bytes, at, end)) return false
    for (let cell = levels.get(id, rest); at < end; cell = this.#cells.get(cell, next))
      for (let word = 1; word <= words && at < end; word++, at += 4)
        if (this.#cells.get(cell, word) !== wordAt(bytes, at, end)) return false
    return true
  }

  #store(hash: number, bytes: Uint8Array, start: number, end: number): number {
    const levels = this.#levels
    const id = levels.allocate()
    levels.set(id, hashed, hash)
    levels.set(id, length, end - start)
    let at = start
    for (let field = text; field < rest; field++, at += 4) levels.set(id, field, wordAt(bytes, at, end))
    for (let last = 0; at < end;) {
      const cell = this.#cells.allocate()
      if (last === 0) levels.set(id, rest, cell)
      else this.#cells.set(last, next, cell)
      for (let word = 1; word <= words; word++, at += 4) this.#cells.set(cell, word, wordAt(bytes, at, end))
      last = cell
    }
    this.#index.insert(hash, id)
    return id
  }
}
