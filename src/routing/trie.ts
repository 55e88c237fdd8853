import { Chains, next, pairHash } from './chains.ts'
import { Levels } from './levels.ts'
import type { HashKey } from './path.ts'
import { Records } from './records.ts'

// A node:   next · hash · parent · level · the owner's fields
export const parentField = 2
const levelField = 3
export const firstOwnField = 4
export const root = 1

/**
 * A tree of levels. An edge is a row of one hash table, (parent, level) → node, so a node with a million children
 * costs what a million nodes with one child cost: 32 bytes a node and 4 for its bucket.
 */
export class LevelTrie {
  readonly nodes: Records
  readonly levels = new Levels()
  readonly #edges: Chains
  readonly #secret: number

  /** `ownFields`: how many 32-bit fields the owner wants in each node. */
  constructor(ownFields: number, key: HashKey) {
    this.#secret = key[0] ^ key[1]
    this.nodes = new Records(firstOwnField + ownFields)
    this.#edges = new Chains(this.nodes)
    this.nodes.allocate()
  }

  /** Nodes beside the root. */
  get size(): number {
    return this.#edges.size
  }

  get bytes(): number {
    return this.nodes.bytes + this.levels.bytes + this.#edges.bytes
  }

  /** The child of `parent` that stands for level number `level`; 0 when there is none. */
  find(parent: number, level: number): number {
    if (level === 0) return 0
    const hash = pairHash(this.#secret, parent, level)
    const nodes = this.nodes
    for (let id = this.#edges.first(hash); id !== 0; id = nodes.get(id, next))
      if (nodes.get(id, levelField) === level && nodes.get(id, parentField) === parent) return id
    return 0
  }

  /** Adds that child, which must not be there yet. */
  add(parent: number, level: number): number {
    const node = this.nodes.allocate()
    this.nodes.set(node, parentField, parent)
    this.nodes.set(node, levelField, level)
    this.levels.hold(level)
    this.#edges.insert(node, pairHash(this.#secret, parent, level))
    return node
  }

  /** Removes a node, which must have no children, and gives its parent. */
  remove(node: number): number {
    const parent = this.nodes.get(node, parentField)
    this.levels.release(this.nodes.get(node, levelField))
    this.#edges.remove(node)
    this.nodes.free(node)
    return parent
  }

  /** First byte of the node's level; -1 when it is empty. */
  firstByte(node: number): number {
    return this.levels.firstByte(this.nodes.get(node, levelField))
  }
}
