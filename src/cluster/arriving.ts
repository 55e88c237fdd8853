import type { Message } from '../mqtt/message.ts'
import { type ParsedFilter, parseFilter } from '../mqtt/topic.ts'
import { type Delivery, unpackGrant } from '../routing/delivery.ts'
import type { SubscriptionTree } from '../routing/tree.ts'
import type { Terms } from '../sessions/outlet.ts'
import { Session, type SessionContext } from '../sessions/session.ts'
import { Entry, type Lsn, type QueueView } from '../store/port.ts'
import { OwnSession } from './archive.ts'
import type { TransferredEntry } from './entry-frame.ts'
import { movedEpoch } from './epochs.ts'
import type { Given, Heard } from './given.ts'
import { arrivingPrefix } from './own-names.ts'
import type { NodeId } from './peers.ts'
import type { Had } from './witnesses.ts'

/** Copies that a stand-in holds at most. */
const mostHeld = 100_000
const mostHeldBytes = 64 * 1024 * 1024

interface HeldCopy {
  readonly message: Message
  readonly flags: number
  readonly subscriptionIds: readonly number[] | undefined
}

/** What comes straight to this node for a session whose queue is still on its way: it goes behind that queue. */
export class StandIn extends Session {
  readonly held: HeldCopy[] = []
  overflowed = false
  #bytes = 0
  readonly #shared: SessionContext

  constructor(clientId: string, expirySeconds: number, context: SessionContext) {
    super(clientId, expirySeconds, context)
    this.#shared = context
  }

  override deliver(message: Message, delivery: Delivery<Session>, retain: boolean): boolean {
    const qos = Math.min(message.qos, delivery.qos)
    const { ledger, slab } = this.#shared
    if (qos === 0) {
      ledger.copies++
      ledger.lose('offline', this.clientId, message)
      return false
    }
    if (this.held.length >= mostHeld || this.#bytes >= mostHeldBytes) this.overflowed = true
    else {
      this.#bytes += message.bytes
      const flags = Entry.waiting | (qos === 2 ? Entry.qos2 : 0) | (retain ? Entry.retain : 0)
      this.held.push({ message: message.keep(slab), flags, subscriptionIds: delivery.subscriptionIds })
    }
    return false
  }
}

/** As the store has it while it is on its way: under a client id that none can have, so that a crash leaves nothing half. */
class Place extends OwnSession {
  override readonly subscriptions: ReadonlyMap<string, number>
  readonly #given: Given

  constructor(
    readonly session: Session,
    given: Given,
  ) {
    super(session.number, arrivingPrefix + session.clientId)
    this.subscriptions = new Map(given.subscriptions)
    this.#given = given
  }

  override incoming(): Iterable<number> {
    return this.#given.incoming
  }

  override get queue(): QueueView | undefined {
    return this.session.queue
  }

  override moved(seq: number, lsn: Lsn): void {
    this.session.moved(seq, lsn)
  }
}

/**
 * A session on its way to us.
 *
 *   queue of the other ─▶ entry … ─▶ session, offline, nobody's yet ──┐
 *   published meanwhile ─▶ stand-in, in the tree of subscriptions ────┴─▶ `merge`: what did not come with the queue behind it
 */
export class ArrivingSession {
  readonly session: Session
  readonly place: OwnSession
  readonly #standIn: StandIn
  readonly #tree: SubscriptionTree<Session>
  readonly #given: Given
  readonly #self: NodeId
  readonly #filters: readonly { readonly filter: string; readonly parsed: ParsedFilter; readonly grant: number }[]
  /** The last message of each node that the giving node had, in the queue or before it: each sends its messages in order. */
  readonly #last: Map<NodeId, number>

  constructor(
    clientId: string,
    given: Given,
    context: SessionContext,
    tree: SubscriptionTree<Session>,
    number: number,
    self: NodeId,
  ) {
    this.#given = given
    this.#last = new Map(given.heard)
    this.#tree = tree
    this.#self = self
    this.session = new Session(clientId, given.expirySeconds, context)
    this.session.number = number
    this.session.username = given.username
    this.session.epoch = movedEpoch(given.epoch)
    this.session.will = given.will
    this.session.endDueMs = context.now() + given.endLeftMs
    this.session.willDueMs = context.now() + given.willLeftMs
    this.place = new Place(this.session, given)
    this.#standIn = new StandIn(clientId, given.expirySeconds, context)
    this.#filters = given.subscriptions.map(([filter, grant]) => ({ filter, parsed: parseFilter(filter), grant }))
    // Shared subscriptions wait: a copy that only we get must not stand in memory alone.
    for (const { parsed, grant } of this.#filters)
      if (parsed.group === undefined) tree.subscribe(this.#standIn, parsed, unpackGrant(grant))
  }

  get overflowed(): boolean {
    return this.#standIn.overflowed
  }

  entry({ seq, entry, message, terms, origin }: TransferredEntry): void {
    const last = this.#last.get(origin) ?? 0
    if (message.serial > last) this.#last.set(origin, message.serial)
    this.session.adopt(seq, entry, message, terms, this.#given.perhapsSent)
  }

  /** All has come: the session takes the place of its stand-in, with what that got and the queue had not. */
  merge(): Session {
    const { session } = this
    for (const { filter, parsed, grant } of this.#filters) {
      session.subscribe(filter, grant)
      this.#tree.subscribe(session, parsed, unpackGrant(grant))
    }
    this.#removeStandIn()
    for (const id of this.#given.incoming) session.receive(id, 0)
    let seq = Math.max(session.outbox?.next ?? 0, this.#given.next)
    for (const { message, flags, subscriptionIds } of this.#standIn.held) {
      if (message.serial !== 0 && message.serial <= (this.#last.get(message.origin ?? this.#self) ?? 0)) continue
      const terms: Terms = { subscriptionIds }
      session.adopt(seq++, flags, message, terms, this.#given.perhapsSent)
    }
    return session
  }

  /** Up to which message of these nodes it had got everything where it was. */
  heardOf(nodes: readonly NodeId[]): ReadonlyMap<NodeId, number> {
    return new Map([...this.#last].filter(([node]) => nodes.includes(node)))
  }

  /** What it had got of each node for sure. */
  had(): Had {
    const { heard, since, seen } = this.#given
    const upTo = new Map(heard)
    return { spans: new Map(since.map(([node, after]) => [node, [after, upTo.get(node) ?? after]])), seen }
  }

  /**
   * Behind which message of each node it has got everything, from now on.
   * @param here the same, of what came to this node
   * @param missed of these nodes, something has not come to the one that it was on; undefined: of any
   */
  since(here: Iterable<Heard>, missed: readonly NodeId[] | undefined): ReadonlyMap<NodeId, number> {
    const before = new Map(this.#given.since)
    const goesOn = (node: NodeId) => missed?.includes(node) === false
    return new Map([...here].map(([node, serial]) => [node, (goesOn(node) ? before.get(node) : undefined) ?? serial]))
  }

  /** It stays where it was. */
  abandon(): void {
    this.#removeStandIn()
    this.session.handOver(Infinity, () => false)
  }

  #removeStandIn(): void {
    for (const { parsed } of this.#filters)
      if (parsed.group === undefined) this.#tree.unsubscribe(this.#standIn, parsed)
  }
}
