import { expect } from 'vitest'
import type { BrokerOptions } from '../../src/broker/options.ts'
import type { Limits } from '../../src/broker/limits.ts'
import type { ClusterNode, ClusterOptions, ClusterSettings } from '../../src/cluster/cluster.ts'
import type { NodeId } from '../../src/cluster/peers.ts'
import { Dice } from '../sim/dice.ts'
import { Lane } from '../sim/lane.ts'
import type { StoreHabits } from '../sim/machine.ts'
import { Time } from '../sim/time.ts'
import { type SessionWish, TestClient } from './client.ts'
import type { End } from './cluster-end.ts'
import { Machine } from './cluster-machine.ts'

// Whole clusters on one thread: everything is real but clock, network and disks.

type Keeping = NonNullable<BrokerOptions['keeping']>

export interface CityOptions {
  readonly stores?: 'disk' | 'memory'
  readonly settings?: Partial<ClusterSettings>
  readonly limits?: Partial<Limits>
  readonly keeping?: Keeping
  readonly wire?: ClusterOptions['wire']
  /** Clients must log in, and all that do are let in. */
  readonly logIns?: boolean
  /** Of a node, where they are not all of one release. */
  readonly wireOf?: (node: NodeId) => ClusterOptions['wire']
  readonly weather?: Weather
  /** Of publish frames on their way to a node. */
  readonly creditBytes?: number
  readonly keeps?: StoreHabits
  /** How much the wall clocks differ, at most. */
  readonly skewMs?: number
  /** Each node is told where all others are, not just where the first one is. */
  readonly joinsAll?: boolean
  /** Told of all that a node sends to another. */
  readonly crosses?: (from: NodeId, to: NodeId, bytes: Uint8Array) => void
  /** Told of what the nodes log. */
  readonly logged?: (line: LogLine, machine: Machine) => void
}

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: object
}

/** How long things take: from, to (ms). Now and then one takes 20 times as long. */
export interface Weather {
  readonly latencyMs: readonly [least: number, most: number]
  readonly syncMs: readonly [least: number, most: number]
  readonly hiccup: number
}

const calm: Weather = { latencyMs: [1, 1], syncMs: [1, 1], hiccup: 0 }

/** Some machines, and the network between them. */
export class City {
  readonly dice: Dice
  readonly time: Time
  readonly machines = new Map<NodeId, Machine>()
  /** Of connections that are open. */
  ends: End[] = []
  readonly crosses: (from: NodeId, to: NodeId, bytes: Uint8Array) => void
  readonly #cuts = new Set<string>()
  readonly #flaps = new Map<string, number>()
  readonly #weather: Weather
  readonly #weatherDice: Dice
  starts = 0

  constructor(
    names: readonly NodeId[],
    readonly options: CityOptions = {},
    seed = 7,
  ) {
    this.dice = new Dice(seed)
    this.time = new Time(this.dice.fork(1))
    this.#weather = options.weather ?? calm
    this.#weatherDice = this.dice.fork(4)
    this.crosses = options.crosses ?? (() => {})
    for (const name of names) this.add(name, options.joinsAll ? names.filter((other) => other !== name) : undefined)
    this.until(() => names.every((name) => [...this.node(name).live()].length === names.length - 1), 10_000)
    this.run(100)
  }

  /** One more node, which knows one that is there. */
  add(name: NodeId, join: readonly NodeId[] = [...this.machines.keys()].slice(0, 1)): Machine {
    const machine = new Machine(name, this, join)
    this.machines.set(name, machine)
    machine.start()
    return machine
  }

  machine(name: NodeId): Machine {
    return this.machines.get(name)!
  }

  node(name: NodeId): ClusterNode {
    return this.machine(name).cluster
  }

  client(node: NodeId, id: string, wish?: SessionWish): TestClient {
    const client = this.dial(node, id, wish)
    this.until(() => client.state === 'connected')
    return client
  }

  /** The same, and does not wait for CONNACK. */
  dial(node: NodeId, id: string, wish?: SessionWish): TestClient {
    const { broker, process } = this.machine(node)
    const lane = new Lane(this.time)
    return new TestClient(id, broker, { later: (run) => lane.pass(0, () => process.enter(run)) }, wish)
  }

  keeper(node: NodeId, id: string, filter: string, qos: 0 | 1 | 2 = 2): TestClient {
    const client = this.client(node, id, { clean: false, expirySeconds: 10_000 })
    this.subscribe(client, filter, qos)
    return client
  }

  /** Returns in the event that brings SUBACK. */
  subscribe(client: TestClient, filter: string, qos: 0 | 1 | 2 = 2): void {
    const id = client.subscribe(filter, qos)
    this.until(() => client.subacks.includes(id))
  }

  /** Publishes one after the other, each when the one before was acknowledged. */
  publish(client: TestClient, topic: string, texts: readonly string[], qos: 1 | 2 = 1): void {
    for (const text of texts) {
      const id = client.publish(topic, text, qos)
      this.until(() => client.hasAck(id))
    }
  }

  latencyMs(): number {
    return this.#lasts(this.#weather.latencyMs)
  }

  syncMs(): number {
    return this.#lasts(this.#weather.syncMs)
  }

  #lasts([least, most]: readonly [number, number]): number {
    const dice = this.#weatherDice
    return dice.between(least, most) * (dice.chance(this.#weather.hiccup) ? 20 : 1)
  }

  /** Nothing passes between some of them. */
  get isCut(): boolean {
    return this.#cuts.size > 0
  }

  /** Does what `from` sends come to `to`? */
  passes(from: NodeId, to: NodeId): boolean {
    return !this.#cuts.has(`${from} ${to}`)
  }

  apart(a: NodeId, b: NodeId): boolean {
    return !this.passes(a, b) || !this.passes(b, a)
  }

  /** Nothing that `from` sends comes to `to`. */
  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from} ${to}`)
    this.flapped(from, to)
  }

  /** Nothing passes between the two sides. */
  part(left: readonly NodeId[], right: readonly NodeId[]): void {
    for (const a of left)
      for (const b of right) {
        this.cut(a, b)
        this.cut(b, a)
      }
  }

  heal(): void {
    this.#cuts.clear()
    for (const end of this.ends) end.flow()
  }

  /** The connections between two nodes break; what is under way is lost. */
  breakLinks(a: NodeId, b: NodeId): void {
    for (const end of this.ends) if (end.owner.name === a && end.other.owner.name === b && !end.over) end.snap()
  }

  /** How often a connection between the two has come to its end, or has stood still. */
  flaps(a: NodeId, b: NodeId): number {
    return this.#flaps.get([a, b].sort().join(' ')) ?? 0
  }

  flapped(a: NodeId, b: NodeId): void {
    this.#flaps.set([a, b].sort().join(' '), this.flaps(a, b) + 1)
    this.ends = this.ends.filter((end) => !end.over || !end.other.over)
  }

  /** @param quietly nobody is told that the machine is gone until it is back */
  fall(name: NodeId, how: 'kill' | 'power' = 'kill', quietly = false): void {
    this.machine(name).fall(how)
    for (const end of this.ends) if (end.owner.name === name && !end.over && !quietly) end.break()
  }

  rise(name: NodeId): void {
    const machine = this.machine(name)
    for (const end of this.ends)
      if (end.owner.name === name && !end.over && end.process !== machine.process) end.break()
    machine.start()
  }

  run(ms: number): void {
    const untilMs = this.time.now() + ms
    while (this.time.nextMs <= untilMs) this.time.step()
    this.time.stall(Math.max(0, untilMs - this.time.now()))
  }

  until(done: () => boolean, mostMs = 30_000): void {
    const untilMs = this.time.now() + mostMs
    while (!done() && this.time.nextMs <= untilMs) this.time.step()
    expect(done(), `it should have happened: ${done.toString()}`).toBe(true)
  }

  /** No message and no copy of one is missing in any book, and all tables are the same everywhere. */
  audit(): void {
    this.run(5000)
    for (const { broker, cluster, isUp, name } of this.machines.values()) {
      if (!isUp) continue
      const { published, unmatched, matched, refused, copies, delivered, lostTotal } = broker.ledger
      const sent = cluster.forwarding.ledger
      let waiting = 0
      for (const outgoing of cluster.forwarding.nodes()) waiting += outgoing.pending
      expect({ name, published, copies, sent: sent.copies }).toEqual({
        name,
        published: unmatched + matched + refused,
        copies: delivered + broker.pending + lostTotal,
        sent: sent.delivered + waiting + sent.lostTotal,
      })
      for (const other of cluster.live()) {
        const { gossip } = this.node(other)
        expect([other, cluster.gossip.owner(other)?.hash]).toEqual([other, gossip.own.hash])
      }
    }
  }
}
