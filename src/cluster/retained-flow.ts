import type { Message } from '../mqtt/message.ts'
import { clearing } from '../retain/tombstones.ts'
import { writeBody } from '../store/message-record.ts'
import type { NodeId } from './peers.ts'
import type { RetainedFigures, RetainedOptions } from './retained-options.ts'
import { FrameType, WireError } from './wire.ts'

/** `retained` frames on their way to one node and not handled there, in bytes of messages; above it no change is sent. */
const windowBytes = 1024 * 1024
/** The same for what a comparison brings. All of it may come in one turn there, which takes some 15 ms to handle it. */
const repairBytes = 256 * 1024
/** Sent to one node in a turn: less than a millisecond. */
const turnBytes = 128 * 1024
const turnMessages = 128
const mostJobs = 64

/** Messages to send to a node, and what follows behind them. */
interface Job {
  readonly names: readonly string[]
  at: number
  readonly then: () => void
}

/** `retained` frames to and from one node that a link is up to: neither side is sent more than it can handle. */
export class Flow {
  /** It was not sent something for want of room: a comparison will bring it. */
  missed = false
  /** The link is over. */
  #closed = false
  /** Bytes of messages: sent, and known to be handled there. */
  #sent = 0
  #applied = 0
  /** Handled here, and told. */
  #taken = 0
  #told = 0
  #telling = false
  readonly #jobs: Job[] = []
  #pumping = false
  readonly #node: NodeId
  readonly #options: RetainedOptions
  readonly #figures: RetainedFigures

  constructor(node: NodeId, options: RetainedOptions, figures: RetainedFigures) {
    this.#node = node
    this.#options = options
    this.#figures = figures
  }

  close(): void {
    this.#closed = true
  }

  // ── to the node ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** May a change be sent? */
  get hasRoom(): boolean {
    return this.#sent - this.#applied <= windowBytes
  }

  send(message: Message): void {
    const { peers, clock } = this.#options
    const writer = peers.begin(this.#node, FrameType.retained)
    if (writer === undefined) return
    writeBody(writer, message, -clock.now())
    peers.end()
    this.#sent += message.bytes
  }

  /** The node has handled so much of it. */
  applied(bytes: number): void {
    if (bytes < this.#applied || bytes > this.#sent) throw new WireError('more was handled than was sent')
    this.#applied = bytes
    this.#pump()
  }

  /** Sends what these topics have by then, as there is room, and calls `then`. */
  enqueue(names: readonly string[], then: () => void): void {
    if (this.#jobs.length === mostJobs) throw new WireError('it asks for more and more and does not wait')
    this.#jobs.push({ names, at: 0, then })
    this.#pump()
  }

  /** Sends what is to be sent, as far as the other side and this turn have room. */
  #pump(): void {
    if (this.#pumping) return
    const before = this.#sent
    let messages = 0
    for (let job = this.#jobs[0]; job !== undefined; job = this.#jobs[0]) {
      for (; job.at < job.names.length; job.at++) {
        if (this.#sent - this.#applied > repairBytes) return
        if (this.#sent - before > turnBytes || messages++ >= turnMessages) return this.#pumpLater()
        const message = this.#current(job.names[job.at]!)
        if (message?.stamp === undefined) continue
        this.#figures.repaired++
        this.send(message)
      }
      this.#jobs.shift()
      job.then()
    }
  }

  #pumpLater(): void {
    this.#pumping = true
    this.#options.clock.endOfTurn(() => {
      this.#pumping = false
      if (!this.#closed) this.#pump()
    })
  }

  /** What a topic has now, as it is told. */
  #current(name: string): Message | undefined {
    const { retained, topics } = this.#options
    const tombstone = retained.tombstone(name)
    return tombstone ? clearing(topics.named(name), tombstone.stamp) : retained.get(name)
  }

  // ── from the node ────────────────────────────────────────────────────────────────────────────────────────────────

  /** A message of the node's was handled here. */
  took(message: Message): void {
    this.#taken += message.bytes
    if (this.#telling) return
    this.#telling = true
    this.#options.clock.endOfTurn(() => {
      this.#telling = false
      this.tell()
    })
  }

  /** Says how much was handled, so that more may come; later while the disk is behind. */
  tell(): void {
    if (this.#closed || this.#telling || this.#told === this.#taken || this.#options.store.behind) return
    const writer = this.#options.peers.begin(this.#node, FrameType.retainedApplied)
    if (writer === undefined) return
    this.#told = this.#taken
    writer.varint(this.#taken)
    this.#options.peers.end()
  }
}
