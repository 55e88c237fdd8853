import { Numbered } from './numbered.ts'
import type { SessionHead } from './port.ts'

/** Places of a queue that stand under one key of the index. */
export const chunkSeqs = 1024

export function chunkOf(seq: number): number {
  return Math.floor(seq / chunkSeqs)
}

/** What the store remembers of a session beside what the session itself knows: mostly, what the index does not have yet. */
export class Track {
  // What each message for the session touches stands first, and together.
  /** Above the last message that the log has. */
  next = 0
  /** Messages from this number on are not in the index; undefined: all are. */
  appendedFrom: number | undefined = undefined
  queueChanged = false
  /** It is among those that the next checkpoint writes. */
  dirty = false
  headChanged = false
  online = false
  ended = false
  /** Chunks of the queue in which something else has changed. */
  chunks: Set<number> | undefined = undefined
  /** Is anything of it in the index, and which chunks of its queue: [indexedFrom, indexedTo). */
  indexed = false
  indexedFrom = 0
  indexedTo = 0
  /** It is among those whose `head` and `gone` the next commit writes. */
  settling = false
  head = 0
  /** What came to its end above the head since the last commit. */
  gone: number[] | undefined = undefined
  /** Where among a message's recipients it stood the last time. */
  block = 0

  constructor(
    readonly number: number,
    public clientId: string,
    public epoch: number,
  ) {}
}

/** All sessions that the store knows, and what has changed since the last checkpoint. */
export class Tracks {
  readonly byNumber = new Numbered<Track>()
  /** Sessions whose owner is connected. */
  online = 0
  /** Changed since the last checkpoint, or ended and still in the index. */
  dirty: Track[] = []
  /** Topics whose retained message has changed since. */
  dirtyTopics = new Set<string>()
  /** Settled something since the last commit. */
  settling: Track[] = []
  readonly #byClient = new Map<string, Track>()

  owner(clientId: string): Track | undefined {
    return this.#byClient.get(clientId)
  }

  add(track: Track): void {
    this.byNumber.set(track.number, track)
    this.#byClient.set(track.clientId, track)
  }

  /** The track of a session that began, was taken up or left. */
  head(head: SessionHead): Track {
    let track = this.byNumber.get(head.number)
    if (track === undefined) this.add((track = new Track(head.number, head.clientId, head.epoch)))
    if (track.clientId !== head.clientId) this.#rename(track, head.clientId)
    track.epoch = head.epoch
    if (track.online !== head.online) this.online += head.online ? 1 : -1
    track.online = head.online
    track.headChanged = true
    this.soil(track)
    return track
  }

  /** What came from another node gets its own name once all of it is here. */
  #rename(track: Track, clientId: string): void {
    if (this.#byClient.get(track.clientId) === track) this.#byClient.delete(track.clientId)
    track.clientId = clientId
    this.#byClient.set(clientId, track)
  }

  end(track: Track): void {
    track.ended = true
    if (track.online) this.online--
    track.online = false
    this.byNumber.delete(track.number)
    if (this.#byClient.get(track.clientId) === track) this.#byClient.delete(track.clientId)
    this.soil(track)
  }

  queueChanged(track: Track): void {
    track.queueChanged = true
    if (!track.dirty) this.soil(track)
  }

  appended(track: Track, seq: number): void {
    track.appendedFrom ??= seq
    if (seq >= track.next) track.next = seq + 1
    this.queueChanged(track)
  }

  /** Message `seq` changed where it stands. */
  touched(track: Track, seq: number): void {
    if (track.appendedFrom === undefined || seq < track.appendedFrom)
      (track.chunks ??= new Set<number>()).add(chunkOf(seq))
    this.queueChanged(track)
  }

  settled(track: Track, head: number, seq: number): void {
    track.head = head
    if (seq >= head) {
      ;(track.gone ??= []).push(seq)
      this.touched(track, seq)
    } else this.queueChanged(track)
    if (track.settling) return
    track.settling = true
    this.settling.push(track)
  }

  /** The next checkpoint writes it. */
  soil(track: Track): void {
    if (track.dirty) return
    track.dirty = true
    this.dirty.push(track)
  }
}
