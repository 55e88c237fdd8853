import {
  type BrokerSide,
  type Cluster,
  type Entrance,
  type Forwarded,
  type Newcomer,
  Wait,
} from '../broker/cluster-port.ts'
import type { Host, Net, Stream, StreamEvents } from '../host.ts'
import type { Message } from '../mqtt/message.ts'
import { MqttError, Reason } from '../mqtt/reason.ts'
import type { ParsedFilter, TopicTable } from '../mqtt/topic.ts'
import type { Match } from '../routing/delivery.ts'
import type { Session } from '../sessions/session.ts'
import type { Durability, Lsn, RecoveredSession, SessionState, Store } from '../store/port.ts'
import { OwnSession } from './archive.ts'
import { Claims } from './claims.ts'
import { Drain, type Drained } from './drain.ts'
import { Forwarding } from './forwarding.ts'
import { Gossip } from './gossip.ts'
import { Handover } from './handover.ts'
import { OwnInterest, RemoteInterest } from './interest.ts'
import { type LinkLimits, Links } from './links.ts'
import type { Member } from './member.ts'
import { Members, type MembersSettings } from './members.ts'
import type { Outgoing } from './outgoing.ts'
import { selfName } from './own-names.ts'
import type { NodeId, Part } from './peers.ts'
import { Remembered } from './remembered.ts'
import { RetainedReplication } from './retained.ts'
import { wireVersions } from './wire.ts'

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
  readonly recovered: { readonly sessions: readonly RecoveredSession[] }
  /** Shared with the broker and the store. */
  readonly topics: TopicTable
  readonly settings?: ClusterSettings
  /** Wire versions to speak; default: all that there are. */
  readonly wire?: { readonly oldest: number; readonly newest: number }
  /** Host name and port of our own for clients, for those that others send to us. */
  readonly clientAddress?: string
  readonly limits?: Partial<LinkLimits>
  readonly members?: MembersSettings
}

/** What `godwit cluster status` shows of one node. */
export interface NodeStatus {
  readonly node: NodeId
  readonly address: string
  /** `evicted`: it was given up, and still runs and has a link. */
  readonly state: 'self' | 'alive' | 'suspect' | 'dead' | 'left' | 'evicted'
  readonly incarnation: number
  /** The wire version of the link; 0: there is no link. */
  readonly version: number
  /** Messages that wait here for it, and their bytes. */
  readonly queueMessages: number
  readonly queueBytes: number
  /** They are written down here, as it cannot be reached, or has not caught up. */
  readonly handoff: boolean
  /** It is being emptied, and takes no clients and no sessions. */
  readonly draining: boolean
  /** QoS 0 messages that it did not get. */
  readonly droppedQos0: number
  /** Publishes that were refused, as too much waits for it. */
  readonly refused: number
}

const tickMs = 100
/** Other nodes are waited for at a start, before clients come. */
const readyMs = 5000
const settledTicks = 3
/** In every node's table: it is there, and may be about to leave. */
const presentKey = 'n'
const Presence = { serving: 1, draining: 2 } as const
/** In a node's table: 'a' and where clients that others send to it connect. */
const addressPrefix = 'a'
const confirmMs = 5000

class Self extends OwnSession {
  override epoch: number

  constructor(number: number, incarnation: number) {
    super(number, selfName)
    this.epoch = incarnation
  }
}

/**
 * One node of a cluster, beside its broker: joins the parts, and is the broker's port to the other nodes.
 *
 *   const cluster = new ClusterNode({ … store, recovered })
 *   const broker = new Broker({ … store, cluster })
 *   broker.restore(recovered)
 *   cluster.start()                        dials; incoming streams: `cluster.accept(stream, node)`
 *   cluster.whenReady(() => …)             now clients may come: what the others want is known
 *   … cluster.stop(), broker.stop()
 *
 *   Links ─ frames ─▶ Members · Gossip · Forwarding · Retained          who is alive · who wants what · messages · last values
 *                        └──────────────▶ what can be reached ◀─┘
 */
export class ClusterNode implements Cluster {
  readonly alone = false
  readonly node: NodeId
  /** Greater at each start. */
  readonly incarnation: number
  readonly links: Links
  readonly members: Members
  readonly gossip: Gossip
  readonly forwarding: Forwarding
  readonly remembered: Remembered
  readonly handover: Handover
  broker!: BrokerSide
  retained!: RetainedReplication
  readonly #options: ClusterOptions
  readonly #settings: ClusterSettings
  readonly #parts: Part[]
  readonly #me: Self
  readonly #own: OwnInterest
  readonly #claims: Claims
  /** Where clients of each other node connect, as it says. */
  readonly #clientAddresses = new Map<NodeId, string>()
  #drain: Drain | undefined = undefined
  #startedMs = Infinity
  /** To be told when it is known what the others want; undefined: it is. */
  #unready: (() => void)[] | undefined = []
  #knownTicks = 0
  #stopTicking = () => {}

  constructor(options: ClusterOptions) {
    const { node, host, store, recovered, settings = defaultClusterSettings } = options
    const { clock, random } = host
    this.#options = options
    this.#settings = settings
    this.node = node
    const self = recovered.sessions.find(({ clientId }) => clientId === selfName)
    this.incarnation = Math.max(Math.floor(clock.wall()), (self?.epoch ?? 0) + 1)
    const { incarnation } = this
    this.#parts = []
    this.links = new Links({
      self: node,
      incarnation,
      address: options.address,
      clusterId: options.clusterId,
      features: [],
      wire: options.wire ?? wireVersions,
      host,
      net: options.net,
      parts: this.#parts,
      ...(options.limits && { limits: options.limits }),
    })
    const peers = this.links
    this.members = new Members({
      ...{ self: node, incarnation, address: options.address, clock, random, peers },
      ...(options.members && { settings: options.members }),
    })
    this.gossip = new Gossip({ self: node, incarnation, clock, random, peers, key: options.clusterId })
    // A table that holds nothing is told to nobody, and would be waited for.
    this.gossip.own.set(presentKey, Presence.serving)
    if (options.clientAddress !== undefined) this.gossip.own.set(addressPrefix + options.clientAddress, 1)
    this.#own = new OwnInterest(this.gossip.own)
    this.forwarding = new Forwarding({
      ...{ peers, clock, store, incarnation, settings },
      topics: options.topics,
      hearsAll: () => [...this.members.alive()].every((other) => other === node || peers.version(other) > 0),
      notedAt: () => this.remembered.notedAt,
      interest: new RemoteInterest<Outgoing>([random.below(0x1_0000_0000), random.below(0x1_0000_0000)]),
    })
    this.remembered = new Remembered(store, this.forwarding.archive)
    this.#claims = new Claims(this.gossip.own, options.clusterId)
    this.handover = new Handover({
      ...{ peers, clock, random, log: host.log, store, topics: options.topics, archive: this.forwarding.archive },
      claims: this.#claims,
      absentOwner: settings.absentOwner,
      broker: () => this.broker,
      accepts: () => this.#drain === undefined,
      live: () => this.live(),
      members: () => this.#others(),
      tables: (key) => this.#tables(key),
      interest: (session, filter, present) => this.#own.changed(filter, session.persistent, present),
      confirm: (nodes, mostMs, then) => this.gossip.whenConfirmed(nodes, mostMs, then),
      fence: (other, extent, then) => this.forwarding.fence(other, extent, then),
      heard: () => this.forwarding.heard(),
      published: () => this.forwarding.serial,
    })
    this.#me = new Self(self?.number ?? store.number(), incarnation)
    this.forwarding.archive.add(this.#me)
    if (this.#me.number !== 0) store.session(this.#me)

    this.links.onRefused((other) => this.members.refused(other))
    this.members.on({
      learned: (other, address) => this.links.reach(other, address),
      alive: (other) => this.forwarding.living(other, true),
      dead: (other, left) => {
        this.forwarding.living(other, false)
        if (left) this.#forget(other)
      },
      evicted: (other, incarnation) => {
        if (other !== node) return void this.#forget(other, incarnation)
        host.log.error({ node }, 'the cluster has given this node up: start it again, and it comes back as a new one')
      },
    })
    this.gossip.on({ changed: (other, key, value, before) => this.#learned(other, key, value, before) })
  }

  /** Dials the others. Once the broker was restored. */
  start(): void {
    const { host, join } = this.#options
    this.#startedMs = host.clock.now()
    this.retained.start()
    for (const address of join) this.links.join(address)
    this.#stopTicking = host.clock.every(tickMs, () => this.#tick())
  }

  /** Calls `then` when it is known what the other nodes want, or nobody answers: now, or in some seconds at most. */
  whenReady(then: () => void): void {
    if (this.#unready) this.#unready.push(then)
    else then()
  }

  get ready(): boolean {
    return this.#unready === undefined
  }

  /** Takes a stream that a peer has opened; its certificate has proven that it is `node`. */
  accept(stream: Stream, node: NodeId): StreamEvents {
    return this.links.accept(stream, node)
  }

  /** Is this node being emptied? Then it is not ready for anybody. */
  get draining(): boolean {
    return this.#drain !== undefined
  }

  /**
   * Takes nobody new, sends the clients away, and gives all sessions and queues to other nodes. Asked again, it goes on where it
   * is. False when there is no node that could take them.
   * @param then is told the end: all is gone, and this node may leave, or what could not go, and it stays
   */
  drain(clientsPerSecond: number, then: (drained: Drained) => void): boolean {
    if (this.#takers().length === 0) return false
    this.#drain?.end()
    this.gossip.own.set(presentKey, Presence.draining)
    const { handover, forwarding } = this
    const { sessions } = this.broker
    this.#drain = new Drain(
      {
        sessions,
        now: () => this.#options.host.clock.now(),
        targets: () => this.#takers(),
        addressOf: (node) => this.#clientAddresses.get(node),
        sendAway: (session, reference) => session.connection?.close(Reason.serverMoved, beingEmptied, reference),
        give: (session, to) => handover.give(session, to),
        given: () => handover.counts,
        backlogs: () =>
          [...forwarding.nodes()].map(({ node, pending, reachable }) => ({ node, messages: pending, reachable })),
        settle: (settled) => this.#settle(settled),
      },
      clientsPerSecond,
      then,
    )
    return true
  }

  /** Stops clocks and links. */
  stop(): void {
    this.#drain?.end()
    this.#stopTicking()
    this.members.stop()
    this.gossip.stop()
    this.forwarding.stop()
    this.retained.stop()
    this.links.stop()
  }

  /** Gone for good: the others give up what they have for us. */
  leave(): void {
    this.members.leave()
    this.stop()
  }

  /** Gives up what waits for a node that will not come back, and forgets it, here and with everybody. */
  evict(node: NodeId): { messages: number; bytes: number } {
    const given = this.#forget(node)
    this.members.evict(node)
    return given
  }

  /** Ourselves first, then by name. */
  status(): NodeStatus[] {
    const { node, incarnation } = this
    const all: NodeStatus[] = [
      {
        ...nothing,
        ...{ node, incarnation, address: this.#options.address, state: 'self', version: this.#newest },
        draining: this.draining,
      },
    ]
    for (const member of [...this.members.all(), ...this.#unheard(), ...this.#evicted()]) {
      const to = this.forwarding.known(member.node)
      all.push({
        ...{ node: member.node, address: member.address, state: member.state, incarnation: member.incarnation },
        version: this.links.version(member.node),
        queueMessages: to?.messages ?? 0,
        queueBytes: to?.bytes ?? 0,
        handoff: to?.storing === true && to.messages > 0,
        draining: this.#isDraining(member.node),
        droppedQos0: to?.droppedQos0 ?? 0,
        refused: to?.refused ?? 0,
      })
    }
    const [self, ...others] = all
    return [self!, ...others.sort((a, b) => (a.node < b.node ? -1 : 1))]
  }

  /** Nodes that we remember, and of whom nobody has told us since our start. Once clients may come, they count as dead. */
  *#unheard(): Iterable<Member> {
    const state = this.ready ? 'dead' : 'suspect'
    for (const node of this.remembered.nodes())
      if (this.members.state(node) === undefined) yield { node, address: '-', incarnation: 0, state }
  }

  /** Nodes that were given up, and are there: they have to be started again. Two that gave each other up are told by nobody else. */
  *#evicted(): Iterable<Omit<Member, 'state'> & Pick<NodeStatus, 'state'>> {
    for (const node of this.links.linked())
      if (this.members.isEvicted(node)) yield { node, address: '-', incarnation: 0, state: 'evicted' }
  }

  /** Nodes that are linked and alive: those who can answer now. */
  *live(): Iterable<NodeId> {
    for (const node of this.links.linked()) {
      if (this.members.isEvicted(node)) continue
      const state = this.members.state(node)
      if (state === undefined || state === 'alive' || state === 'suspect') yield node
    }
  }

  // ── the broker's port ──────────────────────────────────────────────────────────────────────────────────────────

  serve(broker: BrokerSide): void {
    const { host, store, topics } = this.#options
    this.broker = this.forwarding.broker = broker
    this.retained = new RetainedReplication({
      ...{ self: this.node, clock: host.clock, random: host.random, log: host.log, peers: this.links, store, topics },
      retained: broker.retained,
      durability: (topic) => broker.durabilityOf(topic),
      members: () => this.#others(),
      tombstoneSeconds: this.#settings.tombstoneSeconds,
    })
    this.#parts.push(this.members, this.gossip, this.forwarding, this.retained, this.handover)
  }

  restore(sessions: readonly RecoveredSession[]): void {
    this.forwarding.restore(sessions)
    this.handover.restore(sessions)
    this.remembered.restore(sessions, (node, key, value) => this.#wants(node, key, value))
  }

  state(number: number): SessionState | undefined {
    return this.forwarding.archive.get(number)
  }

  moved(number: number, seq: number, lsn: Lsn): void {
    this.forwarding.archive.get(number)?.moved(seq, lsn)
  }

  interest(session: Session, filter: ParsedFilter, present: boolean): void {
    if (!this.handover.isHidden(session)) this.#own.changed(filter, session.persistent, present)
  }

  persistence(session: Session): void {
    if (!this.handover.isHidden(session)) this.#own.persistence(session)
    this.handover.began(session)
  }

  enter(newcomer: Newcomer, then: (entrance: Entrance) => void): void {
    if (this.#drain) return then(sentTo(this.#drain.nextAddress()))
    this.handover.enter(newcomer, (entrance) => then(this.#drain ? sentTo(this.#drain.nextAddress()) : entrance))
  }

  began(session: Session): void {
    this.handover.began(session)
  }

  ended(session: Session): void {
    this.handover.ended(session)
  }

  barrier(): Wait | undefined {
    const nodes = [...this.live()]
    if (this.gossip.confirmed(nodes)) return undefined
    const wait = new Wait()
    wait.hold()
    this.gossip.whenConfirmed(nodes, this.#settings.barrierMs, () => wait.release())
    return wait
  }

  retains(message: Message): boolean {
    return this.retained.retains(message)
  }

  number(message: Message): void {
    this.forwarding.number(message)
  }

  refusal(message: Message, durability: Durability, local: Match<Session>): string | undefined {
    return this.forwarding.refusal(message, durability, local)
  }

  forward(message: Message, durability: Durability, local: Match<Session>, isAwaited: boolean): Forwarded {
    const forwarded = this.forwarding.forward(message, durability, local, isAwaited)
    if (message.stamp !== undefined) this.retained.spread(message, (node) => this.forwarding.served(node, message))
    return forwarded
  }

  move(message: Message, durability: Durability, group: string): boolean {
    return this.forwarding.move(message, durability, group)
  }

  // ── what others tell ───────────────────────────────────────────────────────────────────────────────────────────

  #learned(node: NodeId, key: string, value: number, before: number): void {
    this.remembered.note(node, key, value)
    if (key.startsWith('c')) return this.handover.claimed(node, key, value)
    if (key.startsWith('m')) return this.handover.straggles(key, value)
    if (key.startsWith(addressPrefix)) return this.#serves(node, key.slice(addressPrefix.length), value > 0)
    this.#wants(node, key, value, before)
  }

  #serves(node: NodeId, address: string, present: boolean): void {
    if (present) this.#clientAddresses.set(node, address)
    else if (this.#clientAddresses.get(node) === address) this.#clientAddresses.delete(node)
  }

  #isDraining(node: NodeId): boolean {
    return this.gossip.owner(node)?.get(presentKey) === Presence.draining
  }

  /** Nodes that take sessions and clients of ours. */
  #takers(): NodeId[] {
    return [...this.live()].filter((node) => !this.#isDraining(node))
  }

  /** Calls `then` when nothing more comes for us, all that came is here for good, and it is noted what others have of ours. */
  #settle(then: (settled: boolean) => void): void {
    this.gossip.whenConfirmed(this.live(), confirmMs, (confirmed) => {
      if (!confirmed) return then(false)
      this.handover.fenceAll((fenced) => (fenced ? this.#note(() => then(true)) : then(false)))
    })
  }

  /** The others forget what they have of a node that leaves: nothing of it may come back after a crash. */
  #note(then: () => void): void {
    const { store } = this.#options
    const record = (behind: () => void) => this.handover.whenDurable(store.session(this.#me), behind)
    // What came to its end is noted with the next commit, or with the one behind it.
    record(() => record(then))
  }

  #wants(node: NodeId, key: string, value: number, before = 0): void {
    const kind = key[0]
    if (kind !== 'f' && kind !== 'g' && kind !== 'p') return
    try {
      this.forwarding.wants(node, key, value, before)
    } catch (fault) {
      // Somebody who allows other filters than we do: nothing that we publish can match one.
      if (!(fault instanceof MqttError)) throw fault
      this.#options.host.log.warn({ node, key, fault: fault.message }, 'a node wants what is no filter here')
    }
  }

  /** A node will not be back. */
  #forget(node: NodeId, incarnation = 0): { messages: number; bytes: number } {
    const given = this.forwarding.evict(node)
    const { messages } = given
    if (messages > 0) this.#options.host.log.warn({ node, messages }, 'what waited for a node was given up')
    this.links.forget(node)
    this.gossip.forget(node, incarnation)
    this.remembered.forget(node, (key) => this.#wants(node, key, 0))
    this.retained.forget(node)
    return given
  }

  /** Everybody who belongs to the cluster, there or not. */
  *#others(): Iterable<NodeId> {
    const seen = new Set<NodeId>()
    for (const { node, state } of this.members.all()) {
      seen.add(node)
      if (state !== 'left') yield node
    }
    for (const node of this.remembered.nodes()) if (!seen.has(node)) yield node
  }

  /** What every other node says of a key: itself, or as it is remembered of one that was not heard since our start. */
  *#tables(key: string): Iterable<readonly [NodeId, number]> {
    for (const node of this.#others()) {
      const table = this.gossip.owner(node)
      yield [node, table !== undefined && table.incarnation > 0 ? table.get(key) : this.remembered.get(node, key)]
    }
  }

  #tick(): void {
    this.handover.tick()
    this.#drain?.tick()
    const { host } = this.#options
    for (const node of this.remembered.unproven()) {
      if (this.#isComplete(node))
        this.remembered.prove(node, this.gossip.owner(node)!, (key) => this.#wants(node, key, 0))
    }
    if (this.#unready && this.#isReady()) {
      host.log.debug({ afterMs: host.clock.now() - this.#startedMs }, 'what the other nodes want is known')
      const told = this.#unready
      this.#unready = undefined
      for (const then of told) then()
    }
  }

  /** Do we know what every node that is alive wants, and do so for some time, in which we would have heard of others? */
  #isReady(): boolean {
    if (this.#options.host.clock.now() - this.#startedMs >= readyMs) return true
    const linked = [...this.links.linked()]
    const known =
      (linked.length > 0 || this.#options.join.length === 0) &&
      linked.every((node) => this.members.state(node) !== undefined) &&
      // Of who was there before, somebody says what has become of him, or he comes himself.
      [...this.remembered.unproven()].every((node) => this.members.state(node) !== undefined) &&
      [...this.members.alive()].every((node) => this.#isComplete(node))
    this.#knownTicks = known ? this.#knownTicks + 1 : 0
    return this.#knownTicks >= settledTicks
  }

  #isComplete(node: NodeId): boolean {
    const table = this.gossip.owner(node)
    return table !== undefined && table.incarnation > 0 && table.complete
  }

  get #newest(): number {
    return (this.#options.wire ?? wireVersions).newest
  }
}

const beingEmptied = 'this node is being emptied'

function sentTo(serverReference: string | undefined): Entrance {
  return { refused: Reason.serverMoved, why: beingEmptied, serverReference }
}

const nothing = { queueMessages: 0, queueBytes: 0, handoff: false, droppedQos0: 0, refused: 0 } as const
