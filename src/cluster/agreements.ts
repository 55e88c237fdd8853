import { bucketCount } from './buckets.ts'
import type { NodeId } from './peers.ts'

/** What a node is known to have on its disk, by bucket, as a number of our own changes. */
class Known {
  /** It had all that we had then, or newer. */
  readonly has = new Float64Array(bucketCount)
  /** It had the same as we had, and nothing else. */
  readonly same = new Float64Array(bucketCount)
  constructor() {
    this.has.fill(-1)
    this.same.fill(-1)
  }
}

/** Who is known to know what of our retained messages. */
export class Agreements {
  readonly #nodes = new Map<NodeId, Known>()

  hasAll(node: NodeId, bucket: number, change: number): void {
    const { has } = this.#of(node)
    if (change > has[bucket]!) has[bucket] = change
  }

  theSame(node: NodeId, bucket: number, change: number): void {
    const { has, same } = this.#of(node)
    if (change > has[bucket]!) has[bucket] = change
    if (change > same[bucket]!) same[bucket] = change
  }

  allTheSame(node: NodeId, change: number): void {
    for (let bucket = 0; bucket < bucketCount; bucket++) this.theSame(node, bucket, change)
  }

  /** Does the node have our change, or a newer one? */
  has(node: NodeId, bucket: number, change: number): boolean {
    const known = this.#nodes.get(node)
    return known !== undefined && known.has[bucket]! >= change
  }

  /** Has the node been without what we went without by our change? */
  isSame(node: NodeId, bucket: number, change: number): boolean {
    const known = this.#nodes.get(node)
    return known !== undefined && known.same[bucket]! >= change
  }

  forget(node: NodeId): void {
    this.#nodes.delete(node)
  }

  #of(node: NodeId): Known {
    let known = this.#nodes.get(node)
    if (known === undefined) this.#nodes.set(node, (known = new Known()))
    return known
  }
}
