import type { Hooks } from '../access/hooks.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { Message } from '../mqtt/message.ts'
import type { SubscribeEntry, SubscribePacket, UnsubscribePacket } from '../mqtt/packets.ts'
import { MqttError, Reason, refusalIn, subscribeReasons } from '../mqtt/reason.ts'
import type { Root } from '../mqtt/root.ts'
import { isOfTenants } from '../mqtt/tenant-name.ts'
import { parseFilter, type ParsedFilter } from '../mqtt/topic.ts'
import type { RetainedStore } from '../retain/retained.ts'
import { Copy, type Grant, packGrant } from '../routing/delivery.ts'
import type { SubscriptionTree } from '../routing/tree.ts'
import type { Ledger } from '../sessions/ledger.ts'
import { ownId } from '../sessions/client-key.ts'
import type { Session } from '../sessions/session.ts'
import type { Lsn, Store } from '../store/port.ts'
import type { Asking } from './asking.ts'
import type { Cluster } from './cluster-port.ts'
import type { Door } from './door.ts'
import { notAllowed } from './entitling.ts'
import type { AckGate } from './gate.ts'
import { infoOf } from './handshake.ts'
import type { Observer } from './observer.ts'

type Client = Connection<Session>

export interface SubscribingParts {
  readonly hooks: Hooks
  readonly asking: Asking
  readonly limits: { readonly subscriptionsPerSession: number }
  readonly memory: { readonly closed: boolean }
  readonly tree: SubscriptionTree<Session>
  readonly retained: RetainedStore<Message>
  readonly ledger: Ledger
  readonly store: Store
  readonly cluster: Cluster
  readonly gate: AckGate
  /** Hears of what is refused. */
  readonly door: Pick<Door, 'refused'>
  readonly observer: Observer
  readonly now: () => number
}

/** Retained messages that a search passes over before others have their turn: about 0.2 ms. */
const searchStride = 1000

/** One filter of a SUBSCRIBE on its way to its reason code. */
interface Wish {
  /** As the client wrote it. */
  readonly entry: SubscribeEntry
  /** As the session has it: with the root of its tenant. */
  readonly filter: string
  readonly parsed: ParsedFilter | undefined
  denied: MqttError | undefined
}

/** SUBSCRIBE and UNSUBSCRIBE: what a session wants, and the retained messages that a new wish brings. */
export class Subscribing {
  readonly #parts: SubscribingParts

  constructor(parts: SubscribingParts) {
    this.#parts = parts
  }

  subscribe(from: Client, packet: SubscribePacket): void {
    from.allowance?.charge(packet.entries.map(({ filter }) => filter))
    const wishes = packet.entries.map((entry) => wishOf(entry, from.root))
    permit(from, wishes)
    const { hooks, asking } = this.#parts
    const authorize = hooks.authorizeSubscribe?.bind(hooks)
    if (!authorize) return this.#grant(from, packet, wishes)
    const who = infoOf(from)
    // Filter by filter, in order, as if each had come in a packet of its own [MQTT-3.8.4-5]; no stack holds thousands.
    let at = 0
    const proceed = (): void => {
      while (at < wishes.length) {
        const wish = wishes[at++]!
        if (!wish.parsed || wish.denied) continue
        const { filter, group } = wish.parsed
        let state: 'asking' | 'answered' | 'later' = 'asking'
        asking.about(
          from,
          () => authorize(who, { filter, group, qos: wish.entry.qos }),
          (verdict) => {
            if ('denied' in verdict) wish.denied = verdict.denied
            if (state === 'later') proceed()
            else state = 'answered'
          },
        )
        if (state === 'asking') return void (state = 'later')
      }
      // The rules may have changed meanwhile.
      permit(from, wishes)
      this.#grant(from, packet, wishes)
    }
    proceed()
  }

  unsubscribe(from: Client, packet: UnsubscribePacket): void {
    const { tree, store, gate, observer } = this.#parts
    const session = from.session!
    from.allowance?.charge(packet.filters)
    let lsn: Lsn = 0
    const filters = packet.filters.map((filter) => withinOf(filter, from.root))
    session.stopFeeds(new Set(filters.filter((filter) => filter !== undefined)))
    const codes = filters.map((filter) => {
      if (filter === undefined) return Reason.topicFilterInvalid
      if (!session.subscriptions.has(filter)) return Reason.noSubscriptionExisted
      session.unsubscribe(filter)
      tree.unsubscribe(session, parseFilter(filter))
      if (session.persistent) lsn = store.unsubscribed(session.number, filter)
      observer.unsubscribed?.(ownId(session.clientId), filter)
      return Reason.success
    })
    gate.promise(from, lsn, (client) => client.unsuback(packet.packetId, codes))
  }

  #grant(from: Client, packet: SubscribePacket, wishes: readonly Wish[]): void {
    const { store, gate, ledger, cluster, door } = this.#parts
    const session = from.session!
    let lsn: Lsn = 0
    let why: string | undefined
    // SUBACK first: a client that waits for it must not be flooded before.
    session.holdFeeds()
    // What earlier SUBSCRIBEs still have to bring, this one brings anew. A filter that stands here twice brings it twice.
    session.stopFeeds(new Set(wishes.flatMap(({ filter, denied }) => (denied ? [] : [filter]))))
    const codes = wishes.map((wish) => {
      const denied = wish.denied ?? this.#noRoom(session, wish.filter)
      if (denied || !wish.parsed) {
        if (session.tenant) session.tenant.refused++
        why ??= denied?.message
        if (denied?.reason === Reason.notAuthorized) door.refused(from, 'subscribe', wish.entry.filter, denied.message)
        ledger.refusal(denied?.reason ?? Reason.topicFilterInvalid)
        return from.version === 5 && denied ? refusalIn(subscribeReasons, denied.reason) : 0x80
      }
      const existed = this.#subscribe(session, wish, wish.parsed, packet.subscriptionId)
      if (session.persistent) {
        const { filter } = wish
        lsn = store.subscribed(session.number, filter, session.subscriptions.get(filter)!)
      }
      // Retained messages: none for a shared subscription; with handling 1 for a new one only [MQTT-3.3.1-9 to -11].
      const { retainHandling } = wish.entry
      if (wish.parsed.group === undefined && (retainHandling === 0 || (retainHandling === 1 && !existed)))
        this.#feed(session, wish, packet.subscriptionId)
      return wish.entry.qos
    })
    const suback = (client: Client) => {
      client.suback(packet.packetId, codes, why)
      session.releaseFeeds()
    }
    // Behind the barrier: whoever has SUBACK gets what is published on other nodes from then on.
    gate.promise(from, lsn, suback, 0, 0, undefined, cluster.barrier())
  }

  #subscribe(session: Session, { entry, filter }: Wish, parsed: ParsedFilter, subscriptionId: number): boolean {
    const grant = grantOf(entry, subscriptionId)
    const existed = session.subscriptions.has(filter)
    session.subscribe(filter, packGrant(grant))
    this.#parts.tree.subscribe(session, parsed, grant)
    this.#parts.observer.subscribed?.(ownId(session.clientId), filter, entry.qos)
    return existed
  }

  /** What is retained now; what is set from now on comes as it is published. */
  #feed(session: Session, wish: Wish, subscriptionId: number): void {
    const delivery = new Copy(session).add(packGrant(grantOf(wish.entry, subscriptionId)))
    const { retained, now } = this.#parts
    session.feed(wish.filter, delivery, retained.matching(wish.parsed!.filter, now(), searchStride))
  }

  #noRoom(session: Session, filter: string): MqttError | undefined {
    if (session.persistent && this.#parts.store.full)
      return new MqttError(Reason.quotaExceeded, 'MQTT-3.9.3', 'the disk is full')
    if (session.subscriptions.has(filter)) return undefined
    if (this.#parts.memory.closed) return new MqttError(Reason.quotaExceeded, 'MQTT-3.9.3', 'memory is short')
    const most = this.#parts.limits.subscriptionsPerSession
    if (session.subscriptions.size >= most) return tooMany(`a session may have ${most} subscriptions`)
    const { tenant } = session
    return tenant !== undefined && tenant.subscriptions >= tenant.limits.subscriptions
      ? tooMany(`its tenant may have ${tenant.limits.subscriptions} subscriptions`)
      : undefined
  }
}

/** Denies what the rules of now do not allow. */
function permit(from: Client, wishes: readonly Wish[]): void {
  const { rights } = from.session!
  if (rights === undefined) return
  for (const wish of wishes)
    if (wish.parsed && !wish.denied && !rights.mayFilter(wish.parsed.filter, wish.parsed.group !== undefined))
      wish.denied = notAllowed.subscribe
}

function grantOf({ qos, noLocal, retainAsPublished }: SubscribeEntry, subscriptionId: number): Grant {
  return { qos, noLocal, retainAsPublished, subscriptionId }
}

function tooMany(why: string): MqttError {
  return new MqttError(Reason.quotaExceeded, 'MQTT-3.9.3', why)
}

function wishOf(entry: SubscribeEntry, root: Root | undefined): Wish {
  const { filter } = entry
  try {
    const written = parseFilter(filter)
    if (isReserved(written.filter, root)) return { entry, filter, parsed: written, denied: reserved }
    if (!root) return { entry, filter, parsed: written, denied: undefined }
    const within = root.filter(filter)
    return { entry, filter: within, parsed: parseFilter(within), denied: undefined }
  } catch (fault) {
    if (!(fault instanceof MqttError)) throw fault
    return { entry, filter, parsed: undefined, denied: fault }
  }
}

/** A filter as a session has it; undefined: it is none. */
function withinOf(filter: string, root: Root | undefined): string | undefined {
  try {
    parseFilter(filter)
    return root ? root.filter(filter) : filter
  } catch (fault) {
    if (!(fault instanceof MqttError)) throw fault
    return undefined
  }
}

/** Topics of tenants are nobody's from outside; and inside there is none that begins with "$". */
function isReserved(filter: string, root: Root | undefined): boolean {
  return root === undefined ? isOfTenants(filter) : filter.startsWith('$')
}

const reserved = new MqttError(Reason.notAuthorized, 'MQTT-4.7.2', 'topics that begin with this belong to the broker')
