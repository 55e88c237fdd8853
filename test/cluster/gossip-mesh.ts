import type { OwnerView } from '../../src/cluster/owners.ts'
import { Gossip, type GossipSettings } from '../../src/cluster/gossip.ts'
import type { NodeId, Peers } from '../../src/cluster/peers.ts'
import type { FrameType } from '../../src/cluster/wire.ts'
import type { Clock } from '../../src/host.ts'
import { RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'

interface Event {
  run(): void
}

/** More than there are nodes. */
const lanes = 1024

/**
 * Time and what is to happen. Events of one moment and one node are in one list, in the order in which they were asked for: so a
 * million of them under way cost little more each than ten, and what comes to a node in a moment comes in one turn.
 */
class Agenda {
  nowMs = 0
  readonly #lists = new Map<number, Event[]>()
  /** A heap of the moments that have a list, each of one node. */
  readonly #moments: number[] = []
  readonly #fineness: number

  /** @param fineness parts of a millisecond, in which nothing is told apart */
  constructor(fineness: number) {
    this.#fineness = fineness
  }

  /** @param lane whose event it is: 0, nobody's */
  after(delayMs: number, event: Event, lane = 0): void {
    const moment = Math.ceil((this.nowMs + delayMs) * this.#fineness) * lanes + lane
    const list = this.#lists.get(moment)
    if (list !== undefined) return void list.push(event)
    this.#lists.set(moment, [event])
    this.#push(moment)
  }

  /** Runs what happens until then. */
  to(ms: number): void {
    const last = Math.floor(ms * this.#fineness) * lanes + lanes - 1
    while (this.#moments.length > 0 && this.#moments[0]! <= last) {
      const moment = this.#pop()
      const list = this.#lists.get(moment)!
      this.nowMs = Math.floor(moment / lanes) / this.#fineness
      // What is asked for meanwhile, for this moment, stands at the end of the list.
      for (let at = 0; at < list.length; at++) list[at]!.run()
      this.#lists.delete(moment)
    }
    this.nowMs = ms
  }

  #push(moment: number): void {
    const heap = this.#moments
    let at = heap.length
    for (; at > 0 && moment < heap[(at - 1) >>> 1]!; at = (at - 1) >>> 1) heap[at] = heap[(at - 1) >>> 1]!
    heap[at] = moment
  }

  #pop(): number {
    const heap = this.#moments
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let at = 0
    for (let child = 1; child < heap.length; child = at * 2 + 1) {
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++
      if (heap[child]! >= last) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

/** A frame under way. There are a million of them at times, so they are used again. */
class Delivery {
  from!: MeshNode
  to!: MeshNode
  link!: MeshLink
  page!: Buffer
  start = 0
  end = 0
  readonly #spare: Delivery[]

  constructor(spare: Delivery[]) {
    this.#spare = spare
  }

  run(): void {
    if (this.link.up) this.to.receive(this)
    this.#spare.push(this)
  }
}

/** What each node has heard of the others, by its listener: a plain Map for each owner. */
export type Heard = Map<NodeId, Map<string, number>>

/**
 * Many `Gossip`s in one process, on one clock. A link is a rule: who is linked to whom, and how long a frame takes; it keeps the order, and
 * what is under way when it breaks is lost.
 */
export class Mesh {
  readonly agenda: Agenda
  readonly dice: Dice
  readonly nodes: MeshNode[] = []
  readonly settings: Partial<GossipSettings>
  readonly latencyMs: readonly [low: number, high: number]
  /** How likely each frame is the last that comes through on its link; half a second later the ends notice, and link anew. */
  loss = 0
  /** Whether nodes keep what their listeners hear, to be compared. */
  listens = true
  /** Sees every frame that leaves. */
  onFrame: ((bytes: Buffer) => void) | undefined
  frames = 0
  bytes = 0
  /** Of all that has crossed. */
  trace = 0
  readonly #salt: number
  #page = Buffer.alloc(pageBytes)
  #pageAt = 0
  readonly #spare: Delivery[] = []
  /** Node and owner that differed when we looked last. */
  #last: [MeshNode, MeshNode] | [] = []

  constructor(seed: number, settings: Partial<GossipSettings> = {}, latencyMs: readonly [number, number] = [1, 5]) {
    this.agenda = new Agenda(latencyMs[0] < 1 ? 10 : 1)
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
        if (up && !a.links.has(b.name)) a.connect(b)
        if (!up && a.links.has(b.name)) a.disconnect(b)
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

  /** A delivery of a copy of `bytes`: many share a page. */
  delivery(bytes: Uint8Array): Delivery {
    const delivery = this.#spare.pop() ?? new Delivery(this.#spare)
    if (this.#pageAt + bytes.length > this.#page.length) {
      this.#page = Buffer.alloc(Math.max(pageBytes, bytes.length))
      this.#pageAt = 0
    }
    this.#page.set(bytes, this.#pageAt)
    delivery.page = this.#page
    delivery.start = this.#pageAt
    delivery.end = this.#pageAt += bytes.length
    return delivery
  }

  /** Always the same for two nodes, so that order holds. */
  delayMs(from: number, to: number): number {
    const [low, high] = this.latencyMs
    const bits = Math.imul((from * 8191 + to) ^ this.#salt, 0x9e3779b1) >>> 8
    return low + ((high - low) * (bits & 0xffff)) / 0x1_0000
  }

  /** Has every running node the same of every owner as the owner itself? By version and set hash. */
  get equal(): boolean {
    // Who was not up to date a moment ago may not be now: most often there is no need to look at all of them.
    const [node, owner] = this.#last
    if (node !== undefined && owner !== undefined && !same(node, owner)) return false
    this.#last = []
    for (const pair of this.#differ()) {
      this.#last = pair
      return false
    }
    return true
  }

  differences(): string[] {
    return [...this.#differ()].map(([node, owner]) => {
      const text = (of: OwnerView | undefined) => (of ? `${of.incarnation}/${of.version} ${of.hash}` : 'nothing')
      return `${node.name} has ${text(node.gossip.owner(owner.name))} of ${owner.name}, at ${text(owner.gossip.own)}`
    })
  }

  *#differ(): IterableIterator<[MeshNode, MeshNode]> {
    const running = this.nodes.filter((node) => node.running)
    for (const owner of running) for (const node of running) if (!same(node, owner)) yield [node, owner]
  }

  stop(): void {
    for (const node of this.nodes) node.stop()
  }
}

function same({ gossip }: MeshNode, { name, gossip: { own } }: MeshNode): boolean {
  const replica = gossip.owner(name)
  // Who has never told anything need not be known.
  if (own.version === 0 && (replica?.size ?? 0) === 0) return true
  return replica?.incarnation === own.incarnation && replica.version === own.version && replica.hash === own.hash
}

class MeshLink {
  up = true
  /** Nothing comes through any more. */
  silent = false
  readonly #ends: readonly [MeshNode, MeshNode]

  constructor(a: MeshNode, b: MeshNode) {
    this.#ends = [a, b]
  }

  other(end: MeshNode): MeshNode {
    return this.#ends[0] === end ? this.#ends[1] : this.#ends[0]
  }
}

const pageBytes = 256 * 1024
/** Of our family, and of a type that there is not. */
const unknownFrame = Buffer.from([0x2f, 1, 2, 3])

export class MeshNode implements Peers {
  readonly mesh: Mesh
  readonly name: NodeId
  readonly index: number
  readonly self: NodeId
  /** Those that are up, by the peer's name. */
  readonly links = new Map<NodeId, MeshLink>()
  gossip!: Gossip
  running = false
  incarnation = 0
  /** It speaks as a later release might: with more behind the fields that we know, and frames that we do not. */
  newer = false
  #life = 0
  heard: Heard = new Map()
  readonly taken: number[] = []
  onChange: ((node: NodeId, key: string, value: number) => void) | undefined
  readonly #writer = new RecordWriter(4096)
  readonly #reader = new RecordReader()
  readonly #ticking = new Set<object>()
  /** Where the frame goes that is being written. */
  #to: MeshLink | undefined

  constructor(mesh: Mesh, index: number) {
    this.mesh = mesh
    this.index = index
    this.name = this.self = `n${index}`
  }

  start(incarnation = this.incarnation + 1): void {
    this.running = true
    this.incarnation = incarnation
    this.#life++
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
    for (const link of this.links.values()) this.disconnect(link.other(this))
    this.running = false
    this.#ticking.clear()
    this.gossip.stop()
  }

  connect(peer: MeshNode): void {
    const link = new MeshLink(this, peer)
    this.links.set(peer.name, link)
    peer.links.set(this.name, link)
    this.gossip.linked(peer.name)
    peer.gossip.linked(this.name)
  }

  disconnect(peer: MeshNode): void {
    this.links.get(peer.name)!.up = false
    this.links.delete(peer.name)
    peer.links.delete(this.name)
    this.gossip.unlinked(peer.name)
    peer.gossip.unlinked(this.name)
  }

  linked(): Iterable<NodeId> {
    return this.links.keys()
  }

  version(to: NodeId): number {
    if (!this.links.has(to)) return 0
    return this.newer && this.mesh.nodes[Number(to.slice(1))]!.newer ? 2 : 1
  }

  congested(): boolean {
    return false
  }

  begin(to: NodeId, type: FrameType): RecordWriter | undefined {
    if (this.#to !== undefined) throw new Error('two frames at once')
    this.#to = this.links.get(to)
    if (this.#to === undefined) return undefined
    this.#writer.clear()
    this.#writer.u8(type)
    return this.#writer
  }

  end(): void {
    if (this.newer) this.#writer.text('later')
    const link = this.#to!
    this.#to = undefined
    this.#send(link, this.#writer.view())
    if (this.newer) this.#send(link, unknownFrame)
  }

  #send(link: MeshLink, bytes: Buffer): void {
    const { mesh } = this
    mesh.frames++
    mesh.bytes += bytes.length + 4
    mesh.onFrame?.(bytes)
    if (mesh.loss > 0 && mesh.dice.chance(mesh.loss) && !link.silent) this.#silence(link)
    if (link.silent) return
    const to = link.other(this)
    const delivery = mesh.delivery(bytes)
    delivery.from = this
    delivery.to = to
    delivery.link = link
    mesh.agenda.after(mesh.delayMs(this.index, to.index), delivery, to.index + 1)
  }

  receive({ from, page, start, end }: Delivery): void {
    const { mesh } = this
    mesh.trace = Math.imul(mesh.trace ^ (end - start + this.index * 31 + from.index * 17), 0x01000193) >>> 0
    this.gossip.frame(from.name, page[start]!, this.#reader.over(page, start + 1, end))
  }

  #silence(link: MeshLink): void {
    link.silent = true
    const notice = () => {
      if (!link.up) return
      const peer = link.other(this)
      this.disconnect(peer)
      this.connect(peer)
    }
    this.mesh.agenda.after(500, { run: notice })
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
    const life = this.#life
    const lives = () => this.running && this.#life === life
    return {
      now: () => agenda.nowMs,
      wall: () => agenda.nowMs,
      every: (periodMs, tick) => {
        const ticking = {}
        this.#ticking.add(ticking)
        const next = (delayMs: number) => agenda.after(delayMs, { run }, this.index + 1)
        const run = () => {
          if (!lives() || !this.#ticking.has(ticking)) return
          next(periodMs)
          tick()
        }
        next(periodMs * this.mesh.dice.between(0.5, 1))
        return () => void this.#ticking.delete(ticking)
      },
      endOfTurn: (run) => agenda.after(0, { run: () => lives() && run() }, this.index + 1),
    }
  }
}
