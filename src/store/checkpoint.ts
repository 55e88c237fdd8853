import type { Clock, DiskFault, Index } from '../host.ts'
import { chunkKey, ImageWriter, metaKey, type Meta, queueKey, type RetainedKeys, sessionKey } from './image.ts'
import type { Lsn, StateSource } from './port.ts'
import { chunkOf, type Track, type Tracks } from './tracks.ts'

/** What a checkpoint asks of the store. */
export interface CheckpointContext {
  readonly clock: Clock
  readonly index: Index
  readonly tracks: Tracks
  readonly retainedKeys: RetainedKeys
  readonly offsetMs: number
  readonly source: StateSource
  /** Where the next record will stand. */
  readonly next: Lsn
  readonly durable: Lsn
  /** A checkpoint begins: what is needed now may not be dropped by it. */
  began(): void
  /** Puts a record into the log that is synced with all before it. Gives its place. */
  mark(): Lsn
  /** What stands under the meta key, when replays begin at `replayFrom`. */
  meta(replayFrom: Lsn): Meta
  /** The index is true of everything before `replayFrom`. */
  finished(replayFrom: Lsn): void
  /** The index did not take it; all of it stays to be written by the next checkpoint. */
  failed(fault: DiskFault): void
}

/** Work of one turn, in bytes encoded: about a millisecond. */
const turnBytes = 64 * 1024
/** What an item costs beside its bytes. */
const itemBytes = 128
/** Of one commit: an index takes over its changes in one turn, a few thousand at most. */
const commitBytes = 512 * 1024

/** A session that has been encoded, and the first chunk of its queue that is in the index then. */
interface Written {
  readonly track: Track
  readonly from: number
}

type Change = readonly [key: string, value: Uint8Array | undefined]

/**
 * Writes to the index what has changed, while the broker goes on.
 *
 *   begin: replayFrom = next
 *     └▶ encode a few, turn by turn ─▶ mark ─▶ until the log is durable behind it ─▶ commit ─┐
 *          ▲                                                                                 │
 *          └────────────────────── while there is more ◀─────────────────────────────────────┘
 *
 * Each session is encoded as it is at that moment, with the lsn of that moment. So the index is never true of one moment
 * as a whole, and a replay from `replayFrom` makes it so. It must never know what the log may still lose: that is why each
 * commit waits for a mark. The last commit moves `replayFrom`.
 */
export class Checkpoint {
  readonly #context: CheckpointContext
  readonly #image = new ImageWriter()
  #work: Generator<void, void, void> | undefined = undefined
  #replayFrom: Lsn = 0
  #changes: Change[] = []
  #bytes = 0
  #turn = 0
  /** Not committed yet. */
  #written: Written[] = []
  #topics: string[] = []
  /** The session that is being encoded. */
  #current: Track | undefined = undefined
  /** Topics that are no longer retained, not committed yet. */
  #cleared: string[] = []
  /** Taken from the tracks, and not encoded yet. */
  #sessionsLeft: Track[] = []
  #topicsLeft = new Set<string>()
  /** The commit waits until the log is durable behind it; 0: for nothing. */
  #mark: Lsn = 0
  #ended = false

  constructor(context: CheckpointContext) {
    this.#context = context
  }

  get running(): boolean {
    return this.#work !== undefined
  }

  /** Starts, unless one is under way. */
  start(): void {
    if (this.running) return
    const { tracks, next } = this.#context
    this.#context.began()
    this.#replayFrom = next
    this.#sessionsLeft = tracks.dirty
    this.#topicsLeft = tracks.dirtyTopics
    tracks.dirty = []
    tracks.dirtyTopics = new Set()
    this.#ended = false
    this.#work = this.#encode()
    this.#goOn()
  }

  /** The log has become durable a bit further. */
  progress(): void {
    if (this.#mark === 0 || this.#context.durable <= this.#mark) return
    this.#mark = 0
    const { index } = this.#context
    if (this.#ended) this.#put(metaKey, this.#image.meta(this.#context.meta(this.#replayFrom)))
    index.commit(this.#changes, (fault) => (fault ? this.#fail(fault) : this.#committed()))
  }

  #goOn(): void {
    this.#context.clock.endOfTurn(() => {
      this.#turn = 0
      while (this.#turn < turnBytes && this.#bytes < commitBytes && !this.#ended)
        if (this.#work!.next().done === true) this.#ended = true
      if (!this.#ended && this.#bytes < commitBytes) return this.#goOn()
      this.#mark = this.#context.mark()
    })
  }

  #committed(): void {
    for (const { track, from } of this.#written) track.indexedFrom = from
    for (const topic of this.#cleared) this.#context.retainedKeys.forget(topic)
    this.#forget()
    if (!this.#ended) return this.#goOn()
    this.#work = undefined
    this.#context.finished(this.#replayFrom)
  }

  #fail(fault: DiskFault): void {
    const { tracks } = this.#context
    if (this.#current) this.#written.push({ track: this.#current, from: 0 })
    for (const { track } of this.#written) {
      track.headChanged = track.queueChanged = true
      track.appendedFrom = 0
      tracks.soil(track)
    }
    // Those that have not had their turn are still marked as dirty.
    for (const track of this.#sessionsLeft) tracks.dirty.push(track)
    for (const topic of this.#topics) tracks.dirtyTopics.add(topic)
    for (const topic of this.#topicsLeft) tracks.dirtyTopics.add(topic)
    this.#forget()
    this.#work = undefined
    this.#context.failed(fault)
  }

  #forget(): void {
    this.#changes = []
    this.#written = []
    this.#topics = []
    this.#cleared = []
    this.#bytes = 0
  }

  *#encode(): Generator<void, void, void> {
    // From the end, so that what is left is what has not had its turn.
    for (let track = this.#sessionsLeft.pop(); track; track = this.#sessionsLeft.pop()) {
      this.#current = track
      yield* this.#session(track)
      this.#current = undefined
      yield
    }
    const { source, retainedKeys, offsetMs } = this.#context
    for (const topic of this.#topicsLeft) {
      this.#topicsLeft.delete(topic)
      this.#topics.push(topic)
      const message = source.retained(topic)
      if (message === undefined) this.#cleared.push(topic)
      this.#put(retainedKeys.of(topic), message && this.#image.retained(message, offsetMs))
      yield
    }
  }

  *#session(track: Track): Generator<void, void, void> {
    const { source, next, offsetMs } = this.#context
    const { number, headChanged, queueChanged, appendedFrom, chunks } = track
    track.dirty = track.headChanged = track.queueChanged = false
    track.appendedFrom = undefined
    track.chunks = undefined
    const state = track.ended ? undefined : source.session(number)
    if (state === undefined) return this.#remove(track)
    track.indexed = true
    if (headChanged) this.#put(sessionKey(number), this.#image.session(state, next, offsetMs))
    if (!queueChanged) return void this.#written.push({ track, from: track.indexedFrom })
    const { queue } = state
    const head = queue?.head ?? 0
    const end = queue?.next ?? 0
    const value = this.#image.queue(next, head, end, state.incoming())
    const from = chunkOf(head)
    for (let chunk = track.indexedFrom; chunk < from && chunk < track.indexedTo; chunk++) {
      this.#put(chunkKey(number, chunk), undefined)
      yield
    }
    // What happens to the queue while its chunks have their turns is in the log, behind `next` as it was above.
    const appended = appendedFrom === undefined ? Infinity : Math.max(from, chunkOf(appendedFrom))
    const to = head === end ? from : chunkOf(end - 1) + 1
    track.indexedTo = Math.max(track.indexedTo, to)
    for (const chunk of chunks ?? []) if (chunk >= from && chunk < appended) yield* this.#chunk(track, chunk)
    for (let chunk = appended; chunk < to; chunk++) yield* this.#chunk(track, chunk)
    // Last, as a commit may come in between: chunks may be newer than what this says, but never older.
    this.#put(queueKey(number), value)
    this.#written.push({ track, from })
  }

  *#chunk({ number }: Track, chunk: number): Generator<void, void, void> {
    const queue = this.#context.source.session(number)?.queue
    this.#put(chunkKey(number, chunk), queue && this.#image.chunk(queue, chunk))
    yield
  }

  /** It has ended: nothing of it stays in the index. */
  #remove(track: Track): void {
    if (!track.indexed) return
    this.#put(sessionKey(track.number), undefined)
    this.#put(queueKey(track.number), undefined)
    for (let chunk = track.indexedFrom; chunk < track.indexedTo; chunk++)
      this.#put(chunkKey(track.number, chunk), undefined)
    this.#written.push({ track, from: track.indexedFrom })
  }

  #put(key: string, value: Uint8Array | undefined): void {
    this.#changes.push([key, value])
    const bytes = itemBytes + (value?.length ?? 0)
    this.#bytes += bytes
    this.#turn += bytes
  }
}
