import { HashIndex, pairHash } from './hash-index.ts'
import { Levels } from './levels.ts'
import type { HashKey } from './path.ts'
import { Records } from './records.ts'

// A node:   parent · level · children · the child "+" · the owner's fields
const parentField = 0
const levelField = 1
const childrenField = 2
const plusField = 3
export const firstOwnField = 4
export const root = 1

/**
 * A tree of levels. A child is found without a table where it is the "+", or the only one that is not: so it is with most nodes, as
 * most have one child or none. Of others an edge is a row of one hash table, (parent, level) → node, so a node with a million
 * children costs what a million nodes with one child cost: 32 bytes a node, and 4 for its bucket.
 *
 *   children    0: none     -n: node n alone, which is not in the table     n: so many, all in the table
 */
export class LevelTrie {
  readonly nodes: Records
  readonly levels = new Levels()
  readonly #edges = new HashIndex()
  readonly #secret: number
  #size = 0

  /** `ownFields`: how many 32-bit fields the owner wants in each node. */
  constructor(ownFields: number, key: HashKey) {
    this.#secret = key[0] ^ key[1]
    this.nodes = new Records(firstOwnField + ownFields)
    this.nodes.allocate()
  }

  /** Nodes beside the root. */
  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.nodes.bytes + this.levels.bytes + this.#edges.bytes
  }

  /** The child "+" of `parent`; 0 when there is none. */
  plus(parent: number): number {
    return this.nodes.get(parent, plusField)
  }

  /** The child of `parent`, not "+", that stands for level number `level`; 0 when there is none. */
  find(parent: number, level: number): number {
    const { nodes } = this
    const children = nodes.get(parent, childrenField)
    if (children === 0 || level === 0) return 0
    if (children < 0) return nodes.get(-children, levelField) === level ? -children : 0
    for (let id = this.#edges.first(pairHash(this.#secret, parent, level)); id !== 0; id = this.#edges.next())
      if (nodes.get(id, levelField) === level && nodes.get(id, parentField) === parent) return id
    return 0
  }

  /** Adds that child, or the "+", which must not be there yet. */
  add(parent: number, level: number, isPlus: boolean): number {
    const { nodes } = this
    const node = nodes.allocate()
    nodes.set(node, parentField, parent)
    nodes.set(node, levelField, level)
    this.levels.hold(level)
    this.#size++
    if (isPlus) nodes.set(parent, plusField, node)
    else this.#adopt(parent, node)
    return node
  }

  /** Has it neither children nor "+"? */
  isLeaf(node: number): boolean {
    return this.nodes.get(node, childrenField) === 0 && this.nodes.get(node, plusField) === 0
  }

  /** Removes a node, which must be a leaf, and gives its parent. */
  remove(node: number): number {
    const { nodes } = this
    const parent = nodes.get(node, parentField)
    const children = nodes.get(parent, childrenField)
    if (nodes.get(parent, plusField) === node) nodes.set(parent, plusField, 0)
    else if (children < 0) nodes.set(parent, childrenField, 0)
    else {
      this.#edges.remove(this.#edge(parent, node), node)
      nodes.set(parent, childrenField, children - 1)
    }
    this.levels.release(nodes.get(node, levelField))
    nodes.free(node)
    this.#size--
    return parent
  }

  #adopt(parent: number, node: number): void {
    const { nodes } = this
    const children = nodes.get(parent, childrenField)
    if (children === 0) return nodes.set(parent, childrenField, -node)
    if (children < 0) this.#enter(parent, -children)
    this.#enter(parent, node)
    nodes.set(parent, childrenField, Math.max(children, 1) + 1)
  }

  #enter(parent: number, node: number): void {
    this.#edges.insert(this.#edge(parent, node), node)
  }

  /** The hash of the edge between them. */
  #edge(parent: number, node: number): number {
    return pairHash(this.#secret, parent, this.nodes.get(node, levelField))
  }
}
