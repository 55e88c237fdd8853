import type { Clock, Log, Net, Random, Stream, StreamEvents } from '../host.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import { Dialling, type Target } from './dialling.ts'
import { FramePages } from './frame-output.ts'
import { type Greeting, writeGreeting } from './greeting.ts'
import { Link, type LinkEnd, linkEnds, type LinkOwner } from './link.ts'
import type { NodeId, Part, Peers } from './peers.ts'
import type { FrameType } from './wire.ts'

export interface LinkLimits {
  /** Longest frame that is taken from a peer. */
  readonly frameBytes: number
  /** Bytes of publish frames on their way to us that we have not handled. */
  readonly creditBytes: number
  /** What may wait for a peer that takes less than it is sent; beyond that the link is broken. */
  readonly unsentBytes: number
  /** Time for both greetings. */
  readonly greetingMs: number
  /** A link that nothing comes over any more, not even a sign of life, is broken. */
  readonly silenceMs: number
  /** First and longest wait between two attempts to dial. */
  readonly dialLeastMs: number
  readonly dialMostMs: number
  /** Wait after a peer has refused us, or we it. */
  readonly refusedMs: number
}

export const defaultLinkLimits: LinkLimits = {
  // The largest packet that MQTT knows and what a frame adds to it, whatever the packet limit here: it may be another at the
  // peer, and a link that one message breaks would break again and again. Memory is taken for what comes, not for this.
  frameBytes: 268_435_460 + 16 * 1024 * 1024,
  creditBytes: 4 * 1024 * 1024,
  // Of what is free of credit: a table of a million filters fits.
  unsentBytes: 256 * 1024 * 1024,
  greetingMs: 5000,
  silenceMs: 6000,
  dialLeastMs: 100,
  dialMostMs: 1000,
  refusedMs: 5000,
}

export interface LinksOptions {
  readonly self: NodeId
  readonly incarnation: number
  /** Where others dial us. */
  readonly address: string
  readonly clusterId: string
  /** What we can do beyond our wire version. */
  readonly features: readonly string[]
  readonly wire: { readonly oldest: number; readonly newest: number }
  readonly host: { readonly clock: Clock; readonly random: Random; readonly log: Log }
  readonly net: Net
  /** Read when a link comes up: it may be filled after `Links` has been made. */
  readonly parts: readonly Part[]
  readonly limits?: Partial<LinkLimits>
}

const tickMs = 100
/** Who is dialled by both sides at once would have two links; so the larger name lets the smaller one begin. */
const courtesyMs = 100
/**
 * Two links that both sides dialled at the same moment come up within this time. One that comes later is there because
 * the peer has lost the first, which we have not noticed yet.
 */
const raceMs = 2000

/** How loudly the end of a link is told. */
const levels = {
  ...{ closed: 'info', duplicate: 'debug', itself: 'debug', stopped: 'debug' },
  ...{ broken: 'warn', ungreeted: 'warn', silent: 'warn' },
  ...{ malformed: 'error', overfull: 'error', refused: 'error' },
} as const satisfies Record<LinkEnd, keyof Log>

/** The links to all other nodes: dials, greets, and carries the frames of the parts of the cluster. */
export class Links implements Peers, LinkOwner {
  readonly self: NodeId
  readonly pages = new FramePages()
  readonly greeting: Uint8Array
  readonly creditBytes: number
  readonly frameBytes: number
  /** How links have ended. */
  readonly ended = Object.fromEntries(linkEnds.map((end) => [end, 0])) as Record<LinkEnd, number>
  readonly #options: LinksOptions
  readonly #limits: LinkLimits
  readonly #clock: Clock
  readonly #log: Log
  readonly #dialling: Dialling
  /** Those that are up, in the order in which they came. */
  readonly #links = new Map<NodeId, Link>()
  /** All that are not over. */
  readonly #open = new Set<Link>()
  /** The newest incarnation of each that was welcomed. */
  readonly #incarnations = new Map<NodeId, { readonly incarnation: number; readonly address: string }>()
  readonly #byFamily: (Part | undefined)[] = []
  readonly #refused: ((node: NodeId) => void)[] = []
  /** What was last said of a peer that cannot be linked: once is enough. */
  readonly #complaints = new Map<NodeId, string>()
  readonly #stopTicking: () => void
  #dirty: Link[] = []
  #begun: Link | undefined = undefined
  #stopped = false

  constructor(options: LinksOptions) {
    const { self, incarnation, address, clusterId, features, wire, host, net } = options
    const limits = { ...defaultLinkLimits, ...options.limits }
    this.#options = options
    this.#limits = limits
    this.#clock = host.clock
    this.#log = host.log
    this.self = self
    this.creditBytes = limits.creditBytes
    this.frameBytes = limits.frameBytes
    this.greeting = writeGreeting({
      ...{ clusterId, ...wire, features, node: self, incarnation, address },
      creditBytes: limits.creditBytes,
    })
    const { dialLeastMs, dialMostMs, refusedMs } = limits
    const settings = { leastMs: dialLeastMs, mostMs: dialMostMs, refusedMs }
    this.#dialling = new Dialling(settings, host, net, {
      opened: (target, stream, node) => this.#opened(target, stream, node),
      refused: (node) => this.#refused.forEach((tell) => tell(node)),
    })
    this.#stopTicking = host.clock.every(tickMs, () => this.#tick())
  }

  // ── whom to link to ────────────────────────────────────────────────────────────────────────────────────────────

  /** Keeps a link to `node`, until it is forgotten. */
  reach(node: NodeId, address: string): void {
    if (node === this.self || this.#stopped) return
    this.#dialling.reach(node, address, this.self < node ? 0 : courtesyMs, this.#links.has(node))
  }

  /** Dials somebody whose name is not known yet. */
  join(address: string): void {
    if (!this.#stopped) this.#dialling.join(address)
  }

  /** No link to `node` is wanted any more. One that it opens itself is taken. */
  forget(node: NodeId): void {
    this.#dialling.forget(node)
    this.#incarnations.delete(node)
    this.#complaints.delete(node)
    for (const link of this.#of(node)) link.refuse('stopped', 'no link is wanted any more')
  }

  /** Takes a stream that a peer has opened; its certificate has proven that it is `node`. */
  accept(stream: Stream, node: NodeId): StreamEvents {
    if (this.#stopped) return turnedAway(stream)
    // It has given the one up that it has never finished.
    for (const link of this.#of(node))
      if (link.target === undefined && link.state === 'greeting') link.cut('duplicate', 'the peer has come again')
    return this.#add(new Link(node, stream, undefined, this))
  }

  /** `tell` hears of each attempt to dial a node that was refused outright: its process is not there. */
  onRefused(tell: (node: NodeId) => void): void {
    this.#refused.push(tell)
  }

  /** Sends what waits, closes all links, and dials nobody any more. */
  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#stopTicking()
    for (const link of [...this.#open]) link.refuse('stopped', 'the node stops')
  }

  // ── Peers ──────────────────────────────────────────────────────────────────────────────────────────────────────

  linked(): Iterable<NodeId> {
    return this.#links.keys()
  }

  version(to: NodeId): number {
    return this.#links.get(to)?.version ?? 0
  }

  /** What the peer can do beyond its wire version. */
  features(of: NodeId): readonly string[] {
    return this.#links.get(of)?.greeting.features ?? []
  }

  begin(to: NodeId, type: FrameType): RecordWriter | undefined {
    const link = this.#links.get(to)
    if (link === undefined) return undefined
    if (this.#begun !== undefined) throw new Error('a frame was begun before the last one had ended')
    this.#begun = link
    return link.begin(type)
  }

  end(): void {
    const link = this.#begun!
    this.#begun = undefined
    link.end()
  }

  congested(to: NodeId): boolean {
    return this.#links.get(to)?.congested ?? true
  }

  /** Bytes of publish frames that may go to `to` now. */
  credit(to: NodeId): number {
    return this.#links.get(to)?.creditBytes ?? 0
  }

  // ── LinkOwner ──────────────────────────────────────────────────────────────────────────────────────────────────

  greeted(link: Link): void {
    const { node, greeting } = link
    if (node === this.self && greeting.incarnation === this.#options.incarnation)
      return link.refuse('itself', 'it is the node itself')
    const objection = this.#objection(greeting, node)
    if (objection !== undefined) return link.refuse('refused', objection)
    for (const rival of this.#of(node)) {
      if (rival === link || rival.state === 'greeting') continue
      if (rival.greeting.incarnation < greeting.incarnation) rival.cut('closed', 'the node has started anew')
      else if (this.#stays(rival, link)) return link.refuse('duplicate', 'there is a link already')
      else rival.refuse('duplicate', 'there is another link')
    }
    const { incarnation, address } = greeting
    this.#incarnations.set(node, { incarnation, address })
    link.welcome(Math.min(this.#options.wire.newest, greeting.newest), this.#clock.now())
  }

  up(link: Link): void {
    const { node, version, remote, target } = link
    const { address, incarnation } = link.greeting
    this.#links.set(node, link)
    this.#complaints.delete(node)
    if (target) this.#dialling.named(target, node, address)
    this.#dialling.linked(node)
    this.#log.info({ node, remote, version, incarnation }, 'linked')
    for (const part of this.#options.parts) {
      this.#byFamily[part.family >>> 4] = part
      if (link.isOpen) part.linked?.(node)
    }
  }

  frame(link: Link, type: number, reader: RecordReader): void {
    this.#byFamily[type >>> 4]?.frame(link.node, type, reader)
  }

  roomy({ node }: Link): void {
    for (const part of this.#options.parts) part.roomy?.(node)
  }

  dirty(link: Link): void {
    this.#dirty.push(link)
    if (this.#dirty.length === 1) this.#clock.endOfTurn(this.#flush)
  }

  over(link: Link, end: LinkEnd, why: string): void {
    const { node, target, remote } = link
    this.ended[end]++
    this.#open.delete(link)
    const wasUp = this.#links.get(node) === link
    if (wasUp) this.#links.delete(node)
    this.#tell({ node, remote, end, why }, wasUp ? 'a link is over' : 'a link did not come about')
    if (end === 'itself' && target) this.#dialling.drop(target)
    if (!this.#stopped) this.#again(node, target, end === 'refused')
    if (wasUp) for (const part of this.#options.parts) part.unlinked?.(node)
  }

  // ── how links begin and end ────────────────────────────────────────────────────────────────────────────────────

  #opened(target: Target, stream: Stream, node: NodeId): StreamEvents {
    if (this.#stopped || !this.#dialling.wants(target)) return turnedAway(stream)
    if (target.node === undefined || target.node === node) target.state = 'resting'
    else this.#dialling.elsewhere(target, node)
    const begun = this.#of(node).some(({ state, target }) => state !== 'greeting' || target !== undefined)
    if (begun) {
      // It has dialled us meanwhile, or another of its addresses has answered.
      this.#dialling.named(target, node, target.address)
      return turnedAway(stream)
    }
    return this.#add(new Link(node, stream, target, this))
  }

  #add(link: Link): Link {
    this.#open.add(link)
    link.open()
    return link
  }

  /** What makes the peer none of ours. */
  #objection(greeting: Greeting, node: NodeId): string | undefined {
    const { clusterId, wire, self } = this.#options
    const { address, incarnation, oldest, newest } = greeting
    const seen = this.#incarnations.get(node)
    if (greeting.clusterId !== clusterId) return `it is of cluster ${greeting.clusterId}, and not of ${clusterId}`
    if (greeting.node !== node) return `it calls itself ${greeting.node}, and its certificate says ${node}`
    if (node === self) return `the node at ${address} is called ${self}, too: each needs a name of its own`
    if (oldest > wire.newest || newest < wire.oldest)
      return `${node} speaks wire ${rangeText(greeting)}, and ${self} speaks ${rangeText(wire)}`
    if (seen === undefined || incarnation >= seen.incarnation) return undefined
    if (seen.address === address) return `it is an earlier start of ${node}: a later one has been here`
    return `another node, at ${seen.address}, is called ${node}, too, and has started later: each needs a name of its own`
  }

  /** Does `old` stay, of two links to one incarnation of a node? Both nodes answer alike. */
  #stays(old: Link, fresh: Link): boolean {
    if (this.#clock.now() - old.welcomedMs > raceMs) return false
    const oldIsOurs = old.target !== undefined
    const freshIsOurs = fresh.target !== undefined
    if (oldIsOurs === freshIsOurs) return false
    return oldIsOurs === this.self < old.node
  }

  /** Dials again whom that leaves without a link. */
  #again(node: NodeId, target: Target | undefined, refused: boolean): void {
    if (target && target.node !== node && this.#dialling.wants(target)) this.#dialling.unlinked(target, refused)
    const known = this.#dialling.target(node)
    if (known && this.#of(node).every(({ state }) => state === 'greeting')) this.#dialling.unlinked(known, refused)
  }

  #tell(fields: { node: NodeId; remote: string; end: LinkEnd; why: string }, message: string): void {
    const { node, end, why } = fields
    if (levels[end] === 'debug' || this.#complaints.get(node) === why) return this.#log.debug(fields, message)
    this.#complaints.set(node, why)
    this.#log[levels[end]](fields, message)
  }

  #of(node: NodeId): Link[] {
    const links: Link[] = []
    for (const link of this.#open) if (link.node === node) links.push(link)
    return links
  }

  // ── turns and ticks ────────────────────────────────────────────────────────────────────────────────────────────

  readonly #flush = (): void => {
    const dirty = this.#dirty
    this.#dirty = []
    for (const link of dirty) {
      link.isDirty = false
      if (link.isOpen) this.#flushOne(link)
    }
  }

  #flushOne(link: Link): void {
    link.output.flush()
    const { waitingBytes } = link.output
    if (waitingBytes > this.#limits.unsentBytes) link.cut('overfull', `${waitingBytes} bytes wait for it`)
  }

  // By ticks, not by the clock: a process that stood still for a while has read nothing, and would find everybody silent.
  #tick(): void {
    const { greetingMs, silenceMs } = this.#limits
    for (const link of [...this.#open]) {
      link.ticks++
      link.unheardTicks++
      link.idleTicks++
      if (link.state !== 'up') {
        if (link.ticks * tickMs > greetingMs) link.cut('ungreeted', 'no greeting in time')
      } else if (link.unheardTicks * tickMs > silenceMs) link.cut('silent', `nothing for ${silenceMs / 1000} s`)
      else if (link.idleTicks * tickMs > silenceMs / 4) link.sign()
    }
    this.#dialling.tick()
  }
}

function turnedAway(stream: Stream): StreamEvents {
  stream.destroy()
  return { data() {}, closed() {} }
}

function rangeText({ oldest, newest }: { readonly oldest: number; readonly newest: number }): string {
  return oldest === newest ? `version ${newest}` : `versions ${oldest} to ${newest}`
}
