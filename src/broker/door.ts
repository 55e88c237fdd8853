import { neighbourOf } from '../access/address.ts'
import type { Party } from '../access/audit.ts'
import { Backoff } from '../access/backoff.ts'
import type { LogIn } from '../access/chain.ts'
import { type Credentials, type Denial, type Identity, type Judge, sources } from '../access/identity.ts'
import { Unanswered } from '../access/hooks.ts'
import type { ScramExchange } from '../access/scram.ts'
import type { Bytes, Clock } from '../host.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { ConnectPacket } from '../mqtt/packets.ts'
import { MqttError, Reason } from '../mqtt/reason.ts'
import { ownId, sessionKey } from '../sessions/client-key.ts'
import type { Session } from '../sessions/session.ts'
import type { Timed, TimingWheel } from '../sessions/wheel.ts'
import type { Access, LogInSources } from './access.ts'
import type { Tenants } from './tenants.ts'

type Client = Connection<Session>
type Denied = Omit<Denial, 'busy'> & { readonly busy?: boolean | undefined; readonly by: Judge | undefined }

/** Who has denied a log-in; `nobody` knew who that is, and `busy`: nobody could say. */
const deniers = [...sources, 'host-program', 'nobody', 'busy'] as const

/** Log-ins that have not been, by numbers. */
export interface LogInCounts {
  readonly denied: Record<(typeof deniers)[number], number>
  /** Attempts that waited for their turn, as others had failed, and those that do so now. */
  readonly waited: number
  readonly waiting: number
  /** Pairs of address and user that have failed, and those of them that there was no room to remember. */
  readonly failing: number
  readonly forgotten: number
}

export interface DoorParts {
  readonly access: Access
  readonly wheel: TimingWheel
  readonly clock: Clock
  /** A host program is asked who each client is. */
  readonly hostAsks: boolean
  readonly tenants: Tenants
  /** It is we who let this client wait: its time for CONNECT does not run. */
  prolong(client: Client, ms: number): void
}

/** A log-in by SCRAM under way, and whom it was begun with. */
export interface ScramLogIn {
  readonly exchange: ScramExchange
  readonly of: LogInSources
}

/** Attempts that wait at a time. */
const mostWaiting = 10_000

/**
 * Lets in whom the configuration knows, and remembers who they are as long as they are connected.
 *
 *   CONNECT, AUTH ─▶ failed before? wait ─▶ chain or SCRAM ─▶ identity, until it expires or is renewed
 *                                              └▶ denied: told in the same words whatever was wrong
 */
export class Door {
  readonly #parts: DoorParts
  readonly #backoff = new Backoff()
  readonly #guests = new Map<Client, Guest>()
  readonly #denied = Object.fromEntries(deniers.map((by) => [by, 0])) as LogInCounts['denied']
  #waited = 0
  #waiting = 0
  #wasClosed: boolean

  constructor(parts: DoorParts) {
    this.#parts = parts
    this.#wasClosed = this.closed
  }

  /** Who a client has proved to be; undefined: it is anonymous. */
  identityOf(client: Client): Identity | undefined {
    return this.#guests.get(client)?.identity
  }

  get counts(): LogInCounts {
    const { size: failing, dropped: forgotten } = this.#backoff
    return { denied: { ...this.#denied }, waited: this.#waited, waiting: this.#waiting, failing, forgotten }
  }

  /** Must clients log in? */
  get closed(): boolean {
    return this.#parts.access.logIns !== undefined
  }

  /** Has somebody found each name to be its client's? Then sessions belong to users. */
  get proves(): boolean {
    return this.closed || this.#parts.hostAsks
  }

  /** Must it prove who it is? Where a listener takes anonymous clients, only if it says anything of that. */
  asks(client: Client, { username, password }: ConnectPacket): boolean {
    if (!this.#parts.access.logIns) return false
    const silent = username === undefined && password === undefined && client.peer.certificate === undefined
    return !(client.allowAnonymous && silent)
  }

  /** `then` runs, later, when it has proved who it is; else it is sent away. */
  ask(client: Client, packet: ConnectPacket, then: () => void): void {
    const { username } = packet
    const { certificate } = client.peer
    // Its own: the chunk that the password came in is used again.
    const password = packet.password && Buffer.from(packet.password)
    const { clientId, remote } = client
    const protocol = client.peer.protocol ?? 'tcp'
    const credentials: Credentials = {
      clientId,
      ...(packet.clientId === '' && { idIsOurs: true }),
      username,
      password,
      remote,
      protocol,
      ...(certificate && { certificate }),
    }
    this.#turn(client, username ?? '', () => this.#ask(client, credentials, then))
  }

  #ask(client: Client, credentials: Credentials, then: () => void): void {
    const { access } = this.#parts
    const { logIns } = access
    if (!logIns) return then()
    client.hold()
    void logIns.chain.authenticate(credentials).then((logIn) => {
      this.#later(client, () => {
        // What was true when it was asked need not be any more.
        if (access.logIns !== logIns) this.#ask(client, credentials, then)
        else this.#judge(client, credentials.username, logIn, then)
      })
    })
  }

  /** The id of its session: its tenant's own, and a user's own where they are kept apart. */
  sessionIdOf({ clientId, username, root }: Client): string {
    return sessionKey(root?.tenant, this.#parts.access.logIns?.separate ? username : undefined, clientId)
  }

  /** Does a session belong to another user? One that nobody had to log in for is whoever's comes. */
  isForeign(client: Client, session: Session | undefined): boolean {
    return this.proves && session?.username !== undefined && session.username !== client.username
  }

  /** Undefined: nobody here can log in by SCRAM. */
  scram(): ScramLogIn | undefined {
    const { logIns } = this.#parts.access
    return logIns?.scram && { exchange: logIns.scram(), of: logIns }
  }

  /** Takes client-first; `then` gets server-first, at once or later. */
  scramFirst(client: Client, { exchange }: ScramLogIn, message: Bytes | undefined, then: (data: Bytes) => void): void {
    const answer = message ? exchange.first(message) : { denied: 'SCRAM: nothing came' }
    if ('denied' in answer) this.#deny(client, undefined, { ...answer, by: 'scram' })
    else this.#turn(client, exchange.user!, () => then(answer.data))
  }

  /** Takes client-final; `then` gets server-final, if that is right. Whoever is known already must stay who it is. */
  scramFinal(client: Client, scram: ScramLogIn, message: Bytes | undefined, then: (data: Bytes) => void): void {
    const { user } = scram.exchange
    if (scram.of !== this.#parts.access.logIns)
      return this.#deny(client, user, { denied: 'SCRAM: the users have been read again', busy: true, by: 'scram' })
    const answer = message ? scram.exchange.final(message) : { denied: 'SCRAM: nothing came' }
    if ('denied' in answer) return this.#deny(client, user, { ...answer, by: 'scram' })
    const known = this.identityOf(client)
    const same = known?.user === answer.identity.user && known.tenant === answer.identity.tenant
    if (client.state === 'connected' && !same)
      return this.#deny(client, user, { denied: 'SCRAM: it has logged in as somebody else', by: 'scram' })
    this.#judge(client, user, answer, () => then(answer.data))
  }

  /** A host program is to say who it is: `then` runs when it is its turn, which whom the configuration knows has had. */
  beforeHost(client: Client, then: () => void): void {
    if (this.identityOf(client)) then()
    else this.#turn(client, client.username ?? '', then)
  }

  /** The host program lets it in. @param user whom it has found it to be; `client` has the name that it gave */
  admittedByHost(client: Client, user: string | undefined): void {
    const guest = this.#guests.get(client)
    this.#backoff.succeeded(addressOf(client), guest ? guest.turn : (client.username ?? ''))
    // One log-in, one line: the configuration has written it.
    if (guest) return
    const party = { ...partyOf(client, undefined), user: user ?? client.username }
    this.#parts.access.audit?.write({ event: 'log-in', party, by: 'host-program' })
  }

  /** The host program does not let in whom the configuration has nothing against. Whom it could not judge has not failed. */
  deniedByHost(client: Client, denied: MqttError): void {
    const late = denied instanceof Unanswered
    const fault = late ? new MqttError(Reason.serverUnavailable, denied.clause, denied.message) : denied
    const busy = fault.reason === Reason.serverBusy || fault.reason === Reason.serverUnavailable
    const turn = this.#guests.get(client)?.turn
    this.#fail(client, client.username, { denied: fault.message, busy, by: 'host-program' }, turn)
    client.fail(fault)
  }

  /** Somebody is not allowed to do something. @param action publish, will, subscribe, receive … */
  refused(client: Client, action: string, topic: string, why: string): void {
    this.#parts.access.audit?.refused(`${action}\0${client.root?.tenant}\0${client.clientId}`, () => {
      return { event: 'refused', party: partyOf(client, this.identityOf(client)), action, topic, why }
    })
  }

  /** The same of a will, whose client is gone. */
  refusedWill({ clientId, username, tenant }: Session, topic: string, why: string): void {
    this.#parts.access.audit?.refused(`will\0${clientId}`, () => {
      const party = { clientId: ownId(clientId), user: username, tenant: tenant?.name }
      return { event: 'refused', party, action: 'will', topic, why }
    })
  }

  /** Whom to ask has changed: those who stay are who they are now. @returns those who must go */
  review(judge: (identity: Identity) => Identity | undefined, clients: Iterable<Client>): readonly Client[] {
    const begins = this.closed && !this.#wasClosed
    this.#wasClosed = this.closed
    const leaving: Client[] = []
    for (const client of clients) {
      const guest = this.#guests.get(client)
      if (guest) {
        const identity = judge(guest.identity)
        if (identity && this.#strange(identity) === undefined) guest.identity = identity
        else leaving.push(client)
        // A name that it gave then, nobody has proved.
      } else if (begins && client.state !== 'opened' && !(client.allowAnonymous && client.username === undefined))
        leaving.push(client)
    }
    return leaving
  }

  /** It is gone. */
  forget(client: Client): void {
    const guest = this.#guests.get(client)
    if (!guest) return
    this.#parts.wheel.cancel(guest)
    this.#guests.delete(client)
  }

  #judge(client: Client, username: string | undefined, logIn: LogIn, then: () => void): void {
    if ('denied' in logIn) return this.#deny(client, username, logIn)
    const { identity } = logIn
    const strange = this.#strange(identity)
    if (strange !== undefined) return this.#deny(client, username, { denied: strange, by: identity.source })
    const turn = username ?? ''
    // Where a host program is asked next, it has the last word: guesses that it denies must not begin anew each time.
    if (!this.#parts.hostAsks || client.state === 'connected') this.#backoff.succeeded(addressOf(client), turn)
    this.#parts.access.audit?.write({ event: 'log-in', party: partyOf(client, identity), by: identity.source })
    if (client.state === 'closed') return
    this.#admit(client, identity, turn)
    then()
  }

  #deny(client: Client, username: string | undefined, { denied, busy, by }: Denied): void {
    this.#fail(client, username, { denied, busy, by })
    const reason = busy
      ? Reason.serverBusy
      : username === undefined
        ? Reason.notAuthorized
        : Reason.badUserNameOrPassword
    const why = `the log-in was denied${by === undefined ? '' : ` by ${by}`}: ${denied}`
    // Who guesses must not learn what was wrong.
    client.fail(new MqttError(reason, 'MQTT-3.1.4-2', why, busy ? 'try again later' : 'not authorized'))
  }

  /** Why nobody of its tenant may come in. */
  #strange({ tenant }: Identity): string | undefined {
    return tenant === undefined ? undefined : this.#parts.tenants.refusal(tenant)
  }

  #fail(client: Client, username: string | undefined, { denied, busy, by }: Denied, turn = username ?? ''): void {
    if (!busy) this.#backoff.failed(addressOf(client), turn, this.#parts.clock.now())
    this.#denied[busy ? 'busy' : (by ?? 'nobody')]++
    this.#parts.access.audit?.refused(`log-in\0${addressOf(client)}\0${username}\0${denied}`, () => {
      const party = { ...partyOf(client, undefined), user: username }
      return { event: 'log-in-denied', party, by, why: denied }
    })
  }

  #admit(client: Client, identity: Identity, turn: string): void {
    this.forget(client)
    client.username = identity.user
    if (identity.tenant !== undefined) client.root = this.#parts.tenants.get(identity.tenant).root
    const guest = new Guest(client, identity, turn)
    this.#guests.set(client, guest)
    if (identity.expiresAt === undefined) return
    const { clock, wheel } = this.#parts
    wheel.schedule(guest, clock.now() + identity.expiresAt * 1000 - clock.wall())
  }

  /** Waits for its turn, as others have failed from there as that user. */
  #turn(client: Client, user: string, then: () => void): void {
    const { wheel, clock } = this.#parts
    const address = addressOf(client)
    const nowMs = clock.now()
    const waitMs = this.#backoff.attempt(address, user, nowMs)
    if (waitMs === 0) return then()
    if (this.#waiting >= mostWaiting) {
      this.#backoff.withdraw(address, user)
      return this.#deny(client, user, { denied: 'too many wait for their turn', busy: true, by: undefined })
    }
    this.#waiting++
    this.#waited++
    this.#parts.prolong(client, waitMs)
    client.hold()
    const turn = { dueMs: Infinity, tick: -1, due: () => leave(then) }
    const leave = (last: () => void) => {
      this.#waiting--
      client.left = undefined
      this.#later(client, () => client.state !== 'closed' && last())
    }
    client.left = () => {
      wheel.cancel(turn)
      // Its slot holds it for a while yet.
      turn.due = () => {}
      this.#backoff.withdraw(address, user)
      leave(() => {})
    }
    wheel.schedule(turn, nowMs + waitMs)
  }

  /** Nobody above catches what goes wrong in an answer that came later. */
  #later(client: Client, run: () => void): void {
    try {
      run()
    } catch (fault) {
      client.fail(fault instanceof Error ? fault : new Error(String(fault)))
    }
    client.release()
  }
}

/** Somebody who is in, until that expires. */
class Guest implements Timed {
  dueMs = Infinity
  tick = -1

  constructor(
    readonly client: Client,
    public identity: Identity,
    /** The name by which its attempt waited: it may have proved another. */
    readonly turn: string,
  ) {}

  due(): void {
    this.client.close(Reason.maximumConnectTime, 'the log-in has expired')
  }
}

function addressOf({ remote }: Client): string {
  return neighbourOf(remote.slice(0, Math.max(0, remote.lastIndexOf(':'))))
}

function partyOf({ clientId, remote, peer }: Client, identity: Identity | undefined): Party {
  return { clientId, user: identity?.user, tenant: identity?.tenant, remote, protocol: peer.protocol }
}
