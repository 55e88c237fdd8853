import { copyBytes, copyInto, sameBytes } from './bytes.ts'
import { MqttError, Reason } from './reason.ts'
import { hiddenOf } from './tenant-name.ts'
import { readText } from './text.ts'

/** A checked topic filter without its `$share/group/` prefix. */
export type TopicFilter = string & { readonly brand: 'TopicFilter' }

export type QoS = 0 | 1 | 2

/** What the router remembers about a topic. Only the router looks inside. */
export interface CachedRoute {
  readonly version: number
}

/** What the rules of durability remember about a topic. Only they look inside. */
export interface CachedDurability {
  readonly owner: object
}

/** What a table of decisions knows a topic by. Only that table looks inside. */
export interface PermissionKey {
  readonly owner: object
}

/** A checked topic name. One object for each name in use, so that a route can be remembered on it. */
export class Topic {
  route: CachedRoute | undefined = undefined
  durability: CachedDurability | undefined = undefined
  /** Undefined: nobody has asked yet. */
  permissionKey: PermissionKey | undefined = undefined
  /** Who was found last to be allowed to publish here, and who to be sent what is. Only sessions look at it. */
  publisher: object | undefined = undefined
  receiver: object | undefined = undefined
  /** How many bytes of its start no client sees: the root of a tenant, or nothing. */
  readonly hidden: number
  /** What clients write and are sent: the bytes behind that. */
  readonly wire: Uint8Array

  constructor(
    readonly name: string,
    /** UTF-8, without the length prefix. */
    readonly bytes: Uint8Array,
  ) {
    this.hidden = hiddenOf(name)
    this.wire = this.hidden === 0 ? bytes : bytes.subarray(this.hidden)
  }

  /** As its clients know it: for their rules, and for what they are told. */
  get shown(): string {
    return this.name.slice(this.hidden)
  }
}

export interface ParsedFilter {
  readonly filter: TopicFilter
  /** The group of `$share/group/filter`. */
  readonly group?: string
}

/** Levels that a topic or filter may have; deeper ones cost memory and never come from a device. */
export const maxLevels = 100

/** Longest topic or filter, in bytes [MQTT-4.7.3-3]. */
export const maxTopicBytes = 65_535

/**
 * Checks a topic filter, and splits off a shared subscription's group.
 * @throws MqttError 0x8F, naming the clause, when the filter breaks MQTT 5.0 section 4.7 or 4.8.2.
 */
export function parseFilter(text: string): ParsedFilter {
  if (!isShared(text)) return { filter: checkFilter(text) }
  const groupEnd = text.indexOf('/', 7)
  const group = text.slice(7, groupEnd < 0 ? undefined : groupEnd)
  if (groupEnd < 0 || group === '' || group.includes('+') || group.includes('#'))
    throw invalid('MQTT-4.8.2-2', `"${text}" is not $share/<group>/<filter>`)
  return { filter: checkFilter(text.slice(groupEnd + 1)), group }
}

function isShared(text: string): boolean {
  return text.charCodeAt(0) === dollar && (text.startsWith('$share/') || text === '$share')
}

/**
 * Checks a topic name.
 * @throws MqttError 0x90, naming the clause.
 */
export function parseTopicName(text: string): string {
  const fault = topicFault(text)
  if (fault) throw new MqttError(Reason.topicNameInvalid, fault[0], fault[1])
  return text
}

function topicFault(text: string): [clause: string, what: string] | undefined {
  if (text === '') return ['MQTT-4.7.3-1', 'a topic name must be at least one character long']
  if (text.includes('+') || text.includes('#'))
    return ['MQTT-3.3.2-2', `topic name "${text.slice(hiddenOf(text))}" contains a wildcard`]
  if (text.includes('\0')) return ['MQTT-4.7.3-2', 'a topic name must not contain U+0000']
  if (levelsOf(text) > maxLevels) return ['MQTT-4.7.3', `a topic name may have ${maxLevels} levels at most`]
  return undefined
}

function checkFilter(text: string): TopicFilter {
  if (text === '') throw invalid('MQTT-4.7.3-1', 'a topic filter must be at least one character long')
  let levels = 1
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code > slash) continue
    if (code === slash) levels++
    else if (code === 0) throw invalid('MQTT-4.7.3-2', 'a topic filter must not contain U+0000')
    else if (code === plus || code === hash) checkWildcard(text, at)
  }
  if (levels > maxLevels) throw invalid('MQTT-4.7.3', `a topic filter may have ${maxLevels} levels at most`)
  return text as TopicFilter
}

function checkWildcard(text: string, at: number): void {
  const alone = (at === 0 || text[at - 1] === '/') && (at === text.length - 1 || text[at + 1] === '/')
  if (text[at] === '+') {
    if (!alone) throw invalid('MQTT-4.7.1-2', `"+" must fill a whole level in "${text}"`)
  } else if (!alone || at < text.length - 1)
    throw invalid('MQTT-4.7.1-1', `"#" must be the whole last level in "${text}"`)
}

// The wildcards stand before the slash in ASCII, and what names are made of behind it.
const hash = 0x23
const dollar = 0x24
const plus = 0x2b
const slash = 0x2f

function levelsOf(text: string): number {
  let levels = 1
  for (let at = text.indexOf('/'); at >= 0; at = text.indexOf('/', at + 1)) levels++
  return levels
}

function invalid(clause: string, what: string): MqttError {
  return new MqttError(Reason.topicFilterInvalid, clause, what)
}

/** Names of this many bytes fill a generation, however few they are: a name may have 65,535. */
const generationBytes = 8 * 1024 * 1024

/**
 * Interns topic names by their bytes, so that a repeated topic costs a hash and a compare, no string and no check.
 *
 *   young (filling) ── full ──▶ old ── next full ──▶ forgotten
 *
 * A hit in `old` moves to `young`, so what is in use stays, and memory is bounded without a list to keep in order.
 */
export class TopicTable {
  readonly #seed: number
  readonly #limit: number
  #young: Generation
  #youngBytes = 0
  #old: Generation
  /** Where a root and what a client wrote are put together. */
  #joined = new Uint8Array(256)

  /**
   * @param seed secret, so that nobody can choose topics that all fall on one slot
   * @param limit topics in a generation; at most twice as many are remembered
   */
  constructor(seed = 0x811c9dc5, limit = 131_072) {
    this.#seed = seed | 0
    this.#limit = limit
    this.#young = new Generation(1024)
    this.#old = new Generation(16)
  }

  /**
   * The topic that stands in `bytes[start, end)`.
   * @throws MqttError (0x81 for text that is no UTF-8, 0x90 for a bad name), naming the clause.
   */
  at(bytes: Uint8Array, start: number, end: number): Topic {
    let hash = this.#seed
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
    hash ^= hash >>> 15
    const known = this.#young.find(hash, bytes, start, end)
    if (known) return known
    const topic = this.#old.find(hash, bytes, start, end) ?? this.#checked(bytes, start, end)
    if (this.#young.size >= this.#limit || this.#youngBytes >= generationBytes) {
      this.#youngBytes = 0
      this.#old = this.#young
      this.#young = new Generation(1024)
    }
    this.#young.add(hash, topic)
    this.#youngBytes += end - start
    return topic
  }

  /**
   * The topic that a tenant's client has written in `bytes[start, end)`.
   * @throws MqttError as `at`, and 0x90 when it is too long with its root
   */
  under(root: Uint8Array, bytes: Uint8Array, start: number, end: number): Topic {
    // Behind a root an empty name would look like one.
    if (start === end) return this.at(bytes, start, end)
    const length = root.length + end - start
    if (length > maxTopicBytes)
      throw new MqttError(
        Reason.topicNameInvalid,
        'MQTT-4.7.3-3',
        'with the root of its tenant the topic name is too long',
      )
    if (length > this.#joined.length) this.#joined = new Uint8Array(maxTopicBytes)
    this.#joined.set(root)
    copyInto(this.#joined, root.length, bytes, start, end)
    return this.at(this.#joined, 0, length)
  }

  /** The topic of a name that has been checked (or, for our own `$SYS` topics, chosen by us). */
  named(name: string): Topic {
    const bytes = Buffer.from(name, 'utf8')
    return this.at(bytes, 0, bytes.length)
  }

  #checked(bytes: Uint8Array, start: number, end: number): Topic {
    const name = parseTopicName(readText(bytes, start, end))
    return new Topic(name, copyBytes(bytes, start, end))
  }
}

/** Open addressing, linear probing, grown at three quarters. */
class Generation {
  size = 0
  #hashes: Int32Array
  #topics: (Topic | undefined)[]

  constructor(capacity: number) {
    this.#hashes = new Int32Array(capacity)
    this.#topics = new Array<Topic | undefined>(capacity).fill(undefined)
  }

  find(hash: number, bytes: Uint8Array, start: number, end: number): Topic | undefined {
    const mask = this.#topics.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const topic = this.#topics[slot]
      if (topic === undefined) return undefined
      if (this.#hashes[slot] === hash && sameBytes(topic.bytes, bytes, start, end)) return topic
    }
  }

  add(hash: number, topic: Topic): void {
    if (this.size * 4 >= this.#topics.length * 3) this.#grow()
    const mask = this.#topics.length - 1
    let slot = hash & mask
    while (this.#topics[slot] !== undefined) slot = (slot + 1) & mask
    this.#hashes[slot] = hash
    this.#topics[slot] = topic
    this.size++
  }

  #grow(): void {
    const hashes = this.#hashes
    const topics = this.#topics
    this.#hashes = new Int32Array(topics.length * 2)
    this.#topics = new Array<Topic | undefined>(topics.length * 2).fill(undefined)
    this.size = 0
    for (let slot = 0; slot < topics.length; slot++) {
      const topic = topics[slot]
      if (topic) this.add(hashes[slot]!, topic)
    }
  }
}
