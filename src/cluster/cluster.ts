import type { Cluster } from '../broker/cluster-port.ts'
import type { Host, Net, Stream, StreamEvents } from '../host.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import type { Recovered, Store } from '../store/port.ts'
import type { NodeId } from './peers.ts'

/** What the configuration says of the cluster. */
export interface ClusterSettings {
  /** A client's session is on a node that cannot be reached: it waits for that node, or begins afresh. */
  readonly absentOwner: 'wait' | 'fresh'
  /** Of the messages that wait for one node that cannot be reached. */
  readonly handoffMessages: number
  readonly handoffBytes: number
  /** What is for a node without a link is written down here after this time. */
  readonly handoffAfterMs: number
  /** Longest time that SUBACK waits for the other nodes. */
  readonly barrierMs: number
  /** How long the removal of a retained message is remembered. */
  readonly tombstoneSeconds: number
}

export const defaultClusterSettings: ClusterSettings = {
  absentOwner: 'wait',
  handoffMessages: 1_000_000,
  handoffBytes: 1024 * 1024 * 1024,
  handoffAfterMs: 2000,
  barrierMs: 250,
  tombstoneSeconds: 86_400,
}

export interface ClusterOptions {
  /** Our name: unique in the cluster, and the same at each start. */
  readonly node: NodeId
  /** Says which cluster; others are not spoken to. */
  readonly clusterId: string
  /** Where other nodes dial us. */
  readonly address: string
  /** Addresses of nodes that may be there. */
  readonly join: readonly string[]
  readonly host: Host
  readonly net: Net
  /** The broker's, and what it holds: the cluster keeps its queues there, under client ids that no client can have. */
  readonly store: Store
  readonly recovered: Recovered
  /** Shared with the broker and the store. */
  readonly topics: TopicTable
  readonly settings?: ClusterSettings
  /** Largest packet that the broker takes. */
  readonly packetBytes?: number
  /** Wire versions to speak; default: all that there are. */
  readonly wire?: { readonly oldest: number; readonly newest: number }
  /** Host name and port of our own for clients, for those that others send to us. */
  readonly clientAddress?: string
}

/** What `godwit cluster status` shows of one node. */
export interface NodeStatus {
  readonly node: NodeId
  readonly address: string
  readonly state: 'self' | 'alive' | 'suspect' | 'dead' | 'left'
  readonly incarnation: number
  /** The wire version of the link; 0: there is no link. */
  readonly version: number
  /** Messages that wait here for it, and their bytes. */
  readonly queueMessages: number
  readonly queueBytes: number
  /** They are written down here, as it cannot be reached, or has not caught up. */
  readonly handoff: boolean
  /** QoS 0 messages that it did not get. */
  readonly droppedQos0: number
  /** Publishes that were refused, as too much waits for it. */
  readonly refused: number
}

/**
 * One node of a cluster, beside its broker:
 *
 *   const cluster = new ClusterNode({ … store, recovered })
 *   const broker = new Broker({ … store, cluster })
 *   broker.restore(recovered)
 *   cluster.start()                        dials; incoming streams: `cluster.accept(stream, node)`
 *   … cluster.stop(), broker.stop()
 */
export declare class ClusterNode implements Pick<Cluster, 'alone'> {
  constructor(options: ClusterOptions)
  readonly alone: boolean
  readonly node: NodeId
  readonly incarnation: number
  start(): void
  /** Takes a stream that a peer has opened; its certificate has proven that it is `node`. */
  accept(stream: Stream, node: NodeId): StreamEvents
  /** Stops clocks and links. */
  stop(): void
  /** Gives up what waits for a node that will not come back, and forgets it. */
  evict(node: NodeId): void
  status(): NodeStatus[]
}
