import type { Connection } from '../mqtt/connection.ts'
import type { Session } from '../sessions/session.ts'
import type { Lsn, Store } from '../store/port.ts'

type Client = Connection<Session>

/**
 * Holds what is promised to clients until the record behind it is durable, and lets it go in order [MQTT-4.3.2-4].
 *
 *   promise(lsn) ──▶ durable already, nothing held before it ──▶ now
 *                └─▶ held ── durableLsn reaches it ──▶ in the order of the promises
 */
export class AckGate {
  readonly #store: Store
  #held: { lsn: Lsn; client: Client; send: (client: Client) => void }[] = []
  #first = 0

  constructor(store: Store) {
    this.#store = store
    store.onDurable(() => this.#release())
  }

  /** Promises that wait. */
  get held(): number {
    return this.#held.length - this.#first
  }

  /** May a promise behind `lsn` leave now? Not while an earlier one to the same client waits. */
  open(client: Client, lsn: Lsn): boolean {
    return lsn <= this.#store.durableLsn && client.heldAcks === 0
  }

  /** Sends a promise once `lsn` is durable and the earlier ones to this client have left: now, if that is so. */
  promise(client: Client, lsn: Lsn, send: (client: Client) => void): void {
    if (this.open(client, lsn)) send(client)
    else this.hold(client, lsn, send)
  }

  hold(client: Client, lsn: Lsn, send: (client: Client) => void): void {
    client.heldAcks++
    this.#held.push({ lsn, client, send })
  }

  #release(): void {
    const durable = this.#store.durableLsn
    while (this.#first < this.#held.length && this.#held[this.#first]!.lsn <= durable) {
      const { client, send } = this.#held[this.#first++]!
      client.heldAcks--
      if (client.state !== 'closed') send(client)
    }
    if (this.#first === this.#held.length) {
      this.#held = []
      this.#first = 0
    } else if (this.#first > 10_000) {
      this.#held = this.#held.slice(this.#first)
      this.#first = 0
    }
  }
}
