import { bucketCount } from './buckets.ts'
import type { NodeId } from './peers.ts'

/** Which nodes are known to have had on disk, by bucket, just what we had: at which of our changes. */
export class Agreements {
  readonly #nodes = new Map<NodeId, Float64Array>()

  /** @param change the number of the last change before the node was asked */
  agreed(node: NodeId, bucket: number, change: number): void {
    let changes = this.#nodes.get(node)
    if (changes === undefined) this.#nodes.set(node, (changes = new Float64Array(bucketCount).fill(-1)))
    if (change > changes[bucket]!) changes[bucket] = change
  }

  allAgreed(node: NodeId, change: number): void {
    for (let bucket = 0; bucket < bucketCount; bucket++) this.agreed(node, bucket, change)
  }

  /** Has the node agreed since this change? */
  since(node: NodeId, bucket: number, change: number): boolean {
    const changes = this.#nodes.get(node)
    return changes !== undefined && changes[bucket]! >= change
  }

  forget(node: NodeId): void {
    this.#nodes.delete(node)
  }
}
