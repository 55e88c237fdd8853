import type { Host } from '../host.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { ConnectPacket } from '../mqtt/packets.ts'
import { MqttError, Reason, reasonName } from '../mqtt/reason.ts'
import type { Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Store } from '../store/port.ts'
import type { Cluster } from './cluster-port.ts'
import type { Door } from './door.ts'
import type { Entitling } from './entitling.ts'
import type { AckGate } from './gate.ts'
import type { Limits } from './limits.ts'
import type { Observer } from './observer.ts'
import type { Throttle } from './rates.ts'
import { Takeovers } from './takeovers.ts'
import type { Tenants } from './tenants.ts'

type Client = Connection<Session>

export interface EnteringParts {
  readonly host: Host
  readonly limits: Limits
  readonly sessions: Sessions
  readonly store: Store
  readonly cluster: Cluster
  readonly gate: AckGate
  readonly door: Door
  readonly entitling: Entitling
  readonly throttle: Throttle
  readonly observer: Observer
  readonly tenants: Tenants
  /** One more client is online. */
  online(): void
  /** A client has its CONNACK. */
  accepted(client: Client): void
}

/**
 * From the decision to let a client in to its CONNACK.
 *
 *   whose session? ─▶ is it here? (cluster) ─▶ taken up, or begun ─▶ on disk ─▶ CONNACK
 */
export class Entering {
  readonly #parts: EnteringParts
  readonly #takeovers: Takeovers

  constructor(parts: EnteringParts) {
    this.#parts = parts
    this.#takeovers = new Takeovers(parts.host.clock, parts.host.log)
  }

  /** Its session may be on another node: it is let in when it is here. */
  enter(client: Client, packet: ConnectPacket, assigned: string | undefined, data: Uint8Array | undefined): void {
    const { cluster, door, host } = this.#parts
    const sessionId = door.sessionIdOf(client)
    if (this.#refuses(client, sessionId)) return
    if (cluster.alone) return this.#welcome(client, packet, assigned, data, 0)
    const { connectNumber, username } = client
    const claimant = door.proves ? { user: username } : undefined
    let state: 'asking' | 'answered' | 'later' = 'asking'
    cluster.enter({ clientId: sessionId, clean: packet.clean, connectNumber, claimant }, (entrance) => {
      const proceed = () => {
        if (client.state === 'closed') return
        if ('epoch' in entrance) return this.#welcome(client, packet, assigned, data, entrance.epoch)
        const { refused, why, serverReference } = entrance
        host.log.warn({ client: client.clientId, remote: client.remote, reason: reasonName(refused) }, why)
        client.close(refused, why, serverReference)
      }
      if (state === 'asking') {
        state = 'answered'
        return proceed()
      }
      // Nobody above catches what goes wrong in an answer that came later.
      try {
        proceed()
      } catch (fault) {
        client.fail(fault instanceof Error ? fault : new Error(String(fault)))
      }
      client.release()
    })
    if ((state as string) === 'answered') return
    state = 'later'
    client.hold()
  }

  #refuses(client: Client, sessionId: string): boolean {
    return this.#refusesForeign(client, sessionId) || this.#refusesMore(client, sessionId)
  }

  /** A tenant has what it may have: who takes over a connection, or comes back to a session, needs no more. */
  #refusesMore(client: Client, sessionId: string): boolean {
    if (client.root === undefined) return false
    const { sessions, tenants, door } = this.#parts
    const tenant = tenants.get(client.root.tenant)
    const there = sessions.get(sessionId)
    const { connections, sessions: most } = tenant.limits
    const why =
      tenant.connections >= connections && there?.connection === undefined
        ? `its tenant may have ${connections} connections`
        : tenant.sessions >= most && there === undefined
          ? `its tenant may have ${most} sessions`
          : undefined
    if (why === undefined) return false
    tenant.refused++
    door.refused(client, 'connect', '', why)
    client.fail(new MqttError(Reason.quotaExceeded, 'MQTT-3.2.2', why))
    return true
  }

  /** Another user's session is left alone, whether its client is there or not, and whatever is asked for. */
  #refusesForeign(client: Client, sessionId: string): boolean {
    const { sessions, door, host } = this.#parts
    const there = sessions.get(sessionId)
    if (!door.isForeign(client, there)) return false
    // Its time may be over, and nobody has looked.
    sessions.due(there!, host.clock.now())
    if (!door.isForeign(client, sessions.get(sessionId))) return false
    const why = 'the session of this client id belongs to another user'
    door.refused(client, 'connect', '', why)
    client.fail(new MqttError(Reason.clientIdNotValid, 'MQTT-3.1.3-8', why))
    return true
  }

  /** @param epoch of a new session; 0: the next one of its own */
  #welcome(
    client: Client,
    packet: ConnectPacket,
    assigned: string | undefined,
    data: Uint8Array | undefined,
    epoch: number,
  ): void {
    const { host, limits, sessions, store, cluster, gate, observer } = this.#parts
    // Hooks may let an earlier CONNECT in later: the client id belongs to the one that came last [MQTT-3.1.4-3].
    const sessionId = this.#parts.door.sessionIdOf(client)
    if (this.#refuses(client, sessionId)) return
    const holder = sessions.get(sessionId)?.connection
    if (holder && holder.connectNumber > client.connectNumber)
      return client.close(Reason.sessionTakenOver, 'another client connected with this client id')
    const expirySeconds = Math.min(packet.sessionExpirySeconds, limits.sessionExpirySeconds)
    // What would have to be kept cannot be; a session that is there goes on.
    if (store.full && (expirySeconds > 0 || packet.will) && (packet.clean || !sessions.get(sessionId)))
      return client.fail(new MqttError(Reason.quotaExceeded, 'MQTT-3.2.2', 'the disk is full'))
    if (holder) this.#takeovers.happened(holder, client)
    const { session, present, ended } = sessions.open(sessionId, packet.clean, expirySeconds)
    if (epoch === 0) session.epoch++
    else if (!present) session.epoch = epoch
    session.will = packet.will
    session.username = client.username
    session.rights = this.#parts.entitling.of(client)
    client.session = session
    this.#parts.throttle.begin(client)
    const keepAlive = this.#keepAlive(packet)
    client.keepAliveSeconds = keepAlive
    const properties = {
      receiveMaximum: limits.receiveMaximum,
      maximumPacketSize: limits.packetBytes,
      topicAliasMaximum: limits.topicAliases,
      ...(assigned !== undefined && { assignedClientIdentifier: assigned }),
      ...(expirySeconds !== packet.sessionExpirySeconds && { sessionExpiryInterval: expirySeconds }),
      ...(keepAlive !== packet.keepAliveSeconds && { serverKeepAlive: keepAlive }),
      ...(packet.wantsResponseInformation && {
        responseInformation: `response/${encodeURIComponent(client.clientId)}`,
      }),
      ...(packet.authenticationMethod !== undefined && { authenticationMethod: packet.authenticationMethod }),
      ...(data && { authenticationData: Buffer.from(data) }),
    }
    sessions.begin(session, client)
    if (!present) cluster.began(session)
    const recorded = sessions.record(session)
    // On a full disk a session that was there before is taken up at once; the end of another is waited for even so.
    const lsn = store.full && ended === 0 ? 0 : Math.max(recorded, ended)
    const welcome = () => {
      client.accept(present, properties)
      // Too small a client for CONNACK is gone already.
      if (client.state !== 'connected') return
      this.#parts.accepted(client)
      session.attach(client, packet.receiveMaximum)
    }
    this.#parts.online()
    host.log.debug({ client: client.clientId, remote: client.remote, version: client.version, present }, 'connected')
    const { clientId: id, username, remote, root } = client
    observer.connected?.({ id, username, tenant: root?.tenant, remote })
    if (gate.open(client, lsn)) welcome()
    else {
      // What a client sends behind CONNECT without waiting for CONNACK is read after it (MQTT 5.0, 3.1.4).
      client.hold()
      gate.hold(client, lsn, () => {
        welcome()
        client.release()
      })
    }
  }

  /** v5 clients are told our limit. 3.x clients cannot be told, so theirs holds; TCP finds the dead ones. */
  #keepAlive(packet: ConnectPacket): number {
    const asked = packet.keepAliveSeconds
    if (packet.version !== 5) return asked
    const { keepAliveSeconds } = this.#parts.limits
    return asked === 0 ? keepAliveSeconds : Math.min(asked, keepAliveSeconds)
  }
}
