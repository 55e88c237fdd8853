import type { Hooks, PublishRequest } from '../access/hooks.ts'
import type { Connection } from '../mqtt/connection.ts'
import { Message } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import { MqttError, publishReasons, Reason, refusalIn } from '../mqtt/reason.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import type { RetainedStore } from '../retain/retained.ts'
import type { Delivery } from '../routing/delivery.ts'
import type { SubscriptionTree } from '../routing/tree.ts'
import type { Ledger } from '../sessions/ledger.ts'
import type { Terms } from '../sessions/outbox.ts'
import type { Session } from '../sessions/session.ts'
import type { Lsn, Store } from '../store/port.ts'
import type { Asking } from './asking.ts'
import type { Cluster } from './cluster-port.ts'
import type { AckGate } from './gate.ts'
import { infoOf } from './handshake.ts'
import type { Observer } from './observer.ts'

type Client = Connection<Session>

/** What publishing works with. */
export interface PublishingParts {
  readonly hooks: Hooks
  readonly asking: Asking
  readonly topics: TopicTable
  readonly tree: SubscriptionTree<Session>
  readonly retained: RetainedStore<Message>
  readonly ledger: Ledger
  readonly store: Store
  readonly cluster: Cluster
  readonly gate: AckGate
  readonly observer: Observer
  readonly now: () => number
}

/**
 * The way of a message through the broker.
 *
 *   PUBLISH ─▶ known QoS 2 id? ─▶ allowed? ─▶ retained ─▶ match ─▶ deliver … ─▶ store ─▶ acknowledgement, once durable
 */
export class Publishing {
  readonly #parts: PublishingParts
  /** The persistent sessions that the message at hand is for: scratch, so that a publish allocates no list. */
  readonly #recipients: Session[] = []

  constructor(parts: PublishingParts) {
    this.#parts = parts
  }

  /** A client's PUBLISH. */
  publish(from: Client, message: Message, packetId: number): void {
    // A QoS 2 message that came before is acknowledged and goes nowhere [MQTT-4.3.3-10].
    const before = message.qos === 2 ? from.session!.received(packetId) : undefined
    if (before !== undefined) return this.#parts.gate.promise(from, before, (client) => client.pubrecAgain(packetId))
    if (message.topic.bytes[0] === dollar && isReserved(message.topic.name))
      return this.#deny(from, message, packetId, reserved)
    const { hooks, asking } = this.#parts
    if (!hooks.authorizePublish) return this.#accept(from, message, packetId)
    const request = {
      topic: message.topic.name,
      payload: message.payload(),
      qos: message.qos,
      retain: message.retain,
      will: false,
    }
    asking.about(
      from,
      () => hooks.authorizePublish!(infoOf(from), request),
      (verdict) => {
        if ('denied' in verdict) this.#deny(from, message, packetId, verdict.denied)
        else this.#accept(from, message, packetId)
      },
    )
  }

  /** A message from nobody's connection: the host program's, or `$SYS`. */
  inject(message: Message): void {
    this.#route(message, undefined, 0)
    this.#parts.cluster.forward(message)
  }

  pubrel(from: Client, packetId: number): void {
    const { store, gate } = this.#parts
    const session = from.session!
    const reason = session.release(packetId) ? Reason.success : Reason.packetIdNotFound
    const lsn = session.persistent ? store.released(session, packetId) : 0
    if (gate.open(from, lsn)) from.pubcomp(packetId, reason)
    else gate.hold(from, lsn, (client) => client.pubcomp(packetId, reason))
  }

  /** May this client leave this will? `then` may run later. */
  authorizeWill(from: Client, will: WillPacket, then: (denied: MqttError | undefined) => void): void {
    if (isReserved(will.topic)) return then(reserved)
    const { hooks, asking } = this.#parts
    if (!hooks.authorizePublish) return then(undefined)
    asking.about(
      from,
      () => hooks.authorizePublish!(infoOf(from), requestOf(will)),
      (verdict) => then('denied' in verdict ? verdict.denied : undefined),
    )
  }

  /** A will fires: asked again, for rights may have changed since CONNECT. */
  publishWill(session: Session, will: WillPacket): void {
    const { topics, hooks, asking, now, ledger } = this.#parts
    const topic = topics.named(will.topic)
    const expiresAtMs = will.expirySeconds < 0 ? Infinity : now() + will.expirySeconds * 1000
    const { payload, qos, retain, properties } = will
    const message = new Message(
      topic,
      qos,
      retain,
      payload,
      0,
      payload.length,
      properties,
      expiresAtMs,
      session,
      5,
    ).keep()
    if (!hooks.authorizePublish) return this.#publishOwn(message)
    const who = { id: session.clientId, username: session.username, remote: '', version: 5 as const }
    asking.aside(
      () => hooks.authorizePublish!(who, requestOf(will)),
      (verdict) => {
        if ('denied' in verdict) {
          ledger.published++
          ledger.refuse(verdict.denied.reason, session.clientId, message)
        } else this.#publishOwn(message)
      },
    )
  }

  /** Gives a copy of a session that has ended to another member of its group. False when there is none. */
  move(message: Message, terms: Terms, from: Session): boolean {
    const next = (terms as Delivery<Session>).group?.pick(from)
    // To the next member it would be a new delivery, and none begins behind its expiry [MQTT-3.3.2-5].
    if (!next || message.expiresAtMs <= this.#parts.now()) return false
    // The copy goes on; it is not made again.
    this.#parts.ledger.copies--
    next.subscriber.deliver(message, next, next.retainAsPublished && message.retain, true)
    return true
  }

  #publishOwn(message: Message): void {
    this.inject(message)
  }

  #accept(from: Client, message: Message, packetId: number): void {
    const { gate, cluster, observer } = this.#parts
    const session = from.session!
    observer.published?.(message, session.clientId)
    const copies = this.#parts.ledger.copies
    const lsn = this.#route(message, session, packetId)
    if (message.qos === 2) session.receive(packetId, lsn)
    cluster.forward(message)
    if (message.qos === 0) return
    const reason = this.#parts.ledger.copies === copies ? Reason.noMatchingSubscribers : Reason.success
    if (gate.open(from, lsn)) acknowledge(from, message.qos, packetId, reason)
    else gate.hold(from, lsn, (client) => acknowledge(client, message.qos, packetId, reason))
  }

  /** Delivers to everybody who wants the message; gives the lsn behind which its acknowledgement may leave. */
  #route(message: Message, publisher: Session | undefined, packetId: number): Lsn {
    const { tree, ledger, store } = this.#parts
    const recipients = this.#recipients
    ledger.published++
    if (message.retain) this.#retain(message, publisher)
    const match = tree.match(message.topic)
    const { deliveries, groups } = match
    let copies = 0
    for (let i = 0; i < deliveries.length; i++) {
      let delivery = deliveries[i]!
      if (delivery.subscriber === message.publisher) {
        const own = delivery.own
        if (own === undefined) continue
        delivery = own
      }
      const session = delivery.subscriber
      session.deliver(message, delivery, delivery.retainAsPublished && message.retain, false)
      copies++
      if (session.persistent && message.qos > 0 && delivery.qos > 0) recipients.push(session)
    }
    for (let i = 0; i < groups.length; i++) {
      const delivery = groups[i]!.pick()
      if (delivery === undefined) continue
      const session = delivery.subscriber
      session.deliver(message, delivery, delivery.retainAsPublished && message.retain, true)
      copies++
      if (session.persistent && message.qos > 0 && delivery.qos > 0) recipients.push(session)
    }
    if (copies > 0) ledger.matched++
    else ledger.unmatched++
    const keepsId = message.qos === 2 && publisher?.persistent === true
    if (recipients.length === 0 && !message.retain && !keepsId) return 0
    const lsn = store.message(message, recipients, keepsId ? publisher : undefined, packetId)
    recipients.length = 0
    return lsn
  }

  #retain(message: Message, publisher: Session | undefined): void {
    const { retained, ledger } = this.#parts
    // An empty payload clears, and is never kept itself [MQTT-3.3.1-6, -7].
    if (message.payloadLength === 0) retained.clear(message.topic)
    else if (!retained.set(message.keep())) {
      ledger.notRetained++
      ledger.listener?.('retained-full', publisher?.clientId ?? '', message)
    }
  }

  #deny(from: Client, message: Message, packetId: number, denied: MqttError): void {
    const { ledger } = this.#parts
    ledger.published++
    ledger.refuse(denied.reason, from.clientId, message)
    // 3.x has no way to say no: it is acknowledged all the same [MQTT-3.3.5-2 of 3.1.1].
    const reason = refusalIn(publishReasons, denied.reason)
    if (message.qos === 0) return
    // Behind the acknowledgements of what came earlier [MQTT-4.6.0-2, -3].
    this.#parts.gate.promise(from, 0, (client) => {
      if (message.qos === 1) client.puback(packetId, reason, denied.message)
      else client.pubrec(packetId, reason, denied.message)
    })
  }
}

function acknowledge(client: Client, qos: number, packetId: number, reason: number): void {
  if (qos === 1) client.puback(packetId, reason)
  else client.pubrec(packetId, reason)
}

function requestOf(will: WillPacket): PublishRequest {
  const { topic, payload, qos, retain } = will
  return { topic, payload, qos, retain, will: true }
}

const dollar = 0x24
const reserved = new MqttError(Reason.notAuthorized, 'MQTT-4.7.2', 'topics under $SYS and $share belong to the broker')

/** Topics that only the broker itself publishes. */
function isReserved(topic: string): boolean {
  return topic === '$SYS' || topic.startsWith('$SYS/') || topic === '$share' || topic.startsWith('$share/')
}
