import type { Clock, Random } from '../host.ts'
import type { RecordReader } from '../store/writer.ts'
import { Confirmations } from './confirmations.ts'
import { Digests } from './digests.ts'
import { readIncarnation } from './entry.ts'
import { Feeds, readWanted, type Wanted } from './feeds.ts'
import { KeyedHash } from './hash.ts'
import { type GossipCounts, type GossipListener, Intake } from './intake.ts'
import { compareStates, Owners, OwnerState, type OwnerView } from './owners.ts'
import type { NodeId, Part, Peers } from './peers.ts'
import { Recent, Table } from './tables.ts'
import { Turn } from './turn.ts'
import type { Verdict } from './verification.ts'
import { FrameType } from './wire.ts'

export interface GossipSettings {
  /** Frames are filled up to this, and may be longer by one key. */
  readonly frameBytes: number
  /** Frames of one owner on their way to one node, before it has confirmed the first of them. */
  readonly window: number
  /** Changes that are remembered, to bring others up to date without a snapshot: ours, and of each other owner. */
  readonly ownChanges: number
  readonly otherChanges: number
  /** A table of more keys is kept in parts. */
  readonly splitAt: number
  /** Longest time in a turn of the event loop. */
  readonly budgetMs: number
  /** Frames that wait for their turn. */
  readonly waitingBytes: number
  /** Between two digests. */
  readonly digestMs: number
  /** Owners that are taken up, ourselves among them. */
  readonly owners: number
}

const defaultSettings: GossipSettings = {
  frameBytes: 8192,
  window: 64,
  ownChanges: 65_536,
  otherChanges: 4096,
  splitAt: 8192,
  budgetMs: 2.5,
  waitingBytes: 64 * 1024 * 1024,
  digestMs: 1000,
  owners: 10_000,
}

/** Our own table: only we write it. */
export interface OwnState extends OwnerView {
  /** A value of 0 removes the key. Keys are well-formed strings, values integers below 2^53. */
  set(key: string, value: number): void
}

/**
 * Every node's table, at every node. Each is written by its owner alone, so nothing is ever merged: of two states of an owner, the one of
 * the higher (incarnation, version) holds.
 *
 *   own.set ─▶ Feeds ─▶ operations ─▶ Intake ─▶ replica, listeners ─▶ applied ─▶ Feeds ─▶ whoever waits
 *                       snapshot ──▶                       a node says `wanted` as a link comes up, or something is missing
 *   Digests ◀──────────▶ Digests                           every second, with some peer
 */
export class Gossip implements Part {
  readonly family = 0x20
  readonly own: OwnState
  readonly #owners: Owners
  readonly #turn: Turn
  readonly #feeds: Feeds
  readonly #intake: Intake
  readonly #digests: Digests
  readonly #waits: Confirmations
  readonly #listeners: GossipListener[] = []
  readonly #stopTicking: () => void
  #changed = false

  /**
   * @param options.incarnation higher at each start
   * @param options.key the same at all nodes of the cluster
   */
  constructor(options: {
    readonly self: NodeId
    readonly incarnation: number
    readonly clock: Clock
    readonly random: Random
    readonly peers: Peers
    readonly key?: string
    readonly settings?: Partial<GossipSettings>
  }) {
    const { self, clock, random, peers, key = '' } = options
    const settings = { ...defaultSettings, ...options.settings }
    const hash = new KeyedHash(key)
    const { ownChanges, otherChanges, splitAt } = settings
    const make = (node: NodeId, name: number) =>
      new OwnerState(node, name, new Table(hash, splitAt), new Recent(node === self ? ownChanges : otherChanges))
    this.#owners = new Owners(self, hash, make)
    this.#owners.own.incarnation = options.incarnation
    this.#turn = new Turn(clock, settings.budgetMs, () => this.#work())
    this.#feeds = new Feeds(peers, this.#owners, this.#turn, settings)
    this.#intake = new Intake({
      peers,
      owners: this.#owners,
      feeds: this.#feeds,
      turn: this.#turn,
      now: () => clock.now(),
      waitingBytes: settings.waitingBytes,
      ownersMost: settings.owners,
      listeners: this.#listeners,
    })
    this.#digests = new Digests(peers, this.#owners, this.#intake, clock, random)
    this.#waits = new Confirmations(clock, (node, version) => this.#feeds.confirmed(node, version))
    this.own = new OwnTable(this.#owners.own, () => {
      this.#changed = true
      this.#owners.touch(this.#owners.own)
      this.#turn.begin()
    })
    this.#stopTicking = clock.every(settings.digestMs, () => this.#tick())
  }

  get counts(): GossipCounts & { readonly missed: number } {
    return { ...this.#intake.counts, missed: this.#waits.missed }
  }

  /** What is known of `node`; ourselves included. It changes as news come. */
  owner(node: NodeId): OwnerView | undefined {
    const state = this.#owners.get(node)
    return state?.leaving ? undefined : state
  }

  /** The other nodes of whom anything was heard. */
  *owners(): IterableIterator<NodeId> {
    for (const state of this.#owners.all()) if (state !== this.#owners.own && !state.leaving) yield state.node
  }

  on(listener: GossipListener): void {
    this.#listeners.push(listener)
  }

  /**
   * Removes all that an evicted node told; it is not taken from others again, unless that node starts anew.
   * @param incarnation the start that was given up, as far as known: others may have its table when we do not
   */
  forget(node: NodeId, incarnation = 0): void {
    this.#intake.forget(node, incarnation)
  }

  /** Has each of `nodes` applied all that we have set? One without a link has not. */
  confirmed(nodes: Iterable<NodeId>): boolean {
    const { own } = this.#owners
    for (const node of nodes) if (node !== own.node && !this.#feeds.confirmed(node, own.version)) return false
    return true
  }

  /** Calls `then` when each of `nodes` has applied all that we have set until now (at once if so), or with false after `mostMs`. */
  whenConfirmed(nodes: Iterable<NodeId>, mostMs: number, then: (confirmed: boolean) => void): void {
    const { own } = this.#owners
    const others = [...nodes].filter((node) => node !== own.node)
    this.#waits.add(others, own.version, mostMs, then)
  }

  /** Compares what every linked node has of all owners with what we have. Calls `then` when all have answered, or after 2 s. */
  verify(then: (verdicts: Verdict[]) => void): void {
    this.#digests.verify(then)
  }

  stop(): void {
    this.#stopTicking()
    this.#waits.stop()
  }

  linked(node: NodeId): void {
    const state = this.#owners.get(node)
    if (state === undefined) return this.#intake.askFor(node, this.#owners.nameOf(node))
    state.asked = undefined
    this.#intake.ask(node, state)
  }

  unlinked(node: NodeId): void {
    this.#feeds.unlinked(node)
    this.#intake.unlinked(node)
  }

  frame(from: NodeId, type: number, reader: RecordReader): void {
    switch (type) {
      case FrameType.operations:
      case FrameType.snapshot:
        return this.#intake.frame(from, type, reader)
      case FrameType.digest:
        return this.#digests.frame(from, reader)
      case FrameType.wanted:
        return this.#wanted(from, reader)
      case FrameType.applied:
        return this.#applied(from, reader)
    }
  }

  #work(): boolean {
    const waiting = this.#intake.work()
    this.#intake.flush()
    if (this.#changed) {
      this.#changed = false
      this.#feeds.changed(this.#owners.own)
    }
    const unsent = this.#feeds.send()
    return waiting || unsent
  }

  #tick(): void {
    this.#digests.tick()
    for (const state of this.#owners.all()) if (!state.complete && !state.leaving) this.#askOwner(state)
  }

  /** A snapshot was to come, and does not. */
  #askOwner(state: OwnerState): void {
    if (!this.#intake.arriving(state)) this.#intake.ask(state.node, state)
  }

  #wanted(from: NodeId, reader: RecordReader): void {
    const wanted = readWanted(reader)
    const state = this.#owners.byName(wanted.name)
    if (state === undefined || state.leaving) return
    if (state === this.#owners.own && isAhead(wanted, state)) this.#intake.taken(wanted.incarnation)
    this.#feeds.wanted(from, state, wanted)
    if (state === this.#owners.own) this.#waits.check()
  }

  #applied(from: NodeId, reader: RecordReader): void {
    const state = this.#owners.byName(reader.varint())
    const incarnation = readIncarnation(reader)
    const version = reader.varint()
    const frames = reader.varint()
    if (state === undefined) return
    this.#feeds.applied(from, state, incarnation, version, frames)
    if (state === this.#owners.own) this.#waits.check()
    else if (incarnation === 0) this.#feeds.stop(from, state)
  }
}

/** Is it a state of ours that we know nothing of? */
function isAhead({ incarnation, version }: Wanted, own: OwnerState): boolean {
  return compareStates(incarnation, version, own) > 0
}

class OwnTable implements OwnState {
  readonly #state: OwnerState
  readonly #changed: () => void

  constructor(state: OwnerState, changed: () => void) {
    this.#state = state
    this.#changed = changed
  }

  get incarnation(): number {
    return this.#state.incarnation
  }

  get version(): number {
    return this.#state.version
  }

  get complete(): boolean {
    return this.#state.complete
  }

  get size(): number {
    return this.#state.size
  }

  get hash(): string {
    return this.#state.hash
  }

  get(key: string): number {
    return this.#state.get(key)
  }

  entries(): IterableIterator<[key: string, value: number]> {
    return this.#state.entries()
  }

  set(key: string, value: number): void {
    const state = this.#state
    if (state.table.set(key, value) === value) return
    state.version++
    state.recent.push(key, value)
    this.#changed()
  }
}
