import type { Clock } from '../host.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { Message, Slab } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import { Reason } from '../mqtt/reason.ts'
import { Numbered } from '../store/numbered.ts'
import { Places } from '../store/places.ts'
import type { Lsn, RecoveredSession, StateSource, Store } from '../store/port.ts'
import { Backpressure } from './backpressure.ts'
import type { Ledger } from './ledger.ts'
import type { Terms } from './outlet.ts'
import type { Rights } from './rights.ts'
import { Session, type SessionContext, type SessionLimits } from './session.ts'
import type { Tenant } from './tenant.ts'
import type { Timed, TimingWheel } from './wheel.ts'

/** What sessions cause in the broker. */
export interface SessionEffects {
  publishWill(session: Session, will: WillPacket): void
  /** Is it known to whom wills go? Soon after a start it is. */
  knowsOthers(): boolean
  /** The session is over: its subscriptions must go. `move` gives a copy to another member of its group. */
  ended(session: Session): void
  move(message: Message, terms: Terms | undefined, filter: string | undefined, from: Session): boolean
  /** It outlives its connections from now on, or does so no more. */
  persistence(session: Session): void
  /** What it may do now; it had `before` by other rules. */
  entitle(session: Session, before: Rights | undefined): Rights | undefined
  /** A session of this key is one of the broker's from now on: whose is it? */
  join(key: string): Tenant | undefined
  /** One of its sessions is so no more. */
  leave(tenant: Tenant): void
}

/** Looks for what has expired in the queue of one session. */
class QueueExpiry implements Timed {
  dueMs = Infinity
  tick = -1

  constructor(readonly due: (nowMs: number) => void) {}
}

/** Time between two looks whether it is known to whom wills go. */
const unknownMs = 100

/** Least time between two looks through one queue for what has expired. */
const expiryPauseMs = 1000

/** All sessions of a broker, by client id: who is the one owner of a client id, and what happens when it leaves. */
export class Sessions implements SessionContext, Pick<StateSource, 'session' | 'moved'> {
  readonly ledger: Ledger
  readonly slab: Slab
  readonly store: Store
  readonly places: Places
  readonly queued = { bytes: 0 }
  readonly limits: SessionLimits
  readonly backpressure: Backpressure
  readonly now: () => number
  readonly soon: (run: () => void) => void
  readonly #byId = new Map<string, Session>()
  readonly #byNumber = new Numbered<Session>()
  readonly #expiries = new Map<Session, QueueExpiry>()
  #waiting = new Set<Session>()
  readonly #wheel: TimingWheel
  readonly #effects: SessionEffects
  rules = 1
  /** Sessions with a connection. */
  online = 0
  /** Sessions that ended because their time was over. */
  expired = 0
  /** Connections that were closed because another client came with their client id. */
  takenOver = 0

  constructor(
    ledger: Ledger,
    slab: Slab,
    store: Store,
    limits: SessionLimits,
    clock: Clock,
    wheel: TimingWheel,
    effects: SessionEffects,
    places = new Places(),
  ) {
    this.places = places
    this.ledger = ledger
    this.slab = slab
    this.store = store
    this.limits = limits
    this.now = () => clock.now()
    this.soon = (run) => clock.endOfTurn(run)
    this.#wheel = wheel
    this.backpressure = new Backpressure(wheel, this.now)
    this.#effects = effects
  }

  entitle(session: Session, before: Rights | undefined): Rights | undefined {
    return this.#effects.entitle(session, before)
  }

  expires(session: Session, atSeconds: number): void {
    let expiry = this.#expiries.get(session)
    if (expiry === undefined) {
      const due = (nowMs: number) => {
        this.#expiries.delete(session)
        session.dropExpired(Math.floor((nowMs + this.store.offsetMs) / 1000))
      }
      this.#expiries.set(session, (expiry = new QueueExpiry(due)))
    }
    const atMs = Math.max(atSeconds * 1000 - this.store.offsetMs, this.now() + expiryPauseMs)
    if (atMs < expiry.dueMs) this.#wheel.schedule(expiry, atMs)
  }

  persistence(session: Session): void {
    this.#effects.persistence(session)
  }

  awaitStore(session: Session): void {
    this.#waiting.add(session)
  }

  /** More is durable: sends what has waited for that. */
  pumpDurable(): void {
    if (this.#waiting.size === 0) return
    const waiting = this.#waiting
    this.#waiting = new Set()
    for (const session of waiting) session.pump()
  }

  /** The session of a number in the store. */
  session(number: number): Session | undefined {
    return this.#byNumber.get(number)
  }

  moved(number: number, seq: number, lsn: Lsn): void {
    this.#byNumber.get(number)?.moved(seq, lsn)
  }

  /** Tells the store who the session is now, if anything of it must outlive the process. */
  record(session: Session): Lsn {
    if (session.number === 0) {
      if (!session.persistent && session.will === undefined) return 0
      session.number = this.store.number()
      if (session.number === 0) return 0
      this.#byNumber.set(session.number, session)
    }
    return this.store.session(session)
  }

  /** A session that was read back; what fell due meanwhile happens at the next tick. */
  restore(recovered: RecoveredSession): Session {
    const { number, clientId, epoch, expirySeconds, username, will, endDueMs, willDueMs, subscriptions } = recovered
    const session = new Session(clientId, expirySeconds, this, subscriptions)
    session.number = number
    session.epoch = epoch
    session.username = username
    session.will = will
    session.endDueMs = endDueMs
    session.willDueMs = willDueMs
    this.#join(session)
    this.#byNumber.set(number, session)
    session.restore(recovered, this.limits.inflightMessages)
    this.ledger.copies += session.pending
    this.#schedule(session)
    return session
  }

  get size(): number {
    return this.#byId.size
  }

  get(clientId: string): Session | undefined {
    return this.#byId.get(clientId)
  }

  values(): IterableIterator<Session> {
    return this.#byId.values()
  }

  /**
   * The session for a client that connects: the one it had, unless it wants a clean start or there is none. Whoever held
   * the client id is sent away first [MQTT-3.1.4-3], and what was due before, though no tick has come since, is done.
   * `ended`: where the end of the one that a clean start has ended stands.
   */
  open(clientId: string, clean: boolean, expirySeconds: number): { session: Session; present: boolean; ended: Lsn } {
    this.#displace(clientId)
    const left = this.#byId.get(clientId)
    if (left) this.due(left, this.now())
    const known = this.#byId.get(clientId)
    if (known && !clean) {
      known.endDueMs = known.willDueMs = Infinity
      this.#wheel.cancel(known)
      // A delayed will is not sent when the client is back in time [MQTT-3.1.3-9].
      known.will = undefined
      known.expire(expirySeconds)
      return { session: known, present: true, ended: 0 }
    }
    const ended = known ? this.end(known) : 0
    const session = new Session(clientId, expirySeconds, this)
    this.#join(session)
    return { session, present: false, ended }
  }

  #displace(clientId: string): void {
    const holder = this.#byId.get(clientId)?.connection
    if (!holder) return
    this.takenOver++
    holder.close(Reason.sessionTakenOver, 'another client connected with this client id')
  }

  /** A client has its session: it is online from now on. */
  begin(session: Session, connection: Connection<Session>): void {
    this.online++
    session.connection = connection
    if (session.tenant === undefined) return
    session.tenant.connections++
    connection.output.traffic = session.tenant.traffic
  }

  /**
   * Another node takes a session: its connection is closed, and what was due is done, as in `open`. While it is on its way
   * it neither ends nor sends its will. Undefined when nothing is left that could go on elsewhere.
   */
  surrender(clientId: string, clean: boolean): Session | undefined {
    this.#displace(clientId)
    const left = this.#byId.get(clientId)
    if (left) this.due(left, this.now())
    const known = this.#byId.get(clientId)
    if (known && clean) this.end(known)
    if (known === undefined || clean) return undefined
    this.suspend(known)
    return known
  }

  /** Until `keep` is called, the session neither ends nor sends its will. */
  suspend(session: Session): void {
    this.#wheel.cancel(session)
  }

  /** An offline session stays here, after all: what fell due meanwhile happens at the next tick. */
  keep(session: Session): void {
    this.#schedule(session)
  }

  /** A session has come from another node, and is offline until its client is let in. */
  adopt(session: Session): Lsn {
    this.#join(session)
    if (session.number !== 0) this.#byNumber.set(session.number, session)
    this.keep(session)
    const expiry = session.outbox?.nextExpiry ?? 0
    if (expiry !== 0) this.expires(session, expiry)
    return this.record(session)
  }

  /** A session was adopted by another node; see `Outbox.handOver`. Its will does not fire: its client goes on there. */
  handOver(session: Session, from: number): void {
    session.will = undefined
    this.#remove(session)
    session.handOver(from, (message, terms, filter) => this.#effects.move(message, terms, filter, session))
    if (session.number === 0) return
    this.#byNumber.delete(session.number)
    this.store.ended(session.number)
  }

  /** The connection of a session is gone. `withWill`: not by a DISCONNECT that takes the will back. */
  detach(session: Session, withWill: boolean): void {
    session.connection = undefined
    this.online--
    if (session.tenant !== undefined) session.tenant.connections--
    this.backpressure.relieve(session)
    if (!withWill) session.will = undefined
    if (session.expirySeconds === 0) return void this.end(session)
    const nowMs = this.now()
    session.endDueMs = nowMs + session.expirySeconds * 1000
    if (session.will === undefined) session.willDueMs = Infinity
    else if (session.will.delaySeconds === 0) this.#fireWill(session)
    else session.willDueMs = nowMs + session.will.delaySeconds * 1000
    this.record(session)
    this.#schedule(session)
  }

  fallsDue(session: Session, nowMs: number): void {
    // What fell due while we were away, or just now: a will of it stays in the store until it can be told to all.
    if (session.will !== undefined && !this.#effects.knowsOthers()) this.#wheel.schedule(session, nowMs + unknownMs)
    else this.due(session, nowMs)
  }

  /** Does what is due for the session. */
  due(session: Session, nowMs: number): void {
    if (session.connection) return
    if (session.endDueMs <= nowMs) {
      this.expired++
      return void this.end(session)
    }
    if (session.willDueMs <= nowMs) {
      this.#fireWill(session)
      this.record(session)
    }
    this.#schedule(session)
  }

  /** Ends an offline session. Its will fires now if it has not yet [MQTT-3.1.2-8]. Gives where that stands in the store. */
  end(session: Session): Lsn {
    this.#remove(session)
    this.#fireWill(session)
    session.end((message, terms, filter) => this.#effects.move(message, terms, filter, session))
    // Last: after a crash before it the session comes back, and ends again.
    if (session.number === 0) return 0
    this.#byNumber.delete(session.number)
    return this.store.ended(session.number)
  }

  #join(session: Session): void {
    this.#byId.set(session.clientId, session)
    const tenant = this.#effects.join(session.clientId)
    if (tenant === undefined) return
    session.tenant = tenant
    tenant.subscriptions += session.subscriptions.size
  }

  #remove(session: Session): void {
    this.#byId.delete(session.clientId)
    this.#wheel.cancel(session)
    const expiry = this.#expiries.get(session)
    if (expiry) this.#wheel.cancel(expiry)
    this.#expiries.delete(session)
    this.#effects.ended(session)
    if (session.tenant !== undefined) this.#effects.leave(session.tenant)
  }

  #fireWill(session: Session): void {
    const will = session.will
    session.will = undefined
    session.willDueMs = Infinity
    if (will) this.#effects.publishWill(session, will)
  }

  #schedule(session: Session): void {
    this.#wheel.schedule(session, Math.min(session.endDueMs, session.willDueMs))
  }
}
