import { Message } from '../mqtt/message.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import type { Session } from '../sessions/session.ts'
import { Entry, type Lsn, type Store } from '../store/port.ts'
import { EntryWriter } from './entry-frame.ts'
import type { NodeId, Peers } from './peers.ts'
import { FrameType } from './wire.ts'

/** What may be on its way before the receiver has said that it came. */
const windowEntries = 2048
const windowBytes = 4 * 1024 * 1024

export interface LeavingContext {
  readonly peers: Peers
  readonly store: Store
  readonly topics: TopicTable
  readonly now: () => number
  /** Nodes that may have something for us, and cannot be asked now. */
  readonly missing: () => readonly NodeId[]
}

/** What a receiver says of how far it is. */
export interface Progress {
  readonly entries: number
  readonly bytes: number
  /** What it wants is known everywhere that it hears. */
  readonly confirmed: boolean
  /** Nodes that it did not hear when it began to listen. */
  readonly unheard: readonly NodeId[]
}

/**
 * The queue of a session on its way to another node, from its head on, and what is appended meanwhile. Nothing is let go of
 * before the other has all of it for good.
 *
 *   given ─▶ entry … ─▶ all that was sent to us has come (`ready`) ─▶ entry … ─▶ complete        taken ─▶ ours ends
 */
export class Leaving {
  /** Its queue was sent up to here, and what came later, the receiver has got as well; -1: it is not complete. */
  completedAt = -1
  /** Nothing more comes that only we get, but for what comes from these nodes: what stands in the queue now is the last. */
  ready = false
  movedMs: number
  /** Nodes that we could not ask: what they had sent may still come. */
  missed: readonly NodeId[] = []
  /** Nodes that may not know of the receiver: what they publish may come to us alone. */
  unheard: readonly NodeId[] = []
  #at: number
  #sentEntries = 0
  #sentBytes = 0
  #cameEntries = 0
  #cameBytes = 0
  #fetching = false
  #over = false
  readonly #entries: EntryWriter
  readonly #context: LeavingContext

  constructor(
    readonly to: NodeId,
    readonly id: number,
    readonly session: Session,
    /** It is merged with a newer session there. */
    readonly isOffer: boolean,
    context: LeavingContext,
  ) {
    this.#context = context
    this.#entries = new EntryWriter(context.peers.self)
    this.#at = session.outbox?.head ?? 0
    this.movedMs = context.now()
  }

  /** The receiver has got so much. */
  progress(entries: number, bytes: number): void {
    this.#cameEntries = entries
    this.#cameBytes = bytes
    this.movedMs = this.#context.now()
    this.pump()
  }

  /** All that was sent to us alone has come. */
  fenced(missed: readonly NodeId[], unheard: readonly NodeId[]): void {
    this.missed = missed
    this.unheard = unheard
    this.ready = true
    this.pump()
  }

  /** Nothing is sent any more. */
  stop(): void {
    this.#over = true
  }

  /** Sends what the receiver takes. */
  pump(): void {
    if (this.#over || this.completedAt >= 0) return
    const { outbox } = this.session
    while (outbox !== undefined && this.#at < outbox.next) {
      if (this.#sentEntries - this.#cameEntries >= windowEntries || this.#sentBytes - this.#cameBytes >= windowBytes)
        return
      if (this.#at < outbox.head) this.#at = outbox.head
      else if (!this.#send(this.#at)) return
      else this.#at++
    }
    if (!this.ready) return
    const writer = this.#context.peers.begin(this.to, FrameType.complete)
    if (writer === undefined) return
    writer.varint(this.id)
    const missed = (this.missed = [...new Set([...this.missed, ...this.#context.missing()])])
    writer.u8(missed.length > 0 ? 1 : 0)
    writer.varint(missed.length)
    for (const node of missed) writer.text(node)
    this.#context.peers.end()
    this.completedAt = this.#at
  }

  /** False when it cannot go now. */
  #send(seq: number): boolean {
    const { peers, store, now } = this.#context
    const outbox = this.session.outbox!
    const entry = outbox.entryOf(seq)
    const state = entry & Entry.stateBits
    if (state === Entry.gone) return true
    const lsn = outbox.lsnOf(seq)
    const held = outbox.heldAt(seq)
    const copy = lsn === 0 ? undefined : store.read(lsn, this.session.number, seq)
    if (lsn !== 0 && copy === undefined) {
      this.#fetch(lsn, seq)
      return false
    }
    const message = copy?.message ?? held?.message ?? this.#nothing()
    const writer = peers.begin(this.to, FrameType.entry)
    if (writer === undefined) return false
    writer.varint(this.id)
    const terms = copy ?? held?.terms ?? noTerms
    const shared = terms.shared ?? groupOf(terms)
    this.#entries.write(writer, seq, entry, message, { subscriptionIds: terms.subscriptionIds, shared }, now())
    peers.end()
    this.#sentEntries++
    this.#sentBytes += message.bytes
    return true
  }

  #fetch(lsn: Lsn, seq: number): void {
    if (this.#fetching) return
    this.#fetching = true
    const { store } = this.#context
    store.fetch(lsn, (found) => {
      this.#fetching = false
      const { outbox, number } = this.session
      if (this.#over || outbox === undefined) return
      if (outbox.lsnOf(seq) === lsn && !(found && store.readNow(lsn, number, seq))) outbox.drop(seq, 'damaged')
      this.pump()
    })
  }

  /** What the client has, and has not confirmed to the end, may be known by its number only. */
  #nothing(): Message {
    return new Message(this.#context.topics.named('-'), 2, false, noBytes, 0, 0, undefined, Infinity, undefined, 5)
  }
}

const noBytes = new Uint8Array(0)
const noTerms = { subscriptionIds: undefined, shared: undefined }

/** A copy in memory knows its group itself, not by name. */
function groupOf(terms: object): string | undefined {
  return (terms as { group?: { name: string } }).group?.name
}
