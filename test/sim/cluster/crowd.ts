import type { NodeId } from '../../../src/cluster/peers.ts'
import type { Dice } from '../dice.ts'
import type { SentWish } from './chronicle.ts'
import { lasting, type Roamer } from './roamer.ts'
import type { Town } from './town.ts'

/** How likely what is, against everything else; 0: never. */
export interface Habits {
  readonly roamers: number
  readonly steps: number
  readonly publish: number
  readonly subscribe: number
  /** Clients go to other nodes; 0: not even when theirs is away. */
  readonly move: number
  /** They say goodbye, are cut off, or start clean. */
  readonly leave: number
  /** They connect to two nodes at once. */
  readonly race: number
  readonly wills: number
  readonly shares: boolean
  readonly retains: number
  readonly fall: number
  readonly part: number
  readonly oneWay: number
  readonly breaks: number
  readonly pause: number
  /** Nodes are emptied, and leave. */
  readonly drain: number
  /** Machines are lost with their disks, and nodes that cannot be reached are given up. */
  readonly evict: number
  /** Of messages, those that are worth nothing after some time (%). */
  readonly expires: number
  /** Some topics promise less than to be on the disk. */
  readonly classes: boolean
}

const topics = ['t/a', 't/b', 't/b/x', 'u']
const sharedTopics = ['s/a', 's/b']
const filters = ['t/a', 't/+', 't/#', 't/b/#', 'u']
const sharedFilters = ['$share/g/s/#', '$share/h/s/a']

/** Clients and nodes that do what clients and nodes do, as the dice say; then all is made good again. */
export class Crowd {
  readonly #town: Town
  readonly #dice: Dice
  readonly #habits: Habits
  readonly #members: readonly Roamer[]
  readonly #others: readonly Roamer[]

  constructor(town: Town, habits: Habits) {
    this.#town = town
    this.#habits = habits
    const dice = (this.#dice = town.dice.fork(5))
    const roamer = (id: string) =>
      town.roamer({ id, version: dice.pick([4, 5, 5]), expirySeconds: dice.pick([0, 3, lasting, lasting, lasting]) })
    this.#others = Array.from({ length: habits.roamers }, (_, number) => roamer(`c${number}`))
    const members = habits.shares ? 2 + dice.below(2) : 0
    this.#members = Array.from({ length: members }, (_, number) =>
      town.roamer({ id: `m${number}`, version: 5, expirySeconds: lasting }),
    )
  }

  live(): void {
    const town = this.#town
    const dice = this.#dice
    for (const roamer of town.roamers) this.#enter(roamer)
    town.run(50)
    for (const roamer of this.#others) if (dice.chance(0.8)) this.#subscribe(roamer)
    for (const roamer of this.#members) roamer.subscribe(dice.pick(sharedFilters), dice.pick([1, 2]), false)
    town.run(dice.pick([5, 50, 400]))
    for (let step = 0; step < this.#habits.steps; step++) {
      this.#deed()
      town.run(dice.chance(0.25) ? dice.between(0, 1500) : dice.between(0, 10))
    }
    this.#peace()
  }

  /** A message of each QoS to each topic from each client, now that all is quiet. */
  callOut(): void {
    const town = this.#town
    const dice = this.#dice
    for (const topic of this.#habits.shares ? [...topics, ...sharedTopics] : topics)
      for (const qos of [0, 1, 2] as const)
        dice.pick(town.roamers).publish({ topic, qos, retain: false, isEmpty: false })
    this.settle()
  }

  /** Everybody ends his session, and then nothing of anybody is left. */
  leave(): void {
    const town = this.#town
    for (const roamer of town.roamers) {
      if (roamer.options.version === 5) roamer.disconnect(true)
      else roamer.enter(roamer.node, { clean: true })
    }
    town.run(200)
    for (const roamer of town.roamers) roamer.disconnect()
    // What a node has taken up at its start, it keeps for 10 s, until it has heard of all.
    for (let slices = 0; slices < 24 && town.leftOver() !== undefined; slices++) town.run(500)
  }

  settle(): void {
    const town = this.#town
    const entering = new Map<Roamer, number>()
    for (let slices = 0; ; slices++) {
      town.run(250)
      town.operator.reconcile()
      for (const roamer of town.roamers) {
        const sinceMs = entering.get(roamer) ?? -Infinity
        if (roamer.online || (roamer.isEntering && town.time.now() - sinceMs < 15_000)) continue
        entering.set(roamer, town.time.now())
        this.#enter(roamer)
      }
      const unrest = town.unrest()
      if (unrest === undefined) return
      if (slices > 600) town.blame('rest', unrest)
    }
  }

  #deed(): void {
    const { publish, subscribe, move, leave, race, fall, part, oneWay, breaks, pause, drain, evict } = this.#habits
    const town = this.#town
    const dice = this.#dice
    const roamer = dice.pick(town.roamers)
    const [one, other] = [dice.pick(town.nodes), dice.pick(town.nodes)]
    dice.weighted<() => void>([
      [publish, () => this.#publish(roamer)],
      [subscribe, () => this.#subscribe(dice.pick(this.#others))],
      [move, () => this.#enter(roamer)],
      [leave, () => this.#leave(roamer)],
      [race, () => this.#race(roamer)],
      [fall, () => town.fall(one, dice.pick(['kill', 'power']), dice.chance(0.3))],
      [fall * 2, () => town.rise(one)],
      [part, () => this.#part()],
      [oneWay, () => this.#cut(one, other)],
      [part + oneWay, () => this.#heal()],
      [breaks, () => this.#break(one, other)],
      [pause, () => this.#pause(one)],
      [drain, () => town.drain(one)],
      [drain, () => town.rise(one)],
      [evict, () => town.operator.lose(one)],
      [evict * 2, () => town.operator.evict(one)],
      [evict, () => town.rise(one)],
    ])()
  }

  /** Nothing breaks any more, and all come back. */
  #peace(): void {
    const town = this.#town
    town.tell('peace')
    town.atPeace = true
    town.heal()
    for (const node of town.nodes) {
      town.resume(node)
      if (town.machine(node).cluster.draining) town.fall(node, 'kill', false)
      town.rise(node)
    }
    this.#replace()
    town.operator.reconcile()
    this.settle()
  }

  /** Machines that were lost are given up by all; some of them are replaced. */
  #replace(): void {
    const town = this.#town
    for (const node of [...town.operator.lost]) {
      for (let tries = 0; !town.operator.isForgotten(node); tries++) {
        if (tries > 100) town.blame('rest', `${node} is lost, and cannot be given up`)
        town.operator.evict(node)
        town.run(250)
      }
      if (this.#dice.chance(0.7)) town.rise(node)
    }
  }

  #publish(roamer: Roamer): void {
    if (!roamer.online && !roamer.isEntering) return this.#enter(roamer)
    for (let count = this.#dice.pick([1, 1, 3, 12]); count > 0; count--)
      roamer.publish(this.#expiring(roamer, this.#wish()))
  }

  #expiring({ options }: Roamer, wish: SentWish): SentWish {
    const { expires } = this.#habits
    if (expires === 0 || wish.retain || options.version < 5 || this.#dice.below(100) >= expires) return wish
    return { ...wish, expirySeconds: this.#dice.pick([1, 3, lasting]) }
  }

  #wish(): SentWish {
    const dice = this.#dice
    const { retains, shares } = this.#habits
    const retain = dice.below(100) < retains
    return {
      topic: dice.pick(shares ? [...topics, ...sharedTopics] : topics),
      qos: dice.pick([0, 1, 1, 2, 2]),
      retain,
      isEmpty: retain && dice.chance(0.3),
    }
  }

  #subscribe(roamer: Roamer): void {
    const dice = this.#dice
    if (!roamer.online) return
    if (dice.chance(0.2)) roamer.unsubscribe(dice.pick(filters))
    else roamer.subscribe(dice.pick(filters), dice.pick([0, 1, 1, 2, 2, 2]), dice.chance(0.5))
  }

  #enter(roamer: Roamer, ghostly = false, clean = false): void {
    const town = this.#town
    const dice = this.#dice
    const home = town.nodes[town.roamers.indexOf(roamer) % town.nodes.length]
    const open = town.nodes.filter((node) => town.isOpen(node) && (this.#habits.move > 0 || node === home))
    if (open.length === 0) return
    const hasWill = !ghostly && !town.atPeace && dice.below(100) < this.#habits.wills
    const topic = dice.pick(topics)
    const will = { topic, qos: dice.pick([1, 2] as const), retain: dice.chance(0.2), isEmpty: false }
    const delaySeconds = dice.pick([0, 0, 1, 3])
    roamer.enter(dice.pick(open), { clean, ...(hasWill && { will: { ...will, delaySeconds } }) }, ghostly)
  }

  #leave(roamer: Roamer): void {
    const dice = this.#dice
    if (dice.chance(0.3)) return roamer.disconnect()
    if (dice.chance(0.15)) return this.#enter(roamer, false, true)
    roamer.abandon()
  }

  #race(roamer: Roamer): void {
    this.#enter(roamer)
    if (this.#dice.chance(0.5)) this.#town.run(this.#dice.between(0, 4))
    this.#enter(roamer, true)
  }

  #part(): void {
    const town = this.#town
    const { nodes } = town
    const dice = this.#dice
    const shuffled = [...nodes].sort(() => dice.below(3) - 1)
    const at = 1 + dice.below(Math.max(1, nodes.length - 1))
    const [left, right] = [shuffled.slice(0, at), shuffled.slice(at)]
    // One that both sides see: a bridge.
    if (nodes.length > 2 && dice.chance(0.3)) town.part(left.slice(1), right)
    else if (dice.chance(0.2))
      for (const node of nodes)
        town.part(
          [node],
          nodes.filter((other) => other !== node),
        )
    else town.part(left, right)
  }

  #cut(from: NodeId, to: NodeId): void {
    if (from === to) return
    this.#town.cut(from, to)
  }

  #heal(): void {
    this.#town.heal()
  }

  #break(one: NodeId, other: NodeId): void {
    if (one !== other) this.#town.city.breakLinks(one, other)
  }

  #pause(node: NodeId): void {
    const town = this.#town
    const { process, isUp } = town.machine(node)
    if (!isUp || process.isStopped) return
    town.stop(node)
    town.time.after(this.#dice.pick([50, 500, 3000, 8000]), () => {
      if (town.machine(node).process === process) town.resume(node)
    })
  }
}
