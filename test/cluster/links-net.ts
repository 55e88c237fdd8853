import type { Bytes, Host, Log, Net, Stream, StreamEvents } from '../../src/host.ts'
import { Links, type LinksOptions } from '../../src/cluster/links.ts'
import type { NodeId, Part } from '../../src/cluster/peers.ts'
import { FrameType } from '../../src/cluster/wire.ts'
import type { RecordReader } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'
import { Lane } from '../sim/lane.ts'
import { Time } from '../sim/time.ts'

/** One end of a virtual connection between two nodes: what is written arrives in order, in pieces of any size, or not at all. */
export class End implements Stream {
  events: StreamEvents | undefined
  other!: End
  /** Bytes that still pass before the network breaks the connection. */
  budget = Infinity
  /** Nothing written arrives, and nobody notices. */
  mute = false
  /** Nothing is taken from the writer any more. */
  stuck = false
  written = 0
  over = false
  #ended = false
  readonly #lane: Lane

  constructor(
    readonly remote: string,
    readonly net: VirtualNet,
  ) {
    this.#lane = new Lane(net.time)
  }

  write(bytes: Bytes, written: () => void): void {
    if (this.#ended) throw new Error('written after the end')
    this.written += bytes.length
    const { time, dice } = this.net
    if (this.over || this.stuck) return
    time.after(dice.between(0, 1), written)
    // A copy: the page is used again as soon as it has been taken.
    const passing = Buffer.from(bytes.subarray(0, this.budget))
    this.budget -= bytes.length
    for (let at = 0; at < passing.length;) {
      const piece = this.net.piece(passing.length - at)
      const chunk = passing.subarray(at, at + piece)
      at += piece
      if (!this.mute)
        this.#lane.pass(this.net.latency(), () => {
          if (!this.other.over) this.other.events?.data(chunk)
        })
    }
    if (this.budget <= 0) this.break()
  }

  pause(): void {}

  end(): void {
    if (this.#ended) return
    this.#ended = true
    if (this.over || this.mute) return
    this.#lane.pass(this.net.latency(), () => this.other.close(undefined))
    this.net.time.after(2000, () => this.close(undefined), true)
  }

  destroy(): void {
    if (this.over) return
    this.over = true
    if (!this.mute) this.#lane.pass(this.net.latency(), () => this.other.close(undefined))
  }

  /** The network breaks it: both ends learn of it, each at its own time. What was under way is lost. */
  break(): void {
    for (const end of [this, this.other]) {
      end.#lane.pass(this.net.latency(), () => end.other.close(new Error('broken')))
      end.mute = true
    }
  }

  close(fault: Error | undefined): void {
    if (this.over) return
    this.over = true
    this.events?.closed(fault)
  }
}

/** A network of nodes that dial each other by address. */
export class VirtualNet {
  readonly nodes = new Map<string, Node>()
  readonly ends: End[] = []
  /** Called for each new connection. */
  opened: (dialler: End) => void = () => {}
  /** May `from` reach `to`? False: nobody answers. */
  passes: (from: NodeId, to: string) => boolean = () => true
  readonly time: Time
  readonly dice: Dice

  constructor(
    seed: number,
    readonly mostLatencyMs = 5,
  ) {
    this.dice = new Dice(seed)
    this.time = new Time(this.dice.fork(1))
  }

  latency(): number {
    return this.dice.between(0.05, this.mostLatencyMs)
  }

  piece(left: number): number {
    if (this.dice.once(3)) return left
    return 1 + this.dice.below(Math.min(left, this.dice.once(2) ? 8 : 2000))
  }

  net(from: Node): Net {
    return {
      dial: (address, opened, failed) => {
        const delayMs = this.latency()
        if (!this.passes(from.name, address))
          return void this.time.after(1500, () => failed(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })))
        this.time.after(delayMs, () => {
          const to = this.nodes.get(address)
          if (to === undefined || !to.running)
            return failed(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
          const near = new End(address, this)
          const far = new End(`${from.name}:1`, this)
          near.other = far
          far.other = near
          this.ends.push(near, far)
          this.opened(near)
          // Either side may be the first to hear of it.
          const takes = [
            () => (far.events = to.links.accept(far, from.name)),
            () => (near.events = opened(near, to.name)),
          ]
          if (this.dice.once(2)) takes.reverse()
          takes[0]!()
          this.time.after(this.dice.between(0, 0.04), takes[1]!)
        })
      },
    }
  }

  run(ms: number): void {
    for (const endMs = this.time.now() + ms; this.time.nextMs <= endMs;) this.time.step()
  }
}

/** What a node was told, one behind the other. */
export class Diary implements Part {
  readonly family: number = 0x30
  readonly lines: string[] = []
  /** Numbers of the next frame to each peer, and those that its links have begun with. */
  readonly next = new Map<NodeId, number>()
  readonly first = new Map<NodeId, Set<number>>()
  /** Numbers of what came, link by link. */
  readonly runs: { readonly from: NodeId; readonly numbers: number[] }[] = []

  linked(node: NodeId): void {
    this.lines.push(`+${node}`)
    this.first.set(node, (this.first.get(node) ?? new Set()).add(this.next.get(node) ?? 0))
    this.runs.push({ from: node, numbers: [] })
  }

  unlinked(node: NodeId): void {
    this.lines.push(`-${node}`)
  }

  roomy(node: NodeId): void {
    this.lines.push(`~${node}`)
  }

  frame(from: NodeId, _type: number, reader: RecordReader): void {
    const number = reader.varint()
    const filling = reader.bytes(reader.left)
    if (!filling.every((byte) => byte === (number & 0xff))) throw new Error(`frame ${number} is not what was sent`)
    this.runs.findLast((run) => run.from === from)!.numbers.push(number)
  }
}

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly why?: string
  readonly node?: string
}

/** A node with nothing but links. */
export class Node {
  running = true
  readonly diary = new Diary()
  readonly log: LogLine[] = []
  readonly refused: NodeId[] = []
  readonly links: Links
  readonly incarnation: number
  constructor(
    readonly net: VirtualNet,
    readonly name: NodeId,
    readonly address: string,
    options: Partial<LinksOptions> = {},
  ) {
    const write = (level: string) => (fields: object, message: string) =>
      void this.log.push({ level, message, ...fields })
    const log: Log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
    const host: Host = { clock: net.time, random: net.dice.fork(2 + net.nodes.size), log }
    net.nodes.set(address, this)
    this.incarnation = options.incarnation ?? 1
    this.links = new Links({
      ...{ self: name, incarnation: 1, address, clusterId: 'cluster', features: [], wire: { oldest: 1, newest: 2 } },
      ...{ host, net: net.net(this), parts: [this.diary] },
      ...options,
    })
    this.links.onRefused((node) => this.refused.push(node))
  }

  /** Sends a numbered frame of about this size, unless there is no link. */
  send(to: NodeId, bytes: number, type: FrameType = FrameType.publish): boolean {
    const writer = this.links.begin(to, type)
    if (writer === undefined) return false
    const number = this.diary.next.get(to) ?? 0
    this.diary.next.set(to, number + 1)
    writer.varint(number)
    const filling = Buffer.alloc(bytes, number & 0xff)
    writer.bytes(filling, 0, bytes)
    this.links.end()
    return true
  }

  /** Came all that came from `other` in order, once, and without a hole from the beginning of its link on? */
  heard(other: Node): boolean {
    const runs = this.diary.runs.filter(({ from, numbers }) => from === other.name && numbers.length > 0)
    const begins = other.diary.first.get(this.name)
    let last = -1
    return runs.every(({ numbers }) => {
      const first = numbers[0]!
      const whole = numbers.every((number, at) => number === first + at)
      const fits = first > last && begins?.has(first) === true
      last = numbers[numbers.length - 1]!
      return whole && fits
    })
  }

  get peers(): NodeId[] {
    return [...this.links.linked()].sort()
  }

  /** What was complained of, without what is expected. */
  get complaints(): string[] {
    return this.log
      .filter(({ level }) => level === 'warn' || level === 'error')
      .map(({ why, message }) => why ?? message)
  }

  /** The process is gone: its streams end, and nobody listens any more. */
  kill(): void {
    this.running = false
    this.links.stop()
  }
}
