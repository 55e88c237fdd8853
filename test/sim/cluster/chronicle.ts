import type { NodeId } from '../../../src/cluster/peers.ts'
import { naiveMatches } from '../../routing/naive.ts'
import { payloadOf } from '../publication.ts'
import type { Time } from '../time.ts'
import type { Roamer } from './roamer.ts'

/** What a roamer wants to publish. */
export interface SentWish {
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly isEmpty: boolean
  /** It is worth nothing after this time. */
  readonly expirySeconds?: number
}

/** A message, from its publisher's side. `seq` counts the events of the world. */
export interface Sent extends SentWish {
  readonly id: string
  readonly number: number
  readonly by: Roamer
  readonly life: Life
  readonly payload: Buffer
  readonly isWill: boolean
  readonly sentSeq: number
  readonly sentMs: number
  /** When it was sent last. */
  lastMs: number
  /** Nodes that it was sent to. */
  readonly nodes: Set<NodeId>
  sends: number
  ackedSeq: number
  /** The broker has said no: nobody need get it. */
  refused: boolean
  /** Subscriptions by which it must come, unless they end before it is acknowledged. */
  must: readonly Interval[]
  /** A will whose client has said goodbye in time; one that must fire. */
  isWithdrawn: boolean
  isDue: boolean
}

/** A session, from the client's side. */
export interface Life {
  readonly roamer: Roamer
  readonly number: number
  /** It outlives all that a world does. */
  readonly lasting: boolean
  /** The client counts on it. */
  alive: boolean
  /** Two of one client may be about: what such a session has is no promise. */
  shaky: boolean
  /** The cluster could not reach it, and began this one afresh: what it had comes here. */
  heir: Life | undefined
  /** The one before, which was lost with its disk: what had not got there yet comes here. */
  before: Life | undefined
  /** Nodes where it has been. */
  readonly homes: Set<NodeId>
  readonly intervals: Interval[]
  readonly came: Came[]
}

/** From SUBSCRIBE to UNSUBSCRIBE. */
export interface Interval {
  readonly life: Life
  readonly name: string
  readonly filter: string
  readonly group: string | undefined
  readonly qos: 0 | 1 | 2
  readonly maybeFrom: number
  /** SUBACK came. */
  certainFrom: number
  /** UNSUBSCRIBE was sent, or another SUBSCRIBE. */
  certainTo: number
  /** Where the session was when it was last known, and the nodes that have heard of the subscription there. */
  home: NodeId
  informed: Set<NodeId>
}

/** A PUBLISH as it came to a client. */
export interface Came {
  /** Undefined for an empty payload. */
  readonly sent: Sent | undefined
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly dup: boolean
  /** The client knew it by its packet id, and dropped it. */
  readonly repeated: boolean
  readonly seq: number
  readonly ms: number
}

/** All that the clients of a town have seen and done: what the checker judges. */
export class Chronicle {
  readonly sent: Sent[] = []
  readonly lives: Life[] = []
  readonly #byId = new Map<string, Sent>()
  /** Who has let a client in with a session of an epoch. */
  readonly #owners = new Map<string, NodeId>()
  readonly #time: Time

  constructor(time: Time) {
    this.#time = time
  }

  publication(by: Roamer, wish: SentWish, isWill = false): Sent {
    const number = this.sent.length
    const id = `m${number}`
    const { topic, qos, retain, isEmpty, expirySeconds } = wish
    const sent: Sent = {
      ...{ id, number, by, life: by.life, topic, qos, retain, isEmpty, isWill },
      payload: isEmpty ? Buffer.alloc(0) : payloadOf(id, 1 + ((number * 7) % 60)),
      sentSeq: this.#time.seq,
      sentMs: this.#time.now(),
      lastMs: this.#time.now(),
      nodes: new Set(),
      ...(expirySeconds !== undefined && { expirySeconds }),
      ...{ sends: 0, ackedSeq: Infinity, refused: false, must: [], isWithdrawn: false, isDue: false },
    }
    this.sent.push(sent)
    if (!isEmpty) this.#byId.set(id, sent)
    return sent
  }

  find(id: string): Sent | undefined {
    return this.#byId.get(id)
  }

  /** A client was let in. Gives the other node that has let it in with a session of the same epoch. */
  accepted(clientId: string, epoch: number, node: NodeId): NodeId | undefined {
    const key = `${clientId} ${epoch}`
    const owner = this.#owners.get(key)
    this.#owners.set(key, node)
    return owner === node ? undefined : owner
  }

  retainedTopics(): ReadonlySet<string> {
    return new Set(this.sent.filter(({ retain }) => retain).map(({ topic }) => topic))
  }

  life(roamer: Roamer, lasting: boolean): Life {
    const number = this.lives.length
    const homes = new Set<NodeId>()
    const life = {
      roamer,
      number,
      lasting,
      alive: true,
      shaky: false,
      heir: undefined,
      before: undefined,
      homes,
      intervals: [],
      came: [],
    }
    this.lives.push(life)
    return life
  }
}

const known = new Map<string, boolean>()

export function matches(filter: string, topic: string): boolean {
  const key = `${filter}\n${topic}`
  let result = known.get(key)
  if (result === undefined) known.set(key, (result = naiveMatches(filter, topic)))
  return result
}

export function isShared(topic: string): boolean {
  return topic.startsWith('s/')
}
