import type { Clock, Log, Random } from '../host.ts'
import type { Message } from '../mqtt/message.ts'
import type { Topic, TopicTable } from '../mqtt/topic.ts'
import type { RetainedStore } from '../retain/retained.ts'
import type { Durability, Store } from '../store/port.ts'
import type { NodeId, Peers } from './peers.ts'

export interface RetainedOptions {
  readonly self: NodeId
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly peers: Peers
  /** The broker's. */
  readonly retained: RetainedStore<Message>
  readonly store: Store
  readonly topics: TopicTable
  /** Class of a message that no client of ours has published. */
  readonly durability: (topic: Topic) => Durability
  /** All nodes that belong to the cluster beside us, there or not: who is missing will know of a tombstone only later. */
  readonly members: () => Iterable<NodeId>
  /** A tombstone is kept for so long at least. */
  readonly tombstoneSeconds: number
}

/** Counted since the start. */
export class RetainedFigures {
  /** `retained` frames sent: as something changed, and from comparisons. */
  spread = 0
  repaired = 0
  /** Not sent, as the node was behind; the next comparison makes up for it. */
  skipped = 0
  /** Changes of other nodes that were taken over; that came too late. */
  taken = 0
  older = 0
  /** Not taken: their clock is too far ahead of ours; the limits; a full disk. */
  ahead = 0
  noRoom = 0
  diskFull = 0
  comparisons = 0
  collected = 0
}
