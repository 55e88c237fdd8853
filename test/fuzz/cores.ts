import { Broker } from '../../src/broker/broker.ts'
import { alone } from '../../src/cluster/alone.ts'
import type { Connection } from '../../src/mqtt/connection.ts'
import { Pages } from '../../src/mqtt/output.ts'
import { MqttError, reasonName } from '../../src/mqtt/reason.ts'
import type { Session } from '../../src/sessions/session.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { patch } from '../sim/patch.ts'
import { SeededRandom } from '../support/random.ts'
import { FuzzDisk, Snapshot } from './disk.ts'
import { Finding } from './finding.ts'
import { allowance, forbidden, type Habits, lifetimeMs } from './habits.ts'
import { HonestPair } from './honest.ts'
import { Peer } from './peer.ts'
import { type Script, slots, type Step } from './script.ts'
import { StillClock } from './still-clock.ts'

/** What a run met: packets that an open connection was given, and combinations of version, packet, state and outcome. */
export interface Trace {
  readonly frames: number
  readonly features: readonly string[]
  /** What the slowest step took, by the real clock. */
  readonly slowestMs: number
}

/** Scripts in which a broker on a disk is killed, and another one goes on: the others find it as it is. */
const restartsEvery = 10

/**
 * A whole broker in this process, with streams and a clock of ours. A script is run on it, the world is emptied, and then
 * nothing may be left: so the next script finds a broker as the first one did.
 */
export class Cores {
  broker!: Broker
  #clock = new StillClock()
  readonly #habits: Habits
  readonly #disk: FuzzDisk | undefined
  #pair!: HonestPair
  #pages!: Pages
  #empty = { nodes: 0, subscriptions: 0, lent: 0 }
  readonly #peers = new Set<Peer>()
  readonly #bySlot: (Peer | undefined)[] = new Array<Peer | undefined>(slots).fill(undefined)
  readonly #peerOf = new WeakMap<Connection<Session>, Peer>()
  #ours: Finding | undefined = undefined
  #features = new Set<string>()
  #frames = 0
  #scripts = 0
  /** When messages were taken in this script, by who sent them. */
  readonly #taken = new Map<string, number[]>()

  private constructor(habits: Habits) {
    this.#habits = habits
    this.#disk = habits.disk && new FuzzDisk()
  }

  /** A broker, with what is on its disk, and nobody but the honest pair. */
  async #begin(): Promise<void> {
    let pages: Pages | undefined
    const found = (lending: Pages) => (pages = lending)
    const undo = patch(
      Pages.prototype,
      'take',
      (take) =>
        function (this: Pages, large) {
          found(this)
          return take.call(this, large)
        },
    )
    this.#start()
    await this.#answers()
    undo()
    this.#pages = pages!
    this.#pair.begin()
  }

  #start(): void {
    const random = new SeededRandom(1)
    const error = (fields: object, message: string): void => {
      const { err } = fields as { err?: Error }
      if (err instanceof Finding) this.#ours ??= err
      else this.#ours ??= new Finding('a fault of ours', err?.message ?? message, { cause: err })
    }
    const { limits, hooks, rulebook, rates } = this.#habits
    const log = { debug() {}, info() {}, warn() {}, error }
    const disk = this.#disk?.open(this.#clock, log)
    this.broker = new Broker({
      host: { clock: this.#clock, random, log },
      limits,
      store: disk?.store ?? new MemoryStore(),
      ...(disk && { topics: disk.topics }),
      ...(rulebook && { rulebook }),
      rates,
      cluster: alone,
      hooks,
      observer: rates ? { published: ({ publisher }) => this.#published(publisher) } : {},
      version: 'fuzz',
      heapBytes: () => 0,
    })
    const closed = this.broker.closed.bind(this.broker)
    this.broker.closed = (from, fault) => {
      this.#closed(from, fault)
      closed(from, fault)
    }
    if (disk) this.broker.restore(disk.recovered)
    this.#pair = new HonestPair((peer) => this.#accept(peer))
  }

  /** A broker with nobody but the honest pair. */
  static async start(habits: Habits): Promise<Cores> {
    const cores = new Cores(habits)
    await cores.#begin()
    const { nodes, size } = cores.broker.tree
    cores.#empty = { nodes, subscriptions: size, lent: cores.#pages.lentBytes }
    return cores
  }

  /**
   * Runs a script from its first step to an empty broker.
   * @throws Finding, and whatever the broker throws
   */
  async run(script: Script): Promise<Trace> {
    this.#features = new Set()
    this.#frames = 0
    this.#scripts++
    this.#taken.clear()
    let slowestMs = 0
    const half = script.length >> 1
    for (const [at, step] of script.entries()) {
      if (at === half) this.#pair.publish()
      if (step.do === 'wait') await this.#pass(step.ms)
      else {
        const startMs = performance.now()
        this.#step(step)
        if (this.#habits.later) await this.#answers()
        else this.#settle()
        slowestMs = Math.max(slowestMs, performance.now() - startMs)
      }
    }
    if (script.length === 0) this.#pair.publish()
    // Publishers are held for a second, hooks answer within two.
    await this.#pass(3000)
    for (const peer of this.#peers) peer.check()
    this.#balance()
    if (this.#habits.rulebook) this.#checkRules()
    if (this.#habits.rates) this.#checkRates()
    if (this.#disk && this.#scripts % restartsEvery === 0) await this.#restart(this.#disk)
    await this.#clear()
    return { frames: this.#frames, features: [...this.#features], slowestMs }
  }

  #step(step: Exclude<Step, { do: 'wait' }>): void {
    switch (step.do) {
      case 'open':
        this.#bySlot[step.on]?.hangUp()
        return void this.#open(step.on)
      case 'send':
        return this.#send(this.#bySlot[step.on] ?? this.#open(step.on), step.bytes)
      case 'hang':
        return this.#bySlot[step.on]?.hangUp()
      case 'answer':
        return void ((this.#bySlot[step.on] ?? this.#open(step.on)).answers = true)
      case 'stall':
      case 'read': {
        const peer = this.#bySlot[step.on]
        if (peer) peer.stalled = step.do === 'stall'
      }
    }
  }

  #open(slot: number): Peer {
    const peer = new Peer()
    this.#bySlot[slot] = peer
    this.#peers.add(peer)
    this.#accept(peer)
    return peer
  }

  #accept(peer: Peer): void {
    peer.connection = this.broker.accept(peer, this.#disk ? 'fsync' : 'memory')
    this.#peerOf.set(peer.connection, peer)
  }

  #send(peer: Peer, bytes: Uint8Array): void {
    if (!peer.open) return
    const { connection } = peer
    const before = connection.state
    const type = bytes[0]! >> 4
    peer.lastFirst = bytes[0]!
    this.#frames += framesIn(bytes)
    peer.send(bytes)
    if (peer.fault === 'open') this.#features.add(`${connection.version} ${before} ${type} ${connection.state}`)
  }

  /** The connection says that it is over. */
  #closed(connection: Connection<Session>, fault: Error | undefined): void {
    const peer = this.#peerOf.get(connection)!
    if (peer.fault !== 'open') throw new Finding('ended twice', connection.clientId)
    peer.fault = fault
    const why =
      fault instanceof MqttError ? `${fault.clause} ${reasonName(fault.reason)}` : (fault?.message ?? 'in order')
    this.#features.add(`${connection.version} ${peer.lastFirst >> 4} ${why}`)
  }

  /** Turns end and the network moves until nothing more comes of it. */
  #settle(): void {
    for (let moved = true; moved;) {
      moved = this.#clock.endTurn()
      if (this.#disk?.step()) moved = true
      for (const peer of this.#peers) if (peer.settle()) moved = true
      if (this.#pair.publisher.settle()) moved = true
      if (this.#pair.subscriber.settle()) moved = true
    }
    if (this.#ours) throw this.#ours
  }

  /** The same, and the hooks answer. */
  async #answers(): Promise<void> {
    this.#settle()
    // Every answer is a promise, and may lead to the next question.
    for (let i = 0; i < 12; i++) {
      await Promise.resolve()
      this.#settle()
    }
  }

  async #pass(ms: number): Promise<void> {
    for (const _ of this.#clock.pass(ms))
      if (this.#habits.later) await this.#answers()
      else this.#settle()
  }

  // published = matched + unmatched + refused, and copies = delivered + pending + lost.
  #balance(): void {
    const { ledger, pending } = this.broker
    const { published, matched, unmatched, refused, copies, delivered, lostTotal } = ledger
    if (published !== matched + unmatched + refused)
      throw new Finding(
        'ledger',
        `published ${published}, matched ${matched}, unmatched ${unmatched}, refused ${refused}`,
      )
    if (copies !== delivered + pending + lostTotal)
      throw new Finding('ledger', `copies ${copies}, delivered ${delivered}, pending ${pending}, lost ${lostTotal}`)
  }

  /** Nobody was sent, has published or retained what the rules deny. */
  #checkRules(): void {
    const { receive, publish, retain } = forbidden
    const sent = [...this.#peers].flatMap(({ topics }) => [...topics])
    const kept = [...this.broker.retained.all()].map(({ topic }) => topic.name)
    const against = [
      ...sent.filter((topic) => [...receive, ...publish].some((denied) => denied === topic)),
      ...kept.filter((topic) => [...retain, ...publish].some((denied) => denied === topic)),
    ]
    if (against.length > 0) throw new Finding('rules', `${against.join(', ')} came through`)
  }

  /** Nobody has got more messages through than its rate allows, whatever stretch of time one looks at. */
  #checkRates(): void {
    const { burst, perSecond } = allowance
    for (const [who, times] of this.#taken)
      for (let from = 0; from < times.length; from++)
        for (let to = from; to < times.length; to++) {
          const seconds = (times[to]! - times[from]!) / 1000
          if (to - from + 1 > burst + perSecond * seconds)
            throw new Finding('rates', `${to - from + 1} messages of ${JSON.stringify(who)} in ${seconds} s`)
        }
  }

  /** A client's message was taken. */
  #published(publisher: unknown): void {
    const { clientId, username } = publisher as Session
    const who = `${username}\0${clientId}`
    const times = this.#taken.get(who) ?? []
    times.push(this.#clock.now())
    this.#taken.set(who, times)
  }

  /** The process is killed when nothing is under way: the next one must know what this one knew. */
  async #restart(disk: FuzzDisk): Promise<void> {
    const before = new Snapshot(this.broker)
    for (const peer of this.#peers) peer.vanish()
    this.broker.stop()
    disk.kill()
    this.#clock = new StillClock(this.#clock.now())
    await this.#begin()
    before.compare(new Snapshot(this.broker))
    this.#pair.publish()
    await this.#answers()
  }

  /** Everybody leaves, all sessions run out, and nothing may be left of them. */
  async #clear(): Promise<void> {
    const { broker } = this
    for (const peer of this.#peers) peer.hangUp()
    this.#bySlot.fill(undefined)
    await this.#pass(lifetimeMs)
    // Who was too slow is remembered for a while.
    if (broker.sessions.backpressure.full > 0) await this.#pass(31_000)
    for (const { topic } of [...broker.retained.all()])
      broker.inject({ topic: topic.name, payload: new Uint8Array(), qos: 0, retain: true })
    await this.#answers()
    this.#balance()
    this.#pair.check(broker)
    for (const peer of this.#peers)
      if (peer.fault === 'open') throw new Finding('a connection that does not end', peer.connection.clientId)
    this.#peers.clear()
    const { sessions, tree, retained } = broker
    const left = {
      connections: broker.connections - 2,
      sessions: sessions.size - 2,
      online: sessions.online - 2,
      pending: broker.pending,
      queuedBytes: sessions.queued.bytes,
      retained: retained.size,
      retainedBytes: retained.bytes,
      subscriptions: tree.size - this.#empty.subscriptions,
      nodes: tree.nodes - this.#empty.nodes,
      lentBytes: this.#pages.lentBytes - this.#empty.lent,
      full: sessions.backpressure.full,
    }
    for (const [what, count] of Object.entries(left))
      if (count !== 0) throw new Finding('leak', `${count} ${what} are left when everybody is gone`)
  }
}

/** Packets in a chunk, by their headers; what is left of one counts as one. */
function framesIn(bytes: Uint8Array): number {
  let frames = 0
  for (let at = 0; at < bytes.length; frames++) {
    let length = 0
    let next = at + 1
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = bytes[next++] ?? 0
      length |= (byte & 127) << shift
      if (byte < 128) break
    }
    at = next + length
  }
  return frames
}
