import type { Clock, Log, Random } from '../host.ts'
import type { Message } from '../mqtt/message.ts'
import { MqttError } from '../mqtt/reason.ts'
import { isNewer, type Stamp } from '../mqtt/stamp.ts'
import type { Topic, TopicTable } from '../mqtt/topic.ts'
import type { RetainedStore } from '../retain/retained.ts'
import { clearing, type Tombstone } from '../retain/tombstones.ts'
import { MessageReader, writeBody } from '../store/message-record.ts'
import type { Durability, Lsn, Store } from '../store/port.ts'
import type { RecordReader } from '../store/writer.ts'
import { Agreements } from './agreements.ts'
import { bucketOf, Buckets } from './buckets.ts'
import type { NodeId, Part, Peers } from './peers.ts'
import {
  type Digest,
  Listed,
  ListFlags,
  listedTopics,
  readBucket,
  readDigest,
  readNames,
  writeDigest,
  writeListed,
} from './retained-frames.ts'
import { mostAheadMs, StampClock } from './stamp.ts'
import { FrameType, WireError } from './wire.ts'

export interface RetainedOptions {
  readonly self: NodeId
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly peers: Peers
  /** The broker's. */
  readonly retained: RetainedStore<Message>
  readonly store: Store
  readonly topics: TopicTable
  /** Class of a message that no client of ours has published. */
  readonly durability: (topic: Topic) => Durability
  /** All nodes that belong to the cluster beside us, there or not: who is missing will know of a tombstone only later. */
  readonly members: () => Iterable<NodeId>
  /** A tombstone is kept for so long at least. */
  readonly tombstoneSeconds: number
}

/** `retained` frames on their way to one node and not handled there, in bytes of messages; above it nothing is sent. */
const windowBytes = 1024 * 1024
/** Sent to one node in a turn: about a millisecond. */
const turnBytes = 128 * 1024
const turnMessages = 512
const tickMs = 1000
/** Ticks between two comparisons with somebody. */
const compareTicks = 3
/** Buckets that are compared at a time, and their topics. */
const openBuckets = 8
const openTopics = 4096
/** Nothing came of a comparison for so long. */
const stallMs = 30_000
/** After a message found no room here, others are not asked for. */
const fullMs = 60_000
/** Tombstones that are looked at in a tick. */
const sweptTombstones = 5000
/** A digest that waits for the disk for longer goes without saying that all of it is there. */
const settleMs = 1000
const mostJobs = 64
/** Topics, and more than half. */
const farLess = 10_000

/** Messages to send to a node, and what follows behind them. */
interface Job {
  readonly names: readonly string[]
  at: number
  readonly then: () => void
}

/** A node that a link is up to. */
class Remote {
  /** Of `retained` frames, in bytes of their messages: sent, and known to be handled there. */
  sent = 0
  applied = 0
  /** Handled here, and told. */
  taken = 0
  told = 0
  telling = false
  /** It was not sent something for want of room: a comparison will bring it. */
  missed = false
  readonly jobs: Job[] = []
  pumping = false
  /** Our changes when we asked what it has, and have no answer yet; -1: we have not. */
  askedAt = -1
  /** What it has in a bucket, as far as that has come. */
  list: Listed | undefined = undefined

  get hasRoom(): boolean {
    return this.sent - this.applied <= windowBytes
  }
}

/** A comparison that we lead: bucket after bucket, what differs. */
interface Comparison {
  readonly node: NodeId
  readonly buckets: readonly number[]
  at: number
  /** Buckets that were listed and not answered, and how many topics they had. */
  readonly open: Map<number, number>
  openTopics: number
  activeMs: number
}

/** Waits until what it tells of is on disk. */
interface Unsettled {
  readonly synced: Lsn
  readonly written: Lsn
  readonly sinceMs: number
  readonly run: (durable: boolean) => void
}

/**
 * Brings every retained message to every node. Of two changes of a topic the one with the newer stamp wins, everywhere.
 *
 *   published here ─ retains ─▶ stamp ─▶ with the publish frame (to nodes that want it) ─▶ retains ─▶ kept if newer
 *                                  └──▶ spread: `retained` (to the others)              ─▶ kept if newer, written down
 *
 *   every few seconds, and with a new link:     (who has far fewer topics leads, else either)
 *
 *       digest: root ──▶ the same? done
 *              ◀── hashes of 1,024 buckets
 *       bucket: (topic, stamp)… of one that differs ──▶
 *              ◀── retained … what is newer there, or unknown here
 *              ◀── wanted: what is newer here
 *       retained … ──▶
 *
 * So a frame that is lost is made up for, and a node that joins gets everything, at the pace at which it says that it has
 * handled it (`applied`).
 *
 * A topic that was cleared, or whose message has expired, keeps a tombstone, so that no node that was away brings an older
 * message back. Once it is old enough it is retired: it counts no more in comparisons, but still answers who lists that
 * older message. It is forgotten once every member was asked since, and had on disk just what we had. That is enough: who
 * passes the older message on before it learns better has a tombstone, too, from then on, and keeps it until it has asked
 * the one that it has passed it on to.
 *
 * What the cluster node does (`ClusterNode`): `start` once the broker is restored; hands the frames over (it is a `Part`);
 * asks `retains` for the port's `retains`; calls `spread` for what was published here and has a stamp.
 */
export class RetainedReplication implements Part {
  readonly family = 0x40
  /** Counted since the start. */
  readonly figures = {
    /** `retained` frames sent: as something changed, and from comparisons. */
    spread: 0,
    repaired: 0,
    /** Not sent, as the node was behind; the next comparison makes up for it. */
    skipped: 0,
    /** Changes of other nodes that were taken over; that came too late. */
    taken: 0,
    older: 0,
    /** Not taken: their clock is too far ahead of ours; the limits; a full disk. */
    ahead: 0,
    noRoom: 0,
    diskFull: 0,
    comparisons: 0,
    collected: 0,
  }
  readonly #options: RetainedOptions
  readonly #stamps: StampClock
  readonly #buckets = new Buckets()
  readonly #agreements = new Agreements()
  readonly #remotes = new Map<NodeId, Remote>()
  readonly #reader = new MessageReader()
  /** Nodes to compare with once the comparison under way is over. */
  readonly #waiting = new Set<NodeId>()
  #comparison: Comparison | undefined = undefined
  #unsettled: Unsettled[] = []
  /** The last change here that must be synced, or written, before others may count on it. */
  #synced: Lsn = 0
  #written: Lsn = 0
  #fullUntilMs = -Infinity
  #warnedMs = -Infinity
  #ticks = 0
  #swept = ''
  #stopClock: (() => void) | undefined = undefined

  constructor(options: RetainedOptions) {
    this.#options = options
    this.#stamps = new StampClock(options.self, options.clock)
  }

  /** Takes up what is retained. Once, after the broker was restored. */
  start(): void {
    const { self, retained, store, clock } = this.#options
    // From before there was a cluster: whatever has a stamp is newer.
    for (const message of retained.all())
      if (!isOwnAffair(message.topic)) message.stamp ??= { ms: 0, count: 0, node: self }
    retained.watch(this.#buckets)
    store.onProgress(() => this.#progress())
    this.#stopClock = clock.every(tickMs, () => this.#tick())
  }

  stop(): void {
    this.#stopClock?.()
  }

  /** See `Cluster.retains`. */
  retains(message: Message): boolean {
    const { topic, stamp } = message
    if (isOwnAffair(topic)) return message.origin === undefined
    if (message.origin === undefined) message.stamp = this.stampFor(message)
    else if (stamp === undefined || !this.#isNewer(topic.name, stamp)) return false
    // One string for the node, not one for each stamp.
    else if (stamp.node === message.origin) message.stamp = { ...stamp, node: message.origin }
    this.#note(topic, this.#options.store.next)
    return true
  }

  /** The stamp of a change that is made here, newer than all that is known of the topic. */
  stampFor({ topic }: Message): Stamp {
    return this.#stamps.next(this.#options.retained.stampOf(topic.name))
  }

  /**
   * Sends a change that was made here to the linked nodes that do not get it otherwise.
   * @param served does the node get the message itself, with its stamp?
   */
  spread(message: Message, served: (node: NodeId) => boolean): void {
    if (message.stamp === undefined) return
    for (const [node, remote] of this.#remotes) {
      if (served(node)) continue
      if (remote.hasRoom) {
        this.figures.spread++
        this.#send(node, remote, message)
      } else {
        remote.missed = true
        this.figures.skipped++
      }
    }
  }

  /** A node was evicted: what it knew is of no interest any more. */
  forget(node: NodeId): void {
    this.#agreements.forget(node)
  }

  /** For `godwit cluster status`, and tests: the same on nodes that retain the same. */
  get digest(): readonly [number, number] {
    return [this.#buckets.root[0]!, this.#buckets.root[1]!]
  }

  // ── the part of the cluster ──────────────────────────────────────────────────────────────────────────────────────

  linked(node: NodeId): void {
    this.#remotes.set(node, new Remote())
    this.#ask(node, false)
  }

  unlinked(node: NodeId): void {
    this.#remotes.delete(node)
    this.#waiting.delete(node)
    if (this.#comparison?.node === node) this.#finish()
  }

  frame(from: NodeId, type: number, reader: RecordReader): void {
    const remote = this.#remotes.get(from)
    if (remote === undefined) return
    switch (type) {
      case FrameType.retained:
        return this.#retained(from, remote, reader)
      case FrameType.retainedDigest:
        return this.#digest(from, remote, readDigest(reader))
      case FrameType.retainedBucket:
        return this.#listed(from, remote, reader)
      case FrameType.retainedWanted:
        return this.#wanted(from, remote, reader)
      case FrameType.retainedApplied:
        return this.#applied(from, remote, reader.varint())
    }
  }

  // ── changes of other nodes ───────────────────────────────────────────────────────────────────────────────────────

  #retained(from: NodeId, remote: Remote, reader: RecordReader): void {
    const message = this.#read(reader)
    remote.taken += message.bytes
    this.#take(message, message.stamp!)
    if (remote.telling) return
    remote.telling = true
    this.#options.clock.endOfTurn(() => this.#tell(from, remote))
  }

  #read(reader: RecordReader): Message {
    const { topics, clock } = this.#options
    try {
      const message = this.#reader.overBody(reader.buffer, reader.at, reader.end).retained(topics, -clock.now())
      if (!message.retain || message.stamp === undefined || isOwnAffair(message.topic))
        throw new WireError('a retained message that nobody may send')
      return message
    } catch (fault) {
      if (fault instanceof MqttError) throw new WireError(fault.message)
      throw fault
    }
  }

  #take(message: Message, stamp: Stamp): void {
    const { retained, store, clock, durability } = this.#options
    const { topic } = message
    if (!this.#isNewer(topic.name, stamp)) return
    const keeping = durability(topic)
    if (store.full && keeping !== 'memory') return void this.figures.diskFull++
    if (!retained.set(message)) {
      this.figures.noRoom++
      this.#warn(
        { topic: topic.name },
        'no room for a retained message of another node: raise the limits, which should be the same everywhere',
      )
      this.#fullUntilMs = clock.now() + fullMs
      return
    }
    this.figures.taken++
    if (keeping !== 'memory') this.#note(topic, store.message(message, true, 0, 0, keeping))
  }

  /** There was no room for a new topic a while ago. */
  get #isFull(): boolean {
    return this.#options.clock.now() < this.#fullUntilMs
  }

  #isNewer(name: string, stamp: Stamp): boolean {
    if (!this.#stamps.saw(stamp)) {
      this.figures.ahead++
      this.#warn(
        { node: stamp.node },
        `its clock is more than ${mostAheadMs / 1000} s ahead of ours: what it retains is not taken over`,
      )
      return false
    }
    if (this.#options.retained.admits(name, stamp)) return true
    this.figures.older++
    return false
  }

  #warn(fields: object, what: string): void {
    const { clock, log } = this.#options
    if (clock.now() < this.#warnedMs + fullMs) return
    this.#warnedMs = clock.now()
    log.warn(fields, what)
  }

  /** Says how much was handled, so that more may come; later while the disk is behind. */
  #tell(node: NodeId, remote: Remote): void {
    remote.telling = false
    if (this.#remotes.get(node) !== remote || remote.told === remote.taken || this.#options.store.behind) return
    const writer = this.#options.peers.begin(node, FrameType.retainedApplied)
    if (writer === undefined) return
    remote.told = remote.taken
    writer.varint(remote.taken)
    this.#options.peers.end()
  }

  // ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #send(node: NodeId, remote: Remote, message: Message): void {
    const { peers, clock } = this.#options
    const writer = peers.begin(node, FrameType.retained)
    if (writer === undefined) return
    writeBody(writer, message, -clock.now())
    peers.end()
    remote.sent += message.bytes
  }

  #applied(node: NodeId, remote: Remote, bytes: number): void {
    if (bytes < remote.applied || bytes > remote.sent) throw new WireError('more was handled than was sent')
    remote.applied = bytes
    this.#pump(node, remote)
  }

  #enqueue(node: NodeId, remote: Remote, names: readonly string[], then: () => void): void {
    if (remote.jobs.length === mostJobs) throw new WireError('it asks for more and more and does not wait')
    remote.jobs.push({ names, at: 0, then })
    this.#pump(node, remote)
  }

  /** Sends what is to be sent, as far as the other side and this turn have room. */
  #pump(node: NodeId, remote: Remote): void {
    if (remote.pumping) return
    const { retained, topics, clock } = this.#options
    const before = remote.sent
    let messages = 0
    for (let job = remote.jobs[0]; job !== undefined; job = remote.jobs[0]) {
      for (; job.at < job.names.length; job.at++) {
        if (!remote.hasRoom) return
        if (remote.sent - before > turnBytes || messages++ > turnMessages) {
          remote.pumping = true
          return clock.endOfTurn(() => {
            remote.pumping = false
            if (this.#remotes.get(node) === remote) this.#pump(node, remote)
          })
        }
        const name = job.names[job.at]!
        const tombstone = retained.tombstone(name)
        const message = tombstone ? clearing(topics.named(name), tombstone.stamp) : retained.get(name)
        if (message?.stamp === undefined) continue
        this.figures.repaired++
        this.#send(node, remote, message)
      }
      remote.jobs.shift()
      job.then()
    }
  }

  // ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────

  #ask(node: NodeId, give: boolean): void {
    const remote = this.#remotes.get(node)
    if (remote?.askedAt === -1) remote.askedAt = this.#buckets.changes
    this.#tellDigest(node, true, give, false)
  }

  #tellDigest(node: NodeId, ask: boolean, give: boolean, withBuckets: boolean): void {
    const { hashes, root, size } = this.#buckets
    const digest = { ask, give, topics: size, root: root.slice(), buckets: withBuckets ? hashes.slice() : undefined }
    this.#whenSettled((durable) => {
      const writer = this.#options.peers.begin(node, FrameType.retainedDigest)
      if (writer === undefined) return
      writeDigest(writer, { ...digest, durable })
      this.#options.peers.end()
    })
  }

  #digest(from: NodeId, remote: Remote, { ask, give, durable, topics, root, buckets }: Digest): void {
    const ours = this.#buckets
    const isSame = root[0] === ours.root[0] && root[1] === ours.root[1]
    if (!ask) {
      // What is not on disk proves nothing, and neither does what we have not asked for: it may be older than what we sent.
      const askedAt = durable ? remote.askedAt : -1
      remote.askedAt = -1
      if (isSame) this.#agreements.allAgreed(from, askedAt)
      else if (buckets) this.#compare(from, buckets, askedAt)
    } else if (isSame) this.#tellDigest(from, false, false, false)
    else {
      if (give) this.#tellDigest(from, false, false, true)
      // One at a time: what differs now may be what is on its way.
      else if (this.#comparison !== undefined) this.#waiting.add(from)
      else if (this.#shouldLead(topics, ours.size)) this.#tellDigest(from, false, false, true)
      else this.#ask(from, true)
    }
  }

  /**
   * Should a node lead that has so many topics, or should we? Who has far less: a node that joins has nothing to list. Else
   * the dice say, for who leads learns more.
   */
  #shouldLead(theirs: number, ours: number): boolean {
    if (Math.abs(theirs - ours) > farLess && Math.abs(theirs - ours) > Math.max(theirs, ours) / 2) return theirs < ours
    return this.#options.random.below(2) === 0
  }

  /** Leads a comparison of the buckets that differ. */
  #compare(node: NodeId, theirs: ArrayLike<number>, askedAt: number): void {
    const { random, clock } = this.#options
    const { hashes } = this.#buckets
    if (this.#comparison !== undefined) return void this.#waiting.add(node)
    const differing: number[] = []
    for (let bucket = 0; bucket < hashes.length / 2; bucket++) {
      const same = hashes[2 * bucket] === theirs[2 * bucket] && hashes[2 * bucket + 1] === theirs[2 * bucket + 1]
      if (same) this.#agreements.agreed(node, bucket, askedAt)
      else differing.push(bucket)
    }
    // Who compares with us at the same time begins elsewhere.
    const first = random.below(differing.length + 1)
    const buckets = [...differing.slice(first), ...differing.slice(0, first)]
    this.figures.comparisons++
    this.#comparison = { node, buckets, at: 0, open: new Map(), openTopics: 0, activeMs: clock.now() }
    this.#goOn(this.#comparison)
  }

  #goOn(comparison: Comparison): void {
    const { node, buckets, open } = comparison
    comparison.activeMs = this.#options.clock.now()
    while (comparison.at < buckets.length) {
      const bucket = buckets[comparison.at]!
      const topics = this.#buckets.names(bucket).size
      if (open.size >= openBuckets || (open.size > 0 && comparison.openTopics + topics > openTopics)) return
      comparison.at++
      comparison.openTopics += topics
      open.set(bucket, topics)
      this.#list(node, bucket)
    }
    if (open.size === 0) this.#finish()
  }

  #finish(): void {
    this.#comparison = undefined
    const [next] = this.#waiting
    if (next === undefined) return
    this.#waiting.delete(next)
    this.#ask(next, false)
  }

  /** Says what we have in a bucket. */
  #list(node: NodeId, bucket: number): void {
    const { peers, retained } = this.#options
    const names = [...this.#buckets.names(bucket)]
    for (let at = 0; at === 0 || at < names.length; at += listedTopics) {
      const writer = peers.begin(node, FrameType.retainedBucket)
      if (writer === undefined) return
      writer.u16(bucket)
      writer.u8((at + listedTopics >= names.length ? ListFlags.last : 0) | (this.#isFull ? ListFlags.full : 0))
      for (const name of names.slice(at, at + listedTopics)) writeListed(writer, name, retained.stampOf(name)!)
      peers.end()
    }
  }

  /** A node says what it has in a bucket. */
  #listed(from: NodeId, remote: Remote, reader: RecordReader): void {
    const bucket = readBucket(reader)
    const flags = reader.u8()
    if (remote.list?.bucket !== bucket) remote.list = new Listed(bucket)
    const { list } = remote
    list.read(reader)
    if ((flags & ListFlags.last) === 0) return
    remote.list = undefined
    this.#answer(from, remote, list, (flags & ListFlags.full) !== 0)
  }

  #answer(node: NodeId, remote: Remote, { bucket, stamps }: Listed, itIsFull: boolean): void {
    const { retained } = this.#options
    const wanted: string[] = []
    const newer: string[] = []
    for (const [name, stamp] of stamps) {
      const ours = retained.stampOf(name)
      if (ours !== undefined && isNewer(ours, stamp)) newer.push(name)
      else if (ours === undefined ? !this.#isFull : isNewer(stamp, ours))
        if (!this.#stamps.isAhead(stamp.ms)) wanted.push(name)
    }
    for (const name of this.#buckets.names(bucket))
      if (!stamps.has(name) && !(itIsFull && retained.get(name) !== undefined)) newer.push(name)
    this.#enqueue(node, remote, newer, () => {
      const { peers } = this.#options
      const writer = peers.begin(node, FrameType.retainedWanted)
      if (writer === undefined) return
      writer.u16(bucket)
      for (const name of wanted) writer.text(name)
      peers.end()
    })
  }

  /** The node that we compare with wants these of a bucket, and has told us what is newer there. */
  #wanted(from: NodeId, remote: Remote, reader: RecordReader): void {
    const bucket = readBucket(reader)
    const names = readNames(reader)
    const comparison = this.#comparison
    const topics = comparison?.node === from ? comparison.open.get(bucket) : undefined
    if (comparison === undefined || topics === undefined) return
    this.#enqueue(from, remote, names, () => {
      if (this.#comparison !== comparison) return
      comparison.open.delete(bucket)
      comparison.openTopics -= topics
      this.#goOn(comparison)
    })
  }

  // ── what others may count on ─────────────────────────────────────────────────────────────────────────────────────

  #note(topic: Topic, lsn: Lsn): void {
    const durability = this.#options.durability(topic)
    if (durability === 'fsync') this.#synced = Math.max(this.#synced, lsn)
    else if (durability === 'os') this.#written = Math.max(this.#written, lsn)
  }

  /** Calls `run` once all changes so far are as safe as they will be; with false when that takes too long. */
  #whenSettled(run: (durable: boolean) => void): void {
    const unsettled = { synced: this.#synced, written: this.#written, sinceMs: this.#options.clock.now(), run }
    if (this.#isSettled(unsettled)) run(true)
    else this.#unsettled.push(unsettled)
  }

  #isSettled({ synced, written }: Unsettled): boolean {
    const { store } = this.#options
    return (synced === 0 || synced < store.durable) && (written === 0 || written < store.written)
  }

  #progress(): void {
    for (const [node, remote] of this.#remotes)
      if (remote.told !== remote.taken && !remote.telling) this.#tell(node, remote)
    if (this.#unsettled.length === 0) return
    const waiting = this.#unsettled
    this.#unsettled = []
    for (const unsettled of waiting)
      if (this.#isSettled(unsettled)) unsettled.run(true)
      else this.#unsettled.push(unsettled)
  }

  // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #tick(): void {
    const { clock, random } = this.#options
    const nowMs = clock.now()
    while (this.#unsettled.length > 0 && nowMs - this.#unsettled[0]!.sinceMs > settleMs)
      this.#unsettled.shift()!.run(false)
    if (this.#comparison !== undefined && nowMs - this.#comparison.activeMs > stallMs) this.#finish()
    for (const [node, remote] of this.#remotes) {
      if (!remote.missed || !remote.hasRoom) continue
      remote.missed = false
      this.#ask(node, false)
    }
    if (++this.#ticks % compareTicks === 0 && this.#remotes.size > 0)
      this.#ask([...this.#remotes.keys()][random.below(this.#remotes.size)]!, false)
    this.#sweep()
  }

  /** Retires tombstones that are old enough, and forgets those that nobody needs. */
  #sweep(): void {
    const { retained, members, store } = this.#options
    if (retained.tombstones === 0 || store.full) return
    const tombstones = retained.tombstonesBehind(this.#swept, sweptTombstones)
    this.#swept = tombstones.length < sweptTombstones ? '' : tombstones.at(-1)!.name
    const all = [...members()]
    for (const tombstone of tombstones) this.#consider(tombstone, all)
  }

  #consider(tombstone: Tombstone, members: readonly NodeId[]): void {
    const { clock, tombstoneSeconds } = this.#options
    const { name, stamp, expired, retiredAt } = tombstone
    if (retiredAt === 0) {
      if (expired || clock.wall() - stamp.ms >= tombstoneSeconds * 1000) this.#buckets.retire(tombstone)
      return
    }
    const bucket = bucketOf(name)
    if (members.every((node) => this.#agreements.since(node, bucket, retiredAt))) this.#collect(name)
  }

  #collect(name: string): void {
    const { retained, store, topics } = this.#options
    this.figures.collected++
    retained.unbury(name)
    // Nobody waits for this; if it is lost the tombstone is back, and goes again.
    store.message(clearing(topics.named(name), undefined), true, 0, 0, 'os')
  }
}

/** What each node says about itself. */
function isOwnAffair({ name }: Topic): boolean {
  return name.startsWith('$SYS/') || name === '$SYS'
}
