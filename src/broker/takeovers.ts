import type { Clock, Log } from '../host.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { Session } from '../sessions/session.ts'

type Client = Connection<Session>

/** Who takes a client id over and loses it again within this time is part of a loop. */
const soonMs = 60_000
/** Fewer in a row may be a client that comes back before its old connection is known to be dead. */
const many = 3

/** Takeovers of one client id, each soon after the other. */
interface Run {
  count: number
  lastMs: number
  saidMs: number
}

/**
 * Two clients of one id send each other away for ever, as each of them comes back, and neither is told why it never works.
 *
 *   a ◀─ b ◀─ a ◀─ b …     each within a minute: from the third on a line with both addresses, once a minute
 */
export class Takeovers {
  readonly #clock: Clock
  readonly #log: Log
  /** By whoever has the client id now. */
  readonly #runs = new WeakMap<Client, Run>()

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** `after` has the client id that `before` had. */
  happened(before: Client, after: Client): void {
    const nowMs = this.#clock.now()
    const known = this.#runs.get(before)
    const run = known && nowMs - known.lastMs < soonMs ? known : { count: 0, lastMs: nowMs, saidMs: -Infinity }
    run.count++
    run.lastMs = nowMs
    this.#runs.set(after, run)
    if (run.count < many || nowMs - run.saidMs < soonMs) return
    run.saidMs = nowMs
    this.#log.warn(
      { client: after.clientId, remote: after.remote, other: before.remote, times: run.count },
      'two clients take one client id from each other: one of them needs another',
    )
  }
}
