import type { Session } from '../sessions/session.ts'
import { Entry, type RecoveredSession } from '../store/port.ts'
import type { RecordReader } from '../store/writer.ts'
import { ArrivingSession } from './arriving.ts'
import type { Claim } from './claims.ts'
import { readEntry } from './entry-frame.ts'
import { cleanEpoch } from './epochs.ts'
import type { Given } from './given.ts'
import {
  confirmMs,
  foreign,
  type HandoverTools,
  mostAtOnce,
  patienceMs,
  Refusal,
  takenOver,
  tooLate,
  type Waiting,
} from './handover-tools.ts'
import { writeOwner } from './owner-field.ts'
import { arrivingPrefix } from './own-names.ts'
import type { NodeId } from './peers.ts'
import { FrameType, WireError } from './wire.ts'
import type { Had } from './witnesses.ts'

/** A session that we have asked another node for. */
interface Arriving {
  readonly from: NodeId
  readonly id: number
  readonly clientId: string
  /** As its owner's claim said. */
  readonly epoch: number
  /** Undefined: it comes without its client. */
  waiting: Waiting | undefined
  session: ArrivingSession | undefined
  /** Who has been told of what it wants. */
  told: readonly NodeId[]
  /** Of nodes that know what it wants, the last message that was published there before they did: all behind it comes here. */
  readonly since: Map<NodeId, number>
  entries: number
  bytes: number
  movedMs: number
  confirmed: boolean
  tells: boolean
}

interface ArrivalEffects {
  /** A client whose session does not come tries again. */
  later(waiting: Waiting): void
  /** A session is here. True when something had straggled here for it. @param had where it was */
  adopted(session: Session, had: Had): boolean
  /** It is here for good. */
  proven(session: Session): void
  /** The node that gave it may give another one. */
  freed(): void
}

/** Whole sessions on their way here: their owners let go of them when they are here for good. */
export class Arrivals {
  readonly #tools: HandoverTools
  readonly #effects: ArrivalEffects
  readonly #arriving = new Map<string, Arriving>()
  /** Adopted, and not durable yet: they are claimed when they are. */
  readonly #unproven = new Set<Session>()

  constructor(tools: HandoverTools, effects: ArrivalEffects) {
    this.#tools = tools
    this.#effects = effects
    const { store } = tools.parts
    store.onProgress(() => {
      if (!store.behind) for (const arriving of this.#arriving.values()) if (arriving.tells) this.#tell(arriving)
    })
  }

  /** Half of a session is nobody's: its owner still has all of it. */
  restore(sessions: readonly RecoveredSession[]): void {
    const { store } = this.#tools.parts
    for (const { clientId, number, queue } of sessions) {
      if (!clientId.startsWith(arrivingPrefix)) continue
      for (let seq = queue.head; seq < queue.next; seq++)
        if ((queue.entryOf(seq) & Entry.stateBits) !== Entry.gone)
          store.settled(number, queue.head, seq, queue.lsnOf(seq))
      queue.release()
      store.ended(number)
    }
  }

  get full(): boolean {
    return this.#arriving.size >= mostAtOnce
  }

  has(clientId: string): boolean {
    return this.#arriving.has(clientId)
  }

  /** The client that waits for a session. */
  waitingFor(clientId: string): Waiting | undefined {
    return this.#arriving.get(clientId)?.waiting
  }

  /** Another connection of the client waits for what is on its way. False when nothing is. */
  expect(clientId: string, waiting: Waiting): boolean {
    const arriving = this.#arriving.get(clientId)
    if (arriving) arriving.waiting = waiting
    return arriving !== undefined
  }

  /** Is a session here that may be gone after a crash? */
  isUnproven(session: Session): boolean {
    return this.#unproven.has(session)
  }

  ended(session: Session): void {
    this.#unproven.delete(session)
  }

  /** Asks its owner for a session. False when that cannot be done now. */
  take(clientId: string, { node, epoch }: Claim, waiting: Waiting | undefined): boolean {
    if (this.full) return false
    const id = this.#tools.nextId(node)
    const sent = this.#tools.send(node, FrameType.take, id, (writer) => {
      writer.text(clientId)
      writer.u8(waiting?.newcomer.clean === true ? 1 : 0)
      const claimant = waiting?.newcomer.claimant
      if (claimant) writeOwner(writer, claimant.user)
    })
    if (!sent) return false
    const state = {
      session: undefined,
      told: [],
      since: new Map<NodeId, number>(),
      entries: 0,
      bytes: 0,
      confirmed: false,
      tells: false,
    }
    this.#arriving.set(clientId, { from: node, id, clientId, epoch, waiting, movedMs: this.#tools.now, ...state })
    return true
  }

  /** What we have under way with a node by this name. */
  of(from: NodeId, id: number): Arriving | undefined {
    for (const arriving of this.#arriving.values()) if (arriving.from === from && arriving.id === id) return arriving
    return undefined
  }

  given(arriving: Arriving, given: Given): void {
    const { store, archive, peers, live, confirm, fence, published, broker } = this.#tools.parts
    const { sessions, tree } = broker()
    const number = given.expirySeconds > 0 ? store.number() : 0
    const session = new ArrivingSession(arriving.clientId, given, sessions, tree, number, peers.self)
    arriving.session = session
    if (number !== 0) {
      archive.add(session.place)
      store.session(session.place)
      for (const [filter, grant] of given.subscriptions) store.subscribed(number, filter, grant)
      for (const id of given.incoming) store.message(this.#tools.empty(), false, number, id, 'fsync')
    }
    const { since } = arriving
    since.set(peers.self, published())
    const told = (arriving.told = [...live()])
    confirm(told, confirmMs, (confirmed) => {
      if (!this.#isUnderWay(arriving)) return
      if (!confirmed) return this.fail(arriving)
      arriving.confirmed = true
      this.#tell(arriving)
      for (const node of told) fence(node, 'sent', (_, serial) => void (serial > 0 && since.set(node, serial)))
    })
  }

  entry(arriving: Arriving, reader: RecordReader): void {
    const { peers, topics, store, clock } = this.#tools.parts
    if (arriving.session === undefined) throw new WireError('a message of a session that was not given')
    const entry = readEntry(reader, peers.self, topics, this.#tools.now)
    arriving.entries++
    arriving.bytes += entry.message.bytes
    arriving.movedMs = this.#tools.now
    arriving.session.entry(entry)
    if (arriving.tells) return
    arriving.tells = true
    clock.endOfTurn(() => {
      if (!store.behind && arriving.tells) this.#tell(arriving)
    })
  }

  /** @param missed nodes that its owner could not ask, from which something may still come there; undefined: it does not say which */
  complete(arriving: Arriving, missed: readonly NodeId[] | undefined): void {
    // It had no session that could go on.
    if (arriving.session === undefined) {
      this.#arriving.delete(arriving.clientId)
      return arriving.waiting?.then({ epoch: cleanEpoch(arriving.epoch, this.#tools.parts.random) })
    }
    // What came with the queue may come straight to us as well: not after this, but from those that cannot be asked now.
    const missing = this.#tools.missing()
    this.#tools.fenceAll('sent', (fenced) => {
      if (!this.#isUnderWay(arriving)) return
      if (!fenced || arriving.session!.overflowed) this.fail(arriving)
      else this.#adopt(arriving, missed, missing)
    })
  }

  #adopt(arriving: Arriving, missed: readonly NodeId[] | undefined, missing: readonly NodeId[]): void {
    const { archive, claims, confirm, live } = this.#tools.parts
    const { from, id, clientId } = arriving
    const session = arriving.session!.merge()
    this.#arriving.delete(clientId)
    archive.remove(arriving.session!.place)
    this.#unproven.add(session)
    const lsn = this.#tools.sessions.adopt(session)
    this.#tools.counts.arrived++
    const straggles = missed?.length !== 0 || this.#tools.straggles(claims.keyOf(clientId))
    const had = arriving.session!.had()
    const since = [...arriving.since].filter(([node]) => !missing.includes(node))
    this.#tools.since.set(session, arriving.session!.since(since, missed))
    const some = this.#effects.adopted(session, had) || straggles
    // Of what straggles, it has not had all that was published before.
    const floors = some ? undefined : arriving.session!.heardOf(missing)
    if (some || floors!.size > 0 || this.#unheard(arriving).length > 0)
      this.#tools.witnesses.begin(session, floors, had)
    this.#tools.whenDurable(lsn, () => {
      this.#unproven.delete(session)
      // It may have ended meanwhile.
      if (this.#tools.sessions.get(clientId) === session) this.#effects.proven(session)
      // Its shared subscriptions are known there before what was left for them is; and nobody hears that it has left there
      // before he hears that it is here.
      confirm(live(), confirmMs, (confirmed) => {
        this.#tools.taken(from, id, confirmed)
        this.#effects.freed()
      })
    })
    arriving.waiting?.then({ epoch: session.epoch })
  }

  /** How far it has come. */
  #tell(arriving: Arriving): void {
    arriving.tells = false
    this.#tools.send(arriving.from, FrameType.progress, arriving.id, (writer) => {
      writer.varint(arriving.entries)
      writer.varint(arriving.bytes)
      writer.u8(arriving.confirmed ? 1 : 0)
      const unheard = this.#unheard(arriving)
      writer.varint(unheard.length)
      for (const node of unheard) writer.text(node)
    })
  }

  /** Nodes that have not been asked whether they know of it: they may send to where it was. */
  #unheard({ told }: Arriving): NodeId[] {
    return [...this.#tools.parts.members()].filter((node) => !told.includes(node))
  }

  /** Its owner says no. */
  refused(arriving: Arriving, why: number): void {
    if (why !== Refusal.takenOver && why !== Refusal.foreign) return this.fail(arriving, true)
    this.#drop(arriving)
    arriving.waiting?.then(why === Refusal.foreign ? foreign : takenOver)
  }

  /** Its owner goes on with it; whoever waits tries again. @param isOver the owner knows */
  fail(arriving: Arriving, isOver = false): void {
    this.#drop(arriving)
    if (!isOver) this.#tools.refuse(arriving.from, arriving.id, Refusal.notNow)
    if (arriving.waiting) this.#effects.later(arriving.waiting)
  }

  #drop(arriving: Arriving): void {
    const { archive, store } = this.#tools.parts
    this.#arriving.delete(arriving.clientId)
    if (arriving.session === undefined) return
    const { place } = arriving.session
    arriving.session.abandon()
    archive.remove(place)
    store.ended(place.number)
  }

  unlinked(node: NodeId): void {
    for (const arriving of [...this.#arriving.values()]) if (arriving.from === node) this.fail(arriving, true)
  }

  /** Gives up what does not get on. */
  tick(): void {
    const lateMs = this.#tools.now - patienceMs
    for (const arriving of [...this.#arriving.values()]) {
      if (arriving.movedMs < lateMs) this.fail(arriving)
      else if (arriving.waiting && arriving.waiting.untilMs < this.#tools.now) this.#dismiss(arriving)
    }
  }

  /** Its client cannot wait longer. The session comes all the same. */
  #dismiss(arriving: Arriving): void {
    arriving.waiting!.then(tooLate)
    arriving.waiting = undefined
  }

  #isUnderWay(arriving: Arriving): boolean {
    return this.#arriving.get(arriving.clientId) === arriving
  }
}
