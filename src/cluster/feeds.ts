import { type RecordReader, RecordWriter } from '../store/writer.ts'
import { type Entry, readEntry } from './entry.ts'
import type { OwnerState, Owners } from './owners.ts'
import type { NodeId, Peers } from './peers.ts'
import { positions, type Table } from './tables.ts'
import type { Turn } from './turn.ts'
import { FrameType } from './wire.ts'

/** What a node says it has of an owner, to get what follows. */
export interface Wanted extends Entry {
  /** A snapshot that broke off: all below this position is there, with all changes up to `changes`. 0: there was none. */
  readonly position: number
  readonly changes: number
}

export function readWanted(reader: RecordReader): Wanted {
  return { ...readEntry(reader), position: reader.varint(), changes: reader.varint() }
}

/** Flags of a snapshot frame. */
export const Chunk = {
  /** The sender begins here: nothing of what it sent before counts. */
  begins: 1,
} as const

/** How far a snapshot has been sent. */
interface Cursor {
  position: number
  /** Keys of that position that are still to be sent. */
  entries: Iterator<[string, number]> | undefined
  begins: boolean
  /** The version at its begin. */
  readonly version: number
  readonly whole: boolean
}

/** What one node gets of one owner's state. */
interface Feed {
  readonly to: NodeId
  readonly state: OwnerState
  /** Changes up to this version have been sent, or are in what it had. */
  told: number
  incarnation: number
  cursor: Cursor | undefined
  /** Frames whose handling it has not confirmed. */
  unhandled: number
  /** The newest version that it has confirmed. */
  applied: number
  queued: boolean
}

export interface FeedSettings {
  /** Frames are filled up to this. */
  readonly frameBytes: number
  /** Frames on their way to one node, of one owner. */
  readonly window: number
}

/**
 * Sends states to those who asked.
 *
 *   our own      from a node's first `wanted` on until its link breaks: each change, at the end of the turn
 *   of others    to a node that has fallen behind, until it has caught up
 *
 * Changes go from the log of recent ones; who is further behind gets a snapshot, position by position, and what changes meanwhile in
 * between. Both are read as they are sent: what a peer has not confirmed bounds it, so that nothing piles up for a slow one.
 */
export class Feeds {
  readonly #peers: Peers
  readonly #owners: Owners
  readonly #turn: Turn
  readonly #settings: FeedSettings
  readonly #own = new Map<NodeId, Feed>()
  readonly #others = new Map<OwnerState, Map<NodeId, Feed>>()
  #queue: Feed[] = []
  /** Entries of a frame. */
  readonly #body = new RecordWriter(16_384)
  /** What `#body` holds: changes of this incarnation of ours, (since, until], as most peers get the same. */
  #since = -1
  #until = -1
  #incarnation = -1

  constructor(peers: Peers, owners: Owners, turn: Turn, settings: FeedSettings) {
    this.#peers = peers
    this.#owners = owners
    this.#turn = turn
    this.#settings = settings
  }

  /** A peer says what it has. */
  wanted(from: NodeId, state: OwnerState, wanted: Wanted): void {
    if (!state.complete) return
    const feed = this.#obtain(from, state)
    // What is on its way still fills the window: who asks again and again gets no more for it.
    feed.incarnation = state.incarnation
    feed.cursor = undefined
    feed.applied = 0
    this.#start(feed, wanted)
    this.#enqueue(feed)
  }

  /** A peer has handled `frames` frames, and has this now. */
  applied(from: NodeId, state: OwnerState, incarnation: number, version: number, frames: number): void {
    const feed = this.#find(from, state)
    if (feed === undefined) return
    feed.unhandled = Math.max(0, feed.unhandled - frames)
    if (incarnation === state.incarnation && incarnation === feed.incarnation) {
      feed.applied = Math.max(feed.applied, version)
      // It has got there by way of others.
      if (feed.cursor !== undefined && version > feed.cursor.version) feed.cursor = undefined
      if (feed.cursor === undefined && version > feed.told) feed.told = Math.min(version, state.version)
    }
    this.#enqueue(feed)
  }

  /** A peer gets this from somebody else. */
  stop(from: NodeId, state: OwnerState): void {
    this.#others.get(state)?.delete(from)
  }

  /** The state has moved on. */
  changed(state: OwnerState): void {
    const feeds = state === this.#owners.own ? this.#own : this.#others.get(state)
    if (feeds === undefined) return
    for (const feed of feeds.values()) this.#enqueue(feed)
  }

  /** The state is about to be replaced. */
  drop(state: OwnerState): void {
    this.#others.delete(state)
  }

  unlinked(node: NodeId): void {
    this.#own.delete(node)
    for (const feeds of this.#others.values()) feeds.delete(node)
  }

  /** Has this node confirmed our `version`? */
  confirmed(node: NodeId, version: number): boolean {
    const feed = this.#own.get(node)
    return feed !== undefined && feed.incarnation === this.#owners.own.incarnation && feed.applied >= version
  }

  /** Sends until the turn is over; says whether something is left. At least one frame goes, so that there is no standstill. */
  send(): boolean {
    const queue = this.#queue
    for (let at = 0; at < queue.length; at++) {
      const feed = queue[at]!
      feed.queued = false
      while (this.#next(feed))
        if (this.#turn.over) {
          this.#queue = queue.slice(at + 1)
          this.#enqueue(feed)
          return true
        }
    }
    queue.length = 0
    return false
  }

  #find(node: NodeId, state: OwnerState): Feed | undefined {
    return state === this.#owners.own ? this.#own.get(node) : this.#others.get(state)?.get(node)
  }

  #obtain(to: NodeId, state: OwnerState): Feed {
    let feeds = state === this.#owners.own ? this.#own : this.#others.get(state)
    if (feeds === undefined) this.#others.set(state, (feeds = new Map<NodeId, Feed>()))
    let feed = feeds.get(to)
    if (feed !== undefined) return feed
    feed = { to, state, told: 0, incarnation: 0, cursor: undefined, unhandled: 0, applied: 0, queued: false }
    feeds.set(to, feed)
    return feed
  }

  #enqueue(feed: Feed): void {
    if (feed.queued) return
    feed.queued = true
    this.#queue.push(feed)
    this.#turn.begin()
  }

  /** Where to go on from what the peer has. */
  #start(feed: Feed, wanted: Wanted): void {
    const { state } = feed
    const { recent, table, version } = state
    const none = (wanted.low | wanted.high) === 0
    if (wanted.incarnation === state.incarnation) {
      if (wanted.position > 0 && wanted.changes >= recent.since && wanted.changes <= version) {
        feed.told = wanted.changes
        feed.cursor = this.#cursor(state, wanted.position)
        return
      }
      const has = wanted.version > 0 || none
      const differs = wanted.version === version && (wanted.low !== table.low || wanted.high !== table.high)
      if (has && wanted.version >= recent.since && wanted.version <= version && !differs) {
        feed.told = feed.applied = wanted.version
        return
      }
      // Who is right if versions agree and contents do not? Only the owner knows.
      if (wanted.version > version || (differs && state !== this.#owners.own)) {
        feed.told = version
        return
      }
    } else if (wanted.incarnation > state.incarnation) {
      feed.told = version
      return
    } else if (none && recent.since === 0 && (version > 0 || wanted.incarnation === 0)) {
      feed.told = 0
      return
    }
    this.#snapshot(feed)
  }

  #snapshot(feed: Feed): void {
    feed.told = feed.state.version
    feed.cursor = this.#cursor(feed.state, 0)
  }

  #cursor({ table, version }: OwnerState, position: number): Cursor {
    const at = table.whole ? 0 : Math.min(position, positions)
    return { position: at, entries: undefined, begins: true, version, whole: table.whole }
  }

  /** Sends one frame, if there is something to send, and room. */
  #next(feed: Feed): boolean {
    const { state } = feed
    if (this.#find(feed.to, state) !== feed) return false
    if (feed.incarnation !== state.incarnation) {
      feed.incarnation = state.incarnation
      feed.applied = 0
      this.#snapshot(feed)
    }
    if (feed.unhandled >= this.#settings.window) return false
    if (feed.told < state.recent.since) this.#snapshot(feed)
    // The peer hears of a snapshot before it gets changes for it, and of its end when no change is missing.
    if (feed.cursor !== undefined && (feed.cursor.begins || feed.told === state.version))
      return this.#chunk(feed, feed.cursor)
    if (feed.told < state.version) return this.#changes(feed)
    if (state !== this.#owners.own && feed.unhandled === 0) this.stop(feed.to, state)
    return false
  }

  #changes(feed: Feed): boolean {
    const { state } = feed
    const until = this.#encodeChanges(state, feed.told)
    const writer = this.#peers.begin(feed.to, FrameType.operations)
    if (writer === undefined) return false
    writer.text(state.node)
    writer.varint(state.incarnation)
    writer.varint(feed.told)
    writer.varint(until - feed.told)
    writer.bytes(this.#body.buffer, 0, this.#body.at)
    this.#peers.end()
    feed.told = until
    feed.unhandled++
    return true
  }

  #encodeChanges(state: OwnerState, since: number): number {
    const own = state === this.#owners.own
    const body = this.#body
    const full = body.at >= this.#settings.frameBytes
    if (
      own &&
      since === this.#since &&
      this.#incarnation === state.incarnation &&
      (full || this.#until === state.version)
    )
      return this.#until
    body.clear()
    const { recent, version } = state
    let until = since
    while (until < version && body.at < this.#settings.frameBytes) {
      until++
      body.text(recent.key(until))
      body.varint(recent.value(until))
    }
    this.#since = own ? since : -1
    this.#until = until
    this.#incarnation = state.incarnation
    return until
  }

  #chunk(feed: Feed, cursor: Cursor): boolean {
    const { state } = feed
    const { table } = state
    if (cursor.whole !== table.whole) {
      // The table was put into parts meanwhile: all over again, as it was small.
      feed.cursor = this.#cursor(state, 0)
      return this.#chunk(feed, feed.cursor)
    }
    const from = cursor.position
    const count = feed.told === state.version ? this.#encodeEntries(cursor, table) : this.#encodeNothing()
    const writer = this.#peers.begin(feed.to, FrameType.snapshot)
    if (writer === undefined) return false
    writer.text(state.node)
    writer.varint(state.incarnation)
    writer.varint(feed.told)
    writer.u8(cursor.begins ? Chunk.begins : 0)
    writer.varint(table.size)
    writer.varint(from)
    writer.varint(cursor.position)
    writer.u32(table.low)
    writer.u32(table.high)
    writer.varint(count)
    writer.bytes(this.#body.buffer, 0, this.#body.at)
    this.#peers.end()
    cursor.begins = false
    feed.unhandled++
    if (cursor.position === positions) feed.cursor = undefined
    return true
  }

  #encodeNothing(): number {
    this.#body.clear()
    this.#since = -1
    return 0
  }

  /** Fills `#body` from where the cursor stands. */
  #encodeEntries(cursor: Cursor, table: Table): number {
    this.#encodeNothing()
    const body = this.#body
    let count = 0
    while (cursor.position < positions) {
      cursor.entries ??= table.part(cursor.position)[Symbol.iterator]()
      for (let next = cursor.entries.next(); !next.done; next = cursor.entries.next()) {
        body.text(next.value[0])
        body.varint(next.value[1])
        count++
        if (body.at >= this.#settings.frameBytes) return count
      }
      cursor.entries = undefined
      cursor.position = table.whole ? positions : cursor.position + 1
    }
    return count
  }
}
