import type { BrokerSide, Entrance, Newcomer } from '../broker/cluster-port.ts'
import type { Clock, Log } from '../host.ts'
import { Message } from '../mqtt/message.ts'
import { Reason } from '../mqtt/reason.ts'
import { parseFilter, type TopicTable } from '../mqtt/topic.ts'
import { Copy, packGrant, unpackGrant } from '../routing/delivery.ts'
import type { Session } from '../sessions/session.ts'
import { Entry, type Lsn, type RecoveredSession, type Store } from '../store/port.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import type { Archive } from './archive.ts'
import { ArrivingSession, arrivingPrefix, type Given } from './arriving.ts'
import { beats, type Claim, Claims, freshEpoch, supersedes } from './claims.ts'
import { readEntry } from './entry-frame.ts'
import { Leaving } from './leaving.ts'
import type { NodeId, Part, Peers } from './peers.ts'
import { FrameType, WireError } from './wire.ts'

export interface HandoverParts {
  readonly peers: Peers
  readonly clock: Clock
  readonly log: Log
  readonly store: Store
  readonly topics: TopicTable
  readonly archive: Archive
  readonly claims: Claims
  readonly absentOwner: 'wait' | 'fresh'
  readonly broker: () => BrokerSide
  /** Nodes that can answer now. */
  readonly live: () => Iterable<NodeId>
  /** What each other node says of a key. */
  readonly tables: (key: string) => Iterable<readonly [NodeId, number]>
  /** Calls `then` when `nodes` know all that we have told of ourselves. */
  readonly confirm: (nodes: Iterable<NodeId>, mostMs: number, then: (confirmed: boolean) => void) => void
  /** Calls `then` when all that a node had sent to us is here for good; false when its link broke. */
  readonly fence: (node: NodeId, then: (fenced: boolean) => void) => void
}

/** At once, in each direction. */
const mostAtOnce = 64
/** Without progress. */
const patienceMs = 10_000
const confirmMs = 5000

const Refusal = { notNow: 0, takenOver: 1 } as const

/** A client that waits for its session. */
interface Waiting {
  readonly newcomer: Newcomer
  readonly then: (entrance: Entrance) => void
  readonly untilMs: number
}

/** What we have asked another node for, or have been offered. */
interface Arriving {
  readonly from: NodeId
  readonly id: number
  readonly clientId: string
  readonly isOffer: boolean
  readonly epoch: number
  waiting: Waiting | undefined
  session: ArrivingSession | undefined
  /** Everything came; it is ours, and only has to become durable. */
  adopted: boolean
  entries: number
  bytes: number
  movedMs: number
  confirmed: boolean
  tells: boolean
}

/**
 * Sessions across nodes: each client id has one owner at a time.
 *
 *   CONNECT ─▶ who claims the id?  nobody ──────────────────────────────────────────────▶ CONNACK
 *                  ├─ a node that is there ─▶ take ─▶ given, entry …, complete ─▶ on disk ─▶ CONNACK, claim, taken
 *                  └─ one that is not ─▶ wait (0x88), or begin afresh: what it has is merged when it is back
 *
 *   two claims (a race, a healed partition) ─▶ the lower one's queue is offered to the higher one
 */
export class Handover implements Part {
  readonly family = 0x50
  readonly #parts: HandoverParts
  /** By client id: what is on its way here, and who waits for it. */
  readonly #arriving = new Map<string, Arriving>()
  /** Offers that are coming in. */
  readonly #offered = new Map<string, Arriving>()
  readonly #leaving = new Map<string, Leaving>()
  /** Clients that must be looked at again. */
  readonly #waiting = new Map<string, Waiting>()
  /** Sessions here that a newer claim has beaten. */
  readonly #beaten = new Set<Session>()
  /** Adopted, and not durable yet: they are claimed when they are. */
  readonly #unproven = new Set<Session>()
  readonly #durable: { readonly lsn: Lsn; readonly then: () => void }[] = []
  #nextId = 0
  /** Sessions that came from other nodes, that went there, and that were merged with newer ones here. */
  readonly counts = { arrived: 0, left: 0, merged: 0, mergedMessages: 0 }

  constructor(parts: HandoverParts) {
    this.#parts = parts
    parts.store.onProgress(() => {
      const { durable } = parts.store
      while (this.#durable.length > 0 && this.#durable[0]!.lsn < durable) this.#durable.shift()!.then()
      if (!parts.store.behind) for (const arriving of this.#all()) if (arriving.tells) this.#tell(arriving)
    })
  }

  /** Half of a session is nobody's: its owner still has all of it. */
  restore(sessions: readonly RecoveredSession[]): void {
    const { store } = this.#parts
    for (const { clientId, number, queue } of sessions) {
      if (!clientId.startsWith(arrivingPrefix)) continue
      for (let seq = queue.head; seq < queue.next; seq++)
        if ((queue.entryOf(seq) & Entry.stateBits) !== Entry.gone)
          store.settled(number, queue.head, seq, queue.lsnOf(seq))
      queue.release()
      store.ended(number)
    }
  }

  // ── clients ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A client wants its session. See the port. */
  enter(newcomer: Newcomer, then: (entrance: Entrance) => void): void {
    const { clientId, connectNumber } = newcomer
    const waiting: Waiting = { newcomer, then, untilMs: this.#now + patienceMs }
    const arriving = this.#arriving.get(clientId)
    const earlier = arriving?.waiting ?? this.#waiting.get(clientId)
    // The client id belongs to the one that came last.
    if (earlier && earlier.newcomer.connectNumber > connectNumber) return then(takenOver)
    if (earlier) this.#waiting.delete(clientId)
    if (arriving) arriving.waiting = waiting
    else this.#try(waiting)
    earlier?.then(takenOver)
  }

  began(session: Session): void {
    if (!this.#unproven.has(session)) this.#parts.claims.claim(session)
  }

  ended(session: Session): void {
    this.#beaten.delete(session)
    this.#unproven.delete(session)
    this.#parts.claims.withdraw(session)
    const leaving = this.#leavingOf(session)
    if (leaving) this.#forgetLeaving(leaving)
  }

  #try(waiting: Waiting): void {
    const { claims, tables, absentOwner, peers } = this.#parts
    const { newcomer, then } = waiting
    const { clientId, clean } = newcomer
    const here = this.#sessions.get(clientId)
    const leaving = here && this.#leavingOf(here)
    if (leaving) {
      // It has gone, and we wait for the word that it has arrived.
      if (leaving.completedAt >= 0 || leaving.isOffer) return this.#later(waiting)
      this.#refuse(leaving.to, leaving.id, Refusal.takenOver)
      this.#stay(leaving)
    }
    const key = claims.keyOf(clientId)
    const best = claims.best(tables(key))
    if (best === undefined) return then({ epoch: here?.epoch ?? 2 })
    if (here) {
      if (beats(here.epoch, peers.self, best.epoch, best.node)) return then({ epoch: here.epoch })
      return this.#later(waiting)
    }
    if (this.#isLive(best.node)) return this.#take(waiting, best)
    // What was to end with its connection has; what a clean start ends has ended.
    if (clean || !best.persistent) return then({ epoch: best.epoch + 2 })
    if (absentOwner === 'fresh') return then({ epoch: freshEpoch(best.epoch) })
    then({ refused: Reason.serverUnavailable, why: `the session is on node ${best.node}, which cannot be reached` })
  }

  #later(waiting: Waiting): void {
    if (this.#now < waiting.untilMs) this.#waiting.set(waiting.newcomer.clientId, waiting)
    else waiting.then({ refused: Reason.serverUnavailable, why: 'the session could not be brought here' })
  }

  // ── what comes ─────────────────────────────────────────────────────────────────────────────────────────────────

  #take(waiting: Waiting, { node, epoch }: Claim): void {
    if (this.#arriving.size >= mostAtOnce) return this.#later(waiting)
    const { clientId, clean } = waiting.newcomer
    const id = (this.#nextId += 2)
    const sent = this.#send(node, FrameType.take, id, (writer) => {
      writer.text(clientId)
      writer.u8(clean ? 1 : 0)
    })
    if (!sent) return this.#later(waiting)
    this.#arriving.set(clientId, this.#arrivingFrom(node, id, clientId, epoch, waiting))
  }

  #arrivingFrom(from: NodeId, id: number, clientId: string, epoch: number, waiting: Waiting | undefined): Arriving {
    const state = { session: undefined, adopted: false, entries: 0, bytes: 0, confirmed: false, tells: false }
    return { from, id, clientId, isOffer: waiting === undefined, epoch, waiting, movedMs: this.#now, ...state }
  }

  #given(arriving: Arriving, given: Given): void {
    const { store, archive, peers, live, confirm } = this.#parts
    const { sessions, tree } = this.#parts.broker()
    const { clientId } = arriving
    const number = given.expirySeconds > 0 ? store.number() : 0
    const session = new ArrivingSession(clientId, given, sessions, tree, number, peers.self)
    arriving.session = session
    if (number !== 0) {
      archive.add(session.place)
      store.session(session.place)
      for (const [filter, grant] of given.subscriptions) store.subscribed(number, filter, grant)
      for (const id of given.incoming) store.message(this.#empty(), false, number, id, 'fsync')
    }
    confirm(live(), confirmMs, (confirmed) => {
      if (!this.#isUnderWay(arriving)) return
      if (!confirmed) return this.#fail(arriving)
      arriving.confirmed = true
      this.#tell(arriving)
    })
  }

  #entry(arriving: Arriving, reader: RecordReader): void {
    const { peers, topics, store, clock } = this.#parts
    const entry = readEntry(reader, peers.self, topics, this.#now)
    arriving.entries++
    arriving.bytes += entry.message.bytes
    arriving.movedMs = this.#now
    if (arriving.isOffer) this.#merge(arriving, entry)
    else if (arriving.session) arriving.session.entry(entry)
    else throw new WireError('a message of a session that was not given')
    if (arriving.tells) return
    arriving.tells = true
    clock.endOfTurn(() => {
      if (!store.behind && arriving.tells) this.#tell(arriving)
    })
  }

  /** How far it has come. */
  #tell(arriving: Arriving): void {
    arriving.tells = false
    this.#send(arriving.from, FrameType.progress, arriving.id, (writer) => {
      writer.varint(arriving.entries)
      writer.varint(arriving.bytes)
      writer.u8(arriving.confirmed ? 1 : 0)
    })
  }

  #complete(arriving: Arriving): void {
    if (arriving.isOffer) return this.#merged(arriving)
    // It had no session that could go on.
    if (arriving.session === undefined) {
      this.#arriving.delete(arriving.clientId)
      return arriving.waiting!.then({ epoch: arriving.epoch + 2 })
    }
    // What came with the queue may come straight to us as well: not after this.
    this.#fenceAll((fenced) => {
      if (!this.#isUnderWay(arriving)) return
      if (!fenced || arriving.session!.overflowed) this.#fail(arriving)
      else this.#adopt(arriving)
    })
  }

  #adopt(arriving: Arriving): void {
    const { archive, claims, confirm } = this.#parts
    const { from, id, clientId } = arriving
    const session = arriving.session!.merge()
    this.#arriving.delete(clientId)
    archive.remove(arriving.session!.place)
    this.#unproven.add(session)
    const lsn = this.#sessions.adopt(session)
    this.counts.arrived++
    this.#whenDurable(lsn, () => {
      this.#unproven.delete(session)
      // It may have ended meanwhile.
      if (this.#sessions.get(clientId) === session) claims.claim(session)
      // Its shared subscriptions are known there before what was left for them is.
      confirm([from], confirmMs, () => this.#send(from, FrameType.taken, id))
    })
    arriving.waiting!.then({ epoch: session.epoch })
  }

  /** Its owner goes on with it; whoever waits tries again. */
  #fail(arriving: Arriving, isOver = false): void {
    this.#drop(arriving)
    if (!isOver) this.#refuse(arriving.from, arriving.id, Refusal.notNow)
    if (arriving.waiting) this.#later(arriving.waiting)
  }

  #drop(arriving: Arriving): void {
    const { archive, store } = this.#parts
    if (arriving.isOffer) return void this.#offered.delete(nameOf(arriving.from, arriving.id))
    this.#arriving.delete(arriving.clientId)
    if (arriving.session === undefined) return
    const { place } = arriving.session
    arriving.session.abandon()
    archive.remove(place)
    store.ended(place.number)
  }

  // ── what goes ──────────────────────────────────────────────────────────────────────────────────────────────────

  #asked(from: NodeId, id: number, clientId: string, clean: boolean): void {
    const known = this.#sessions.get(clientId)
    const leaving = known && this.#leavingOf(known)
    const busy = this.#leaving.size >= mostAtOnce || this.#arriving.has(clientId) || (known && this.#beaten.has(known))
    if (busy || (leaving && (leaving.completedAt >= 0 || leaving.isOffer)) || (known && this.#unproven.has(known)))
      return this.#refuse(from, id, Refusal.notNow)
    if (leaving) {
      // Two nodes want it: it goes to the one that asked last.
      this.#refuse(leaving.to, leaving.id, Refusal.takenOver)
      this.#stay(leaving)
    }
    const session = this.#sessions.surrender(clientId, clean)
    if (session === undefined) return void this.#send(from, FrameType.complete, id)
    const { outbox, subscriptions } = session
    this.#send(from, FrameType.given, id, (writer) => {
      writer.varint(session.epoch)
      writer.f64(session.expirySeconds)
      writer.u8(session.username === undefined ? 0 : 1)
      if (session.username !== undefined) writer.text(session.username)
      writer.varint(subscriptions.size)
      for (const [filter, grant] of subscriptions) {
        writer.text(filter)
        writer.varint(grant)
      }
      const incoming = [...session.incoming()]
      writer.varint(incoming.length)
      for (const packetId of incoming) writer.varint(packetId)
      writer.varint(outbox?.next ?? 0)
      writer.varint(outbox?.perhapsSent ?? 0)
    })
    this.#leave(new Leaving(from, id, session, false, this.#leavingContext))
  }

  #leave(leaving: Leaving): void {
    this.#leaving.set(nameOf(leaving.to, leaving.id), leaving)
    leaving.pump()
  }

  /** The receiver's interest is known everywhere: what comes to us alone is on its way now. */
  #confirmed(leaving: Leaving): void {
    this.#fenceAll((fenced) => {
      if (this.#leaving.get(nameOf(leaving.to, leaving.id)) !== leaving) return
      if (!fenced) {
        this.#refuse(leaving.to, leaving.id, Refusal.notNow)
        return this.#stay(leaving)
      }
      leaving.ready = true
      leaving.pump()
    })
  }

  /** The receiver has it for good. */
  #gone(session: Session, from: number): void {
    const leaving = this.#leavingOf(session)
    if (leaving) this.#forgetLeaving(leaving)
    session.connection?.close(Reason.sessionTakenOver, 'another client connected with this client id')
    if (this.#sessions.get(session.clientId) !== session) return
    this.counts.left++
    this.#sessions.handOver(session, from)
  }

  /** It stays here, after all. */
  #stay(leaving: Leaving): void {
    const { session } = leaving
    this.#forgetLeaving(leaving)
    if (this.#sessions.get(session.clientId) !== session) return
    if (leaving.isOffer) this.#listen(session, true)
    if (!session.online) this.#sessions.keep(session)
  }

  #forgetLeaving(leaving: Leaving): void {
    leaving.stop()
    this.#leaving.delete(nameOf(leaving.to, leaving.id))
  }

  // ── two claims of one client id ────────────────────────────────────────────────────────────────────────────────

  /** Another node says that a session is its own. */
  claimed(node: NodeId, key: string, value: number): void {
    const { claims, peers } = this.#parts
    const session = claims.held(key)
    if (session === undefined || value === 0) return
    const { epoch } = Claims.read(node, value)
    if (!beats(epoch, node, session.epoch, peers.self)) return
    const leaving = this.#leavingOf(session)
    if (leaving?.to === node && leaving.completedAt >= 0) return this.#gone(session, leaving.completedAt)
    // That one had everything.
    if (supersedes(epoch, session.epoch)) return this.#gone(session, Infinity)
    this.#beaten.add(session)
    session.connection?.close(Reason.sessionTakenOver, 'another client connected with this client id')
    if (this.#beaten.has(session)) this.#offer(session, node)
  }

  /** Gives what waits here to a newer session of the same client. */
  #offer(session: Session, node: NodeId): void {
    if (this.#leavingOf(session) || this.#leaving.size >= mostAtOnce || !this.#isLive(node)) return
    const id = (this.#nextId += 2) + 1
    if (!this.#send(node, FrameType.offer, id, (writer) => writer.text(session.clientId))) return
    // What is published from now on goes to the newer one.
    this.#listen(session, false)
    session.endDueMs = Infinity
    const leaving = new Leaving(node, id, session, true, this.#leavingContext)
    leaving.ready = true
    this.#leave(leaving)
  }

  #listen(session: Session, present: boolean): void {
    const { tree } = this.#parts.broker()
    for (const [filter, grant] of session.subscriptions)
      if (present) tree.subscribe(session, parseFilter(filter), unpackGrant(grant))
      else tree.unsubscribe(session, parseFilter(filter))
  }

  #offeredBy(from: NodeId, id: number, clientId: string): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined || this.#leavingOf(session) || this.#beaten.has(session))
      return this.#refuse(from, id, Refusal.notNow)
    this.#offered.set(nameOf(from, id), this.#arrivingFrom(from, id, clientId, session.epoch, undefined))
  }

  /** Behind what the session has already. */
  #merge({ clientId }: Arriving, { message, entry, terms }: ReturnType<typeof readEntry>): void {
    const { store } = this.#parts
    const session = this.#sessions.get(clientId)
    // The client has it, and only its last word is missing.
    if (session === undefined || (entry & Entry.stateBits) === Entry.released) return
    const qos = entry & Entry.qos2 ? 2 : 1
    message.lasting = store.next !== 0
    const copy = new Copy(session).add(packGrant({ qos, noLocal: false, retainAsPublished: true, subscriptionId: 0 }))
    copy.subscriptionIds = terms.subscriptionIds as number[] | undefined
    this.counts.mergedMessages++
    if (session.deliver(message, copy, (entry & Entry.retain) !== 0)) store.message(message, false, 0, 0, 'fsync')
  }

  #merged(arriving: Arriving): void {
    const { from, id, clientId } = arriving
    this.#drop(arriving)
    const session = this.#sessions.get(clientId)
    if (session === undefined) return this.#refuse(from, id, Refusal.notNow)
    // Nothing of it is anywhere else any more.
    if (session.epoch % 2 === 1) session.epoch++
    this.counts.merged++
    this.#whenDurable(this.#sessions.record(session), () => {
      if (this.#sessions.get(clientId) === session) this.began(session)
      this.#send(from, FrameType.taken, id)
    })
  }

  // ── links ──────────────────────────────────────────────────────────────────────────────────────────────────────

  frame(from: NodeId, type: number, reader: RecordReader): void {
    const id = reader.varint()
    const leaving = this.#leaving.get(nameOf(from, id))
    const arriving = this.#arrivingBy(from, id)
    switch (type) {
      case FrameType.take:
        return this.#asked(from, id, reader.text(), reader.u8() === 1)
      case FrameType.offer:
        return this.#offeredBy(from, id, reader.text())
      case FrameType.given:
        return arriving && this.#given(arriving, readGiven(reader))
      case FrameType.entry:
        return arriving && this.#entry(arriving, reader)
      case FrameType.complete:
        return arriving && this.#complete(arriving)
      case FrameType.progress: {
        leaving?.progress(reader.varint(), reader.varint())
        if (leaving && !leaving.ready && reader.u8() === 1) this.#confirmed(leaving)
        return
      }
      case FrameType.taken:
        return leaving && this.#gone(leaving.session, leaving.isOffer ? Infinity : leaving.completedAt)
      case FrameType.refused: {
        const why = reader.u8()
        if (leaving) return this.#stay(leaving)
        if (arriving === undefined) return
        if (why !== Refusal.takenOver) return this.#fail(arriving, true)
        this.#drop(arriving)
        return arriving.waiting?.then(takenOver)
      }
    }
  }

  linked(): void {}

  unlinked(node: NodeId): void {
    for (const arriving of [...this.#all()]) if (arriving.from === node) this.#fail(arriving, true)
    // What was complete may be there: its claim will tell.
    for (const leaving of [...this.#leaving.values()]) if (leaving.to === node) this.#stay(leaving)
  }

  /** Looks again at what waits, and gives up what does not get on. */
  tick(): void {
    const lateMs = this.#now - patienceMs
    for (const arriving of [...this.#all()]) if (arriving.movedMs < lateMs) this.#fail(arriving)
    for (const leaving of [...this.#leaving.values()]) {
      if (leaving.movedMs >= lateMs) continue
      this.#refuse(leaving.to, leaving.id, Refusal.notNow)
      this.#stay(leaving)
    }
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const one of waiting) this.#try(one)
    for (const session of [...this.#beaten]) this.#again(session)
  }

  /** A session here that another claim has beaten: is that still so? */
  #again(session: Session): void {
    if (this.#leavingOf(session)) return
    const { claims, tables, peers } = this.#parts
    const key = claims.keyOf(session.clientId)
    const best = claims.best(tables(key))
    if (best === undefined || beats(session.epoch, peers.self, best.epoch, best.node)) this.#beaten.delete(session)
    else this.#offer(session, best.node)
  }

  #fenceAll(then: (fenced: boolean) => void): void {
    const { live, fence } = this.#parts
    const nodes = [...live()]
    let left = nodes.length
    let all = true
    if (left === 0) return then(true)
    for (const node of nodes)
      fence(node, (fenced) => {
        all &&= fenced
        if (--left === 0) then(all)
      })
  }

  #whenDurable(lsn: Lsn, then: () => void): void {
    if (lsn === 0 || lsn < this.#parts.store.durable) then()
    else this.#durable.push({ lsn, then })
  }

  #send(to: NodeId, type: FrameType, id: number, fields?: (writer: RecordWriter) => void): boolean {
    const { peers } = this.#parts
    const writer = peers.begin(to, type)
    if (writer === undefined) return false
    writer.varint(id)
    fields?.(writer)
    peers.end()
    return true
  }

  #refuse(to: NodeId, id: number, why: number): void {
    this.#send(to, FrameType.refused, id, (writer) => writer.u8(why))
  }

  #leavingOf(session: Session): Leaving | undefined {
    for (const leaving of this.#leaving.values()) if (leaving.session === session) return leaving
    return undefined
  }

  #arrivingBy(from: NodeId, id: number): Arriving | undefined {
    for (const arriving of this.#arriving.values()) if (arriving.from === from && arriving.id === id) return arriving
    return this.#offered.get(nameOf(from, id))
  }

  *#all(): Iterable<Arriving> {
    yield* this.#arriving.values()
    yield* this.#offered.values()
  }

  #isUnderWay(arriving: Arriving): boolean {
    return this.#arriving.get(arriving.clientId) === arriving
  }

  #isLive(node: NodeId): boolean {
    for (const live of this.#parts.live()) if (live === node) return true
    return false
  }

  #empty(): Message {
    return new Message(this.#parts.topics.named('-'), 2, false, noBytes, 0, 0, undefined, Infinity, undefined, 5)
  }

  get #leavingContext() {
    const { peers, store, topics } = this.#parts
    return { peers, store, topics, now: () => this.#now }
  }

  get #sessions() {
    return this.#parts.broker().sessions
  }

  get #now(): number {
    return this.#parts.clock.now()
  }
}

const noBytes = new Uint8Array(0)
const takenOver: Entrance = {
  refused: Reason.sessionTakenOver,
  why: 'another client connected with this client id',
}

function nameOf(node: NodeId, id: number): string {
  return `${node}/${id}`
}

function readGiven(reader: RecordReader): Given {
  const epoch = reader.varint()
  const expirySeconds = reader.f64()
  const username = reader.u8() === 1 ? reader.text() : undefined
  const subscriptions = Array.from({ length: reader.varint() }, () => [reader.text(), reader.varint()] as const)
  const incoming = Array.from({ length: reader.varint() }, () => reader.varint())
  return {
    epoch,
    expirySeconds,
    username,
    subscriptions,
    incoming,
    next: reader.varint(),
    perhapsSent: reader.varint(),
  }
}
