import type { Chain, LogIn } from '../../src/access/chain.ts'
import type { Credentials } from '../../src/access/identity.ts'
import { expect } from 'vitest'
import { Broker } from '../../src/broker/broker.ts'
import type { Cluster } from '../../src/broker/cluster-port.ts'
import { defaultLimits, type Limits } from '../../src/broker/limits.ts'
import { alone } from '../../src/cluster/alone.ts'
import {
  ClusterNode,
  type ClusterOptions,
  type ClusterSettings,
  defaultClusterSettings,
} from '../../src/cluster/cluster.ts'
import type { NodeId } from '../../src/cluster/peers.ts'
import type { Bytes, Log, Stream, StreamEvents } from '../../src/host.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { openDiskStore } from '../../src/store/disk-store.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import type { Recovered, Store } from '../../src/store/port.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { Lane } from '../sim/lane.ts'
import { Process } from '../sim/process.ts'
import { Time } from '../sim/time.ts'
import { type SessionWish, TestClient } from './client.ts'

// Whole clusters on one thread: everything is real but clock, network and disks.

export interface CityOptions {
  readonly stores?: 'disk' | 'memory'
  readonly settings?: Partial<ClusterSettings>
  readonly limits?: Partial<Limits>
  readonly wire?: ClusterOptions['wire']
  /** Clients must log in, and all that do are let in. */
  readonly logIns?: boolean
}

/** Answers at once: nothing else here waits for a promise. */
const everybody = {
  authenticate: ({ username: user }: Credentials) => ({
    then: (answer: (logIn: LogIn) => void) =>
      answer(user === undefined ? { denied: 'nobody', by: undefined } : { identity: { user, source: 'users' } }),
  }),
} as unknown as Chain

const latencyMs = 1

/** One end of a connection between two nodes. What is written while the nodes are apart arrives when they are not. */
class End implements Stream {
  other!: End
  events: StreamEvents | undefined
  over = false
  readonly #lane: Lane
  #waiting: (() => void)[] = []

  constructor(
    readonly remote: string,
    readonly owner: Machine,
    readonly process: Process,
    readonly city: City,
  ) {
    this.#lane = new Lane(city.time)
  }

  write(bytes: Bytes, written: () => void): void {
    const copy = Buffer.from(bytes)
    this.city.time.after(0, () => this.process.enter(written))
    this.#pass(() => {
      if (!this.other.over) this.other.events?.data(copy)
    })
  }

  pause(): void {}

  end(): void {
    this.#close()
  }

  destroy(): void {
    this.#close()
  }

  /** The process at this end is gone, or its network. */
  break(): void {
    this.over = true
    this.#pass(() => this.other.closed(new Error('broken')))
  }

  /** What is under way is lost, and both ends are told. */
  snap(): void {
    for (const end of [this, this.other] as End[]) {
      end.#lane.cut = true
      end.#waiting = []
      end.city.time.after(latencyMs, () => end.process.enter(() => end.closed(new Error('broken'))))
    }
  }

  closed(fault?: Error): void {
    if (this.over) return
    this.over = true
    this.events?.closed(fault)
  }

  flow(): void {
    for (const run of this.#waiting.splice(0)) this.#pass(run)
  }

  #close(): void {
    if (this.over) return
    this.#pass(() => this.other.closed())
    this.city.time.after(0, () => this.process.enter(() => this.closed()))
  }

  #pass(run: () => void): void {
    if (this.city.apart(this.owner.name, this.other.owner.name)) return void this.#waiting.push(run)
    this.#lane.pass(latencyMs, () => this.other.process.enter(run))
  }
}

/** Some machines, and the network between them. */
export class City {
  readonly dice: Dice
  readonly time: Time
  readonly machines = new Map<NodeId, Machine>()
  readonly ends: End[] = []
  readonly #apart = new Set<string>()

  constructor(
    names: readonly NodeId[],
    readonly options: CityOptions = {},
    seed = 7,
  ) {
    this.dice = new Dice(seed)
    this.time = new Time(this.dice.fork(1))
    for (const name of names) this.add(name)
    this.until(() => names.every((name) => [...this.node(name).live()].length === names.length - 1), 10_000)
    this.run(100)
  }

  /** One more node, which knows one that is there. */
  add(name: NodeId): Machine {
    const [seed] = [...this.machines.keys()]
    const machine = new Machine(name, this, seed === undefined ? [] : [seed])
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

  apart(a: NodeId, b: NodeId): boolean {
    return this.#apart.has([a, b].sort().join(' '))
  }

  /** Nothing passes between the two sides. */
  part(left: readonly NodeId[], right: readonly NodeId[]): void {
    for (const a of left) for (const b of right) this.#apart.add([a, b].sort().join(' '))
  }

  heal(): void {
    this.#apart.clear()
    for (const end of this.ends) end.flow()
  }

  /** The connections between two nodes break; what is under way is lost. */
  breakLinks(a: NodeId, b: NodeId): void {
    for (const end of this.ends) if (end.owner.name === a && end.other.owner.name === b && !end.over) end.snap()
  }

  fall(name: NodeId, how: 'kill' | 'power' = 'kill'): void {
    this.machine(name).fall(how)
    for (const end of this.ends) if (end.owner.name === name && !end.over) end.break()
  }

  rise(name: NodeId): void {
    this.machine(name).start()
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
  readonly log: { readonly level: string; readonly message: string; readonly fields: object }[] = []
  readonly address: string
  #disk: SimDisk
  #index: MemoryIndex

  constructor(
    readonly name: NodeId,
    readonly city: City,
    readonly join: readonly NodeId[],
  ) {
    this.address = `${name}:7001`
    this.process = new Process(city.time, 0)
    this.#disk = new SimDisk(city.dice.fork(name.charCodeAt(0)), this.#later())
    this.#index = new MemoryIndex(this.#later())
  }

  start(): void {
    const { options, dice } = this.city
    const topics = new TopicTable()
    const { store, ...opened } = options.stores === 'memory' ? memory() : this.#open(topics)
    const recovered = { ...opened.recovered, sessions: [...opened.recovered.sessions] }
    this.store = store
    const host = { clock: this.process, random: dice.fork(3), log: this.#log() }
    this.cluster = new ClusterNode({
      node: this.name,
      clusterId: 'city',
      address: this.address,
      join: this.join.map((name) => `${name}:7001`),
      ...{ host, store, recovered, topics },
      net: { dial: (address, opened, failed) => this.#dial(address, opened, failed) },
      settings: { ...defaultClusterSettings, ...options.settings },
      clientAddress: `${this.name}.example:1883`,
      ...(options.wire && { wire: options.wire }),
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
      host: { clock: this.process, random: dice.fork(3), log: this.#log() },
      limits: { ...defaultLimits, sysSeconds: 0, ...options.limits },
      ...(options.logIns && {
        access: { logIns: { chain: everybody, scram: undefined, separate: false }, audit: undefined },
      }),
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
    this.process = new Process(time, time.now() - 5)
    const later = this.#later()
    this.#disk = how === 'power' ? this.#disk.crash(dice, later) : this.#disk.kill(dice, later)
    this.#index = this.#index.crash(dice, later)
  }

  /** Its folder is empty, as a new machine's is. */
  replaceDisk(): void {
    this.#disk = new SimDisk(this.city.dice.fork(this.name.charCodeAt(0)), this.#later())
    this.#index = new MemoryIndex(this.#later())
  }

  #dial(
    address: string,
    opened: (stream: Stream, node: string) => StreamEvents,
    failed: (fault: Error & { code?: string }) => void,
  ): void {
    const { city, process } = this
    const to = [...city.machines.values()].find((machine) => machine.address === address)
    city.time.after(latencyMs * 2, () => {
      if (to === undefined || city.apart(this.name, to.name)) {
        const fault = Object.assign(new Error('nobody answers'), { code: 'ETIMEDOUT' })
        return void city.time.after(1000, () => process.enter(() => failed(fault)))
      }
      if (!to.isUp) {
        const fault = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
        return process.enter(() => failed(fault))
      }
      const [near, far] = [new End(to.name, this, process, city), new End(this.name, to, to.process, city)]
      near.other = far
      far.other = near
      city.ends.push(near, far)
      far.process.enter(() => (far.events = to.cluster.accept(far, this.name)))
      near.process.enter(() => (near.events = opened(near, to.name)))
    })
  }

  #log(): Log {
    const at = (level: string) => (fields: object, message: string) => void this.log.push({ level, message, fields })
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }

  #later(): (run: () => void) => void {
    const { time } = this.city
    const { process } = this
    return (run) => void time.after(1, () => process.enter(run))
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
    })
  }
}

function memory(): { store: Store; recovered: Recovered } {
  return { store: new MemoryStore(), recovered: { sessions: [], retained: [] } }
}
