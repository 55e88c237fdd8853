import { parseFilter } from '../mqtt/topic.ts'
import { unpackGrant } from '../routing/delivery.ts'
import { Session } from '../sessions/session.ts'
import type { RecoveredSession } from '../store/port.ts'
import type { Departures } from './departures.ts'
import { confirmMs, type HandoverTools } from './handover-tools.ts'
import { Leaving } from './leaving.ts'
import type { NodeId } from './peers.ts'
import { FrameType } from './wire.ts'

const prefix = '\0moved/'

/** In the place of a session that is elsewhere now: takes what nodes send here that do not know that yet. */
interface Straggler {
  readonly clientId: string
  readonly session: Session
  /** Nodes that may still have something for it. */
  readonly missing: Set<NodeId>
  /** Of these, those that were asked to say when all has come. */
  readonly asked: Set<NodeId>
}

/**
 * What was written down for a session on nodes that could not be reached when it moved away: it comes here, as soon as they can,
 * and is passed on to wherever the session is then.
 *
 *   a ─ ─ ─ (queue for us) ─ ─ ▶ straggler, on our disk ─▶ offer ─▶ the session, at c      over when every such node has sent all
 */
export class Stragglers {
  readonly #tools: HandoverTools
  readonly #departures: Departures
  readonly #all = new Map<string, Straggler>()

  constructor(tools: HandoverTools, departures: Departures) {
    this.#tools = tools
    this.#departures = departures
  }

  /** Nodes that cannot be asked now whether they have something for us. */
  missing(): NodeId[] {
    const live = new Set(this.#tools.parts.live())
    return [...this.#tools.parts.members()].filter((node) => !live.has(node))
  }

  restore(sessions: readonly RecoveredSession[]): void {
    for (const recovered of sessions) {
      if (!recovered.clientId.startsWith(prefix)) continue
      const { ledger } = this.#tools.sessions
      const session = new Session(recovered.clientId, Infinity, this.#tools.sessions, recovered.subscriptions)
      session.number = recovered.number
      session.restore(recovered, 0)
      ledger.copies += session.pending
      this.#add(recovered.clientId.slice(prefix.length), session, [...this.#tools.parts.members()])
    }
  }

  /** A session has gone to another node, and not everybody could be asked. */
  begin(clientId: string, subscriptions: ReadonlyMap<string, number>): void {
    const missing = this.missing()
    const known = this.#all.get(clientId)
    if (known) for (const node of missing) known.missing.add(node)
    if (known || missing.length === 0) return
    const { store } = this.#tools.parts
    const session = new Session(prefix + clientId, Infinity, this.#tools.sessions)
    session.number = store.number()
    if (session.number !== 0) store.session(session)
    for (const [filter, grant] of subscriptions) {
      // A group's copy that finds nobody here goes to another member by itself.
      if (parseFilter(filter).group !== undefined) continue
      session.subscriptions.set(filter, grant)
      if (session.number !== 0) store.subscribed(session.number, filter, grant)
    }
    this.#add(clientId, session, missing)
  }

  #add(clientId: string, session: Session, nodes: readonly NodeId[]): void {
    const { archive, broker, claims } = this.#tools.parts
    const missing = new Set(nodes)
    session.deliver = (message, delivery, retain) => {
      if (message.origin === undefined || !missing.has(message.origin)) return false
      return Session.prototype.deliver.call(session, message, delivery, retain)
    }
    this.#all.set(clientId, { clientId, session, missing, asked: new Set() })
    archive.add(session)
    claims.straggles(clientId, true)
    this.#tools.hideNew(session)
    const { tree } = broker()
    for (const [filter, grant] of session.subscriptions)
      tree.subscribe(session, parseFilter(filter), unpackGrant(grant))
  }

  /** The session is here again: it gets what waits for it. */
  returned(clientId: string, take: (session: Session, seq: number) => void): void {
    const straggler = this.#all.get(clientId)
    if (straggler === undefined) return
    const { session } = straggler
    const leaving = this.#departures.bySession(session)
    if (leaving) this.#departures.withhold(leaving)
    const { outbox } = session
    for (let seq = outbox?.head ?? 0; outbox && seq < outbox.next; seq++) take(session, seq)
    if (outbox) this.taken(session, outbox.next)
    this.#end(straggler)
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
    const { clientId, session, missing } = straggler
    const { claims, tables, members } = this.#tools.parts
    const best = claims.best(tables(claims.keyOf(clientId)))
    // It is over, wherever it was.
    if (best === undefined) return this.#end(straggler)
    const there = new Set(members())
    for (const node of missing) {
      if (!there.has(node)) missing.delete(node)
      else this.#ask(straggler, node)
    }
    if (this.#departures.bySession(session)) return
    if (session.pending > 0) this.#offer(session, clientId, best.node)
    else if (missing.size === 0) this.#end(straggler)
  }

  /** Once a node knows that nobody here wants anything for it, what it has sent is all. */
  #ask({ missing, asked }: Straggler, node: NodeId): void {
    const { confirm, fence } = this.#tools.parts
    if (asked.has(node) || !this.#tools.isLive(node)) return
    asked.add(node)
    confirm([node], confirmMs, (confirmed) => {
      if (!confirmed) return void asked.delete(node)
      fence(node, (fenced) => {
        asked.delete(node)
        if (fenced) missing.delete(node)
      })
    })
  }

  #offer(session: Session, clientId: string, node: NodeId): void {
    if (this.#departures.full || !this.#tools.isLive(node)) return
    const id = this.#tools.nextId(node)
    if (!this.#tools.send(node, FrameType.offer, id, (writer) => writer.text(clientId))) return
    const leaving = new Leaving(node, id, session, true, this.#departures.context)
    leaving.ready = true
    this.#departures.add(leaving)
  }

  #end({ clientId, session }: Straggler): void {
    const { archive, broker, claims, store } = this.#tools.parts
    this.#all.delete(clientId)
    const leaving = this.#departures.bySession(session)
    if (leaving) this.#departures.forget(leaving)
    const { tree } = broker()
    for (const filter of session.subscriptions.keys()) tree.unsubscribe(session, parseFilter(filter))
    this.#tools.ended(session)
    session.end(() => false)
    archive.remove(session)
    if (session.number !== 0) store.ended(session.number)
    claims.straggles(clientId, false)
  }
}
