import { expect } from 'vitest'
import { Broker } from '../../src/broker/broker.ts'
import { type Cluster, Wait } from '../../src/broker/cluster-port.ts'
import { defaultLimits, type Limits } from '../../src/broker/limits.ts'
import type { Log } from '../../src/host.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { Forwarding } from '../../src/cluster/forwarding.ts'
import { OwnInterest, RemoteInterest } from '../../src/cluster/interest.ts'
import type { Outgoing } from '../../src/cluster/outgoing.ts'
import type { NodeId, Peers } from '../../src/cluster/peers.ts'
import type { FrameType } from '../../src/cluster/wire.ts'
import { openDiskStore } from '../../src/store/disk-store.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import type { Recovered, Store } from '../../src/store/port.ts'
import { RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { Lane } from '../sim/lane.ts'
import { Process } from '../sim/process.ts'
import { Time } from '../sim/time.ts'
import { type SessionWish, TestClient } from './client.ts'

// Whole brokers that forward to each other, on one thread. Interest reaches the others by itself after a moment, and who
// lives is what a test says: gossip and members have tests of their own.

export interface Habits {
  readonly stores?: 'disk' | 'memory'
  readonly wire?: 1 | 2
  readonly handoffMessages?: number
  readonly limits?: Partial<Limits>
  readonly syncMs?: number
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }
const linkMs = 1

/** Some nodes, and the network between them. */
export class Town {
  readonly dice = new Dice(7)
  readonly time = new Time(this.dice.fork(1))
  readonly nodes = new Map<NodeId, Node>()
  readonly habits: Required<Habits>

  constructor(names: readonly NodeId[], habits: Habits = {}) {
    this.habits = { stores: 'disk', wire: 2, handoffMessages: 1000, limits: {}, syncMs: 1, ...habits }
    for (const name of names) this.nodes.set(name, new Node(name, this))
    for (const name of names) this.nodes.get(name)!.start()
    for (const a of names) for (const b of names) if (a < b) this.link(a, b)
    this.run(50)
  }

  node(name: NodeId): Node {
    return this.nodes.get(name)!
  }

  client(node: NodeId, id: string, wish?: SessionWish): TestClient {
    const { broker, process } = this.node(node)
    const lane = new Lane(this.time)
    const later = (run: () => void) => lane.pass(0, () => process.enter(run))
    const client = new TestClient(id, broker, { later }, wish)
    this.until(() => client.state === 'connected')
    return client
  }

  /** A session that outlives its connection, subscribed. */
  keeper(node: NodeId, id: string, filter: string, qos: 0 | 1 | 2 = 2): TestClient {
    const client = this.client(node, id, { clean: false, expirySeconds: 1000 })
    this.subscribe(client, filter, qos)
    return client
  }

  subscribe(client: TestClient, filter: string, qos: 0 | 1 | 2 = 2): void {
    const id = client.subscribe(filter, qos)
    this.until(() => client.subacks.includes(id))
    this.run(10)
  }

  /** Publishes one after the other, each when the one before was acknowledged. */
  publish(client: TestClient, topic: string, texts: readonly string[], qos: 1 | 2 = 1): void {
    for (const text of texts) {
      const id = client.publish(topic, text, qos)
      this.until(() => client.hasAck(id))
    }
  }

  link(a: NodeId, b: NodeId): void {
    const link = new Link(this.time, this.node(a), this.node(b))
    for (const [node, other] of [
      [link.a, link.b],
      [link.b, link.a],
    ] as const) {
      node.links.set(other.name, link)
      node.process.enter(() => node.greet(other.name))
    }
  }

  /** The link breaks: what is under way is lost, and both ends see it a moment later. */
  cut(a: NodeId, b: NodeId): void {
    const link = this.node(a).links.get(b)
    if (!link) return
    link.up = false
    for (const [node, other] of [
      [link.a, link.b],
      [link.b, link.a],
    ] as const) {
      node.links.delete(other.name)
      node.process.enter(() => node.forwarding.unlinked(other.name))
    }
  }

  /** A node dies; the others know at once. */
  fall(name: NodeId, how: 'kill' | 'power' = 'kill'): void {
    const node = this.node(name)
    for (const other of [...node.links.keys()]) {
      this.cut(name, other)
      this.node(other).forwarding.living(name, false)
    }
    node.fall(how)
  }

  rise(name: NodeId): void {
    this.node(name).start()
    for (const other of this.nodes.values()) if (other.name !== name && other.isUp) this.link(name, other.name)
    this.run(50)
  }

  run(ms: number): void {
    const untilMs = this.time.now() + ms
    while (this.time.nextMs <= untilMs) this.time.step()
    this.time.stall(Math.max(0, untilMs - this.time.now()))
  }

  until(done: () => boolean, mostMs = 20_000): void {
    const untilMs = this.time.now() + mostMs
    while (!done() && this.time.nextMs <= untilMs) this.time.step()
    expect(done(), `it should have happened: ${done.toString()}`).toBe(true)
  }

  /** No message and no copy of one is missing in any book, and nothing waits for ever. */
  audit(): void {
    this.run(5000)
    for (const { broker, forwarding, isUp, name } of this.nodes.values()) {
      if (!isUp) continue
      const { published, unmatched, matched, refused, copies, delivered, lostTotal } = broker.ledger
      const sent = forwarding.ledger
      let waiting = 0
      for (const outgoing of forwarding.nodes()) waiting += outgoing.pending
      expect({ name, published, copies, sent: sent.copies }).toEqual({
        name,
        published: unmatched + matched + refused,
        copies: delivered + broker.pending + lostTotal,
        sent: sent.delivered + waiting + sent.lostTotal,
      })
    }
  }
}

class Link {
  up = true
  congested = false
  #lastMs = 0

  constructor(
    readonly time: Time,
    readonly a: Node,
    readonly b: Node,
  ) {}

  send(from: Node, type: number, bytes: Buffer): void {
    const to = from === this.a ? this.b : this.a
    this.#lastMs = Math.max(this.#lastMs + 1e-6, this.time.now() + linkMs)
    this.time.at(this.#lastMs, () => {
      to.process.enter(() => {
        if (this.up) to.forwarding.frame(from.name, type, new RecordReader().over(bytes, 0, bytes.length))
      })
    })
  }
}

export class Node implements Peers {
  readonly self: NodeId
  process!: Process
  broker!: Broker
  forwarding!: Forwarding
  interest!: RemoteInterest<Outgoing>
  isUp = false
  readonly links = new Map<NodeId, Link>()
  /** Our table, and those that we have of the others. */
  readonly table = new Map<string, number>()
  readonly #writer = new RecordWriter()
  #to: Link | undefined
  #type = 0
  #disk: SimDisk
  #index: MemoryIndex
  #starts = 0

  constructor(
    readonly name: NodeId,
    readonly town: Town,
  ) {
    this.self = name
    const { time, dice } = town
    this.process = new Process(time, 0)
    this.#disk = new SimDisk(dice.fork(name.charCodeAt(0)), this.#later())
    this.#index = new MemoryIndex(this.#later())
  }

  start(): void {
    const { habits } = this.town
    this.isUp = true
    const topics = new TopicTable()
    const { store, recovered } = habits.stores === 'disk' ? this.#open(topics) : memory()
    const clock = this.process
    this.interest = new RemoteInterest<Outgoing>([1, 2])
    this.table.clear()
    const own = new OwnInterest({ set: (key, value) => this.#tell(key, value) })
    this.forwarding = new Forwarding({
      peers: this,
      clock,
      store,
      topics,
      interest: this.interest,
      hearsAll: () => true,
      notedAt: () => 0,
      incarnation: Date.UTC(2025, 0) + ++this.#starts,
      settings: { handoffMessages: habits.handoffMessages, handoffBytes: 1e9, handoffAfterMs: 2000 },
    })
    const { forwarding } = this
    const cluster: Cluster = {
      alone: false,
      ready: true,
      serve: (broker) => void (forwarding.broker = broker),
      restore: (sessions) => forwarding.restore(sessions),
      state: (number) => forwarding.archive.get(number),
      moved: (number, seq, lsn) => forwarding.archive.get(number)?.moved(seq, lsn),
      enter: (_newcomer, then) => then({ epoch: 0 }),
      began: () => undefined,
      ended: () => undefined,
      interest: (session, filter, present) => own.changed(filter, session.persistent, present),
      persistence: (session) => own.persistence(session),
      barrier: () => this.#barrier(),
      retains: () => true,
      number: (message) => forwarding.number(message),
      refusal: (message, durability, local) => forwarding.refusal(message, durability, local),
      forward: (message, durability, local, isAwaited) => forwarding.forward(message, durability, local, isAwaited),
      move: (message, durability, group) => forwarding.move(message, durability, group),
    }
    this.broker = new Broker({
      host: { clock, random: this.town.dice.fork(3), log: silent },
      limits: { ...defaultLimits, sysSeconds: 0, ...habits.limits },
      store,
      topics,
      cluster,
      hooks: {},
      observer: {},
      version: 'test',
      heapBytes: () => 0,
    })
    this.broker.restore(recovered)
  }

  fall(how: 'kill' | 'power'): void {
    const { time, dice } = this.town
    this.isUp = false
    this.process.kill()
    this.process = new Process(time, time.now() - 5)
    const later = this.#later()
    this.#disk = how === 'power' ? this.#disk.crash(dice, later) : this.#disk.kill(dice, later)
    this.#index = this.#index.crash(dice, later)
  }

  greet(other: NodeId): void {
    const { table } = this.town.node(other)
    this.forwarding.linked(other)
    for (const [key, value] of table) this.learn(other, key, value)
  }

  /** Another node's table says something new. */
  learn(node: NodeId, key: string, value: number): void {
    this.interest.changed(this.forwarding.to(node), key, value)
  }

  // Peers

  linked(): Iterable<NodeId> {
    return this.links.keys()
  }

  version(): number {
    return this.town.habits.wire
  }

  begin(to: NodeId, type: FrameType): RecordWriter | undefined {
    expect(this.#to, 'one frame at a time').toBe(undefined)
    const link = this.links.get(to)
    if (!link) return undefined
    this.#to = link
    this.#type = type
    this.#writer.clear()
    return this.#writer
  }

  end(): void {
    const link = this.#to!
    this.#to = undefined
    link.send(this, this.#type, Buffer.from(this.#writer.view()))
  }

  congested(to: NodeId): boolean {
    return this.links.get(to)?.congested ?? false
  }

  #tell(key: string, value: number): void {
    if (value === 0) this.table.delete(key)
    else this.table.set(key, value)
    for (const [other, link] of this.links)
      this.town.time.after(linkMs, () => {
        const node = this.town.node(other)
        node.process.enter(() => {
          if (link.up) node.learn(this.name, key, this.table.get(key) ?? 0)
        })
      })
  }

  #barrier(): Wait {
    const wait = new Wait()
    wait.hold()
    this.town.time.after(linkMs * 2, () => this.process.enter(() => wait.release()))
    return wait
  }

  #later(): (run: () => void) => void {
    const { time, habits } = this.town
    const { process } = this
    return (run) => void time.after(habits?.syncMs ?? 1, () => process.enter(run))
  }

  #open(topics: TopicTable): { store: Store; recovered: Recovered } {
    return openDiskStore({
      disk: this.#disk,
      index: this.#index,
      clock: this.process,
      log: silent,
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
