import { ClientPermissions, type Holder, Permissions } from '../access/permissions.ts'
import type { Policy } from '../access/rules.ts'
import type { Connection } from '../mqtt/connection.ts'
import { MqttError, Reason } from '../mqtt/reason.ts'
import type { Rights } from '../sessions/rights.ts'
import { ownId } from '../sessions/client-key.ts'
import type { Session } from '../sessions/session.ts'

/** Who may do what; a reload brings another. */
export interface Rulebook {
  /** None: everybody may do everything that a token does not limit. */
  readonly policies: readonly Policy[]
  /** What rules must know of a user, by name alone; undefined where more may have come with the log-in. */
  named(user: string): Holder | undefined
}

export const openToAll: Rulebook = { policies: [], named: (user) => ({ user }) }

/** What whoever is not allowed something is told: made once, for somebody may try it a million times. */
export const notAllowed = {
  publish: new MqttError(Reason.notAuthorized, 'MQTT-3.3.5-2', 'no permission to publish to this topic'),
  retain: new MqttError(Reason.notAuthorized, 'MQTT-3.3.5-2', 'no permission to publish to this topic and retain it'),
  will: new MqttError(Reason.notAuthorized, 'MQTT-3.1.4-2', 'no permission to leave this will'),
  subscribe: new MqttError(Reason.notAuthorized, 'MQTT-3.9.3', 'no permission to subscribe to this filter'),
}

/** Sessions that are given their rights in a tick, if nobody has asked for them since a reload: about a millisecond. */
const stride = 1000

/**
 * Gives each session what its client may do.
 *
 *   log-in ─▶ of(client)                   identity known: its rules, and those of its token
 *   restart, another node ─▶ byName        only the name is: what files say of it, else nothing until it logs in
 *   reload ─▶ renewed                      when it is asked of next, and by and by all the others
 */
export class Entitling {
  readonly #permissions: Permissions
  readonly #holderOf: (client: Connection<Session>) => Holder | undefined
  #rulebook: Rulebook
  /** Those whom a reload has left for later. */
  #waiting: Iterator<Session> | undefined = undefined

  /** @param holderOf who a client has proved to be; undefined: nobody */
  constructor(rulebook: Rulebook, holderOf: (client: Connection<Session>) => Holder | undefined) {
    this.#rulebook = rulebook
    this.#permissions = new Permissions(rulebook.policies)
    this.#holderOf = holderOf
  }

  of(client: Connection<Session>): Rights | undefined {
    return this.#permissions.limiting(this.#holderOf(client), client.clientId)
  }

  /** Of a session that has none by the rules of now. @param before what it had */
  renewed(session: Session, before: Rights | undefined): Rights | undefined {
    if (session.connection) return this.of(session.connection)
    return before instanceof ClientPermissions && before.brought ? before : this.#byName(session)
  }

  /** Of a session whose client has not logged in since it came from the store or from another node. */
  #byName({ username, clientId: key }: Session): Rights | undefined {
    const clientId = ownId(key)
    if (username === undefined) return this.#permissions.limiting(undefined, clientId)
    const holder = this.#rulebook.named(username)
    return holder === undefined ? untilLogIn : this.#permissions.limiting(holder, clientId)
  }

  /** Nothing that was decided holds any more. */
  reload(rulebook: Rulebook, sessions: Iterable<Session>): void {
    this.#rulebook = rulebook
    this.#permissions.reload(rulebook.policies)
    this.#waiting = sessions[Symbol.iterator]()
  }

  /** To be called at each tick. What nobody asks for would hold on to the rules before it. */
  goOn(): void {
    for (let count = 0; count < stride && this.#waiting; count++) {
      const next = this.#waiting.next()
      if (next.done === true) this.#waiting = undefined
      else void next.value.rights
    }
  }
}

/** Its will is not sent. What is queued for it is asked of again, once it has logged in. */
const untilLogIn: Rights = {
  may: () => false,
  mayFilter: () => false,
  publishes: () => false,
  receives: () => true,
  receivesAll: () => true,
}
