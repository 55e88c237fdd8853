import type { Message } from '../mqtt/message.ts'
import { Entry, type Lsn, type QueueView } from '../store/port.ts'
import { dropSeconds } from '../store/store-time.ts'
import type { Loss } from './ledger.ts'
import type { Outlet, OutboxContext, OutboxOwner, Terms } from './outlet.ts'
import { idOf, packetIds, Ring } from './ring.ts'

/**
 * What became of a message: it is not for the store, it was refused, it cannot go at once, or (0 and above) its sequence
 * number for the store.
 */
export const Pushed = { kept: -1, refused: -2, waits: -3 } as const

const { stateBits, gone, waiting, sent, released, qos2, retain: retainBit, shared: sharedBit } = Entry
const { bytesShift } = Entry

function flagsOf(qos: 1 | 2, retain: boolean, keep: boolean): number {
  return (qos === 2 ? qos2 : 0) | (retain ? retainBit : 0) | (keep ? sharedBit : 0)
}

/** Packet ids that can be out at once; one less than the ids there are, so that none is ever used twice. */
const maximumSpan = packetIds - 1

/**
 * The QoS 1 and 2 messages of one session, in order: in flight first, then waiting. A ring, and packet ids that follow
 * from the sequence numbers, so that an acknowledgement finds its entry without a table, and a delivery writes nothing.
 *
 *      head                cursor              next
 *   ──┬─────────────────────┬───────────────────┬──
 *     │ sent on this        │ to be sent, or    │       an entry: 4 bytes of `Entry`, and
 *     │ connection          │ sent again        │       8 for where it stands in the store,
 *   ──┴─────────────────────┴───────────────────┴──     or the message itself
 *     packet id = 1 + seq % 65535
 *
 * A message that the store keeps is not held in memory: it is read again when its turn has come.
 */
export class Outbox extends Ring {
  /** Keep what has been sent until it is acknowledged, to send it again on the next connection. */
  keepsSent = false
  #waiting = 0
  #cursor = 0
  #unacked = 0
  /** QoS 1 and 2 messages that the client takes unacknowledged. */
  window = 0
  /** No entry expires before this; the store's seconds, 0 when none does. */
  nextExpiry = 0
  /** What stands before it may have been sent by a process that is gone. */
  #perhapsSent = 0
  /** QoS 2 messages that the client may have but not get again: only their packet ids are still to be released. */
  #withheld: Set<number> | undefined = undefined
  /** The next one to send cannot go before the store has it on disk. Set by `pump`; whoever wakes it resets it. */
  waitsForStore = false
  readonly #owner: OutboxOwner

  constructor(owner: OutboxOwner, context: OutboxContext) {
    super(context)
    this.#owner = owner
  }

  /** Takes over a queue that was read back. `window`: how many of the first may have been sent already. */
  restore(queue: QueueView, window: number): void {
    const { head, next } = queue
    this.begin(head, next - head)
    const { page } = this
    // What was acknowledged last may be unknown, so any of them may have been sent; of those that are, a window.
    this.#perhapsSent = next
    let mayBeOut = window
    for (let seq = head; seq < next; seq++) {
      const entry = queue.entryOf(seq)
      const state = entry & stateBits
      if (state === gone) continue
      const slot = this.slot(seq - head)
      const expiry = queue.expiryOf(seq)
      page.setLsn(slot, queue.lsnOf(seq))
      if (expiry !== 0) page.setExpiry(slot, expiry)
      this.entries[slot] = entry
      this.count(slot, entry >>> bytesShift)
      if (state === released) continue
      // A QoS 2 message that may have been sent is owed, even when it expires [MQTT-4.3.3-7].
      const owed = mayBeOut-- > 0 && (entry & qos2) !== 0
      this.entries[slot] = (entry & ~stateBits) | (owed ? sent : waiting)
      if (!owed) this.#waiting++
      if (expiry !== 0) this.#expires(expiry)
    }
    this.#trim()
  }

  /** What stands before it may have been sent by a process that is gone. */
  get perhapsSent(): number {
    return this.#perhapsSent
  }

  /**
   * Takes over one message of a queue that comes from elsewhere, as the number that it had there; they come in order.
   * @param entry `Entry` bits: its state and its flags
   * @param stored it is in the record of the store that is being written
   */
  adopt(seq: number, entry: number, message: Message, terms: Terms, stored: boolean, perhapsSent: number): void {
    this.#perhapsSent = perhapsSent
    if (this.length === 0) this.begin(seq, 0)
    while (this.next < seq) this.append(gone)
    const slot = this.append(entry & (Entry.flagBits | stateBits))
    if (stored) this.store(slot, message)
    else if ((entry & stateBits) !== released) this.hold(slot, message, terms)
    if ((entry & stateBits) !== waiting) return
    if (message.expiresAtMs !== Infinity) this.#expire(slot, message.expiresAtMs)
    this.#waiting++
  }

  /**
   * Everything is in another node's hands: lets go of it. What came behind `from` by a shared subscription is handed to
   * `move`, as it is nobody's there; see `end`.
   */
  handOver(
    from: number,
    move: (message: Message, terms: Terms | undefined, filter: string | undefined) => boolean,
  ): void {
    const { ledger } = this.context
    for (let offset = 0; offset < this.length; offset++) {
      const slot = this.slot(offset)
      const entry = this.entries[slot]!
      const mine = this.head + offset >= from && (entry & sharedBit) !== 0
      if ((entry & stateBits) === gone || mine) continue
      // The copy goes on elsewhere; it is not made again.
      ledger.copies--
      if ((entry & stateBits) === waiting) this.#waiting--
      this.#free(slot, offset)
    }
    this.end(move)
  }

  /** Messages that have not been sent yet. */
  get waiting(): number {
    return this.#waiting
  }

  /** Is there something to send, or to send again? */
  get behind(): boolean {
    return this.#cursor < this.length
  }

  /** Messages sent and not acknowledged, on this connection. */
  get unacked(): number {
    return this.#unacked
  }

  /** Has it no room for another message that must wait? */
  get full(): boolean {
    const { limits, queued } = this.context
    return (
      this.#waiting >= limits.queueMessages || this.bytes >= limits.queueBytes || queued.bytes >= limits.queueBytesTotal
    )
  }

  /** Has it room for many, so that publishers may go on? */
  get relaxed(): boolean {
    const { limits } = this.context
    return this.#waiting * 2 <= limits.queueMessages && this.bytes * 2 <= limits.queueBytes
  }

  /**
   * Sends a message if its turn has come, else queues it. A full queue drops the newest or its oldest, and counts it.
   * @param keep hold it until it is acknowledged, whatever the session is
   * @returns its sequence number when the store must keep it, else a `Pushed`
   */
  push(
    message: Message,
    qos: 1 | 2,
    retain: boolean,
    terms: Terms,
    keep: boolean,
    outlet: Outlet | undefined,
    full = this.full,
  ): number {
    const passed = this.pass(message, qos, retain, terms, keep, outlet)
    return passed === Pushed.waits ? this.wait(message, qos, retain, terms, keep, full) : passed
  }

  /** The first half of `push`: sends a message if its turn has come. */
  pass(message: Message, qos: 1 | 2, retain: boolean, terms: Terms, keep: boolean, outlet: Outlet | undefined): number {
    const stored = this.keepsSent && this.#lasts(message, qos)
    if (
      outlet === undefined ||
      this.#cursor !== this.length ||
      this.#unacked >= this.window ||
      this.length >= maximumSpan ||
      outlet.congested ||
      // Exactly once holds only for what is known after a crash: it waits until it is durable.
      (stored && qos === 2)
    )
      return Pushed.waits
    const seq = this.next
    if (!outlet.send(message, qos, retain, false, idOf(seq), terms.subscriptionIds)) {
      this.context.ledger.lose('too-large', this.#owner.clientId, message)
      return Pushed.refused
    }
    const slot = this.append(flagsOf(qos, retain, keep) | sent)
    if (stored) this.store(slot, message)
    else if (keep || this.keepsSent) this.hold(slot, message, terms)
    this.#cursor++
    this.#unacked++
    return stored ? seq : Pushed.kept
  }

  /** The second half of `push`: queues a message. @param full has it no room? */
  wait(message: Message, qos: 1 | 2, retain: boolean, terms: Terms, keep: boolean, full: boolean): number {
    if (full && !this.#makeRoom()) {
      this.context.ledger.lose('queue-full', this.#owner.clientId, message)
      return Pushed.refused
    }
    const seq = this.next
    const slot = this.append(flagsOf(qos, retain, keep) | waiting)
    const stored = this.keepsSent && this.#lasts(message, qos)
    if (stored) this.store(slot, message)
    else this.hold(slot, message, terms)
    if (message.expiresAtMs !== Infinity) this.#expire(slot, message.expiresAtMs)
    this.#waiting++
    return stored ? seq : Pushed.kept
  }

  /** Reads what `push` will, and gives something of it. */
  touch(): number {
    const slot = this.slot(this.length)
    return this.#waiting + (this.entries[slot] ?? 0) + (this.page.lsn(slot) > 0 ? 1 : 0)
  }

  /** A new connection: everything unacknowledged is sent again, in order, before anything new [MQTT-4.4.0-1]. */
  resume(window: number, outlet: Outlet): void {
    this.window = window
    this.#cursor = 0
    this.#unacked = 0
    // PUBREL at once: only PUBLISH waits for room in the window [MQTT-3.3.4-10].
    for (let offset = 0; offset < this.length && offset < maximumSpan; offset++) {
      const state = this.state(offset)
      if (state === waiting && this.head + offset >= this.#perhapsSent) break
      if (state !== released) continue
      outlet.pubrel(idOf(this.head + offset))
      this.#unacked++
    }
  }

  /**
   * Sends what the client's window and socket take.
   * @returns where the next message stands that is not in memory: fetch it and come again; 0 when nothing is missing
   */
  pump(outlet: Outlet, nowMs: number): Lsn {
    const { store } = this.context
    const { rights } = this.#owner
    let missing: Lsn = 0
    while (
      this.#cursor < this.length &&
      this.#unacked < this.window &&
      this.#cursor < maximumSpan &&
      !outlet.congested
    ) {
      const offset = this.#cursor
      const slot = this.slot(offset)
      const entry = this.entries[slot]!
      const state = entry & stateBits
      if (state === gone || state === released) {
        this.#cursor++
        continue
      }
      const lsn = this.page.lsn(slot)
      // Exactly once holds only for what is known after a crash.
      if (lsn !== 0 && (entry & qos2) !== 0 && lsn >= store.durable) {
        this.waitsForStore = true
        break
      }
      const copy = lsn === 0 ? undefined : store.read(lsn, this.#owner.number, this.head + offset)
      if (lsn !== 0 && copy === undefined) {
        missing = lsn
        break
      }
      const message = copy?.message ?? this.messageIn(slot)!
      const { subscriptionIds, shared } = copy ?? this.termsIn(slot)!
      this.#cursor++
      // What has been sent once is owed, even when it expires [MQTT-4.3.3-7].
      if (state === waiting) {
        this.#waiting--
        if (message.expiresAtMs <= nowMs) {
          this.context.ledger.lose('expired', this.#owner.clientId, message)
          this.#free(slot, offset)
          continue
        }
      }
      // Its rights may be others than when it was queued, or when it was sent.
      if (rights !== undefined && !rights.receives(message.topic)) {
        this.#withhold(slot, offset, message, outlet)
        continue
      }
      const seq = this.head + offset
      const dup = state === sent || seq < this.#perhapsSent
      const qos = entry & qos2 ? 2 : 1
      if (!outlet.send(message, qos, (entry & retainBit) !== 0, dup, idOf(seq), subscriptionIds, shared)) {
        this.context.ledger.lose('too-large', this.#owner.clientId, message)
        this.#free(slot, offset)
        continue
      }
      this.entries[slot] = (entry & ~stateBits) | sent
      this.#unacked++
      if (!this.keepsSent && !(entry & sharedBit)) this.forget(slot)
    }
    this.#trim()
    return missing
  }

  /** Is the copy at `lsn` what the store has there? True as well when it is not next any more. */
  readable(lsn: Lsn): boolean {
    const { store } = this.context
    const seq = this.head + this.#cursor
    if (this.#cursor >= this.length || this.lsnOf(seq) !== lsn) return true
    const { number } = this.#owner
    return (store.read(lsn, number, seq) ?? store.readNow(lsn, number, seq)) !== undefined
  }

  /** The message at `lsn`, which is next, cannot be read any more. */
  damaged(lsn: Lsn): void {
    const offset = this.#cursor
    if (offset >= this.length || this.lsnOf(this.head + offset) !== lsn || this.state(offset) === gone) return
    if (this.state(offset) === waiting) this.#waiting--
    this.context.ledger.lose('damaged', this.#owner.clientId, undefined)
    this.#free(this.slot(offset), offset)
    this.#trim()
  }

  /**
   * Drops what waits and has expired by `nowSeconds` of the store's time, and works out when the next one does. The cost is a look
   * at each entry, so it is called when something is due, and no more often.
   */
  expire(nowSeconds: number): void {
    this.nextExpiry = 0
    for (let offset = 0; offset < this.length; offset++) {
      const slot = this.slot(offset)
      const expiry = this.page.expiry(slot)
      if (expiry === 0 || this.state(offset) !== waiting) continue
      if (expiry > nowSeconds) this.#expires(expiry)
      else this.#lose('expired', slot, offset)
    }
    this.#trim()
  }

  /** PUBACK. False when no QoS 1 message of that id is in flight. */
  puback(packetId: number, reason: number): boolean {
    const offset = this.offsetOf(packetId)
    if (offset < 0 || (this.entry(offset) & (stateBits | qos2)) !== sent) return false
    this.#end(offset, reason)
    return true
  }

  /**
   * PUBREC. Gives where PUBREL may follow behind, -1 when the id is unknown. The message came to its end if the client
   * refused it.
   */
  pubrec(packetId: number, reason: number): Lsn {
    const offset = this.offsetOf(packetId)
    if (offset < 0 || !(this.entry(offset) & qos2)) return -1
    const state = this.state(offset)
    if (state === released) return 0
    if (state !== sent) return -1
    if (reason >= 0x80) {
      this.#end(offset, reason)
      return 0
    }
    const slot = this.slot(offset)
    const stored = this.page.lsn(slot) !== 0
    this.entries[slot] = (this.entries[slot]! & ~stateBits) | released
    // It came on the last connection, and was not sent again on this one.
    if (offset >= this.#cursor) this.#unacked++
    if (stored) return this.context.store.received(this.#owner.number, this.head + offset)
    this.forget(slot)
    return 0
  }

  pubcomp(packetId: number): boolean {
    const offset = this.offsetOf(packetId)
    if (offset < 0 || this.state(offset) !== released) return false
    this.#end(offset, 0)
    return true
  }

  /** A receiver that takes messages in order has everything up to `seq`, of either QoS. */
  arrived(seq: number): void {
    while (this.length > 0 && this.head <= seq) {
      if (this.state(0) === waiting) this.#waiting--
      this.#end(0, 0)
    }
  }

  /** Message `seq` comes to its end here, whether it was sent or not. */
  drop(seq: number, loss: Loss): void {
    const offset = seq - this.head
    if (offset < 0 || offset >= this.length || this.state(offset) === gone) return
    if (this.state(offset) === waiting) this.#waiting--
    else if (offset < this.#cursor) this.#unacked--
    const slot = this.slot(offset)
    this.context.ledger.lose(loss, this.#owner.clientId, this.messageIn(slot))
    this.#free(slot, offset)
    this.#trim()
  }

  /**
   * Ends everything: the session is over. What another client could still take is handed to `move` (never a QoS 2
   * message that has been sent [MQTT-4.8.2-5]), with its terms or, if it was read again, the shared subscription that it
   * came by; false from it, and all the rest, is a loss.
   */
  end(move: (message: Message, terms: Terms | undefined, filter: string | undefined) => boolean): void {
    const { ledger, store } = this.context
    for (let offset = 0; offset < this.length; offset++) {
      const slot = this.slot(offset)
      const entry = this.entries[slot]!
      const state = entry & stateBits
      if (state === gone) continue
      const lsn = this.page.lsn(slot)
      const movable = state === waiting || (entry & (stateBits | qos2)) === sent
      const again = lsn !== 0 && movable && (entry & sharedBit) !== 0
      const copy = again ? store.readNow(lsn, this.#owner.number, this.head + offset) : undefined
      const message = copy?.message ?? this.messageIn(slot)
      if (lsn !== 0) store.settled(this.#owner.number, this.head, this.head + offset, lsn)
      const terms = this.termsIn(slot)
      if (message && movable && move(message, terms, copy?.shared ?? terms?.shared)) continue
      ledger.lose('session-ended', this.#owner.clientId, message)
    }
    this.#withheld = undefined
    this.clear()
    this.#cursor = this.#unacked = this.#waiting = 0
  }

  /** Of QoS 2 whatever its class: a packet id that the client may hold must name no other message after a crash. */
  #lasts(message: Message, qos: 1 | 2): boolean {
    return message.lasting || (qos === 2 && this.#owner.number !== 0)
  }

  #end(offset: number, reason: number): void {
    const slot = this.slot(offset)
    const { ledger } = this.context
    const seq = this.head + offset
    if (this.#withheld?.delete(seq)) ledger.lose('not-allowed', this.#owner.clientId, undefined)
    else if (reason < 0x80) ledger.delivered++
    else ledger.lose('refused-by-client', this.#owner.clientId, this.messageIn(slot))
    if (offset < this.#cursor || this.state(offset) === released) this.#unacked--
    const lsn = this.page.lsn(slot)
    this.forget(slot)
    this.entries[slot] = gone
    this.#trim()
    if (lsn !== 0) this.context.store.settled(this.#owner.number, this.head, seq, lsn)
  }

  /**
   * A message that the client must not get (again). Of QoS 2 it may have one half, and would take the next message of this
   * packet id for the same: the id is released, as if PUBREC had come (MQTT 5.0, 4.3.3).
   */
  #withhold(slot: number, offset: number, message: Message, outlet: Outlet): void {
    const { ledger, store } = this.context
    const entry = this.entries[slot]!
    if ((entry & (stateBits | qos2)) !== (sent | qos2)) {
      ledger.lose('not-allowed', this.#owner.clientId, message)
      return this.#free(slot, offset)
    }
    const seq = this.head + offset
    ;(this.#withheld ??= new Set()).add(seq)
    this.entries[slot] = (entry & ~stateBits) | released
    this.#unacked++
    if (this.page.lsn(slot) !== 0) store.received(this.#owner.number, seq)
    else this.forget(slot)
    outlet.pubrel(idOf(seq))
  }

  /** Drops the oldest that waits, if that is the policy. */
  #makeRoom(): boolean {
    if (this.context.limits.overflow !== 'drop-oldest') return false
    for (let offset = this.#cursor; offset < this.length; offset++) {
      if (this.state(offset) !== waiting) continue
      this.#lose('queue-full', this.slot(offset), offset)
      this.#trim()
      return true
    }
    return false
  }

  /** One that waits comes to its end unsent. */
  #lose(loss: Loss, slot: number, offset: number): void {
    const { ledger, store } = this.context
    this.#waiting--
    const lsn = this.page.lsn(slot)
    // Not worth a read from the disk: who asks why is told by what is in memory.
    const message =
      this.messageIn(slot) ?? (lsn === 0 ? undefined : store.read(lsn, this.#owner.number, this.head + offset)?.message)
    ledger.lose(loss, this.#owner.clientId, message)
    this.#free(slot, offset)
  }

  /** An entry has come to its end; `#trim` follows. */
  #free(slot: number, offset: number): void {
    const lsn = this.page.lsn(slot)
    this.forget(slot)
    this.entries[slot] = gone
    if (lsn !== 0) this.context.store.settled(this.#owner.number, this.head, this.head + offset, lsn)
  }

  #expire(slot: number, atMs: number): void {
    const atSeconds = dropSeconds(atMs + this.context.store.offsetMs)
    if (atSeconds === 0) return
    this.page.setExpiry(slot, atSeconds)
    this.#expires(atSeconds)
  }

  #expires(atSeconds: number): void {
    if (this.nextExpiry === 0 || atSeconds < this.nextExpiry) this.nextExpiry = atSeconds
  }

  /** Steps over what has come to its end at the head. */
  #trim(): void {
    const steps = this.step()
    this.#cursor = this.#cursor > steps ? this.#cursor - steps : 0
  }
}
