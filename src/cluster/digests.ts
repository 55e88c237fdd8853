import type { Clock, Random } from '../host.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import { type Entry, readEntry, writeEntry } from './entry.ts'
import type { Intake } from './intake.ts'
import { compareStates, type OwnerState, type Owners } from './owners.ts'
import type { NodeId, Peers } from './peers.ts'
import { Verifications, type Verdict } from './verification.ts'
import { FrameType, WireError } from './wire.ts'

/** What a digest frame is. */
const Kind = {
  /** Number of owners, and a hash over the states of all. */
  total: 0,
  /** A total differed: all states, ordered by name. What is newer at the other node comes back. */
  states: 1,
  /** Some states, in answer to those. */
  newer: 2,
  /** Asks for all states, to verify them. */
  verify: 3,
  /** These. */
  verified: 4,
} as const

const entriesPerFrame = 500

/**
 * Finds what got lost: every second a hash over all states goes to some peer; where it differs, the states follow, and whoever has the
 * older one of an owner asks for the rest. So what a node does not hear from its owner, for want of a link, it hears from others.
 */
export class Digests {
  readonly #peers: Peers
  readonly #owners: Owners
  readonly #intake: Intake
  readonly #random: Random
  readonly #verifications: Verifications

  constructor(peers: Peers, owners: Owners, intake: Intake, clock: Clock, random: Random) {
    this.#peers = peers
    this.#owners = owners
    this.#intake = intake
    this.#random = random
    this.#verifications = new Verifications(clock, peers, (node, round) => this.#askVerify(node, round))
  }

  /** Compares with one peer, by chance. */
  tick(): void {
    this.#verifications.tick()
    const peers = [...this.#peers.linked()]
    if (peers.length > 0) this.#total(peers[this.#random.below(peers.length)]!)
  }

  /** Compares all with all linked nodes. */
  verify(then: (verdicts: Verdict[]) => void): void {
    this.#verifications.begin(then)
  }

  frame(from: NodeId, reader: RecordReader): void {
    const kind = reader.u8()
    if (kind === Kind.total) {
      const low = reader.u32() | 0
      const high = reader.u32() | 0
      const total = this.#owners.total()
      if (total.low !== low || total.high !== high) this.#all(from, Kind.states, 0)
    } else if (kind === Kind.states) this.#states(from, reader)
    else if (kind === Kind.newer)
      for (let left = reader.varint(); left > 0; left--) this.#heard(from, readEntry(reader))
    else if (kind === Kind.verify) this.#all(from, Kind.verified, reader.varint())
    else if (kind === Kind.verified) this.#verified(from, reader)
  }

  #total(to: NodeId): void {
    const writer = this.#begin(to, Kind.total)
    if (writer === undefined) return
    const { low, high } = this.#owners.total()
    writer.u32(low)
    writer.u32(high)
    this.#peers.end()
  }

  #askVerify(to: NodeId, round: number): void {
    const writer = this.#begin(to, Kind.verify)
    if (writer === undefined) return
    writer.varint(round)
    this.#peers.end()
  }

  #begin(to: NodeId, kind: number): RecordWriter | undefined {
    const writer = this.#peers.begin(to, FrameType.digest)
    writer?.u8(kind)
    return writer
  }

  /** All states, in frames that each cover the names in (after, until]. `round` says what they answer. */
  #all(to: NodeId, kind: number, round: number): void {
    const states = this.#owners.sorted.filter(isKnown)
    let after = 0
    let from = 0
    do {
      const some = states.slice(from, from + entriesPerFrame)
      from += entriesPerFrame
      const writer = this.#begin(to, kind)
      if (writer === undefined) return
      const until = from < states.length ? some.at(-1)!.name : Number.MAX_SAFE_INTEGER
      writer.varint(round)
      writer.varint(after)
      writer.varint(until)
      writer.varint(some.length)
      for (const state of some) writeEntry(writer, state)
      this.#peers.end()
      after = until
    } while (from < states.length)
  }

  #states(from: NodeId, reader: RecordReader): void {
    const newer: OwnerState[] = []
    reader.varint()
    this.#walk(reader, (state, entry) => {
      if (entry === undefined) {
        if (state!.version > 0) newer.push(state!)
      } else if (state === undefined || !isKnown(state)) this.#heard(from, entry)
      else if (compareStates(entry.incarnation, entry.version, state) < 0) newer.push(state)
      else this.#heard(from, entry)
    })
    if (newer.length > 0) this.#tellNewer(from, newer)
  }

  #tellNewer(to: NodeId, states: readonly OwnerState[]): void {
    for (let from = 0; from < states.length; from += entriesPerFrame) {
      const some = states.slice(from, from + entriesPerFrame)
      const writer = this.#begin(to, Kind.newer)
      if (writer === undefined) return
      writer.varint(some.length)
      for (const state of some) writeEntry(writer, state)
      this.#peers.end()
    }
  }

  #verified(from: NodeId, reader: RecordReader): void {
    const round = reader.varint()
    const verdict = this.#verifications.verdict(from, round)
    const last = this.#walk(reader, (state, entry) => {
      if (verdict !== undefined) judge(verdict, state, entry)
    })
    if (last) this.#verifications.answered(from, round)
  }

  /** Both lists beside each other: the peer's entries, and our states of the names that the frame covers. Says whether it is the last. */
  #walk(reader: RecordReader, each: (state: OwnerState | undefined, entry: Entry | undefined) => void): boolean {
    const after = reader.varint()
    const until = reader.varint()
    const count = reader.varint()
    const { sorted } = this.#owners
    const ours = sorted.filter((state) => isKnown(state) && (state.name > after || after === 0) && state.name <= until)
    let at = 0
    let last = -1
    for (let left = count; left > 0; left--) {
      const entry = readEntry(reader)
      if (entry.name <= last) throw new WireError('a digest out of order')
      last = entry.name
      while (at < ours.length && ours[at]!.name < entry.name) each(ours[at++], undefined)
      const same = ours[at]?.name === entry.name
      each(same ? ours[at++] : undefined, entry)
    }
    while (at < ours.length) each(ours[at++], undefined)
    return until === Number.MAX_SAFE_INTEGER
  }

  /** A peer has this state of an owner. */
  #heard(from: NodeId, entry: Entry): void {
    const { incarnation, version, name } = entry
    const { own } = this.#owners
    const state = this.#owners.byName(name)
    if (state === own) {
      // Nobody can know more of us than we do, unless we have forgotten that we were here before.
      if (compareStates(incarnation, version, own) > 0) this.#intake.taken(incarnation)
      return
    }
    if (state?.leaving || this.#intake.isForgotten(name, incarnation)) return
    if (state === undefined) {
      if (version > 0 && !this.#intake.full) this.#intake.askFor(from, name)
      return
    }
    const order = state.complete ? compareStates(incarnation, version, state) : incarnation - state.incarnation || 1
    if (order < 0 || this.#intake.arriving(state)) return
    const linked = this.#peers.version(state.node) > 0
    if (order > 0) {
      if (!linked) this.#intake.ask(from, state)
      else if (compareStates(state.lateIncarnation, state.lateVersion, state) > 0) this.#intake.ask(state.node, state)
      // The owner tells us itself: that is on its way, as a rule. If not until the next digest, we ask.
      state.lateIncarnation = incarnation
      state.lateVersion = version
    } else if (linked && (entry.low !== state.table.low || entry.high !== state.table.high))
      this.#intake.ask(state.node, state)
  }
}

function judge(verdict: Verdict, state: OwnerState | undefined, entry: Entry | undefined): void {
  const node = state?.node ?? `#${entry!.name.toString(16)}`
  if (entry === undefined) {
    // Who has told nothing yet need not be known.
    if (state!.version > 0) verdict.older.push(node)
  } else if (state === undefined) {
    if (entry.version > 0) verdict.newer.push(node)
  } else {
    const order = compareStates(entry.incarnation, entry.version, state)
    if (order !== 0) (order > 0 ? verdict.newer : verdict.older).push(node)
    else if (entry.low === state.table.low && entry.high === state.table.high) verdict.equal++
    else verdict.different.push(node)
  }
}

/** Is there something to tell of it? */
function isKnown({ complete, incarnation }: OwnerState): boolean {
  return complete && incarnation > 0
}
