import type { SendingRates } from '../access/message-rates.ts'
import { Traffic } from '../mqtt/output.ts'
import { Tenant, type TenantLimits } from '../sessions/tenant.ts'
import { tenantOf } from '../sessions/client-key.ts'

export interface TenantTerms extends TenantLimits {
  /** Of all its clients together. */
  readonly rates: SendingRates
}

/** What the configuration says of tenants. */
export interface TenantBook {
  readonly named: ReadonlyMap<string, TenantTerms>
  /** Of each that is not named; undefined: such a one may not come in. */
  readonly others: TenantTerms | undefined
}

export const noTenants: TenantBook = { named: new Map(), others: undefined }

/** Of a tenant that may not come in any more: what it has left here is kept until its time is over. */
const withoutTerms: TenantTerms = {
  connections: Infinity,
  sessions: Infinity,
  subscriptions: Infinity,
  retained: { messages: Infinity, bytes: Infinity },
  rates: {},
}

/**
 * The tenants that this node knows of.
 *
 *   busy: has sessions ⇄ idle: has none ─▶ forgotten, when there are too many, the one that has been idle longest
 */
export class Tenants {
  readonly #most: number
  #book: TenantBook
  readonly #busy = new Map<string, Tenant>()
  readonly #idle = new Map<string, Tenant>()
  /** What crossed the connections of those that were forgotten. */
  readonly #past = new Traffic()
  forgotten = 0

  /** @param most tenants to know at once; whoever has sessions already, as they were read back, is known all the same */
  constructor(book: TenantBook, most = 10_000) {
    this.#book = book
    this.#most = most
  }

  get size(): number {
    return this.#busy.size + this.#idle.size
  }

  /** Why a client of this tenant is not let in; undefined: it may be. */
  refusal(name: string): string | undefined {
    if (this.#termsOf(name) === undefined) return `tenant "${name}" is not in the configuration, nor is "*"`
    if (this.#busy.has(name) || this.#busy.size < this.#most) return undefined
    return `tenant "${name}" would be one more than ${this.#most}`
  }

  get(name: string): Tenant {
    return this.#busy.get(name) ?? this.#idle.get(name) ?? this.#meet(name)
  }

  rates(name: string): SendingRates {
    return this.#termsOf(name)?.rates ?? {}
  }

  /** A session of this key has begun, or has come: gives its tenant. */
  join(key: string): Tenant | undefined {
    const name = tenantOf(key)
    if (name === undefined) return undefined
    const tenant = this.get(name)
    if (tenant.sessions++ === 0) {
      this.#idle.delete(name)
      this.#busy.set(name, tenant)
    }
    return tenant
  }

  /** A session of it is over, or has gone. */
  leave(tenant: Tenant): void {
    if (--tenant.sessions > 0) return
    this.#busy.delete(tenant.name)
    this.#rest(tenant)
  }

  /** Takes another configuration. True when rates have changed. */
  reload(book: TenantBook): boolean {
    const ratesOf = ({ named, others }: TenantBook) =>
      JSON.stringify([others?.rates, [...named].map(([name, { rates }]) => [name, rates])])
    const changed = ratesOf(book) !== ratesOf(this.#book)
    this.#book = book
    for (const tenant of this.known()) tenant.limits = this.#termsOf(tenant.name) ?? withoutTerms
    return changed
  }

  /** Names in the configuration, whether anybody has come or not. */
  get named(): Iterable<string> {
    return this.#book.named.keys()
  }

  *known(): Generator<Tenant, void, void> {
    yield* this.#busy.values()
    yield* this.#idle.values()
  }

  /** Adds what crossed their connections to `sum`. */
  addTraffic(sum: Traffic): void {
    sum.add(this.#past)
    for (const { traffic } of this.known()) sum.add(traffic)
  }

  #termsOf(name: string): TenantTerms | undefined {
    return this.#book.named.get(name) ?? this.#book.others
  }

  #meet(name: string): Tenant {
    const tenant = new Tenant(name, this.#termsOf(name) ?? withoutTerms)
    this.#rest(tenant)
    return tenant
  }

  #rest(tenant: Tenant): void {
    this.#idle.set(tenant.name, tenant)
    if (this.size <= this.#most) return
    const [first] = this.#idle.values()
    this.#idle.delete(first!.name)
    this.#past.add(first!.traffic)
    this.forgotten++
  }
}
