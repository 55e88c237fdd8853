import type { Clock, Log } from '../../src/host.ts'
import { Message } from '../../src/mqtt/message.ts'
import { isNewer, type Stamp } from '../../src/mqtt/stamp.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { RetainedStore } from '../../src/retain/retained.ts'
import { clearing } from '../../src/retain/tombstones.ts'
import { openDiskStore } from '../../src/store/disk-store.ts'
import type { Lsn, StateSource, Store } from '../../src/store/port.ts'
import { RecordReader, RecordWriter } from '../../src/store/writer.ts'
import type { NodeId, Peers } from '../../src/cluster/peers.ts'
import { RetainedReplication } from '../../src/cluster/retained.ts'
import type { FrameType } from '../../src/cluster/wire.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { Time } from '../sim/time.ts'

/** A retained message was set (or, without a text, cleared) by somebody. */
export interface Change {
  readonly stamp: Stamp
  readonly topic: string
  readonly text: string
  readonly expires: boolean
}

export interface FleetOptions {
  readonly nodes: number
  readonly tombstoneSeconds: number
  /** Clocks differ by so much at most. */
  readonly skewMs?: number
  readonly limits?: { readonly messages: number; readonly bytes: number }
  /** Latency of links, at most. */
  readonly latencyMs?: number
}

const unlimited = { messages: Infinity, bytes: Infinity }
export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** Both ends of a link. What is under way when it breaks is lost. */
class Wire {
  up = true
  readonly #last = new Map<NodeId, number>()

  constructor(
    readonly fleet: Fleet,
    readonly ends: readonly [Replica, Replica],
  ) {}

  send(from: Replica, run: (to: Replica) => void): void {
    const { time, dice } = this.fleet
    const to = this.ends[0] === from ? this.ends[1] : this.ends[0]
    // In order.
    const atMs = Math.max(
      time.now() + dice.between(0.1, this.fleet.options.latencyMs ?? 5),
      (this.#last.get(from.name) ?? 0) + 0.001,
    )
    this.#last.set(from.name, atMs)
    time.at(atMs, () => {
      if (this.up) run(to)
    })
  }
}

/** One node: what of a broker retained messages need, on a disk of its own. */
export class Replica implements Peers {
  readonly self: NodeId
  readonly wires = new Map<NodeId, Wire>()
  /** Changes made here by this process, and where they stand. */
  readonly made: { readonly change: Change; readonly lsn: Lsn }[] = []
  retained!: RetainedStore<Message>
  replication!: RetainedReplication
  store!: Store
  running = false
  #disk: SimDisk
  #index: MemoryIndex
  #topics = new TopicTable()
  #frame: { to: NodeId; type: FrameType; writer: RecordWriter } | undefined = undefined
  readonly #dice: Dice
  readonly #fleet: Fleet
  /** Processes so far: nothing of an earlier one goes on. */
  #process = 0

  /** What the store asks. */
  readonly #source: StateSource = {
    session: () => undefined,
    retained: (topic) => {
      const tombstone = this.retained.tombstone(topic)
      return tombstone ? clearing(this.#topics.named(topic), tombstone.stamp) : this.retained.get(topic)
    },
    moved: () => {},
  }

  constructor(
    fleet: Fleet,
    readonly name: string,
    number: number,
    public skewMs: number,
  ) {
    this.self = name
    this.#fleet = fleet
    this.#dice = fleet.dice.fork(100 + number)
    this.#disk = new SimDisk(this.#dice.fork(1), this.#later)
    this.#index = new MemoryIndex(this.#later)
    this.start()
  }

  readonly #later = (run: () => void): void => {
    this.#fleet.time.after(this.#dice.chance(0.5) ? 0 : this.#dice.between(0, 3), run)
  }

  /** @param before whatever the node did when there was no cluster */
  start(before?: (retained: RetainedStore<Message>) => void): void {
    const { time, options } = this.#fleet
    const life = ++this.#process
    const alive = (run: () => void) => () => {
      if (life === this.#process) run()
    }
    const clock: Clock = {
      now: () => time.now(),
      wall: () => time.wall() + this.skewMs,
      every: (periodMs, tick) => time.every(periodMs, alive(tick)),
      endOfTurn: (run) => time.endOfTurn(alive(run)),
    }
    this.#topics = new TopicTable()
    const { store, recovered } = openDiskStore({
      ...{
        disk: this.#disk,
        index: this.#index,
        clock,
        topics: this.#topics,
        log: silent,
        storeId: 7,
        reserveBytes: 0,
      },
      ...{ segmentBytes: 64 * 1024, checkpointBytes: 16 * 1024, cacheBytes: 16_384 },
    })
    this.store = store
    this.retained = new RetainedStore<Message>(options.limits ?? unlimited)
    store.serve(this.#source)
    for (const message of recovered.retained) this.retained.set(message)
    clock.every(100, () => this.retained.expire(time.now()))
    this.replication = new RetainedReplication({
      ...{ self: this.name, clock, random: this.#dice, log: silent, peers: this, retained: this.retained, store },
      topics: this.#topics,
      durability: () => 'fsync',
      members: () => this.#fleet.membersBeside(this),
      tombstoneSeconds: options.tombstoneSeconds,
    })
    before?.(this.retained)
    this.replication.start()
    this.running = true
  }

  /** @param how what of the unsynced is left: all that was written, or what the dice say */
  stop(how: 'kill' | 'crash'): void {
    this.#process++
    this.running = false
    this.#disk = how === 'kill' ? this.#disk.kill() : this.#disk.crash()
    this.#index = this.#index.crash(this.#dice, this.#later)
  }

  /** What a client here does; '' clears. `served`: who gets it as a message. Gives the change. */
  publish(topic: string, text: string, expirySeconds: number, served: (node: NodeId) => boolean): Change | undefined {
    const payload = Buffer.from(text)
    const expiresAtMs = this.#fleet.time.now() + expirySeconds * 1000
    const message = (): Message =>
      new Message(this.#topics.named(topic), 1, true, payload, 0, payload.length, undefined, expiresAtMs, undefined, 5)
    const own = message()
    const lsn = this.#keep(own)
    if (lsn === undefined) return undefined
    const stamp = own.stamp!
    const change = { stamp, topic, text, expires: expirySeconds !== Infinity }
    this.made.push({ change, lsn })
    for (const [node, wire] of this.wires) {
      if (!served(node)) continue
      const theirs = message()
      theirs.stamp = { ...stamp }
      theirs.origin = this.name
      wire.send(this, (to) => to.#keep(theirs))
    }
    this.replication.spread(own, served)
    return change
  }

  /** As `Publishing` does it. */
  #keep(message: Message): Lsn | undefined {
    if (!this.replication.retains(message)) return undefined
    const kept =
      message.payloadLength === 0
        ? this.retained.clear(message.topic, message.stamp)
        : this.retained.set(message.keep())
    return kept ? this.store.message(message, true, 0, 0, 'fsync') : undefined
  }

  /** What a new subscriber to everything gets, by topic. */
  content(): Map<string, string> {
    const all = new Map<string, string>()
    for (const message of this.retained.all()) all.set(message.topic.name, Buffer.from(message.payload()).toString())
    return all
  }

  // Peers.

  linked(): Iterable<NodeId> {
    return this.wires.keys()
  }

  version(to: NodeId): number {
    return this.wires.has(to) ? 2 : 0
  }

  congested(): boolean {
    return false
  }

  begin(to: NodeId, type: FrameType): RecordWriter | undefined {
    if (this.#frame) throw new Error('a frame begins in another')
    if (!this.wires.has(to) || !this.running) return undefined
    this.#frame = { to, type, writer: new RecordWriter() }
    return this.#frame.writer
  }

  end(): void {
    const { to, type, writer } = this.#frame!
    this.#frame = undefined
    const bytes = Uint8Array.from(writer.view())
    this.#fleet.bytes += bytes.length
    this.wires
      .get(to)!
      .send(this, (peer) => peer.replication.frame(this.name, type, new RecordReader().over(bytes, 0, bytes.length)))
  }
}

/** Replicas, links between them that come and go, and what should be retained. */
export class Fleet {
  readonly dice: Dice
  readonly time: Time
  readonly replicas: Replica[] = []
  /** All that was ever done; what was on disk before its process died, or whose process has not died. */
  readonly changes: Change[] = []
  readonly lost = new Set<Change>()
  readonly evicted = new Set<NodeId>()
  /** Bytes that were sent; the most in one event. */
  bytes = 0
  mostBytes = 0

  constructor(
    seed: number,
    readonly options: FleetOptions,
  ) {
    this.dice = new Dice(seed)
    this.time = new Time(this.dice.fork(1))
    for (let i = 0; i < options.nodes; i++) this.add()
  }

  add(): Replica {
    const { skewMs = 0 } = this.options
    const number = this.replicas.length
    const skew = skewMs === 0 ? 0 : Math.floor(this.dice.between(-skewMs / 2, skewMs / 2))
    const replica = new Replica(this, `n${number}`, number, skew)
    this.replicas.push(replica)
    return replica
  }

  *membersBeside(one: Replica): Generator<NodeId> {
    for (const { name } of this.replicas) if (name !== one.name && !this.evicted.has(name)) yield name
  }

  link(a: Replica, b: Replica): void {
    if (a === b || a.wires.has(b.name) || !a.running || !b.running) return
    const wire = new Wire(this, [a, b])
    a.wires.set(b.name, wire)
    b.wires.set(a.name, wire)
    a.replication.linked(b.name)
    b.replication.linked(a.name)
  }

  cut(a: Replica, b: Replica): void {
    const wire = a.wires.get(b.name)
    if (wire === undefined) return
    wire.up = false
    a.wires.delete(b.name)
    b.wires.delete(a.name)
    if (a.running) a.replication.unlinked(b.name)
    if (b.running) b.replication.unlinked(a.name)
  }

  stop(replica: Replica, how: 'kill' | 'crash'): void {
    const { durable, written } = replica.store
    const safe = how === 'kill' ? written : durable
    for (const { change, lsn } of replica.made.splice(0)) if (lsn >= safe) this.lost.add(change)
    replica.stop(how)
    for (const other of this.replicas) this.cut(replica, other)
  }

  publish(
    replica: Replica,
    topic: string,
    text: string,
    expirySeconds = Infinity,
    served: number = this.dice.pick([0, 0.5, 1]),
  ): void {
    const gets = new Map(this.replicas.map(({ name }) => [name, this.dice.chance(served)]))
    const change = replica.publish(topic, text, expirySeconds, (node) => gets.get(node)!)
    if (change) this.changes.push(change)
  }

  run(ms: number): void {
    const endMs = this.time.now() + ms
    while (this.time.nextMs <= endMs) {
      const before = this.bytes
      this.time.step()
      this.mostBytes = Math.max(this.mostBytes, this.bytes - before)
    }
    this.time.stall(endMs - this.time.now())
  }

  /** Everything works again, and nobody does anything. */
  heal(): void {
    for (const replica of this.replicas) if (!replica.running) replica.start()
    for (const a of this.replicas) for (const b of this.replicas) this.link(a, b)
  }

  /** What is wrong with what is retained, if everything should be equal by now. */
  faults(): string[] {
    const faults: string[] = []
    const [first, ...others] = this.replicas
    const content = first!.content()
    for (const other of others) {
      const theirs = other.content()
      for (const topic of new Set([...content.keys(), ...theirs.keys()]))
        if (content.get(topic) !== theirs.get(topic))
          faults.push(`${topic}: "${content.get(topic)}" on ${first!.name}, "${theirs.get(topic)}" on ${other.name}`)
    }
    for (const topic of new Set(this.changes.map(({ topic }) => topic))) {
      const now = content.get(topic)
      const possible = this.possible(topic)
      if (!possible.includes(now))
        faults.push(`${topic}: "${now}", and not ${possible.map((text) => `"${text}"`).join(' or ')}`)
    }
    return faults
  }

  /** The newest change counts; and those that are newer still, if a crash has not taken them. */
  possible(topic: string): (string | undefined)[] {
    const all = this.changes.filter((change) => change.topic === topic)
    const newest = all
      .filter((change) => !this.lost.has(change))
      .reduce<Stamp | undefined>((most, { stamp }) => (isNewer(stamp, most) ? stamp : most), undefined)
    const possible = all.filter(({ stamp }) => newest === undefined || stamp === newest || isNewer(stamp, newest))
    return [
      ...possible.map(({ text, expires }) => (text === '' || expires ? undefined : text)),
      ...(newest === undefined ? [undefined] : []),
    ]
  }
}
