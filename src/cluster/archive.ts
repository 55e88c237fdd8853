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

type Archived = SessionState & Pick<OwnSession, 'moved'>

/** What the cluster keeps in our store, by its number there. */
export class Archive {
  readonly #sessions = new Map<number, Archived>()

  get(number: number): Archived | undefined {
    return this.#sessions.get(number)
  }

  add(session: Archived): void {
    if (session.number !== 0) this.#sessions.set(session.number, session)
  }

  remove(session: Archived): void {
    this.#sessions.delete(session.number)
  }
}
