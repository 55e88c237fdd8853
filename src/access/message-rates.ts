import { type Rate, TokenBucket } from './token-bucket.ts'

/** What one may send; undefined: as much as it likes. */
export interface SendingRates {
  readonly messages?: Rate
  readonly bytes?: Rate
}

export interface MessageRateLimits {
  /** For each client id of a user. */
  readonly client: SendingRates
  /** For all clients of a user together; anonymous clients have none in common. */
  readonly user: SendingRates
}

/** A tenant, and what all its clients may send together. */
export interface TenantRates {
  readonly name: string
  readonly rates: SendingRates
}

/** The buckets of a client or user. They outlive its connection: whoever comes back has not paid its debt by that. */
interface Account {
  readonly key: string
  readonly buckets: readonly Bucket[]
  /** Connections that use it. */
  holders: number
}

interface Bucket {
  readonly counts: 'messages' | 'bytes'
  readonly bucket: TokenBucket
}

/** Accounts that are looked at, each time one is opened, whether they can be forgotten. */
const swept = 2

/**
 * Messages and bytes a second, by client, by user and by tenant.
 *
 *   held by connections ⇄ left ─▶ forgotten: once its buckets are full and so nothing is lost, or, when too many were left,
 *                                            the one that was left first, counted
 */
export class MessageRates {
  /** Accounts that were forgotten although they may have been in debt, as there were too many. */
  forgotten = 0
  readonly #limits: MessageRateLimits
  readonly #most: number
  readonly #held = new Map<string, Account>()
  readonly #left = new Map<string, Account>()

  /** @param most accounts to remember beside those that are held */
  constructor(limits: MessageRateLimits, most = 100_000) {
    this.#limits = limits
    this.#most = most
  }

  get size(): number {
    return this.#held.size + this.#left.size
  }

  /** @returns undefined when nothing is limited for this client; else release it when the connection ends */
  open(user: string | undefined, clientId: string, nowMs: number, tenant?: TenantRates): MessageRate | undefined {
    const { client, user: ofUser } = this.#limits
    const accounts: Account[] = []
    const hold = (key: string, rates: SendingRates) => {
      if (rates.messages || rates.bytes) accounts.push(this.#hold(key, rates, nowMs))
    }
    // No name can hold a NUL, so no two of these are the same.
    const whose = tenant?.name ?? ''
    hold(`c${whose}\0${user ?? ''}\0${clientId}`, client)
    if (user) hold(`u${whose}\0${user}`, ofUser)
    if (tenant) hold(`t${whose}`, tenant.rates)
    this.#forgetSome(nowMs)
    return accounts.length === 0 ? undefined : new MessageRate(accounts, this.#release)
  }

  #hold(key: string, rates: SendingRates, nowMs: number): Account {
    const account = this.#held.get(key) ?? this.#left.get(key) ?? { key, buckets: bucketsOf(rates, nowMs), holders: 0 }
    if (account.holders++ === 0) {
      this.#left.delete(key)
      this.#held.set(key, account)
    }
    return account
  }

  readonly #release = (account: Account): void => {
    if (--account.holders > 0) return
    this.#held.delete(account.key)
    this.#left.set(account.key, account)
    if (this.#left.size <= this.#most) return
    const [first] = this.#left.keys()
    this.#left.delete(first!)
    this.forgotten++
  }

  /** Looks at those that were left first; one that is still in debt goes to the end of the line. */
  #forgetSome(nowMs: number): void {
    for (let times = 0; times < swept; times++) {
      const account = this.#left.values().next().value
      if (account === undefined) return
      this.#left.delete(account.key)
      if (!account.buckets.every(({ bucket }) => bucket.full(nowMs))) this.#left.set(account.key, account)
    }
  }
}

/** What one connection may send. */
export class MessageRate {
  readonly #accounts: readonly Account[]
  readonly #buckets: readonly Bucket[]
  readonly #released: (account: Account) => void
  #held = true

  constructor(accounts: readonly Account[], released: (account: Account) => void) {
    this.#accounts = accounts
    this.#released = released
    this.#buckets = accounts.flatMap(({ buckets }) => buckets)
  }

  /** Messages have come. @returns milliseconds for which nothing should be read; 0: go on */
  spend(bytes: number, nowMs: number, messages = 1): number {
    let waitMs = 0
    for (let at = 0; at < this.#buckets.length; at++) {
      const { counts, bucket } = this.#buckets[at]!
      const ms = bucket.spend(counts === 'bytes' ? bytes : messages, nowMs)
      if (ms > waitMs) waitMs = ms
    }
    return waitMs
  }

  /** May a message come? If so it is paid for, and if not nothing is. */
  take(bytes: number, nowMs: number): boolean {
    for (let at = 0; at < this.#buckets.length; at++) {
      const { counts, bucket } = this.#buckets[at]!
      if (!bucket.has(counts === 'bytes' ? bytes : 1, nowMs)) return false
    }
    for (let at = 0; at < this.#buckets.length; at++) {
      const { counts, bucket } = this.#buckets[at]!
      bucket.take(counts === 'bytes' ? bytes : 1, nowMs)
    }
    return true
  }

  /** Milliseconds for which nothing should be read: another client of the user may have spent meanwhile. */
  waitMs(nowMs: number): number {
    return Math.max(...this.#buckets.map(({ bucket }) => bucket.waitMs(nowMs)))
  }

  /** The connection has ended. Safe to call twice. */
  release(): void {
    if (!this.#held) return
    this.#held = false
    this.#accounts.forEach(this.#released)
  }
}

function bucketsOf({ messages, bytes }: SendingRates, nowMs: number): readonly Bucket[] {
  const list: Bucket[] = []
  if (messages) list.push({ counts: 'messages', bucket: new TokenBucket(messages, nowMs) })
  if (bytes) list.push({ counts: 'bytes', bucket: new TokenBucket(bytes, nowMs) })
  return list
}
