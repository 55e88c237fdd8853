import { expect } from 'vitest'
import { Broker, type BrokerOptions } from '../../../src/broker/broker.ts'
import type { Cluster } from '../../../src/broker/cluster-port.ts'
import { defaultLimits, type Limits } from '../../../src/broker/limits.ts'
import { alone } from '../../../src/cluster/alone.ts'
import {
  ClusterNode,
  type ClusterOptions,
  type ClusterSettings,
  defaultClusterSettings,
} from '../../../src/cluster/cluster.ts'
import type { NodeId } from '../../../src/cluster/peers.ts'
import type { Log, Stream, StreamEvents } from '../../../src/host.ts'
import { TopicTable } from '../../../src/mqtt/topic.ts'
import { openDiskStore } from '../../../src/store/disk-store.ts'
import { MemoryStore } from '../../../src/store/memory.ts'
import type { Recovered, RecoveredSession, Store } from '../../../src/store/port.ts'
import { Dice } from '../dice.ts'
import { SimDisk } from '../disk.ts'
import { MemoryIndex } from '../index.ts'
import { Lane } from '../lane.ts'
import type { StoreHabits } from '../machine.ts'
import { Process } from '../process.ts'
import { Time } from '../time.ts'
import { End } from './city-end.ts'
import { type SessionWish, TestClient } from '../../cluster/client.ts'

// Whole clusters on one thread: everything is real but clock, network and disks.

type Keeping = NonNullable<BrokerOptions['keeping']>

export interface CityOptions {
  readonly stores?: 'disk' | 'memory'
  readonly settings?: Partial<ClusterSettings>
  readonly limits?: Partial<Limits>
  readonly keeping?: Keeping
  readonly wire?: ClusterOptions['wire']
  /** Of a node, where they are not all of one release. */
  readonly wireOf?: (node: NodeId) => ClusterOptions['wire']
  readonly weather?: Weather
  /** Of publish frames on their way to a node. */
  readonly creditBytes?: number
  readonly keeps?: StoreHabits
  /** How much the wall clocks differ, at most. */
  readonly skewMs?: number
  /** Each node is told where all others are, not just where the first one is. */
  readonly joinsAll?: boolean
  /** Told of all that a node sends to another. */
  readonly crosses?: (from: NodeId, to: NodeId, bytes: Uint8Array) => void
  /** Told of what the nodes log. */
  readonly logged?: (line: LogLine, machine: Machine) => void
}

interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: object
}

/** How long things take: from, to (ms). Now and then one takes 20 times as long. */
export interface Weather {
  readonly latencyMs: readonly [least: number, most: number]
  readonly syncMs: readonly [least: number, most: number]
  readonly hiccup: number
}

const calm: Weather = { latencyMs: [1, 1], syncMs: [1, 1], hiccup: 0 }
const handshakeMs = 5000

/** Some machines, and the network between them. */
export class City {
  readonly dice: Dice
  readonly time: Time
  readonly machines = new Map<NodeId, Machine>()
  /** Of connections that are open. */
  ends: End[] = []
  readonly crosses: (from: NodeId, to: NodeId, bytes: Uint8Array) => void
  readonly #cuts = new Set<string>()
  readonly #flaps = new Map<string, number>()
  readonly #weather: Weather
  readonly #weatherDice: Dice
  starts = 0
  /** Nothing passed between some of them for some time. */
  hasCut = false

  constructor(
    names: readonly NodeId[],
    readonly options: CityOptions = {},
    seed = 7,
  ) {
    this.dice = new Dice(seed)
    this.time = new Time(this.dice.fork(1))
    this.#weather = options.weather ?? calm
    this.#weatherDice = this.dice.fork(4)
    this.crosses = options.crosses ?? (() => {})
    for (const name of names) this.add(name, options.joinsAll ? names.filter((other) => other !== name) : undefined)
    this.until(() => names.every((name) => [...this.node(name).live()].length === names.length - 1), 10_000)
    this.run(100)
  }

  /** One more node, which knows one that is there. */
  add(name: NodeId, join: readonly NodeId[] = [...this.machines.keys()].slice(0, 1)): Machine {
    const machine = new Machine(name, this, join)
    this.machines.set(name, machine)
    machine.start()
    return machine
  }

  machine(name: NodeId): Machine {
    return this.machines.get(name)!
  }

  node(name: NodeId): ClusterNode {
    return this.machine(name).cluster
  }

  client(node: NodeId, id: string, wish?: SessionWish): TestClient {
    const client = this.dial(node, id, wish)
    this.until(() => client.state === 'connected')
    return client
  }

  /** The same, and does not wait for CONNACK. */
  dial(node: NodeId, id: string, wish?: SessionWish): TestClient {
    const { broker, process } = this.machine(node)
    const lane = new Lane(this.time)
    return new TestClient(id, broker, { later: (run) => lane.pass(0, () => process.enter(run)) }, wish)
  }

  keeper(node: NodeId, id: string, filter: string, qos: 0 | 1 | 2 = 2): TestClient {
    const client = this.client(node, id, { clean: false, expirySeconds: 10_000 })
    this.subscribe(client, filter, qos)
    return client
  }

  /** Returns in the event that brings SUBACK. */
  subscribe(client: TestClient, filter: string, qos: 0 | 1 | 2 = 2): void {
    const id = client.subscribe(filter, qos)
    this.until(() => client.subacks.includes(id))
  }

  /** Publishes one after the other, each when the one before was acknowledged. */
  publish(client: TestClient, topic: string, texts: readonly string[], qos: 1 | 2 = 1): void {
    for (const text of texts) {
      const id = client.publish(topic, text, qos)
      this.until(() => client.hasAck(id))
    }
  }

  latencyMs(): number {
    return this.#lasts(this.#weather.latencyMs)
  }

  syncMs(): number {
    return this.#lasts(this.#weather.syncMs)
  }

  #lasts([least, most]: readonly [number, number]): number {
    const dice = this.#weatherDice
    return dice.between(least, most) * (dice.chance(this.#weather.hiccup) ? 20 : 1)
  }

  /** Does what `from` sends come to `to`? */
  passes(from: NodeId, to: NodeId): boolean {
    return !this.#cuts.has(`${from} ${to}`)
  }

  apart(a: NodeId, b: NodeId): boolean {
    return !this.passes(a, b) || !this.passes(b, a)
  }

  /** Nothing that `from` sends comes to `to`. */
  cut(from: NodeId, to: NodeId): void {
    this.hasCut = true
    this.#cuts.add(`${from} ${to}`)
    this.flapped(from, to)
  }

  /** Nothing passes between the two sides. */
  part(left: readonly NodeId[], right: readonly NodeId[]): void {
    for (const a of left)
      for (const b of right) {
        this.cut(a, b)
        this.cut(b, a)
      }
  }

  heal(): void {
    this.#cuts.clear()
    for (const end of this.ends) end.flow()
  }

  /** The connections between two nodes break; what is under way is lost. */
  breakLinks(a: NodeId, b: NodeId): void {
    for (const end of this.ends) if (end.owner.name === a && end.other.owner.name === b && !end.over) end.snap()
  }

  /** How often a connection between the two has come to its end, or has stood still. */
  flaps(a: NodeId, b: NodeId): number {
    return this.#flaps.get([a, b].sort().join(' ')) ?? 0
  }

  flapped(a: NodeId, b: NodeId): void {
    this.#flaps.set([a, b].sort().join(' '), this.flaps(a, b) + 1)
    this.ends = this.ends.filter((end) => !end.over || !end.other.over)
  }

  /** @param quietly nobody is told that the machine is gone until it is back */
  fall(name: NodeId, how: 'kill' | 'power' = 'kill', quietly = false): void {
    this.machine(name).fall(how)
    for (const end of this.ends) if (end.owner.name === name && !end.over && !quietly) end.break()
  }

  rise(name: NodeId): void {
    const machine = this.machine(name)
    for (const end of this.ends)
      if (end.owner.name === name && !end.over && end.process !== machine.process) end.break()
    machine.start()
  }

  run(ms: number): void {
    const untilMs = this.time.now() + ms
    while (this.time.nextMs <= untilMs) this.time.step()
    this.time.stall(Math.max(0, untilMs - this.time.now()))
  }

  until(done: () => boolean, mostMs = 30_000): void {
    const untilMs = this.time.now() + mostMs
    while (!done() && this.time.nextMs <= untilMs) this.time.step()
    expect(done(), `it should have happened: ${done.toString()}`).toBe(true)
  }

  /** No message and no copy of one is missing in any book, and all tables are the same everywhere. */
  audit(): void {
    this.run(5000)
    for (const { broker, cluster, isUp, name } of this.machines.values()) {
      if (!isUp) continue
      const { published, unmatched, matched, refused, copies, delivered, lostTotal } = broker.ledger
      const sent = cluster.forwarding.ledger
      let waiting = 0
      for (const outgoing of cluster.forwarding.nodes()) waiting += outgoing.pending
      expect({ name, published, copies, sent: sent.copies }).toEqual({
        name,
        published: unmatched + matched + refused,
        copies: delivered + broker.pending + lostTotal,
        sent: sent.delivered + waiting + sent.lostTotal,
      })
      for (const other of cluster.live()) {
        const { gossip } = this.node(other)
        expect([other, cluster.gossip.owner(other)?.hash]).toEqual([other, gossip.own.hash])
      }
    }
  }
}

export class Machine {
  process: Process
  broker!: Broker
  cluster!: ClusterNode
  store!: Store
  isUp = false
  ready = false
  readonly log: LogLine[] = []
  readonly address: string
  /** What the store had when it started. */
  recovered: readonly RecoveredSession[] = []
  #disk: SimDisk
  #index: MemoryIndex
  readonly #skewMs: number

  constructor(
    readonly name: NodeId,
    readonly city: City,
    readonly join: readonly NodeId[],
  ) {
    this.address = `${name}:7001`
    this.#skewMs =
      city.options.skewMs === undefined ? 0 : city.dice.fork(name.charCodeAt(0)).between(0, city.options.skewMs)
    this.process = new Process(city.time, 0, this.#skewMs)
    this.#disk = new SimDisk(city.dice.fork(name.charCodeAt(0)), this.#later())
    this.#index = new MemoryIndex(this.#later())
  }

  start(): void {
    const { options, dice } = this.city
    const topics = new TopicTable()
    const { store, ...opened } = options.stores === 'memory' ? memory() : this.#open(topics)
    const recovered = { ...opened.recovered, sessions: [...opened.recovered.sessions] }
    this.store = store
    this.recovered = recovered.sessions
    const random = dice.fork(1000 + this.city.starts++)
    const host = { clock: this.process, random, log: this.#log() }
    const wire = options.wireOf?.(this.name) ?? options.wire
    this.cluster = new ClusterNode({
      node: this.name,
      clusterId: 'city',
      address: this.address,
      join: this.join.map((name) => `${name}:7001`),
      ...{ host, store, recovered, topics },
      net: { dial: (address, opened, failed) => this.#dial(address, opened, failed) },
      settings: { ...defaultClusterSettings, ...options.settings },
      clientAddress: `${this.name}.example:1883`,
      ...(wire && { wire }),
      ...(options.creditBytes !== undefined && { limits: { creditBytes: options.creditBytes } }),
    })
    this.broker = this.#broker(this.cluster, store, topics)
    this.broker.restore(recovered)
    this.isUp = true
    this.ready = false
    this.cluster.start()
    this.cluster.whenReady(() => (this.ready = true))
  }

  /** As a node that knows of no cluster. */
  startAlone(): void {
    const topics = new TopicTable()
    const { store, recovered } = this.#open(topics)
    this.broker = this.#broker(alone, store, topics)
    this.broker.restore(recovered)
  }

  #broker(cluster: Cluster, store: Store, topics: TopicTable): Broker {
    const { options, dice } = this.city
    return new Broker({
      ...{ store, topics, cluster },
      host: { clock: this.process, random: dice.fork(2000 + this.city.starts), log: this.#log() },
      limits: { ...defaultLimits, sysSeconds: 0, ...options.limits },
      ...(options.keeping && { keeping: options.keeping }),
      hooks: {},
      observer: {},
      version: 'test',
      heapBytes: () => 0,
    })
  }

  fall(how: 'kill' | 'power'): void {
    const { time, dice } = this.city
    this.isUp = false
    this.process.kill()
    // Its monotonic clock begins anew.
    this.process = new Process(time, time.now() - 5, this.#skewMs)
    const later = this.#later()
    this.#disk = how === 'power' ? this.#disk.crash(dice, later) : this.#disk.kill(dice, later)
    this.#index = this.#index.crash(dice, later)
  }

  #dial(
    address: string,
    opened: (stream: Stream, node: string) => StreamEvents,
    failed: (fault: Error & { code?: string }) => void,
  ): void {
    const { city, process } = this
    const to = [...city.machines.values()].find((machine) => machine.address === address)
    const fail = (code: string) =>
      process.enter(() => failed(Object.assign(new Error('nobody is there, or answers'), { code })))
    city.time.after(city.latencyMs() * 2, () => {
      if (to === undefined || city.apart(this.name, to.name)) return city.time.after(1000, () => fail('ETIMEDOUT'))
      if (!to.isUp) return fail('ECONNREFUSED')
      let isOver = false
      const giveUp = city.time.after(handshakeMs, () => {
        isOver = true
        fail('ETIMEDOUT')
      })
      // Both must do something for it: one whose process stands still does not.
      to.process.enter(() => {
        giveUp()
        if (isOver || this.process !== process) return
        const [near, far] = [new End(to.name, this, process, city), new End(this.name, to, to.process, city)]
        near.other = far
        far.other = near
        city.ends.push(near, far)
        far.events = to.cluster.accept(far, this.name)
        near.process.enter(() => (near.events = opened(near, to.name)))
      })
    })
  }

  #log(): Log {
    const at = (level: string) => (fields: object, message: string) => {
      const line = { level, message, fields }
      this.log.push(line)
      this.city.options.logged?.(line, this)
    }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }

  #later(): (run: () => void) => void {
    const { city, process } = this
    return (run) => void city.time.after(city.syncMs(), () => process.enter(run))
  }

  #open(topics: TopicTable): { store: Store; recovered: Recovered } {
    return openDiskStore({
      disk: this.#disk,
      index: this.#index,
      clock: this.process,
      log: this.#log(),
      storeId: this.name.charCodeAt(0),
      topics,
      reserveBytes: 0,
      segmentBytes: 256 * 1024,
      checkpointBytes: 64 * 1024,
      ...this.city.options.keeps,
    })
  }
}

function memory(): { store: Store; recovered: Recovered } {
  return { store: new MemoryStore(), recovered: { sessions: [], retained: [] } }
}
