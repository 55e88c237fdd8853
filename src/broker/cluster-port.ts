import type { Message } from '../mqtt/message.ts'
import type { Reason } from '../mqtt/reason.ts'
import type { ParsedFilter, Topic } from '../mqtt/topic.ts'
import type { RetainedStore } from '../retain/retained.ts'
import type { Match } from '../routing/delivery.ts'
import type { SubscriptionTree } from '../routing/tree.ts'
import type { Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Durability, Lsn, RecoveredSession, SessionState } from '../store/port.ts'

/** Whose promise waits. */
export interface Waiter {
  /** All that it waited for has come. */
  over(wait: Wait): void
}

/** What a promise to a client waits for beside our own store: the words of other nodes. */
export class Wait {
  /** Words that have not come. */
  #pending = 0
  /** What was theirs to keep became ours: the promise waits for this place of our store, too. */
  lsn: Lsn = 0
  /** Told once, when nothing is pending any more. */
  waiter: Waiter | undefined = undefined

  get over(): boolean {
    return this.#pending === 0
  }

  /** One more word is to come. */
  hold(): void {
    this.#pending++
  }

  /** One has come. */
  release(): void {
    if (--this.#pending === 0) this.waiter?.over(this)
  }
}

/** What became of a message that was given to the other nodes. Reused: read it at once. */
export interface Forwarded {
  /** Nodes that want it. */
  nodes: number
  /** The store was told that it is for a queue of ours to another node: the record must be ended. */
  recorded: boolean
  /** What the acknowledgement waits for beside our store. */
  wait: Wait | undefined
}

/** What came from another node. */
export interface Arrival {
  readonly message: Message
  readonly durability: Durability
  /** Sessions here that are in no group want it. */
  readonly plain: boolean
  /** `$share/group/filter` of the groups of which one member here shall get it. */
  readonly groups: readonly string[]
  /** The session in our store that remembers its `packetId`, so that it is taken once; 0: none has to. */
  readonly sender: number
  readonly packetId: number
}

/** What the cluster asks of the broker. */
export interface BrokerSide {
  readonly sessions: Sessions
  readonly tree: SubscriptionTree<Session>
  readonly retained: RetainedStore<Message>
  /** Do sessions belong to users who have proved who they are? */
  readonly owned: boolean
  /** The class of what no listener says anything of. */
  durabilityOf(topic: Topic): Durability
  /**
   * Delivers to sessions of this node.
   * @param unserved called for each group that has no member here
   * @returns the place in the store behind which it is durable; 0: nothing had to be kept
   */
  arrive(arrival: Arrival, unserved: (group: string) => void): Lsn
  /** Gives a message to a member here of a group; undefined when there is none, else as `arrive`. */
  serve(message: Message, group: string, durability: Durability): Lsn | undefined
}

/** A client that was let in, before it gets its session. */
export interface Newcomer {
  readonly clientId: string
  readonly clean: boolean
  /** Later clients have higher ones. */
  readonly connectNumber: number
  /** Undefined: whoever comes with the id may have the session; else its user alone. */
  readonly claimant?: { readonly user: string | undefined } | undefined
}

/** Its session is here, or it may have a new one of this epoch; or why it cannot be let in now. */
export type Entrance =
  | { readonly epoch: number }
  | { readonly refused: Reason; readonly why: string; readonly serverReference?: string | undefined }

/** What the broker tells the other nodes, and asks of them. The cluster room implements it; a node alone has nobody to tell. */
export interface Cluster {
  /** There are no other nodes, and never will be: the rest need not be asked. */
  readonly alone: boolean
  /** It is known what the other nodes want, or none has answered for some seconds: wills can be told. */
  readonly ready: boolean
  serve(broker: BrokerSide): void
  /** Takes over what it kept in our store: sessions whose client id no client can have. */
  restore(sessions: readonly RecoveredSession[]): void
  /** For the store: a session of the cluster's own; undefined when it is none of its. */
  state(number: number): SessionState | undefined
  moved(number: number, seq: number, lsn: Lsn): void

  /** A subscription of a session came or went. */
  interest(session: Session, filter: ParsedFilter, present: boolean): void
  /**
   * Has a client a session on another node? It is brought here first. `then` may run later, and always runs.
   */
  enter(newcomer: Newcomer, then: (entrance: Entrance) => void): void
  /** A session is here from now on. */
  began(session: Session): void
  /** It is here no more. */
  ended(session: Session): void

  /** `session` was persistent, and is not, or the other way round. */
  persistence(session: Session): void
  /** What a SUBACK waits for, so that what is published elsewhere from then on comes; undefined: nothing. */
  barrier(): Wait | undefined

  /**
   * A retained message is about to be set or, by an empty one, cleared: stamps `message` if it comes from here (one that
   * another node stamped says so in its `stamp`). False: leave it, for a newer change of this topic is known. What is not
   * kept for want of room loses its stamp.
   */
  retains(message: Message): boolean

  /** A message is published here: names it on all nodes. */
  number(message: Message): void
  /** Why a message for other nodes can be taken by nobody; undefined: it can. Asked before anybody gets it. */
  refusal(message: Message, durability: Durability, local: Match<Session>): string | undefined
  /**
   * A message was published here: it goes to the nodes that want it, in the record that is being written for those that
   * are told of it there. `local`: who gets it here. `isAwaited`: its publisher waits for an acknowledgement, and sends it
   * again otherwise; what nobody would send again is written down here until the others have it.
   */
  forward(message: Message, durability: Durability, local: Match<Session>, isAwaited: boolean): Forwarded
  /** A copy of a session that has ended: another node may have a member of its group. False when none has. */
  move(message: Message, durability: Durability, group: string): boolean
}
