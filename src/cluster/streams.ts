import type { Wait } from '../broker/cluster-port.ts'
import type { Message } from '../mqtt/message.ts'
import type { QoS } from '../mqtt/topic.ts'
import { Outbox, Pushed } from '../sessions/outbox.ts'
import type { Outlet, OutboxContext, Terms } from '../sessions/outlet.ts'
import { type Durability, Entry, type Lsn, type QueueView, type RecoveredSession } from '../store/port.ts'
import { OwnSession } from './archive.ts'
import { InFlight } from './in-flight.ts'
import { classOf, durabilityOf, type Place, type Share } from './publish-frame.ts'

export const packetIds = 65_535
/** Messages that may be sent beyond what the receiver need not remember any more: with an epoch, less than there are ids. */
const mostAhead = 32_768
export const epochMessages = 16_384

/** Message `seq` of a stream has this packet id in the receiver's store. */
export function idOf(seq: number): number {
  return 1 + (seq % packetIds)
}

/** What a message in a stream is for, as the outbox keeps it beside the message: in memory, or with its place in the store. */
export class StreamTerms implements Terms, Share {
  readonly subscriptionIds: readonly number[]
  readonly shared: string | undefined

  /** @param persistent the receiver has a session for it that outlives its connections */
  constructor(
    readonly durability: Durability,
    readonly plain: boolean,
    readonly groups: readonly string[],
    readonly persistent: boolean,
    /** Nodes that had no member for its groups. */
    readonly tried: readonly string[] = nobody,
  ) {
    this.subscriptionIds = [classOf(durability) | (plain ? plainBit : 0)]
    this.shared = groups.length > 0 ? groups.join(separator) : undefined
  }

  /** For sessions that are in no group. */
  static plain(durability: Durability, persistent: boolean): StreamTerms {
    return plainTerms[classOf(durability) * 2 + (persistent ? 1 : 0)]!
  }

  /** The same, from what came back of it. */
  static of(subscriptionIds: readonly number[] | undefined, shared: string | undefined): StreamTerms {
    const bits = subscriptionIds?.[0] ?? plainBit
    if (shared === undefined) return StreamTerms.plain(durabilityOf(bits), true)
    return new StreamTerms(durabilityOf(bits), (bits & plainBit) !== 0, shared.split(separator), true)
  }
}

const plainBit = 4
const nobody: readonly string[] = []
/** No name of a group or filter has it. */
const separator = '\0'
/** One object for all messages that no group wants. */
const plainTerms = (['fsync', 'os', 'memory'] as const).flatMap((durability) =>
  [false, true].map((persistent) => new StreamTerms(durability, true, nobody, persistent)),
)

/** The way of a stream's messages to its receiver. */
export interface StreamLink {
  /** It takes no more for now. */
  readonly congested: boolean
  write(message: Message, qos: QoS, dup: boolean, place: Place, share: Share): void
}

/**
 * Messages of QoS 1 and 2 on their way to one other node, in order: a queue that the receiver acknowledges up to a place.
 *
 *      head                    cursor               next
 *   ──┬─────────────────────────┬────────────────────┬──
 *     │ sent on this link       │ to be sent (again) │        in memory until they are acknowledged, or in our store:
 *   ──┴─────────────────────────┴────────────────────┴──      QoS 2 at once, all else when the receiver cannot be reached
 *
 * Its number never changes, so a receiver that has something already passes it over.
 */
export class OutStream extends OwnSession implements Outlet {
  readonly outbox: Outbox
  /** Its place in the list that the link's `streams` frame gave. */
  index = 0
  /**
   * Nothing before it will ever be sent again, not even after a crash: what was acknowledged there has been noted for good.
   * So the receiver may forget it.
   */
  past = 0
  /** Sent on this link and not acknowledged. */
  readonly #inFlight = new InFlight()
  readonly #link: StreamLink
  readonly #context: OutboxContext
  readonly #again: () => void
  readonly #waits: { readonly seq: number; readonly wait: Wait }[] = []
  #firstWait = 0
  /** Groups whose copy of a message went to another node, by the place of the message. */
  readonly #rerouted = new Map<number, Set<string>>()
  /** Of the message that is being pushed. */
  #terms: StreamTerms | undefined = undefined
  #fetching: Lsn = 0
  #lastSent = -1
  /** The last one that our store has had; one behind it does not come back after a crash. */
  #lastStored = -1
  /** What `past` will be once the store has come to `#pastAt`. */
  #nextPast = 0
  #pastAt: Lsn = 0
  #pastStep: 'none' | 'noted' | 'written' = 'none'

  /**
   * @param id our incarnation when it began: names it among our streams to that node
   * @param again called when something that was read from the disk is there
   */
  constructor(
    readonly id: number,
    number: number,
    clientId: string,
    link: StreamLink,
    context: OutboxContext,
    again: () => void,
  ) {
    super(number, clientId)
    this.#link = link
    this.#context = context
    this.#again = again
    this.outbox = new Outbox(this, context)
  }

  override get queue(): QueueView {
    return this.outbox
  }

  override moved(seq: number, lsn: Lsn): void {
    this.outbox.moved(seq, lsn)
  }

  restore(recovered: RecoveredSession): void {
    const { queue } = recovered
    if (queue.next > 0) this.outbox.restore(queue, packetIds)
    this.past = queue.head
    this.#lastStored = queue.next - 1
    queue.release()
    this.#context.ledger.copies += this.outbox.pending
  }

  get inFlightBytes(): number {
    return this.#inFlight.bytes
  }

  get messages(): number {
    return this.outbox.next - this.outbox.head
  }

  get empty(): boolean {
    return this.messages === 0
  }

  /**
   * @param stored it goes into the store's record that is being written
   * @param linked it may be sent at once, if its turn has come
   * @param wait told when it has come to its end
   * @returns whether the store was told of it
   */
  push(message: Message, terms: StreamTerms, stored: boolean, linked: boolean, wait: Wait | undefined): boolean {
    const { outbox } = this
    const seq = outbox.next
    outbox.keepsSent = stored
    this.#terms = terms
    this.#context.ledger.copies++
    const pushed = outbox.push(
      message,
      message.qos as 1 | 2,
      message.retain,
      terms,
      true,
      linked ? this : undefined,
      false,
    )
    this.#terms = undefined
    if (wait) {
      wait.hold()
      this.#waits.push({ seq, wait })
    }
    if (pushed === Pushed.kept) return false
    this.#record(message, seq, terms)
    return true
  }

  /** A new link: everything unacknowledged goes again, in order. */
  resume(): void {
    this.#inFlight.clear()
    this.#lastSent = -1
    this.outbox.resume(packetIds, this)
  }

  /** Sends what the link takes. True when nothing is left to be sent. */
  pump(nowMs: number): boolean {
    const { outbox } = this
    this.#advance()
    const missing = outbox.pump(this, nowMs)
    if (missing > 0) this.#fetch(missing)
    // Whoever is told of the store's progress comes again.
    outbox.waitsForStore = false
    this.settle()
    return !outbox.behind
  }

  /** The receiver has everything up to `seq` for good. */
  acknowledged(seq: number): void {
    this.#inFlight.arrived(seq)
    this.outbox.arrived(seq)
    this.settle()
    this.#advance()
    this.#urge()
  }

  /**
   * Sees how far what was acknowledged has been noted for good. The note goes along with a commit: with that of the next
   * record, or one behind it. What was only in memory needs none.
   */
  #advance(): void {
    const { store } = this.#context
    const { head } = this.outbox
    if (this.#pastStep === 'none' && head > this.past) {
      if (this.#lastStored < this.past) return void (this.past = head)
      this.#nextPast = head
      this.#pastAt = store.next
      this.#pastStep = 'noted'
    }
    if (this.#pastStep === 'noted' && store.durable > this.#pastAt) {
      this.#pastAt = store.next
      this.#pastStep = 'written'
      this.#urge()
    }
    if (this.#pastStep === 'written' && store.durable >= this.#pastAt) {
      this.past = this.#nextPast
      this.#pastStep = 'none'
    }
  }

  /** Nothing goes on before the store has, and nothing else may make it. */
  #urge(): void {
    if (this.#isFarAhead && this.#pastStep !== 'none') this.#context.store.session(this)
  }

  get #isFarAhead(): boolean {
    return this.#lastSent - this.past >= mostAhead
  }

  /** The receiver has no member of a group. False: it has said so before, and the group's copy of `seq` is elsewhere. */
  reroutes(seq: number, group: string): boolean {
    const known = this.#rerouted.get(seq)
    if (known === undefined) this.#rerouted.set(seq, new Set([group]))
    else if (known.has(group)) return false
    else known.add(group)
    return true
  }

  /** Lets go of promises whose messages have come to their end. */
  settle(): void {
    if (this.#rerouted.size > 0)
      for (const seq of this.#rerouted.keys()) if (seq < this.outbox.head) this.#rerouted.delete(seq)
    while (this.#firstWait < this.#waits.length && this.#waits[this.#firstWait]!.seq < this.outbox.head)
      this.#release(0)
    if (this.#firstWait === this.#waits.length) this.#waits.length = this.#firstWait = 0
    else if (this.#firstWait >= 1024) this.#waits.splice(0, this.#firstWait)
    else return
    this.#firstWait = 0
  }

  /**
   * Writes down what is held in memory, from `seq` on, some of it, as it can be sent by nobody for now.
   * @param keep false: it comes to its end here
   * @returns from where to go on; Infinity when nothing is left
   */
  layDown(from: number, keep: (message: Message, terms: StreamTerms, wasSent: boolean) => boolean): number {
    const { outbox } = this
    const { store } = this.#context
    let left = mostInTurn
    let seq = Math.max(from, outbox.head)
    for (; seq < outbox.next && left > 0; seq++) {
      const held = outbox.heldAt(seq)
      let lsn = 0
      if (held) {
        left--
        const { message } = held
        const terms = held.terms as StreamTerms
        const wasSent = (outbox.entryOf(seq) & Entry.stateBits) === Entry.sent
        if (!keep(message, terms, wasSent)) outbox.drop(seq, 'offline')
        else if (message.lasting) {
          outbox.giveToStore(seq)
          this.#record(message, seq, terms)
          lsn = store.message(message, false, 0, 0, terms.durability)
        }
      }
      const first = this.#waits[this.#firstWait]
      if (first?.seq === seq) this.#release(lsn)
    }
    this.settle()
    return seq < outbox.next ? seq : Infinity
  }

  /** Message `seq`, in memory or read again; blocks then. */
  look(seq: number): { message: Message; terms: StreamTerms; wait: Wait | undefined } | undefined {
    const { outbox } = this
    if (seq < outbox.head || seq >= outbox.next) return undefined
    const wait = this.#waits.find((waiting) => waiting.seq === seq)?.wait
    const held = outbox.heldAt(seq)
    if (held) return { message: held.message, terms: held.terms as StreamTerms, wait }
    const lsn = outbox.lsnOf(seq)
    const copy = lsn === 0 ? undefined : this.#context.store.readNow(lsn, this.number, seq)
    return copy && { message: copy.message, terms: StreamTerms.of(copy.subscriptionIds, copy.shared), wait }
  }

  /** Gives up all that it holds. */
  giveUp(): void {
    const { outbox } = this
    for (let seq = outbox.head; seq < outbox.next; seq++) outbox.drop(seq, 'session-ended')
    this.settle()
  }

  // What the outbox asks.

  get congested(): boolean {
    return this.#inFlight.bytes >= windowBytes || this.#isFarAhead || this.#link.congested
  }

  send(
    message: Message,
    qos: QoS,
    _retain: boolean,
    dup: boolean,
    packetId: number,
    subscriptionIds: readonly number[] | undefined,
    shared?: string,
  ): boolean {
    const { head } = this.outbox
    const seq = head + ((packetId - idOf(head) + packetIds) % packetIds)
    const kept = this.#terms === undefined && this.outbox.lsnOf(seq) !== 0
    const share = this.#terms ?? StreamTerms.of(subscriptionIds, shared)
    this.#lastSent = seq
    this.#link.write(message, qos, dup, { stream: this.index, seq, past: this.past, kept }, share)
    this.#inFlight.sent(seq, message.bytes)
    return true
  }

  pubrel(): void {}

  #record(message: Message, seq: number, { subscriptionIds, shared }: StreamTerms): void {
    this.#lastStored = seq
    const flags = Entry.shared | (message.qos === 2 ? Entry.qos2 : 0) | (message.retain ? Entry.retain : 0)
    this.#context.store.recipient(message, this.number, seq, flags, subscriptionIds, shared)
  }

  /** @param lsn behind which it is durable here; 0: it need not be */
  #release(lsn: Lsn): void {
    const { wait } = this.#waits[this.#firstWait++]!
    if (lsn > wait.lsn) wait.lsn = lsn
    wait.release()
  }

  /** Brings the next message into memory, and goes on. */
  #fetch(lsn: Lsn): void {
    if (this.#fetching !== 0) return
    this.#fetching = lsn
    this.#context.store.fetch(lsn, (found) => {
      this.#fetching = 0
      if (!found || !this.outbox.readable(lsn)) this.outbox.damaged(lsn)
      this.#again()
    })
  }
}

/** Bytes that may be on their way unacknowledged: bounds what a receiver has not yet made durable. */
const windowBytes = 8 * 1024 * 1024
/** Messages that are written down before others have their turn. */
const mostInTurn = 500
