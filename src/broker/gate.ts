import type { Connection } from '../mqtt/connection.ts'
import type { Session } from '../sessions/session.ts'
import type { Durability, Lsn, Store } from '../store/port.ts'

type Client = Connection<Session>
/** Sends a promise; one function for each kind, so that holding one back makes no closure. */
type Send = (client: Client, packetId: number, reason: number) => void

/**
 * Holds what is promised to clients until the record behind it is on disk, and lets it go in order [MQTT-4.3.2-4].
 *
 *   promise(lsn) ──▶ on disk already, nothing held before it ──▶ now
 *                └─▶ held ── the store has passed it ──▶ in the order of the promises
 *
 * What waits for a write and what waits for a sync stand in two lines. A client that has a promise in the line of syncs
 * gets all that follows from there, so that its order holds; what was only written still waits for no sync of its own.
 */
export class AckGate {
  readonly #store: Store
  /** What a promise waits for that is not about a message. */
  readonly #changes: Durability
  readonly #written = new Line()
  readonly #synced = new Line()

  /** @param changes as the store records them: what is only written would never be synced for whoever waits */
  constructor(store: Store, changes: Durability = 'fsync') {
    this.#store = store
    this.#changes = changes
    store.onProgress(() => {
      this.#written.release(store)
      this.#synced.release(store)
    })
  }

  /** Promises that wait. */
  get held(): number {
    return this.#written.length + this.#synced.length
  }

  /** May a promise behind `lsn` leave now? Not while an earlier one to the same client waits. */
  open(client: Client, lsn: Lsn, durability = this.#changes): boolean {
    if (client.heldAcks !== 0) return false
    return lsn === 0 || lsn < (durability === 'fsync' ? this.#store.durable : this.#store.written)
  }

  /** Sends a promise once `lsn` is on disk and the earlier ones to this client have left: now, if that is so. */
  promise(client: Client, lsn: Lsn, send: Send, packetId = 0, reason = 0, durability = this.#changes): void {
    if (this.open(client, lsn, durability)) send(client, packetId, reason)
    else this.hold(client, lsn, send, packetId, reason, durability)
  }

  hold(client: Client, lsn: Lsn, send: Send, packetId = 0, reason = 0, durability = this.#changes): void {
    client.heldAcks++
    if (durability === 'fsync' || client.heldSyncs > 0) {
      client.heldSyncs++
      this.#synced.add(lsn, client, send, packetId, reason | inSyncs | (durability === 'fsync' ? needsSync : 0))
    } else this.#written.add(lsn, client, send, packetId, reason)
  }
}

// Beside a promise's reason, which is a byte.
const inSyncs = 0x100
const needsSync = 0x200

/** A queue of promises in order of their lsn, as arrays side by side: a promise that waits is no object. */
class Line {
  #lsns = new Float64Array(1024)
  #codes = new Uint32Array(1024)
  #clients: (Client | undefined)[] = new Array<undefined>(1024).fill(undefined)
  #sends: (Send | undefined)[] = new Array<undefined>(1024).fill(undefined)
  #first = 0
  #length = 0
  /** A promise need not stand behind those before it: it leaves no sooner than they. */
  #last: Lsn = 0

  get length(): number {
    return this.#length
  }

  add(lsn: Lsn, client: Client, send: Send, packetId: number, flags: number): void {
    if (this.#length === this.#lsns.length) this.#grow()
    const slot = (this.#first + this.#length++) & (this.#lsns.length - 1)
    if (lsn > this.#last) this.#last = lsn
    this.#lsns[slot] = this.#last
    this.#codes[slot] = (flags << 16) | packetId
    this.#clients[slot] = client
    this.#sends[slot] = send
  }

  release({ written, durable }: Store): void {
    while (this.#length > 0) {
      const slot = this.#first
      const code = this.#codes[slot]!
      const flags = code >>> 16
      if (this.#lsns[slot]! >= ((flags & needsSync) !== 0 ? durable : written)) return
      const client = this.#clients[slot]!
      const send = this.#sends[slot]!
      this.#clients[slot] = this.#sends[slot] = undefined
      this.#first = (slot + 1) & (this.#lsns.length - 1)
      this.#length--
      client.heldAcks--
      if ((flags & inSyncs) !== 0) client.heldSyncs--
      if (client.state !== 'closed') send(client, code & 0xffff, flags & 0xff)
    }
  }

  #grow(): void {
    const from = this.#first
    const size = this.#lsns.length * 2
    const lsns = new Float64Array(size)
    lsns.set(this.#lsns.subarray(from))
    lsns.set(this.#lsns.subarray(0, from), this.#lsns.length - from)
    const codes = new Uint32Array(size)
    codes.set(this.#codes.subarray(from))
    codes.set(this.#codes.subarray(0, from), this.#codes.length - from)
    const more = new Array<undefined>(this.#lsns.length).fill(undefined)
    this.#clients = [...this.#clients.slice(from), ...this.#clients.slice(0, from), ...more]
    this.#sends = [...this.#sends.slice(from), ...this.#sends.slice(0, from), ...more]
    this.#lsns = lsns
    this.#codes = codes
    this.#first = 0
  }
}
