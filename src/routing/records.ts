const pageBits = 10
const perPage = 1 << pageBits
const inPage = perPage - 1
const released = new Int32Array(0)

/**
 * Records of a few 32-bit integers each, named by number, off the JavaScript heap. Number 0 is never given out: "none".
 *
 *   id = page << 10 | place          page: [ field 0 … field w-1 │ field 0 … field w-1 │ … 1,024 of them ]
 *
 * It grows by a page and never copies, so no call stalls on a million records (a JavaScript Map of a million takes 50 ms
 * to rehash), and the garbage collector has nothing to trace. A page whose records are all free goes back to the system.
 */
export class Records {
  /** Pages given back keep their number, as `released`. */
  readonly #pages: Int32Array[] = []
  /** The record of each page that was freed last; the others are chained through their field 0. */
  readonly #free: number[] = []
  /** Places of each page that have been given out at least once. */
  readonly #touched: number[] = []
  readonly #live: number[] = []
  /** Pages with a place left. */
  readonly #open: number[] = []
  /** One empty page is kept, so that a record that comes and goes does not take its page along. */
  #spare = -1
  readonly #width: number

  constructor(width: number) {
    this.#width = width
  }

  get(id: number, field: number): number {
    return this.#pages[id >>> pageBits]![(id & inPage) * this.#width + field]!
  }

  set(id: number, field: number, value: number): void {
    this.#pages[id >>> pageBits]![(id & inPage) * this.#width + field] = value
  }

  add(id: number, field: number, change: number): number {
    const value = this.get(id, field) + change
    this.set(id, field, value)
    return value
  }

  /** A record of zeros. */
  allocate(): number {
    if (this.#open.length === 0) this.#open.push(this.#pages.push(released) - 1)
    const page = this.#open[this.#open.length - 1]!
    if (this.#pages[page] === released) this.#prepare(page)
    if (this.#spare === page) this.#spare = -1
    let id = this.#free[page]!
    if (id === 0) id = (page << pageBits) | this.#touched[page]!++
    else {
      this.#free[page] = this.get(id, 0)
      for (let field = 0; field < this.#width; field++) this.set(id, field, 0)
    }
    this.#live[page]!++
    if (this.#free[page] === 0 && this.#touched[page] === perPage) this.#open.pop()
    return id
  }

  free(id: number): void {
    const page = id >>> pageBits
    if (this.#free[page] === 0 && this.#touched[page] === perPage) this.#open.push(page)
    this.set(id, 0, this.#free[page]!)
    this.#free[page] = id
    if (--this.#live[page]! > 0) return
    if (this.#spare < 0) this.#spare = page
    else this.#pages[page] = released
  }

  /** Memory in use, pages whole. */
  get bytes(): number {
    let bytes = 0
    for (const page of this.#pages) bytes += page.byteLength
    return bytes
  }

  #prepare(page: number): void {
    this.#pages[page] = new Int32Array(perPage * this.#width)
    this.#free[page] = 0
    this.#live[page] = 0
    this.#touched[page] = page === 0 ? 1 : 0
  }
}
