import { Publishing } from '../../src/broker/publishing.ts'
import type { Message } from '../../src/mqtt/message.ts'
import type { Durability, Lsn, SessionHead, StateSource, Store, StoredCopy } from '../../src/store/port.ts'
import { patch } from './patch.ts'
import { idOf } from './publication.ts'
import type { Records } from './records.ts'

let moves = false

// A copy that moves to another member of its group is recorded for that member, long after its publisher was answered.
patch(
  Publishing.prototype,
  'move',
  (move) =>
    function (this: Publishing, ...copy) {
      moves = true
      const moved = move.apply(this, copy)
      moves = false
      return moved
    },
)

/** A store, and somebody who notes what it is told. */
export class WatchedStore implements Store {
  readonly #store: Store
  readonly #records: Records
  readonly #clientIds = new Map<number, string>()
  #recipients: string[] = []

  /** @param clientIds of the sessions that are there already, by number */
  constructor(store: Store, records: Records, clientIds: Iterable<readonly [number, string]>) {
    this.#store = store
    this.#records = records
    for (const [number, clientId] of clientIds) this.#clientIds.set(number, clientId)
  }

  get offsetMs(): number {
    return this.#store.offsetMs
  }

  get next(): Lsn {
    return this.#store.next
  }

  get durable(): Lsn {
    return this.#store.durable
  }

  get written(): Lsn {
    return this.#store.written
  }

  get full(): boolean {
    return this.#store.full
  }

  get behind(): boolean {
    return this.#store.behind
  }

  onProgress(listener: () => void): void {
    this.#store.onProgress(listener)
  }

  serve(source: StateSource): void {
    this.#store.serve(source)
  }

  number(): number {
    return this.#store.number()
  }

  session(head: SessionHead): Lsn {
    this.#clientIds.set(head.number, head.clientId)
    return this.#note('session', head.number, '', this.#store.session(head))
  }

  ended(session: number): Lsn {
    return this.#note('ended', session, '', this.#store.ended(session))
  }

  subscribed(session: number, filter: string, grant: number): Lsn {
    return this.#note('subscribed', session, filter, this.#store.subscribed(session, filter, grant))
  }

  unsubscribed(session: number, filter: string): Lsn {
    return this.#note('unsubscribed', session, filter, this.#store.unsubscribed(session, filter))
  }

  recipient(
    message: Message,
    session: number,
    seq: number,
    flags: number,
    subscriptionIds: readonly number[] | undefined,
    shared: string | undefined,
  ): void {
    this.#recipients.push(this.#clientIds.get(session) ?? '')
    this.#store.recipient(message, session, seq, flags, subscriptionIds, shared)
  }

  message(message: Message, retains: boolean, publisher: number, packetId: number, durability: Durability): Lsn {
    const lsn = this.#store.message(message, retains, publisher, packetId, durability)
    if (lsn !== 0) this.#records.message(idOf(message.payload()), moves ? -1 : lsn, this.#recipients)
    this.#recipients = []
    return lsn
  }

  released(session: number, packetId: number): Lsn {
    return this.#note('released', session, packetId, this.#store.released(session, packetId))
  }

  received(session: number, seq: number): Lsn {
    return this.#note('received', session, seq, this.#store.received(session, seq))
  }

  settled(session: number, head: number, seq: number, lsn: Lsn): void {
    this.#store.settled(session, head, seq, lsn)
  }

  read(lsn: Lsn, session: number, seq: number): StoredCopy | undefined {
    return this.#store.read(lsn, session, seq)
  }

  fetch(lsn: Lsn, then: (found: boolean) => void): void {
    this.#store.fetch(lsn, then)
  }

  readNow(lsn: Lsn, session: number, seq: number): StoredCopy | undefined {
    return this.#store.readNow(lsn, session, seq)
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  #note(what: string, session: number, more: string | number, lsn: Lsn): Lsn {
    this.#records.change(`${what} ${this.#clientIds.get(session)} ${more}`.trimEnd(), lsn)
    return lsn
  }
}
