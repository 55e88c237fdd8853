import type { Message } from '../mqtt/message.ts'
import { Reason } from '../mqtt/reason.ts'
import { Copy, packGrant } from '../routing/delivery.ts'
import { Session } from '../sessions/session.ts'
import { Entry } from '../store/port.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import { beats, Claims } from './claims.ts'
import type { Departures } from './departures.ts'
import { readEntry, type TransferredEntry } from './entry-frame.ts'
import { hasEnded, isLater } from './epochs.ts'
import { confirmMs, type HandoverTools, nameOf, patienceMs, Refusal } from './handover-tools.ts'
import { Leaving } from './leaving.ts'
import { isForeign, type Owner, writeOwner } from './owner-field.ts'
import type { NodeId } from './peers.ts'
import { FrameType } from './wire.ts'

/** What waits in an older session of a client, on its way into the newer one here. */
interface Offered {
  readonly from: NodeId
  readonly id: number
  readonly clientId: string
  /** It is the session's own, from a node where it was before. */
  readonly isOwn: boolean
  entries: number
  bytes: number
  movedMs: number
  tells: boolean
}

/** Two claims of one client id, after a race, or as a partition has healed: the lower one's queue is merged into the higher one. */
export class Merging {
  readonly #tools: HandoverTools
  readonly #departures: Departures
  readonly #straggles: (clientId: string) => boolean
  /** Offers that are coming in. */
  readonly #offered = new Map<string, Offered>()
  /** Sessions here that a newer claim has beaten. */
  readonly #beaten = new Set<Session>()

  /** @param straggles may something still come here for a client's session that had been elsewhere? */
  constructor(tools: HandoverTools, departures: Departures, straggles: (clientId: string) => boolean) {
    this.#tools = tools
    this.#departures = departures
    this.#straggles = straggles
    const { store } = tools.parts
    store.onProgress(() => {
      if (!store.behind) for (const offered of this.#offered.values()) if (offered.tells) this.#tell(offered)
    })
  }

  isBeaten(session: Session): boolean {
    return this.#beaten.has(session)
  }

  ended(session: Session): void {
    this.#beaten.delete(session)
  }

  /** A session has come, and is ours, unless somebody has claimed more meanwhile. */
  claim(session: Session): void {
    const { claims, tables } = this.#tools.parts
    claims.claim(session)
    const key = claims.keyOf(session.clientId)
    for (const [node, value] of [...tables(key)]) if (value > 0) this.claimed(node, key, value)
  }

  /** Another node says that a session is its own. */
  claimed(node: NodeId, key: string, value: number): void {
    const { claims, peers } = this.#tools.parts
    const session = claims.held(key)
    if (value === 0) return this.#departures.withdrawn(node, key)
    if (session === undefined) return
    const { epoch } = Claims.read(node, value)
    if (!beats(epoch, node, session.epoch, peers.self)) {
      // What that one has may come from there, and straight to us.
      if (!isLater(session.epoch, epoch) && !hasEnded(session.epoch, epoch)) this.#tools.witnesses.begin(session)
      return
    }
    if (isLater(epoch, session.epoch)) return this.#departures.claimed(session, node)
    if (hasEnded(epoch, session.epoch)) return this.#departures.end(session)
    this.#beaten.add(session)
    session.connection?.close(Reason.sessionTakenOver, 'another client connected with this client id')
    if (this.#beaten.has(session)) this.#offer(session, node)
  }

  /** Gives what waits here to a newer session of the same client. */
  #offer(session: Session, node: NodeId): void {
    if (this.#departures.bySession(session) || this.#departures.full || !this.#tools.isLive(node)) return
    const id = this.#tools.nextId(node)
    const write = (writer: RecordWriter) => {
      writer.text(session.clientId)
      writer.u8(0)
      if (this.#tools.parts.broker().owned && session.username !== undefined) writeOwner(writer, session.username)
    }
    if (!this.#tools.send(node, FrameType.offer, id, write)) return
    // What is published from now on goes to the newer one; what was written down for this one still comes.
    this.#tools.hide(session)
    this.#tools.sessions.suspend(session)
    const leaving = new Leaving(node, id, session, true, this.#departures.context)
    this.#departures.add(leaving)
    const { confirm, live } = this.#tools.parts
    confirm(live(), confirmMs, (confirmed) => {
      if (this.#departures.bySession(session) !== leaving) return
      if (confirmed) this.#departures.fence(leaving, 'withdrawn', [])
      else this.#departures.withdraw(leaving)
    })
  }

  // ── the other side ─────────────────────────────────────────────────────────────────────────────────────────────

  of(from: NodeId, id: number): Offered | undefined {
    return this.#offered.get(nameOf(from, id))
  }

  offeredBy(from: NodeId, id: number, clientId: string, isOwn: boolean, owner: Owner): void {
    const session = this.#tools.sessions.get(clientId)
    if (session === undefined || this.#departures.bySession(session) || this.#beaten.has(session))
      return this.#tools.refuse(from, id, Refusal.notNow)
    if (isForeign(session, owner)) return this.#tools.refuse(from, id, Refusal.foreign)
    this.#tools.witnesses.begin(session)
    const movedMs = this.#tools.now
    this.#offered.set(nameOf(from, id), { from, id, clientId, isOwn, movedMs, entries: 0, bytes: 0, tells: false })
  }

  entry(offered: Offered, reader: RecordReader): void {
    const { peers, topics, store, clock } = this.#tools.parts
    const entry = readEntry(reader, peers.self, topics, this.#tools.now)
    offered.entries++
    offered.bytes += entry.message.bytes
    offered.movedMs = this.#tools.now
    this.#merge(offered, entry)
    if (offered.tells) return
    offered.tells = true
    clock.endOfTurn(() => {
      if (!store.behind && offered.tells) this.#tell(offered)
    })
  }

  /** Behind what the session has already. */
  #merge({ clientId, isOwn }: Offered, transferred: TransferredEntry): void {
    const session = this.#tools.sessions.get(clientId)
    if (session && !(isOwn && this.#tools.isStraight(session, transferred.message))) this.#give(session, transferred)
  }

  /** Message `seq` of what waited here for a session that has come back, or goes on without it. @param isFor only such a one */
  take(session: Session, from: Session, seq: number, isFor?: (message: Message) => boolean): void {
    const { store } = this.#tools.parts
    const outbox = from.outbox!
    const entry = outbox.entryOf(seq)
    const lsn = outbox.lsnOf(seq)
    const copy = lsn === 0 ? outbox.heldAt(seq) : store.readNow(lsn, from.number, seq)
    if ((entry & Entry.stateBits) === Entry.gone || copy === undefined) return
    const { message } = copy
    if (isFor?.(message) === false || this.#tools.isStraight(session, message)) return
    this.#give(session, { entry, message: message.keep(this.#tools.sessions.slab), terms: noTerms })
  }

  #give(session: Session, { message, entry, terms }: Pick<TransferredEntry, 'message' | 'entry' | 'terms'>): void {
    const { store } = this.#tools.parts
    // The client has it, and only its last word is missing.
    if ((entry & Entry.stateBits) === Entry.released) return
    if (!this.#tools.witnesses.isNew(session, message)) return
    const qos = entry & Entry.qos2 ? 2 : 1
    message.lasting = store.next !== 0
    const copy = new Copy(session).add(packGrant({ qos, noLocal: false, retainAsPublished: true, subscriptionId: 0 }))
    copy.subscriptionIds = terms.subscriptionIds as number[] | undefined
    this.#tools.counts.mergedMessages++
    const retain = (entry & Entry.retain) !== 0
    if (Session.prototype.deliver.call(session, message, copy, retain)) store.message(message, false, 0, 0, 'fsync')
  }

  /** How far it has come. */
  #tell(offered: Offered): void {
    offered.tells = false
    this.#tools.send(offered.from, FrameType.progress, offered.id, (writer) => {
      writer.varint(offered.entries)
      writer.varint(offered.bytes)
      writer.u8(0)
    })
  }

  complete(offered: Offered): void {
    const { from, id, clientId } = offered
    const { sessions, counts } = this.#tools
    this.drop(offered)
    const session = sessions.get(clientId)
    if (session === undefined) return this.#tools.refuse(from, id, Refusal.notNow)
    counts.merged++
    this.#tools.whenDurable(sessions.record(session), () => {
      if (sessions.get(clientId) === session) this.#tools.parts.claims.claim(session)
      this.#tools.taken(from, id, true)
    })
  }

  drop(offered: Offered): void {
    this.#offered.delete(nameOf(offered.from, offered.id))
  }

  unlinked(node: NodeId): void {
    for (const offered of [...this.#offered.values()]) if (offered.from === node) this.drop(offered)
  }

  /** Looks again at what was beaten, and gives up what does not get on. */
  tick(): void {
    for (const offered of [...this.#offered.values()]) {
      if (offered.movedMs >= this.#tools.now - patienceMs) continue
      this.drop(offered)
      this.#tools.refuse(offered.from, offered.id, Refusal.notNow)
    }
    for (const session of [...this.#beaten]) this.#again(session)
    this.#relieve()
  }

  /** Ends what watches over sessions to which nothing can come twice any more. */
  #relieve(): void {
    const { witnesses, parts } = this.#tools
    const live = new Set(parts.live())
    for (const session of [...witnesses.sessions()]) {
      witnesses.lower(session, live, (node, then) => parts.fence(node, 'sent', then))
      if (witnesses.floors(session).size > 0 || this.#straggles(session.clientId)) continue
      if (!this.#hasOthers(parts.claims.keyOf(session.clientId))) witnesses.end(session)
    }
  }

  /** Is there another session of the client, or what was left of one? */
  #hasOthers(key: string): boolean {
    const { tables } = this.#tools.parts
    for (const [, value] of tables(key)) if (value > 0) return true
    return this.#tools.straggles(key)
  }

  /** A session here that another claim has beaten: is that still so? */
  #again(session: Session): void {
    if (this.#departures.bySession(session)) return
    const { claims, tables, peers } = this.#tools.parts
    const key = claims.keyOf(session.clientId)
    const best = claims.best(tables(key))
    if (best === undefined || beats(session.epoch, peers.self, best.epoch, best.node)) {
      this.#beaten.delete(session)
      this.#tools.show(session)
    } else this.#offer(session, best.node)
  }
}

const noTerms = { subscriptionIds: undefined, shared: undefined }
