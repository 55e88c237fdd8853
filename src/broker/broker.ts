import type { Hooks } from '../access/hooks.ts'
import type { Identity } from '../access/identity.ts'
import type { Holder } from '../access/permissions.ts'
import type { Host, Stream } from '../host.ts'
import { Connection, type ConnectionContext, type ConnectionEvents } from '../mqtt/connection.ts'
import { Message, Slab } from '../mqtt/message.ts'
import { Turn } from '../mqtt/output.ts'
import {
  type AuthPacket,
  type ConnectPacket,
  type DisconnectPacket,
  PacketDecoder,
  type SubscribePacket,
  type UnsubscribePacket,
} from '../mqtt/packets.ts'
import { MqttError, Reason } from '../mqtt/reason.ts'
import { isOfTenants } from '../mqtt/tenant-name.ts'
import { parseFilter, type QoS, type Topic, TopicTable } from '../mqtt/topic.ts'
import { RetainedStore } from '../retain/retained.ts'
import { clearing } from '../retain/tombstones.ts'
import { unpackGrant } from '../routing/delivery.ts'
import { SubscriptionTree } from '../routing/tree.ts'
import { Ledger } from '../sessions/ledger.ts'
import { ownId } from '../sessions/client-key.ts'
import type { Session } from '../sessions/session.ts'
import { Sessions } from '../sessions/sessions.ts'
import { TimingWheel } from '../sessions/wheel.ts'
import type { Durability, Lsn, Recovered } from '../store/port.ts'
import { Asking } from './asking.ts'
import { Entering } from './entering.ts'
import { Entitling, openToAll, type Rulebook } from './entitling.ts'
import type { Arrival, BrokerSide } from './cluster-port.ts'
import { Door, type LogInCounts } from './door.ts'
import { AckGate } from './gate.ts'
import { Handshake } from './handshake.ts'
import { LeftOver } from './left-over.ts'
import { Figures } from './figures.ts'
import type { Limits } from './limits.ts'
import { MemoryGuard } from './memory.ts'
import type { Observer } from './observer.ts'
import { DurabilityRules } from './durability.ts'
import type { BrokerOptions } from './options.ts'
import { type Keeping, Publishing } from './publishing.ts'
import { noRates, type Rates, Throttle } from './rates.ts'
import { Subscribing } from './subscribing.ts'
import { tenantFigures, type TenantReport } from './tenant-figures.ts'
import { noTenants, type TenantBook, Tenants } from './tenants.ts'
import { SysTopics } from './sys.ts'
import { Watchdog } from './watchdog.ts'

type Client = Connection<Session>

/** A message of the host program's own. */
export interface OwnMessage {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: QoS
  readonly retain: boolean
}

const defaultKeeping: Keeping = { durability: 'fsync', rules: new DurabilityRules([]), overflow: 'drop-newest' }

/**
 * The broker: events of connections in, deliveries and acknowledgements out. It runs to completion on every event and
 * touches nothing of the outside but what it was handed.
 *
 *   PUBLISH ─▶ allowed? ─▶ tree.match ─▶ session.deliver … ─▶ store ─▶ acknowledgement, once on disk
 */
export class Broker implements ConnectionEvents<Session>, BrokerSide {
  readonly ledger = new Ledger()
  readonly sessions: Sessions
  readonly retained: RetainedStore<Message>
  readonly tree: SubscriptionTree<Session>
  readonly tenants: Tenants
  readonly #host: Host
  readonly #observer: Observer
  readonly #limits: { -readonly [Name in keyof Limits]: Limits[Name] } & { overflow: Keeping['overflow'] }
  readonly #keeping: { -readonly [Name in keyof Keeping]: Keeping[Name] }
  readonly #options: BrokerOptions
  readonly #context: ConnectionContext<Session>
  readonly #wheel: TimingWheel
  readonly #entitling: Entitling
  readonly #door: Door
  readonly #handshake: Handshake
  readonly #publishing: Publishing
  readonly #subscribing: Subscribing
  readonly #gate: AckGate
  readonly #throttle: Throttle
  readonly #memory: MemoryGuard
  readonly #sys: SysTopics
  readonly #slab = new Slab()
  readonly #leftOver = new LeftOver()
  readonly #watchdogs = new Map<Client, Watchdog>()
  readonly #stopTicking: () => void
  readonly #figures: Figures
  #lastTickMs: number
  #connects = 0
  #sysDueMs: number
  #draining = false

  constructor(options: BrokerOptions) {
    const { host, store, cluster, hooks, observer } = options
    // One copy that everybody reads, so that a reload reaches them all.
    const keeping = { ...(options.keeping ?? defaultKeeping) }
    const limits = { ...options.limits, overflow: keeping.overflow }
    this.#keeping = keeping
    this.#options = options
    this.#host = host
    this.#observer = observer
    this.#limits = limits
    const nowMs = host.clock.now()
    const secret = () => host.random.below(0x1_0000_0000)
    this.#lastTickMs = nowMs
    this.#sysDueMs = limits.sysSeconds > 0 ? nowMs + 1000 : Infinity
    this.#context = {
      events: this,
      decoder: new PacketDecoder(limits),
      topics: options.topics ?? new TopicTable(secret()),
      turn: new Turn((run) => host.clock.endOfTurn(run)),
      clock: host.clock,
      log: host.log,
      limits: options.limits,
    }
    this.#wheel = new TimingWheel(nowMs)
    this.tree = new SubscriptionTree<Session>({
      hashKey: [secret(), secret()],
      ...(!cluster.alone && {
        interest: (session, filter, present) => cluster.interest(session, filter, present),
      }),
    })
    const now = () => host.clock.now()
    const tenants = (this.tenants = new Tenants(options.tenants ?? noTenants))
    const memory = new MemoryGuard(options.memory?.limitBytes ?? Infinity, {
      gauge: options.memory?.gauge,
      turn: this.#context.turn,
      ledger: this.ledger,
      log: host.log,
      now,
      clients: () => this.#watchdogs.keys(),
      held: () => this.#figures.held(),
    })
    this.#memory = memory
    this.retained = new RetainedStore<Message>({
      get messages() {
        return memory.closed ? 0 : limits.retainedMessages
      },
      get bytes() {
        return memory.closed ? 0 : limits.retainedBytes
      },
    })
    this.sessions = new Sessions(
      this.ledger,
      this.#slab,
      store,
      limits,
      host.clock,
      this.#wheel,
      {
        publishWill: (session, will) => this.#publishing.publishWill(session, will),
        knowsOthers: () => cluster.ready,
        ended: (session) => this.#ended(session),
        move: (message, terms, filter, from) => this.#publishing.move(message, terms, filter, from),
        persistence: (session) => cluster.persistence(session),
        // Of the cluster's own nobody asks: what they hold is asked of where it arrives.
        entitle: (session, before) => (isOwn(session) ? undefined : this.#entitling.renewed(session, before)),
        join: (key) => tenants.join(key),
        leave: (tenant) => tenants.leave(tenant),
      },
      options.places,
    )
    const { sessions } = this
    store.serve({
      session: (number) => sessions.session(number) ?? cluster.state(number) ?? this.#leftOver.state(number),
      retained: (topic) => {
        const tombstone = this.retained.tombstone(topic)
        return tombstone ? clearing(topics.named(topic), tombstone.stamp) : this.retained.get(topic)
      },
      moved: (number, seq, lsn) => {
        sessions.moved(number, seq, lsn)
        cluster.moved(number, seq, lsn)
        this.#leftOver.moved(number, seq, lsn)
      },
    })
    const { ledger, tree, retained } = this
    const { version, heapBytes } = options
    const { traffic } = this.#context.turn
    const clients = () => this.#watchdogs.keys()
    this.#figures = new Figures({
      sessions,
      ledger,
      retained,
      tree,
      memory,
      tenants,
      traffic,
      clients,
      version,
      heapBytes,
      connectionsRefused: options.connectionsRefused ?? (() => 0),
      logInsDenied: () => sum(this.#door.counts.denied),
      nowMs,
    })
    const asking = new Asking(this.#wheel, now, limits)
    const gate = new AckGate(store, keeping.durability)
    this.#throttle = new Throttle(options.rates ?? noRates, {
      wheel: this.#wheel,
      ledger,
      log: host.log,
      tenants,
      now,
    })
    this.#door = new Door({
      access: options.access ?? { logIns: undefined, audit: undefined },
      wheel: this.#wheel,
      clock: host.clock,
      hostAsks: hooks.authenticate !== undefined,
      tenants,
      prolong: (client, ms) => this.#watchdogs.get(client)?.prolong(ms),
    })
    this.#entitling = new Entitling(
      options.rulebook ?? openToAll,
      (client) => this.#door.identityOf(client) ?? hostsUser(client, hooks),
    )
    const entering = new Entering({
      host,
      limits,
      sessions,
      store,
      cluster,
      gate,
      door: this.#door,
      entitling: this.#entitling,
      throttle: this.#throttle,
      observer,
      tenants,
      online: () => this.#figures.online(),
      accepted: (client) => this.#watchdogs.get(client)?.accepted(now()),
    })
    this.#handshake = new Handshake(hooks, limits, host.random, asking, this.#door, {
      welcome: (client, packet, assigned, data) => entering.enter(client, packet, assigned, data),
      authorizeWill: (client, will, then) =>
        this.#publishing.authorizeWill(client, this.#entitling.of(client), will, then),
      renewed: (client) => (client.session!.rights = this.#entitling.of(client)),
    })
    const { topics } = this.#context
    this.#publishing = new Publishing({
      hooks,
      asking,
      topics,
      tree,
      retained,
      ledger,
      store,
      cluster,
      gate,
      door: this.#door,
      observer,
      keeping,
      limits,
      memory,
      now,
    })
    this.#subscribing = new Subscribing({
      hooks,
      asking,
      limits,
      memory,
      tree,
      retained,
      ledger,
      store,
      cluster,
      gate,
      door: this.#door,
      observer,
      now,
    })
    cluster.serve(this)
    this.#gate = gate
    // Behind the gate: a PUBLISH that waited comes after the acknowledgements that did.
    store.onProgress(() => sessions.pumpDurable())
    // Of this process alone: the next one would tell the figures of a past that is over.
    this.#sys = new SysTopics((topic, payload) =>
      this.#inject({ topic, payload: Buffer.from(payload), qos: 0, retain: true }, 'memory'),
    )
    // Told when the turn is over: who is told may publish, and must not meet a delivery half done.
    this.ledger.listener = (mishap, clientId, message) => {
      if (observer.lost) host.clock.endOfTurn(() => observer.lost?.(mishap, ownId(clientId), message?.topic.name ?? ''))
    }
    this.#stopTicking = host.clock.every(this.#wheel.resolutionMs, () => this.#tick())
  }

  /** Takes over what was kept, before anybody connects. What fell due meanwhile happens at the first tick. */
  restore(recovered: Recovered): void {
    const { cluster } = this.#options
    // A cluster wants its own first. Alone, nobody has all of them in memory at a time.
    const all = cluster.alone ? recovered.sessions : [...recovered.sessions]
    if (!cluster.alone) cluster.restore([...all].filter(isOwn))
    for (const kept of all) {
      if (isOwn(kept)) {
        if (cluster.alone) this.#leftOver.add(kept)
        continue
      }
      const session = this.sessions.restore(kept)
      for (const [filter, packed] of [...session.subscriptions]) this.#resubscribe(session, filter, packed)
      cluster.began(session)
    }
    for (const message of recovered.retained) this.retained.set(message)
    const { messages } = this.#leftOver
    if (messages > 0)
      this.#host.log.warn(
        { messages },
        'messages for other nodes wait here, and this node was started without its cluster',
      )
  }

  #resubscribe(session: Session, filter: string, packed: number): void {
    const parsed = parseFilter(filter)
    // An older release did not refuse it.
    if (session.tenant !== undefined || !isOfTenants(parsed.filter))
      return void this.tree.subscribe(session, parsed, unpackGrant(packed))
    session.unsubscribe(filter)
    this.#options.store.unsubscribed(session.number, filter)
    this.#host.log.warn({ client: ownId(session.clientId), filter }, 'a subscription to topics of tenants is dropped')
  }

  /**
   * A client has opened a stream. Feed its bytes to what this returns.
   * @param durability the class of what it publishes, where its topic says nothing else
   * @param allowAnonymous may it say nothing of who it is, although others must log in?
   */
  accept(stream: Stream, durability: Durability = this.#keeping.durability, allowAnonymous = false): Client {
    const connection = new Connection<Session>(stream, this.#context)
    connection.durability = durability
    connection.allowAnonymous = allowAnonymous
    if (this.#draining) {
      connection.abandon()
      connection.closed()
      return connection
    }
    this.#watchdogs.set(connection, new Watchdog(connection, this.#wheel, this.#limits, stream.openedMs))
    return connection
  }

  /**
   * Publishes a message of the host program's own: no permission is asked.
   * @throws MqttError 0x90 for a bad topic, and for one of a tenant that none of its clients can know
   */
  inject(own: OwnMessage): void {
    // "#" of a tenant would match them all.
    const { name, hidden, shown } = this.#context.topics.named(own.topic)
    if (isOfTenants(name) && (hidden === 0 || shown === '' || shown.startsWith('$')))
      throw new MqttError(
        Reason.topicNameInvalid,
        'MQTT-4.7.2-1',
        'a tenant has no topics that are empty or begin with "$"',
      )
    this.#inject(own, undefined)
  }

  #inject(own: OwnMessage, durability: Durability | undefined): void {
    const topic = this.#context.topics.named(own.topic)
    const { qos, retain, payload } = own
    const message = new Message(topic, qos, retain, payload, 0, payload.length, undefined, Infinity, undefined, 5)
    this.#publishing.inject(message.keep(), durability)
  }

  // What the cluster asks.

  arrive(arrival: Arrival, unserved: (group: string) => void): Lsn {
    return this.#publishing.arrive(arrival, unserved)
  }

  serve(message: Message, group: string, durability: Durability): Lsn | undefined {
    return this.#publishing.serve(message, group, durability)
  }

  durabilityOf(topic: Topic): Durability {
    return this.#publishing.durabilityOf(topic)
  }

  /** Takes other limits: at once where nobody was promised otherwise, for new connections where CONNACK told them. */
  relimit(
    limits: Limits,
    keeping: Keeping = this.#keeping,
    rates: Rates = noRates,
    memoryBytes = Infinity,
    tenants: TenantBook = noTenants,
  ): void {
    Object.assign(this.#keeping, keeping)
    Object.assign(this.#limits, limits, { overflow: keeping.overflow })
    this.#context.limits = limits
    this.#memory.relimit(memoryBytes)
    const clients = [...this.#watchdogs.keys()].filter(({ session }) => session !== undefined)
    this.#throttle.reload(rates, this.tenants.reload(tenants), clients)
  }

  /** From now on this is allowed, and nothing that was decided before. */
  permit(rulebook: Rulebook): void {
    this.sessions.rules++
    this.#entitling.reload(rulebook, this.sessions.values())
  }

  /**
   * Whom to ask has changed.
   * @param judge gives who somebody is now; undefined: it must go, and log in again
   * @returns sends those away: to be called when what is allowed has changed, too, for they may have left a will
   */
  review(judge: (identity: Identity) => Identity | undefined): () => void {
    const leaving = this.#door.review(judge, this.#watchdogs.keys())
    return () => {
      for (const client of leaving) client.close(Reason.notAuthorized, 'log in again')
      this.#context.turn.flush()
    }
  }

  /** Have users proved who they are, so that a session is theirs alone? */
  get owned(): boolean {
    return this.#door.closed
  }

  /** What each tenant has here. */
  tenantFigures(): TenantReport {
    return tenantFigures(this.tenants, this.retained)
  }

  /** Who was not let in. */
  get logIns(): LogInCounts {
    return this.#door.counts
  }

  /** Clients with an open connection, before CONNECT or after. */
  get connections(): number {
    return this.#watchdogs.size
  }

  /** Copies that wait for their end in any session: with the ledger, the whole truth. */
  get pending(): number {
    let pending = 0
    for (const session of this.sessions.values()) pending += session.pending
    return pending
  }

  /** Takes no new client, and sends those that are here away: v5 with 0x8B. */
  drain(): void {
    this.#draining = true
    for (const client of [...this.#watchdogs.keys()]) client.close(Reason.serverShuttingDown)
    this.#context.turn.flush()
  }

  /** Stops the clockwork. Streams are the caller's to close. */
  stop(): void {
    this.#draining = true
    this.#stopTicking()
  }

  // ── connections ────────────────────────────────────────────────────────────────────────────────────────────────

  connect(from: Client, packet: ConnectPacket): void {
    if (this.#memory.closed) return this.#memory.refuse(from)
    from.connectNumber = ++this.#connects
    this.#handshake.connect(from, packet)
  }

  auth(from: Client, packet: AuthPacket): void {
    this.#handshake.auth(from, packet)
  }

  disconnect(from: Client, packet: DisconnectPacket): void {
    const session = from.session!
    const asked = packet.sessionExpirySeconds
    if (asked === undefined) return
    // A session that was to end with its connection cannot be prolonged (MQTT 5.0, 3.14.2.2.2).
    if (asked > 0 && !session.persistent)
      throw new MqttError(
        Reason.protocolError,
        'MQTT-3.14.2.2.2',
        'a session expiry in DISCONNECT after none in CONNECT',
      )
    session.expire(Math.min(asked, this.#limits.sessionExpirySeconds))
    this.sessions.record(session)
  }

  closed(from: Client, fault: Error | undefined): void {
    this.#watchdogs.get(from)?.over()
    this.#watchdogs.delete(from)
    // By who it is, which is forgotten with the connection.
    void from.session?.rights
    this.#handshake.forget(from)
    this.#throttle.end(from)
    if (fault instanceof MqttError) this.ledger.refusal(fault.reason)
    const session = from.session
    if (session?.connection !== from) return
    this.sessions.detach(session, fault !== undefined)
    this.#host.log.debug({ client: from.clientId, remote: from.remote }, fault?.message ?? 'disconnected')
    this.#observer.disconnected?.({ id: from.clientId, reason: fault?.message ?? 'disconnected' })
  }

  /** A session is over: nothing is routed to it any more. */
  #ended(session: Session): void {
    for (const filter of session.subscriptions.keys()) this.tree.unsubscribe(session, parseFilter(filter))
    session.unsubscribeAll()
    this.#options.cluster.ended(session)
  }

  // ── what clients send ──────────────────────────────────────────────────────────────────────────────────────────

  publish(from: Client, message: Message, packetId: number): void {
    this.#publishing.publish(from, message, packetId)
  }

  puback(from: Client, packetId: number, reason: number): void {
    from.session!.puback(packetId, reason)
  }

  pubrec(from: Client, packetId: number, reason: number): void {
    // An id that we do not know is released all the same, so that a confused client comes to an end.
    const lsn = from.session!.pubrec(packetId, reason)
    if (reason >= 0x80) return
    // Behind the record that it arrived: after a crash it would be sent once more, to a client that has forgotten it.
    if (lsn === 0 && from.heldAcks === 0) from.sender.pubrel(packetId)
    else
      this.#gate.promise(from, Math.max(0, lsn), pubrel, packetId, lsn < 0 ? Reason.packetIdNotFound : Reason.success)
  }

  pubrel(from: Client, packetId: number): void {
    this.#publishing.pubrel(from, packetId)
  }

  pubcomp(from: Client, packetId: number): void {
    from.session!.pubcomp(packetId)
  }

  subscribe(from: Client, packet: SubscribePacket): void {
    this.#subscribing.subscribe(from, packet)
  }

  unsubscribe(from: Client, packet: UnsubscribePacket): void {
    this.#subscribing.unsubscribe(from, packet)
  }

  // ── time ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #tick(): void {
    const nowMs = this.#host.clock.now()
    const sinceMs = nowMs - this.#lastTickMs
    this.#lastTickMs = nowMs
    this.#memory.tick()
    // The process stood still. What clients sent meanwhile lies unread: read it before anybody is called silent.
    if (sinceMs > 10 * this.#wheel.resolutionMs) return
    this.#entitling.goOn()
    this.#wheel.advance(nowMs)
    this.retained.expire(nowMs)
    if (nowMs < this.#sysDueMs) return
    this.#sysDueMs = nowMs + this.#limits.sysSeconds * 1000
    this.#sys.tell(this.#figures.read(nowMs))
  }
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}

/** Is it the cluster's, and no client's? */
function isOwn({ clientId }: { readonly clientId: string }): boolean {
  return clientId.startsWith('\0')
}

/** Whom a host program has let in by a user name. */
function hostsUser({ username, authenticationMethod }: Client, hooks: Hooks): Holder | undefined {
  // Whoever names no method takes part in no exchange.
  const asked = hooks.authenticate !== undefined || authenticationMethod !== undefined
  return username !== undefined && asked ? { user: username } : undefined
}

function pubrel(client: Client, packetId: number, reason: number): void {
  client.sender.pubrel(packetId, reason)
}
