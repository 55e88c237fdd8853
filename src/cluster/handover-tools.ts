import type { BrokerSide, Entrance, Newcomer } from '../broker/cluster-port.ts'
import type { Clock, Log, Random } from '../host.ts'
import { Message } from '../mqtt/message.ts'
import { Reason } from '../mqtt/reason.ts'
import { type ParsedFilter, parseFilter, type TopicTable } from '../mqtt/topic.ts'
import type { Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Lsn, Store } from '../store/port.ts'
import type { RecordWriter } from '../store/writer.ts'
import type { Archive } from './archive.ts'
import { type Claims, stragglerKey } from './claims.ts'
import type { Extent, Fenced, Heard } from './given.ts'
import type { NodeId, Peers } from './peers.ts'
import { FrameType } from './wire.ts'
import { Witnesses } from './witnesses.ts'

export interface HandoverParts {
  readonly peers: Peers
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly store: Store
  readonly topics: TopicTable
  readonly archive: Archive
  readonly claims: Claims
  readonly absentOwner: 'wait' | 'fresh'
  readonly broker: () => BrokerSide
  /** Does this node take sessions that nobody has asked for here? Not while it is being emptied itself. */
  readonly accepts: () => boolean
  /** Nodes that can answer now. */
  readonly live: () => Iterable<NodeId>
  /** All other nodes of the cluster, there or not. */
  readonly members: () => Iterable<NodeId>
  /** What each other node says of a key. */
  readonly tables: (key: string) => Iterable<readonly [NodeId, number]>
  /** A subscription here is told to the others, or taken back. */
  readonly interest: (session: Session, filter: ParsedFilter, present: boolean) => void
  /** Calls `then` when `nodes` know all that we have told of ourselves. */
  readonly confirm: (nodes: Iterable<NodeId>, mostMs: number, then: (confirmed: boolean) => void) => void
  /** Calls `then` when all that a node had sent to us is here for good. */
  readonly fence: (node: NodeId, extent: Extent, then: Fenced) => void
  /** How far the messages of each node have come to sessions here. */
  readonly heard: () => Iterable<Heard>
  /** The number of the last message that was published here. */
  readonly published: () => number
}

/** At once, in each direction. */
export const mostAtOnce = 64
/** Without progress: less than a client is given for its CONNECT, so that it is told why. */
export const patienceMs = 8000
export const confirmMs = 5000

export const Refusal = { notNow: 0, takenOver: 1, foreign: 2 } as const

/** A client that waits for its session. */
export interface Waiting {
  readonly newcomer: Newcomer
  readonly then: (entrance: Entrance) => void
  readonly untilMs: number
}

export const foreign: Entrance = {
  refused: Reason.clientIdNotValid,
  why: 'the session of this client id belongs to another user',
}

export const takenOver: Entrance = {
  refused: Reason.sessionTakenOver,
  why: 'another client connected with this client id',
}

export const tooLate: Entrance = {
  refused: Reason.serverUnavailable,
  why: 'the session could not be brought here in time',
}

const noBytes = new Uint8Array(0)

/** What all sides of a handover work with. */
export class HandoverTools {
  /** Sessions that came from other nodes, that went there, and that were merged with newer ones here. */
  readonly counts = { arrived: 0, left: 0, merged: 0, mergedMessages: 0 }
  readonly witnesses: Witnesses
  /** Of sessions that came from other nodes: behind which message of each node they have got everything. */
  readonly since = new Map<Session, ReadonlyMap<NodeId, number>>()
  /** Sessions for which what is published elsewhere need not come here. */
  readonly #hidden = new Set<Session>()
  readonly #durable: { readonly lsn: Lsn; readonly then: () => void }[] = []
  #lastId = 0

  constructor(readonly parts: HandoverParts) {
    this.witnesses = new Witnesses(parts.peers.self, parts.store)
    parts.store.onProgress(() => {
      const { durable } = parts.store
      while (this.#durable.length > 0 && this.#durable[0]!.lsn < durable) this.#durable.shift()!.then()
    })
  }

  get sessions(): Sessions {
    return this.parts.broker().sessions
  }

  get now(): number {
    return this.parts.clock.now()
  }

  /** Names what we begin with another node, and nothing that it begins with us. */
  nextId(to: NodeId): number {
    this.#lastId += 2
    return this.#lastId + (this.parts.peers.self < to ? 0 : 1)
  }

  /** False without a link. */
  send(to: NodeId, type: FrameType, id: number, fields?: (writer: RecordWriter) => void): boolean {
    const { peers } = this.parts
    const writer = peers.begin(to, type)
    if (writer === undefined) return false
    writer.varint(id)
    fields?.(writer)
    peers.end()
    return true
  }

  refuse(to: NodeId, id: number, why: number): void {
    this.send(to, FrameType.refused, id, (writer) => writer.u8(why))
  }

  /**
   * Tells a node that its session, or what waited there, is here for good.
   * @param confirmed the nodes that are there know of our claim
   */
  taken(from: NodeId, id: number, confirmed: boolean): void {
    const isKnown = confirmed && this.missing().length === 0
    this.send(from, FrameType.taken, id, (writer) => writer.u8(isKnown ? 1 : 0))
  }

  /** Does something still come to another node for the session of this key? It will be passed on. */
  straggles(key: string): boolean {
    for (const [, value] of this.parts.tables(stragglerKey(key))) if (value > 0) return true
    return false
  }

  /** Has a session got this message where it was, or does it come straight to it? Then what was left for it elsewhere is not needed. */
  isStraight(session: Session, message: Message): boolean {
    const { origin = this.parts.peers.self, qos, serial } = message
    if (qos === 0 || serial === 0) return false
    return serial > (this.since.get(session)?.get(origin) ?? Infinity) || this.witnesses.had(session, message)
  }

  /** Nodes that cannot be asked now whether they have something for us. */
  missing(): NodeId[] {
    const live = new Set(this.parts.live())
    return [...this.parts.members()].filter((node) => !live.has(node))
  }

  isLive(node: NodeId): boolean {
    for (const live of this.parts.live()) if (live === node) return true
    return false
  }

  /** Calls `then` when all that the nodes that are there had sent to us is here for good. */
  fenceAll(extent: Extent, then: (fenced: boolean) => void): void {
    const { live, fence } = this.parts
    const nodes = [...live()]
    let left = nodes.length
    let all = true
    if (left === 0) return then(true)
    for (const node of nodes)
      fence(node, extent, (fenced) => {
        all &&= fenced
        if (--left === 0) then(all)
      })
  }

  whenDurable(lsn: Lsn, then: () => void): void {
    if (lsn === 0 || lsn < this.parts.store.durable) then()
    else this.#durable.push({ lsn, then })
  }

  /** The others are no longer told what the session wants; it still gets what comes for it. */
  hide(session: Session): void {
    if (this.#hidden.has(session)) return
    for (const filter of session.subscriptions.keys()) this.parts.interest(session, parseFilter(filter), false)
    this.#hidden.add(session)
  }

  /** The same for one that the others were never told of. */
  hideNew(session: Session): void {
    this.#hidden.add(session)
  }

  show(session: Session): void {
    if (!this.#hidden.delete(session)) return
    for (const filter of session.subscriptions.keys()) this.parts.interest(session, parseFilter(filter), true)
  }

  isHidden(session: Session): boolean {
    return this.#hidden.has(session)
  }

  ended(session: Session): void {
    this.#hidden.delete(session)
    this.witnesses.end(session)
    this.since.delete(session)
  }

  /** For a record that is only about a packet id. */
  empty(): Message {
    return new Message(this.parts.topics.named('-'), 2, false, noBytes, 0, 0, undefined, Infinity, undefined, 5)
  }
}

/** What two nodes have under way is named by either of them. */
export function nameOf(node: NodeId, id: number): string {
  return `${node}/${id}`
}
