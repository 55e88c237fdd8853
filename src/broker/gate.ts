import type { Connection } from '../mqtt/connection.ts'
import type { Session } from '../sessions/session.ts'
import type { Durability, Lsn, Store } from '../store/port.ts'
import type { Wait, Waiter } from './cluster-port.ts'

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
 *
 * A promise that waits for other nodes as well (`Wait`) begins a line of its client's own, so that nobody else waits
 * for them.
 */
export class AckGate {
  readonly #store: Store
  /** What a promise waits for that is not about a message. */
  readonly #changes: Durability
  readonly #written = new Line()
  readonly #synced = new Line()
  /** Clients that have a promise for which the words of other nodes are missing, or one behind such a promise. */
  readonly #queues = new Map<Client, Queue>()
  /** Of these, those whose next promise waits for the store. */
  #blocked: Queue[] = []

  /** @param changes as the store records them: what is only written would never be synced for whoever waits */
  constructor(store: Store, changes: Durability = 'fsync') {
    this.#store = store
    this.#changes = changes
    store.onProgress(() => {
      this.#written.release(store)
      this.#synced.release(store)
      if (this.#blocked.length > 0) this.#unblock()
    })
  }

  /** Promises that wait. */
  get held(): number {
    let held = this.#written.length + this.#synced.length
    for (const queue of this.#queues.values()) held += queue.length
    return held
  }

  /** May a promise behind `lsn` leave now? Not while an earlier one to the same client waits. */
  open(client: Client, lsn: Lsn, durability = this.#changes): boolean {
    if (client.heldAcks !== 0) return false
    return lsn === 0 || lsn < (durability === 'fsync' ? this.#store.durable : this.#store.written)
  }

  /**
   * Sends a promise once `lsn` is on disk, `wait` is over, and the earlier ones to this client have left: now, if that is
   * so.
   */
  promise(
    client: Client,
    lsn: Lsn,
    send: Send,
    packetId = 0,
    reason = 0,
    durability = this.#changes,
    wait?: Wait,
  ): void {
    if (wait === undefined && this.open(client, lsn, durability)) send(client, packetId, reason)
    else this.hold(client, lsn, send, packetId, reason, durability, wait)
  }

  hold(client: Client, lsn: Lsn, send: Send, packetId = 0, reason = 0, durability = this.#changes, wait?: Wait): void {
    // Between the promise and us the last word may have come.
    if (wait?.over) return this.promise(client, Math.max(lsn, wait.lsn), send, packetId, reason, durability)
    client.heldAcks++
    if (wait !== undefined || this.#queues.size > 0) {
      const queue = this.#queueFor(client, wait)
      if (queue !== undefined) return queue.add({ lsn, send, packetId, reason, durability, wait, next: undefined })
    }
    if (durability === 'fsync' || client.heldSyncs > 0) {
      // Not before what the client has in the other line: of a message that nobody wants, there is nothing to be synced.
      const place = client.heldAcks - 1 > client.heldSyncs ? Math.max(lsn, this.#written.last) : lsn
      const syncs = durability === 'fsync' && lsn > 0 && lsn >= this.#store.durable
      client.heldSyncs++
      this.#synced.add(place, client, send, packetId, reason | inSyncs | (syncs ? needsSync : 0))
    } else this.#written.add(lsn, client, send, packetId, reason)
  }

  /** The line of a client's own, if it has one or needs one. */
  #queueFor(client: Client, wait: Wait | undefined): Queue | undefined {
    const known = this.#queues.get(client)
    if (known !== undefined || wait === undefined) return known
    const queue = new Queue(client, this.#store, (left) => {
      if (left.length > 0) this.#blocked.push(left)
      else this.#queues.delete(client)
    })
    this.#queues.set(client, queue)
    return queue
  }

  #unblock(): void {
    const blocked = this.#blocked
    this.#blocked = []
    for (const queue of blocked) queue.release()
  }
}

/** A promise in the line of its client. */
interface Held {
  readonly lsn: Lsn
  readonly send: Send
  readonly packetId: number
  readonly reason: number
  readonly durability: Durability
  readonly wait: Wait | undefined
  next: Held | undefined
}

/** What is promised to one client from the first promise on that waits for other nodes. */
class Queue implements Waiter {
  length = 0
  #head: Held | undefined = undefined
  #tail: Held | undefined = undefined
  readonly #client: Client
  readonly #store: Store
  readonly #stopped: (queue: Queue) => void

  /** @param stopped nothing more can leave before the store has come further, or it is empty */
  constructor(client: Client, store: Store, stopped: (queue: Queue) => void) {
    this.#client = client
    this.#store = store
    this.#stopped = stopped
  }

  add(held: Held): void {
    this.length++
    if (held.wait) held.wait.waiter = this
    if (this.#tail) this.#tail.next = held
    else this.#head = held
    this.#tail = held
  }

  over(wait: Wait): void {
    if (this.#head?.wait === wait) this.release()
  }

  release(): void {
    const client = this.#client
    for (let held = this.#head; held !== undefined; held = this.#head) {
      if (held.wait?.over === false) return
      // What was promised before stands in the lines that all share.
      if (client.heldAcks > this.length || !this.#kept(held)) return this.#stopped(this)
      this.#head = held.next
      if (held.next === undefined) this.#tail = undefined
      this.length--
      client.heldAcks--
      if (client.state !== 'closed') held.send(client, held.packetId, held.reason)
    }
    this.#stopped(this)
  }

  #kept({ lsn, durability, wait }: Held): boolean {
    const place = wait === undefined ? lsn : Math.max(lsn, wait.lsn)
    return place === 0 || place < (durability === 'fsync' ? this.#store.durable : this.#store.written)
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

  /** The highest place that anything here has waited for. */
  get last(): Lsn {
    return this.#last
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
