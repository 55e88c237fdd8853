import type { ClientInfo, ExchangeAnswer, ExchangeStep, Hooks } from '../access/hooks.ts'
import type { Random } from '../host.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { AuthPacket, ConnectPacket, WillPacket } from '../mqtt/packets.ts'
import { assert, MqttError, Reason } from '../mqtt/reason.ts'
import type { Session } from '../sessions/session.ts'
import type { Asking } from './asking.ts'
import type { Limits } from './limits.ts'

type Client = Connection<Session>

/** What a handshake leads to. */
export interface HandshakeEffects {
  /** The client is who it says: give it its session and CONNACK. */
  welcome(client: Client, packet: ConnectPacket, assignedId: string | undefined, data: Uint8Array | undefined): void
  /** May this client leave this will? Answers later or at once. */
  authorizeWill(client: Client, will: WillPacket, then: (denied: MqttError | undefined) => void): void
}

/**
 * From CONNECT to the decision whether to welcome a client (MQTT 5.0, 3.1.4 and 4.12).
 *
 *   CONNECT ─▶ client id ─▶ method? ─ no ──▶ authenticate ─┐
 *                             └ yes ─▶ exchange ⇄ AUTH ────┴─▶ will allowed? ─▶ welcome
 */
export class Handshake {
  readonly #hooks: Hooks
  readonly #limits: Limits
  readonly #random: Random
  readonly #asking: Asking
  readonly #effects: HandshakeEffects
  /** Clients in the middle of an exchange, with the CONNECT that began it; undefined for a re-authentication. */
  readonly #exchanges = new Map<Client, ConnectPacket | undefined>()

  constructor(hooks: Hooks, limits: Limits, random: Random, asking: Asking, effects: HandshakeEffects) {
    this.#hooks = hooks
    this.#limits = limits
    this.#random = random
    this.#asking = asking
    this.#effects = effects
  }

  connect(client: Client, packet: ConnectPacket): void {
    const refusal = this.#idRefusal(packet)
    if (refusal) return client.fail(refusal)
    const hooks = this.#hooks
    if (packet.authenticationMethod !== undefined) {
      if (!hooks.exchange)
        return client.fail(
          new MqttError(
            Reason.badAuthenticationMethod,
            'MQTT-4.12.0-1',
            `authentication method "${packet.authenticationMethod}" is not known here`,
          ),
        )
      this.#exchanges.set(client, packet)
      return this.#exchange(client, {
        method: packet.authenticationMethod,
        data: packet.authenticationData,
        step: 'connect',
      })
    }
    if (!hooks.authenticate) return this.#proved(client, packet, undefined)
    const hook = () => hooks.authenticate!(infoOf(client), packet.password)
    this.#asking.about(client, hook, (verdict) => {
      if ('denied' in verdict) client.fail(verdict.denied)
      else this.#proved(client, packet, undefined)
    })
  }

  auth(client: Client, packet: AuthPacket): void {
    const method = packet.method
    assert(method !== undefined, 'AUTH was checked against the method of CONNECT')
    const running = this.#exchanges.has(client)
    if ((packet.reason === Reason.continueAuthentication) !== running)
      return client.fail(
        new MqttError(
          Reason.protocolError,
          'MQTT-4.12.0-3',
          running ? 'an exchange is under way' : 'no exchange is under way',
        ),
      )
    if (!running) this.#exchanges.set(client, undefined)
    this.#exchange(client, { method, data: packet.data, step: running ? 'continue' : 'reauthenticate' })
  }

  /** The client is gone. */
  forget(client: Client): void {
    this.#exchanges.delete(client)
  }

  #exchange(client: Client, step: ExchangeStep): void {
    this.#asking.about<ExchangeAnswer>(
      client,
      () => this.#hooks.exchange!(infoOf(client), step),
      (verdict) => {
        if ('denied' in verdict) client.fail(verdict.denied)
        else this.#answered(client, verdict.value)
      },
    )
  }

  #answered(client: Client, answer: ExchangeAnswer): void {
    if (!answer.done) return client.authenticate(Reason.continueAuthentication, answer.data)
    const packet = this.#exchanges.get(client)
    this.#exchanges.delete(client)
    if (answer.username !== undefined) client.username = answer.username
    if (packet) this.#proved(client, packet, answer.data)
    else client.authenticate(Reason.success, answer.data)
  }

  #proved(client: Client, packet: ConnectPacket, data: Uint8Array | undefined): void {
    const assigned = packet.clientId === '' ? `auto-${Buffer.from(this.#random.bytes(12)).toString('hex')}` : undefined
    if (assigned !== undefined) client.clientId = assigned
    if (!packet.will) return this.#effects.welcome(client, packet, assigned, data)
    this.#effects.authorizeWill(client, packet.will, (denied) => {
      if (denied) client.fail(denied)
      else this.#effects.welcome(client, packet, assigned, data)
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

export function infoOf(client: Client): ClientInfo {
  return { id: client.clientId, username: client.username, remote: client.remote, version: client.version }
}
