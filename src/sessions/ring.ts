import type { Message } from '../mqtt/message.ts'
import { noPage, type Page, placesFor } from '../store/places.ts'
import { Entry, type Lsn, type QueueView } from '../store/port.ts'
import type { OutboxContext, Terms } from './outlet.ts'

const { stateBits, gone, bytesShift, mostBytes } = Entry
const withoutBytes = (1 << bytesShift) - 1

/** Packet ids that there are. */
export const packetIds = 65_535

/**
 * The entries of an outbox, and what each of them holds: a block of places in a page that queues share, as a ring.
 *
 *      base             base + start                base + mask
 *   ──┬─────────────────┬───────────────────────────┬──
 *     │ … next          │ head …                    │       an entry: 4 bytes of `Entry`, and
 *   ──┴─────────────────┴───────────────────────────┴──     8 for where it stands in the store,
 *     offset: from the head; slot: place of the page        or the message itself
 *
 * `Outbox` extends it and has no ring of its own beside it: one more object would be one more line of memory for each
 * delivery.
 */
export abstract class Ring implements QueueView {
  // What a delivery touches stands first, and together: a message for thousands pays for each line of memory.
  protected readonly context: OutboxContext
  protected page: Page = noPage
  protected entries: Uint32Array = noPage.entries
  #base = 0
  #mask = -1
  /** Of the ring, where the head stands. */
  #start = 0
  #head = 0
  #length = 0
  #bytes = 0
  /** What is in memory only, by place of the ring. */
  #messages: (Message | undefined)[] | undefined = undefined
  #terms: (Terms | undefined)[] | undefined = undefined

  constructor(context: OutboxContext) {
    this.context = context
  }

  get head(): number {
    return this.#head
  }

  get next(): number {
    return this.#head + this.#length
  }

  /** Entries, with those that have come to their end behind the head. */
  protected get length(): number {
    return this.#length
  }

  lsnOf(seq: number): Lsn {
    return this.page.lsn(this.slot(seq - this.#head))
  }

  entryOf(seq: number): number {
    return this.entry(seq - this.#head)
  }

  expiryOf(seq: number): number {
    return this.page.expiry(this.slot(seq - this.#head))
  }

  /** The store has copied message `seq` to another place. */
  moved(seq: number, lsn: Lsn): void {
    const offset = seq - this.#head
    if (offset >= 0 && offset < this.#length) this.page.setLsn(this.slot(offset), lsn)
  }

  /** Everything that has not come to its end. */
  get pending(): number {
    let pending = 0
    for (let offset = 0; offset < this.#length; offset++) if (this.state(offset) !== gone) pending++
    return pending
  }

  /** Bytes of the messages that it holds, in memory or on disk. */
  get bytes(): number {
    return this.#bytes
  }

  /** Message `seq`, when it is held in memory. */
  heldAt(seq: number): { readonly message: Message; readonly terms: Terms } | undefined {
    const offset = seq - this.#head
    const slot = this.slot(offset)
    const message = offset >= 0 && offset < this.#length ? this.messageIn(slot) : undefined
    return message && { message, terms: this.termsIn(slot)! }
  }

  /** What was held in memory is the store's from now on: it is in the record that is being written. */
  giveToStore(seq: number): void {
    const slot = this.slot(seq - this.#head)
    this.page.setLsn(slot, this.context.store.next)
    this.#messages![slot - this.#base] = this.#terms![slot - this.#base] = undefined
  }

  protected slot(offset: number): number {
    return this.#base + ((this.#start + offset) & this.#mask)
  }

  protected entry(offset: number): number {
    return this.entries[this.slot(offset)]!
  }

  protected state(offset: number): number {
    return this.entry(offset) & stateBits
  }

  /** Where the entry of a packet id stands; -1 when there is none. */
  protected offsetOf(packetId: number): number {
    let offset = packetId - idOf(this.#head)
    if (offset < 0) offset += packetIds
    return offset < this.#length ? offset : -1
  }

  protected messageIn(slot: number): Message | undefined {
    return this.#messages?.[slot - this.#base]
  }

  protected termsIn(slot: number): Terms | undefined {
    return this.#terms?.[slot - this.#base]
  }

  /** Of an empty one: `length` entries that have come to their end, from `head` on. */
  protected begin(head: number, length: number): void {
    if (length > this.#mask + 1) this.#resize(placesFor(length))
    this.#head = head
    this.#length = length
  }

  protected append(entry: number): number {
    if (this.#length > this.#mask) this.#resize(placesFor(this.#length + 1))
    const slot = this.slot(this.#length++)
    this.entries[slot] = entry
    return slot
  }

  /** The store keeps its message, in the record that is being written. */
  protected store(slot: number, message: Message): void {
    this.page.setLsn(slot, this.context.store.next)
    this.count(slot, message.bytes)
  }

  /** Holds its message in memory. */
  protected hold(slot: number, message: Message, terms: Terms): void {
    const size = this.#mask + 1
    const at = slot - this.#base
    ;(this.#messages ??= new Array<undefined>(size).fill(undefined))[at] = message.keep(this.context.slab)
    ;(this.#terms ??= new Array<undefined>(size).fill(undefined))[at] = terms
    this.count(slot, message.bytes)
  }

  protected count(slot: number, bytes: number): void {
    const counted = bytes < mostBytes ? bytes : mostBytes
    this.entries[slot] = (this.entries[slot]! & withoutBytes) | (counted << bytesShift)
    this.#bytes += counted
    this.context.queued.bytes += counted
  }

  /** Lets go of the message of an entry. */
  protected forget(slot: number): void {
    const entry = this.entries[slot]!
    const counted = entry >>> bytesShift
    if (counted !== 0) {
      this.#bytes -= counted
      this.context.queued.bytes -= counted
      this.entries[slot] = entry & withoutBytes
    }
    if (this.#messages) this.#messages[slot - this.#base] = this.#terms![slot - this.#base] = undefined
    this.page.forget(slot)
  }

  /** Steps over what has come to its end at the head; gives how many those were. */
  protected step(): number {
    const { entries } = this
    let steps = 0
    while (this.#length > 0 && (entries[this.#base + this.#start]! & stateBits) === gone) {
      this.#start = (this.#start + 1) & this.#mask
      this.#length--
      steps++
    }
    this.#head += steps
    // One that was long once does not keep the room for more than can be in flight.
    if (this.#length === 0 && this.#mask > packetIds) this.#giveBack()
    return steps
  }

  /** Lets go of all entries, and of the places. */
  protected clear(): void {
    this.context.queued.bytes -= this.#bytes
    this.#length = this.#bytes = 0
    this.#giveBack()
  }

  /** Lays the ring out straight in another block of so many places. */
  #resize(places: number): void {
    const page = this.context.places.page(places)
    const base = page.take()
    const start = this.#start
    const straight = this.#mask + 1 - start
    this.page.copy(this.#base + start, straight, page, base)
    this.page.copy(this.#base, start, page, base + straight)
    if (this.#messages) this.#messages = unrolled(this.#messages, start, places)
    if (this.#terms) this.#terms = unrolled(this.#terms, start, places)
    if (this.#mask >= 0) this.page.release(this.#base)
    this.#takeOver(page, base, places - 1)
  }

  /** It is empty, and gives its places back. */
  #giveBack(): void {
    this.#messages = this.#terms = undefined
    if (this.#mask >= 0) this.page.release(this.#base)
    this.#takeOver(noPage, 0, -1)
  }

  #takeOver(page: Page, base: number, mask: number): void {
    this.page = page
    this.entries = page.entries
    this.#base = base
    this.#mask = mask
    this.#start = 0
  }
}

export function idOf(seq: number): number {
  return 1 + (seq % packetIds)
}

/** A ring whose first entry stands at `from`, laid out straight in a larger one. */
function unrolled<T>(ring: (T | undefined)[], from: number, places: number): (T | undefined)[] {
  return [...ring.slice(from), ...ring.slice(0, from), ...new Array<undefined>(places - ring.length).fill(undefined)]
}
