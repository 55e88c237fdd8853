import { HashIndex, pairHash } from './hash-index.ts'
import { Records } from './records.ts'

// An entry:   list, 0: not in the table · who · grant · before · after
const listField = 0
const whoField = 1
const grantField = 2
const before = 3
const after = 4

/**
 * The subscriptions of each filter: a doubly linked list, and one hash table (list, who) → entry for all of them, so that
 * the ten-thousandth subscriber of a filter is found, added and removed as fast as the first. Who came first is not in the
 * table, as he is found at the head: most lists are that one entry.
 *
 *   head ─ group ⇄ subscriber ⇄ subscriber ⇄ group        `who`: a seat (0 or more), or a group (below 0)
 *    ╰──── before ─────────────────────────────╯          the head's `before` is the tail
 */
export class Lists {
  readonly #entries = new Records(5)
  readonly #index = new HashIndex()
  readonly #secret: number

  constructor(secret: number) {
    this.#secret = secret
  }

  get bytes(): number {
    return this.#entries.bytes + this.#index.bytes
  }

  /** The entry of `who` in the list that starts at `head`; 0 when there is none. */
  find(head: number, list: number, who: number): number {
    const entries = this.#entries
    if (head === 0 || entries.get(head, whoField) === who) return head
    if (entries.get(head, after) === 0) return 0
    for (let id = this.#index.first(pairHash(this.#secret, list, who)); id !== 0; id = this.#index.next())
      if (entries.get(id, listField) === list && entries.get(id, whoField) === who) return id
    return 0
  }

  who(entry: number): number {
    return this.#entries.get(entry, whoField)
  }

  /** A subscriber's packed grant, or the number of a group. */
  grant(entry: number): number {
    return this.#entries.get(entry, grantField)
  }

  setGrant(entry: number, grant: number): void {
    this.#entries.set(entry, grantField, grant)
  }

  after(entry: number): number {
    return this.#entries.get(entry, after)
  }

  /** Adds an entry to the list that starts at `head` (0: empty), and gives its new head. */
  add(head: number, list: number, who: number, grant: number): number {
    const entries = this.#entries
    const entry = entries.allocate()
    entries.set(entry, whoField, who)
    entries.set(entry, grantField, grant)
    if (head === 0) {
      entries.set(entry, before, entry)
      return entry
    }
    entries.set(entry, listField, list)
    this.#index.insert(pairHash(this.#secret, list, who), entry)
    const tail = entries.get(head, before)
    entries.set(entry, before, tail)
    entries.set(head, before, entry)
    entries.set(tail, after, entry)
    return head
  }

  /** Removes an entry from the list that starts at `head`, and gives its new head. */
  remove(head: number, entry: number): number {
    const entries = this.#entries
    const previous = entries.get(entry, before)
    const following = entries.get(entry, after)
    if (entry !== head) entries.set(previous, after, following)
    const newHead = entry === head ? following : head
    if (following !== 0) entries.set(following, before, previous)
    else if (newHead !== 0) entries.set(newHead, before, previous)
    const list = entries.get(entry, listField)
    if (list !== 0) this.#index.remove(pairHash(this.#secret, list, entries.get(entry, whoField)), entry)
    entries.free(entry)
    return newHead
  }
}
