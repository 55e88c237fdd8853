import { noPage, type Page, type Places, placesFor } from './places.ts'
import { Entry, type Lsn, type QueueView } from './port.ts'
import { chunkOf } from './tracks.ts'

/**
 * A queue while it is put together from the index and the log: a straight stretch of places that grows at its end.
 *
 *   base ── gone ── head ── places ── next ── room ──
 */
export class RecoveredQueue implements QueueView {
  /** What the session had when the index looked at it: records from before are in there. */
  lsn: Lsn = 0
  head = 0
  next = 0
  /** Numbers from here on came from the log; undefined: none. */
  appendedFrom: number | undefined = undefined
  /** Chunks below that in which something has changed since. */
  chunks: Set<number> | undefined = undefined
  readonly #places: Places
  #page: Page = noPage
  /** Its block of the page. */
  #block = 0
  #size = 0
  /** The number that stands at the beginning of the block. */
  #base = 0

  constructor(places: Places) {
    this.#places = places
  }

  lsnOf(seq: number): Lsn {
    return this.#page.lsn(this.#at(seq))
  }

  entryOf(seq: number): number {
    return this.#page.entries[this.#at(seq)]!
  }

  expiryOf(seq: number): number {
    return this.#page.expiry(this.#at(seq))
  }

  /** The index shows places [head, next), all of them gone so far. */
  open(lsn: Lsn, head: number, next: number): void {
    this.lsn = lsn
    this.head = this.#base = head
    this.next = next
    if (next > head) this.#resize(next - head)
  }

  /** The index shows what stands at a place. */
  place(seq: number, entry: number, lsn: Lsn, expirySeconds: number): void {
    if (seq < this.head || seq >= this.next) return
    this.#set(seq, entry, lsn, expirySeconds)
  }

  /** The log has the next message, with the lowest 16 bits of its number. Gives the number. */
  numberOf(low: number): number {
    return this.next + ((low - this.next) & 0xffff)
  }

  append(seq: number, entry: number, lsn: Lsn, expirySeconds: number): void {
    this.appendedFrom ??= seq
    if (this.head === this.next) this.#base = this.head = this.next = seq
    this.#makeRoom(seq + 1)
    this.#page.entries.fill(Entry.gone, this.#at(this.next), this.#at(seq))
    this.next = seq + 1
    this.#set(seq, entry, lsn, expirySeconds)
  }

  /** A message that was in memory only, when later ones were written already. */
  fill(seq: number, entry: number, lsn: Lsn, expirySeconds: number): void {
    // The log began with one of the later ones.
    if (seq < this.head) this.#reopen(seq)
    else if ((this.entryOf(seq) & Entry.stateBits) !== Entry.gone) return
    this.#set(seq, entry, lsn, expirySeconds)
    this.#touch(seq)
  }

  /** The queue begins at `head` from now on. */
  trim(head: number): void {
    if (head > this.head) this.head = head
    if (head > this.next) this.next = this.#base = head
  }

  gone(seq: number): void {
    if (!this.#has(seq)) return
    this.#page.entries[this.#at(seq)] = Entry.gone
    this.#touch(seq)
  }

  released(seq: number): void {
    if (!this.#has(seq)) return
    const entry = this.entryOf(seq)
    if ((entry & Entry.stateBits) === Entry.gone) return
    this.#page.entries[this.#at(seq)] = (entry & ~Entry.stateBits) | Entry.released
    this.#touch(seq)
  }

  moved(seq: number, lsn: Lsn): void {
    if (!this.#has(seq)) return
    this.#page.setLsn(this.#at(seq), lsn)
    this.#touch(seq)
  }

  /** Gives its places back: whoever took the queue over has copied them. */
  release(): void {
    if (this.#size > 0) this.#page.release(this.#block)
    this.head = this.next
    this.#size = 0
    this.#page = noPage
  }

  /** Calls `entry` for each place that is alive; what it returns false for is gone from then on. */
  sift(entry: (seq: number, lsn: Lsn) => boolean): void {
    for (let seq = this.head; seq < this.next; seq++) {
      if ((this.entryOf(seq) & Entry.stateBits) === Entry.gone || entry(seq, this.lsnOf(seq))) continue
      this.#page.entries[this.#at(seq)] = Entry.gone
      this.#touch(seq)
    }
    while (this.head < this.next && this.entryOf(this.head) === Entry.gone) this.head++
  }

  #has(seq: number): boolean {
    return seq >= this.head && seq < this.next
  }

  #at(seq: number): number {
    return this.#block + seq - this.#base
  }

  #touch(seq: number): void {
    if (this.appendedFrom === undefined || seq < this.appendedFrom)
      (this.chunks ??= new Set<number>()).add(chunkOf(seq))
  }

  #set(seq: number, entry: number, lsn: Lsn, expirySeconds: number): void {
    const at = this.#at(seq)
    this.#page.entries[at] = entry
    this.#page.setLsn(at, lsn)
    if (expirySeconds !== this.#page.expiry(at)) this.#page.setExpiry(at, expirySeconds)
  }

  /** The queue begins at `seq`, before its head, and nothing stands between. */
  #reopen(seq: number): void {
    if (seq < this.#base) {
      this.#resize(this.next - seq, this.#base - seq)
      this.#base = seq
    }
    this.#page.entries.fill(Entry.gone, this.#at(seq), this.#at(this.head))
    if (this.appendedFrom !== undefined && seq < this.appendedFrom) this.appendedFrom = seq
    this.head = seq
  }

  /** Sees to it that the places below `next` have room: that of what is gone, else more. */
  #makeRoom(next: number): void {
    if (next - this.#base <= this.#size) return
    const passed = this.head - this.#base
    if (passed * 2 >= this.#size) {
      this.#page.copy(this.#block + passed, this.#size - passed, this.#page, this.#block)
      this.#base = this.head
    }
    const length = next - this.#base
    if (length > this.#size) this.#resize(length)
  }

  /** @param before places that come before those that are there */
  #resize(length: number, before = 0): void {
    const size = placesFor(length)
    const page = this.#places.page(size)
    const block = page.take()
    this.#page.copy(this.#block, Math.min(this.#size, size - before), page, block + before)
    if (this.#size > 0) this.#page.release(this.#block)
    this.#page = page
    this.#block = block
    this.#size = size
  }
}
