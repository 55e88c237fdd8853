import type { Bytes, Stream, StreamEvents } from '../../src/host.ts'
import type { Store } from '../../src/store/port.ts'
import type { Dice } from './dice.ts'
import { Lane, type Stamp, Stamps } from './lane.ts'
import { Outgoing } from './outgoing.ts'
import type { Process } from './process.ts'
import type { Time } from './time.ts'

/** The client's end of a link. */
export interface Peer {
  data(chunk: Buffer): void
  closed(): void
}

/** The broker's connection. */
type Ears = StreamEvents & { readonly state: string }

/** How a network behaves at this time. */
export interface Weather {
  /** One-way delay, at most. */
  latencyMs: number
  /** Chance that a chunk takes a hundred times as long. */
  hiccup: number
  /** Bytes that a socket takes at once, at most. */
  burstBytes: number
}

export interface LinkParts {
  readonly time: Time
  readonly process: Process
  readonly dice: Dice
  readonly weather: Weather
  readonly peer: Peer
  readonly store: Pick<Store, 'durable'>
  trace(direction: string, link: string, bytes: Uint8Array): void
}

/**
 * A network connection, and the broker's end of it.
 *
 *   client ── send ──▶ lane up: split, joined, delayed ──▶ paused? inbox ──▶ events.data
 *   peer.data ◀── lane down ◀── outgoing ◀── write
 */
export class Link implements Stream {
  /** When it might have broken first, seen from the client; Infinity while it is whole. */
  brokenSeq = Infinity
  brokenMs = Infinity
  /** When the broker knew; Infinity before. */
  overMs = Infinity
  /** When the broker was last handed something. */
  lastDataMs = -Infinity
  /** CONNACK has arrived. Before, a broken link loses CONNECT too, which must not take a later connection over. */
  established = false
  /** The client has closed its half. */
  isFinished = false
  /** By the network, or by a client that vanished. */
  wasCut = false
  readonly #parts: LinkParts
  readonly #time: Time
  readonly #dice: Dice
  readonly #up: Lane
  readonly #down: Lane
  readonly #outgoing: Outgoing
  readonly #stamps = new Stamps()
  #events: Ears | undefined = undefined
  #unsent: Buffer[] = []
  #inbox: (() => void)[] = []
  #paused = false
  #ending = false
  #endedByBroker = false
  #over = false
  #gone = false
  #vanishing = false

  constructor(
    readonly remote: string,
    parts: LinkParts,
  ) {
    this.#parts = parts
    this.#time = parts.time
    this.#dice = parts.dice
    this.#up = new Lane(parts.time)
    this.#down = new Lane(parts.time)
    this.#outgoing = new Outgoing(parts, {
      most: () => parts.weather.burstBytes,
      taken: (chunk) => this.#travelDown(chunk),
      emptied: () => {
        if (this.#ending) this.#sayGoodbye()
      },
    })
  }

  /** The broker has taken the link: `events` are its ears. */
  open(events: Ears): void {
    this.#events = events
  }

  /** Has the broker read everything, and closed? */
  get isRead(): boolean {
    return this.#events?.state === 'closed'
  }

  /** Has the client's end closed? */
  get gone(): boolean {
    return this.#gone
  }

  // ── the broker's end ───────────────────────────────────────────────────────────────────────────────────────────

  write(bytes: Bytes, written: () => void): void {
    this.#stamps.note(bytes.length, { durable: this.#parts.store.durable, ms: this.#time.now() })
    // A socket fails such a write; the broker should not try.
    if (this.#endedByBroker) throw new Error('the broker wrote to a stream that it had ended')
    this.#outgoing.write(bytes, written)
    // A socket of Node closes its half too when the peer has closed the other, and then takes nothing more.
    if (this.#ending) this.#finish(new Error('write after end'))
  }

  pause(paused: boolean): void {
    this.#paused = paused
    if (!paused) this.#time.after(0, () => this.#parts.process.enter(() => this.#readInbox()))
  }

  end(): void {
    this.#endedByBroker = true
    if (this.#over) return
    this.break()
    this.pause(false)
    // Like the real one: a peer that does not let go is cut.
    this.#time.after(2000, () => this.#finish(undefined), true)
    this.#hangUp()
  }

  destroy(): void {
    if (this.#over) return
    this.break()
    this.#up.cut = true
    if (this.#dice.chance(0.5)) this.#down.cut = true
    this.#time.after(this.#latency(), () => this.#closePeer())
    this.#finish(undefined)
  }

  /** What was true when the byte at `offset` left the broker; ask with growing offsets. */
  stampOf(offset: number): Stamp {
    return this.#stamps.at(offset)
  }

  // ── the client's end ───────────────────────────────────────────────────────────────────────────────────────────

  /** Sends bytes; what is sent shortly after may travel with them. */
  send(bytes: Buffer): void {
    if (this.#gone || this.#vanishing || this.isFinished) return
    this.#unsent.push(bytes)
    if (this.#unsent.length === 1) this.#time.after(this.#dice.chance(0.6) ? 0 : this.#dice.between(0, 5), this.#depart)
  }

  /** The client has said what it had to say, and still listens. */
  finish(): void {
    if (this.isFinished || this.#vanishing) return
    this.break()
    this.isFinished = true
    this.#depart()
    this.#up.pass(this.#latency(), () => this.#arrive(() => this.#hangUp()))
  }

  /**
   * The connection breaks, and both ends learn it after a while.
   * @param losesUp what is on its way to the broker is lost
   * @param losesDown likewise to the client
   */
  cut(losesUp: boolean, losesDown: boolean): void {
    if (this.#gone) return
    this.break()
    this.wasCut = this.#vanishing = true
    losesUp ||= !this.established
    if (losesUp) this.#up.cut = true
    if (losesDown) this.#down.cut = true
    const reset = () => this.#finish(new Error('ECONNRESET'))
    if (losesUp) this.#time.after(this.#latency(), reset)
    else this.#up.pass(this.#latency(), () => this.#arrive(reset))
    this.#time.after(this.#latency(), () => this.#closePeer())
  }

  /** The client is gone and the broker is not told: its bytes go nowhere, until its socket's buffer is full. */
  vanish(): void {
    this.break()
    this.wasCut = this.#vanishing = this.#gone = true
    if (!this.established) this.#up.cut = true
    this.#down.cut = true
    this.#time.after(this.#dice.between(0, 1000), () => this.#outgoing.stall(Infinity), true)
  }

  /** The broker has fallen, and the client learns it after a while. @param losesDown what is on its way to it is lost */
  orphan(losesDown: boolean): void {
    if (!this.#over) this.overMs = this.#time.now()
    this.#over = true
    this.#up.cut = true
    this.#outgoing.drop()
    if (this.#gone) return
    this.break()
    this.wasCut = this.#vanishing = true
    if (losesDown) this.#down.cut = true
    this.#down.pass(this.#latency(), () => this.#closePeer())
    this.#time.after(this.#dice.between(0, 100), () => this.#closePeer())
  }

  /** For so long the client's socket takes nothing. */
  stall(ms: number): void {
    this.#outgoing.stall(ms)
  }

  /** The client's socket takes bytes again. */
  unstall(): void {
    if (!this.#gone) this.#outgoing.unstall()
  }

  /** Notes that from now on the link may be broken. */
  break(): void {
    if (this.brokenSeq !== Infinity) return
    this.brokenSeq = this.#time.seq
    this.brokenMs = this.#time.now()
  }

  // ── between them ───────────────────────────────────────────────────────────────────────────────────────────────

  readonly #depart = (): void => {
    let bytes = Buffer.concat(this.#unsent)
    this.#unsent = []
    if (this.#vanishing && this.#up.cut) return
    while (bytes.length > 0) {
      const length = this.#dice.chance(0.7) ? bytes.length : 1 + this.#dice.below(bytes.length)
      const chunk = Buffer.from(bytes.subarray(0, length))
      bytes = bytes.subarray(length)
      const data = () => {
        this.lastDataMs = this.#time.now()
        this.#parts.trace('▲', this.remote, chunk)
        this.#events!.data(chunk)
      }
      this.#up.pass(this.#latency(), () => this.#arrive(data))
    }
  }

  #arrive(event: () => void): void {
    this.#parts.process.enter(() => {
      if (this.#over) return
      if (this.#paused || this.#inbox.length > 0) this.#inbox.push(event)
      else event()
    })
  }

  #readInbox(): void {
    while (!this.#paused && !this.#over) {
      const event = this.#inbox.shift()
      if (!event) return
      event()
    }
  }

  #travelDown(chunk: Buffer): void {
    this.#down.pass(this.#latency(), () => {
      if (this.#gone) return
      this.#parts.trace('▼', this.remote, chunk)
      this.#parts.peer.data(chunk)
    })
  }

  /** One end has closed in order: what the broker has to say still goes out, then the other end closes too. */
  #hangUp(): void {
    if (this.#ending) return
    this.#ending = true
    this.#outgoing.take()
  }

  #sayGoodbye(): void {
    this.#down.pass(this.#latency(), () => {
      this.#closePeer()
      this.#time.after(this.#latency(), () => this.#finish(undefined))
    })
  }

  #finish(fault: Error | undefined): void {
    if (this.#over) return
    this.#over = true
    this.overMs = this.#time.now()
    this.#outgoing.drop()
    this.#time.after(this.#dice.between(0, 1), () => {
      this.#parts.process.enter(() => this.#events!.closed(fault))
      this.#down.pass(this.#latency(), () => this.#closePeer())
    })
  }

  #closePeer(): void {
    if (this.#gone) return
    this.break()
    this.#gone = true
    this.#parts.peer.closed()
  }

  #latency(): number {
    const { latencyMs, hiccup } = this.#parts.weather
    return this.#dice.between(0, latencyMs) * (this.#dice.chance(hiccup) ? 100 : 1)
  }
}
