import type { Message } from '../mqtt/message.ts'
import { MqttError } from '../mqtt/reason.ts'
import type { Stamp } from '../mqtt/stamp.ts'
import type { Topic } from '../mqtt/topic.ts'
import { MessageReader } from '../store/message-record.ts'
import type { RecordReader } from '../store/writer.ts'
import { Agreements } from './agreements.ts'
import { Buckets } from './buckets.ts'
import type { NodeId, Part } from './peers.ts'
import { Comparing } from './retained-comparing.ts'
import { Flow } from './retained-flow.ts'
import { RetainedFigures, type RetainedOptions } from './retained-options.ts'
import { Sweep } from './retained-sweep.ts'
import { Settling } from './settling.ts'
import { mostAheadMs, StampClock } from './stamp.ts'
import { FrameType, WireError } from './wire.ts'

const tickMs = 1000
/** Ticks between two comparisons with somebody. */
const compareTicks = 3
/** After a message found no room here, others are not asked for. */
const fullMs = 60_000

/**
 * Brings every retained message to every node. Of two changes of a topic the one with the newer stamp wins, everywhere.
 *
 *   published here ─ retains ─▶ stamp ─▶ with the publish frame (to nodes that want it) ─▶ retains ─▶ kept if newer
 *                                  └──▶ spread: `retained` (to the others)              ─▶ kept if newer, written down
 *
 * Every few seconds, and with a new link, two nodes compare what they have (`Comparing`). So a frame that is lost is made up
 * for, and a node that joins gets everything, at the pace at which it says that it has handled it (`Flow`).
 *
 * A topic that was cleared, or whose message has expired, keeps a tombstone, so that no node that was away brings an older
 * message back. Once it is old enough it is retired (`Sweep`): it counts no more in comparisons, but still answers who lists
 * that older message. It is forgotten once every member was asked since, and had on disk just what we had. That is enough:
 * who passes the older message on before it learns better has a tombstone, too, from then on, and keeps it until it has
 * asked the one that it has passed it on to.
 *
 * What the cluster node does (`ClusterNode`): `start` once the broker is restored; hands the frames over (it is a `Part`);
 * asks `retains` for the port's `retains`; calls `spread` for what was published here and has a stamp.
 */
export class RetainedReplication implements Part {
  readonly family = 0x40
  readonly figures = new RetainedFigures()
  readonly #options: RetainedOptions
  readonly #stamps: StampClock
  readonly #buckets = new Buckets()
  readonly #agreements = new Agreements()
  readonly #settling: Settling
  readonly #comparing: Comparing
  readonly #sweep: Sweep
  /** To each node that a link is up to. */
  readonly #flows = new Map<NodeId, Flow>()
  readonly #reader = new MessageReader()
  #fullUntilMs = -Infinity
  #warnedMs = -Infinity
  #ticks = 0
  #stopClock: (() => void) | undefined = undefined

  constructor(options: RetainedOptions) {
    const { self, clock, store } = options
    this.#options = options
    this.#stamps = new StampClock(self, clock)
    this.#settling = new Settling(store, clock)
    this.#comparing = new Comparing({
      ...{ options, figures: this.figures, buckets: this.#buckets, agreements: this.#agreements },
      ...{ settling: this.#settling, stamps: this.#stamps, isFull: () => clock.now() < this.#fullUntilMs },
    })
    this.#sweep = new Sweep(options, this.#buckets, this.#agreements, this.figures)
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
    this.#settling.note(this.#options.store.next, this.#options.durability(topic))
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
    for (const [node, flow] of this.#flows) {
      if (served(node)) continue
      if (flow.hasRoom) {
        this.figures.spread++
        flow.send(message)
      } else {
        flow.missed = true
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
    const flow = new Flow(node, this.#options, this.figures)
    this.#flows.set(node, flow)
    this.#comparing.linked(node, flow)
  }

  unlinked(node: NodeId): void {
    this.#flows.get(node)?.close()
    this.#flows.delete(node)
    this.#comparing.unlinked(node)
  }

  frame(from: NodeId, type: number, reader: RecordReader): void {
    const flow = this.#flows.get(from)
    if (flow === undefined) return
    switch (type) {
      case FrameType.retained:
        return this.#retained(flow, reader)
      case FrameType.retainedDigest:
        return this.#comparing.digest(from, reader)
      case FrameType.retainedBucket:
        return this.#comparing.listed(from, reader)
      case FrameType.retainedWanted:
        return this.#comparing.wanted(from, reader)
      case FrameType.retainedApplied:
        return flow.applied(reader.varint())
    }
  }

  // ── changes of other nodes ───────────────────────────────────────────────────────────────────────────────────────

  #retained(flow: Flow, reader: RecordReader): void {
    const message = this.#read(reader)
    this.#take(message, message.stamp!)
    flow.took(message)
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
    if (keeping !== 'memory') this.#settling.note(store.message(message, true, 0, 0, keeping), keeping)
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

  // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #progress(): void {
    for (const flow of this.#flows.values()) flow.tell()
    this.#settling.progress()
  }

  #tick(): void {
    const { clock, random } = this.#options
    const nowMs = clock.now()
    this.#settling.tick(nowMs)
    this.#comparing.tick(nowMs)
    for (const [node, flow] of this.#flows) {
      if (!flow.missed || !flow.hasRoom) continue
      flow.missed = false
      this.#comparing.ask(node)
    }
    if (++this.#ticks % compareTicks === 0 && this.#flows.size > 0)
      this.#comparing.ask([...this.#flows.keys()][random.below(this.#flows.size)]!)
    this.#sweep.tick()
  }
}

/** What each node says about itself. */
function isOwnAffair({ name }: Topic): boolean {
  return name.startsWith('$SYS/') || name === '$SYS'
}
