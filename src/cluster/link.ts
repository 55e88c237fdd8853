import type { Stream, StreamEvents } from '../host.ts'
import { CorruptRecordError, RecordReader, type RecordWriter } from '../store/writer.ts'
import { Deframer, type FrameSink } from './deframer.ts'
import type { Target } from './dialling.ts'
import { type FramePages, FrameOutput } from './frame-output.ts'
import { type Greeting, greetingBytes, readGreeting } from './greeting.ts'
import type { NodeId } from './peers.ts'
import { FrameType, WireError } from './wire.ts'

/** Why a link is over. */
export const linkEnds = [
  /** The peer closed it in order, or has said goodbye. */
  'closed',
  /** The network broke it. */
  'broken',
  /** No greeting came in time. */
  'ungreeted',
  /** It was up, and nothing came any more, not even a sign of life. */
  'silent',
  /** The peer sent what is no frame, or a frame that is too long. */
  'malformed',
  /** The peer takes less than is sent to it, and too much waits. */
  'overfull',
  /** One of two links to the same node. */
  'duplicate',
  /** The peer cannot be a part of this cluster, or not under this name. */
  'refused',
  /** It leads to ourselves. */
  'itself',
  /** By us: we stop, or want no link to the node any more. */
  'stopped',
] as const
export type LinkEnd = (typeof linkEnds)[number]

export interface LinkOwner {
  readonly pages: FramePages
  /** Our greeting, and our own credit for the peer. */
  readonly greeting: Uint8Array
  readonly creditBytes: number
  readonly frameBytes: number
  /** The peer has greeted: calls `welcome` or `refuse`. */
  greeted(link: Link): void
  /** Both have welcomed each other. */
  up(link: Link): void
  frame(link: Link, type: number, reader: RecordReader): void
  roomy(link: Link): void
  /** Something waits to be flushed when the turn ends. */
  dirty(link: Link): void
  over(link: Link, end: LinkEnd, why: string): void
}

/**
 * One link to another node.
 *
 *   greeting ──▶ welcomed ──▶ up ──▶ over          we have greeted · both have greeted, and we agree · the peer agrees, too
 *
 * Credit is counted from the beginning of the link: what was charged, and how far the peer says that it has handled it. The
 * difference stays below the window, but for the frame that filled it.
 */
export class Link implements StreamEvents, FrameSink {
  state: 'greeting' | 'welcomed' | 'up' | 'over' = 'greeting'
  /** Once both have greeted. */
  greeting!: Greeting
  version = 0
  /** When we welcomed the peer. */
  welcomedMs = 0
  /** Ticks since something came, since something went, and since it was opened. */
  unheardTicks = 0
  idleTicks = 0
  ticks = 0
  isDirty = false
  readonly output: FrameOutput
  readonly #owner: LinkOwner
  readonly #stream: Stream
  readonly #deframer = new Deframer(greetingBytes)
  readonly #reader = new RecordReader()
  /** Bytes of publish frames, ours to the peer: sent, and handled there. */
  #charged = 0
  #handledThere = 0
  #windowBytes = 0
  /** The peer's to us: handled, and told. */
  #handled = 0
  #told = 0
  #publish = false

  constructor(
    readonly node: NodeId,
    stream: Stream,
    /** Whom we dialled; undefined: the peer dialled us. */
    readonly target: Target | undefined,
    owner: LinkOwner,
  ) {
    this.#stream = stream
    this.#owner = owner
    this.output = new FrameOutput(stream, owner.pages)
  }

  get remote(): string {
    return this.#stream.remote
  }

  /** Bytes of publish frames that may go now. */
  get creditBytes(): number {
    return Math.max(0, this.#windowBytes - (this.#charged - this.#handledThere))
  }

  open(): void {
    this.output.raw(this.#owner.greeting)
  }

  // ── what comes ─────────────────────────────────────────────────────────────────────────────────────────────────

  data(chunk: Uint8Array): void {
    if (this.state === 'over') return
    this.unheardTicks = 0
    try {
      this.#deframer.take(chunk, this)
    } catch (fault) {
      if (!(fault instanceof WireError || fault instanceof CorruptRecordError)) throw fault
      this.cut('malformed', fault.message)
    }
  }

  closed(fault?: Error): void {
    if (this.state === 'over') return
    if (fault) this.#end('broken', fault.message)
    else this.#end('closed', 'the peer has closed it')
  }

  framed(bytes: Uint8Array, start: number, end: number): boolean {
    const reader = this.#reader.over(bytes, start, end)
    if (this.state === 'up') this.#frame(reader.u8(), reader, end - start)
    else if (this.state === 'welcomed') this.#answered(reader)
    else {
      this.greeting = readGreeting(reader)
      this.#deframer.mostBytes = this.#owner.frameBytes
      this.#owner.greeted(this)
    }
    // A part may have ended the link.
    return this.isOpen
  }

  get isOpen(): boolean {
    return this.state !== 'over'
  }

  #frame(type: number, reader: RecordReader, bytes: number): void {
    if (type >= 0x10) {
      this.#owner.frame(this, type, reader)
      if (type === FrameType.publish) this.#renew(bytes)
    } else if (type === FrameType.credit) this.#credited(reader.varint())
    else if (type === FrameType.goodbye) this.#goodbye(reader)
  }

  /** The peer has seen our greeting, and says what it thinks of us. */
  #answered(reader: RecordReader): void {
    const type = reader.u8()
    if (type === FrameType.goodbye) return this.#goodbye(reader)
    if (type !== FrameType.welcome) throw new WireError(`a frame of type ${type} before the peer was welcomed`)
    this.state = 'up'
    this.#owner.up(this)
  }

  #goodbye(reader: RecordReader): void {
    const end = reader.text()
    const why = reader.text()
    if (end === 'refused') this.cut('refused', `${this.node} refuses us: ${why}`)
    else this.cut(end === 'duplicate' || end === 'itself' ? end : 'closed', why)
  }

  #credited(handled: number): void {
    if (handled < this.#handledThere || handled > this.#charged)
      throw new WireError('credit for what was never sent, or less than before')
    const wasCongested = this.congested
    this.#handledThere = handled
    if (wasCongested && !this.congested) this.#owner.roomy(this)
  }

  /** A message has been handled: at each quarter of the window the peer is told. */
  #renew(bytes: number): void {
    this.#handled += bytes
    if (this.#handled - this.#told >= this.#windowBytes / 4) this.sign()
  }

  // ── what goes ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** No publish frame may go for now. */
  get congested(): boolean {
    return this.#charged - this.#handledThere >= this.#windowBytes
  }

  begin(type: number): RecordWriter {
    if (!this.isDirty) this.#touch()
    this.#publish = type === FrameType.publish
    return this.output.begin(type)
  }

  end(): void {
    // As the receiver counts them: without the length.
    const bytes = this.output.end() - 4
    if (this.#publish) this.#charged += bytes
  }

  /** A sign of life, with how far we have come. */
  sign(): void {
    if (this.state !== 'up') return
    this.#told = this.#handled
    this.begin(FrameType.credit).varint(this.#handled)
    this.end()
  }

  /** We take the peer as one of us. */
  welcome(version: number, nowMs: number): void {
    this.state = 'welcomed'
    this.version = version
    this.welcomedMs = nowMs
    // The same at both ends: who renews less often than the other's window would let it wait for ever.
    this.#windowBytes = Math.min(this.greeting.creditBytes, this.#owner.creditBytes)
    this.begin(FrameType.welcome)
    this.end()
  }

  /** Says why, and closes in order. */
  refuse(end: LinkEnd, why: string): void {
    if (this.state === 'over') return
    const writer = this.begin(FrameType.goodbye)
    writer.text(end)
    writer.text(why)
    this.end()
    this.#end(end, why, true)
  }

  /** Closes at once. */
  cut(end: LinkEnd, why: string): void {
    if (this.state !== 'over') this.#end(end, why)
  }

  #end(end: LinkEnd, why: string, inOrder = false): void {
    if (inOrder) this.output.finish()
    else {
      this.output.close()
      this.#stream.destroy()
    }
    this.state = 'over'
    this.#owner.over(this, end, why)
  }

  #touch(): void {
    this.isDirty = true
    this.idleTicks = 0
    this.#owner.dirty(this)
  }
}
