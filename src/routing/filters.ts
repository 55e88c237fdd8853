import type { HashKey, Path } from './path.ts'
import { firstOwnField, LevelTrie, root } from './trie.ts'

// A node's own fields: the lists of its two filters.
const firstList = firstOwnField
const here = 0
const below = 1

const dollar = 0x24

/**
 * Filters by level, and the head of each one's list of subscriptions. `#` is no node: it is the second list of the node
 * in front of it, because `a/#` matches `a` too (MQTT 5.0, 4.7.1.2).
 *
 *   root ─ "a" ─ "+" ─ "c"  here: a/+/c
 *             └─ "b"        here: a/b    below: a/b/#
 *
 * A filter's number is its node's, doubled, plus `here` or `below`.
 */
export class Filters {
  readonly #trie: LevelTrie
  /** Nodes that the levels read so far lead to, and the next level's. Kept, so that a match allocates nothing for them. */
  #from: number[] = []
  #to: number[] = []

  constructor(key: HashKey) {
    this.#trie = new LevelTrie(2, key)
  }

  get levels(): LevelTrie['levels'] {
    return this.#trie.levels
  }

  get nodes(): number {
    return this.#trie.size
  }

  get bytes(): number {
    return this.#trie.bytes
  }

  /** The number of a filter; 0 when it has none. Leaves the numbers of its levels in `path.levels`. */
  find(path: Path): number {
    const depth = path.open ? path.length - 1 : path.length
    let node = startOf(path, depth)
    for (let at = Math.min(path.known, depth); at < depth; at++) {
      const level = this.#trie.levels.find(path, at)
      node = this.#child(node, level, path.isPlus(at))
      if (node === 0) return 0
      reached(path, at, level, node)
    }
    return node * 2 + (path.open ? below : here)
  }

  /** The same, adding the nodes that are missing. */
  enter(path: Path): number {
    const { levels } = this.#trie
    const depth = path.open ? path.length - 1 : path.length
    let node = startOf(path, depth)
    for (let at = Math.min(path.known, depth); at < depth; at++) {
      const isPlus = path.isPlus(at)
      const level = levels.intern(path, at)
      // No node has a level that nobody has used yet.
      const child = levels.uses(level) === 0 ? 0 : this.#child(node, level, isPlus)
      node = child || this.#trie.add(node, level, isPlus)
      reached(path, at, level, node)
    }
    return node * 2 + (path.open ? below : here)
  }

  /** Counts a subscription to the filter in `path`, which `enter` or `find` has read, for `levels.uses`. */
  hold(path: Path): void {
    for (let at = path.open ? path.length - 2 : path.length - 1; at >= 0; at--) this.#trie.levels.hold(path.levels[at]!)
  }

  /** The opposite, before the nodes are pruned. */
  release(path: Path): void {
    path.known = 0
    for (let at = path.open ? path.length - 2 : path.length - 1; at >= 0; at--)
      this.#trie.levels.release(path.levels[at]!)
  }

  head(filter: number): number {
    return this.#trie.nodes.get(filter >>> 1, firstList + (filter & 1))
  }

  setHead(filter: number, head: number): void {
    this.#trie.nodes.set(filter >>> 1, firstList + (filter & 1), head)
  }

  /** Removes the nodes that only this filter, which has no subscription left, has needed. */
  prune(filter: number): void {
    let node = filter >>> 1
    while (node !== root && this.#idle(node)) node = this.#trie.remove(node)
  }

  /** Puts the heads of all filters that match the topic into `found`, and gives their count. */
  collect(topic: Path, found: number[]): number {
    const { nodes, levels } = this.#trie
    // A filter that starts with a wildcard does not match a topic that starts with "$" [MQTT-4.7.2-1].
    const system = topic.ends[0]! > topic.starts[0]! && topic.bytes[topic.starts[0]!] === dollar
    let count = 0
    let width = 1
    this.#from[0] = root
    for (let at = 0; at < topic.length && width > 0; at++) {
      const level = levels.find(topic, at)
      const from = this.#from
      const to = this.#to
      let reached = 0
      for (let i = 0; i < width; i++) {
        const node = from[i]!
        const wild = !system || at > 0
        const open = nodes.get(node, firstList + below)
        if (wild && open !== 0) found[count++] = open
        const plus = this.#trie.plus(node)
        if (wild && plus !== 0) to[reached++] = plus
        const child = this.#trie.find(node, level)
        if (child !== 0) to[reached++] = child
      }
      this.#from = to
      this.#to = from
      width = reached
    }
    for (let i = 0; i < width; i++) {
      const node = this.#from[i]!
      const exact = nodes.get(node, firstList + here)
      if (exact !== 0) found[count++] = exact
      const open = nodes.get(node, firstList + below)
      if (open !== 0) found[count++] = open
    }
    return count
  }

  #child(parent: number, level: number, isPlus: boolean): number {
    return isPlus ? this.#trie.plus(parent) : this.#trie.find(parent, level)
  }

  #idle(node: number): boolean {
    const { nodes } = this.#trie
    return (
      this.#trie.isLeaf(node) && nodes.get(node, firstList + here) === 0 && nodes.get(node, firstList + below) === 0
    )
  }
}

function startOf(path: Path, depth: number): number {
  const known = Math.min(path.known, depth)
  return known === 0 ? root : path.nodes[known - 1]!
}

function reached(path: Path, at: number, level: number, node: number): void {
  path.levels[at] = level
  path.nodes[at] = node
  path.known = at + 1
}
