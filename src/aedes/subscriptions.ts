import { parseFilter, parseTopicName, type TopicTable } from '../mqtt/topic.ts'
import { type Grant, packGrant, unpackGrant } from '../routing/delivery.ts'
import { SubscriptionTree } from '../routing/tree.ts'
import type { Lsn, Store } from '../store/port.ts'
import type { Sessions } from './sessions.ts'

/** A subscription as Aedes hands it over. */
export interface AedesSubscription {
  readonly topic: string
  readonly qos: 0 | 1 | 2
  /** Retain handling: it speaks of the moment of SUBSCRIBE, so it is not kept, and comes back as 0. */
  readonly rh?: number | undefined
  /** Retain as published. */
  readonly rap?: boolean | number | undefined
  /** No local. */
  readonly nl?: boolean | number | undefined
  readonly subscriptionIdentifier?: number | undefined
}

/** One subscription for one client: what the tree finds. */
interface Seat {
  readonly clientId: string
  readonly topic: string
  grant: Grant
  // For shared subscriptions, which Aedes has not.
  readonly online: false
  readonly room: 0
  readonly mayReceive: () => false
}

const noMember = { online: false, room: 0, mayReceive: (): false => false } as const

/** What clients have subscribed to. Only what is above QoS 0 is found by topic. */
export class Subscriptions {
  readonly #store: Store
  readonly #sessions: Sessions
  readonly #topics: TopicTable
  readonly #tree = new SubscriptionTree<Seat>()
  readonly #seats = new Map<string, Map<string, Seat>>()

  constructor(store: Store, sessions: Sessions, topics: TopicTable) {
    this.#store = store
    this.#sessions = sessions
    this.#topics = topics
    for (const [clientId, { subscriptions }] of sessions.clients())
      for (const [topic, packed] of subscriptions) this.#seat(clientId, topic, unpackGrant(packed))
  }

  /** @throws MqttError when a filter is none; nothing has changed then */
  add(clientId: string, subscriptions: readonly AedesSubscription[]): Lsn {
    for (const { topic } of subscriptions) parseFilter(topic)
    if (subscriptions.length === 0) return 0
    const session = this.#sessions.take(clientId)
    for (const { topic, qos, rap, nl, subscriptionIdentifier = 0 } of subscriptions) {
      const grant = { qos, noLocal: !!nl, retainAsPublished: !!rap, subscriptionId: subscriptionIdentifier }
      const packed = packGrant(grant)
      // Aedes hands over all of a SUBSCRIBE once for each of its filters.
      if (session.subscriptions.get(topic) === packed) continue
      session.subscriptions.set(topic, packed)
      session.changed = this.#store.subscribed(session.number, topic, packed)
      this.#seat(clientId, topic, grant)
    }
    return session.changed
  }

  remove(clientId: string, topics: Iterable<string>): Lsn {
    const session = this.#sessions.of(clientId)
    if (session === undefined) return 0
    for (const topic of topics) {
      if (!session.subscriptions.delete(topic)) continue
      session.changed = this.#store.unsubscribed(session.number, topic)
      this.#leave(clientId, topic)
    }
    this.#sessions.endIfEmpty(session)
    return session.changed
  }

  clean(clientId: string): Lsn {
    return this.remove(clientId, [...(this.#sessions.of(clientId)?.subscriptions.keys() ?? [])])
  }

  ofClient(clientId: string): AedesSubscription[] {
    const found = []
    for (const [topic, packed] of this.#sessions.of(clientId)?.subscriptions ?? []) {
      const grant = unpackGrant(packed)
      const { subscriptionId } = grant
      found.push({
        topic,
        ...optionsOf(grant),
        ...(subscriptionId !== 0 && { subscriptionIdentifier: subscriptionId }),
      })
    }
    return found
  }

  matching(topic: string): (AedesSubscription & { readonly clientId: string })[] {
    // Aedes gives up the whole broker when this fails, and asks for names that a client chose: nobody subscribes to a bad one.
    if (!isTopicName(topic)) return []
    const { deliveries } = this.#tree.match(this.#topics.named(topic))
    const found = deliveries.map(({ subscriber: { clientId, topic, grant } }) => ({
      clientId,
      topic,
      ...optionsOf(grant),
    }))
    // The widest filter first, as aedes-persistence has it.
    return found.reverse()
  }

  /** Clients that have exactly this filter, whatever its QoS. */
  *clientsOf(filter: string): Generator<string, void, void> {
    for (const [clientId, { subscriptions }] of this.#sessions.clients()) if (subscriptions.has(filter)) yield clientId
  }

  count(): { subsCount: number; clientsCount: number } {
    let clientsCount = 0
    for (const [, { subscriptions }] of this.#sessions.clients()) if (subscriptions.size > 0) clientsCount++
    return { subsCount: this.#tree.size, clientsCount }
  }

  #seat(clientId: string, topic: string, grant: Grant): void {
    if (grant.qos === 0) return this.#leave(clientId, topic)
    let seats = this.#seats.get(clientId)
    if (seats === undefined) this.#seats.set(clientId, (seats = new Map<string, Seat>()))
    let seat = seats.get(topic)
    if (seat === undefined) seats.set(topic, (seat = { clientId, topic, grant, ...noMember }))
    seat.grant = grant
    this.#tree.subscribe(seat, parseFilter(topic), grant)
  }

  #leave(clientId: string, topic: string): void {
    const seats = this.#seats.get(clientId)
    const seat = seats?.get(topic)
    if (!seats || !seat) return
    this.#tree.unsubscribe(seat, parseFilter(topic))
    seats.delete(topic)
    if (seats.size === 0) this.#seats.delete(clientId)
  }
}

function isTopicName(topic: string): boolean {
  try {
    parseTopicName(topic)
    return true
  } catch {
    return false
  }
}

function optionsOf({ qos, retainAsPublished, noLocal }: Grant): Omit<AedesSubscription, 'topic'> {
  return { qos, rh: 0, rap: retainAsPublished, nl: noLocal }
}
