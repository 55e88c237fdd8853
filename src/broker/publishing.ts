import type { Hooks, PublishRequest } from '../access/hooks.ts'
import { Act } from '../access/rules.ts'
import type { Connection } from '../mqtt/connection.ts'
import { Message } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import { MqttError, publishReasons, Reason, refusalIn } from '../mqtt/reason.ts'
import type { Root } from '../mqtt/root.ts'
import { isOfTenants } from '../mqtt/tenant-name.ts'
import { parseFilter, type Topic, type TopicTable } from '../mqtt/topic.ts'
import type { RetainedStore } from '../retain/retained.ts'
import type { Delivery, Match } from '../routing/delivery.ts'
import type { SubscriptionTree } from '../routing/tree.ts'
import type { Ledger } from '../sessions/ledger.ts'
import type { Overflow, Terms } from '../sessions/outlet.ts'
import type { Rights } from '../sessions/rights.ts'
import { ownId } from '../sessions/client-key.ts'
import type { Session } from '../sessions/session.ts'
import type { Durability, Lsn, Store } from '../store/port.ts'
import type { Asking } from './asking.ts'
import type { Arrival, Cluster, Forwarded } from './cluster-port.ts'
import type { AckGate } from './gate.ts'
import type { DurabilityRules } from './durability.ts'
import type { Door } from './door.ts'
import { notAllowed } from './entitling.ts'
import { infoOf } from './handshake.ts'
import type { MemoryGuard } from './memory.ts'
import type { Observer } from './observer.ts'

type Client = Connection<Session>

/** What is kept how; a reload changes it. */
export interface Keeping {
  /** The class of what comes through no listener. */
  readonly durability: Durability
  readonly rules: DurabilityRules
  readonly overflow: Overflow
}

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
  /** Hears of what is refused. */
  readonly door: Pick<Door, 'refused' | 'refusedWill'>
  readonly observer: Observer
  readonly keeping: Keeping
  readonly limits: { readonly overflow: Overflow }
  readonly memory: Pick<MemoryGuard, 'slows' | 'slow'>
  readonly now: () => number
}

/**
 * The way of a message through the broker.
 *
 *   PUBLISH ─▶ known QoS 2 id? ─▶ allowed? ─▶ room? ─▶ match ─▶ deliver … ─▶ store ─▶ acknowledgement, once on disk
 *                                                       each persistent session on the way goes into the store's record,
 *                                                       and each queue to another node that must outlive us
 */
export class Publishing {
  readonly #parts: PublishingParts
  /** What was read ahead adds up to: nothing, but nobody may leave it out. */
  #touched = 0
  /** Publishers that are not read while the store is behind. */
  #slowed: Client[] = []
  /** The store keeps what it is told. */
  readonly #stores: boolean
  /** The store takes nothing more: a field, for every PUBLISH asks. */
  #full: boolean
  /** There may be other nodes: a field, for every PUBLISH asks. */
  readonly #clustered: boolean
  /** Some group had no member here for the message that was routed last. */
  #unserved = false
  /** What other nodes do with the message that was routed last. */
  #forwarded: Forwarded = nowhere

  constructor(parts: PublishingParts) {
    this.#parts = parts
    this.#stores = parts.store.next !== 0
    this.#full = parts.store.full
    this.#clustered = !parts.cluster.alone
    parts.store.onProgress(() => {
      this.#full = parts.store.full
      if (this.#slowed.length === 0 || parts.store.behind) return
      for (const client of this.#slowed.splice(0)) client.release()
    })
  }

  /** A client's PUBLISH. */
  publish(from: Client, message: Message, packetId: number): void {
    // A QoS 2 message that came before is acknowledged and goes nowhere [MQTT-4.3.3-10].
    const before = message.qos === 2 ? from.session!.received(packetId) : undefined
    const within = from.allowance === undefined || from.allowance.admits(message)
    if (before !== undefined) return this.#parts.gate.promise(from, before, pubrecAgain, packetId)
    if (!within) return this.#turnAway(from, message, packetId, tooFast, Reason.messageRateTooHigh)
    if (message.topic.bytes[0] === dollar && isReserved(message.topic, from.root))
      return this.#deny(from, message, packetId, reserved)
    const forbidden = notPermitted(from, message)
    if (forbidden !== undefined) return this.#deny(from, message, packetId, forbidden)
    if (this.#parts.hooks.authorizePublish) this.#authorize(from, message, packetId)
    else this.#accept(from, message, packetId)
  }

  /** Asks the host program. Apart from `publish`: what its closures hold would be allocated for each message. */
  #authorize(from: Client, message: Message, packetId: number): void {
    const { hooks, asking } = this.#parts
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
        // The rules may have changed meanwhile.
        const denied = 'denied' in verdict ? verdict.denied : notPermitted(from, message)
        if (denied !== undefined) this.#deny(from, message, packetId, denied)
        else this.#accept(from, message, packetId)
      },
    )
  }

  /** A message from nobody's connection: the host program's, a will, or `$SYS`. @param durability default: that of its topic */
  inject(message: Message, durability?: Durability): void {
    this.#route(message, undefined, 0, durability ?? this.durabilityOf(message.topic))
  }

  /** A message that another node forwards, which goes no further. See `BrokerSide`. */
  arrive(arrival: Arrival, unserved: (group: string) => void): Lsn {
    const { message, durability, plain, groups, sender, packetId } = arrival
    const { tree, store } = this.#parts
    const kept = (message.lasting = this.#stores && durability !== 'memory')
    const retains = message.retain && this.#retain(message, undefined)
    const match = tree.match(message.topic)
    let recorded = false
    for (let i = 0; plain && i < match.deliveries.length; i++)
      if (deliver(message, match.deliveries[i]!)) recorded = true
    for (const name of groups) {
      const member = match.groups.find((group) => group.name === name)?.pick(message.topic)
      if (member === undefined) unserved(name)
      else if (deliver(message, member)) recorded = true
    }
    if (!recorded && !(kept && (retains || sender !== 0))) return 0
    const lsn = store.message(message, kept && retains, sender, packetId, durability)
    return kept ? lsn : 0
  }

  /** A member here of a group gets a message that no other node had one for. See `BrokerSide`. */
  serve(message: Message, group: string, durability: Durability): Lsn | undefined {
    const { tree, now, store } = this.#parts
    const member = tree.group(parseFilter(group))?.pick(message.topic)
    if (member === undefined || message.expiresAtMs <= now()) return undefined
    message.lasting = this.#stores && durability !== 'memory'
    return deliver(message, member) ? store.message(message, false, 0, 0, durability) : 0
  }

  pubrel(from: Client, packetId: number): void {
    const { store, gate } = this.#parts
    const session = from.session!
    const reason = session.release(packetId) ? Reason.success : Reason.packetIdNotFound
    // Also when it is free already: that may not be on disk yet, and after a crash a new message of this id would be taken
    // for the old one.
    const lsn = session.persistent ? store.released(session.number, packetId) : 0
    if (gate.open(from, lsn)) from.pubcomp(packetId, reason)
    else gate.hold(from, lsn, pubcomp, packetId, reason)
  }

  /** May this client, with these rights, leave this will? `then` may run later. */
  authorizeWill(
    from: Client,
    rights: Rights | undefined,
    will: WillPacket,
    then: (denied: MqttError | undefined) => void,
  ): void {
    const { hooks, asking, topics, door } = this.#parts
    const refuse = (denied: MqttError): void => {
      door.refused(from, 'will', topic.shown, denied.message)
      then(denied)
    }
    const topic = topics.named(will.topic)
    if (isReserved(topic, from.root)) return refuse(reserved)
    if (!mayLeave(rights, topic, will)) return refuse(notAllowed.will)
    if (!hooks.authorizePublish) return then(undefined)
    asking.about(
      from,
      () => hooks.authorizePublish!(infoOf(from), requestOf(will)),
      (verdict) => ('denied' in verdict ? refuse(verdict.denied) : then(undefined)),
    )
  }

  /** A will fires: asked again, for rights may have changed since CONNECT. */
  publishWill(session: Session, will: WillPacket): void {
    const { topics, hooks, asking, now, ledger, door } = this.#parts
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
    const refuse = (denied: MqttError): void => {
      ledger.published++
      ledger.refuse(denied.reason, session.clientId, message)
      if (session.tenant) session.tenant.refused++
      door.refusedWill(session, topic.shown, denied.message)
    }
    if (!mayLeave(session.rights, topic, will)) return refuse(notAllowed.will)
    if (!hooks.authorizePublish) return this.inject(message)
    const { username, tenant } = session
    const who = { id: ownId(session.clientId), username, tenant: tenant?.name, remote: '', version: 5 as const }
    asking.aside(
      () => hooks.authorizePublish!(who, requestOf(will)),
      (verdict) => {
        if ('denied' in verdict) refuse(verdict.denied)
        else this.inject(message)
      },
    )
  }

  /** Gives a copy of a session that has ended to another member of its group. False when there is none. */
  move(message: Message, terms: Terms | undefined, filter: string | undefined, from: Session): boolean {
    const { tree, now, ledger, store, cluster } = this.#parts
    const group = filter === undefined ? (terms as Delivery<Session>).group : tree.group(parseFilter(filter))
    // To the next member it would be a new delivery, and none begins behind its expiry [MQTT-3.3.2-5].
    if (message.expiresAtMs <= now()) return false
    const next = group?.pick(message.topic, from)
    const durability = this.durabilityOf(message.topic)
    message.lasting = this.#stores && durability !== 'memory'
    const name = filter ?? group?.name
    if (!next && (name === undefined || !cluster.move(message, durability, name))) return false
    // The copy goes on; it is not made again.
    ledger.copies--
    if (next && deliver(message, next)) store.message(message, false, 0, 0, durability)
    return true
  }

  #accept(from: Client, message: Message, packetId: number): void {
    const { observer, ledger, store, limits, memory } = this.#parts
    const session = from.session!
    // What nobody keeps has no class to look up.
    const fleeting = message.qos === 0 && !message.retain
    const durability = fleeting ? 'memory' : this.#durability(message.topic, from.durability)
    if (this.#full || limits.overflow === 'reject' || this.#clustered) {
      const why = this.#noRoom(message, session, durability)
      if (why !== undefined) return this.#turnAway(from, message, packetId, why)
    }
    observer.published?.(message, ownId(session.clientId))
    const copies = ledger.copies
    const lsn = this.#route(message, session, packetId, durability)
    if (lsn > 0 && store.behind) this.#slow(from)
    if (memory.slows) memory.slow(from)
    if (message.qos === 0) return
    const awaited = durability === 'memory' ? 0 : lsn
    this.#acknowledge(from, message, packetId, durability, awaited, ledger.copies > copies)
  }

  #acknowledge(
    from: Client,
    message: Message,
    packetId: number,
    durability: Durability,
    lsn: Lsn,
    isDelivered: boolean,
  ): void {
    const { gate } = this.#parts
    if (message.qos === 2) from.session!.receive(packetId, lsn)
    const { wait, nodes } = this.#forwarded
    const reason = isDelivered || nodes > 0 ? Reason.success : Reason.noMatchingSubscribers
    if (wait !== undefined || !gate.open(from, lsn, durability))
      return gate.hold(from, lsn, sends[durability][message.qos], packetId, reason, durability, wait)
    if (message.qos === 1) from.puback(packetId, reason, undefined, durability)
    else from.pubrec(packetId, reason, undefined, durability)
  }

  /** The class of what comes through no listener. */
  durabilityOf(topic: Topic): Durability {
    return this.#durability(topic, this.#parts.keeping.durability)
  }

  #durability(topic: Topic, otherwise: Durability): Durability {
    const { rules } = this.#parts.keeping
    return rules.none ? otherwise : rules.of(topic, otherwise)
  }

  /**
   * Delivers to everybody who wants the message; gives the lsn behind which its acknowledgement may leave. What is rare stands
   * apart, so that this one, `publish` and `#accept` stay small enough for the engine to inline.
   */
  #route(message: Message, publisher: Session | undefined, packetId: number, durability: Durability): Lsn {
    const { tree, ledger, cluster } = this.#parts
    ledger.published++
    if (this.#clustered) cluster.number(message)
    const kept = (message.lasting = this.#stores && durability !== 'memory')
    const retains = message.retain && this.#retain(message, publisher)
    const match = tree.match(message.topic)
    const { deliveries, groups } = match
    // Of QoS 0 nothing is queued.
    const readsAhead = message.qos > 0 && deliveries.length >= many
    let copies = groups.length
    let recorded = false
    for (let i = 0; i < deliveries.length; i++) {
      if (readsAhead && i % ahead === 0) this.#touch(deliveries, i + ahead)
      let delivery = deliveries[i]!
      if (delivery.subscriber === message.publisher) {
        const own = delivery.own
        if (own === undefined) continue
        delivery = own
      }
      copies++
      if (deliver(message, delivery)) recorded = true
    }
    if (groups.length > 0 && this.#share(message, groups)) recorded = true
    if (this.#clustered) {
      if (this.#forward(message, durability, match, publisher !== undefined)) recorded = true
      copies += this.#forwarded.nodes
    }
    if (copies > 0) ledger.matched++
    else ledger.unmatched++
    let lsn = 0
    if (kept) lsn = this.#record(message, recorded, retains, publisher, packetId, durability)
    else if (recorded) lsn = this.#parts.store.message(message, false, 0, 0, durability)
    if (groups.length > 0 && this.#unserved) this.#serveElsewhere(message, groups, durability)
    return lsn
  }

  /** To other nodes; true when the store was told. */
  #forward(message: Message, durability: Durability, match: Match<Session>, isAwaited: boolean): boolean {
    this.#forwarded = this.#parts.cluster.forward(message, durability, match, isAwaited)
    return this.#forwarded.recorded
  }

  /** Ends the record of a message that may be kept, if there is anything to keep it for. */
  #record(
    message: Message,
    recorded: boolean,
    retains: boolean,
    publisher: Session | undefined,
    packetId: number,
    durability: Durability,
  ): Lsn {
    const owner = message.qos === 2 && publisher?.persistent === true ? publisher.number : 0
    if (!recorded && !retains && owner === 0) return 0
    return this.#parts.store.message(message, retains, owner, owner === 0 ? 0 : packetId, durability)
  }

  /** To one member of each group; true when the store was told. Notes whether some group had none that may receive it. */
  #share(message: Message, groups: Match<Session>['groups']): boolean {
    let recorded = false
    this.#unserved = false
    for (let i = 0; i < groups.length; i++) {
      const delivery = groups[i]!.pick(message.topic)
      if (delivery === undefined) this.#unserved = true
      else if (deliver(message, delivery)) recorded = true
    }
    return recorded
  }

  /** Groups of which no member here may receive it: of other nodes one may. */
  #serveElsewhere(message: Message, groups: Match<Session>['groups'], durability: Durability): void {
    const { ledger, cluster } = this.#parts
    for (const group of groups) {
      if (group.peek(message.topic) !== undefined) continue
      if (this.#clustered && cluster.move(message, durability, group.name)) continue
      ledger.copies++
      ledger.lose('not-allowed', group.name, message)
    }
  }

  /**
   * Has the memory of the next recipients fetched, of all of them at a time: each would wait for its own, one after the other.
   * For thousands who are offline that is a third of the time.
   */
  #touch(deliveries: readonly Delivery<Session>[], from: number): void {
    const end = Math.min(from + ahead, deliveries.length)
    for (let i = from; i < end; i++) this.#touched = (this.#touched + deliveries[i]!.subscriber.touch()) | 0
  }

  /** False when it is not retained, as there is no room, or a newer one from another node. */
  #retain(message: Message, publisher: Session | undefined): boolean {
    const { retained, ledger, cluster } = this.#parts
    if (this.#clustered && !cluster.retains(message)) return false
    // An empty payload clears, and is never kept itself [MQTT-3.3.1-6, -7].
    if (message.payloadLength === 0) return retained.clear(message.topic, message.stamp)
    // Of what other nodes forward, and of the host program's own, there is no publisher: theirs was asked there, or nobody is.
    const tenant = (message.publisher as Session | undefined)?.tenant
    if (retained.set(message.keep(), tenant?.limits.retained)) return true
    if (tenant) tenant.refused++
    message.stamp = undefined
    ledger.notRetained++
    ledger.listener?.('retained-full', publisher?.clientId ?? '', message)
    return false
  }

  /**
   * Why a message cannot be kept for everybody who should get it: a full disk, a full queue that rejects, or too much that
   * waits for another node.
   */
  #noRoom(message: Message, publisher: Session, durability: Durability): string | undefined {
    const { tree, store, cluster, limits } = this.#parts
    const match = tree.match(message.topic)
    const why = this.#clustered ? cluster.refusal(message, durability, match) : undefined
    if (why !== undefined || !(store.full || limits.overflow === 'reject')) return why
    const needsDisk = store.full && durability !== 'memory'
    if (needsDisk && (message.retain || (message.qos === 2 && publisher.persistent))) return diskFull
    const { deliveries, groups } = match
    const refusedBy = ({ subscriber, qos }: Match<Session>['deliveries'][number]): string | undefined => {
      const both = Math.min(message.qos, qos)
      // Of QoS 2 whatever its class: see `Outbox.push`.
      if ((needsDisk ? both > 0 : store.full && both === 2) && subscriber.persistent) return diskFull
      return subscriber.refuses(both) ? 'the queue of a subscriber is full' : undefined
    }
    for (const delivery of deliveries) {
      const own = delivery.subscriber === publisher ? delivery.own : delivery
      const why = own && refusedBy(own)
      if (why !== undefined) return why
    }
    for (const group of groups) {
      const member = group.peek(message.topic)
      const why = member && refusedBy(member)
      if (why !== undefined) return why
    }
    return undefined
  }

  /**
   * Nobody gets the message, and the publisher knows: 0x97, or no acknowledgement and an end (3.x cannot say no).
   * @param reason as it is counted
   */
  #turnAway(
    from: Client,
    message: Message,
    packetId: number,
    why: string,
    reason: Reason = Reason.quotaExceeded,
  ): void {
    const { ledger } = this.#parts
    ledger.published++
    ledger.refuse(reason, from.clientId, message)
    countRefused(from)
    if (message.qos === 0) return
    if (from.version !== 5) return from.fail(new MqttError(reason, 'MQTT-4.3.2', why))
    this.#refuse(from, message.qos, packetId, Reason.quotaExceeded, why)
  }

  /** More waits for the disk than should: reads nothing more from this client until it does not. */
  #slow(from: Client): void {
    from.hold()
    this.#slowed.push(from)
  }

  #deny(from: Client, message: Message, packetId: number, denied: MqttError): void {
    const { ledger, door } = this.#parts
    ledger.published++
    ledger.refuse(denied.reason, from.clientId, message)
    countRefused(from)
    door.refused(from, 'publish', message.topic.shown, denied.message)
    // 3.x has no way to say no: it is acknowledged all the same [MQTT-3.3.5-2 of 3.1.1].
    const reason = refusalIn(publishReasons, denied.reason)
    if (message.qos > 0) this.#refuse(from, message.qos, packetId, reason, denied.message)
  }

  #refuse(from: Client, qos: number, packetId: number, reason: number, why: string): void {
    // Behind the acknowledgements of what came earlier [MQTT-4.6.0-2, -3].
    this.#parts.gate.promise(from, 0, (client) => {
      if (qos === 1) client.puback(packetId, reason, why)
      else client.pubrec(packetId, reason, why)
    })
  }
}

/** True when the store was told of it: the record must be ended. */
function deliver(message: Message, delivery: Delivery<Session>): boolean {
  return delivery.subscriber.deliver(message, delivery, delivery.retainAsPublished && message.retain)
}

/** Recipients from which on, and how far, memory is read ahead. */
const many = 64
const ahead = 16

const retaining = Act.publish | Act.retain

/** Why a client may not publish this message, by the rules of now. */
function notPermitted(from: Client, message: Message): MqttError | undefined {
  const session = from.session!
  if (!message.retain) return session.mayPublish(message.topic) ? undefined : notAllowed.publish
  return session.rights?.may(retaining, message.topic) === false ? notAllowed.retain : undefined
}

function mayLeave(rights: Rights | undefined, topic: Topic, { retain }: WillPacket): boolean {
  return rights === undefined || rights.may(Act.will | (retain ? retaining : Act.publish), topic)
}

const diskFull = 'the disk is full'
const tooFast = 'more messages or bytes a second than this client, its user or its tenant may send'
const nowhere: Forwarded = { nodes: 0, recorded: false, wait: undefined }

type Send = (client: Client, packetId: number, reason: number) => void

// One function for each class and QoS, made once: a publish makes no closure.
const sends = { fsync: sendsOf('fsync'), os: sendsOf('os'), memory: sendsOf('memory') }

function sendsOf(durability: Durability): readonly [never, Send, Send] {
  return [
    undefined as never,
    (client, packetId, reason) => client.puback(packetId, reason, undefined, durability),
    (client, packetId, reason) => client.pubrec(packetId, reason, undefined, durability),
  ]
}

function pubrecAgain(client: Client, packetId: number): void {
  client.pubrecAgain(packetId)
}

function pubcomp(client: Client, packetId: number, reason: number): void {
  client.pubcomp(packetId, reason)
}

function requestOf(will: WillPacket): PublishRequest {
  const { topic, payload, qos, retain } = will
  return { topic, payload, qos, retain, will: true }
}

const dollar = 0x24
const reserved = new MqttError(Reason.notAuthorized, 'MQTT-4.7.2', 'such topics belong to the broker')

/** Topics that a client may not publish: those of the broker and of tenants; whoever belongs to one has none with "$" at all. */
function isReserved({ name, wire }: Topic, root: Root | undefined): boolean {
  if (root !== undefined) return wire[0] === dollar
  return isBelow(name, '$SYS') || isBelow(name, '$share') || isOfTenants(name)
}

function isBelow(topic: string, level: string): boolean {
  return topic === level || topic.startsWith(`${level}/`)
}

function countRefused({ session }: Client): void {
  if (session?.tenant) session.tenant.refused++
}
