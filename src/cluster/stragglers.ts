import { parseFilter } from '../mqtt/topic.ts'
import type { Message } from '../mqtt/message.ts'
import { unpackGrant } from '../routing/delivery.ts'
import { Session } from '../sessions/session.ts'
import { Entry, type RecoveredSession } from '../store/port.ts'
import type { Completed, Departures } from './departures.ts'
import { confirmMs, type HandoverTools } from './handover-tools.ts'
import { Leaving } from './leaving.ts'
import { isForeign, writeOwner } from './owner-field.ts'
import type { NodeId } from './peers.ts'
import { FrameType } from './wire.ts'
import type { Had } from './witnesses.ts'

/** Gives a session message `seq` of what waits in another one, if it is for it. */
type Take = (session: Session, from: Session, seq: number, isFor?: (message: Message) => boolean) => void

const prefix = '\0moved/'

/** In the place of a session that is elsewhere now: takes what nodes send here that do not know that yet. */
interface Straggler {
  readonly clientId: string
  readonly session: Session
  /** Nodes that may still have something for it. */
  readonly missing: Set<NodeId>
  /** Of these, those that were asked to say when all has come. */
  readonly asked: Set<NodeId>
  /** It came back with our process, which has to learn first who may have something: those that have told have not. */
  readonly told: Set<NodeId> | undefined
  readonly sinceMs: number
  /** Its session is elsewhere: what comes is taken for it. */
  listens: boolean
}

/** After a start, by then all nodes that there are have been heard of. */
const learnMs = 10_000

/**
 * What was written down for a session on nodes that could not be reached when it moved away: it comes here, as soon as they can,
 * and is passed on to wherever the session is then.
 *
 *   a ─ ─ ─ (queue for us) ─ ─ ▶ straggler, on our disk ─▶ offer ─▶ the session, at c      over when every such node has sent all
 */
export class Stragglers {
  readonly #tools: HandoverTools
  readonly #departures: Departures
  readonly #take: Take
  readonly #all = new Map<string, Straggler>()

  constructor(tools: HandoverTools, departures: Departures, take: Take) {
    this.#tools = tools
    this.#departures = departures
    this.#take = take
  }

  has(clientId: string): boolean {
    return this.#all.has(clientId)
  }

  restore(sessions: readonly RecoveredSession[]): void {
    for (const recovered of sessions) {
      if (!recovered.clientId.startsWith(prefix)) continue
      const { ledger } = this.#tools.sessions
      const session = new Session(recovered.clientId, Infinity, this.#tools.sessions, recovered.subscriptions)
      session.number = recovered.number
      session.username = recovered.username
      session.restore(recovered, 0)
      ledger.copies += session.pending
      this.#add(recovered.clientId.slice(prefix.length), session, [], new Set(), new Map())
    }
  }

  /**
   * A session is with another node now, and not everybody could be asked. What comes is its user's, whoever has the id then. It
   * is still here: what has come to it since the other one had all goes on, too.
   */
  begin(gone: Session, { at, missed }: Completed): void {
    const { clientId, subscriptions } = gone
    const known = this.#all.get(clientId)
    const missing = [...new Set([...this.#tools.missing(), ...missed, ...(known?.missing ?? [])])]
    if (known) this.#end(known)
    if (missing.length === 0) return
    const { store } = this.#tools.parts
    const session = new Session(prefix + clientId, Infinity, this.#tools.sessions)
    session.username = gone.username
    session.number = store.number()
    if (session.number !== 0) store.session(session)
    for (const [filter, grant] of subscriptions) {
      // A group's copy that finds nobody here goes to another member by itself.
      if (parseFilter(filter).group !== undefined) continue
      session.subscribe(filter, grant)
      if (session.number !== 0) store.subscribed(session.number, filter, grant)
    }
    // What it had got of some nodes before it was here.
    const floors = this.#tools.witnesses.floors(gone)
    this.#add(clientId, session, missing, undefined, floors)
    const isFor = ({ origin, serial }: Message) =>
      origin !== undefined && missing.includes(origin) && serial > (floors.get(origin) ?? 0)
    const { outbox } = gone
    for (let seq = Math.max(at, outbox?.head ?? 0); outbox && seq < outbox.next; seq++)
      if ((outbox.entryOf(seq) & Entry.shared) === 0) this.#take(session, gone, seq, isFor)
  }

  #add(
    clientId: string,
    session: Session,
    nodes: readonly NodeId[],
    told: Set<NodeId> | undefined,
    floors: ReadonlyMap<NodeId, number>,
  ): void {
    const { archive, broker, claims } = this.#tools.parts
    const missing = new Set(nodes)
    session.deliver = (message, delivery, retain) => {
      const { origin } = message
      if (origin === undefined || (told ? told.has(origin) : !missing.has(origin))) return false
      if (message.serial <= (floors.get(origin) ?? 0)) return false
      return Session.prototype.deliver.call(session, message, delivery, retain)
    }
    const sinceMs = this.#tools.now
    this.#all.set(clientId, { clientId, session, missing, asked: new Set(), told, sinceMs, listens: true })
    archive.add(session)
    claims.straggles(clientId, true)
    this.#tools.hideNew(session)
    const { tree } = broker()
    for (const [filter, grant] of session.subscriptions)
      tree.subscribe(session, parseFilter(filter), unpackGrant(grant))
  }

  /** A session is here again: it gets what waits for it, and what still comes. False: there is no such thing. @param had elsewhere */
  returned(session: Session, had?: Had): boolean {
    const straggler = this.#all.get(session.clientId)
    if (!straggler?.listens) return straggler !== undefined
    const from = straggler.session
    if (this.#tools.parts.broker().owned && isForeign(from, { user: session.username })) {
      this.#end(straggler)
      return false
    }
    const leaving = this.#departures.bySession(from)
    if (leaving) this.#departures.withhold(leaving)
    this.#tools.witnesses.begin(session, undefined, had)
    this.#silence(straggler)
    const { outbox } = from
    for (let seq = outbox?.head ?? 0; outbox && seq < outbox.next; seq++) this.#take(session, from, seq)
    if (outbox) this.taken(from, outbox.next)
    return true
  }

  /** What came for a session is not the newer one's, which is another user's. False: it is none of ours. */
  drop(session: Session): boolean {
    const straggler = this.#all.get(session.clientId.slice(prefix.length))
    if (straggler?.session !== session) return false
    this.#end(straggler)
    return true
  }

  /** Another node has for good what came before `next`. */
  taken(session: Session, next: number): void {
    const { outbox } = session
    if (outbox === undefined || !session.clientId.startsWith(prefix)) return
    const { ledger } = this.#tools.sessions
    const before = outbox.pending
    outbox.arrived(next - 1)
    // They go on elsewhere.
    const passed = before - outbox.pending
    ledger.copies -= passed
    ledger.delivered -= passed
  }

  tick(): void {
    for (const straggler of [...this.#all.values()]) this.#look(straggler)
  }

  #look(straggler: Straggler): void {
    const { clientId, session, missing, told, sinceMs } = straggler
    const { claims, tables, members } = this.#tools.parts
    const here = this.#tools.sessions.get(clientId)
    if (here) this.returned(here)
    const best = claims.best(tables(claims.keyOf(clientId)))
    const knowsAll = told === undefined || this.#tools.now - sinceMs > learnMs
    // It is over, wherever it was.
    if (best === undefined && !here && knowsAll) return this.#end(straggler)
    const there = new Set(members())
    for (const node of told ? there : []) if (!told!.has(node)) missing.add(node)
    for (const node of missing) {
      if (!there.has(node)) missing.delete(node)
      else this.#ask(straggler, node)
    }
    if (this.#departures.bySession(session)) return
    if (session.pending > 0 && !here && best) this.#offer(session, clientId, best.node)
    else if (missing.size === 0 && session.pending === 0 && knowsAll) this.#end(straggler)
  }

  /** Once a node knows that nobody here wants anything for it, what it has sent is all. */
  #ask({ missing, asked, told }: Straggler, node: NodeId): void {
    const { confirm, fence } = this.#tools.parts
    if (asked.has(node) || !this.#tools.isLive(node)) return
    asked.add(node)
    confirm([node], confirmMs, (confirmed) => {
      if (!confirmed) return void asked.delete(node)
      fence(node, 'withdrawn', (fenced) => {
        asked.delete(node)
        if (!fenced) return
        missing.delete(node)
        told?.add(node)
      })
    })
  }

  #offer(session: Session, clientId: string, node: NodeId): void {
    if (this.#departures.full || !this.#tools.isLive(node)) return
    const id = this.#tools.nextId(node)
    const isSent = this.#tools.send(node, FrameType.offer, id, (writer) => {
      writer.text(clientId)
      writer.u8(1)
      if (this.#tools.parts.broker().owned && session.username !== undefined) writeOwner(writer, session.username)
    })
    if (!isSent) return
    const leaving = new Leaving(node, id, session, true, this.#departures.context)
    leaving.ready = true
    this.#departures.add(leaving)
  }

  /** Nothing more is taken for it. */
  #silence(straggler: Straggler): void {
    if (!straggler.listens) return
    straggler.listens = false
    const { session } = straggler
    const { tree } = this.#tools.parts.broker()
    for (const filter of session.subscriptions.keys()) tree.unsubscribe(session, parseFilter(filter))
  }

  #end(straggler: Straggler): void {
    const { clientId, session } = straggler
    const { archive, claims, store } = this.#tools.parts
    this.#all.delete(clientId)
    const leaving = this.#departures.bySession(session)
    if (leaving) this.#departures.forget(leaving)
    this.#silence(straggler)
    this.#tools.ended(session)
    session.end(() => false)
    archive.remove(session)
    if (session.number !== 0) store.ended(session.number)
    claims.straggles(clientId, false)
  }
}
