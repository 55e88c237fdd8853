import type { Connection } from '../mqtt/connection.ts'
import { MqttError, Reason } from '../mqtt/reason.ts'
import type { Session } from '../sessions/session.ts'
import type { Timed, TimingWheel } from '../sessions/wheel.ts'
import type { Limits } from './limits.ts'

/** Looks after one connection: CONNECT in time, keep alive at 1.5 times [MQTT-3.1.2-22], a socket that takes nothing. */
export class Watchdog implements Timed {
  dueMs = Infinity
  tick = -1
  #connection: Connection<Session> | undefined
  readonly #wheel: TimingWheel
  readonly #limits: Limits
  #openedMs: number
  #writes = 0
  #progressMs: number

  /** @param openedMs when the peer came: what it took to get here counts */
  constructor(connection: Connection<Session>, wheel: TimingWheel, limits: Limits, openedMs = connection.lastSeenMs) {
    this.#connection = connection
    this.#wheel = wheel
    this.#limits = limits
    this.#openedMs = openedMs
    this.#progressMs = connection.lastSeenMs
    this.#next(connection, connection.lastSeenMs)
  }

  /** The connection has ended: the wheel finds this one later, and must not hold the other until then. */
  over(): void {
    this.#connection = undefined
  }

  due(nowMs: number): void {
    const connection = this.#connection
    if (connection === undefined || connection.state === 'closed') return
    if (connection.state !== 'connected') {
      if (nowMs >= this.#openedMs + this.#limits.connectSeconds * 1000)
        return connection.fail(new MqttError(Reason.protocolError, 'MQTT-3.1.4', 'no CONNECT was accepted in time'))
    } else {
      if (nowMs >= keepAliveEndMs(connection))
        return connection.fail(
          new MqttError(Reason.keepAliveTimeout, 'MQTT-3.1.2-22', 'nothing came within 1.5 times keep alive'),
        )
      const { unsentBytes, writes } = connection.output
      if (unsentBytes === 0 || writes !== this.#writes) this.#progressMs = nowMs
      this.#writes = writes
      if (nowMs >= this.#progressMs + this.#limits.stallSeconds * 1000) {
        connection.fail(
          new MqttError(Reason.quotaExceeded, 'MQTT-4.13.2-1', `${unsentBytes} bytes wait and the client takes none`),
        )
        // It would not take the farewell either.
        return connection.abandon()
      }
    }
    this.#next(connection, nowMs)
  }

  /** It is we who make it wait for CONNACK, so long. */
  prolong(ms: number): void {
    this.#openedMs += ms
  }

  /** CONNECT was accepted: keep alive counts from now. */
  accepted(nowMs: number): void {
    if (this.#connection) this.#next(this.#connection, nowMs)
  }

  #next(connection: Connection<Session>, nowMs: number): void {
    const connectEndMs = this.#openedMs + this.#limits.connectSeconds * 1000
    const stallCheckMs = nowMs + (this.#limits.stallSeconds * 1000) / 2
    const connected = connection.state === 'connected'
    this.#wheel.schedule(this, connected ? Math.min(keepAliveEndMs(connection), stallCheckMs) : connectEndMs)
  }
}

function keepAliveEndMs({ keepAliveSeconds, lastSeenMs }: Connection<Session>): number {
  return keepAliveSeconds === 0 ? Infinity : lastSeenMs + keepAliveSeconds * 1500
}
