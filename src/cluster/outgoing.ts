import type { Wait } from '../broker/cluster-port.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { Message } from '../mqtt/message.ts'
import type { QoS } from '../mqtt/topic.ts'
import type { OutboxContext } from '../sessions/outlet.ts'
import type { Session } from '../sessions/session.ts'
import type { Lsn, RecoveredSession } from '../store/port.ts'
import type { Archive } from './archive.ts'
import { outPrefix } from './own-names.ts'
import type { NodeId, Peers } from './peers.ts'
import { type Place, PublishWriter, type Share } from './publish-frame.ts'
import { OutStream, type StreamLink, type StreamTerms } from './streams.ts'
import { FrameType } from './wire.ts'

/** What the queues to all nodes share. */
export interface OutgoingContext extends OutboxContext {
  readonly peers: Peers
  readonly archive: Archive
  readonly incarnation: number
  /** Of the last message that was published here. */
  readonly serial: number
  /** Where our store has the last change of what the other nodes want. */
  readonly notedAt: Lsn
  readonly settings: {
    readonly handoffMessages: number
    readonly handoffBytes: number
    readonly handoffAfterMs: number
  }
  now(): number
  soon(run: () => void): void
  /** Of a message that cannot be sent for now: what of it shall wait for this node. Others may get it instead. */
  stays(to: Outgoing, message: Message, terms: StreamTerms, wasSent: boolean): boolean
}

interface Fence {
  readonly id: number
  readonly serial: number
  readonly notedAt: Lsn
  readonly after: readonly (readonly [OutStream, number])[]
}

/** Bytes that wait in memory for a node, from which on its publishers wait, too. */
const slowBytes = 4 * 1024 * 1024

/**
 * All messages to one other node, and whether it can be reached.
 *
 *   reachable ──┬─ live      QoS 1 in memory until the node has it for good; publishers wait for its word
 *               └─ storing   it has not caught up with what was written down
 *   unreachable ── storing   written down here, and publishers wait for that only
 *
 *   streams   of earlier starts, whose order comes first … the one of this start
 */
export class Outgoing implements StreamLink {
  // For the tree of interest: a node is no member of a group like a session, which is picked by its room.
  readonly online = true
  readonly room = 0
  readonly node: NodeId
  /** It gets what it wants now, or within a moment. */
  reachable = false
  /** What is for it is written down, and sent from there. */
  storing = true
  /** It was given up: nothing is kept for it. */
  gone = false
  /** The last message that it gets, by its number. */
  lastSerial = 0
  /** QoS 0 messages that it did not get. */
  droppedQos0 = 0
  /** Publishes that were refused, as too much waits for it. */
  refused = 0
  /** The last one is of this start. */
  readonly streams: OutStream[] = []
  readonly #context: OutgoingContext
  #dead = false
  #unlinkedMs = -Infinity
  #frames: PublishWriter | undefined = undefined
  /** Publishers that are not read until less waits. */
  readonly #slowed: Connection<Session>[] = []
  readonly #fences: Fence[] = []

  /** @param kept streams of earlier starts, as the store had them */
  constructor(node: NodeId, context: OutgoingContext, kept: readonly RecoveredSession[] = []) {
    this.node = node
    this.#context = context
    const { store, incarnation } = context
    const earlier = kept.map((session) => ({ id: parseStreamName(session.clientId)!.id, session }))
    for (const { id, session } of earlier.sort((a, b) => a.id - b.id)) this.#add(id, session.number).restore(session)
    const current = this.#add(incarnation, store.number())
    if (current.number !== 0) store.session(current)
    this.#settle()
  }

  #add(id: number, number: number): OutStream {
    const stream = new OutStream(id, number, streamName(this.node, id), this, this.#context, () => this.pump())
    this.streams.push(stream)
    this.#context.archive.add(stream)
    return stream
  }

  get linked(): boolean {
    return this.#frames !== undefined
  }

  get messages(): number {
    return this.streams.reduce((sum, stream) => sum + stream.messages, 0)
  }

  /** Of the messages, those that have not come to their end. Looks at each. */
  get pending(): number {
    return this.streams.reduce((sum, { outbox }) => sum + outbox.pending, 0)
  }

  get bytes(): number {
    return this.streams.reduce((sum, { outbox }) => sum + outbox.bytes, 0)
  }

  /** So much is written down for it that no more is taken. */
  get full(): boolean {
    const { handoffMessages, handoffBytes } = this.#context.settings
    return this.storing && (this.messages >= handoffMessages || this.bytes >= handoffBytes)
  }

  // ── messages ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** QoS 0: at once or never. */
  sendNow(message: Message, share: Share): void {
    const { peers } = this.#context
    if (!this.linked || peers.congested(this.node)) return void this.droppedQos0++
    this.lastSerial = message.serial
    this.write(message, 0, false, undefined, share)
  }

  /**
   * QoS 1 and 2.
   * @param wait of its publisher
   * @param isOnlyHere nobody would send it again: it is written down
   * @returns whether the store was told of it, in the record that is being written
   */
  push(message: Message, terms: StreamTerms, wait: Wait | undefined, isOnlyHere = false): boolean {
    this.lastSerial = message.serial
    const stored = message.lasting && (this.storing || message.qos === 2 || isOnlyHere)
    return this.#current.push(message, terms, stored, this.linked && !this.storing, wait)
  }

  /** Who may have it is asked there. */
  mayReceive(): boolean {
    return true
  }

  /** Does so much wait for it in memory that its publishers had better wait? */
  slow(publisher: Connection<Session> | undefined): void {
    if (publisher === undefined || this.storing || this.#waitingBytes < slowBytes) return
    publisher.hold()
    this.#slowed.push(publisher)
  }

  /** Sends what the link takes, the oldest stream first. */
  pump(): void {
    if (!this.linked) return
    const nowMs = this.#context.now()
    const drained = this.streams.every((stream) => stream.pump(nowMs))
    if (drained && this.reachable) this.storing = false
    this.#settle()
  }

  /** Drops what has expired. */
  expire(nowSeconds: number): void {
    for (const stream of this.streams) {
      if (stream.outbox.nextExpiry > nowSeconds) continue
      stream.outbox.expire(nowSeconds)
      stream.settle()
    }
    this.#settle()
  }

  /** The message at a place that a `streams` frame has named. */
  look(index: number, seq: number): ReturnType<OutStream['look']> {
    return this.#at(index)?.look(seq)
  }

  /** See `OutStream.reroutes`. */
  reroutes(index: number, seq: number, group: string): boolean {
    return this.#at(index)?.reroutes(seq, group) === true
  }

  // ── the link ───────────────────────────────────────────────────────────────────────────────────────────────────

  linkUp(): void {
    const { peers } = this.#context
    this.#frames = new PublishWriter(peers.version(this.node))
    this.#dead = this.gone = false
    const writer = peers.begin(this.node, FrameType.streams)
    if (writer) {
      writer.varint(this.streams.length)
      this.streams.forEach((stream, index) => {
        stream.index = index
        writer.varint(stream.id)
        writer.varint(stream.past)
      })
      peers.end()
    }
    for (const stream of this.streams) stream.resume()
    this.judge()
    this.pump()
  }

  linkDown(): void {
    this.#frames = undefined
    // Whoever wants to know asks again.
    this.#fences.length = 0
    this.#unlinkedMs = this.#context.now()
    this.judge()
  }

  /** What the members say of it. */
  living(alive: boolean): void {
    this.#dead = !alive
    this.judge()
    this.pump()
  }

  /** Can it be reached? Called again while time goes on. */
  judge(): void {
    const graceMs = this.#context.settings.handoffAfterMs
    const reachable = !this.#dead && !this.gone && (this.linked || this.#context.now() - this.#unlinkedMs < graceMs)
    if (reachable === this.reachable) return
    this.reachable = reachable
    if (reachable) return
    this.storing = true
    this.#settle()
    this.#layDown(0)
  }

  /** The node has all of a stream up to `seq` for good. One of ours may have ended, or have lost its end in a crash. */
  acknowledged(index: number, seq: number): void {
    const stream = this.#at(index)
    stream?.acknowledged(Math.min(seq, stream.outbox.next - 1))
    this.pump()
  }

  /**
   * The node wants to know when all that we have sent so far has been acknowledged. It counts on what we know, too, of who wants
   * what: that has to survive a power cut before it is told.
   */
  fence(id: number): void {
    const { serial, notedAt } = this.#context
    const after = this.streams.map((stream) => [stream, stream.outbox.next] as const)
    this.#fences.push({ id, serial, notedAt, after })
    this.#settle()
  }

  /** The node will not come back, unless it does: gives up all that waits for it, and takes nothing more. */
  giveUp(): void {
    this.gone = true
    this.reachable = false
    this.storing = true
    for (const stream of this.streams) stream.giveUp()
    this.#settle()
  }

  // What a stream asks.

  get congested(): boolean {
    return !this.linked || this.#context.peers.congested(this.node)
  }

  write(message: Message, qos: QoS, dup: boolean, place: Place | undefined, share: Share): void {
    const { peers } = this.#context
    const writer = peers.begin(this.node, FrameType.publish)
    if (writer === undefined || this.#frames === undefined) return
    this.#frames.write(writer, message, qos, dup, place, share, this.#context.now())
    peers.end()
  }

  get #current(): OutStream {
    return this.streams[this.streams.length - 1]!
  }

  get #waitingBytes(): number {
    const { outbox, inFlightBytes } = this.#current
    return outbox.bytes - inFlightBytes
  }

  /** Streams keep their places in the list that the link knows, also when those before them have ended. */
  #at(index: number): OutStream | undefined {
    return this.streams.find((stream) => stream.index === index)
  }

  /** Something has come to its end, or may go on. */
  #settle(): void {
    const { store, archive } = this.#context
    while (this.streams.length > 1 && this.streams[0]!.empty) {
      const ended = this.streams.shift()!
      archive.remove(ended)
      store.ended(ended.number)
    }
    while (this.#fences.length > 0 && this.#isOver(this.#fences[0]!)) this.#fenced(this.#fences.shift()!)
    if (this.#slowed.length > 0 && (this.storing || this.#waitingBytes * 2 < slowBytes)) this.#release()
  }

  #isOver({ notedAt, after }: Fence): boolean {
    const { store } = this.#context
    // A full disk, on which nothing can be noted, must not hold up whatever moves between others.
    const isNoted = notedAt < store.durable || notedAt === 0 || store.full
    return isNoted && after.every(([{ outbox }, next]) => outbox.head >= next)
  }

  #fenced({ id, serial }: Fence): void {
    const { peers } = this.#context
    const writer = peers.begin(this.node, FrameType.fenced)
    if (writer === undefined) return
    writer.varint(id)
    writer.varint(serial)
    peers.end()
  }

  #release(): void {
    for (const publisher of this.#slowed.splice(0)) publisher.release()
  }

  /** Writes down what is in memory, some in a turn, until the node can be reached again. */
  #layDown(from: number): void {
    if (this.reachable) return
    const next = this.#current.layDown(from, (message, terms, wasSent) =>
      this.#context.stays(this, message, terms, wasSent),
    )
    if (next < Infinity) this.#context.soon(() => this.#layDown(next))
  }
}

function streamName(node: NodeId, id: number): string {
  return `${outPrefix}${node}/${id}`
}

/** The node and the stream that a session in the store is of; undefined when it is none of ours. */
export function parseStreamName(clientId: string, prefix = outPrefix): { node: NodeId; id: number } | undefined {
  const slash = clientId.lastIndexOf('/')
  if (!clientId.startsWith(prefix) || slash < prefix.length) return undefined
  return { node: clientId.slice(prefix.length, slash), id: Number(clientId.slice(slash + 1)) }
}
