import { Entry, type Lsn, type QueueView } from '../store/port.ts'

/** A message in a queue: what is known of it without reading it. */
export interface Item {
  readonly seq: number
  lsn: Lsn
  /** An `Entry`. */
  entry: number
  /** `identityOf` its packet; undefined when it was not read since the start. */
  identity: string | undefined
  /** The id that Aedes, or the client, has given it. */
  messageId: number | undefined
  /** Somebody is about to end it. */
  leaving: boolean
}

/**
 * Messages by number, in order. What has come to its end leaves a gap until the head is past it.
 *
 *   number ─▶ item          the order, and what the store asks for
 *   identity ─▶ items       those without an id: a broker that starts anew may use an identity again
 *   message id ─▶ items     those with one: Aedes may give one id twice
 */
export class Queue implements QueueView {
  #head = 0
  #next = 0
  readonly #items = new Map<number, Item>()
  readonly #unsent = new Map<string, Item[]>()
  readonly #sent = new Map<number, Item[]>()

  /** Takes over what was read back. */
  restore(kept: QueueView): void {
    const { head, next } = kept
    this.#head = head
    this.#next = next
    for (let seq = head; seq < next; seq++) {
      const entry = kept.entryOf(seq)
      if ((entry & Entry.stateBits) === Entry.gone) continue
      const lsn = kept.lsnOf(seq)
      this.#items.set(seq, { seq, entry, lsn, identity: undefined, messageId: undefined, leaving: false })
    }
    this.#trim()
  }

  get head(): number {
    return this.#head
  }

  get next(): number {
    return this.#next
  }

  /** Messages in it. */
  get size(): number {
    return this.#items.size
  }

  lsnOf(seq: number): Lsn {
    return this.#items.get(seq)?.lsn ?? 0
  }

  entryOf(seq: number): number {
    return this.#items.get(seq)?.entry ?? Entry.gone
  }

  expiryOf(): number {
    return 0
  }

  get(seq: number): Item | undefined {
    return this.#items.get(seq)
  }

  /** In order. */
  items(): Iterable<Item> {
    return this.#items.values()
  }

  push(lsn: Lsn, entry: number): Item {
    const item = { seq: this.#next++, lsn, entry, identity: undefined, messageId: undefined, leaving: false }
    this.#items.set(item.seq, item)
    return item
  }

  /** Which packet it is. */
  identify(item: Item, identity: string): void {
    if (item.identity !== undefined) return
    item.identity = identity
    if (item.messageId === undefined) add(this.#unsent, identity, item)
  }

  /** Gives it an id in place of the one that it had, if any. */
  assign(item: Item, messageId: number): void {
    this.#forget(item)
    item.messageId = messageId
    add(this.#sent, messageId, item)
  }

  /** The first with this id. */
  withId(messageId: number): Item | undefined {
    return this.#sent.get(messageId)?.[0]
  }

  /** The first of this identity, of those without an id if there is one. */
  withIdentity(identity: string): Item | undefined {
    const unsent = this.#unsent.get(identity)?.[0]
    if (unsent) return unsent
    for (const item of this.#items.values()) if (item.identity === identity && !item.leaving) return item
    return undefined
  }

  /** It is about to come to its end: nobody else finds it. */
  leave(item: Item): void {
    this.#forget(item)
    item.leaving = true
  }

  remove(item: Item): void {
    if (!item.leaving) this.#forget(item)
    this.#items.delete(item.seq)
    this.#trim()
  }

  #forget(item: Item): void {
    if (item.messageId !== undefined) drop(this.#sent, item.messageId, item)
    else if (item.identity !== undefined) drop(this.#unsent, item.identity, item)
  }

  #trim(): void {
    while (this.#head < this.#next && !this.#items.has(this.#head)) this.#head++
  }
}

function add<K>(lists: Map<K, Item[]>, key: K, item: Item): void {
  const list = lists.get(key)
  if (list) list.push(item)
  else lists.set(key, [item])
}

function drop<K>(lists: Map<K, Item[]>, key: K, item: Item): void {
  const list = lists.get(key)
  const at = list?.indexOf(item) ?? -1
  if (!list || at < 0) return
  if (list.length === 1) lists.delete(key)
  else list.splice(at, 1)
}
