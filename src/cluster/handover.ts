import type { Entrance, Newcomer } from '../broker/cluster-port.ts'
import { Reason } from '../mqtt/reason.ts'
import type { Session } from '../sessions/session.ts'
import type { Lsn, RecoveredSession } from '../store/port.ts'
import type { RecordReader } from '../store/writer.ts'
import { Arrivals } from './arrivals.ts'
import { beats } from './claims.ts'
import { Departures } from './departures.ts'
import { cleanEpoch, firstEpoch, freshEpoch } from './epochs.ts'
import { readGiven } from './given.ts'
import {
  foreign,
  type HandoverParts,
  HandoverTools,
  patienceMs,
  Refusal,
  takenOver,
  tooLate,
  type Waiting,
} from './handover-tools.ts'
import type { Progress } from './leaving.ts'
import { Merging } from './merging.ts'
import { readOwner } from './owner-field.ts'
import { Stragglers } from './stragglers.ts'
import type { NodeId, Part } from './peers.ts'
import { FrameType } from './wire.ts'

/** Of an earlier release, which nodes it does not hear is not known. */
function readProgress(reader: RecordReader): Progress {
  return {
    entries: reader.varint(),
    bytes: reader.varint(),
    confirmed: reader.u8() === 1,
    unheard: reader.left > 0 ? reader.list(() => reader.text()) : [],
  }
}

/** Nodes that may have had something for the giving node, and could not be asked; undefined: an earlier release does not say which. */
function readMissing(reader: RecordReader): readonly NodeId[] | undefined {
  const some = reader.left > 0 && reader.u8() === 1
  if (reader.left === 0) return some ? undefined : []
  return reader.list(() => reader.text())
}

/**
 * Sessions across nodes: each client id has one owner at a time.
 *
 *   CONNECT ─▶ who claims the id?  nobody ──────────────────────────────────────────────▶ CONNACK
 *                  ├─ a node that is there ─▶ take ─▶ given, entry …, complete ─▶ on disk ─▶ CONNACK, claim, taken
 *                  └─ one that is not ─▶ wait (0x88), or begin afresh: what it has is merged when it is back
 *
 *   this node is emptied ─▶ invite ─▶ take …                                                as above, without a client
 *   two claims (a race, a healed partition) ─▶ the lower one's queue is offered to the higher one
 */
export class Handover implements Part {
  readonly family = 0x50
  readonly #parts: HandoverParts
  readonly #tools: HandoverTools
  readonly #arrivals: Arrivals
  readonly #departures: Departures
  readonly #merging: Merging
  readonly #stragglers: Stragglers
  /** A client that begins afresh, while it is let in. */
  readonly #fresh = new Set<string>()
  /** Clients that must be looked at again. */
  readonly #waiting = new Map<string, Waiting>()

  constructor(parts: HandoverParts) {
    this.#parts = parts
    this.#tools = new HandoverTools(parts)
    this.#arrivals = new Arrivals(this.#tools, {
      later: (waiting) => this.#later(waiting),
      adopted: (session, had) => this.#stragglers.returned(session, had),
      proven: (session) => this.#merging.claim(session),
      freed: () => this.#next(),
    })
    this.#departures = new Departures(this.#tools, {
      isBusy: (session) => this.#isBusy(session),
      left: (session, completed) => this.#stragglers.begin(session, completed),
    })
    this.#merging = new Merging(this.#tools, this.#departures, (clientId) => this.#stragglers.has(clientId))
    this.#stragglers = new Stragglers(this.#tools, this.#departures, (session, from, seq, isFor) =>
      this.#merging.take(session, from, seq, isFor),
    )
  }

  /** What has been moved, and what is moving. */
  get counts(): HandoverTools['counts'] & { readonly leaving: number; readonly leftMs: number } {
    const { size: leaving, movedMs: leftMs } = this.#departures
    return { ...this.#tools.counts, leaving, leftMs }
  }

  /** Calls `then` when all that the nodes that are there had sent to us is here for good. */
  fenceAll(then: (fenced: boolean) => void): void {
    this.#tools.fenceAll('withdrawn', then)
  }

  /** Calls `then` when what stands at `lsn` survives a power cut. */
  whenDurable(lsn: Lsn, then: () => void): void {
    this.#tools.whenDurable(lsn, then)
  }

  /** Takes up what was under way when our process ended. */
  restore(sessions: readonly RecoveredSession[]): void {
    this.#arrivals.restore(sessions)
    this.#stragglers.restore(sessions)
  }

  // ── clients ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A client wants its session. See the port. */
  enter(newcomer: Newcomer, then: (entrance: Entrance) => void): void {
    const { clientId, connectNumber } = newcomer
    const waiting: Waiting = { newcomer, then, untilMs: this.#tools.now + patienceMs }
    const earlier = this.#arrivals.waitingFor(clientId) ?? this.#waiting.get(clientId)
    // The client id belongs to the one that came last.
    if (earlier && earlier.newcomer.connectNumber > connectNumber) return then(takenOver)
    // Nor does it wait in another user's place.
    if (earlier?.newcomer.claimant && earlier.newcomer.claimant.user !== newcomer.claimant?.user) return then(foreign)
    if (earlier) this.#waiting.delete(clientId)
    if (!this.#arrivals.expect(clientId, waiting)) this.#try(waiting)
    earlier?.then(takenOver)
  }

  began(session: Session): void {
    if (this.#fresh.delete(session.clientId)) this.#tools.witnesses.begin(session)
    if (!this.#arrivals.isUnproven(session)) this.#parts.claims.claim(session)
  }

  ended(session: Session): void {
    this.#merging.ended(session)
    this.#arrivals.ended(session)
    this.#departures.ended(session)
    this.#tools.ended(session)
    this.#parts.claims.withdraw(session)
  }

  /** Is it nobody's business elsewhere what this session wants? */
  isHidden(session: Session): boolean {
    return this.#tools.isHidden(session)
  }

  /**
   * Gives a session without its client to another node. False when that cannot be begun now; where nothing comes of it, the
   * session stays here.
   */
  give(session: Session, to: NodeId): boolean {
    return this.#departures.invite(session, to)
  }

  #try(waiting: Waiting): void {
    const { claims, tables, absentOwner, peers, random } = this.#parts
    const { newcomer, then } = waiting
    const { clientId, clean } = newcomer
    const here = this.#tools.sessions.get(clientId)
    const leaving = here && this.#departures.bySession(here)
    if (leaving) {
      // It has gone, and we wait for the word that it has arrived.
      if (leaving.completedAt >= 0 || leaving.isOffer) return this.#later(waiting)
      this.#departures.withhold(leaving)
    }
    const best = claims.best(tables(claims.keyOf(clientId)))
    if (here) {
      // A session that is there keeps its own.
      if (best === undefined || beats(here.epoch, peers.self, best.epoch, best.node))
        return then({ epoch: cleanEpoch(here.epoch, random) })
      return this.#later(waiting)
    }
    if (best === undefined) return then({ epoch: firstEpoch(random) })
    if (this.#tools.isLive(best.node)) {
      if (!this.#arrivals.take(clientId, best, waiting)) this.#later(waiting)
      return
    }
    if (clean) return then({ epoch: cleanEpoch(best.epoch, random) })
    // What was to end with its connection has.
    if (!best.persistent || absentOwner === 'fresh') {
      this.#fresh.add(clientId)
      then({ epoch: freshEpoch(best.epoch, random) })
      return void this.#fresh.delete(clientId)
    }
    then({ refused: Reason.serverUnavailable, why: `the session is on node ${best.node}, which cannot be reached` })
  }

  /** A node that starts again has many clients at once who wait for their turn. */
  #next(): void {
    const [waiting] = this.#waiting.values()
    if (waiting === undefined) return
    this.#waiting.delete(waiting.newcomer.clientId)
    this.#again(waiting)
  }

  #again(waiting: Waiting): void {
    // It may have been given to us meanwhile, by a node that is emptied.
    if (!this.#arrivals.expect(waiting.newcomer.clientId, waiting)) this.#try(waiting)
  }

  #later(waiting: Waiting): void {
    if (this.#tools.now < waiting.untilMs) this.#waiting.set(waiting.newcomer.clientId, waiting)
    else waiting.then(tooLate)
  }

  // ── other nodes ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Another node says that a session is its own. */
  claimed(node: NodeId, key: string, value: number): void {
    this.#merging.claimed(node, key, value)
  }

  /** Something may come here for a session that was on another node. */
  straggles(key: string, value: number): void {
    const session = value > 0 ? this.#parts.claims.straggling(key) : undefined
    if (session) this.#tools.witnesses.begin(session)
  }

  frame(from: NodeId, type: number, reader: RecordReader): void {
    const id = reader.varint()
    switch (type) {
      case FrameType.take:
        return this.#departures.asked(from, id, reader.text(), reader.u8() === 1, readOwner(reader))
      case FrameType.offer:
        return this.#merging.offeredBy(from, id, reader.text(), reader.left > 0 && reader.u8() === 1, readOwner(reader))
      case FrameType.invite:
        return this.#invited(from, id, reader.text())
      case FrameType.given:
      case FrameType.entry:
      case FrameType.complete:
        return this.#came(from, type, id, reader)
      case FrameType.progress: {
        const leaving = this.#departures.of(from, id)
        return leaving && this.#departures.progress(leaving, readProgress(reader))
      }
      case FrameType.taken: {
        // An earlier release does not say it.
        const isKnown = reader.left === 0 || reader.u8() === 1
        const leaving = this.#departures.of(from, id)
        if (leaving === undefined) return isKnown ? this.#departures.known(from, id) : undefined
        const { session, completedAt } = leaving
        if (isKnown) this.#departures.taken(leaving)
        else this.#departures.claimed(session, from)
        return this.#stragglers.taken(session, completedAt)
      }
      case FrameType.refused:
        return this.#refused(from, id, reader.u8())
    }
  }

  #came(from: NodeId, type: FrameType, id: number, reader: RecordReader): void {
    const arriving = this.#arrivals.of(from, id)
    const offered = arriving ? undefined : this.#merging.of(from, id)
    if (type === FrameType.given) return arriving && this.#arrivals.given(arriving, readGiven(reader))
    if (type === FrameType.entry) {
      if (offered) return this.#merging.entry(offered, reader)
      return arriving && this.#arrivals.entry(arriving, reader)
    }
    if (offered) return this.#merging.complete(offered)
    return arriving && this.#arrivals.complete(arriving, readMissing(reader))
  }

  /** A node that is emptied wants us to take a session. */
  #invited(from: NodeId, id: number, clientId: string): void {
    const { accepts, claims, tables } = this.#parts
    const best = claims.best(tables(claims.keyOf(clientId)))
    const takes =
      accepts() &&
      best?.node === from &&
      this.#tools.sessions.get(clientId) === undefined &&
      !this.#arrivals.has(clientId) &&
      this.#arrivals.take(clientId, best, undefined)
    if (!takes) this.#tools.refuse(from, id, Refusal.notNow)
  }

  #refused(from: NodeId, id: number, why: number): void {
    const leaving = this.#departures.of(from, id)
    if (leaving) {
      this.#departures.stay(leaving)
      // It was beaten by another user's, which must have nothing of it.
      if (leaving.isOffer && why === Refusal.foreign && !this.#stragglers.drop(leaving.session))
        this.#departures.end(leaving.session)
      return
    }
    const arriving = this.#arrivals.of(from, id)
    if (arriving) return this.#arrivals.refused(arriving, why)
    const offered = this.#merging.of(from, id)
    if (offered) return this.#merging.drop(offered)
    this.#departures.declined(from, id)
  }

  linked(): void {}

  unlinked(node: NodeId): void {
    this.#arrivals.unlinked(node)
    this.#merging.unlinked(node)
    this.#departures.unlinked(node)
  }

  /** Looks again at what waits, and gives up what does not get on. */
  tick(): void {
    this.#arrivals.tick()
    this.#departures.tick()
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const one of waiting) this.#again(one)
    this.#merging.tick()
    this.#stragglers.tick()
  }

  /** It is on its way here, or perhaps not ours. */
  #isBusy(session: Session): boolean {
    return this.#arrivals.has(session.clientId) || this.#merging.isBeaten(session) || this.#arrivals.isUnproven(session)
  }
}
