import { Entry, type Lsn } from './port.ts'
import { chunkOf } from './tracks.ts'

/**
 * A queue while it is put together from the index and the log: a straight stretch of places that grows at its end.
 *
 *   base ── gone ── head ── places ── next ── room ──
 */
export class RecoveredQueue {
  /** What the session had when the index looked at it: records from before are in there. */
  lsn: Lsn = 0
  head = 0
  next = 0
  /** Numbers from here on came from the log. */
  appendedFrom = Infinity
  /** Chunks below that in which something has changed since. */
  chunks: Set<number> | undefined = undefined
  #base = 0
  #lsns = emptyLsns
  #entries = emptyEntries
  #expiries: Uint32Array | undefined = undefined

  /** The index shows places [head, next), all of them gone so far. */
  open(lsn: Lsn, head: number, next: number): void {
    this.lsn = lsn
    this.head = this.#base = head
    this.next = next
    const size = sizeFor(next - head)
    this.#lsns = new Float64Array(size)
    this.#entries = new Uint32Array(size)
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
    if (seq < this.appendedFrom) this.appendedFrom = seq
    if (this.head === this.next) this.#base = this.head = this.next = seq
    this.#makeRoom(seq + 1)
    this.#entries.fill(Entry.gone, this.next - this.#base, seq - this.#base)
    this.next = seq + 1
    this.#set(seq, entry, lsn, expirySeconds)
  }

  /** A message that was in memory only, when later ones were written already. */
  fill(seq: number, entry: number, lsn: Lsn, expirySeconds: number): void {
    // The log began with one of the later ones.
    if (seq < this.head) this.#reopen(seq)
    else if ((this.#entries[seq - this.#base]! & Entry.stateBits) !== Entry.gone) return
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
    this.#entries[seq - this.#base] = Entry.gone
    this.#touch(seq)
  }

  released(seq: number): void {
    if (!this.#has(seq)) return
    const at = seq - this.#base
    const entry = this.#entries[at]!
    if ((entry & Entry.stateBits) === Entry.gone) return
    this.#entries[at] = (entry & ~Entry.stateBits) | Entry.released
    this.#touch(seq)
  }

  moved(seq: number, lsn: Lsn): void {
    if (!this.#has(seq)) return
    this.#lsns[seq - this.#base] = lsn
    this.#touch(seq)
  }

  /** Calls `entry` for each place that is alive; what it returns false for is gone from then on. */
  sift(entry: (seq: number, lsn: Lsn) => boolean): void {
    for (let at = this.head - this.#base; at < this.next - this.#base; at++) {
      if ((this.#entries[at]! & Entry.stateBits) === Entry.gone) continue
      if (entry(this.#base + at, this.#lsns[at]!)) continue
      this.#entries[at] = Entry.gone
      this.#touch(this.#base + at)
    }
    while (this.head < this.next && this.#entries[this.head - this.#base] === Entry.gone) this.head++
  }

  /** The places [head, next), to be taken over; behind them may be room, as the session will need it. */
  arrays(): { lsns: Float64Array; entries: Uint32Array; expiries: Uint32Array | undefined } {
    const from = this.head - this.#base
    const to = this.next - this.#base
    const size = sizeFor(to - from)
    if (from > 0 || this.#entries.length !== size) {
      const moved = <A extends Numbers>(numbers: A, into: A): A => larger(numbers.subarray(from, to) as A, into)
      this.#lsns = moved(this.#lsns, new Float64Array(size))
      this.#entries = moved(this.#entries, new Uint32Array(size))
      this.#expiries &&= moved(this.#expiries, new Uint32Array(size))
      this.#base = this.head
    }
    // What is gone must not be taken for something that stands there.
    for (const numbers of [this.#lsns, this.#entries, this.#expiries]) numbers?.fill(0, to - from)
    return { lsns: this.#lsns, entries: this.#entries, expiries: this.#expiries }
  }

  #has(seq: number): boolean {
    return seq >= this.head && seq < this.next
  }

  #touch(seq: number): void {
    if (seq < this.appendedFrom) (this.chunks ??= new Set<number>()).add(chunkOf(seq))
  }

  #set(seq: number, entry: number, lsn: Lsn, expirySeconds: number): void {
    const at = seq - this.#base
    this.#entries[at] = entry
    this.#lsns[at] = lsn
    if (expirySeconds !== 0) this.#expiries ??= new Uint32Array(this.#entries.length)
    if (this.#expiries) this.#expiries[at] = expirySeconds
  }

  /** The queue begins at `seq`, before its head, and nothing stands between. */
  #reopen(seq: number): void {
    if (seq < this.#base) {
      const more = this.#base - seq
      const size = sizeFor(this.next - seq)
      const moved = <A extends Numbers>(numbers: A, into: A): A => {
        into.set(numbers.subarray(0, this.next - this.#base), more)
        return into
      }
      this.#entries = moved(this.#entries, new Uint32Array(size))
      this.#lsns = moved(this.#lsns, new Float64Array(size))
      this.#expiries &&= moved(this.#expiries, new Uint32Array(size))
      this.#base = seq
    }
    this.#entries.fill(Entry.gone, seq - this.#base, this.head - this.#base)
    if (seq < this.appendedFrom && this.appendedFrom !== Infinity) this.appendedFrom = seq
    this.head = seq
  }

  /** Sees to it that the places below `next` have room: that of what is gone, else more. */
  #makeRoom(next: number): void {
    const size = this.#entries.length
    if (next - this.#base <= size) return
    const passed = this.head - this.#base
    if (passed * 2 >= size) {
      this.#entries.copyWithin(0, passed)
      this.#lsns.copyWithin(0, passed)
      this.#expiries?.copyWithin(0, passed)
      this.#base = this.head
    }
    const length = next - this.#base
    if (length <= size) return
    const more = Math.max(sizeFor(length), size * 2)
    this.#entries = larger(this.#entries, new Uint32Array(more))
    this.#lsns = larger(this.#lsns, new Float64Array(more))
    if (this.#expiries) this.#expiries = larger(this.#expiries, new Uint32Array(more))
  }
}

const emptyLsns = new Float64Array(0)
const emptyEntries = new Uint32Array(0)

type Numbers = Uint32Array | Float64Array

function larger<A extends Numbers>(from: A, to: A): A {
  to.set(from)
  return to
}

/** Places are a power of two, as a queue in memory has them: it takes them over as they are. */
function sizeFor(length: number): number {
  let size = length === 0 ? 0 : 16
  while (size < length) size *= 2
  return size
}
