import type { FrameType } from './wire.ts'
import { type KeyedHash, mix, upper } from './hash.ts'
import type { NodeId } from './peers.ts'
import type { Recent, Table } from './tables.ts'

/** What is known of one owner's table. */
export interface OwnerView {
  readonly incarnation: number
  /** 0 also while the first snapshot of an incarnation is on its way. */
  readonly version: number
  /** All of it is there: no snapshot is on its way, or was broken off. */
  readonly complete: boolean
  readonly size: number
  /** Of the whole table, as 16 hex digits. */
  readonly hash: string
  get(key: string): number
  entries(): IterableIterator<[key: string, value: number]>
}

/** A snapshot that is on its way: keys come by position, and changes of the meantime between them. */
export interface Arrival {
  /** Who sends it. */
  readonly from: NodeId
  /** Everything below is as the sender has it. */
  position: number
  /** Changes up to this version are in. */
  version: number
  /** Keys of the position that is coming. Undefined: all keys here have come, as there was none before. */
  seen: Set<string> | undefined
  /** Removes up to `to` what has not come; the rest waits for that. */
  sweep: Sweep | undefined
}

interface Sweep {
  readonly to: number
  readonly keys: Iterator<string>
  /** Keys that have come of what is beyond. */
  readonly beyond: Set<string> | undefined
  /** What the set hash must be when it was the last one. */
  readonly hash: SetHash
}

export interface SetHash {
  readonly low: number
  readonly high: number
}

/** A frame that waits for its turn. */
export interface Waiting {
  readonly from: NodeId
  readonly type: FrameType
  readonly bytes: Uint8Array
}

/** What a node is told of frames of one owner that were handled. */
export interface Confirmation {
  readonly to: NodeId
  readonly state: OwnerState
  frames: number
}

/**
 * One owner's state, at the owner or as a replica.
 *
 *   complete     incarnation, version and table belong together; versions of one owner are totally ordered
 *   otherwise    the table is between two states: version is 0, and nobody is told of it
 */
export class OwnerState implements OwnerView {
  readonly node: NodeId
  /** A hash of `node`, for digests. */
  readonly name: number
  incarnation = 0
  version = 0
  complete = true
  /** Evicted: its keys are being removed. */
  leaving = false
  readonly table: Table
  readonly recent: Recent
  arrival: Arrival | undefined = undefined
  waiting: Waiting[] | undefined = undefined
  /** The last one that has not left. */
  confirmation: Confirmation | undefined = undefined
  /** When, and whom, we asked last for what is missing here. */
  askedMs = -Infinity
  asked: NodeId | undefined = undefined
  /** The state that others had a digest ago, when it was newer. */
  lateIncarnation = 0
  lateVersion = 0
  /** Its part of `Owners.total`, and whether that is out of date. */
  markLow = 0
  markHigh = 0
  stale = false

  constructor(node: NodeId, name: number, table: Table, recent: Recent) {
    this.node = node
    this.name = name
    this.table = table
    this.recent = recent
  }

  get size(): number {
    return this.table.size
  }

  get hash(): string {
    return hex(this.table.high) + hex(this.table.low)
  }

  get(key: string): number {
    return this.table.get(key)
  }

  entries(): IterableIterator<[key: string, value: number]> {
    return this.table.entries()
  }
}

function hex(half: number): string {
  return (half >>> 0).toString(16).padStart(8, '0')
}

/** Older: negative; newer: positive. */
export function compareStates(incarnation: number, version: number, of: OwnerState): number {
  return incarnation - of.incarnation || version - of.version
}

/** All owners that are known here, ourselves among them, with a hash over their states. */
export class Owners {
  readonly own: OwnerState
  readonly #byNode = new Map<NodeId, OwnerState>()
  readonly #byName = new Map<number, OwnerState>()
  readonly #names: KeyedHash
  readonly #make: (node: NodeId, name: number) => OwnerState
  readonly #stale: OwnerState[] = []
  #sorted: OwnerState[] | undefined
  #low = 0
  #high = 0

  constructor(self: NodeId, names: KeyedHash, make: (node: NodeId, name: number) => OwnerState) {
    this.#names = names
    this.#make = make
    this.own = this.obtain(self)
  }

  get(node: NodeId): OwnerState | undefined {
    return this.#byNode.get(node)
  }

  /** The state of `node`; that of nothing if it is new. */
  obtain(node: NodeId): OwnerState {
    let state = this.#byNode.get(node)
    if (state !== undefined) return state
    state = this.#make(node, this.nameOf(node))
    this.#byNode.set(node, state)
    this.#byName.set(state.name, state)
    this.#sorted = undefined
    return state
  }

  byName(name: number): OwnerState | undefined {
    return this.#byName.get(name)
  }

  nameOf(node: NodeId): number {
    return this.#names.number(node)
  }

  remove(state: OwnerState): void {
    this.#byNode.delete(state.node)
    this.#byName.delete(state.name)
    this.#sorted = undefined
    this.#unmark(state)
    this.touch(state)
  }

  get size(): number {
    return this.#byNode.size
  }

  /** Ordered by name, for digests. */
  get sorted(): readonly OwnerState[] {
    return (this.#sorted ??= [...this.#byName.values()].sort((a, b) => a.name - b.name))
  }

  all(): IterableIterator<OwnerState> {
    return this.#byNode.values()
  }

  /** The state has changed: its mark is worked out anew when somebody asks. */
  touch(state: OwnerState): void {
    if (state.stale) return
    state.stale = true
    this.#stale.push(state)
  }

  /** A hash over the states of all owners that have told anything: where it is the same, nothing is missing. */
  total(): SetHash {
    for (const state of this.#stale) {
      state.stale = false
      this.#unmark(state)
      if (state.version === 0 || this.#byNode.get(state.node) !== state) continue
      this.#mark(state)
    }
    this.#stale.length = 0
    return { low: this.#low, high: this.#high }
  }

  #mark(state: OwnerState): void {
    const { name, incarnation, version, table } = state
    const seed = mix((name | 0) ^ mix(upper(name) + mix(incarnation | 0)) ^ upper(incarnation))
    state.markLow = mix(seed ^ mix(version | 0) ^ table.low)
    state.markHigh = mix((seed + table.high) ^ mix((version | 0) + 1) ^ upper(version))
    this.#low ^= state.markLow
    this.#high ^= state.markHigh
  }

  #unmark(state: OwnerState): void {
    this.#low ^= state.markLow
    this.#high ^= state.markHigh
    state.markLow = state.markHigh = 0
  }
}
