import { isNewer } from '../mqtt/stamp.ts'
import type { RecordReader } from '../store/writer.ts'
import type { Agreements } from './agreements.ts'
import type { Buckets } from './buckets.ts'
import type { NodeId } from './peers.ts'
import type { Flow } from './retained-flow.ts'
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
import type { RetainedFigures, RetainedOptions } from './retained-options.ts'
import type { Settling } from './settling.ts'
import type { StampClock } from './stamp.ts'
import { FrameType } from './wire.ts'

/** Buckets that are compared at a time, and their topics. */
const openBuckets = 8
const openTopics = 4096
/** Nothing came of a comparison for so long. */
const stallMs = 30_000
/** Topics, and more than half. */
const farLess = 10_000

export interface ComparingParts {
  readonly options: RetainedOptions
  readonly figures: RetainedFigures
  readonly buckets: Buckets
  readonly agreements: Agreements
  readonly settling: Settling
  readonly stamps: StampClock
  /** There is no room here for topics that we do not have. */
  readonly isFull: () => boolean
}

/** A node that a link is up to. */
class Other {
  /** Our changes when we asked what it has, and have no answer yet; -1: we have not. */
  askedAt = -1
  /** What it has in a bucket, as far as that has come. */
  list: Listed | undefined = undefined

  constructor(readonly flow: Flow) {}
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
  /** It has had its share of this turn. */
  listing: boolean
}

/**
 * Finds what another node retains and we do not, or the other way round:
 *
 *   digest: root ──▶ the same? done
 *          ◀── hashes of 1,024 buckets
 *   bucket: (topic, stamp)… of one that differs ──▶
 *          ◀── retained … what is newer there, or unknown here
 *          ◀── wanted: what is newer here
 *   retained … ──▶
 *
 * Who has far fewer topics leads, else either. We lead one comparison at a time.
 */
export class Comparing {
  readonly #parts: ComparingParts
  readonly #options: RetainedOptions
  readonly #others = new Map<NodeId, Other>()
  /** Nodes to compare with once the comparison under way is over. */
  readonly #waiting = new Set<NodeId>()
  #comparison: Comparison | undefined = undefined

  constructor(parts: ComparingParts) {
    this.#parts = parts
    this.#options = parts.options
  }

  linked(node: NodeId, flow: Flow): void {
    this.#others.set(node, new Other(flow))
    this.ask(node)
  }

  unlinked(node: NodeId): void {
    this.#others.delete(node)
    this.#waiting.delete(node)
    if (this.#comparison?.node === node) this.#finish()
  }

  tick(nowMs: number): void {
    if (this.#comparison !== undefined && nowMs - this.#comparison.activeMs > stallMs) this.#finish()
  }

  /** Asks a node what it has. @param give with the hashes of its buckets, whoever has more */
  ask(node: NodeId, give = false): void {
    const other = this.#others.get(node)
    if (other?.askedAt === -1) other.askedAt = this.#parts.buckets.changes
    this.#tellDigest(node, true, give, false)
  }

  // ── digests ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** @throws CorruptRecordError */
  digest(from: NodeId, reader: RecordReader): void {
    const digest = readDigest(reader)
    const ours = this.#parts.buckets
    const isSame = digest.root[0] === ours.root[0] && digest.root[1] === ours.root[1]
    if (!digest.ask) this.#told(from, digest, isSame)
    else if (isSame) this.#tellDigest(from, false, false, false)
    else if (digest.give) this.#tellDigest(from, false, false, true)
    // One at a time: what differs now may be what is on its way.
    else if (this.#comparison !== undefined) this.#waiting.add(from)
    else if (this.#shouldLead(digest.topics, ours.size)) this.#tellDigest(from, false, false, true)
    else this.ask(from, true)
  }

  #tellDigest(node: NodeId, ask: boolean, give: boolean, withBuckets: boolean): void {
    const { hashes, root, size } = this.#parts.buckets
    const digest = { ask, give, topics: size, root: root.slice(), buckets: withBuckets ? hashes.slice() : undefined }
    this.#parts.settling.whenSettled((durable) => {
      const writer = this.#options.peers.begin(node, FrameType.retainedDigest)
      if (writer === undefined) return
      writeDigest(writer, { ...digest, durable })
      this.#options.peers.end()
    })
  }

  /** What a node has, as we have asked. */
  #told(node: NodeId, { durable, buckets }: Digest, isSame: boolean): void {
    const other = this.#others.get(node)
    if (other === undefined) return
    // What is not on disk proves nothing, and neither does what we have not asked for: it may be older than what we sent.
    const askedAt = durable ? other.askedAt : -1
    other.askedAt = -1
    if (isSame) this.#parts.agreements.allAgreed(node, askedAt)
    else if (buckets) this.#compare(node, buckets, askedAt)
  }

  /**
   * Should a node lead that has so many topics, or should we? Who has far less: a node that joins has nothing to list. Else
   * the dice say, for who leads learns more.
   */
  #shouldLead(theirs: number, ours: number): boolean {
    if (Math.abs(theirs - ours) > farLess && Math.abs(theirs - ours) > Math.max(theirs, ours) / 2) return theirs < ours
    return this.#options.random.below(2) === 0
  }

  // ── who leads ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Leads a comparison of the buckets that differ. */
  #compare(node: NodeId, theirs: ArrayLike<number>, askedAt: number): void {
    const { random, clock } = this.#options
    const { buckets: ours, agreements, figures } = this.#parts
    const { hashes } = ours
    if (this.#comparison !== undefined) return void this.#waiting.add(node)
    const differing: number[] = []
    for (let bucket = 0; bucket < hashes.length / 2; bucket++) {
      const same = hashes[2 * bucket] === theirs[2 * bucket] && hashes[2 * bucket + 1] === theirs[2 * bucket + 1]
      if (same) agreements.agreed(node, bucket, askedAt)
      else differing.push(bucket)
    }
    // Who compares with us at the same time begins elsewhere.
    const first = random.below(differing.length + 1)
    const buckets = [...differing.slice(first), ...differing.slice(0, first)]
    figures.comparisons++
    const activeMs = clock.now()
    this.#comparison = { node, buckets, at: 0, open: new Map(), openTopics: 0, activeMs, listing: false }
    this.#goOn(this.#comparison)
  }

  /** Lists the next bucket if there is room for it, and the one behind it in the next turn: a large one takes milliseconds. */
  #goOn(comparison: Comparison): void {
    const { clock } = this.#options
    comparison.activeMs = clock.now()
    if (comparison.listing) return
    const { node, buckets, open } = comparison
    if (comparison.at === buckets.length) {
      if (open.size === 0) this.#finish()
      return
    }
    const bucket = buckets[comparison.at]!
    const topics = this.#parts.buckets.names(bucket).size
    if (open.size >= openBuckets || (open.size > 0 && comparison.openTopics + topics > openTopics)) return
    comparison.at++
    comparison.openTopics += topics
    open.set(bucket, topics)
    this.#list(node, bucket)
    comparison.listing = true
    clock.endOfTurn(() => {
      comparison.listing = false
      if (this.#comparison === comparison) this.#goOn(comparison)
    })
  }

  #finish(): void {
    this.#comparison = undefined
    const [next] = this.#waiting
    if (next === undefined) return
    this.#waiting.delete(next)
    this.ask(next)
  }

  /** Says what we have in a bucket. */
  #list(node: NodeId, bucket: number): void {
    const { peers, retained } = this.#options
    const { buckets, isFull } = this.#parts
    const names = [...buckets.names(bucket)]
    for (let at = 0; at === 0 || at < names.length; at += listedTopics) {
      const writer = peers.begin(node, FrameType.retainedBucket)
      if (writer === undefined) return
      writer.u16(bucket)
      writer.u8((at + listedTopics >= names.length ? ListFlags.last : 0) | (isFull() ? ListFlags.full : 0))
      for (const name of names.slice(at, at + listedTopics)) writeListed(writer, name, retained.stampOf(name)!)
      peers.end()
    }
  }

  /** The node that we compare with wants these of a bucket, and has told us what is newer there. @throws CorruptRecordError */
  wanted(from: NodeId, reader: RecordReader): void {
    const bucket = readBucket(reader)
    const names = readNames(reader)
    const comparison = this.#comparison
    const topics = comparison?.node === from ? comparison.open.get(bucket) : undefined
    if (comparison === undefined || topics === undefined) return
    this.#others.get(from)?.flow.enqueue(names, () => {
      if (this.#comparison !== comparison) return
      comparison.open.delete(bucket)
      comparison.openTopics -= topics
      this.#goOn(comparison)
    })
  }

  // ── who is led ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** A node says what it has in a bucket. @throws CorruptRecordError, WireError */
  listed(from: NodeId, reader: RecordReader): void {
    const other = this.#others.get(from)
    if (other === undefined) return
    const bucket = readBucket(reader)
    const flags = reader.u8()
    if (other.list?.bucket !== bucket) other.list = new Listed(bucket)
    const { list } = other
    list.read(reader)
    if ((flags & ListFlags.last) === 0) return
    other.list = undefined
    this.#answer(from, other.flow, list, (flags & ListFlags.full) !== 0)
  }

  #answer(node: NodeId, flow: Flow, { bucket, stamps }: Listed, itIsFull: boolean): void {
    const { retained, peers } = this.#options
    const { buckets, isFull, stamps: clock } = this.#parts
    const wanted: string[] = []
    const newer: string[] = []
    for (const [name, stamp] of stamps) {
      const ours = retained.stampOf(name)
      if (ours !== undefined && isNewer(ours, stamp)) newer.push(name)
      else if (ours === undefined ? !isFull() : isNewer(stamp, ours)) if (!clock.isAhead(stamp.ms)) wanted.push(name)
    }
    for (const name of buckets.names(bucket))
      if (!stamps.has(name) && !(itIsFull && retained.get(name) !== undefined)) newer.push(name)
    flow.enqueue(newer, () => {
      const writer = peers.begin(node, FrameType.retainedWanted)
      if (writer === undefined) return
      writer.u16(bucket)
      for (const name of wanted) writer.text(name)
      peers.end()
    })
  }
}
