import type { Message } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import type { Subscriptions } from './subscriptions.ts'

/** A place in the log, in bytes: the order of all changes, and where to read one again. 0: not in the log. */
export type Lsn = number

/** What has happened before a promise leaves: synced to the disk, written (survives a kill), or nothing. */
export type Durability = 'fsync' | 'os' | 'memory'

/**
 * What a queue knows of a message without reading it, in 32 bits:
 *
 *   bytes that it counts (27, capped) · shared · retain · QoS 2 · state (2)
 */
export const Entry = {
  stateBits: 3,
  /** It has come to its end: delivered, dropped, expired. */
  gone: 0,
  waiting: 1,
  /** Awaits PUBACK or PUBREC. */
  sent: 2,
  /** PUBREL went out; awaits PUBCOMP. */
  released: 3,
  qos2: 4,
  retain: 8,
  /** From a shared subscription: held until it is acknowledged, whatever the session is, and another member may get it. */
  shared: 16,
  flagBits: 28,
  bytesShift: 5,
  mostBytes: 0x7ff_ffff,
} as const

/** The queue of a session. Message `seq` has the packet id `1 + seq % 65535`, so that a delivery writes nothing down. */
export interface QueueView {
  /** The oldest message that has not come to its end; equals `next` when there is none. */
  readonly head: number
  /** What the next message will be. */
  readonly next: number
  /** Where message `seq` stands; 0 when it is gone, or kept in memory only. */
  lsnOf(seq: number): Lsn
  /** An `Entry`. */
  entryOf(seq: number): number
  /** When it is to be dropped, as `dropSeconds` says; 0: never. */
  expiryOf(seq: number): number
}

/** What of a session changes seldom. */
export interface SessionHead {
  /** Names it in the log; from `Store.number`, never used again. */
  readonly number: number
  readonly clientId: string
  /** Grows each time that a client takes the session up: the newest owner wins. */
  readonly epoch: number
  /** Infinity: never. */
  readonly expirySeconds: number
  readonly username: string | undefined
  readonly will: WillPacket | undefined
  /** Monotonic milliseconds at which it ends and its will fires, while it is offline; Infinity while online, or never. */
  readonly endDueMs: number
  readonly willDueMs: number
  readonly online: boolean
}

/** All that is kept of a session. */
export interface SessionState extends SessionHead {
  /** Packed grants (`packGrant`) by filter as the client wrote it. */
  readonly subscriptions: Iterable<readonly [filter: string, grant: number]> & { readonly size: number }
  /** QoS 2 packet ids that the client has sent and not released. */
  incoming(): Iterable<number>
  readonly queue: QueueView | undefined
}

/** A session as it comes back. */
export interface RecoveredSession extends SessionHead {
  readonly subscriptions: Subscriptions
  readonly incoming: readonly number[]
  /** `release` when it has been copied. Whoever keeps it instead is told by `moved` where its messages stand. */
  readonly queue: QueueView & { release(): void; moved(seq: number, lsn: Lsn): void }
}

export interface Recovered {
  /** To be gone through once: whoever was handed over is forgotten here. */
  readonly sessions: Iterable<RecoveredSession>
  /** With those that clear their topic: empty, and stamped. */
  readonly retained: readonly Message[]
}

/** The live state, which the store asks for when it writes its index. */
export interface StateSource {
  /** Undefined when the session has ended. */
  session(number: number): SessionState | undefined
  /** Empty where the topic was cleared and a stamp must say since when. */
  retained(topic: string): Message | undefined
  /** Message `seq` stands at another place from now on. Nothing happens if it has come to its end. */
  moved(session: number, seq: number, lsn: Lsn): void
}

/** One copy of a message, as it was read again. Its payload stays only until something else is read: `keep` it, or send it at once. */
export interface StoredCopy {
  readonly message: Message
  readonly subscriptionIds: readonly number[] | undefined
  /** The `$share/group/filter` that it came by. */
  readonly shared: string | undefined
}

/** Somebody newer owns the session. */
export class StaleEpochError extends Error {
  override readonly name = 'StaleEpochError'
  constructor(clientId: string, epoch: number, newest: number) {
    super(`epoch ${epoch} of "${clientId}" is over: its owner is at ${newest}`)
  }
}

/**
 * Where what was promised is kept. Each call takes one change and gives its place; a promise to a client waits until
 * `durable` (or `written`) has passed it. What is changed while `full` stands is kept in memory and written when there is
 * room again.
 */
export interface Store {
  /** From the monotonic clock to the store's own time, in which it keeps what must come to its end (`StoreTime`). */
  readonly offsetMs: number
  /** Where the next record will stand; 0 when this store keeps nothing. */
  readonly next: Lsn
  /** Records that begin below it survive a power cut. */
  readonly durable: Lsn
  /** Records that begin below it survive the end of the process. */
  readonly written: Lsn
  /** The disk takes nothing more: refuse what would have to be kept. */
  readonly full: boolean
  /** More waits to be written than should: publishers had better wait. */
  readonly behind: boolean
  /** Called each time that `durable`, `written`, `full` or `behind` has changed. */
  onProgress(listener: () => void): void
  /** Whose state the index shows. Before any change. */
  serve(source: StateSource): void

  /** A number for a new session. */
  number(): number
  /** A session began, was taken up, left, or changed its expiry or will. @throws StaleEpochError */
  session(head: SessionHead): Lsn
  ended(session: number): Lsn
  subscribed(session: number, filter: string, grant: number): Lsn
  unsubscribed(session: number, filter: string): Lsn

  /**
   * One more session that `message`, at `next`, is for, as number `seq` of its queue. `message` below ends the list; no
   * other change may come between. Should the record not fit where `next` was, `StateSource.moved` tells the sessions.
   * @param flags `Entry.qos2`, `.retain` and `.shared`
   */
  recipient(
    message: Message,
    session: number,
    seq: number,
    flags: number,
    subscriptionIds: readonly number[] | undefined,
    shared: string | undefined,
  ): void
  /**
   * A message with its recipients so far, the change of the retained message if its retain flag is set and `retains`, and
   * the publisher's QoS 2 packet id: all or nothing.
   * @param publisher 0: none that outlives its connection
   * @param packetId 0: no QoS 2
   */
  message(message: Message, retains: boolean, publisher: number, packetId: number, durability: Durability): Lsn
  /** PUBREL from a client: its QoS 2 id is free. */
  released(session: number, packetId: number): Lsn
  /** PUBREC from a client: message `seq` of its queue arrived; PUBREL may go out behind this. It keeps its place until it is settled. */
  received(session: number, seq: number): Lsn
  /**
   * Message `seq`, which stood at `lsn`, has come to its end, and the queue begins at `head`. Nobody waits for this. Once
   * for each message that was in the store, also when its session ends: `lsn` lets go of its place.
   */
  settled(session: number, head: number, seq: number, lsn: Lsn): void

  /**
   * The copy at `lsn` that is message `seq` of a session's queue, if it is in memory. One message may be for a session
   * twice: by a subscription of its own, and by a shared one.
   */
  read(lsn: Lsn, session: number, seq: number): StoredCopy | undefined
  /** Brings what stands at `lsn` into memory, and some of what follows. `found`: false when it is damaged. */
  fetch(lsn: Lsn, then: (found: boolean) => void): void
  /** Reads at once, and blocks; undefined when it is damaged. For what is rare. */
  readNow(lsn: Lsn, session: number, seq: number): StoredCopy | undefined

  /** Writes and syncs all that it was told, and lets go of the disk. */
  close(): Promise<void>
}
