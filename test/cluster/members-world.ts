import { defaultMembersSettings, Members, type MembersSettings } from '../../src/cluster/members.ts'
import type { NodeId, Peers } from '../../src/cluster/peers.ts'
import type { FrameType } from '../../src/cluster/wire.ts'
import type { Clock } from '../../src/host.ts'
import { RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'
import { Time } from '../sim/time.ts'

export interface Weather {
  /** Of each frame, to vanish. Links are TCP and lose nothing; this stands for all that comes too late. */
  readonly loss: number
  readonly latencyMs: readonly [low: number, high: number]
  /** A link over which nothing comes through breaks after this time. */
  readonly breaksAfterMs: number
}

const fair: Weather = { loss: 0, latencyMs: [0.2, 2], breaksAfterMs: 15_000 }

interface Event {
  readonly atMs: number
  readonly node: NodeId
  readonly what: 'alive' | 'dead' | 'left' | 'evicted'
  readonly about: NodeId
}

/** One connection of two nodes; each may still hold it when the other does not. */
interface Link {
  readonly ends: readonly [SimNode, SimNode]
  broken: boolean
}

/** Many `Members` in one process, on one clock, joined by links that are functions. */
export class MembersWorld {
  readonly time: Time
  readonly dice: Dice
  readonly nodes: SimNode[] = []
  readonly events: Event[] = []
  weather: Weather
  readonly settings: MembersSettings
  frames = 0
  bytes = 0
  /** Of all that crossed and was found. */
  hash = 0
  /** Does what `from` sends reach `to`? */
  passes: (from: SimNode, to: SimNode) => boolean = () => true

  constructor(seed: number, weather: Partial<Weather> = {}, settings: Partial<MembersSettings> = {}) {
    this.dice = new Dice(seed)
    this.time = new Time(this.dice.fork(1))
    this.weather = { ...fair, ...weather }
    this.settings = { ...defaultMembersSettings, ...settings }
  }

  /** `count` nodes that join by the first of them, one each `gapMs`, and then `settleMs` of quiet. */
  start(count: number, gapMs = 20, settleMs = 6000): this {
    for (let at = 0; at < count; at++) {
      const node = new SimNode(this, `n${at}`, this.nodes.length)
      this.nodes.push(node)
      node.start()
      if (at > 0) node.reach(this.nodes[0]!)
      this.run(gapMs)
    }
    return this.run(settleMs)
  }

  run(ms: number): this {
    const endMs = this.time.now() + ms
    while (this.time.nextMs <= endMs) this.time.step()
    this.time.stall(endMs - this.time.now())
    return this
  }

  /** Runs until `done`, in steps; gives the time that it took. */
  until(done: () => boolean, mostMs: number, stepMs = 10): number {
    const fromMs = this.time.now()
    while (!done()) {
      if (this.time.now() - fromMs > mostMs) return Infinity
      this.run(stepMs)
    }
    return this.time.now() - fromMs
  }

  get running(): SimNode[] {
    return this.nodes.filter((node) => node.running)
  }

  /** Does everybody who runs, and is in `of`, think of `about` so? */
  agree(about: SimNode, states: readonly (string | undefined)[], of = this.running): boolean {
    return of.every((node) => node === about || states.includes(node.members.state(about.name)))
  }

  /** Does everybody who runs hold everybody else who does for alive? */
  get whole(): boolean {
    return this.running.every((node) => this.agree(node, ['alive']))
  }

  deaths(): Event[] {
    return this.events.filter(({ what }) => what === 'dead')
  }

  /** Only nodes of the same group hear each other. */
  part(...groups: SimNode[][]): void {
    const group = new Map(groups.flatMap((nodes, at) => nodes.map((node) => [node, at] as const)))
    this.passes = (from, to) => group.get(from) === group.get(to)
  }

  heal(): void {
    this.passes = () => true
  }

  found(node: NodeId, what: Event['what'], about: NodeId): void {
    this.events.push({ atMs: this.time.now(), node, what, about })
    this.mix(this.time.now() * 1000 + what.length)
  }

  mix(value: number): void {
    this.hash = (Math.imul(this.hash ^ value, 0x01000193) + this.time.seq) >>> 0
  }

  delayMs(): number {
    return this.dice.between(...this.weather.latencyMs)
  }
}

export class SimNode {
  readonly world: MembersWorld
  readonly name: NodeId
  readonly index: number
  members!: Members
  running = false
  incarnation = 0
  readonly #links = new Map<SimNode, Link>()
  /** Whom we dial whenever there is no link, and how long we wait before we do. */
  readonly #dialled = new Map<SimNode, number>()
  readonly #writer = new RecordWriter(1024)
  readonly #reader = new RecordReader()
  #to: SimNode | undefined
  #type = 0
  /** While it stands still: what comes. */
  #inbox: (() => void)[] | undefined

  constructor(world: MembersWorld, name: NodeId, index: number) {
    this.world = world
    this.name = name
    this.index = index
  }

  start(): void {
    const { world, name } = this
    this.running = true
    this.incarnation++
    const { incarnation } = this
    this.members = new Members({
      self: name,
      incarnation,
      address: `${name}:${incarnation}`,
      clock: this.#clock(),
      random: world.dice.fork(100 + this.index * 50 + incarnation),
      peers: this.#peers(),
      settings: world.settings,
    })
    this.members.on({
      alive: (node) => world.found(name, 'alive', node),
      dead: (node, left) => {
        world.found(name, left ? 'left' : 'dead', node)
        if (left) this.#dialled.delete(nodeOf(world, node))
      },
      learned: (node) => this.reach(nodeOf(world, node)),
      evicted: (node) => {
        world.found(name, 'evicted', node)
        this.#dialled.delete(nodeOf(world, node))
      },
    })
  }

  /** SIGKILL: the kernel closes its links. */
  kill(): void {
    this.running = false
    this.#inbox = undefined
    this.members.stop()
    this.#dialled.clear()
    for (const [other, link] of this.#links) {
      link.broken = true
      if (this.world.passes(this, other)) this.#later(() => other.#closed(this, link), other)
    }
    this.#links.clear()
  }

  /** Starts again, with what it remembers: the addresses of some. */
  restart(...seeds: SimNode[]): void {
    this.start()
    for (const seed of seeds) this.reach(seed)
  }

  /** SIGSTOP, and SIGCONT after `ms`. Links stay. */
  stall(ms: number): void {
    if (!this.running || this.#inbox) return
    this.#inbox = []
    const { members } = this
    this.world.time.after(ms, () => {
      const inbox = this.#inbox ?? []
      this.#inbox = undefined
      for (const run of inbox) if (this.members === members) run()
    })
  }

  get still(): boolean {
    return this.#inbox !== undefined
  }

  reach(other: SimNode): void {
    if (other === this || this.#dialled.has(other)) return
    this.#dialled.set(other, 50)
    this.#dial(other)
  }

  linkedTo(other: SimNode): boolean {
    return this.#links.has(other)
  }

  /** Runs when this process does; its timers before what came over the network. */
  #turn(run: () => void): void {
    if (!this.running) return
    if (this.#inbox) this.#inbox.push(run)
    else run()
  }

  /** `run` after the time that a frame takes, when `at` runs. */
  #later(run: () => void, at: SimNode): void {
    this.world.time.after(this.world.delayMs(), () => at.#turn(run))
  }

  #dial(other: SimNode): void {
    const { world, members } = this
    const { time } = world
    time.after(world.delayMs(), () => {
      if (!this.running || this.members !== members || !this.#dialled.has(other) || this.#links.has(other)) return
      if (!world.passes(this, other) || !world.passes(other, this)) return this.#dialAgain(other)
      if (other.running) return this.#turn(() => this.#opened(other))
      this.#turn(() => members.refused(other.name))
      this.#dialAgain(other)
    })
  }

  #dialAgain(other: SimNode): void {
    const { members } = this
    const waitMs = this.#dialled.get(other)
    if (waitMs === undefined) return
    this.#dialled.set(other, Math.min(2000, waitMs * 2))
    this.world.time.after(waitMs * this.world.dice.between(0.5, 1), () => {
      if (this.running && this.members === members) this.#dial(other)
    })
  }

  #opened(other: SimNode): void {
    if (!other.running || this.#links.has(other)) return
    const link: Link = { ends: [this, other], broken: false }
    this.#hold(other, link)
    this.#later(() => other.#hold(this, link), other)
  }

  #hold(other: SimNode, link: Link): void {
    const before = this.#links.get(other)
    if (before) this.#closed(other, before)
    this.#links.set(other, link)
    if (this.#dialled.has(other)) this.#dialled.set(other, 50)
    this.members.linked(other.name)
  }

  #closed(other: SimNode, link: Link): void {
    if (this.#links.get(other) !== link) return
    link.broken = true
    this.#links.delete(other)
    this.members.unlinked(other.name)
    this.#dialAgain(other)
  }

  #send(to: SimNode, type: number): void {
    const { world } = this
    const link = this.#links.get(to)!
    const bytes = new Uint8Array(this.#writer.length)
    bytes.set(this.#writer.view())
    world.frames++
    world.bytes += bytes.length + 5
    world.mix(bytes.length * 7919 + type * 31 + this.index * 1009 + to.index)
    if (!world.passes(this, to))
      return void world.time.after(world.weather.breaksAfterMs, () => {
        if (!world.passes(this, to)) this.#turn(() => this.#closed(to, link))
      })
    if (world.dice.chance(world.weather.loss)) return
    // What goes over a connection that the other side does not have is answered by a reset.
    world.time.after(world.delayMs(), () => {
      if (!to.running) return this.#turn(() => this.#closed(to, link))
      to.#turn(() => {
        if (to.#links.get(this) === link) to.members.frame(this.name, type, to.#reader.over(bytes, 0, bytes.length))
        else if (link.broken) this.#later(() => this.#closed(to, link), this)
      })
    })
  }

  #clock(): Clock {
    const { time } = this.world
    return {
      now: () => time.now(),
      wall: () => time.wall(),
      endOfTurn: (run) => time.endOfTurn(run),
      every: (periodMs, tick) => {
        let due = false
        const run = () => {
          due = false
          tick()
        }
        return time.every(periodMs, () => {
          if (!this.#inbox) return run()
          // An interval fires once, before what came meanwhile is read.
          if (!due) this.#inbox.unshift(run)
          due = true
        })
      },
    }
  }

  #peers(): Peers {
    const { world } = this
    return {
      self: this.name,
      linked: () => [...this.#links.keys()].map((node) => node.name),
      version: () => 1,
      begin: (to: NodeId, type: FrameType) => {
        this.#to = nodeOf(world, to)
        if (this.#to === this || !this.#links.has(this.#to)) return undefined
        this.#type = type
        this.#writer.clear()
        return this.#writer
      },
      end: () => this.#send(this.#to!, this.#type),
      congested: () => false,
    }
  }
}

function nodeOf(world: MembersWorld, name: NodeId): SimNode {
  const node = world.nodes[Number(name.slice(1))]
  if (!node) throw new Error(`nobody is called ${name}`)
  return node
}
