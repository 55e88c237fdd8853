import { RecordReader } from '../store/writer.ts'
import { readIncarnation, writeEntry } from './entry.ts'
import { Chunk, type Feeds } from './feeds.ts'
import type { Arrival, Confirmation, OwnerState, Owners, SetHash } from './owners.ts'
import type { NodeId, Peers } from './peers.ts'
import { positions } from './tables.ts'
import type { Turn } from './turn.ts'
import { FrameType, WireError } from './wire.ts'

/** Who wants to know what becomes of the others' tables. */
export interface GossipListener {
  /** A key of another node's table has another value; 0: it is not there. */
  changed(node: NodeId, key: string, value: number, before: number): void
  /** All of an evicted node's keys are gone, each told by `changed`; nothing more comes of it. */
  reset?(node: NodeId): void
  /** Somebody has told of us under this incarnation, or a newer one: ours is above it from now on. */
  taken?(incarnation: number): void
}

/** Counted, for status and tests. */
export class GossipCounts {
  /** Snapshots that came to their end, and those whose contents were not what their hash says. */
  snapshots = 0
  mismatches = 0
  /** Frames that were dropped, as too much waited for its turn; what they said is asked for again. */
  overruns = 0
  /** What went missing was asked for so often. */
  asked = 0
  /** Frames that told of an owner more than we take up. */
  strangers = 0
}

/** Frames of one owner that are confirmed together while more of them wait: each time is a write. */
const confirmedTogether = 16
const askAgainMs = 1000
const mostForgotten = 10_000

/**
 * Takes in what others tell, of themselves and of third ones.
 *
 *   changes      follow on our version: applied · begin beyond it: something is missing, we ask · else passed over
 *   snapshot     goes into the table as it comes, position by position; what it does not contain is removed as it passes.
 *                Old keys stay until then. The table counts as nothing until the end has come and the hash is right.
 *
 * What does not fit into this turn waits, owner by owner, in order.
 */
export class Intake {
  readonly counts = new GossipCounts()
  readonly #peers: Peers
  readonly #owners: Owners
  readonly #feeds: Feeds
  readonly #turn: Turn
  readonly #now: () => number
  readonly #waitingBytesMost: number
  readonly #ownersMost: number
  readonly #listeners: readonly GossipListener[]
  readonly #reader = new RecordReader()
  #waitingBytes = 0
  /** Owners of whom something waits. */
  readonly #busy = new Set<OwnerState>()
  #confirmations: Confirmation[] = []
  /** Evicted owners by name, with the incarnation that was. */
  readonly #forgotten = new Map<number, number>()

  constructor(options: {
    peers: Peers
    owners: Owners
    feeds: Feeds
    turn: Turn
    now: () => number
    waitingBytes: number
    ownersMost: number
    listeners: readonly GossipListener[]
  }) {
    this.#peers = options.peers
    this.#owners = options.owners
    this.#feeds = options.feeds
    this.#turn = options.turn
    this.#now = options.now
    this.#waitingBytesMost = options.waitingBytes
    this.#ownersMost = options.ownersMost
    this.#listeners = options.listeners
  }

  /** Changes, or a part of a snapshot. @throws WireError, CorruptRecordError */
  frame(from: NodeId, type: FrameType, reader: RecordReader): void {
    const start = reader.at
    const { state, incarnation } = this.#head(type, reader)
    const { own } = this.#owners
    if (state === undefined) return this.#refuse(from, start, reader)
    if (state === own) {
      // Only we tell of ourselves.
      if (incarnation > own.incarnation) this.taken(incarnation)
      return
    }
    this.#turn.begin()
    if (!this.#occupied(state) && !this.#turn.over) return this.#take(from, type, state, incarnation, reader)
    if (this.#waitingBytes > 0 && this.#waitingBytes + reader.end - start > this.#waitingBytesMost) {
      this.counts.overruns++
      return this.#confirm(from, state)
    }
    const bytes = reader.buffer.subarray(start, reader.end)
    this.#waitingBytes += bytes.length
    this.#busy.add(state)
    ;(state.waiting ??= []).push({ from, type, bytes })
  }

  /** Goes on with what waits until the turn is over; says whether something is left. */
  work(): boolean {
    for (const state of this.#busy) {
      while (this.#occupied(state)) {
        this.#step(state)
        if (this.#turn.over) break
      }
      if (!this.#occupied(state)) this.#busy.delete(state)
      if (this.#turn.over) break
    }
    return this.#busy.size > 0
  }

  /** Sends the confirmations of this turn, and of those before it. */
  flush(): void {
    const confirmations = this.#confirmations
    if (confirmations.length === 0) return
    this.#confirmations = []
    for (const confirmation of confirmations) {
      const { state, frames } = confirmation
      if (state.waiting !== undefined && frames < confirmedTogether) this.#confirmations.push(confirmation)
      else this.#tell(confirmation)
    }
  }

  #tell(confirmation: Confirmation): void {
    const { to, state, frames } = confirmation
    if (state.confirmation === confirmation) state.confirmation = undefined
    const writer = this.#peers.begin(to, FrameType.applied)
    if (writer === undefined) return
    const stop = state.leaving || (state.arrival !== undefined && state.arrival.from !== to)
    writer.varint(state.name)
    writer.varint(stop ? 0 : state.incarnation)
    writer.varint(stop ? 0 : state.version)
    writer.varint(frames)
    this.#peers.end()
  }

  /** Asks `to` for what follows on what we have of `state`: again only after a while. */
  ask(to: NodeId, state: OwnerState): void {
    const nowMs = this.#now()
    if (state.leaving || (state.asked === to && nowMs - state.askedMs < askAgainMs)) return
    const writer = this.#peers.begin(to, FrameType.wanted)
    if (writer === undefined) return
    state.asked = to
    state.askedMs = nowMs
    this.counts.asked++
    writeEntry(writer, state)
    writer.varint(state.arrival?.position ?? 0)
    writer.varint(state.arrival?.version ?? 0)
    this.#peers.end()
  }

  /** Asks for the state of an owner that we know nothing of. */
  askFor(to: NodeId, name: number): void {
    const writer = this.#peers.begin(to, FrameType.wanted)
    if (writer === undefined) return
    writeEntry(writer, { name, incarnation: 0, version: 0, table: { low: 0, high: 0 } })
    writer.varint(0)
    writer.varint(0)
    this.#peers.end()
  }

  /** Is its snapshot on its way, so that nobody else need be asked? */
  arriving({ arrival, askedMs }: OwnerState): boolean {
    if (arrival === undefined || this.#peers.version(arrival.from) === 0) return false
    return this.#now() - askedMs < 3 * askAgainMs
  }

  unlinked(node: NodeId): void {
    for (const state of this.#busy) {
      if (state.waiting === undefined) continue
      const left = state.waiting.filter(({ from }) => from !== node)
      for (const { from, bytes } of state.waiting) if (from === node) this.#waitingBytes -= bytes.length
      state.waiting = left.length > 0 ? left : undefined
    }
    for (const state of this.#busy) if (!this.#occupied(state)) this.#busy.delete(state)
    const confirmations = this.#confirmations
    this.#confirmations = confirmations.filter(({ to }) => to !== node)
    for (const { to, state } of confirmations)
      if (to === node && state.confirmation?.to === to) state.confirmation = undefined
    // What others are told may have waited for what has gone.
    if (this.#confirmations.length > 0) this.#turn.begin()
  }

  /** What this node told is removed, and not taken from others again unless it starts anew. */
  forget(node: NodeId, incarnation: number): void {
    const state = this.#owners.get(node)
    if (state === this.#owners.own) return
    this.#remember(this.#owners.nameOf(node), Math.max(incarnation, state?.incarnation ?? 0))
    if (state === undefined || state.leaving) return
    for (const { bytes } of state.waiting ?? []) this.#waitingBytes -= bytes.length
    this.#busy.add(state)
    this.#feeds.drop(state)
    this.#unknown(state)
    state.leaving = true
    state.waiting = undefined
    const arrival: Arrival = { from: '', position: 0, version: 0, seen: new Set(), sweep: undefined }
    const keys = keysBetween(state, arrival, positions)
    arrival.sweep = { to: positions, keys, beyond: undefined, hash: { low: 0, high: 0 } }
    state.arrival = arrival
    this.#turn.begin()
  }

  /** Names that were given up, with the last incarnation that was. */
  #remember(name: number, incarnation: number): void {
    const before = this.#forgotten.get(name) ?? 0
    if (before === 0 && this.#forgotten.size >= mostForgotten)
      this.#forgotten.delete(this.#forgotten.keys().next().value!)
    this.#forgotten.set(name, Math.max(before, incarnation))
  }

  isForgotten(name: number, incarnation: number): boolean {
    return incarnation <= (this.#forgotten.get(name) ?? -1)
  }

  /** Somebody uses our name, or we did before, under this incarnation. */
  taken(incarnation: number): void {
    const { own } = this.#owners
    own.incarnation = incarnation + 1
    own.recent.restart(own.version)
    this.#owners.touch(own)
    this.#feeds.changed(own)
    for (const listener of this.#listeners) listener.taken?.(incarnation)
  }

  /** Whom it is of, once all of it is known to be sound. */
  #head(type: FrameType, reader: RecordReader): { state: OwnerState | undefined; incarnation: number } {
    const node = reader.text()
    const incarnation = readIncarnation(reader)
    if (node === '') throw new WireError('a table without an owner')
    if (incarnation === 0) throw new WireError('a table without an incarnation')
    checkBody(type, reader)
    if (this.#forgotten.size > 0 && this.isForgotten(this.#owners.nameOf(node), incarnation))
      return { state: undefined, incarnation }
    let state = this.#owners.get(node)
    if (state === undefined && this.full) this.counts.strangers++
    else state ??= this.#owners.obtain(node)
    return { state: state?.leaving ? undefined : state, incarnation }
  }

  /** Are there as many owners as we take up? */
  get full(): boolean {
    return this.#owners.size >= this.#ownersMost
  }

  /** Of somebody evicted, or one too many: whoever sends it need not go on. */
  #refuse(from: NodeId, start: number, reader: RecordReader): void {
    reader.at = start
    const node = reader.text()
    const writer = this.#peers.begin(from, FrameType.applied)
    if (writer === undefined) return
    writer.varint(this.#owners.nameOf(node))
    writer.varint(0)
    writer.varint(0)
    writer.varint(1)
    this.#peers.end()
  }

  #occupied(state: OwnerState): boolean {
    return state.waiting !== undefined || state.arrival?.sweep !== undefined
  }

  /** One step of what waits for `state`. */
  #step(state: OwnerState): void {
    if (state.arrival?.sweep !== undefined) return this.#goOn(state, state.arrival)
    const next = state.waiting?.shift()
    if (state.waiting?.length === 0) state.waiting = undefined
    if (next === undefined) return
    this.#waitingBytes -= next.bytes.length
    const reader = this.#reader.over(next.bytes, 0, next.bytes.length)
    reader.text()
    this.#take(next.from, next.type, state, reader.varint(), reader)
  }

  #take(from: NodeId, type: FrameType, state: OwnerState, incarnation: number, reader: RecordReader): void {
    if (type === FrameType.operations) this.#changes(from, state, incarnation, reader)
    else this.#chunk(from, state, incarnation, reader)
    this.#confirm(from, state)
  }

  #changes(from: NodeId, state: OwnerState, incarnation: number, reader: RecordReader): void {
    const since = reader.varint()
    const count = reader.varint()
    if (incarnation < state.incarnation) return
    const { arrival } = state
    // A table that is empty here needs no snapshot.
    const fresh = since === 0 && state.size === 0
    if (fresh && (incarnation > state.incarnation || !state.complete)) this.#beginEmpty(state, incarnation)
    else if (incarnation > state.incarnation) return this.ask(from, state)
    else if (arrival !== undefined) {
      if (from !== arrival.from) return
      if (since !== arrival.version) return this.ask(from, state)
      for (let left = count; left > 0; left--) this.#put(state, reader.text(), reader.varint())
      arrival.version += count
      return
    }
    if (since > state.version || !state.complete) return this.ask(from, state)
    this.#follow(state, since, count, reader)
    this.#moved(state)
  }

  /** An owner without keys: what it began with. */
  #beginEmpty(state: OwnerState, incarnation: number): void {
    this.#feeds.drop(state)
    this.#unknown(state)
    state.incarnation = incarnation
    state.arrival = undefined
    state.complete = true
  }

  /** Applies those of `count` changes after `since` that are new here. */
  #follow(state: OwnerState, since: number, count: number, reader: RecordReader): void {
    for (let version = since + 1; version <= since + count; version++) {
      const key = reader.text()
      const value = reader.varint()
      if (version <= state.version) continue
      this.#put(state, key, value)
      state.recent.push(key, value)
      state.version = version
    }
  }

  #chunk(from: NodeId, state: OwnerState, incarnation: number, reader: RecordReader): void {
    const version = reader.varint()
    const begins = (reader.u8() & Chunk.begins) !== 0
    const size = reader.varint()
    const start = reader.varint()
    const end = reader.varint()
    const hash = { low: reader.u32() | 0, high: reader.u32() | 0 }
    const count = reader.varint()
    if (incarnation < state.incarnation) return
    const arrival = begins ? this.#begin(from, state, incarnation, version, start) : state.arrival
    if (arrival === undefined || arrival.from !== from || incarnation !== state.incarnation) return
    if (arrival.position !== start || arrival.version !== version) return this.ask(from, state)
    state.askedMs = this.#now()
    // It comes in parts: what is not there can be told part by part.
    state.table.expect(end < positions && end > 0 ? Infinity : size)
    const { seen } = arrival
    // A frame may end in the middle of a position.
    const beyond = seen && end > start ? new Set<string>() : undefined
    for (let left = count; left > 0; left--) {
      const key = reader.text()
      if (seen !== undefined) (beyond !== undefined && state.table.position(key) >= end ? beyond : seen).add(key)
      this.#put(state, key, reader.varint())
    }
    if (end === start) return
    arrival.sweep = { to: end, keys: keysBetween(state, arrival, end), beyond, hash }
    this.#goOn(state, arrival)
    if (this.#occupied(state)) this.#busy.add(state)
  }

  /** The sender begins, or goes on where another or an earlier link left off. Undefined: we do not need it. */
  #begin(from: NodeId, state: OwnerState, incarnation: number, version: number, start: number): Arrival | undefined {
    const before = incarnation === state.incarnation ? state.arrival : undefined
    if (start > 0) {
      // It has sent nothing that we need of what changed since then: that comes now.
      if (before === undefined || start > before.position || version > before.version) return undefined
      const seen = before.seen && new Set<string>()
      return (state.arrival = { from, position: start, version, seen, sweep: undefined })
    }
    if (incarnation === state.incarnation && state.complete) {
      const repair = from === state.node && version === state.version
      if (version <= state.version && !repair) return undefined
    }
    this.#feeds.drop(state)
    state.incarnation = incarnation
    this.#unknown(state)
    const seen = state.size > 0 ? new Set<string>() : undefined
    return (state.arrival = { from, position: 0, version, seen, sweep: undefined })
  }

  /** From now on the table is no state that its owner ever had. */
  #unknown(state: OwnerState): void {
    state.complete = false
    state.version = 0
    state.recent.restart(0)
    this.#owners.touch(state)
  }

  #goOn(state: OwnerState, arrival: Arrival): void {
    const { to, keys, beyond, hash } = arrival.sweep!
    for (let steps = 1, next = keys.next(); !next.done; next = keys.next(), steps++) {
      if (!arrival.seen!.has(next.value)) this.#put(state, next.value, 0)
      if (steps % 64 === 0 && this.#turn.over) return
    }
    arrival.sweep = undefined
    arrival.position = to
    arrival.seen = beyond
    if (to < positions) return
    state.arrival = undefined
    if (state.leaving) this.#left(state)
    else this.#arrived(state, arrival, hash)
  }

  #arrived(state: OwnerState, { from, version }: Arrival, { low, high }: SetHash): void {
    if (state.table.low !== low || state.table.high !== high) {
      this.counts.mismatches++
      return this.ask(from, state)
    }
    this.counts.snapshots++
    state.complete = true
    state.version = version
    state.recent.restart(version)
    this.#moved(state)
  }

  #left(state: OwnerState): void {
    this.#owners.remove(state)
    for (const listener of this.#listeners) listener.reset?.(state.node)
    // It may have come again meanwhile, and is waiting to hear what we want.
    this.askFor(state.node, state.name)
  }

  /** The state is a newer one: those who get it from us, and its owner, shall know. */
  #moved(state: OwnerState): void {
    this.#owners.touch(state)
    this.#feeds.changed(state)
    this.#confirm(state.node, state, 0)
  }

  #confirm(to: NodeId, state: OwnerState, frames = 1): void {
    this.#turn.begin()
    if (state.confirmation?.to === to) state.confirmation.frames += frames
    else this.#confirmations.push((state.confirmation = { to, state, frames }))
  }

  #put(state: OwnerState, key: string, value: number): void {
    const before = state.table.set(key, value)
    if (before === value) return
    for (const listener of this.#listeners) listener.changed(state.node, key, value, before)
  }
}

/** Keys that a snapshot has passed when it has come to `to`, if some of them may be of an older state. */
function* keysBetween({ table }: OwnerState, { position, seen }: Arrival, to: number): IterableIterator<string> {
  if (seen === undefined) return
  for (let at = position; at < to; at++) {
    yield* table.part(at).keys()
    if (table.whole) return
  }
}

/** What stands behind owner and incarnation: so that nothing is applied of a frame that is not all sound. */
function checkBody(type: FrameType, reader: RecordReader): void {
  const start = reader.at
  const version = reader.varint()
  if (type === FrameType.snapshot) checkRange(reader)
  const count = reader.varint()
  if (type === FrameType.operations && version + count > Number.MAX_SAFE_INTEGER)
    throw new WireError('a version of more than 53 bits')
  checkEntries(reader, count, type === FrameType.snapshot ? 1 : 0)
  reader.at = start
}

function checkRange(reader: RecordReader): void {
  reader.u8()
  reader.varint()
  const from = reader.varint()
  const to = reader.varint()
  if (from > to || to > positions) throw new WireError('a snapshot runs backwards')
  reader.bytes(8)
}

/** Are there `count` keys with values, each at least `least`? */
function checkEntries(reader: RecordReader, count: number, least: number): void {
  for (let left = count; left > 0; left--) {
    const length = reader.varint()
    if (length > reader.left) throw new WireError('a key runs over the end of its frame')
    reader.at += length
    if (reader.varint() < least) throw new WireError('a snapshot contains what is not there')
  }
}
