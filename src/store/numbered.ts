const pageItems = 256

interface Page<T> {
  readonly items: (T | undefined)[]
  used: number
}

/**
 * What goes by numbers that are handed out 1, 2, 3 …: in pages, so that what came one after the other is found side by side, and
 * a page without any goes.
 */
export class Numbered<T extends object> {
  readonly #pages = new Map<number, Page<T>>()
  /** The page that was asked for last. */
  #last: Page<T> | undefined = undefined
  #lastAt = -1
  #size = 0

  get size(): number {
    return this.#size
  }

  get(number: number): T | undefined {
    return this.#page(number)?.items[number & (pageItems - 1)]
  }

  set(number: number, item: T): void {
    let page = this.#page(number)
    if (page === undefined) {
      page = { items: new Array<undefined>(pageItems).fill(undefined), used: 0 }
      this.#pages.set(Math.floor(number / pageItems), page)
    }
    const at = number & (pageItems - 1)
    if (page.items[at] === undefined) {
      page.used++
      this.#size++
    }
    page.items[at] = item
  }

  delete(number: number): void {
    const page = this.#page(number)
    const at = number & (pageItems - 1)
    if (page?.items[at] === undefined) return
    page.items[at] = undefined
    this.#size--
    if (--page.used > 0) return
    this.#pages.delete(Math.floor(number / pageItems))
    this.#last = undefined
    this.#lastAt = -1
  }

  *values(): Generator<T, void, void> {
    for (const { items } of this.#pages.values()) for (const item of items) if (item !== undefined) yield item
  }

  #page(number: number): Page<T> | undefined {
    const at = Math.floor(number / pageItems)
    if (at === this.#lastAt) return this.#last
    const page = this.#pages.get(at)
    if (page === undefined) return undefined
    this.#lastAt = at
    return (this.#last = page)
  }
}
