import { type MessageRate, type MessageRateLimits, MessageRates } from '../access/message-rates.ts'
import type { Log } from '../host.ts'
import type { Allowance, Connection } from '../mqtt/connection.ts'
import type { Message } from '../mqtt/message.ts'
import type { Ledger } from '../sessions/ledger.ts'
import type { Session } from '../sessions/session.ts'
import type { Timed, TimingWheel } from '../sessions/wheel.ts'
import type { Tenants } from './tenants.ts'

type Client = Connection<Session>

/** What clients may send in a time. */
export interface Rates extends MessageRateLimits {
  /** What becomes of one that sends more: it is not read for as long as it owes, or what is too much is refused. */
  readonly over: 'slow' | 'refuse'
}

export const noRates: Rates = { client: {}, user: {}, over: 'slow' }

interface Parts {
  readonly wheel: TimingWheel
  readonly ledger: Ledger
  readonly log: Log
  readonly tenants: Tenants
  readonly now: () => number
}

/** Gives each client what it may send; nothing where nothing is limited, so that a PUBLISH costs one look at a field. */
export class Throttle {
  readonly #parts: Parts
  #rates: Rates
  #accounts: MessageRates

  constructor(rates: Rates, parts: Parts) {
    this.#parts = parts
    this.#rates = rates
    this.#accounts = new MessageRates(rates)
  }

  /** A client has been let in. */
  begin(client: Client): void {
    const { username, clientId, root } = client
    const { tenants, now } = this.#parts
    const tenant = root && { name: root.tenant, rates: tenants.rates(root.tenant) }
    const rate = this.#accounts.open(username, clientId, now(), tenant)
    client.allowance = rate && new Account(client, rate, this.#rates.over, this.#parts)
  }

  end({ allowance }: Client): void {
    allowance?.end()
  }

  /** Takes other rates, for those too who are here: everybody begins without debts. @param ofTenants theirs have changed */
  reload(rates: Rates, ofTenants: boolean, clients: Iterable<Client>): void {
    if (!ofTenants && JSON.stringify(rates) === JSON.stringify(this.#rates)) return
    this.#rates = rates
    this.#accounts = new MessageRates(rates)
    for (const client of clients) {
      const { allowance } = client
      this.begin(client)
      allowance?.end()
    }
  }
}

/** While a client owes, whether its socket is there still is looked at so often. */
const lookMs = 1000

/**
 * What one client may send.
 *
 *   slow:    PUBLISH ─▶ taken, whatever it costs ─▶ in debt? not read until that is paid
 *   refuse:  PUBLISH ─▶ paid for, or else refused
 *   both:    SUBSCRIBE, UNSUBSCRIBE ─▶ as `slow`, each filter as a message
 */
class Account implements Allowance, Timed {
  dueMs = Infinity
  tick = -1
  readonly #client: Client
  readonly #rate: MessageRate
  readonly #slows: boolean
  readonly #parts: Parts
  #held = false
  /** Times that it was not read, and messages that it was refused. */
  #slowed = 0
  #refused = 0

  constructor(client: Client, rate: MessageRate, over: Rates['over'], parts: Parts) {
    this.#client = client
    this.#rate = rate
    this.#slows = over === 'slow'
    this.#parts = parts
  }

  admits(message: Message): boolean {
    if (this.#slows) {
      this.#spend(1, message.valueBytes)
      return true
    }
    const { now, ledger } = this.#parts
    if (this.#rate.take(message.valueBytes, now())) return true
    this.#tell('what is too much is refused')
    this.#refused++
    ledger.overRate++
    return false
  }

  /** UNSUBACK has no code to refuse by, and whoever lacks a subscription does not know it: they are slowed whatever `over` says. */
  charge(filters: readonly string[]): void {
    this.#spend(
      filters.length,
      filters.reduce((sum, filter) => sum + Buffer.byteLength(filter), 0),
    )
  }

  due(nowMs: number): void {
    if (!this.#held) return
    const waitMs = this.#client.ended ? 0 : this.#rate.waitMs(nowMs)
    if (waitMs > 0) return this.#wait(nowMs, waitMs)
    this.#held = false
    this.#client.release()
  }

  end(): void {
    this.#rate.release()
    this.#parts.wheel.cancel(this)
    if (this.#slowed + this.#refused > 0)
      this.#parts.log.info(
        { client: this.#client.clientId, slowed: this.#slowed, refused: this.#refused },
        'sent more than its rate',
      )
    if (!this.#held) return
    this.#held = false
    this.#client.release()
  }

  /** Pays, and is not read for as long as that makes it owe. */
  #spend(messages: number, bytes: number): void {
    const nowMs = this.#parts.now()
    const waitMs = this.#rate.spend(bytes, nowMs, messages)
    // What somebody left behind who is gone is a chunk or two.
    if (waitMs > 0 && !this.#held && !this.#client.ended) this.#hold(nowMs, waitMs)
  }

  #hold(nowMs: number, waitMs: number): void {
    this.#tell('is not read until it has paid for it')
    this.#slowed++
    this.#parts.ledger.slowed++
    this.#held = true
    this.#client.hold()
    this.#wait(nowMs, waitMs)
  }

  #wait(nowMs: number, waitMs: number): void {
    this.#parts.wheel.schedule(this, nowMs + Math.min(waitMs, lookMs))
  }

  /** Once: who sends too much does so often. */
  #tell(what: string): void {
    if (this.#slowed + this.#refused > 0) return
    const { clientId, remote } = this.#client
    this.#parts.log.warn({ client: clientId, remote }, `sends more than its rate: ${what}`)
  }
}
