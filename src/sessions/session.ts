import type { Connection } from '../mqtt/connection.ts'
import type { Message } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import { parseFilter, type PermissionKey, type Topic } from '../mqtt/topic.ts'
import type { Delivery } from '../routing/delivery.ts'
import { Entry, type Lsn, type QueueView, type RecoveredSession, type SessionState } from '../store/port.ts'
import { Subscriptions } from '../store/subscriptions.ts'
import type { Backpressure, Publisher } from './backpressure.ts'
import type { Loss } from './ledger.ts'
import { Outbox, Pushed } from './outbox.ts'
import { PacketIds } from './packet-ids.ts'
import type { OutboxContext, OutboxLimits, Terms } from './outlet.ts'
import type { Rights } from './rights.ts'
import type { Tenant } from './tenant.ts'
import type { Timed } from './wheel.ts'

export interface SessionLimits extends OutboxLimits {
  readonly inflightMessages: number
  readonly unsentBytes: number
}

/** What sessions share. */
export interface SessionContext extends OutboxContext {
  readonly limits: SessionLimits
  readonly backpressure: Backpressure
  now(): number
  /** Another number, above 0, with each reload of the rules. */
  readonly rules: number
  /** What a session may do by the rules of now, which had `before` by others. */
  entitle(session: Session, before: Rights | undefined): Rights | undefined
  /** Something in the session's queue expires at this time, in the store's seconds. */
  expires(session: Session, atSeconds: number): void
  /** The session has become persistent, or is no longer. */
  persistence(session: Session): void
  /** Pump the session when more is durable. */
  awaitStore(session: Session): void
  /** Runs something when this turn is over. */
  soon(run: () => void): void
  /** The time of one of the session's delays has come. */
  fallsDue(session: Session, nowMs: number): void
}

/** Retained messages that are looked at before the others have their turn. */
const stepsInTurn = 1000

/** Of a session with more subscriptions each message is asked of: to look at them all would take longer. */
const mostJudged = 16

/** The key of none. */
const noTopic: PermissionKey = { owner: {} }
/** Stands for those who may do everything, and on no topic. */
const nobody = {}

/** What a session is subscribed to. `Session.subscribe` changes it. */
export type SessionSubscriptions = Pick<Subscriptions, 'size' | 'get' | 'has' | 'keys' | typeof Symbol.iterator>

/** Retained messages on their way to a new subscription. */
interface Feed {
  readonly filter: string
  readonly delivery: Delivery<Session>
  /** Undefined where the search wants to go on in another turn. */
  readonly messages: Iterator<Message | undefined, void>
}

/** What the broker knows of a client, whether it is connected or not (MQTT 5.0, 4.1). */
export class Session implements Timed, SessionState {
  // What a delivery touches stands first, and together, as in `Outbox`.
  readonly #context: SessionContext
  /** By which rules it has its rights; 0: nobody has asked. */
  #ruled = 0
  /** Whom to ask of what comes by its subscriptions: its rights, until it is known that all of that may come. */
  #guard: Rights | undefined = undefined
  /** Stands on topics for it with these rights, where it is the last who may publish or receive. */
  #standing: object = nobody
  /** Where somebody else is: the topics that it was allowed last, to receive and to publish. By their keys: a name may have 64 KiB. */
  #received: PermissionKey = noTopic
  connection: Connection<Session> | undefined = undefined
  #outbox: Outbox | undefined = undefined
  /** In the store; 0 until something of it must outlive the process. */
  number = 0
  #rights: Rights | undefined = undefined
  /** Somebody has looked whether all that it subscribes to may come. */
  #judged = false
  #published: PermissionKey = noTopic
  epoch = 0
  /** Seconds that it outlives its connection; 0: it ends with it, Infinity: never. */
  expirySeconds: number
  readonly #subscriptions: Subscriptions
  will: WillPacket | undefined = undefined
  username: string | undefined = undefined
  /** Whose it is, as long as it is one of the broker's sessions: `Sessions` says so. */
  tenant: Tenant | undefined = undefined
  /** When the will fires and when the session ends, while it is offline; monotonic milliseconds. */
  willDueMs = Infinity
  endDueMs = Infinity
  dueMs = Infinity
  tick = -1
  /** QoS 2 packet ids that the client has sent and not released, and the lsn of the last: behind it PUBREC of each may leave. */
  #incoming: PacketIds | undefined = undefined
  #incomingLsn: Lsn = 0
  #feeds: Feed[] | undefined = undefined
  #heldFeeds = 0
  #pumpsSoon = false
  #fetching: Lsn = 0
  #window = 0

  constructor(
    readonly clientId: string,
    expirySeconds: number,
    context: SessionContext,
    subscriptions = new Subscriptions(),
  ) {
    this.expirySeconds = expirySeconds
    this.#subscriptions = subscriptions
    this.#context = context
  }

  get online(): boolean {
    return this.connection !== undefined
  }

  /** What it may do, by the rules of now; undefined: everything. */
  get rights(): Rights | undefined {
    this.#keepUp()
    return this.#rights
  }

  set rights(rights: Rights | undefined) {
    this.#rights = rights
    this.#ruled = this.#context.rules
    this.#received = this.#published = noTopic
    this.#standing = rights === undefined ? nobody : {}
    this.#judgeAgain()
  }

  get subscriptions(): SessionSubscriptions {
    return this.#subscriptions
  }

  /** @param grant packed */
  subscribe(filter: string, grant: number): void {
    if (this.tenant !== undefined && !this.#subscriptions.has(filter)) this.tenant.subscriptions++
    this.#judgeAgain()
    this.#subscriptions.set(filter, grant)
  }

  unsubscribe(filter: string): void {
    if (this.tenant !== undefined && this.#subscriptions.has(filter)) this.tenant.subscriptions--
    this.#judgeAgain()
    this.#subscriptions.delete(filter)
  }

  unsubscribeAll(): void {
    if (this.tenant !== undefined) this.tenant.subscriptions -= this.#subscriptions.size
    this.#judgeAgain()
    this.#subscriptions.clear()
  }

  /** May it be sent what comes there by its subscriptions? Asked of each delivery: what is known costs a look or two. */
  mayReceive(topic: Topic): boolean {
    this.#keepUp()
    const rights = this.#guard
    if (rights === undefined || topic.receiver === this.#standing || topic.permissionKey === this.#received) return true
    return this.#receives(topic, rights)
  }

  /** May it publish there what is not retained? Asked of each message. */
  mayPublish(topic: Topic): boolean {
    this.#keepUp()
    const rights = this.#rights
    if (rights === undefined || topic.publisher === this.#standing || topic.permissionKey === this.#published)
      return true
    return this.#publishes(topic, rights)
  }

  /**
   * For shared groups: how many more messages it could take. Counted from the same start for every client, so that one
   * with a small window has its turns as well; but one whose window is full comes behind all whose is not.
   */
  get room(): number {
    const { queueMessages, inflightMessages } = this.#context.limits
    const box = this.#outbox
    if (box === undefined) return queueMessages + inflightMessages
    return queueMessages + (box.unacked < box.window ? inflightMessages : 0) - box.unacked - box.waiting
  }

  /** Does it outlive its connection, so that what it was promised must be kept? */
  get persistent(): boolean {
    return this.expirySeconds > 0
  }

  get queue(): QueueView | undefined {
    return this.#outbox
  }

  incoming(): Iterable<number> {
    return this.#incoming ?? []
  }

  /** Takes over what was read back. `sent`: how many messages a process that is gone may have sent. */
  restore(recovered: RecoveredSession, sent: number): void {
    for (const packetId of recovered.incoming) this.receive(packetId, 0)
    if (recovered.queue.next === 0) return
    const outbox = this.#box()
    outbox.restore(recovered.queue, sent)
    recovered.queue.release()
    if (outbox.nextExpiry !== 0) this.#context.expires(this, outbox.nextExpiry)
  }

  /** The store has copied message `seq` of the queue to another place. */
  moved(seq: number, lsn: Lsn): void {
    this.#outbox?.moved(seq, lsn)
  }

  /** Something in the queue may have expired by `nowSeconds` of the store's time. */
  dropExpired(nowSeconds: number): void {
    const outbox = this.#outbox
    if (outbox === undefined) return
    outbox.expire(nowSeconds)
    if (outbox.nextExpiry !== 0) this.#context.expires(this, outbox.nextExpiry)
  }

  /** Could it take no message of this QoS now, and the policy is to tell the publisher? */
  refuses(qos: number): boolean {
    return qos > 0 && this.#context.limits.overflow === 'reject' && this.#outbox?.full === true
  }

  /** Copies that have not come to their end. */
  get pending(): number {
    return this.#outbox?.pending ?? 0
  }

  /** Takes another expiry: what it keeps of what it sends follows from that. */
  expire(expirySeconds: number): void {
    const before = this.persistent
    this.expirySeconds = expirySeconds
    if (this.#outbox) this.#outbox.keepsSent = this.persistent
    if (before !== this.persistent) this.#context.persistence(this)
  }

  due(nowMs: number): void {
    this.#context.fallsDue(this, nowMs)
  }

  /**
   * Gives the session one copy of a message; one that came by a shared subscription is held until it is acknowledged,
   * whatever the session is. True when the store was told that it is for this session: the record must be ended.
   */
  deliver(message: Message, delivery: Delivery<Session>, retain: boolean): boolean {
    const { ledger } = this.#context
    ledger.copies++
    if (!this.mayReceive(message.topic)) return this.#lose('not-allowed', message)
    // A hook may have taken its time [MQTT-3.3.2-5].
    if (message.expiresAtMs !== Infinity && message.expiresAtMs <= this.#context.now())
      return this.#lose('expired', message)
    if (message.qos > 0 && delivery.qos > 0) return this.#queue(message, delivery, retain)
    const connection = this.#live
    if (connection === undefined) return this.#lose('offline', message)
    if (connection.sender.congested && !this.#slows(message)) return this.#lose('congested', message)
    if (!connection.sender.send(message, 0, retain, false, 0, delivery.subscriptionIds))
      return this.#lose('too-large', message)
    ledger.delivered++
    return false
  }

  /** `deliver`, of QoS 1 and 2: apart, so that QoS 0 stays small enough for the engine to inline. */
  #queue(message: Message, delivery: Delivery<Session>, retain: boolean): boolean {
    const qos = (message.qos < delivery.qos ? message.qos : delivery.qos) as 1 | 2
    const connection = this.#live
    const outbox = this.#box()
    const { group } = delivery
    let seq = outbox.pass(message, qos, retain, delivery, group !== undefined, connection?.sender)
    if (seq === Pushed.waits) seq = this.#wait(outbox, message, qos, delivery, retain)
    if (seq <= Pushed.kept) return false
    const { store } = this.#context
    const flags = (qos === 2 ? Entry.qos2 : 0) | (retain ? Entry.retain : 0) | (group ? Entry.shared : 0)
    store.recipient(message, this.number, seq, flags, delivery.subscriptionIds, group?.name)
    if (qos === 2 && connection !== undefined) this.#context.awaitStore(this)
    return true
  }

  #wait(outbox: Outbox, message: Message, qos: 1 | 2, delivery: Delivery<Session>, retain: boolean): number {
    const full = outbox.full && !this.#slows(message)
    const expiry = outbox.nextExpiry
    const seq = outbox.wait(message, qos, retain, delivery, delivery.group !== undefined, full)
    if (outbox.nextExpiry !== expiry) this.#context.expires(this, outbox.nextExpiry)
    return seq
  }

  /** This copy comes to nothing: the store need not know. */
  #lose(loss: Loss, message: Message): false {
    this.#context.ledger.lose(loss, this.clientId, message)
    return false
  }

  /** Reads what `deliver` will, and gives something of it. */
  touch(): number {
    return this.#outbox === undefined ? 0 : this.#outbox.touch()
  }

  /** Sends retained messages to a new subscription, at the pace of the client. */
  feed(filter: string, delivery: Delivery<Session>, messages: Iterator<Message | undefined, void>): void {
    ;(this.#feeds ??= []).push({ filter, delivery, messages })
    this.pump()
  }

  /** Keeps retained messages back until `releaseFeeds`: SUBACK, which waits for the store, goes first. */
  holdFeeds(): void {
    this.#heldFeeds++
  }

  releaseFeeds(): void {
    if (--this.#heldFeeds === 0) this.pump()
  }

  /** Brings nothing more of what is retained for these filters. */
  stopFeeds(filters: ReadonlySet<string>): void {
    this.#feeds = this.#feeds?.filter((feed) => !filters.has(feed.filter))
  }

  /** A connection takes the session up: what is unacknowledged goes out again, then what waits. */
  attach(connection: Connection<Session>, receiveMaximum: number): void {
    this.connection = connection
    this.#window = Math.min(receiveMaximum, this.#context.limits.inflightMessages)
    // The SUBACKs that they waited for are lost with the connection before this one.
    this.#heldFeeds = 0
    connection.drained = () => this.pump()
    this.#outbox?.resume(this.#window, connection.sender)
    this.pump()
  }

  /** Sends what the client's window and socket take. */
  pump(): void {
    const connection = this.#live
    if (connection === undefined) return
    const nowMs = this.#context.now()
    const outbox = this.#outbox
    if (outbox !== undefined) {
      const missing = outbox.pump(connection.sender, nowMs)
      if (missing > 0) this.#fetch(missing, outbox)
      if (outbox.waitsForStore) {
        outbox.waitsForStore = false
        this.#context.awaitStore(this)
      }
    }
    const { unsentBytes } = this.#context.limits
    if (connection.output.waitingBytes * 2 < unsentBytes && this.#outbox?.relaxed !== false)
      this.#context.backpressure.relieve(this)
    let steps = 0
    while (
      this.#feeds !== undefined &&
      this.#heldFeeds === 0 &&
      (this.#outbox?.waiting ?? 0) === 0 &&
      connection.output.waitingBytes * 4 < unsentBytes
    ) {
      // Steps that send nothing (too large, its own, expired) cost time as well: the others have their turn.
      if (++steps > stepsInTurn) return this.#pumpSoon()
      const feed = this.#feeds[0]
      if (feed === undefined) return (this.#feeds = undefined)
      const next = feed.messages.next()
      if (next.done === true) this.#feeds.shift()
      // Much was passed over without a match: the others have their turn first.
      else if (next.value === undefined) return this.#pumpSoon()
      // Not its own, where it wants no local ones; that goes by client id [MQTT-3.8.3-3].
      else if (feed.delivery.own === undefined && isBy(this.clientId, next.value)) continue
      // It may have expired since the walk began [MQTT-3.3.2-5].
      else if (next.value.expiresAtMs > nowMs) this.#deliverRetained(next.value, feed.delivery)
    }
  }

  #deliverRetained(message: Message, delivery: Delivery<Session>): void {
    const { store } = this.#context
    message.lasting = store.next !== 0 && !store.full
    // Not by a `deliver` that somebody has put before this one: what is retained may come again.
    if (Session.prototype.deliver.call(this, message, delivery, true)) store.message(message, false, 0, 0, 'fsync')
  }

  /** Brings the next message of the queue into memory, and goes on. */
  #fetch(lsn: Lsn, outbox: Outbox): void {
    if (this.#fetching !== 0) return
    this.#fetching = lsn
    this.#context.store.fetch(lsn, (found) => {
      this.#fetching = 0
      // A copy that is not there although its place can be read will never be.
      if (!found || !outbox.readable(lsn)) outbox.damaged(lsn)
      this.pump()
    })
  }

  puback(packetId: number, reason: number): boolean {
    const known = this.#outbox?.puback(packetId, reason) ?? false
    this.#pumpWaiting()
    return known
  }

  /** Gives where PUBREL may follow behind; -1 when no such message is in flight. */
  pubrec(packetId: number, reason: number): Lsn {
    const lsn = this.#outbox?.pubrec(packetId, reason) ?? -1
    if (lsn >= 0 && reason >= 0x80) this.#pumpWaiting()
    return lsn
  }

  pubcomp(packetId: number): boolean {
    const known = this.#outbox?.pubcomp(packetId) ?? false
    this.#pumpWaiting()
    return known
  }

  /** The lsn of a QoS 2 message that the client has sent and not released; undefined when the id is free. */
  received(packetId: number): Lsn | undefined {
    return this.#incoming?.has(packetId) === true ? this.#incomingLsn : undefined
  }

  /** Remembers a QoS 2 packet id from the client. */
  receive(packetId: number, lsn: Lsn): void {
    ;(this.#incoming ??= new PacketIds()).add(packetId)
    if (lsn > this.#incomingLsn) this.#incomingLsn = lsn
  }

  /** PUBREL: the id is free again. False when it was not in use. */
  release(packetId: number): boolean {
    return this.#incoming?.delete(packetId) ?? false
  }

  /** One message of its queue comes from another node; see `Outbox.adopt`. Gives where it stands in the store. */
  adopt(seq: number, entry: number, message: Message, terms: Terms, perhapsSent: number): Lsn {
    const { store } = this.#context
    const stored = this.number !== 0
    message.lasting = stored
    this.#context.ledger.copies++
    this.#box().adopt(seq, entry, message, terms, stored, perhapsSent)
    if (!stored) return 0
    store.recipient(message, this.number, seq, entry & Entry.flagBits, terms.subscriptionIds, terms.shared)
    const lsn = store.message(message, false, 0, 0, 'fsync')
    return (entry & Entry.stateBits) === Entry.released ? store.received(this.number, seq) : lsn
  }

  /** What it held is another node's, but for what came by shared subscriptions from `from` on; see `Outbox.handOver`. */
  handOver(
    from: number,
    move: (message: Message, terms: Terms | undefined, filter: string | undefined) => boolean,
  ): void {
    this.#feeds = this.#incoming = undefined
    this.#outbox?.handOver(from, move)
    this.#outbox = undefined
  }

  /** The queue, to be handed to another node. */
  get outbox(): Outbox | undefined {
    return this.#outbox
  }

  /** The session is over; see `Outbox.end`. */
  end(move: (message: Message, terms: Terms | undefined, filter: string | undefined) => boolean): void {
    this.#feeds = this.#incoming = undefined
    this.#outbox?.end(move)
    this.#outbox = undefined
  }

  /** The connection, once CONNACK is out, which waits for the store: nothing may come before it [MQTT-3.2.0-1]. */
  get #live(): Connection<Session> | undefined {
    return this.connection?.state === 'connected' ? this.connection : undefined
  }

  /** A reload gives nobody rights: whoever asks next does. */
  #keepUp(): void {
    if (this.#ruled !== this.#context.rules) this.rights = this.#context.entitle(this, this.#rights)
  }

  #judgeAgain(): void {
    this.#guard = this.#rights
    this.#judged = false
  }

  #receives(topic: Topic, rights: Rights): boolean {
    if (!this.#judged) this.#judge(rights)
    if (this.#guard === undefined) return true
    if (!rights.receives(topic)) return false
    topic.receiver = this.#standing
    this.#received = topic.permissionKey ?? noTopic
    return true
  }

  #publishes(topic: Topic, rights: Rights): boolean {
    if (!rights.publishes(topic)) return false
    topic.publisher = this.#standing
    this.#published = topic.permissionKey ?? noTopic
    return true
  }

  #judge(rights: Rights): void {
    this.#judged = true
    if (this.#subscriptions.size > mostJudged) return
    for (const filter of this.#subscriptions.keys()) if (!rights.receivesAll(parseFilter(filter).filter)) return
    this.#guard = undefined
  }

  /** It has no room: does the publisher wait for it? */
  #slows(message: Message): boolean {
    return this.#context.backpressure.slow(this, message.publisher as Publisher | undefined)
  }

  #pumpSoon(): void {
    if (this.#pumpsSoon) return
    this.#pumpsSoon = true
    this.#context.soon(() => {
      this.#pumpsSoon = false
      this.pump()
    })
  }

  #pumpWaiting(): void {
    if (this.#feeds !== undefined || this.#outbox?.behind === true) this.pump()
  }

  #box(): Outbox {
    if (this.#outbox) return this.#outbox
    const outbox = new Outbox(this, this.#context)
    outbox.window = this.#window
    outbox.keepsSent = this.persistent
    return (this.#outbox = outbox)
  }
}

function isBy(clientId: string, message: Message): boolean {
  return (message.publisher as Session | undefined)?.clientId === clientId
}
