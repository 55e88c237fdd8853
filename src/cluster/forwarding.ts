import { type BrokerSide, type Forwarded, Wait } from '../broker/cluster-port.ts'
import type { Clock } from '../host.ts'
import { type Message, Slab } from '../mqtt/message.ts'
import type { Topic, TopicTable } from '../mqtt/topic.ts'
import type { Delivery, Match, Member } from '../routing/delivery.ts'
import type { SharedGroup } from '../routing/shared.ts'
import { Ledger } from '../sessions/ledger.ts'
import type { Session } from '../sessions/session.ts'
import { Places } from '../store/places.ts'
import type { Durability, Lsn, RecoveredSession, Store } from '../store/port.ts'
import type { RecordReader } from '../store/writer.ts'
import { Archive } from './archive.ts'
import type { Extent, Fenced, Heard } from './given.ts'
import { Incoming, type IncomingContext } from './incoming.ts'
import { isOfNode, type RemoteGroup, type RemoteInterest } from './interest.ts'
import { Outgoing, type OutgoingContext, parseStreamName } from './outgoing.ts'
import { inPrefix } from './own-names.ts'
import type { NodeId, Part, Peers } from './peers.ts'
import { StreamTerms } from './streams.ts'
import { FrameType, WireError } from './wire.ts'
import { Withdrawals } from './withdrawals.ts'

export interface ForwardingParts {
  readonly peers: Peers
  readonly clock: Clock
  readonly store: Store
  readonly topics: TopicTable
  readonly interest: RemoteInterest<Outgoing>
  /** Is there a link to each node that lives? */
  readonly hearsAll: () => boolean
  /** Where our store has the last change of what the other nodes want. */
  readonly notedAt: () => Lsn
  readonly incarnation: number
  readonly settings: OutgoingContext['settings']
}

/** What is fed and judged how often. */
const judgeMs = 100
const expireMs = 1000

/**
 * Messages to other nodes and from them: one hop, once for each node that wants one, in order for each publisher.
 *
 *   published here ─▶ who wants it? ─▶ `Outgoing` of each ─▶ its stream ─▶ link ─▶ `Incoming` there ─▶ its broker
 *                          publisher's acknowledgement ◀─ `Wait` ◀─ its word ◀─ durable there
 */
export class Forwarding implements Part, OutgoingContext, IncomingContext {
  readonly family = 0x30
  readonly peers: Peers
  readonly store: Store
  readonly topics: TopicTable
  readonly incarnation: number
  readonly settings: OutgoingContext['settings']
  readonly archive = new Archive()
  readonly ledger = new Ledger()
  readonly slab = new Slab()
  readonly places = new Places()
  readonly queued = { bytes: 0 }
  /** Outboxes take everything: what is too much is refused before. */
  readonly limits = {
    queueMessages: Infinity,
    queueBytes: Infinity,
    queueBytesTotal: Infinity,
    overflow: 'drop-newest',
  } as const
  broker!: BrokerSide
  /** Copies for groups that had no member left on any node. */
  unserved = 0
  /** Messages that were given up with their node. */
  evicted = 0
  readonly #clock: Clock
  readonly #notedAt: () => Lsn
  readonly #interest: RemoteInterest<Outgoing>
  readonly #withdrawals: Withdrawals
  readonly #outgoing = new Map<NodeId, Outgoing>()
  readonly #incoming = new Map<NodeId, Incoming>()
  readonly #forwarded: { -readonly [Name in keyof Forwarded]: Forwarded[Name] } = {
    nodes: 0,
    recorded: false,
    wait: undefined,
  }
  /** Which groups of the message at hand a node shall serve. */
  readonly #chosen = new Map<Outgoing, Choice>()
  readonly #fences = new Map<number, { readonly node: NodeId; readonly then: Fenced }>()
  #nextFence = 1
  #serial: number
  #expireAtMs = 0
  readonly #stopTicking: () => void

  constructor(parts: ForwardingParts) {
    const { clock, incarnation } = parts
    this.peers = parts.peers
    this.store = parts.store
    this.topics = parts.topics
    this.incarnation = incarnation
    this.settings = parts.settings
    this.#interest = parts.interest
    this.#withdrawals = new Withdrawals(
      () => this.now(),
      parts.hearsAll,
      (node, key, value) => this.#interest.changed(this.to(node), key, value),
      (node, id) => this.to(node).fence(id),
    )
    this.#clock = clock
    this.#notedAt = parts.notedAt
    // Above all of earlier starts: nobody publishes a million messages a second for all the time in between. A clock that was
    // set back leaves 1,024 numbers for each start. It fits into 53 bits until the year 2248.
    this.#serial = incarnation * 1024
    this.#stopTicking = clock.every(judgeMs, () => this.#tick())
    parts.store.onProgress(() => {
      for (const incoming of this.#incoming.values()) incoming.progress()
      // QoS 2 waits until it is durable here.
      for (const outgoing of this.#outgoing.values()) outgoing.pump()
    })
  }

  now(): number {
    return this.#clock.now()
  }

  soon(run: () => void): void {
    this.#clock.endOfTurn(run)
  }

  stop(): void {
    this.#stopTicking()
  }

  /** Takes over the queues that our store holds, before anything else. */
  restore(sessions: readonly RecoveredSession[]): void {
    const streams = new Map<NodeId, RecoveredSession[]>()
    for (const session of sessions) {
      const arrived = parseStreamName(session.clientId, inPrefix)
      if (arrived) this.#from(arrived.node).restore(arrived.id, session)
      const name = parseStreamName(session.clientId)
      if (name) streams.set(name.node, [...(streams.get(name.node) ?? []), session])
    }
    for (const [node, kept] of streams) {
      if (kept.some(({ queue }) => queue.next > queue.head)) this.#outgoing.set(node, new Outgoing(node, this, kept))
      else for (const { number } of kept) this.store.ended(number)
    }
  }

  /** The queue to a node; it is made when the node is first heard of, and never while a message is being recorded. */
  to(node: NodeId): Outgoing {
    let outgoing = this.#outgoing.get(node)
    if (outgoing === undefined) this.#outgoing.set(node, (outgoing = new Outgoing(node, this)))
    return outgoing
  }

  /** What `to` has made. */
  known(node: NodeId): Outgoing | undefined {
    return this.#outgoing.get(node)
  }

  nodes(): Iterable<Outgoing> {
    return this.#outgoing.values()
  }

  /**
   * How far messages of each node have come here, ourselves among them: what was published up to there, and is for
   * somebody here, he has got.
   */
  *heard(): Iterable<Heard> {
    yield [this.peers.self, this.#serial]
    for (const { node, lastSerial } of this.#incoming.values()) if (lastSerial > 0) yield [node, lastSerial]
  }

  /** Gives up all for a node that will not come back. Gives what that was. */
  evict(node: NodeId): { messages: number; bytes: number } {
    this.#withdrawals.forget(node)
    const outgoing = this.#outgoing.get(node)
    const given = { messages: outgoing?.pending ?? 0, bytes: outgoing?.bytes ?? 0 }
    outgoing?.giveUp()
    this.#incoming.get(node)?.end()
    this.#incoming.delete(node)
    this.evicted += given.messages
    return given
  }

  /**
   * A key of a node's table has another value: that may count later, see `Withdrawals`.
   * @param before what it was; 0: nobody waits for the change to count
   * @throws MqttError when it names no filter
   */
  wants(node: NodeId, key: string, value: number, before: number): void {
    if (!this.#withdrawals.waits(node, key, value, before)) this.#interest.changed(this.to(node), key, value)
  }

  /** Does the node get the message that was given to the nodes last? */
  served(node: NodeId, message: Message): boolean {
    return this.#outgoing.get(node)?.lastSerial === message.serial
  }

  /** Calls `then` when all that `node` had sent to us has arrived here for good. */
  fence(node: NodeId, extent: Extent, then: Fenced): void {
    const writer = this.peers.begin(node, FrameType.fence)
    if (writer === undefined) return then(false, 0)
    const id = this.#nextFence++
    this.#fences.set(id, { node, then })
    writer.varint(id)
    writer.u8(extent === 'sent' ? 1 : 0)
    this.peers.end()
  }

  // ── messages of ours ───────────────────────────────────────────────────────────────────────────────────────────

  /** Of the last message that was published here. */
  get serial(): number {
    return this.#serial
  }

  get notedAt(): Lsn {
    return this.#notedAt()
  }

  /** Names a message that is published here, on all nodes and over restarts. */
  number(message: Message): void {
    message.serial = ++this.#serial
  }

  /** Why nobody can get the message now. */
  refusal(message: Message, durability: Durability, local: Match<Session>): string | undefined {
    if (message.qos === 0 || isLocal(message.topic)) return undefined
    const { deliveries, groups } = this.#interest.match(message.topic)
    if (deliveries.length === 0 && groups.length === 0) return undefined
    const lasting = durability !== 'memory' && this.store.next !== 0
    const refuses = (to: Outgoing, persistent: boolean): string | undefined => {
      if (to.gone || (!to.reachable && !persistent)) return undefined
      if (lasting && this.store.full && (to.storing || message.qos === 2)) return 'the disk is full'
      if (!to.full) return undefined
      to.refused++
      return `too much waits for node ${to.node}`
    }
    for (const { subscriber, qos } of deliveries) {
      const why = refuses(subscriber, qos === persistentQos)
      if (why !== undefined) return why
    }
    for (const { name } of groups) {
      const group = isAmong(local.groups, name) ? undefined : this.#interest.group(name)
      const to = group && this.#member(group, nobody, true)
      const why = to && refuses(to, group.persists(to))
      if (why !== undefined) return why
    }
    return undefined
  }

  /** Gives a message that was published here to the nodes that want it. See the port. */
  forward(message: Message, durability: Durability, local: Match<Session>, isAwaited: boolean): Forwarded {
    const forwarded = this.#forwarded
    forwarded.nodes = 0
    forwarded.recorded = false
    forwarded.wait = undefined
    if (isLocal(message.topic)) return forwarded
    const { deliveries, groups } = this.#interest.match(message.topic)
    if (groups.length > 0) this.#choose(groups, local.groups)
    const chosen = this.#chosen
    for (let i = 0; i < deliveries.length; i++) {
      const { subscriber, qos } = deliveries[i]!
      const choice = chosen.size > 0 ? chosen.get(subscriber) : undefined
      const persistent = qos === persistentQos
      if (choice === undefined) this.#give(subscriber, message, StreamTerms.plain(durability, persistent), isAwaited)
      else {
        chosen.delete(subscriber)
        const terms = new StreamTerms(durability, true, choice.groups, persistent || choice.persistent)
        this.#give(subscriber, message, terms, isAwaited)
      }
    }
    if (chosen.size > 0) {
      for (const [to, choice] of chosen)
        this.#give(to, message, new StreamTerms(durability, false, choice.groups, choice.persistent), isAwaited)
      chosen.clear()
    }
    return forwarded
  }

  /** Gives a message to a member of a group on another node, in a record of its own. False when there is none. */
  move(message: Message, durability: Durability, name: string): boolean {
    return this.#reroute(message, durability, name, nobody, undefined)
  }

  #give(to: Outgoing, message: Message, terms: StreamTerms, isAwaited: boolean): void {
    const forwarded = this.#forwarded
    if (to.gone) return
    if (message.qos === 0) {
      forwarded.nodes++
      return to.sendNow(message, terms)
    }
    // Whoever of its sessions ends with its connection will not be there when the node is back.
    if (!to.reachable && !terms.persistent) {
      this.ledger.copies++
      return this.ledger.lose('offline', to.node, message)
    }
    forwarded.nodes++
    const word =
      isAwaited && terms.persistent && terms.durability !== 'memory' && to.reachable && !(to.storing && message.lasting)
    if (word) forwarded.wait ??= new Wait()
    const isOnlyHere = terms.persistent && !isAwaited
    if (to.push(message, terms, word ? forwarded.wait : undefined, isOnlyHere)) forwarded.recorded = true
    to.slow((message.publisher as Session | undefined)?.connection)
  }

  /** Finds a node for each group that has no member here. */
  #choose(groups: readonly SharedGroup<Outgoing>[], local: readonly SharedGroup<Session>[]): void {
    for (const { name } of groups) {
      if (isAmong(local, name)) continue
      const group = this.#interest.group(name)
      const to = group && this.#member(group, nobody, false)
      if (to === undefined) continue
      const choice = this.#chosen.get(to)
      const persistent = group!.persists(to)
      if (choice === undefined) this.#chosen.set(to, { groups: [name], persistent })
      else {
        choice.groups.push(name)
        choice.persistent ||= persistent
      }
    }
  }

  /**
   * A node with a member of the group: one that can be reached, else one where a session waits.
   * @param peek takes no turn
   */
  #member(group: RemoteGroup<Outgoing>, tried: readonly NodeId[], peek: boolean): Outgoing | undefined {
    return (
      // Of its members, those that are remembered from before its start are persistent.
      group.pick(
        (to, { any, persistent }) => (to.reachable && !tried.includes(to.node) ? Math.max(any, persistent) : 0),
        peek,
      ) ??
      group.pick((to, { persistent }) => (to.reachable || to.gone || tried.includes(to.node) ? 0 : persistent), peek)
    )
  }

  /** A copy for one group that its node could not serve. False when nobody else can. */
  #reroute(
    message: Message,
    durability: Durability,
    name: string,
    tried: readonly NodeId[],
    wait: Wait | undefined,
  ): boolean {
    const waits = wait?.over === false ? wait : undefined
    const lsn = this.broker.serve(message, name, durability)
    if (lsn !== undefined) {
      if (waits && lsn > waits.lsn) waits.lsn = lsn
      return true
    }
    const group = this.#interest.group(name)
    const to = group && this.#member(group, tried, false)
    if (to === undefined || message.expiresAtMs <= this.now()) return false
    message.lasting = this.store.next !== 0 && durability !== 'memory'
    const terms = new StreamTerms(durability, false, [name], group!.persists(to), tried)
    if (message.qos === 0) to.sendNow(message, terms)
    else if (to.push(message, terms, waits)) {
      const at = this.store.message(message, false, 0, 0, durability)
      if (waits && at > waits.lsn) waits.lsn = at
    }
    return true
  }

  /** Of a message that is in memory, for a node that cannot be reached any more. */
  stays(to: Outgoing, message: Message, terms: StreamTerms, wasSent: boolean): boolean {
    // It may have been delivered, and must not be twice [MQTT-4.3.3].
    if (wasSent && message.qos === 2) return true
    const leaves = terms.groups.filter((name) => this.#interest.group(name)?.persists(to) !== true)
    for (const name of leaves)
      if (!this.#reroute(message, terms.durability, name, [...terms.tried, to.node], undefined)) this.unserved++
    return terms.persistent && (terms.plain || leaves.length < terms.groups.length)
  }

  // ── links ──────────────────────────────────────────────────────────────────────────────────────────────────────

  linked(node: NodeId): void {
    this.#withdrawals.linked(node)
    this.#from(node).linkUp()
    this.to(node).linkUp()
  }

  unlinked(node: NodeId): void {
    this.#withdrawals.unlinked(node)
    this.#outgoing.get(node)?.linkDown()
    for (const [id, fence] of this.#fences) {
      if (fence.node !== node) continue
      this.#fences.delete(id)
      fence.then(false, 0)
    }
  }

  roomy(node: NodeId): void {
    this.#outgoing.get(node)?.pump()
  }

  /** What the members say. */
  living(node: NodeId, alive: boolean): void {
    this.#outgoing.get(node)?.living(alive)
  }

  frame(from: NodeId, type: number, reader: RecordReader): void {
    switch (type) {
      case FrameType.streams:
        return this.#from(from).streams(reader)
      case FrameType.publish:
        return this.#from(from).publish(reader)
      case FrameType.acknowledged:
        return this.to(from).acknowledged(reader.varint(), reader.varint())
      case FrameType.unserved:
        return this.#unserved(from, reader.varint(), reader.varint(), reader.text())
      case FrameType.fence: {
        const id = reader.varint()
        const isOfSent = reader.left > 0 && reader.u8() === 1
        return isOfSent ? this.to(from).fence(id) : this.#withdrawals.fence(from, id)
      }
      case FrameType.fenced: {
        const id = reader.varint()
        const fence = this.#fences.get(id)
        if (fence?.node !== from) throw new WireError('an answer to a fence that was not asked')
        this.#fences.delete(id)
        return fence.then(true, reader.left > 0 ? reader.varint() : 0)
      }
    }
  }

  #from(node: NodeId): Incoming {
    let incoming = this.#incoming.get(node)
    if (incoming === undefined) this.#incoming.set(node, (incoming = new Incoming(node, this)))
    return incoming
  }

  /** A node had no member left for a group: somebody else gets the copy. */
  #unserved(node: NodeId, index: number, seq: number, name: string): void {
    const to = this.to(node)
    const found = to.look(index, seq)
    // Its end came before the answer: it was rerouted already, or has expired.
    if (found === undefined || !to.reroutes(index, seq, name)) return
    const { message, terms, wait } = found
    if (!this.#reroute(message, terms.durability, name, [...terms.tried, node], wait)) this.unserved++
  }

  #tick(): void {
    for (const outgoing of this.#outgoing.values()) outgoing.judge()
    this.#withdrawals.tick()
    const nowMs = this.now()
    if (nowMs < this.#expireAtMs) return
    this.#expireAtMs = nowMs + expireMs
    const nowSeconds = Math.floor((nowMs + this.store.offsetMs) / 1000)
    for (const outgoing of this.#outgoing.values()) outgoing.expire(nowSeconds)
  }
}

interface Choice {
  readonly groups: string[]
  persistent: boolean
}

/** As `RemoteInterest` says it. */
const persistentQos: Delivery<Member>['qos'] = 2
const nobody: readonly NodeId[] = []

const dollar = 0x24

function isLocal(topic: Topic): boolean {
  return topic.bytes[0] === dollar && isOfNode(topic.name)
}

function isAmong(groups: readonly SharedGroup<Session>[], name: string): boolean {
  for (let i = 0; i < groups.length; i++) if (groups[i]!.name === name) return true
  return false
}
