import type { Gossip } from '../../src/cluster/gossip.ts'
import type { Dice } from '../sim/dice.ts'
import { Mesh, type MeshNode } from './gossip-mesh.ts'

/** What one node has set, as a plain Map, and every hash that its table ever had, by incarnation and version. */
interface Truth {
  keys: Map<string, number>
  /** The version that each key got its value with. */
  changed: Map<string, number>
  readonly hashes: Map<string, string>
}

/**
 * A few nodes live for a while: they set and remove keys, lose frames and links, are parted, start anew, are evicted. Every replica must at all
 * times be a state that its owner had, and listeners must have heard just that; after some quiet all must be as the owners'.
 */
export function runModel(seed: number): Outcome {
  const world = new Model(seed)
  world.live()
  world.rest()
  world.judge()
  const { trace, nodes } = world.mesh
  return { trace, counts: nodes.map(({ gossip }) => gossip.counts) }
}

export interface Outcome {
  /** Of all that crossed: a seed has the same each time. */
  readonly trace: number
  /** Of each node, since its last start. */
  readonly counts: readonly Gossip['counts'][]
}

class Model {
  readonly mesh: Mesh
  readonly #dice: Dice
  readonly #truths = new Map<MeshNode, Truth>()
  readonly #keys: number

  constructor(seed: number) {
    const mesh = new Mesh(seed, {}, [0.1, 1])
    const dice = (this.#dice = mesh.dice.fork(1000))
    this.#keys = dice.pick([3, 20, 100])
    // Of what comes in a turn most finds no room. A table in one piece that does not fit would never come.
    const tight = dice.chance(0.2)
    this.mesh = new Mesh(
      seed,
      {
        frameBytes: dice.pick([16, 60, 1000]),
        window: dice.pick([1, 2, 20]),
        ownChanges: dice.pick([4, 16, 1000]),
        otherChanges: dice.pick([4, 16]),
        splitAt: tight ? 10 : dice.pick([10, 1000]),
        budgetMs: dice.pick([0, 0, 2]),
        waitingBytes: tight ? 300 : 100_000,
      },
      dice.pick([
        [0.1, 1],
        [5, 60],
      ]),
    ).start(2 + dice.below(4))
    for (const node of this.mesh.nodes) {
      this.#truths.set(node, { keys: new Map(), changed: new Map(), hashes: new Map() })
      node.newer = dice.chance(0.3)
    }
  }

  live(): void {
    const dice = this.#dice
    for (let deeds = dice.pick([20, 60]); deeds > 0; deeds--) {
      const node = dice.pick(this.mesh.nodes)
      dice.weighted<() => void>([
        [8, () => this.#change(node, 1 + dice.below(4))],
        [3, () => this.#change(node, 10 + dice.below(60))],
        [2, () => this.#clear(node)],
        [3, () => this.#relink()],
        [2, () => void (this.mesh.loss = dice.pick([0, 0, 0.1, 0.5]))],
        [2, () => this.#restart(node)],
        [1, () => this.#forget(node)],
        [3, () => this.#wait(node)],
      ])()
      this.mesh.run(dice.pick([0, 0.5, 5, 100, 2000]))
      this.#check()
    }
  }

  rest(): void {
    this.mesh.loss = 0
    for (const node of this.mesh.nodes) if (!node.running) this.#revive(node)
    this.mesh.link(() => true)
    if (this.mesh.until(() => this.mesh.equal, 60_000, 100) === Infinity)
      throw new Error(`tables differ after quiet: ${this.mesh.differences().join('; ')}`)
    this.mesh.run(5000)
  }

  judge(): void {
    this.#check()
    const { nodes } = this.mesh
    for (const node of nodes) {
      const { gossip, heard, name } = node
      for (const owner of nodes) {
        const { keys } = this.#truths.get(owner)!
        same(`own table of ${owner.name}`, owner.gossip.own.entries(), keys)
        const replica = gossip.owner(owner.name)
        same(`${name} of ${owner.name}`, replica?.entries() ?? [], keys)
        if (owner !== node) same(`heard by ${name} of ${owner.name}`, heard.get(owner.name) ?? [], keys)
        for (const [key, value] of keys)
          if (replica?.get(key) !== value) throw new Error(`${name} does not find ${key}`)
      }
      if (gossip.counts.mismatches > 0) throw new Error(`${name}: a snapshot was not what its hash says`)
      if (!gossip.confirmed(nodes.map(({ name }) => name))) throw new Error(`${name} is not confirmed after quiet`)
      this.#verify(node)
    }
  }

  #verify({ gossip, name, links }: MeshNode): void {
    let said: string | undefined
    gossip.verify((verdicts) => {
      const bad = verdicts.filter(({ answered, older, newer, different }) => {
        return !answered || older.length + newer.length + different.length > 0
      })
      said = verdicts.length === links.size && bad.length === 0 ? '' : JSON.stringify(verdicts)
    })
    this.mesh.run(500)
    if (said !== '') throw new Error(`verified by ${name}: ${said ?? 'no answer'}`)
  }

  #change(node: MeshNode, times: number): void {
    if (!node.running) return
    for (; times > 0; times--) {
      const key = `f${this.#dice.below(this.#keys)}`
      this.#set(node, key, this.#dice.chance(0.4) ? 0 : this.#dice.pick([1, 2, 2 ** 32, Number.MAX_SAFE_INTEGER]))
    }
  }

  #clear(node: MeshNode): void {
    if (node.running) for (const key of [...this.#truths.get(node)!.keys.keys()]) this.#set(node, key, 0)
  }

  #set(node: MeshNode, key: string, value: number): void {
    const { keys, changed } = this.#truths.get(node)!
    const before = node.gossip.own.version
    node.gossip.own.set(key, value)
    if (node.gossip.own.version > before) changed.set(key, before + 1)
    if (value === 0) keys.delete(key)
    else keys.set(key, value)
    this.#remember(node)
  }

  #remember(node: MeshNode): void {
    const { incarnation, version, hash } = node.gossip.own
    this.#truths.get(node)!.hashes.set(`${incarnation}/${version}`, hash)
  }

  #relink(): void {
    const dice = this.#dice
    const side = new Map(this.mesh.nodes.map((node) => [node, dice.below(2)]))
    const [middle] = this.mesh.nodes
    const rule = dice.pick<(a: MeshNode, b: MeshNode) => boolean>([
      () => true,
      () => true,
      () => false,
      () => dice.chance(0.5),
      (a, b) => side.get(a) === side.get(b),
      (a, b) => a === middle || side.get(a) === side.get(b),
      (a, b) => Math.abs(a.index - b.index) === 1,
    ])
    this.mesh.link(rule)
  }

  #restart(node: MeshNode): void {
    const others = this.mesh.nodes.filter((other) => node.links.has(other.name))
    if (node.running) node.stop()
    if (this.#dice.chance(0.3)) return
    this.#revive(node)
    for (const other of others) if (other.running) node.connect(other)
  }

  /** With some of the keys that it had, in one go, before it has a link. */
  #revive(node: MeshNode): void {
    const truth = this.#truths.get(node)!
    const before = truth.keys
    truth.keys = new Map()
    truth.changed = new Map()
    node.start()
    const kept = this.#dice.pick([0, 0.5, 1])
    for (const [key, value] of before) if (this.#dice.chance(kept)) this.#set(node, key, value)
  }

  /** It is gone for good, as they think, and comes again. */
  #forget(node: MeshNode): void {
    if (node.running) node.stop()
    for (const other of this.mesh.nodes) if (other.running && other !== node) other.gossip.forget(node.name)
  }

  /** Whoever is told that all have it must be right: what has not changed since is there, also while a snapshot comes. */
  #wait(node: MeshNode): void {
    const others = this.mesh.nodes.filter((other) => other.running && other !== node && this.#dice.chance(0.5))
    if (!node.running) return
    const { gossip, name, incarnation } = node
    const { version } = gossip.own
    const names = others.map((other) => other.name)
    gossip.whenConfirmed(names, this.#dice.pick([0, 10, 250]), (confirmed) => {
      if (!confirmed) return
      const { keys, changed } = this.#truths.get(node)!
      for (const other of others)
        for (const [key, since] of changed) {
          if (since > version || !node.links.has(other.name) || node.incarnation !== incarnation) continue
          const value = other.gossip.owner(name)?.get(key) ?? 0
          if (value !== (keys.get(key) ?? 0)) throw new Error(`confirmed: ${other.name} has not ${key} of ${name}`)
        }
    })
  }

  /** Every replica is what its owner had at that version. */
  #check(): void {
    for (const node of this.mesh.nodes)
      if (node.running) for (const owner of this.mesh.nodes) this.#checkOne(node, owner)
  }

  #checkOne(node: MeshNode, owner: MeshNode): void {
    const replica = node.gossip.owner(owner.name)
    if (replica === undefined || replica.version === 0) return
    const { incarnation, version, hash } = replica
    const truth = this.#truths.get(owner)!.hashes.get(`${incarnation}/${version}`)
    if (truth !== hash)
      throw new Error(`${node.name} of ${owner.name} at ${incarnation}/${version}: ${hash}, the owner had ${truth}`)
  }
}

function same(what: string, found: Iterable<readonly [string, number]>, expected: Map<string, number>): void {
  const text = (entries: Iterable<readonly [string, number]>) => JSON.stringify([...entries].sort())
  if (text(found) !== text(expected)) throw new Error(`${what}: ${text(found)}, and not ${text(expected)}`)
}
