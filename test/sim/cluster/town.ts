import type { ClusterSettings } from '../../../src/cluster/cluster.ts'
import { DurabilityRules, type DurabilityRule } from '../../../src/broker/durability.ts'
import { defaultClusterSettings } from '../../../src/cluster/cluster.ts'
import type { NodeId } from '../../../src/cluster/peers.ts'
import { City, type CityOptions } from '../../cluster/cluster-kit.ts'
import type { Machine } from '../../cluster/cluster-machine.ts'
import { Dice } from '../dice.ts'
import { Link } from '../link.ts'
import type { RecoveredSession } from '../../../src/store/port.ts'
import type { Time } from '../time.ts'
import type { Wire } from '../wire.ts'
import { Violation } from '../world.ts'
import { Chronicle, type Interval, isShared, matches, type Sent } from './chronicle.ts'
import { Losses } from './losses.ts'
import { Operator } from './operator.ts'
import { Roamer, type RoamerOptions } from './roamer.ts'

export interface TownOptions extends Pick<
  CityOptions,
  'limits' | 'creditBytes' | 'keeps' | 'weather' | 'wireOf' | 'skewMs' | 'joinsAll'
> {
  readonly seed: number
  readonly nodes: number
  readonly settings?: Partial<ClusterSettings>
  /** What is published on these topics has another class of durability. */
  readonly classes?: readonly DurabilityRule[]
  /** Told of everything that happens, for a replay. */
  readonly tell?: ((line: string) => void) | undefined
}

/** Most time that a client's bytes take. */
const clientLatencyMs = 2
/** So long a node may look for the session of a client, and some more. */
const patienceMs = 9000
/** What has stood still takes so long to be on its way again. */
const thawMs = 1000

/**
 * A cluster and its clients, on one thread and from one seed: brokers, stores and everything of the cluster are real; clocks,
 * networks and disks are not.
 *
 *   Roamer ── Wire ── Link ── Broker ── ClusterNode ── Links ── End ══ End ── …        every arrow is an event of `Time`
 */
export class Town {
  readonly city: City
  readonly time: Time
  readonly dice: Dice
  readonly chronicle: Chronicle
  readonly losses: Losses
  readonly operator: Operator
  readonly roamers: Roamer[] = []
  readonly nodes: readonly NodeId[]
  readonly barrierMs: number
  readonly mayBeginAfresh: boolean
  /** Machines that have fallen, and how often. */
  falls = 0
  /** When one fell last, and when one lost its power: events of the world. */
  fellSeq = -1
  powerSeq = -1
  /** When one fell last that was not empty. */
  crashSeq = -1
  /** When something stood still, or nothing passed between some: who knows how long what was under way took. */
  readonly #standstills: { readonly fromMs: number; toMs: number }[] = []
  /** At peace nothing may go wrong any more. */
  atPeace = false
  readonly hasSkew: boolean
  readonly #classes: readonly DurabilityRule[]
  readonly #tell: ((line: string) => void) | undefined
  readonly #links = new Map<NodeId, Link[]>()
  readonly #torn = new Set<NodeId>()
  #rising: NodeId = ''
  /** Connections that wait for CONNACK, and perhaps later ones. */
  #atTheDoor: { readonly wire: Wire; readonly sinceMs: number }[] = []
  #hash = 0x811c9dc5
  #fault: Violation | undefined
  #linkNumber = 0

  constructor({ seed, nodes, settings, tell, classes = [], ...options }: TownOptions) {
    this.#tell = tell
    this.#classes = classes
    this.nodes = 'abcde'.slice(0, nodes).split('')
    const all = { ...defaultClusterSettings, ...settings }
    this.barrierMs = all.barrierMs * 0.9
    this.mayBeginAfresh = all.absentOwner === 'fresh'
    this.hasSkew = options.skewMs !== undefined
    let city: City | undefined = undefined as City | undefined
    city = new City(
      this.nodes,
      {
        ...options,
        settings: all,
        keeping: { durability: 'fsync', rules: new DurabilityRules(classes), overflow: 'drop-newest' },
        crosses: (from, to, bytes) => city && this.#crosses(`${from}▶${to}`, bytes, false),
        logged: ({ level, message, fields }, machine) => this.#logged(level, message, fields, machine),
      },
      seed,
    )
    this.city = city
    this.time = city.time
    this.dice = new Dice(seed).fork(21)
    this.chronicle = new Chronicle(this.time)
    this.losses = new Losses(this.chronicle)
    this.operator = new Operator(this)
  }

  roamer(options: RoamerOptions): Roamer {
    const roamer = new Roamer(options, this)
    this.roamers.push(roamer)
    return roamer
  }

  get hash(): number {
    return this.#hash >>> 0
  }

  tell(line: string): void {
    if (this.#tell) this.#tell(`${this.city?.time.now().toFixed(3)} #${this.city?.time.seq} ${line}`)
  }

  /** Ends the world, also where somebody would catch what is thrown. */
  blame(rule: string, what: string): never {
    this.#fault ??= new Violation(`${rule}: ${what} (event ${this.time.seq})`)
    throw this.#fault
  }

  run(ms: number, done: () => boolean = () => false): boolean {
    const { time } = this
    const untilMs = time.now() + ms
    while (!done()) {
      if (time.nextMs > untilMs) {
        time.stall(Math.max(0, untilMs - time.now()))
        return false
      }
      time.step()
      if (this.#fault) throw this.#fault
    }
    return true
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────

  machine(node: NodeId): Machine {
    return this.city.machine(node)
  }

  /** Can a client connect there? */
  isOpen(node: NodeId): boolean {
    const { isUp, ready, cluster } = this.machine(node)
    return isUp && ready && !cluster.draining
  }

  /** Nodes that can answer this one. */
  live(node: NodeId): Iterable<NodeId> {
    const machine = this.machine(node)
    return machine.isUp ? machine.cluster.live() : []
  }

  fall(node: NodeId, how: 'kill' | 'power', quietly: boolean, isEmpty = false): void {
    if (!this.machine(node).isUp) return
    this.tell(`${node} falls: ${how}`)
    this.falls++
    this.fellSeq = this.time.seq
    if (!isEmpty) this.crashSeq = this.time.seq
    if (how === 'power') {
      this.powerSeq = this.time.seq
      this.#torn.add(node)
    }
    this.city.fall(node, how, quietly)
    for (const roamer of this.roamers) roamer.fell(node)
    for (const link of this.#links.get(node) ?? []) link.orphan(this.dice.chance(0.5))
    this.#links.delete(node)
  }

  /** One whose disk is gone does not come back before all that are there have given it up. */
  rise(node: NodeId): void {
    if (this.machine(node).isUp || !this.operator.mayRise(node)) return
    this.tell(`${node} rises${this.operator.lost.has(node) ? ', with another disk' : ''}`)
    this.#read(node, () => {
      this.operator.rises(node)
      this.city.rise(node)
    })
    this.operator.watch(node)
  }

  restart(node: NodeId): void {
    this.fall(node, 'kill', false)
    this.rise(node)
  }

  /** What is on a machine's disk, which is down. */
  inspect(node: NodeId, look: Parameters<Machine['inspect']>[0]): void {
    this.#read(node, () => this.machine(node).inspect(look))
  }

  /** The disk may have been torn as the power failed. */
  #read(node: NodeId, run: () => void): void {
    const before = this.#rising
    this.#rising = node
    run()
    this.#rising = before
  }

  /** Nodes that are not lost. */
  get present(): readonly NodeId[] {
    const { lost } = this.operator
    return lost.size === 0 ? this.nodes : this.nodes.filter((node) => !lost.has(node))
  }

  /** A node is emptied; when nothing is left there, it leaves. */
  drain(node: NodeId): void {
    const { process, cluster, isUp } = this.machine(node)
    if (!isUp || cluster.draining) return
    this.tell(`${node} is to be emptied`)
    process.enter(() => {
      cluster.drain(50, ({ done, remaining }) => {
        this.tell(`${node} is ${done ? 'empty' : `not empty: ${remaining} sessions`}`)
        if (!done) return
        cluster.leave()
        this.time.after(20, () => {
          if (this.machine(node).cluster === cluster) this.fall(node, 'kill', false, true)
        })
      })
    })
  }

  /** Is an acknowledged message on this topic lost in spite of what its class of durability promises? */
  survives({ topic, sentSeq }: Sent): boolean {
    const rule = this.#classes.find(({ filter }) => matches(filter, topic))
    if (rule === undefined || rule.durability === 'fsync') return true
    return sentSeq > (rule.durability === 'os' ? this.powerSeq : this.fellSeq)
  }

  stop(node: NodeId): void {
    this.#stands()
    this.tell(`${node} stands still`)
    this.machine(node).process.stop()
    for (const other of this.nodes) if (other !== node) this.city.flapped(node, other)
  }

  resume(node: NodeId): void {
    const { process } = this.machine(node)
    if (!process.isStopped) return
    this.tell(`${node} goes on`)
    process.resume(this.dice.chance(0.5))
    this.#goesOn()
  }

  cut(from: NodeId, to: NodeId): void {
    this.tell(`nothing passes from ${from} to ${to}`)
    this.city.cut(from, to)
    this.#stands()
  }

  part(left: readonly NodeId[], right: readonly NodeId[]): void {
    this.tell(`parted: ${left.join()} | ${right.join()}`)
    this.city.part(left, right)
    this.#stands()
  }

  heal(): void {
    this.tell('healed')
    this.city.heal()
    this.#goesOn()
  }

  /** Did something stand still, somewhere, at any time in between? */
  stoodStill(fromMs: number, toMs: number): boolean {
    return this.#standstills.some((still) => still.fromMs <= toMs && fromMs <= still.toMs + thawMs)
  }

  #stands(): void {
    if (this.#standstills.at(-1)?.toMs !== Infinity) this.#standstills.push({ fromMs: this.time.now(), toMs: Infinity })
  }

  #goesOn(): void {
    const last = this.#standstills.at(-1)
    const stands = this.city.isCut || this.nodes.some((node) => this.machine(node).process.isStopped)
    if (last && !stands) last.toMs = Math.min(last.toMs, this.time.now())
  }

  // ── clients ────────────────────────────────────────────────────────────────────────────────────────────────────

  dial(wire: Wire, clientId: string, node: NodeId): void {
    const machine = this.machine(node)
    const number = this.#linkNumber++
    const link = new Link(`${clientId}:${number}`, {
      time: this.time,
      process: machine.process,
      store: machine.store,
      dice: this.dice.fork(100 + number),
      weather: { latencyMs: clientLatencyMs, hiccup: 0, burstBytes: 65_536 },
      peer: wire,
      trace: (direction, name, bytes) => this.#crosses(`${direction} ${node} ${name}`, bytes, true),
    })
    wire.link = link
    this.#atTheDoor.push({ wire, sinceMs: this.time.now() })
    const links = this.#links.get(node)
    if (links) links.push(link)
    else this.#links.set(node, [link])
    machine.process.enter(() => link.open(machine.broker.accept(link)))
  }

  /** Subscriptions by which a message that is sent to `node` now must come. */
  mustReach(sent: Sent, node: NodeId): readonly Interval[] {
    if (sent.qos === 0) return []
    const must: Interval[] = []
    for (const { life } of this.roamers) {
      if (!life.lasting || life.shaky || !life.alive) continue
      for (const interval of life.intervals)
        if (
          interval.qos > 0 &&
          interval.certainFrom < this.time.seq &&
          interval.certainTo === Infinity &&
          (interval.group !== undefined) === isShared(sent.topic) &&
          matches(interval.filter, sent.topic) &&
          this.#isInformed(interval, node)
        )
          must.push(interval)
    }
    return must
  }

  /** Does `node` know of the subscription, and is the session where it is believed to be? */
  #isInformed({ home, informed, life, filter, group }: Interval, node: NodeId): boolean {
    const { id } = life.roamer.options
    for (const other of this.nodes) {
      const { isUp, broker } = this.machine(other)
      if (isUp && (broker.sessions.get(id) !== undefined) !== (other === home)) return false
    }
    if (node === home || informed.has(node)) return true
    const key = group === undefined ? `f${filter}` : `p${group}/${filter}`
    const value = this.city.node(node).gossip.owner(home)?.get(key) ?? 0
    return group === undefined ? (value & 2) !== 0 : value > 0
  }

  // ── at rest ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What is still under way, or not yet the same everywhere; undefined: nothing. */
  unrest(): string | undefined {
    const waiting = this.roamers.filter(({ settled }) => !settled).map(({ options }) => options.id)
    if (waiting.length > 0) return `not settled: ${waiting.join()}`
    // Such a CONNECT may still begin a session, for nobody.
    const nowMs = this.time.now()
    this.#atTheDoor = this.#atTheDoor.filter(({ wire, sinceMs }) => !wire.accepted && nowMs - sinceMs < patienceMs)
    if (this.#atTheDoor.some(({ wire }) => wire.deaf)) return 'a CONNECT that was given up is under way'
    for (const node of this.present) {
      const why = this.#unrestOf(node)
      if (why !== undefined) return `${node}: ${why}`
    }
    for (const { options, node } of this.roamers) {
      const owners = this.present.filter((name) => this.machine(name).broker.sessions.get(options.id))
      if (owners.join() !== node) return `owners of ${options.id}, which is at ${node}: ${owners.join()}`
    }
    return undefined
  }

  #unrestOf(node: NodeId): string | undefined {
    const { broker, cluster } = this.machine(node)
    if (this.operator.evicted.has(node)) return 'was given up, and has to be started again'
    if ([...cluster.live()].length < this.present.length - 1) return `sees only ${[...cluster.live()].join()}`
    if (broker.pending > 0) {
      const waiting = [...broker.sessions.values()].filter(({ pending }) => pending > 0)
      return `${broker.pending} copies wait for ${waiting.map(({ clientId }) => clientId).join()}`
    }
    for (const to of cluster.forwarding.nodes()) {
      if (to.messages > 0 || to.pending > 0) return `${to.messages} messages wait for ${to.node}`
      if (to.storing && !to.gone) return `writes down what is for ${to.node}`
    }
    for (const other of this.operator.lost) {
      const known = cluster.status().find((status) => status.node === other)
      if (known) return `${other}, which is lost, is ${known.state}`
      if (cluster.gossip.owner(other) !== undefined) return `the table of ${other}, which is lost, is left`
    }
    for (const other of this.present) {
      if (other === node) continue
      const { gossip } = this.city.node(other)
      if (cluster.gossip.owner(other)?.hash !== gossip.own.hash) return `another table of ${other}`
    }
    const [first] = this.present
    const { retained } = this.machine(first!).broker
    for (const topic of this.chronicle.retainedTopics()) {
      const [here, there] = [broker.retained.get(topic), retained.get(topic)]
      if (here?.stamp?.ms !== there?.stamp?.ms || String(here?.payload()) !== String(there?.payload()))
        return `another message retained on ${topic} than at ${first}`
    }
    const claims = [...cluster.gossip.own.entries()].filter(([key]) => key.startsWith('c')).length
    if (claims !== broker.sessions.size) return `${claims} claims for ${broker.sessions.size} sessions`
    return this.#imbalance(node)
  }

  #imbalance(node: NodeId): string | undefined {
    const { broker, cluster } = this.machine(node)
    const { published, matched, unmatched, refused, copies, delivered, lostTotal } = broker.ledger
    if (published !== matched + unmatched + refused)
      return `published ${published} ≠ matched ${matched} + unmatched ${unmatched} + refused ${refused}`
    if (copies !== delivered + broker.pending + lostTotal)
      return `copies ${copies} ≠ delivered ${delivered} + pending ${broker.pending} + lost ${lostTotal}`
    const sent = cluster.forwarding.ledger
    if (sent.copies !== sent.delivered + sent.lostTotal)
      return `sent ${sent.copies} ≠ delivered ${sent.delivered} + lost ${sent.lostTotal}`
    return undefined
  }

  /** What of anybody is left, now that everybody has gone. */
  leftOver(): string | undefined {
    for (const node of this.present) {
      const { broker, cluster } = this.machine(node)
      const { sessions, tree, pending } = broker
      const keys = [...cluster.gossip.own.entries()].map(([key]) => key).filter((key) => 'fgpc'.includes(key[0]!))
      const left = { sessions: sessions.size, pending, subscriptions: tree.size, keys: keys.length }
      for (const [what, count] of Object.entries(left))
        if (count !== 0) return `${count} ${what} are left at ${node} ${keys.join()}`
    }
    return undefined
  }

  /** Everybody has left: nothing of anybody is left, not even on a disk. */
  empty(): void {
    const left = this.leftOver()
    if (left !== undefined) this.blame('leak', left)
    const [node] = this.present
    // Nobody was promised that a session has ended: a disk that is slow may not have heard of it yet.
    this.run(1000)
    // What others had for it in streams of their earlier starts is over: it hears that with the next link. Nor does it know for some
    // time behind a start that nothing straggles any more.
    this.restart(node!)
    const { gossip } = this.machine(node!).cluster
    this.run(12_000, () => ![...gossip.own.entries()].some(([key]) => key.startsWith('m')))
    this.run(3000)
    this.fall(node!, 'kill', false)
    this.inspect(node!, ({ sessions }) => this.#kept(node!, [...sessions]))
  }

  #kept(node: NodeId, kept: readonly RecoveredSession[]): void {
    // One to each of the others, and one from it; to one that was evicted, an empty one until the next start.
    const most = 2 * (this.present.length - 1) + this.operator.lost.size
    const streams = kept.filter(({ clientId }) => clientId.startsWith('\0out/') || clientId.startsWith('\0in/'))
    if (streams.length > most) {
      const names = streams.map(({ clientId }) => clientId.slice(1))
      this.blame('leak', `${streams.length} streams are left at ${node}: ${names.join()}`)
    }
    for (const { clientId, subscriptions, queue } of kept) {
      if (!clientId.startsWith('\0')) this.blame('leak', `the session of ${clientId} is left at ${node}`)
      if (subscriptions.size > 0) this.blame('leak', `${subscriptions.size} keys are left in ${clientId} at ${node}`)
      if (queue.next > queue.head) this.blame('leak', `messages are left in ${clientId} at ${node}`)
    }
  }

  // ── what is told ───────────────────────────────────────────────────────────────────────────────────────────────

  #crosses(way: string, bytes: Uint8Array, isText: boolean): void {
    let hash = this.#hash ^ this.time.seq
    for (let at = 0; at < bytes.length; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
    this.#hash = hash
    if (!this.#tell) return
    const text = Buffer.from(bytes)
      .toString('latin1')
      .replace(/[^ -~]/g, '·')
    this.tell(`${way} ${isText || bytes.length < 400 ? text : `${bytes.length} bytes`}`)
  }

  #logged(level: string, message: string, fields: object, { name }: Machine): void {
    if (this.#tell) {
      const { err } = fields as { err?: Error }
      this.tell(`${name} ${level}: ${message} ${JSON.stringify(fields)} ${err?.stack ?? ''}`)
    }
    const { client, present } = fields as { client?: string; present?: boolean }
    if (message === 'connected' && present === false)
      this.roamers.find(({ options }) => options.id === client)?.began(name)
    // What was being written when the power failed may be anything.
    const isEvicted = message.startsWith('the cluster has given this node up') && this.operator.told(name)
    if (level === 'error' && !isEvicted && !(this.#torn.has(name) && this.#rising === name))
      this.blame('error log', `${name}: ${message} ${JSON.stringify(fields)}`)
  }
}
