import type { ClientInfo, ExchangeAnswer, ExchangeStep, Hooks } from '../access/hooks.ts'
import { scramMethod } from '../access/scram.ts'
import type { Random } from '../host.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { AuthPacket, ConnectPacket, WillPacket } from '../mqtt/packets.ts'
import { assert, MqttError, Reason } from '../mqtt/reason.ts'
import type { Session } from '../sessions/session.ts'
import type { Asking } from './asking.ts'
import type { Door, ScramLogIn } from './door.ts'
import type { Limits } from './limits.ts'

type Client = Connection<Session>

/** What a handshake leads to. */
export interface HandshakeEffects {
  /** The client is who it says: give it its session and CONNACK. */
  welcome(client: Client, packet: ConnectPacket, assignedId: string | undefined, data: Uint8Array | undefined): void
  /** A client that is here has logged in once more: what it may do may have changed. */
  renewed(client: Client): void
  /** May this client leave this will? Answers later or at once. */
  authorizeWill(client: Client, will: WillPacket, then: (denied: MqttError | undefined) => void): void
}

/** An enhanced authentication under way. */
interface Exchange {
  /** The CONNECT that began it; undefined for a re-authentication. */
  readonly packet: ConnectPacket | undefined
  /** Undefined: a host program's. */
  readonly scram: ScramLogIn | undefined
}

/**
 * From CONNECT to the decision whether to welcome a client (MQTT 5.0, 3.1.4 and 4.12).
 *
 *   CONNECT ─▶ client id ─▶ method? ─ no ──▶ log-in ─▶ host program ─┐
 *                             ├ SCRAM ─▶ ⇄ AUTH ─▶ host program ─────┼─▶ will allowed? ─▶ welcome
 *                             └ its own ─▶ host program ⇄ AUTH ──────┘
 */
export class Handshake {
  readonly #hooks: Hooks
  readonly #limits: Limits
  readonly #random: Random
  readonly #asking: Asking
  readonly #door: Door
  readonly #effects: HandshakeEffects
  readonly #exchanges = new Map<Client, Exchange>()

  constructor(hooks: Hooks, limits: Limits, random: Random, asking: Asking, door: Door, effects: HandshakeEffects) {
    this.#hooks = hooks
    this.#limits = limits
    this.#random = random
    this.#asking = asking
    this.#door = door
    this.#effects = effects
  }

  connect(client: Client, packet: ConnectPacket): void {
    const refusal = this.#idRefusal(packet)
    if (refusal) return client.fail(refusal)
    if (packet.clientId === '') client.clientId = `auto-${Buffer.from(this.#random.bytes(12)).toString('hex')}`
    const { authenticationMethod: method, authenticationData: data } = packet
    if (method !== undefined) this.#begin(client, { method, data, step: 'connect' }, packet)
    else if (this.#door.asks(client, packet))
      this.#door.ask(client, packet, () => this.#known(client, packet, undefined))
    else this.#known(client, packet, undefined)
  }

  auth(client: Client, packet: AuthPacket): void {
    const { method, data } = packet
    assert(method !== undefined, 'AUTH was checked against the method of CONNECT')
    const running = this.#exchanges.get(client)
    if ((packet.reason === Reason.continueAuthentication) !== (running !== undefined))
      return client.fail(
        new MqttError(
          Reason.protocolError,
          'MQTT-4.12.0-3',
          running ? 'an exchange is under way' : 'no exchange is under way',
        ),
      )
    if (!running) this.#begin(client, { method, data, step: 'reauthenticate' }, undefined)
    else if (running.scram)
      this.#door.scramFinal(client, running.scram, data, (proof) => this.#proved(client, running, proof))
    else this.#exchange(client, { method, data, step: 'continue' }, running)
  }

  /** The client is gone. */
  forget(client: Client): void {
    this.#exchanges.delete(client)
    this.#door.forget(client)
  }

  #begin(client: Client, step: ExchangeStep, packet: ConnectPacket | undefined): void {
    const scram = step.method === scramMethod ? this.#door.scram() : undefined
    // A host program's say is no log-in, where one is asked for.
    if (!scram && (this.#door.closed || !this.#hooks.exchange))
      return client.fail(
        new MqttError(
          Reason.badAuthenticationMethod,
          'MQTT-4.12.0-1',
          `authentication method "${step.method}" is not known here`,
        ),
      )
    const exchange = { packet, scram }
    this.#exchanges.set(client, exchange)
    if (scram) this.#door.scramFirst(client, scram, step.data, (data) => this.#goOn(client, data))
    else this.#door.beforeHost(client, () => this.#exchange(client, step, exchange))
  }

  #exchange(client: Client, step: ExchangeStep, exchange: Exchange): void {
    this.#asking.about<ExchangeAnswer>(
      client,
      () => this.#hooks.exchange!(infoOf(client), step),
      (verdict) => {
        if ('denied' in verdict) return this.#door.deniedByHost(client, verdict.denied)
        const { done, data, username } = verdict.value
        if (!done) return this.#goOn(client, data)
        // Its session is another's.
        if (!exchange.packet && username !== undefined && username !== client.username)
          return this.#door.deniedByHost(client, anotherUser)
        this.#door.admittedByHost(client, username)
        if (username !== undefined) client.username = username
        this.#proved(client, exchange, data)
      },
    )
  }

  #goOn(client: Client, data: Uint8Array | undefined): void {
    client.authenticate(Reason.continueAuthentication, data)
  }

  /** An exchange has come to its good end. */
  #proved(client: Client, { packet, scram }: Exchange, data: Uint8Array | undefined): void {
    this.#exchanges.delete(client)
    if (!packet) {
      this.#effects.renewed(client)
      client.authenticate(Reason.success, data)
    } else if (scram) this.#known(client, packet, data)
    else this.#agreed(client, packet, data)
  }

  /** The configuration has nothing against it: does the host program agree? */
  #known(client: Client, packet: ConnectPacket, data: Uint8Array | undefined): void {
    const hooks = this.#hooks
    if (!hooks.authenticate) return this.#agreed(client, packet, data)
    const hook = () => hooks.authenticate!(infoOf(client), packet.password)
    this.#door.beforeHost(client, () =>
      this.#asking.about(client, hook, (verdict) => {
        if ('denied' in verdict) return this.#door.deniedByHost(client, verdict.denied)
        this.#door.admittedByHost(client, client.username)
        this.#agreed(client, packet, data)
      }),
    )
  }

  #agreed(client: Client, packet: ConnectPacket, data: Uint8Array | undefined): void {
    const assigned = packet.clientId === '' ? client.clientId : undefined
    if (!packet.will) return this.#effects.welcome(client, packet, assigned, data)
    const { root } = client
    const will = root ? { ...packet.will, topic: root.topic(packet.will.topic) } : packet.will
    this.#effects.authorizeWill(client, will, (denied) => {
      if (denied) client.fail(denied)
      else this.#effects.welcome(client, { ...packet, will }, assigned, data)
    })
  }

  /** Why a client id is not taken; the code is 0x85, or 2 for 3.x [MQTT-3.1.3-8, -9]. */
  #idRefusal(packet: ConnectPacket): MqttError | undefined {
    const bytes = Buffer.byteLength(packet.clientId)
    if (bytes > this.#limits.clientIdBytes)
      return new MqttError(
        Reason.clientIdNotValid,
        'MQTT-3.1.3-8',
        `a client id of ${bytes} bytes; ${this.#limits.clientIdBytes} are allowed`,
      )
    if (bytes > 0 || packet.version === 5 || (packet.version === 4 && packet.clean)) return undefined
    return new MqttError(Reason.clientIdNotValid, 'MQTT-3.1.3-8', 'an empty client id needs a clean session')
  }
}

const anotherUser = new MqttError(Reason.notAuthorized, 'MQTT-4.12.1-2', 'it has logged in as somebody else')

export function infoOf(client: Client): ClientInfo {
  const { clientId: id, username, remote, version } = client
  return { id, username, tenant: client.root?.tenant, remote, version }
}
