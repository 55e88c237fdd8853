import type { Stamp } from '../mqtt/stamp.ts'
import type { RetainedWatcher } from '../retain/retained.ts'
import type { Tombstone } from '../retain/tombstones.ts'

/** Topics fall into so many buckets, by a hash. */
export const bucketCount = 1024

const none: ReadonlySet<string> = new Set<string>()

/**
 * What is retained, for comparing it with what another node has: for each bucket of topics a hash over its (topic, stamp),
 * whatever their order, and their names.
 *
 *   root = Σ hashes of buckets      bucket = Σ hash(topic, stamp), two words of 32 bits each
 *
 * A message that has expired and one that has not are the same here, and a tombstone is there until it is retired. Each
 * change has a number, so that it can be said what somebody knew when.
 */
export class Buckets implements RetainedWatcher {
  /** Two words a bucket. */
  readonly hashes = new Int32Array(2 * bucketCount)
  readonly root = new Int32Array(2)
  readonly #names: (Set<string> | undefined)[] = new Array<Set<string> | undefined>(bucketCount).fill(undefined)
  readonly #hash = new Int32Array(2)
  #size = 0
  #changes = 0

  /** Topics, those of tombstones included. */
  get size(): number {
    return this.#size
  }

  /** Changes so far. */
  get changes(): number {
    return this.#changes
  }

  /** The topics of a bucket, in any order. */
  names(bucket: number): ReadonlySet<string> {
    return this.#names[bucket] ?? none
  }

  came(name: string, stamp: Stamp): void {
    const bucket = this.#add(name, stamp, 1)
    ;(this.#names[bucket] ??= new Set()).add(name)
    this.#size++
  }

  went(name: string, stamp: Stamp, tombstone: Tombstone | undefined): void {
    if (tombstone !== undefined && tombstone.retiredAt > 0) return
    this.#names[this.#add(name, stamp, -1)]!.delete(name)
    this.#size--
  }

  /** It is not told any more, and still kept. */
  retire(tombstone: Tombstone): void {
    this.went(tombstone.name, tombstone.stamp, tombstone)
    tombstone.retiredAt = this.#changes
  }

  #add(name: string, stamp: Stamp, sign: number): number {
    const { hashes, root } = this
    const hash = this.#hash
    const at = 2 * hashOf(name, stamp, hash)
    for (let word = 0; word < 2; word++) {
      hashes[at + word]! += sign * hash[word]!
      root[word]! += sign * hash[word]!
    }
    this.#changes++
    return at / 2
  }
}

/** The bucket of a topic. */
export function bucketOf(name: string): number {
  let a = firstSeed
  for (let i = 0; i < name.length; i++) a = Math.imul(a ^ name.charCodeAt(i), 0x01000193)
  return mixed(a) & (bucketCount - 1)
}

/** Two words for a topic and its stamp; gives the bucket. */
function hashOf(name: string, { ms, count, node }: Stamp, into: Int32Array): number {
  let a = firstSeed
  let b = secondSeed
  for (let i = 0; i < name.length; i++) {
    const char = name.charCodeAt(i)
    a = Math.imul(a ^ char, 0x01000193)
    b = Math.imul((b << 13) | (b >>> 19), 0x5bd1e995) ^ Math.imul(char, 0x27d4eb2f)
  }
  const bucket = mixed(a) & (bucketCount - 1)
  for (const word of [ms, Math.floor(ms / 0x1_0000_0000), count]) {
    a = mixed(a ^ word)
    b = mixed(b + Math.imul(word, 0x165667b1))
  }
  for (let i = 0; i < node.length; i++) {
    const char = node.charCodeAt(i)
    a = Math.imul(a ^ char, 0x01000193)
    b = Math.imul((b << 13) | (b >>> 19), 0x5bd1e995) ^ Math.imul(char, 0x27d4eb2f)
  }
  into[0] = mixed(a)
  into[1] = mixed(b)
  return bucket
}

const firstSeed = 0x811c9dc5 | 0
const secondSeed = 0x3c6ef372

function mixed(value: number): number {
  let mix = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  mix = Math.imul(mix ^ (mix >>> 13), 0xc2b2ae35)
  return mix ^ (mix >>> 16)
}
