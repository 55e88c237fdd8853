import type { Message } from '../mqtt/message.ts'
import type { TopicFilter, TopicTable } from '../mqtt/topic.ts'
import { RetainedStore } from '../retain/retained.ts'
import type { DiskStore } from '../store/disk-store.ts'
import type { Lsn, Recovered, SessionState, StateSource } from '../store/port.ts'
import { Incoming } from './incoming.ts'
import { Outgoing } from './outgoing.ts'
import { type AedesPacket, messageOf, packetOf, packetOfWill, willOf } from './packet.ts'
import { Sessions } from './sessions.ts'
import { Subscriptions } from './subscriptions.ts'

/** All that Aedes keeps, as it is in an open store. What changes something gives the place of its record. */
export class Kept implements StateSource {
  readonly sessions: Sessions
  readonly subscriptions: Subscriptions
  readonly outgoing: Outgoing
  readonly incoming: Incoming
  readonly #store: DiskStore
  readonly #topics: TopicTable
  readonly #retained = new RetainedStore<Message>({ messages: Infinity, bytes: Infinity })

  constructor(store: DiskStore, recovered: Recovered, topics: TopicTable) {
    this.#store = store
    this.#topics = topics
    const sessions = (this.sessions = new Sessions(store, recovered.sessions))
    this.subscriptions = new Subscriptions(store, sessions, topics)
    this.outgoing = new Outgoing(store, sessions, topics)
    this.incoming = new Incoming(store, sessions, topics)
    for (const message of recovered.retained) this.#retained.set(message)
    store.serve(this)
    for (const [clientId, inFlight] of sessions.clientsInFlight()) {
      this.outgoing.restore(clientId, inFlight)
      this.incoming.restore(inFlight)
    }
    for (const [, session] of sessions.clients()) this.outgoing.settleAcknowledged(session)
    for (const session of sessions.all()) sessions.endIfEmpty(session)
  }

  // What the store asks.

  session(number: number): SessionState | undefined {
    return this.sessions.byNumber(number)
  }

  retained(topic: string): Message | undefined {
    return this.#retained.get(topic)
  }

  moved(session: number, seq: number, lsn: Lsn): void {
    const item = this.sessions.byNumber(session)?.queue.get(seq)
    if (item) item.lsn = lsn
  }

  /** @throws MqttError when the topic is none */
  retain(packet: AedesPacket): Lsn {
    const message = messageOf(packet, true, this.#topics)
    if (message.payloadLength === 0) this.#retained.clear(message.topic)
    else this.#retained.set(message.keep())
    return this.#store.message(message, true, 0, 0, 'fsync')
  }

  *retainedBy(filters: readonly string[]): Generator<AedesPacket, void, void> {
    // Not checked: Aedes has, and nobody listens to what a stream throws.
    for (const filter of filters)
      for (const message of this.#retained.matching(filter as TopicFilter, 0)) yield packetOf(message)
  }

  putWill(clientId: string, packet: AedesPacket): Lsn {
    const session = this.sessions.take(clientId)
    session.will = willOf(packet)
    return (session.changed = this.#store.session(session))
  }

  will(clientId: string): AedesPacket | undefined {
    const will = this.sessions.of(clientId)?.will
    return will && packetOfWill(will)
  }

  deleteWill(clientId: string): Lsn {
    const session = this.sessions.of(clientId)
    if (session === undefined) return 0
    if (session.will) {
      session.will = undefined
      session.changed = this.#store.session(session)
    }
    this.sessions.endIfEmpty(session)
    return session.changed
  }

  *wills(): Generator<AedesPacket, void, void> {
    for (const [, { will }] of this.sessions.clients()) if (will) yield packetOfWill(will)
  }
}
