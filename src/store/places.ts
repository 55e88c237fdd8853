import type { Lsn } from './port.ts'

/** Places of a page that queues share, and how many a queue has at least. */
export const pagePlaces = 4096
const fewest = 4
/** Larger blocks are pages of their own. */
const largestShared = pagePlaces / 8

/** How many places a queue of `length` gets: a power of two. */
export function placesFor(length: number): number {
  let places = fewest
  while (places < length) places *= 2
  return places
}

/**
 * Room for what queues know of their messages, in blocks of 4, 8, 16 … places. A page is cut into blocks of one size, so that
 * a queue needs no arrays of its own: a hundred thousand small ones cost their places and nothing else, and who gets the same
 * messages stands side by side. Blocks that are given back are used again, and a page without any goes.
 *
 *   page of 4 × 1024:  [ queue │ queue │ free │ queue │ …          a block is named by its page and its first place
 */
export class Places {
  /** Pages with a free block, by how many places a block has. */
  readonly #open = new Map<number, Set<Page>>()

  /** A page with a free block of so many places, a power of two: `take` it. */
  page(places: number): Page {
    if (places > largestShared) return new Page(places, places, undefined)
    let open = this.#open.get(places)
    if (open === undefined) this.#open.set(places, (open = new Set()))
    for (const page of open) return page
    const page = new Page(pagePlaces, places, open)
    open.add(page)
    return page
  }
}

export class Page {
  /** An `Entry` each. */
  readonly entries: Uint32Array
  /** Made with the first one: what is in memory only has none. */
  #lsns: Float64Array | undefined = undefined
  #expiries: Uint32Array | undefined = undefined
  readonly #blockPlaces: number
  /** Where those with a free block are; undefined for a page that is one block, which comes and goes with its queue. */
  readonly #open: Set<Page> | undefined
  /** The block that was given back last, and one more; the others are chained through their first entry. */
  #free = 0
  /** Behind the last block that was ever taken. */
  #touched = 0
  #taken = 0

  constructor(places: number, blockPlaces: number, open: Set<Page> | undefined) {
    this.entries = new Uint32Array(places)
    this.#blockPlaces = blockPlaces
    this.#open = open
  }

  /** Where the lsn of a place is; 0: nowhere. */
  lsn(place: number): Lsn {
    return this.#lsns === undefined ? 0 : this.#lsns[place]!
  }

  setLsn(place: number, lsn: Lsn): void {
    ;(this.#lsns ??= new Float64Array(this.entries.length))[place] = lsn
  }

  /** The store's seconds (`dropSeconds`); 0: never. */
  expiry(place: number): number {
    return this.#expiries === undefined ? 0 : this.#expiries[place]!
  }

  setExpiry(place: number, atSeconds: number): void {
    ;(this.#expiries ??= new Uint32Array(this.entries.length))[place] = atSeconds
  }

  /** Nothing stands there any more but the entry. */
  forget(place: number): void {
    if (this.#lsns !== undefined) this.#lsns[place] = 0
    if (this.#expiries !== undefined) this.#expiries[place] = 0
  }

  /** Takes a free block, of zeros; gives its first place. */
  take(): number {
    this.#taken++
    let first = this.#free - 1
    if (first < 0) {
      first = this.#touched
      this.#touched += this.#blockPlaces
    } else {
      this.#free = this.entries[first]!
      const end = first + this.#blockPlaces
      this.entries.fill(0, first, end)
      this.#lsns?.fill(0, first, end)
      this.#expiries?.fill(0, first, end)
    }
    if (this.#free === 0 && this.#touched === this.entries.length) this.#open?.delete(this)
    return first
  }

  /** Gives back the block that begins at `first`. */
  release(first: number): void {
    this.entries[first] = this.#free
    this.#free = first + 1
    this.#taken--
    const open = this.#open
    if (open === undefined) return
    open.add(this)
    // One that is empty is kept, so that a queue that comes and goes does not take its page along.
    if (this.#taken === 0 && open.size > 1) open.delete(this)
  }

  /** Copies `count` places to `at` of another page. */
  copy(from: number, count: number, to: Page, at: number): void {
    to.entries.set(this.entries.subarray(from, from + count), at)
    if (this.#lsns) (to.#lsns ??= new Float64Array(to.entries.length)).set(this.#lsns.subarray(from, from + count), at)
    if (this.#expiries)
      (to.#expiries ??= new Uint32Array(to.entries.length)).set(this.#expiries.subarray(from, from + count), at)
  }
}

/** What a queue has that has nothing. */
export const noPage = new Page(0, 0, undefined)
