import { type ParsedFilter, parseFilter, type Topic } from '../mqtt/topic.ts'
import type { Match, Member } from '../routing/delivery.ts'
import type { HashKey } from '../routing/path.ts'
import { SubscriptionTree } from '../routing/tree.ts'
import type { Session } from '../sessions/session.ts'

// What nodes tell each other of their subscriptions, as keys of their tables:
//
//   f<filter>           bits: somebody here · somebody whose session outlives its connection
//   g<group>/<filter>   members of a shared subscription here, rounded down to a power of two
//   p<group>/<filter>   of these, those whose session outlives its connection
export const Here = { somebody: 1, persistent: 2 } as const

/** The node's own table, as gossip has it. */
export interface OwnTable {
  /** 0: absent. */
  set(key: string, value: number): void
}

const persistentUnit = 0x400_0000
const shards = 256

/** Counts the subscriptions of this node, and tells the others when that makes a difference to them. */
export class OwnInterest {
  readonly #table: OwnTable
  /** By the name of a filter or group: sessions, and persistent ones in the upper bits. In parts, so that none grows at once. */
  readonly #counts: readonly Map<string, number>[] = Array.from({ length: shards }, () => new Map<string, number>())

  constructor(table: OwnTable) {
    this.#table = table
  }

  /** A subscription came or went. */
  changed(filter: ParsedFilter, persistent: boolean, present: boolean): void {
    const unit = 1 + (persistent ? persistentUnit : 0)
    this.#count(filter, present ? unit : -unit)
  }

  /** A session has become persistent, or is no longer. */
  persistence({ persistent, subscriptions }: Session): void {
    for (const filter of subscriptions.keys())
      this.#count(parseFilter(filter), persistent ? persistentUnit : -persistentUnit)
  }

  #count({ filter, group }: ParsedFilter, change: number): void {
    // Every node has its own.
    if (isOfNode(filter)) return
    const key = group === undefined ? `f${filter}` : `g${group}/${filter}`
    const counts = this.#counts[shardOf(key)]!
    const before = counts.get(key) ?? 0
    const now = before + change
    if (now === 0) counts.delete(key)
    else counts.set(key, now)
    if (group === undefined) this.#tell(key, bitsOf(before), bitsOf(now))
    else {
      this.#tell(key, weightOf(before % persistentUnit), weightOf(now % persistentUnit))
      const persistent = (count: number) => weightOf(Math.floor(count / persistentUnit))
      this.#tell(`p${group}/${filter}`, persistent(before), persistent(now))
    }
  }

  #tell(key: string, before: number, now: number): void {
    if (before !== now) this.#table.set(key, now)
  }
}

function bitsOf(count: number): number {
  if (count === 0) return 0
  return Here.somebody | (count >= persistentUnit ? Here.persistent : 0)
}

/** Rounded, so that a group that grows is not news each time. */
function weightOf(members: number): number {
  return members === 0 ? 0 : 2 ** Math.floor(Math.log2(members))
}

function shardOf(key: string): number {
  let hash = 0
  for (let at = Math.max(0, key.length - 16); at < key.length; at++) hash = Math.imul(hash, 31) + key.charCodeAt(at)
  return (hash ^ (hash >>> 8)) & (shards - 1)
}

/** Topics that each node has to itself. */
export function isOfNode(name: string): boolean {
  return name.startsWith('$SYS/') || name === '$SYS'
}

/** The members that other nodes have of one shared subscription. */
export class RemoteGroup<P> {
  readonly #weights = new Map<P, { any: number; persistent: number }>()
  #turn = 0

  get empty(): boolean {
    return this.#weights.size === 0
  }

  set(node: P, kind: 'any' | 'persistent', weight: number): void {
    const weights = this.#weights.get(node) ?? { any: 0, persistent: 0 }
    weights[kind] = weight
    if (weights.any > 0 || weights.persistent > 0) this.#weights.set(node, weights)
    else this.#weights.delete(node)
  }

  has(node: P): boolean {
    return this.#weights.has(node)
  }

  /** Has a node a member whose session outlives its connection? */
  persists(node: P): boolean {
    return (this.#weights.get(node)?.persistent ?? 0) > 0
  }

  /**
   * Nodes take turns, each as often as its weight says; 0: never. Undefined when none is left.
   * @param peek asks who would be next
   */
  pick(
    weight: (node: P, weights: { readonly any: number; readonly persistent: number }) => number,
    peek = false,
  ): P | undefined {
    let total = 0
    for (const [node, weights] of this.#weights) total += weight(node, weights)
    if (total === 0) return undefined
    let left = this.#turn % total
    if (!peek) this.#turn++
    for (const [node, weights] of this.#weights) {
      left -= weight(node, weights)
      if (left < 0) return node
    }
    return undefined
  }
}

/**
 * Which other nodes want a topic.
 *
 *   tables of the others ─▶ a tree of filters whose subscribers are nodes ─▶ remembered on the topic, beside our own sessions
 *
 * A grant's QoS says what a node has for the filter: 1, somebody; 2, somebody whose session outlives its connection.
 */
export class RemoteInterest<P extends Member> {
  readonly #tree: SubscriptionTree<P>
  /** By `$share/group/filter`. */
  readonly #groups = new Map<string, RemoteGroup<P>>()

  constructor(hashKey: HashKey) {
    this.#tree = new SubscriptionTree<P>({ hashKey })
  }

  match(topic: Topic): Match<P> {
    return this.#tree.match(topic)
  }

  group(name: string): RemoteGroup<P> | undefined {
    return this.#groups.get(name)
  }

  /** A key of a node's table has another value. @throws MqttError when it names no filter */
  changed(node: P, key: string, value: number): void {
    const name = key.slice(1)
    if (key.startsWith('f')) return this.#plain(node, name, value)
    if (key.startsWith('g')) this.#shared(node, name, 'any', value)
    else if (key.startsWith('p')) this.#shared(node, name, 'persistent', value)
  }

  #plain(node: P, name: string, value: number): void {
    const filter = parseFilter(name)
    if (value === 0) this.#tree.unsubscribe(node, filter)
    else this.#tree.subscribe(node, filter, value & Here.persistent ? persistentGrant : grant)
  }

  #shared(node: P, name: string, kind: 'any' | 'persistent', value: number): void {
    const full = `$share/${name}`
    const filter = parseFilter(full)
    let group = this.#groups.get(full)
    if (group === undefined) this.#groups.set(full, (group = new RemoteGroup<P>()))
    const before = group.has(node)
    group.set(node, kind, value)
    if (!before && group.has(node)) this.#tree.subscribe(node, filter, grant)
    if (before && !group.has(node)) this.#tree.unsubscribe(node, filter)
    if (group.empty) this.#groups.delete(full)
  }
}

const grant = { qos: 1, noLocal: false, retainAsPublished: false, subscriptionId: 0 } as const
const persistentGrant = { ...grant, qos: 2 } as const
