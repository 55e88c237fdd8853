import { Reason } from '../mqtt/reason.ts'
import type { Session } from '../sessions/session.ts'
import { type Extent, writeGiven } from './given.ts'
import { confirmMs, type HandoverTools, mostAtOnce, nameOf, patienceMs, Refusal } from './handover-tools.ts'
import { Leaving, type Progress } from './leaving.ts'
import { isForeign, type Owner } from './owner-field.ts'
import type { NodeId } from './peers.ts'
import { FrameType } from './wire.ts'

/** A node that was asked to take a session, and has not answered. */
interface Invited {
  readonly to: NodeId
  readonly id: number
  readonly untilMs: number
}

/** A session that has gone, and is still claimed here. */
interface Lingering {
  readonly owner: NodeId
  /** By which the owner says that all know of its claim; undefined: it was not given straight to that one. */
  readonly name: string | undefined
  readonly untilMs: number
}

interface DepartureEffects {
  /** Neither it nor what it holds can leave now. */
  isBusy(session: Session): boolean
  /** A session is elsewhere now, and is about to be let go of here. */
  left(session: Session, completed: Completed): void
}

/** What the new owner of a session has of it. */
export interface Completed {
  /** All that came before this place of the queue. */
  readonly at: number
  /** Not what came behind it from these nodes. */
  readonly missed: readonly NodeId[]
}

const answerMs = 2000
/** Of a claim whose new owner says nothing: it is known everywhere by then. */
const lingerMs = 2 * confirmMs

/** Sessions and queues on their way to other nodes. Nothing is let go of before it is there for good. */
export class Departures {
  /** When one of them got on last. */
  movedMs = -Infinity
  readonly #tools: HandoverTools
  readonly #effects: DepartureEffects
  readonly #leaving = new Map<string, Leaving>()
  readonly #bySession = new Map<Session, Leaving>()
  readonly #invited = new Map<Session, Invited>()
  /** Who was given all of a session up to where, and has not said whether it has it. */
  readonly #completed = new Map<Session, Map<NodeId, Completed>>()
  /** By the keys of their claims. */
  readonly #lingering = new Map<string, Lingering>()

  constructor(tools: HandoverTools, effects: DepartureEffects) {
    this.#tools = tools
    this.#effects = effects
  }

  get size(): number {
    return this.#leaving.size + this.#invited.size
  }

  get full(): boolean {
    return this.#leaving.size >= mostAtOnce
  }

  of(to: NodeId, id: number): Leaving | undefined {
    return this.#leaving.get(nameOf(to, id))
  }

  bySession(session: Session): Leaving | undefined {
    return this.#bySession.get(session)
  }

  /**
   * Asks a node to take a session without its client: that node comes for it. False when that cannot be now; when nothing
   * comes of it, it may be tried again.
   */
  invite(session: Session, to: NodeId): boolean {
    if (this.#bySession.has(session) || this.#invited.has(session) || this.#effects.isBusy(session)) return false
    const id = this.#tools.nextId(to)
    if (!this.#tools.send(to, FrameType.invite, id, (writer) => writer.text(session.clientId))) return false
    this.#invited.set(session, { to, id, untilMs: this.#tools.now + answerMs })
    return true
  }

  /** A node wants a session. */
  asked(from: NodeId, id: number, clientId: string, clean: boolean, claimant?: Owner): void {
    const known = this.#tools.sessions.get(clientId)
    // It was here when the other node heard of it, and has gone on.
    if (known === undefined) return this.#tools.refuse(from, id, Refusal.notNow)
    // Not even ended: it is somebody else's, and stays as it is.
    if (isForeign(known, claimant)) return this.#tools.refuse(from, id, Refusal.foreign)
    const leaving = this.#bySession.get(known)
    if (this.full || this.#effects.isBusy(known) || (leaving && (leaving.completedAt >= 0 || leaving.isOffer)))
      return this.#tools.refuse(from, id, Refusal.notNow)
    // Two nodes want it: it goes to the one that asked last.
    if (leaving) this.withhold(leaving)
    const session = this.#tools.sessions.surrender(clientId, clean)
    if (session === undefined) return void this.#tools.send(from, FrameType.complete, id)
    this.#invited.delete(session)
    const { witnesses, since, now } = this.#tools
    this.#tools.send(from, FrameType.given, id, (writer) =>
      writeGiven(writer, session, this.#heard(session), since.get(session) ?? [], witnesses.seen(session), now),
    )
    this.add(new Leaving(from, id, session, false, this.context))
  }

  /** Up to which message of each node it has got everything, here or before it came here. */
  #heard(session: Session): ReadonlyMap<NodeId, number> {
    const all = new Map(this.#tools.parts.heard())
    for (const [node, serial] of this.#tools.witnesses.floors(session))
      all.set(node, Math.max(serial, all.get(node) ?? 0))
    return all
  }

  /** Its client is elsewhere, or here again: whoever waits for it at that node need not. */
  withhold(leaving: Leaving): void {
    this.#tools.refuse(leaving.to, leaving.id, Refusal.takenOver)
    this.stay(leaving)
  }

  add(leaving: Leaving): void {
    this.#leaving.set(nameOf(leaving.to, leaving.id), leaving)
    this.#bySession.set(leaving.session, leaving)
    leaving.pump()
  }

  progress(leaving: Leaving, { entries, bytes, confirmed, unheard }: Progress): void {
    this.movedMs = this.#tools.now
    leaving.progress(entries, bytes)
    // The others have heard that it is wanted there, and nobody has told them that it is not here.
    if (confirmed && !leaving.ready) this.fence(leaving, 'sent', unheard)
  }

  /**
   * What the receiver wants is known everywhere, or that nobody here does: what comes to us alone is on its way now.
   * @param unheard but from these nodes
   */
  fence(leaving: Leaving, extent: Extent, unheard: readonly NodeId[]): void {
    const missed = this.#tools.missing()
    this.#tools.fenceAll(extent, (fenced) => {
      if (this.of(leaving.to, leaving.id) !== leaving) return
      if (!fenced) return this.withdraw(leaving)
      leaving.fenced(missed, unheard)
    })
  }

  /** What a node has of a session that it claims. Of what came behind that, a group's copies are nobody's there. */
  #completedTo(session: Session, node: NodeId): Completed {
    const leaving = this.#bySession.get(session)
    if (leaving?.to === node && leaving.completedAt >= 0) return completionOf(leaving)
    const all = this.#completed.get(session)
    // Somebody who has it from one of these.
    const least = [...(all?.values() ?? [])].sort((a, b) => a.at - b.at)[0]
    if (least) return all!.get(node) ?? least
    // It had gone when our process ended: what came since it has started again is new, whoever has sent it here.
    return { at: session.outbox?.perhapsSent ?? Infinity, missed: [...this.#tools.parts.members()] }
  }

  /** A node says that it has what it was given for good, and that all know of its claim. */
  taken(leaving: Leaving): void {
    this.#gone(leaving.session, completionOf(leaving))
  }

  /** Its owner is another node. */
  #gone(session: Session, completed: Completed): void {
    const leaving = this.#bySession.get(session)
    if (leaving) this.forget(leaving)
    session.connection?.close(Reason.sessionTakenOver, 'another client connected with this client id')
    if (this.#tools.sessions.get(session.clientId) !== session) return
    this.movedMs = this.#tools.now
    this.#tools.counts.left++
    this.#effects.left(session, completed)
    this.#tools.sessions.handOver(session, completed.at)
  }

  /**
   * The node that it went to claims it. Our own claim stays until all have heard of that one: who hears first that it is not
   * here any more would begin it anew.
   */
  claimed(session: Session, owner: NodeId): void {
    const completed = this.#completedTo(session, owner)
    const leaving = this.#bySession.get(session)
    const name = leaving?.to === owner && !leaving.isOffer ? nameOf(owner, leaving.id) : undefined
    const key = this.#tools.parts.claims.linger(session)
    if (key !== undefined) this.#lingering.set(key, { owner, name, untilMs: this.#tools.now + lingerMs })
    this.#gone(session, completed)
  }

  /** A node says that all know of its claim. */
  known(owner: NodeId, id: number): void {
    const name = nameOf(owner, id)
    for (const [key, lingering] of this.#lingering) if (lingering.name === name) this.#release(key)
  }

  /** A node's session has ended, or has gone on with the knowledge of all. */
  withdrawn(owner: NodeId, key: string): void {
    if (this.#lingering.get(key)?.owner === owner) this.#release(key)
  }

  #release(key: string): void {
    this.#lingering.delete(key)
    this.#tools.parts.claims.release(key)
  }

  /** A clean start elsewhere has ended it. */
  end(session: Session): void {
    session.connection?.close(Reason.sessionTakenOver, 'another client connected with this client id')
    if (this.#tools.sessions.get(session.clientId) === session) this.#tools.sessions.end(session)
  }

  /** It stays here, after all. */
  stay(leaving: Leaving): void {
    const { session, to, completedAt } = leaving
    this.forget(leaving)
    if (this.#tools.sessions.get(session.clientId) !== session) return
    if (completedAt >= 0) {
      const all = this.#completed.get(session) ?? new Map<NodeId, Completed>()
      this.#completed.set(session, all.set(to, completionOf(leaving)))
    }
    if (!session.online) this.#tools.sessions.keep(session)
  }

  withdraw(leaving: Leaving): void {
    this.#tools.refuse(leaving.to, leaving.id, Refusal.notNow)
    this.stay(leaving)
  }

  forget(leaving: Leaving): void {
    leaving.stop()
    this.#leaving.delete(nameOf(leaving.to, leaving.id))
    this.#bySession.delete(leaving.session)
  }

  ended(session: Session): void {
    this.#invited.delete(session)
    this.#completed.delete(session)
    const leaving = this.#bySession.get(session)
    if (leaving === undefined) return
    // Who waits for it looks again, and finds nobody.
    this.#tools.refuse(leaving.to, leaving.id, Refusal.notNow)
    this.forget(leaving)
  }

  /** A node does not take what it was asked to. */
  declined(by: NodeId, id: number): void {
    for (const [session, { to, id: invitation }] of this.#invited)
      if (to === by && invitation === id) this.#invited.delete(session)
  }

  unlinked(node: NodeId): void {
    // What was complete may be there: its claim will tell.
    for (const leaving of [...this.#leaving.values()]) if (leaving.to === node) this.stay(leaving)
    for (const [session, { to }] of this.#invited) if (to === node) this.#invited.delete(session)
  }

  /** Gives up what does not get on. */
  tick(): void {
    const { now } = this.#tools
    for (const leaving of [...this.#leaving.values()]) if (leaving.movedMs < now - patienceMs) this.withdraw(leaving)
    for (const [session, { untilMs }] of this.#invited) if (untilMs < now) this.#invited.delete(session)
    for (const [key, { untilMs }] of this.#lingering) if (untilMs < now) this.#release(key)
  }

  get context() {
    const { peers, store, topics } = this.#tools.parts
    return { peers, store, topics, now: () => this.#tools.now, missing: () => this.#tools.missing() }
  }
}

function completionOf({ completedAt, missed, unheard }: Leaving): Completed {
  return { at: completedAt, missed: [...missed, ...unheard] }
}
