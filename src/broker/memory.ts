import type { Log, MemoryGauge } from '../host.ts'
import type { Connection } from '../mqtt/connection.ts'
import { Reason } from '../mqtt/reason.ts'
import type { Ledger } from '../sessions/ledger.ts'
import type { Session } from '../sessions/session.ts'

type Client = Connection<Session>

/** What is held for clients, counted in bytes: what tells which of it to let go. */
export interface Held {
  /** Messages in queues, in memory or on disk. */
  readonly queuedBytes: number
  readonly retainedBytes: number
  /** What sockets have not taken. */
  readonly unsentBytes: number
  /** Packets that have not come whole, or wait to be read. */
  readonly unreadBytes: number
  /** An estimate of what sessions and subscriptions cost. */
  readonly sessionBytes: number
}

export interface MemoryParts {
  /** Undefined: nobody measures, and nothing is shed. */
  readonly gauge: MemoryGauge | undefined
  readonly turn: { lean: boolean; unfinishedBytes: number }
  readonly ledger: Ledger
  readonly log: Log
  readonly now: () => number
  readonly clients: () => Iterable<Client>
  readonly held: () => Held
}

/** Shares of the limit at which each step begins; it ends a twentieth below. */
export const marks = [0, 0.75, 0.8, 0.85, 0.9] as const
const back = 0.05
/** What the allocator keeps and will use again counts up to this share, and all of it from `brink` on. */
const slackShare = 0.1
const brink = 0.95
/** A thousand clients can begin large packets between two looks at the memory, so those have a bound of their own. */
const unfinishedShare = 0.125
/** The engine's collector stops everything: no more than this share of the time. */
const collectingShare = 0.05
/** Of those who are not read, a part may send a packet each tick. */
const turnsToRead = 10
/** An episode that is over is told of again when it comes back after so long. */
const calmMs = 60_000

const texts = [
  '',
  'short of memory: clients that are behind get no QoS 0',
  'short of memory: no new clients, subscriptions and retained topics',
  'short of memory: publishers are read a packet a second',
  'short of memory: clients that hold the most are disconnected',
] as const

/**
 * Keeps the process below its memory limit. What counts is what the system says that it holds; each step begins at a share
 * of the limit, and none ends before there is some room.
 *
 *   0 ──75%──▶ 1 lean ──80%──▶ 2 closed ──85%──▶ 3 slow ──90%──▶ 4 shedding
 *     ◀──70%──        ◀──75%──          ◀──80%──        ◀──85%──
 *
 * Before anybody is disconnected garbage is collected, so that nobody goes for what nobody holds.
 */
export class MemoryGuard {
  /** What is shed now: 0 is nothing. */
  step = 0
  /** Times that each step was reached. */
  readonly reached = [0, 0, 0, 0, 0]
  /** Clients that were sent away, or not let in. */
  disconnected = 0
  refused = 0
  readonly #parts: MemoryParts
  #limitBytes: number
  #slowed: Client[] = []
  #told = 0
  #calmSinceMs = -Infinity
  #collectAtMs = -Infinity

  constructor(limitBytes: number, parts: MemoryParts) {
    this.#limitBytes = limitBytes
    this.#parts = parts
    this.relimit(limitBytes)
  }

  /** Is nothing new taken in? */
  get closed(): boolean {
    return this.step >= 2
  }

  /** Are publishers held back? Each PUBLISH asks. */
  get slows(): boolean {
    return this.step >= 3
  }

  relimit(limitBytes: number): void {
    this.#limitBytes = limitBytes
    this.#parts.turn.unfinishedBytes = limitBytes * unfinishedShare
  }

  /** A client comes while nothing new is taken in: 0x89, as it may try again. */
  refuse(client: Client): void {
    this.refused++
    this.#parts.ledger.refusal(Reason.serverBusy)
    client.close(Reason.serverBusy, 'the broker is short of memory')
  }

  /** A client has published, and is not read until its turn comes. */
  slow(client: Client): void {
    client.hold()
    this.#slowed.push(client)
  }

  tick(): void {
    const { gauge } = this.#parts
    if (gauge === undefined) return
    let share = this.#share(gauge)
    if (share >= marks[1]) {
      const collected = this.#collect(gauge)
      if (collected) share = this.#share(gauge)
      this.#enter(stepOf(share, this.step))
      if (this.step === 4 && collected) this.#shed((share - marks[3]) * this.#limitBytes)
    } else if (this.step > 0) this.#enter(stepOf(share, this.step))
    const many = this.slows ? Math.ceil(this.#slowed.length / turnsToRead) : this.#slowed.length
    if (many > 0) for (const client of this.#slowed.splice(0, many)) client.release()
  }

  /** How much of the limit is in use: of memory, or of the engine's own heap, which would end the process as surely. */
  #share(gauge: MemoryGauge): number {
    const { residentBytes, usefulBytes, heapShare } = gauge.read()
    const resident = residentBytes / this.#limitBytes
    const useful = usefulBytes / this.#limitBytes + slackShare
    return Math.max(heapShare, resident >= brink ? resident : Math.min(resident, useful))
  }

  #collect(gauge: MemoryGauge): boolean {
    const beganMs = this.#parts.now()
    if (beganMs < this.#collectAtMs) return false
    gauge.collect()
    const endedMs = this.#parts.now()
    this.#collectAtMs = endedMs + Math.max(250, (endedMs - beganMs) / collectingShare)
    return true
  }

  #enter(step: number): void {
    const { log, turn, now, held } = this.#parts
    if (step === this.step) return
    for (let reached = this.step + 1; reached <= step; reached++) this.reached[reached]!++
    const before = this.step
    this.step = step
    turn.lean = step >= 1
    if (step === 0) {
      this.#calmSinceMs = now()
      return log.info({ disconnected: this.disconnected, refused: this.refused }, 'there is memory again')
    }
    if (before === 0 && now() - this.#calmSinceMs > calmMs) this.#told = 0
    if (step <= this.#told) return
    this.#told = step
    log.warn({ limitBytes: this.#limitBytes, ...held() }, texts[step]!)
  }

  /** Sends away those who hold the most, until `bytes` less are held. */
  #shed(bytes: number): void {
    const { clients, ledger } = this.#parts
    const holders: { readonly client: Client; readonly heldBytes: number }[] = []
    for (const client of clients())
      if (client.heldBytes >= worthShedding) holders.push({ client, heldBytes: client.heldBytes })
    holders.sort((a, b) => b.heldBytes - a.heldBytes)
    let left = bytes
    for (const { client, heldBytes } of holders) {
      if (left <= 0) return
      left -= heldBytes
      this.disconnected++
      ledger.refusal(Reason.quotaExceeded)
      client.close(Reason.quotaExceeded, 'the broker is short of memory, and this client holds much of it')
      // It would not take the farewell either, and what waits for it is what must go.
      client.abandon()
    }
  }
}

const worthShedding = 64 * 1024

function stepOf(share: number, now: number): number {
  let step = 0
  for (let at = 1; at < marks.length; at++) if (share >= marks[at]! - (at <= now ? back : 0)) step = at
  return step
}
