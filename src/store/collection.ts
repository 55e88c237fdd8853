import type { Clock } from '../host.ts'
import type { CommitLog, SegmentInfo } from './log.ts'
import { MessageReader, RecipientWriter } from './message-record.ts'
import { Entry, type Lsn, type StateSource } from './port.ts'
import { RecordType } from './records.ts'
import type { Tracks } from './tracks.ts'

export interface CollectionContext {
  readonly clock: Clock
  readonly log: CommitLog
  readonly tracks: Tracks
  readonly source: StateSource
  readonly segmentBytes: number
  /** Messages are copied at this rate at most. */
  readonly bytesPerSecond: number
  /** Recipients that were ever written into a segment, beside those that the log has counted since it was opened. */
  references(first: Lsn): number
  /** Copies have left their segments: a checkpoint may drop these. */
  copied(): void
}

/** Segments of which more than this is still needed are left alone. */
const mostNeeded = 0.25
/** The log may be so many times what is needed, and so many segments more. */
const spareFactor = 2
const spareSegments = 4
/** Segments that are emptied at a time. */
const mostSegments = 8
/** Places of queues that are looked at in a turn. */
const turnPlaces = 20_000
const refillMs = 100

/**
 * Gets the disk back from old segments that are mostly dead but not quite: what is still needed of them is copied to the
 * end of the log, and its sessions learn where it stands now.
 *
 *   consider ─▶ gather: who needs what of these segments? ─▶ copy, in the order of the log, at a limited rate ─▶ copied
 */
export class Collection {
  /** Bytes that were copied since the start. */
  copiedBytes = 0
  readonly #context: CollectionContext
  readonly #message = new MessageReader()
  readonly #recipients = new RecipientWriter()
  #segments: readonly SegmentInfo[] = []
  /** What could not be read: not tried again. */
  readonly #spoiled = new Set<Lsn>()
  #needed: Needed[] = []
  #at = 0
  #allowance = 0
  #fetching = false
  #stopClock: (() => void) | undefined = undefined
  #running = false

  constructor(context: CollectionContext) {
    this.#context = context
  }

  get running(): boolean {
    return this.#running
  }

  /** Bytes of the log that are still needed, as far as references tell. */
  liveBytes(): number {
    let live = 0
    for (const segment of this.#context.log.segments()) live += (segment.end - segment.first) * this.#need(segment)
    return live
  }

  /** Starts, if the log is much larger than it needs to be. @param before only segments that end there or before */
  consider(before: Lsn): void {
    if (this.#running) return
    const { log, segmentBytes } = this.#context
    const all = log.segments()
    const bytes = all.reduce((sum, { first, end }) => sum + end - first, 0)
    if (bytes <= this.liveBytes() * spareFactor + spareSegments * segmentBytes) return
    this.#segments = all
      .filter((segment) => segment.end <= before && segment.held > 0 && !this.#spoiled.has(segment.first))
      .filter((segment) => this.#need(segment) <= mostNeeded)
      .slice(0, mostSegments)
    if (this.#segments.length === 0) return
    this.#running = true
    this.#needed = []
    this.#gather(this.#references())
  }

  stop(): void {
    this.#running = false
    this.#stopClock?.()
    this.#stopClock = undefined
  }

  /** The share of a segment's references that is still needed. */
  #need({ first, held, holds }: SegmentInfo): number {
    return held === 0 ? 0 : Math.min(1, held / (holds + this.#context.references(first)))
  }

  #gather(references: Generator<void, void, void>): void {
    this.#context.clock.endOfTurn(() => {
      if (!this.#running) return
      if (references.next().done !== true) return this.#gather(references)
      this.#needed.sort((a, b) => a.lsn - b.lsn)
      this.#at = this.#allowance = 0
      this.#stopClock = this.#context.clock.every(refillMs, () => this.#refill())
    })
  }

  /** Looks for all that is needed of the segments. */
  *#references(): Generator<void, void, void> {
    const { tracks, source } = this.#context
    let places = 0
    for (const { number } of tracks.byNumber.values()) {
      places++
      for (let seq = source.session(number)?.queue?.head ?? 0; ; seq++) {
        // The queue may have changed in between, or its session be over.
        if (++places % turnPlaces === 0) yield
        const queue = source.session(number)?.queue
        if (queue === undefined || seq >= queue.next) break
        if (seq < queue.head) seq = queue.head - 1
        else if (isAlive(queue.entryOf(seq)) && this.#wants(queue.lsnOf(seq)))
          this.#needed.push({ lsn: queue.lsnOf(seq), session: number, seq })
      }
    }
  }

  #wants(lsn: Lsn): boolean {
    for (const { first, end } of this.#segments) if (lsn >= first && lsn < end) return true
    return false
  }

  #refill(): void {
    const { bytesPerSecond, log } = this.#context
    this.#allowance = Math.min(this.#allowance + (bytesPerSecond * refillMs) / 1000, bytesPerSecond)
    // What is promised to clients goes first, and a full disk is not filled further.
    if (!this.#fetching && !log.behind && !log.full) this.#copy()
  }

  #copy(): void {
    const { log } = this.#context
    while (this.#running && this.#at < this.#needed.length) {
      if (this.#allowance <= 0) return
      const { lsn } = this.#needed[this.#at]!
      if (log.read(lsn)) this.#copyOne(lsn)
      else return this.#fetch(lsn)
    }
    if (!this.#running) return
    this.stop()
    this.#needed = []
    this.#context.copied()
  }

  #fetch(lsn: Lsn): void {
    this.#fetching = true
    this.#context.log.fetch(lsn, (found) => {
      this.#fetching = false
      if (!this.#running) return
      if (!found) this.#skip(lsn)
      this.#copy()
    })
  }

  /** It is damaged: whoever wants it will be told. */
  #skip(lsn: Lsn): void {
    const segment = this.#segments.find(({ first, end }) => lsn >= first && lsn < end)
    if (segment) this.#spoiled.add(segment.first)
    while (this.#needed[this.#at]?.lsn === lsn) this.#at++
  }

  /** Copies one message for all who still need it. */
  #copyOne(lsn: Lsn): void {
    const { log, source } = this.#context
    const { type, bytes, start, end } = log.found
    if (type !== RecordType.message && type !== RecordType.moved) return this.#skip(lsn)
    const message = this.#message.over(bytes, start, end)
    const from = this.#at
    let to = from
    while (this.#needed[to]?.lsn === lsn) to++
    this.#at = to
    const moves = this.#needed.slice(from, to).filter(({ session, seq }) => {
      const queue = source.session(session)?.queue
      if (queue === undefined || seq < queue.head || seq >= queue.next) return false
      return queue.lsnOf(seq) === lsn && isAlive(queue.entryOf(seq)) && message.find(session, seq, 0) >= 0
    })
    if (moves.length === 0) return
    const writer = log.begin(RecordType.moved)
    message.copyBody(writer, start)
    this.#recipients.reset()
    for (const { session, seq } of moves) {
      message.find(session, seq, 0)
      this.#recipients.write(writer, session, seq, message.flags, true, message.ids(), message.filter())
    }
    this.#recipients.trailer(writer, false, 0, 0)
    const { length } = writer
    const copy = log.end(false)
    for (const { session, seq } of moves) {
      log.hold(copy)
      log.free(lsn)
      source.moved(session, seq, copy)
      const track = this.#context.tracks.byNumber.get(session)
      if (track) this.#context.tracks.touched(track, seq)
    }
    this.#allowance -= length
    this.copiedBytes += length
  }
}

/** Somebody who needs a message of the segments. */
interface Needed {
  readonly lsn: Lsn
  readonly session: number
  readonly seq: number
}

function isAlive(entry: number): boolean {
  return (entry & Entry.stateBits) !== Entry.gone
}
