import type { Session } from '../sessions/session.ts'
import { KeyedHash } from './hash.ts'
import type { NodeId } from './peers.ts'

/** Somebody else says that a client's session is his. */
export interface Claim {
  readonly node: NodeId
  readonly epoch: number
  /** The session outlives its connection. */
  readonly persistent: boolean
}

// In each node's table, under 'c' and a hash of the client id: epoch * 2, and 1 more for a session that outlives its
// connection. The hash has 64 bits and the cluster's own key, so that no table names clients.

/** Which sessions are here, as the other nodes are told, and which are with them. */
export class Claims {
  readonly #own: { set(key: string, value: number): void }
  readonly #hash: KeyedHash
  readonly #sessions = new Map<string, Session>()

  constructor(own: { set(key: string, value: number): void }, clusterId: string) {
    this.#own = own
    this.#hash = new KeyedHash(`claims of ${clusterId}`)
  }

  keyOf(clientId: string): string {
    const hash = this.#hash
    hash.over(clientId)
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeInt32LE(hash.high, 0)
    bytes.writeInt32LE(hash.low, 4)
    return `c${bytes.toString('base64url')}`
  }

  /** A session is here, or how long it lives has changed. */
  claim(session: Session): void {
    const key = this.keyOf(session.clientId)
    this.#sessions.set(key, session)
    this.#own.set(key, session.epoch * 2 + (session.persistent ? 1 : 0))
  }

  withdraw(session: Session): void {
    const key = this.keyOf(session.clientId)
    if (this.#sessions.get(key) !== session) return
    this.#sessions.delete(key)
    this.#own.set(key, 0)
  }

  /** The session has gone to another node, and is still called ours. Gives the key of the claim, for `release`. */
  linger(session: Session): string | undefined {
    const key = this.keyOf(session.clientId)
    if (this.#sessions.get(key) !== session) return undefined
    this.#sessions.delete(key)
    return key
  }

  /** Withdraws a claim that lingers, unless there is a session here again. */
  release(key: string): void {
    if (!this.#sessions.has(key)) this.#own.set(key, 0)
  }

  /** Does something still come here for a session that has gone? */
  straggles(clientId: string, does: boolean): void {
    this.#own.set(stragglerKey(this.keyOf(clientId)), does ? 1 : 0)
  }

  /** The session here that the key of a straggler stands for. */
  straggling(key: string): Session | undefined {
    return this.#sessions.get(`c${key.slice(1)}`)
  }

  /** The session here that a key stands for. */
  held(key: string): Session | undefined {
    return this.#sessions.get(key)
  }

  static read(node: NodeId, value: number): Claim {
    return { node, epoch: Math.floor(value / 2), persistent: value % 2 === 1 }
  }

  /** Who else claims the same, of what the tables say: the one of the highest epoch. */
  best(tables: Iterable<readonly [NodeId, number]>): Claim | undefined {
    let best: Claim | undefined
    for (const [node, value] of tables) {
      if (value === 0) continue
      const claim = Claims.read(node, value)
      if (best === undefined || beats(claim.epoch, node, best.epoch, best.node)) best = claim
    }
    return best
  }
}

/** Beside the key of a claim: what still comes there for the session will be passed on. */
export function stragglerKey(key: string): string {
  return `m${key.slice(1)}`
}

/** Of two claims of one client id: the higher epoch holds, then the greater name. See `epochs.ts`. */
export function beats(epoch: number, node: NodeId, otherEpoch: number, other: NodeId): boolean {
  return epoch > otherEpoch || (epoch === otherEpoch && node > other)
}
