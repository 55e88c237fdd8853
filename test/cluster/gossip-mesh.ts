import { Gossip, type GossipSettings } from '../../src/cluster/gossip.ts'
import type { NodeId, Peers } from '../../src/cluster/peers.ts'
import type { FrameType } from '../../src/cluster/wire.ts'
import type { Clock } from '../../src/host.ts'
import { RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'

interface Event {
  readonly atMs: number
  readonly seq: number
  readonly run: () => void
}

/** Time and what is to happen: of two events of the same moment, the one that was asked for first. */
class Agenda {
  nowMs = 0
  #seq = 0
  readonly #heap: Event[] = []

  after(delayMs: number, run: () => void): void {
    const event = { atMs: this.nowMs + delayMs, seq: this.#seq++, run }
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const parent = (at - 1) >>> 1
      if (!before(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  /** Runs what happens until then. */
  to(ms: number): void {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= ms) {
      const { atMs, run } = this.#pop()
      this.nowMs = atMs
      run()
    }
    this.nowMs = ms
  }

  #pop(): Event {
    const heap = this.#heap
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let at = 0
    for (let child = 1; child < heap.length; child = at * 2 + 1) {
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.seq < b.seq)
}

/** What each node has heard of the others, by its listener: a plain Map for each owner. */
export type Heard = Map<NodeId, Map<string, number>>

/**
 * Many `Gossip`s in one process, on one clock. A link is a rule: who is linked to whom, and how long a frame takes; it keeps the order, and
 * what is under way when it breaks is lost.
 */
export class Mesh {
  readonly agenda = new Agenda()
  readonly dice: Dice
  readonly nodes: MeshNode[] = []
  readonly settings: Partial<GossipSettings>
  readonly latencyMs: readonly [low: number, high: number]
  /** How likely each frame is the last that comes through on its link; half a second later the ends notice, and link anew. */
  loss = 0
  /** Whether nodes keep what their listeners hear, to be compared. */
  listens = true
  frames = 0
  bytes = 0
  /** Of all that has crossed. */
  trace = 0
  readonly #salt: number

  constructor(seed: number, settings: Partial<GossipSettings> = {}, latencyMs: readonly [number, number] = [1, 5]) {
    this.dice = new Dice(seed)
    this.#salt = this.dice.below(0x1_0000_0000)
    this.settings = settings
    this.latencyMs = latencyMs
  }

  /** So many nodes, all of them linked. */
  start(count: number): this {
    for (let at = 0; at < count; at++) {
      const node = new MeshNode(this, at)
      this.nodes.push(node)
      node.start()
    }
    return this.link(() => true)
  }

  /** Makes and breaks links until just those are up that `wanted` says. */
  link(wanted: (a: MeshNode, b: MeshNode) => boolean): this {
    for (const a of this.nodes)
      for (const b of this.nodes) {
        if (b.index <= a.index) continue
        const up = a.running && b.running && wanted(a, b)
        if (up && !a.peers.has(b)) a.connect(b)
        if (!up && a.peers.has(b)) a.disconnect(b)
      }
    return this
  }

  run(ms: number): this {
    this.agenda.to(this.agenda.nowMs + ms)
    return this
  }

  /** Runs until `done`, in steps of `stepMs`; gives the time that it took. */
  until(done: () => boolean, mostMs: number, stepMs = 10): number {
    const fromMs = this.agenda.nowMs
    while (!done()) {
      if (this.agenda.nowMs - fromMs >= mostMs) return Infinity
      this.run(stepMs)
    }
    return this.agenda.nowMs - fromMs
  }

  /** Always the same for two nodes, so that order holds. */
  delayMs(from: number, to: number): number {
    const [low, high] = this.latencyMs
    const bits = Math.imul((from * 8191 + to) ^ this.#salt, 0x9e3779b1) >>> 8
    return low + ((high - low) * (bits & 0xffff)) / 0x1_0000
  }

  /** Has every running node the same of every owner as the owner itself? By version and set hash. */
  get equal(): boolean {
    return this.differences().next().done === true
  }

  *differences(): IterableIterator<string> {
    const running = this.nodes.filter((node) => node.running)
    for (const { gossip, name } of running)
      for (const { name: owner, gossip: owners } of running) {
        const { incarnation, version, hash } = owners.own
        const replica = gossip.owner(owner)
        // Who has never told anything need not be known.
        if (version === 0 && (replica?.size ?? 0) === 0) continue
        if (replica?.incarnation === incarnation && replica.version === version && replica.hash === hash) continue
        const has = replica === undefined ? 'nothing' : `${replica.incarnation}/${replica.version} ${replica.hash}`
        yield `${name} has ${has} of ${owner}, at ${incarnation}/${version} ${hash}`
      }
  }

  stop(): void {
    for (const node of this.nodes) node.stop()
  }
}

interface MeshLink {
  /** Nothing comes through any more. */
  silent: boolean
}

const framePage = 65_536

export class MeshNode implements Peers {
  readonly mesh: Mesh
  readonly name: NodeId
  readonly index: number
  readonly self: NodeId
  /** Whom a link is up to. */
  readonly peers = new Map<MeshNode, MeshLink>()
  gossip!: Gossip
  running = false
  incarnation = 0
  heard: Heard = new Map()
  readonly taken: number[] = []
  onChange: ((node: NodeId, key: string, value: number) => void) | undefined
  readonly #byName = new Map<NodeId, MeshNode>()
  readonly #writer = new RecordWriter(framePage)
  readonly #reader = new RecordReader()
  readonly #ticking = new Set<object>()
  #to: MeshNode | undefined
  /** Frames of this moment, by peer: they cross together. */
  #batches = new Map<MeshNode, Buffer[]>()

  constructor(mesh: Mesh, index: number) {
    this.mesh = mesh
    this.index = index
    this.name = this.self = `n${index}`
  }

  start(incarnation = this.incarnation + 1): void {
    this.running = true
    this.incarnation = incarnation
    this.heard = new Map()
    const { mesh } = this
    this.gossip = new Gossip({
      self: this.name,
      incarnation,
      clock: this.#clock(),
      random: mesh.dice.fork(this.index + 1),
      peers: this,
      key: 'mesh',
      settings: mesh.settings,
    })
    this.gossip.on({
      changed: (node, key, value, before) => this.#changed(node, key, value, before),
      reset: (node) => this.#reset(node),
      taken: (incarnation) => this.taken.push(incarnation),
    })
  }

  /** Gone at once, without a word; what it was doing never happens. */
  stop(): void {
    for (const peer of [...this.peers.keys()]) this.disconnect(peer)
    this.running = false
    this.#ticking.clear()
    this.gossip.stop()
  }

  connect(peer: MeshNode): void {
    const link = { silent: false }
    this.peers.set(peer, link)
    peer.peers.set(this, link)
    this.#byName.set(peer.name, peer)
    peer.#byName.set(this.name, this)
    this.gossip.linked(peer.name)
    peer.gossip.linked(this.name)
  }

  disconnect(peer: MeshNode): void {
    this.peers.delete(peer)
    peer.peers.delete(this)
    this.#batches.delete(peer)
    peer.#batches.delete(this)
    this.gossip.unlinked(peer.name)
    peer.gossip.unlinked(this.name)
  }

  *linked(): IterableIterator<NodeId> {
    for (const peer of this.peers.keys()) yield peer.name
  }

  version(to: NodeId): number {
    const peer = this.#byName.get(to)
    return peer !== undefined && this.peers.has(peer) ? 2 : 0
  }

  congested(): boolean {
    return false
  }

  begin(to: NodeId, type: FrameType): RecordWriter | undefined {
    if (this.#to !== undefined) throw new Error('two frames at once')
    const peer = this.#byName.get(to)
    if (peer === undefined || !this.peers.has(peer)) return undefined
    this.#to = peer
    this.#writer.clear()
    this.#writer.u8(type)
    return this.#writer
  }

  end(): void {
    const peer = this.#to!
    this.#to = undefined
    const { mesh } = this
    const frame = Buffer.from(this.#writer.view())
    mesh.frames++
    mesh.bytes += frame.length + 4
    const link = this.peers.get(peer)!
    if (mesh.loss > 0 && mesh.dice.chance(mesh.loss) && !link.silent) this.#silence(peer, link)
    if (link.silent) return
    const batch = this.#batches.get(peer)
    if (batch !== undefined) return void batch.push(frame)
    const frames = [frame]
    this.#batches.set(peer, frames)
    mesh.agenda.after(mesh.delayMs(this.index, peer.index), () => {
      if (this.#batches.get(peer) === frames) this.#batches.delete(peer)
      if (peer.peers.get(this) === link) peer.#receive(this, frames)
    })
    // What comes later goes later, but not before.
    mesh.agenda.after(0, () => {
      if (this.#batches.get(peer) === frames) this.#batches.delete(peer)
    })
  }

  #receive(from: MeshNode, frames: readonly Buffer[]): void {
    const { mesh } = this
    for (const frame of frames) {
      mesh.trace = Math.imul(mesh.trace ^ (frame.length + this.index * 31 + from.index * 17), 0x01000193) >>> 0
      if (!from.peers.has(this)) return
      this.gossip.frame(from.name, frame[0]!, this.#reader.over(frame, 1, frame.length))
    }
  }

  #silence(peer: MeshNode, link: MeshLink): void {
    link.silent = true
    this.mesh.agenda.after(500, () => {
      if (this.peers.get(peer) !== link) return
      this.disconnect(peer)
      this.connect(peer)
    })
  }

  #changed(node: NodeId, key: string, value: number, before: number): void {
    this.onChange?.(node, key, value)
    if (!this.mesh.listens) return
    let table = this.heard.get(node)
    if (table === undefined) this.heard.set(node, (table = new Map<string, number>()))
    if ((table.get(key) ?? 0) !== before) throw new Error(`${this.name} of ${node}: ${key} was not ${before}`)
    if (value === 0) table.delete(key)
    else table.set(key, value)
  }

  #reset(node: NodeId): void {
    const left = this.heard.get(node)?.size ?? 0
    if (left > 0) throw new Error(`${this.name}: ${left} keys of ${node} are left after its end`)
    this.heard.delete(node)
  }

  /** Ends with the node's process. */
  #clock(): Clock {
    const { agenda } = this.mesh
    const life = this.incarnation
    const lives = () => this.running && this.incarnation === life
    return {
      now: () => agenda.nowMs,
      wall: () => agenda.nowMs,
      every: (periodMs, tick) => {
        const ticking = {}
        this.#ticking.add(ticking)
        const next = (delayMs: number) =>
          agenda.after(delayMs, () => {
            if (!lives() || !this.#ticking.has(ticking)) return
            next(periodMs)
            tick()
          })
        next(periodMs * this.mesh.dice.between(0.5, 1))
        return () => void this.#ticking.delete(ticking)
      },
      endOfTurn: (run) => agenda.after(0, () => lives() && run()),
    }
  }
}
