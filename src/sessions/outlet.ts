import type { Message, Slab } from '../mqtt/message.ts'
import type { QoS } from '../mqtt/topic.ts'
import type { Places } from '../store/places.ts'
import type { Store } from '../store/port.ts'
import type { Ledger } from './ledger.ts'
import type { Rights } from './rights.ts'

// What an outbox works with: where its messages go, whose they are, and how many there may be.

/** A connection, as the outbox sees it. */
export interface Outlet {
  /** False when the message is larger than the client accepts. */
  send(
    message: Message,
    qos: QoS,
    retain: boolean,
    dup: boolean,
    packetId: number,
    subscriptionIds: readonly number[] | undefined,
    shared?: string,
  ): boolean
  pubrel(packetId: number): void
  readonly congested: boolean
}

/** How a copy goes out; the router's `Delivery` fits. */
export interface Terms {
  readonly subscriptionIds: readonly number[] | undefined
  /** Where it is more than the group of a delivery: what the store keeps in place of that group's name. */
  readonly shared?: string | undefined
}

/** What happens to a message for a queue that has no room. `reject`: its publisher is told before anybody gets it. */
export type Overflow = 'drop-oldest' | 'drop-newest' | 'reject'

export interface OutboxLimits {
  readonly queueMessages: number
  readonly queueBytes: number
  /** The same, for all queues together. */
  readonly queueBytesTotal: number
  readonly overflow: Overflow
}

/** What outboxes share. */
export interface OutboxContext {
  readonly limits: OutboxLimits
  readonly ledger: Ledger
  readonly slab: Slab
  readonly store: Store
  readonly places: Places
  /** Bytes in all queues. */
  readonly queued: { bytes: number }
}

/** Whose outbox it is. */
export interface OutboxOwner {
  readonly clientId: string
  /** In the store; 0: not there. */
  readonly number: number
  readonly rights?: Rights | undefined
}
