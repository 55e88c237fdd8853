import type { Message } from '../mqtt/message.ts'
import type { Slab } from '../mqtt/message.ts'
import type { QoS } from '../mqtt/topic.ts'
import type { Ledger } from './ledger.ts'

/** A connection, as the outbox sees it. */
export interface Outlet {
  /** False when the message is larger than the client accepts. */
  send(
    message: Message,
    qos: QoS,
    retain: boolean,
    dup: boolean,
    packetId: number,
    subscriptionIds: readonly number[] | undefined,
  ): boolean
  pubrel(packetId: number): void
  readonly congested: boolean
}

/** How a copy goes out; the router's `Delivery` fits. */
export interface Terms {
  readonly subscriptionIds: readonly number[] | undefined
}

export interface OutboxLimits {
  readonly queueMessages: number
  readonly queueBytes: number
}

// What has become of an entry.
const gone = 0
const waiting = 1
const sent = 2 // awaits PUBACK or PUBREC
const released = 3 // PUBREL went out; awaits PUBCOMP
const stateBits = 3
const qos2Bit = 4
const retainBit = 8
const keepBit = 16 // held until it is acknowledged, whatever the session is

/** Packet ids that can be out at once; one less than the ids there are, so that none is ever used twice. */
const maximumSpan = 65_534

/**
 * The QoS 1 and 2 messages of one session, in order: in flight first, then waiting. A ring, and ids that follow the ring,
 * so that an acknowledgement finds its entry without a table, and a delivery writes nothing down.
 *
 *      head                cursor              length
 *   ──┬─────────────────────┬───────────────────┬──
 *     │ sent on this        │ to be sent, or    │
 *     │ connection          │ sent again        │
 *   ──┴─────────────────────┴───────────────────┴──
 *     id = headId + offset
 */
export class Outbox {
  /** QoS 1 and 2 messages that the client takes unacknowledged. */
  window = 0
  /** Keep what has been sent until it is acknowledged, to send it again on the next connection. */
  keepsSent = false
  #states = new Uint8Array(16)
  #messages: (Message | undefined)[] = new Array<undefined>(16).fill(undefined)
  #terms: (Terms | undefined)[] = new Array<undefined>(16).fill(undefined)
  #head = 0
  #headId = 1
  #cursor = 0
  #length = 0
  #unacked = 0
  #waiting = 0
  #bytes = 0
  readonly #clientId: string
  readonly #limits: OutboxLimits
  readonly #ledger: Ledger
  readonly #slab: Slab

  constructor(clientId: string, limits: OutboxLimits, ledger: Ledger, slab: Slab) {
    this.#clientId = clientId
    this.#limits = limits
    this.#ledger = ledger
    this.#slab = slab
  }

  /** Messages that have not been sent yet. */
  get waiting(): number {
    return this.#waiting
  }

  /** Is there something to send, or to send again? */
  get behind(): boolean {
    return this.#cursor < this.#length
  }

  /** Messages sent and not acknowledged, on this connection. */
  get unacked(): number {
    return this.#unacked
  }

  /** Everything that has not come to its end. */
  get pending(): number {
    let pending = 0
    for (let offset = 0; offset < this.#length; offset++) if (this.#state(offset) !== gone) pending++
    return pending
  }

  /** Bytes of the messages that are held here. */
  get bytes(): number {
    return this.#bytes
  }

  /** Has it no room for another message that must wait? */
  get full(): boolean {
    return this.#waiting >= this.#limits.queueMessages || this.#bytes >= this.#limits.queueBytes
  }

  /** Has it room for many, so that publishers may go on? */
  get relaxed(): boolean {
    return this.#waiting * 2 <= this.#limits.queueMessages && this.#bytes * 2 <= this.#limits.queueBytes
  }

  /**
   * Sends a message if its turn has come, else queues it. A full queue refuses the newest, and counts it.
   * @param keep hold it until it is acknowledged, whatever the session is
   * @param overfill take it although the queue is full: its publisher waits
   */
  push(
    message: Message,
    qos: 1 | 2,
    retain: boolean,
    terms: Terms,
    keep: boolean,
    outlet: Outlet | undefined,
    overfill = false,
  ): void {
    const first = (qos === 2 ? qos2Bit : 0) | (retain ? retainBit : 0) | (keep ? keepBit : 0)
    if (
      outlet !== undefined &&
      this.#cursor === this.#length &&
      this.#unacked < this.window &&
      this.#length < maximumSpan &&
      !outlet.congested
    ) {
      const packetId = this.#idAt(this.#length)
      if (!outlet.send(message, qos, retain, false, packetId, terms.subscriptionIds))
        return this.#ledger.lose('too-large', this.#clientId, message)
      const slot = this.#append(first | sent)
      if (keep || this.keepsSent) this.#hold(slot, message, terms)
      this.#cursor++
      this.#unacked++
      return
    }
    if (this.full && !overfill) return this.#ledger.lose('queue-full', this.#clientId, message)
    this.#hold(this.#append(first | waiting), message, terms)
    this.#waiting++
  }

  /** A new connection: everything unacknowledged is sent again, in order, before anything new [MQTT-4.4.0-1]. */
  resume(window: number, outlet: Outlet): void {
    this.window = window
    this.#cursor = 0
    this.#unacked = 0
    // PUBREL at once: only PUBLISH waits for room in the window [MQTT-3.3.4-10].
    for (let offset = 0; offset < this.#length && this.#state(offset) !== waiting; offset++) {
      if (this.#state(offset) !== released) continue
      outlet.pubrel(this.#idAt(offset))
      this.#unacked++
    }
  }

  /** Sends what the client's window and socket take. */
  pump(outlet: Outlet, nowMs: number): void {
    while (
      this.#cursor < this.#length &&
      this.#unacked < this.window &&
      this.#cursor < maximumSpan &&
      !outlet.congested
    ) {
      const offset = this.#cursor++
      const slot = this.#slot(offset)
      const packetId = this.#idAt(offset)
      const flags = this.#states[slot]!
      const state = flags & stateBits
      if (state === gone || state === released) continue
      const message = this.#messages[slot]!
      // What has been sent once is owed, even when it expires [MQTT-4.3.3-7].
      if (state === waiting) {
        this.#waiting--
        if (message.expiresAtMs <= nowMs) {
          this.#ledger.lose('expired', this.#clientId, message)
          this.#free(slot)
          continue
        }
      }
      const terms = this.#terms[slot]!
      const qos = flags & qos2Bit ? 2 : 1
      if (!outlet.send(message, qos, (flags & retainBit) !== 0, state === sent, packetId, terms.subscriptionIds)) {
        this.#ledger.lose('too-large', this.#clientId, message)
        this.#free(slot)
        continue
      }
      this.#states[slot] = (flags & ~stateBits) | sent
      this.#unacked++
      if (!this.keepsSent && !(flags & keepBit)) this.#forget(slot)
    }
    this.#trim()
  }

  /** PUBACK. False when no QoS 1 message of that id is in flight. */
  puback(packetId: number, reason: number): boolean {
    const offset = this.#offsetOf(packetId)
    if (offset < 0 || (this.#flags(offset) & (stateBits | qos2Bit)) !== sent) return false
    this.#end(offset, reason)
    return true
  }

  /** PUBREC. False when the id is unknown; PUBREL follows otherwise, unless the client refused the message. */
  pubrec(packetId: number, reason: number): boolean {
    const offset = this.#offsetOf(packetId)
    if (offset < 0 || !(this.#flags(offset) & qos2Bit)) return false
    const state = this.#state(offset)
    if (state === released) return true
    if (state !== sent) return false
    if (reason >= 0x80) this.#end(offset, reason)
    else {
      const slot = this.#slot(offset)
      this.#states[slot] = qos2Bit | released
      // It came on the last connection, and was not sent again on this one.
      if (offset >= this.#cursor) this.#unacked++
      this.#forget(slot)
    }
    return true
  }

  pubcomp(packetId: number): boolean {
    const offset = this.#offsetOf(packetId)
    if (offset < 0 || this.#state(offset) !== released) return false
    this.#end(offset, 0)
    return true
  }

  /**
   * Ends everything: the session is over. What another client could still take is handed to `move` (never a QoS 2
   * message that has been sent [MQTT-4.8.2-5]); false from it, and all the rest, is a loss.
   */
  end(move: (message: Message, terms: Terms) => boolean): void {
    for (let offset = 0; offset < this.#length; offset++) {
      const slot = this.#slot(offset)
      const flags = this.#states[slot]!
      if ((flags & stateBits) === gone) continue
      const message = this.#messages[slot]
      const movable = (flags & stateBits) === waiting || (flags & (stateBits | qos2Bit)) === sent
      if (message && movable && move(message, this.#terms[slot]!)) continue
      this.#ledger.lost['session-ended']++
      if (message) this.#ledger.listener?.('session-ended', this.#clientId, message)
    }
    this.#length = this.#cursor = this.#unacked = this.#waiting = this.#bytes = 0
    this.#messages.fill(undefined)
    this.#terms.fill(undefined)
    this.#states.fill(gone)
  }

  #end(offset: number, reason: number): void {
    const slot = this.#slot(offset)
    if (reason < 0x80) this.#ledger.delivered++
    else {
      this.#ledger.lost['refused-by-client']++
      const message = this.#messages[slot]
      if (message) this.#ledger.listener?.('refused-by-client', this.#clientId, message)
    }
    if (offset < this.#cursor || this.#state(offset) === released) this.#unacked--
    this.#free(slot)
    this.#trim()
  }

  #free(slot: number): void {
    this.#states[slot] = gone
    this.#forget(slot)
  }

  #hold(slot: number, message: Message, terms: Terms): void {
    this.#messages[slot] = message.keep(this.#slab)
    this.#terms[slot] = terms
    this.#bytes += message.bytes
  }

  #forget(slot: number): void {
    const message = this.#messages[slot]
    if (message === undefined) return
    this.#bytes -= message.bytes
    this.#messages[slot] = undefined
    this.#terms[slot] = undefined
  }

  /** Steps over what has come to its end at the head. */
  #trim(): void {
    const mask = this.#states.length - 1
    while (this.#length > 0 && (this.#states[this.#head]! & stateBits) === gone) {
      this.#head = (this.#head + 1) & mask
      this.#headId = this.#headId === 65_535 ? 1 : this.#headId + 1
      this.#length--
      if (this.#cursor > 0) this.#cursor--
    }
  }

  #append(flags: number): number {
    if (this.#length === this.#states.length) this.#grow()
    const slot = this.#slot(this.#length++)
    this.#states[slot] = flags
    return slot
  }

  #grow(): void {
    const size = this.#states.length
    const states = new Uint8Array(size * 2)
    const messages = new Array<Message | undefined>(size * 2).fill(undefined)
    const terms = new Array<Terms | undefined>(size * 2).fill(undefined)
    for (let offset = 0; offset < this.#length; offset++) {
      const slot = this.#slot(offset)
      states[offset] = this.#states[slot]!
      messages[offset] = this.#messages[slot]
      terms[offset] = this.#terms[slot]
    }
    this.#states = states
    this.#messages = messages
    this.#terms = terms
    this.#head = 0
  }

  #slot(offset: number): number {
    return (this.#head + offset) & (this.#states.length - 1)
  }

  #flags(offset: number): number {
    return this.#states[this.#slot(offset)]!
  }

  #state(offset: number): number {
    return this.#flags(offset) & stateBits
  }

  #idAt(offset: number): number {
    const id = this.#headId + offset
    return id > 65_535 ? id - 65_535 : id
  }

  /** Where the entry of a packet id stands; -1 when there is none. */
  #offsetOf(packetId: number): number {
    let offset = packetId - this.#headId
    if (offset < 0) offset += 65_535
    return offset < this.#length ? offset : -1
  }
}
