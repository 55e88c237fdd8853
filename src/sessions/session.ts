import type { Connection } from '../mqtt/connection.ts'
import type { Message, Slab } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import type { Delivery } from '../routing/delivery.ts'
import type { Lsn } from '../store/port.ts'
import type { Backpressure } from './backpressure.ts'
import type { Ledger } from './ledger.ts'
import { Outbox, type OutboxLimits, type Terms } from './outbox.ts'
import type { Timed } from './wheel.ts'

export interface SessionLimits extends OutboxLimits {
  readonly inflightMessages: number
  readonly unsentBytes: number
}

/** What sessions share. */
export interface SessionContext {
  readonly ledger: Ledger
  readonly slab: Slab
  readonly limits: SessionLimits
  readonly backpressure: Backpressure
  now(): number
  /** Runs something when this turn is over. */
  soon(run: () => void): void
  /** The time of one of the session's delays has come. */
  due(session: Session, nowMs: number): void
}

/** Retained messages that are looked at before the others have their turn. */
const stepsInTurn = 1000

/** Retained messages on their way to a new subscription. */
interface Feed {
  readonly filter: string
  readonly delivery: Delivery<Session>
  /** Undefined where the search wants to go on in another turn. */
  readonly messages: Iterator<Message | undefined, void>
}

/** What the broker knows of a client, whether it is connected or not (MQTT 5.0, 4.1). */
export class Session implements Timed {
  connection: Connection<Session> | undefined = undefined
  /** Seconds that it outlives its connection; 0: it ends with it, Infinity: never. */
  expirySeconds: number
  /** By filter as the client wrote it, `$share/group/` and all: its grant, packed, as there may be millions. */
  readonly subscriptions = new Map<string, number>()
  will: WillPacket | undefined = undefined
  username: string | undefined = undefined
  /** When the will fires and when the session ends, while it is offline; monotonic milliseconds. */
  willDueMs = Infinity
  endDueMs = Infinity
  dueMs = Infinity
  tick = -1
  /** QoS 2 packet ids that the client has sent and not released, with the lsn behind which PUBREC may leave. */
  #incoming: Map<number, Lsn> | undefined = undefined
  #outbox: Outbox | undefined = undefined
  #feeds: Feed[] | undefined = undefined
  #heldFeeds = 0
  #pumpsSoon = false
  readonly #context: SessionContext
  #window = 0

  constructor(
    readonly clientId: string,
    expirySeconds: number,
    context: SessionContext,
  ) {
    this.expirySeconds = expirySeconds
    this.#context = context
  }

  get online(): boolean {
    return this.connection !== undefined
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

  /** Copies that have not come to their end. */
  get pending(): number {
    return this.#outbox?.pending ?? 0
  }

  /** Takes another expiry: what it keeps of what it sends follows from that. */
  expire(expirySeconds: number): void {
    this.expirySeconds = expirySeconds
    if (this.#outbox) this.#outbox.keepsSent = this.persistent
  }

  due(nowMs: number): void {
    this.#context.due(this, nowMs)
  }

  /** Gives the session one copy of a message. `keep`: hold it until it is acknowledged, whatever the session is. */
  deliver(message: Message, delivery: Delivery<Session>, retain: boolean, keep: boolean): void {
    const { ledger } = this.#context
    const qos = message.qos < delivery.qos ? message.qos : delivery.qos
    const connection = this.#live
    ledger.copies++
    if (qos > 0) {
      const outbox = this.#box()
      const overfill = outbox.full && this.#slows(message)
      return outbox.push(message, qos as 1 | 2, retain, delivery, keep, connection?.sender, overfill)
    }
    if (connection === undefined) return ledger.lose('offline', this.clientId, message)
    if (connection.sender.congested && !this.#slows(message)) return ledger.lose('congested', this.clientId, message)
    if (connection.sender.send(message, 0, retain, false, 0, delivery.subscriptionIds)) ledger.delivered++
    else ledger.lose('too-large', this.clientId, message)
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
    this.#outbox?.pump(connection.sender, nowMs)
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
      else if (next.value.expiresAtMs > nowMs) this.deliver(next.value, feed.delivery, true, false)
    }
  }

  puback(packetId: number, reason: number): boolean {
    const known = this.#outbox?.puback(packetId, reason) ?? false
    this.#pumpWaiting()
    return known
  }

  pubrec(packetId: number, reason: number): boolean {
    const known = this.#outbox?.pubrec(packetId, reason) ?? false
    if (known && reason >= 0x80) this.#pumpWaiting()
    return known
  }

  pubcomp(packetId: number): boolean {
    const known = this.#outbox?.pubcomp(packetId) ?? false
    this.#pumpWaiting()
    return known
  }

  /** The lsn of a QoS 2 message that the client has sent and not released; undefined when the id is free. */
  received(packetId: number): Lsn | undefined {
    return this.#incoming?.get(packetId)
  }

  /** Remembers a QoS 2 packet id from the client. */
  receive(packetId: number, lsn: Lsn): void {
    ;(this.#incoming ??= new Map<number, Lsn>()).set(packetId, lsn)
  }

  /** PUBREL: the id is free again. False when it was not in use. */
  release(packetId: number): boolean {
    return this.#incoming?.delete(packetId) ?? false
  }

  /** The session is over; see `Outbox.end`. */
  end(move: (message: Message, terms: Terms) => boolean): void {
    this.#feeds = this.#incoming = undefined
    this.#outbox?.end(move)
    this.#outbox = undefined
  }

  /** The connection, once CONNACK is out, which waits for the store: nothing may come before it [MQTT-3.2.0-1]. */
  get #live(): Connection<Session> | undefined {
    return this.connection?.state === 'connected' ? this.connection : undefined
  }

  /** It has no room: does the publisher wait for it? */
  #slows(message: Message): boolean {
    return this.#context.backpressure.slow(this, message.publisher as Session | undefined)
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
    const { limits, ledger, slab } = this.#context
    const outbox = new Outbox(this.clientId, limits, ledger, slab)
    outbox.window = this.#window
    outbox.keepsSent = this.persistent
    return (this.#outbox = outbox)
  }
}

function isBy(clientId: string, message: Message): boolean {
  return (message.publisher as Session | undefined)?.clientId === clientId
}
