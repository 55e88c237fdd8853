const leafItems = 256

/** Where a reader stands. It holds nothing alive and may be dropped at any time. */
export interface Place {
  version: number
  leaf: number
  index: number
}

/**
 * Items in the order of their names, in leaves of at most 256. A million items are about 6,000 leaves, so an insert moves
 * a few KiB at worst, and nothing is ever rebuilt at once.
 *
 *   bounds   ""            "dev/3/temp"        "site/1"         leaf i holds the names from bounds[i] up to bounds[i + 1]
 *   leaves   [a, b, b/1]   [dev/3/temp, …]     [site/1, …]
 */
export class Ordered<T extends { readonly name: string }> {
  readonly #bounds: string[] = ['']
  readonly #leaves: T[][] = [[]]
  /** Counts inserts and removals: a place of another version must be looked for again. */
  #version = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  find(name: string): T | undefined {
    const leaf = this.#leaves[this.#leafOf(name)]!
    const item = leaf[lowerBound(leaf, name, 0)]
    return item?.name === name ? item : undefined
  }

  /** Adds an item whose name is not there yet. */
  insert(item: T): void {
    const at = this.#leafOf(item.name)
    const leaf = this.#leaves[at]!
    leaf.splice(lowerBound(leaf, item.name, 0), 0, item)
    this.#version++
    this.#size++
    if (leaf.length <= leafItems) return
    const right = leaf.splice(leafItems / 2)
    this.#leaves.splice(at + 1, 0, right)
    this.#bounds.splice(at + 1, 0, right[0]!.name)
  }

  /** Removes an item that is there. */
  remove(item: T): void {
    const at = this.#leafOf(item.name)
    const leaf = this.#leaves[at]!
    leaf.splice(lowerBound(leaf, item.name, 0), 1)
    this.#version++
    this.#size--
    const right = Math.min(at + 1, this.#leaves.length - 1)
    if (right === 0 || this.#leaves[right - 1]!.length + this.#leaves[right]!.length > leafItems / 2) return
    this.#leaves[right - 1] = this.#leaves[right - 1]!.concat(this.#leaves[right]!)
    this.#leaves.splice(right, 1)
    this.#bounds.splice(right, 1)
  }

  /** All of them, in order. Nothing may be inserted or removed meanwhile. */
  *all(): Generator<T, void, void> {
    for (const leaf of this.#leaves) yield* leaf
  }

  /** Goes to the first item whose name is not below `name`. */
  seek(place: Place, name: string): T | undefined {
    const leaf = this.#leaves[place.leaf]
    const here = leaf?.[place.index]
    // Most jumps are short, and forward. Whatever the place was, this leaf will do if it has `name` from there on.
    if (here === undefined || here.name > name || leaf![leaf!.length - 1]!.name < name) {
      place.leaf = this.#leafOf(name)
      place.index = 0
    }
    place.version = this.#version
    place.index = lowerBound(this.#leaves[place.leaf]!, name, place.index)
    return this.#here(place)
  }

  /** Goes to the first item behind `name`, which the place stood at; the item itself may have gone since. */
  after(place: Place, name: string): T | undefined {
    if (place.version !== this.#version && this.seek(place, name)?.name !== name) return this.#here(place)
    place.index++
    return this.#here(place)
  }

  #here(place: Place): T | undefined {
    let leaf = this.#leaves[place.leaf]!
    while (place.index === leaf.length && place.leaf < this.#leaves.length - 1) {
      leaf = this.#leaves[++place.leaf]!
      place.index = 0
    }
    return leaf[place.index]
  }

  /** The leaf that holds `name`, or would. */
  #leafOf(name: string): number {
    let low = 0
    let high = this.#bounds.length
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if (this.#bounds[middle]! <= name) low = middle
      else high = middle
    }
    return low
  }
}

/** The index in `leaf`, from `low` on, of the first name that is not below `name`. */
function lowerBound(leaf: readonly { readonly name: string }[], name: string, low: number): number {
  let high = leaf.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (leaf[middle]!.name < name) low = middle + 1
    else high = middle
  }
  return low
}
