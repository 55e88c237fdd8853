import type { Lsn, RecoveredSession, Store } from '../store/port.ts'
import { Subscriptions } from '../store/subscriptions.ts'
import { type Archive, OwnSession } from './archive.ts'
import { Here } from './interest.ts'
import { tablePrefix } from './own-names.ts'
import type { NodeId } from './peers.ts'

/** What gossip has of a node. */
export interface KnownTable {
  get(key: string): number
}

const shards = 64
/** Keys that are compared in a turn. */
const keysInTurn = 2000

/** A part of what is remembered of one node: `subscriptions` are its keys and their values. */
class Shard extends OwnSession {
  override readonly subscriptions: Subscriptions

  constructor(number: number, clientId: string, keys: Subscriptions) {
    super(number, clientId)
    this.subscriptions = keys
  }
}

/**
 * What other nodes have that outlives their connections, in our store: persistent subscriptions, and who has which session.
 * Without it a node that starts while another is away would not know what to keep for that one.
 *
 *   start ─▶ what was remembered ─▶ gossip has the node's table ─▶ what is not in there is forgotten
 */
export class Remembered {
  readonly #store: Store
  readonly #archive: Archive
  readonly #nodes = new Map<NodeId, (Shard | undefined)[]>()
  /** What was read back, and is to be compared with what the node says itself. */
  readonly #unproven = new Map<NodeId, Iterator<string> | undefined>()
  /** Where the last change of what is remembered stands. */
  notedAt: Lsn = 0

  constructor(store: Store, archive: Archive) {
    this.#store = store
    this.#archive = archive
  }

  /** @param known called for each key that is remembered */
  restore(sessions: readonly RecoveredSession[], known: (node: NodeId, key: string, value: number) => void): void {
    for (const { number, clientId, subscriptions } of sessions) {
      if (!clientId.startsWith(tablePrefix)) continue
      const slash = clientId.lastIndexOf('/')
      const node = clientId.slice(tablePrefix.length, slash)
      this.#put(node, Number(clientId.slice(slash + 1)), new Shard(number, clientId, subscriptions))
      this.#unproven.set(node, undefined)
      for (const [key, value] of subscriptions) known(node, key, value)
    }
  }

  /** Nodes of whom something is remembered that they have not confirmed since our start. */
  unproven(): Iterable<NodeId> {
    return this.#unproven.keys()
  }

  /** Nodes of whom anything is remembered. */
  nodes(): Iterable<NodeId> {
    return this.#nodes.keys()
  }

  get(node: NodeId, key: string): number {
    return this.#nodes.get(node)?.[shardOf(key)]?.subscriptions.get(key) ?? 0
  }

  /** A node's table says something else now. */
  note(node: NodeId, key: string, value: number): void {
    const lasting = lastingOf(key, value)
    const shard = this.#nodes.get(node)?.[shardOf(key)]
    if ((shard?.subscriptions.get(key) ?? 0) === lasting || this.#store.next === 0) return
    const { number, subscriptions } = shard ?? this.#begin(node, shardOf(key))
    if (lasting === 0) {
      subscriptions.delete(key)
      this.notedAt = this.#store.unsubscribed(number, key)
    } else {
      subscriptions.set(key, lasting)
      this.notedAt = this.#store.subscribed(number, key, lasting)
    }
  }

  /**
   * Gossip has a node's whole table: compares some of what was read back with it.
   * @param gone called for each key that the node does not have any more
   * @returns true when all of it has been compared
   */
  prove(node: NodeId, table: KnownTable, gone: (key: string) => void): boolean {
    if (!this.#unproven.has(node)) return true
    const keys = this.#unproven.get(node) ?? this.#keys(node)
    this.#unproven.set(node, keys)
    for (let left = keysInTurn; left > 0; left--) {
      const next = keys.next()
      if (next.done === true) return this.#unproven.delete(node)
      const key = next.value
      const value = table.get(key)
      if (lastingOf(key, value) === this.get(node, key)) continue
      if (value === 0) gone(key)
      this.note(node, key, value)
    }
    return false
  }

  /** A node will not be back. @param gone called for each key that was remembered */
  forget(node: NodeId, gone: (key: string) => void): void {
    for (const key of this.#keys(node)) gone(key)
    for (const shard of this.#nodes.get(node) ?? []) {
      if (shard === undefined) continue
      this.#archive.remove(shard)
      this.#store.ended(shard.number)
    }
    this.#nodes.delete(node)
    this.#unproven.delete(node)
  }

  *#keys(node: NodeId): Generator<string, void> {
    for (const shard of this.#nodes.get(node) ?? []) if (shard) yield* shard.subscriptions.keys()
  }

  #begin(node: NodeId, index: number): Shard {
    const shard = new Shard(this.#store.number(), `${tablePrefix}${node}/${index}`, new Subscriptions())
    this.#store.session(shard)
    return this.#put(node, index, shard)
  }

  #put(node: NodeId, index: number, shard: Shard): Shard {
    let all = this.#nodes.get(node)
    if (all === undefined) this.#nodes.set(node, (all = new Array<undefined>(shards).fill(undefined)))
    all[index] = shard
    this.#archive.add(shard)
    return shard
  }
}

/** What of a value outlives connections; 0: nothing. */
function lastingOf(key: string, value: number): number {
  switch (key[0]) {
    case 'f':
      return value & Here.persistent ? value : 0
    case 'p':
      return value
    case 'c':
      return value % 2 === 1 ? value : 0
    default:
      return 0
  }
}

function shardOf(key: string): number {
  let hash = key.length
  for (let at = Math.max(0, key.length - 16); at < key.length; at++) hash = Math.imul(hash, 31) + key.charCodeAt(at)
  return (hash ^ (hash >>> 7)) & (shards - 1)
}
