import type { WillPacket } from '../mqtt/packets.ts'
import { Entry, type Lsn, type RecoveredSession, type SessionState, type Store } from '../store/port.ts'
import type { Message } from '../mqtt/message.ts'
import { type Item, Queue } from './queue.ts'

/** A session of the store as Aedes needs it: it never expires by itself, and nobody is ever seen online. */
export class KeptSession implements SessionState {
  readonly epoch: number = 1
  readonly expirySeconds = Infinity
  readonly username = undefined
  readonly endDueMs = Infinity
  readonly willDueMs = Infinity
  readonly online = false
  will: WillPacket | undefined = undefined
  readonly subscriptions: Map<string, number>
  /** QoS 2 ids that came from the client. */
  readonly arrived: Set<number>
  readonly queue = new Queue()
  /** Its last change that somebody may wait for. */
  changed: Lsn = 0

  constructor(
    readonly number: number,
    /** What it is called in the store. */
    readonly clientId: string,
    recovered?: RecoveredSession,
  ) {
    this.subscriptions = new Map(recovered?.subscriptions)
    this.arrived = new Set(recovered?.incoming)
    if (recovered === undefined) return
    this.epoch = recovered.epoch
    this.will = recovered.will
    this.queue.restore(recovered.queue)
  }

  incoming(): Iterable<number> {
    return this.arrived
  }

  get empty(): boolean {
    return this.queue.size === 0 && this.subscriptions.size === 0 && this.arrived.size === 0 && this.will === undefined
  }
}

// A client may have two sessions in the store, for the two queues move at their own pace:
//
//   <client id>            subscriptions, will; the queue is what is for the client
//   0 in-flight 0 <id>     the queue and the QoS 2 ids are what came from the client and is not released; and, where a
//                          subscription would stand, `number in the other queue` → the id that QoS 2 message went out by
//
// A name that begins with U+0000 is one of ours; a client that has such an id gets one more in front of it.
const zero = '\0'
const inFlight = `${zero}in-flight${zero}`

/** The sessions of the store, by client. Made when there is something to keep, ended when there is nothing left. */
export class Sessions {
  readonly #store: Store
  readonly #byNumber = new Map<number, KeptSession>()
  readonly #byName = new Map<string, KeptSession>()

  constructor(store: Store, recovered: Iterable<RecoveredSession>) {
    this.#store = store
    for (const found of recovered) {
      const session = new KeptSession(found.number, found.clientId, found)
      // What the last process has written, this one may still have to make durable.
      session.changed = store.written - 1
      this.#add(session)
    }
  }

  byNumber(number: number): KeptSession | undefined {
    return this.#byNumber.get(number)
  }

  of(clientId: string): KeptSession | undefined {
    return this.#byName.get(nameOf(clientId))
  }

  /** Makes it if there is none. */
  take(clientId: string): KeptSession {
    return this.#take(nameOf(clientId))
  }

  inFlightOf(clientId: string): KeptSession | undefined {
    return this.#byName.get(inFlight + clientId)
  }

  takeInFlight(clientId: string): KeptSession {
    return this.#take(inFlight + clientId)
  }

  /** Those with something in flight, and that session. */
  *clientsInFlight(): Generator<readonly [clientId: string, session: KeptSession]> {
    for (const [name, session] of this.#byName)
      if (name.startsWith(inFlight)) yield [name.slice(inFlight.length), session]
  }

  /** Clients that have a session, and the session. */
  *clients(): Generator<readonly [clientId: string, session: KeptSession]> {
    for (const [name, session] of this.#byName) if (!name.startsWith(inFlight)) yield [clientIdOf(name), session]
  }

  all(): KeptSession[] {
    return [...this.#byName.values()]
  }

  /** A message of its queue has come to its end. Nobody waits for this. */
  settle(session: KeptSession, item: Item): void {
    session.queue.remove(item)
    this.#store.settled(session.number, session.queue.head, item.seq, item.lsn)
  }

  /** Ends it if nothing of it is left. */
  endIfEmpty(session: KeptSession): void {
    if (!session.empty || this.#byNumber.get(session.number) !== session) return
    this.#byNumber.delete(session.number)
    this.#byName.delete(session.clientId)
    session.changed = this.#store.ended(session.number)
  }

  #take(name: string): KeptSession {
    const known = this.#byName.get(name)
    if (known) return known
    const session = new KeptSession(this.#store.number(), name)
    this.#add(session)
    session.changed = this.#store.session(session)
    return session
  }

  #add(session: KeptSession): void {
    this.#byNumber.set(session.number, session)
    this.#byName.set(session.clientId, session)
  }
}

function nameOf(clientId: string): string {
  return clientId.startsWith(zero) ? zero + clientId : clientId
}

function clientIdOf(name: string): string {
  return name.startsWith(zero) ? name.slice(1) : name
}

/** The entry of a new message in a queue. */
export function entryOf(message: Message): number {
  return Entry.waiting | flagsOf(message) | (Math.min(message.bytes, Entry.mostBytes) << Entry.bytesShift)
}

/** Of an entry, what its record keeps. */
export function flagsOf({ qos }: Message): number {
  return qos === 2 ? Entry.qos2 : 0
}
