import { isLoopbackAddress, neighbourOf } from './address.ts'
import { TokenBucket } from './token-bucket.ts'

export interface ConnectionRateLimits {
  /** Connections that one neighbour may have at a time. */
  readonly atOnce: number
  /** New ones a second; as many may come in one go. */
  readonly perSecond: number
  /** Neighbours to remember. */
  readonly neighbours: number
}

export const defaultConnectionRates: ConnectionRateLimits = { atOnce: 100, perSecond: 20, neighbours: 65_536 }

/** Why a connection is not taken. */
export type ConnectionRefusal = 'too-many-at-once' | 'too-fast' | 'too-many-neighbours'

interface Neighbour {
  open: number
  bucket: TokenBucket
}

/** Neighbours that are looked at, each time somebody comes, whether they can be forgotten. */
const swept = 2

/**
 * Connections by address: so many at a time and so many a second, for an IPv4 address or the /64 of an IPv6 one. Loopback
 * is exempt.
 *
 *   busy (has connections) ⇄ idle, oldest first ─▶ forgotten: once nothing is known against it, or when there is no room
 *
 * The table is bounded: when all of its neighbours are busy, nobody new comes in.
 */
export class ConnectionRates {
  /** Connections that were refused, by the reason. */
  readonly refused: Record<ConnectionRefusal, number> = {
    'too-many-at-once': 0,
    'too-fast': 0,
    'too-many-neighbours': 0,
  }
  #limits: ConnectionRateLimits
  readonly #busy = new Map<string, Neighbour>()
  readonly #idle = new Map<string, Neighbour>()

  constructor(limits = defaultConnectionRates) {
    this.#limits = limits
  }

  /** Neighbours that are remembered. */
  get size(): number {
    return this.#busy.size + this.#idle.size
  }

  /**
   * Somebody connects.
   * @param address without a port
   * @param told a proxy says so: then it is no proof of being on this machine
   * @returns why it is not taken; undefined when it is: call `close` when it has gone
   */
  open(address: string, nowMs: number, told = false): ConnectionRefusal | undefined {
    if (!told && isLoopbackAddress(address)) return undefined
    this.#forgetSome(nowMs)
    const key = neighbourOf(address)
    const neighbour = this.#busy.get(key) ?? this.#idle.get(key) ?? this.#meet(key, nowMs)
    if (neighbour === undefined) return this.#refuse('too-many-neighbours')
    if (neighbour.open >= this.#limits.atOnce) return this.#refuse('too-many-at-once')
    if (!neighbour.bucket.take(1, nowMs)) return this.#refuse('too-fast')
    if (neighbour.open++ === 0) {
      this.#idle.delete(key)
      this.#busy.set(key, neighbour)
    }
    return undefined
  }

  /** A connection that was taken has gone. */
  close(address: string, told = false): void {
    if (!told && isLoopbackAddress(address)) return
    const key = neighbourOf(address)
    const neighbour = this.#busy.get(key)
    if (neighbour === undefined || --neighbour.open > 0) return
    this.#busy.delete(key)
    this.#idle.set(key, neighbour)
  }

  /** Takes other limits; nobody is cut off, and everybody begins without debts. */
  relimit(limits: ConnectionRateLimits, nowMs: number): void {
    this.#limits = limits
    for (const known of [this.#busy, this.#idle])
      for (const neighbour of known.values()) neighbour.bucket = bucketOf(limits, nowMs)
  }

  #meet(key: string, nowMs: number): Neighbour | undefined {
    if (this.size >= this.#limits.neighbours) {
      const [oldest] = this.#idle.keys()
      if (oldest === undefined) return undefined
      this.#idle.delete(oldest)
    }
    const neighbour = { open: 0, bucket: bucketOf(this.#limits, nowMs) }
    this.#idle.set(key, neighbour)
    return neighbour
  }

  /** All buckets fill in the same time, so the oldest is the first that can go. */
  #forgetSome(nowMs: number): void {
    let looked = 0
    for (const [key, { bucket }] of this.#idle) {
      if (looked++ === swept || !bucket.full(nowMs)) return
      this.#idle.delete(key)
    }
  }

  #refuse(why: ConnectionRefusal): ConnectionRefusal {
    this.refused[why]++
    return why
  }
}

function bucketOf({ perSecond }: ConnectionRateLimits, nowMs: number): TokenBucket {
  return new TokenBucket({ perSecond, burst: perSecond }, nowMs)
}
