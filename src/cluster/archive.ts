import type { WillPacket } from '../mqtt/packets.ts'
import type { QueueView, SessionState } from '../store/port.ts'

/** What the cluster keeps in our store looks like a session of a client, whose id no client can have. */
export class OwnSession implements SessionState {
  epoch = 0
  readonly expirySeconds = Infinity
  readonly username: string | undefined = undefined
  readonly will: WillPacket | undefined = undefined
  readonly endDueMs = Infinity
  readonly willDueMs = Infinity
  readonly online = false
  readonly subscriptions: SessionState['subscriptions'] = nothing

  constructor(
    /** 0: the store keeps nothing. */
    readonly number: number,
    readonly clientId: string,
  ) {}

  incoming(): Iterable<number> {
    return []
  }

  get queue(): QueueView | undefined {
    return undefined
  }

  /** The store has copied message `seq` of the queue to another place. */
  moved(_seq: number, _lsn: number): void {}
}

const nothing: ReadonlyMap<string, number> = new Map<string, number>()

/** The cluster's own sessions in the store, by their number there. */
export class Archive {
  readonly #sessions = new Map<number, OwnSession>()

  get(number: number): OwnSession | undefined {
    return this.#sessions.get(number)
  }

  add(session: OwnSession): void {
    if (session.number !== 0) this.#sessions.set(session.number, session)
  }

  remove(session: OwnSession): void {
    this.#sessions.delete(session.number)
  }
}
