import type { NodeStatus } from '../cluster/cluster.ts'

/** What the admin API asks of a node's cluster. `cluster-control.ts` answers for a `ClusterNode`, `alone.ts` for a node without one. */
export interface ClusterControl {
  status(): ClusterStatus
  /** What `leave` would leave behind. */
  leftBehind(): LeftBehind
  /** The node is gone for good: the others forget it, and nobody serves what is still here. @throws Refusal */
  leave(): Promise<void>
  /**
   * Not ready any more; sends the clients away, at most so many a second, hands the sessions over, and leaves when none is
   * left behind. Asked again, it gives the answer of the drain that is under way. @throws Refusal
   */
  drain(clientsPerSecond: number): Promise<DrainReport>
  /** Gives up what waits here for a node that will not come back. @throws Refusal */
  evict(node: string): Evicted
  /** The tables that this node has, its own first. */
  routes(): readonly Table[]
  /** Compares them with those of every node that it has a link to. @throws Refusal */
  verify(): Promise<Verified>
}

export interface ClusterStatus {
  /** Undefined: a node alone. */
  readonly clusterId: string | undefined
  /** `evicted`: the other nodes have given this one up, and it has to be started again. */
  readonly state: 'serving' | 'draining' | 'left' | 'evicted'
  /** Clients that are connected to this node, and its sessions. */
  readonly clients: number
  readonly sessions: number
  /** Messages that were given up with a node that was evicted, or had left. */
  readonly evicted: number
  /** Copies for shared subscriptions that had no member left on any node. */
  readonly unserved: number
  /** Copies for other nodes that came to an end here, by the reason: `offline` is for clients of the moment on a node that was away. */
  readonly lost: Readonly<Record<string, number>>
  /** Queues of sessions elsewhere that were merged into newer ones of their clients here, and the messages that came of them. */
  readonly merged: Volume
  /** This node first, and then by name. */
  readonly nodes: readonly NodeStatus[]
}

export interface Volume {
  readonly sessions: number
  readonly messages: number
}

/** Messages that wait here for another node. */
interface Backlog {
  readonly node: string
  readonly messages: number
}

/** Sessions, and what was written down for nodes that could not be reached: acknowledged, and here alone. */
export interface LeftBehind extends Volume {
  readonly waiting: readonly Backlog[]
}

export interface DrainReport {
  /** Sessions that other nodes have now. */
  readonly moved: number
  /** Sessions that could not be handed over: the node has not left, and still has them. */
  readonly remaining: number
  /** Messages for other nodes that these could not be given: with any, the node has not left either. */
  readonly waiting: readonly Backlog[]
}

export interface Evicted {
  /** What had waited for the node: nobody gets it any more. */
  readonly messages: number
  readonly bytes: number
}

/** What a node wants, as this node knows it. */
export interface Table {
  readonly node: string
  readonly incarnation: number
  readonly version: number
  /** Filters, groups and claims in it. */
  readonly entries: number
  /** Set hash of the entries: the same entries have the same. */
  readonly hash: string
}

export interface Verified {
  /** Nodes that answered. */
  readonly asked: readonly string[]
  /** Nodes that are alive and did not. */
  readonly silent: readonly string[]
  /** The tables on which such a node does not agree with us. */
  readonly differences: readonly Difference[]
}

export interface Difference {
  /** Whose table. */
  readonly owner: string
  /** Who has it otherwise. */
  readonly peer: string
  /** The peer has another version: it, or we, will catch up. With the same version it is a fault. */
  readonly behind: boolean
}

export type RefusalCode = 'no-cluster' | 'no-such-node' | 'not-possible' | 'would-lose'

/** The node does not do what was asked of it; the message says why, to a person. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  constructor(
    readonly code: RefusalCode,
    message: string,
  ) {
    super(message)
  }
}
