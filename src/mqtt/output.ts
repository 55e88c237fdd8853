import type { Stream } from '../host.ts'
import { copyInto, varintLength } from './bytes.ts'
import type { Message } from './message.ts'
import { assert } from './reason.ts'

// What goes out to one client.
//
//   frames ──▶ run (bytes of the arrival chunk that follow each other, not copied yet)
//          └─▶ page (encoded here) ──▶ flushed once a turn ──▶ stream
//
// A page is small until it must grow, and is lent only while it holds something: an idle client owns no buffer.

const smallPage = 2 * 1024
const largePage = 64 * 1024
/** What may wait for a client while memory is short. */
const leanBytes = 64 * 1024
/** A payload or run of this size is handed to the stream as it is, instead of being copied into a page. */
export const direct = 4 * 1024

/** Lends pages. Keeps some for the next turn; the rest goes back to the collector. */
export class Pages {
  readonly #small: Uint8Array[] = []
  readonly #large: Uint8Array[] = []
  /** Bytes that are lent now. */
  lentBytes = 0

  take(large: boolean): Uint8Array {
    this.lentBytes += large ? largePage : smallPage
    return (large ? this.#large : this.#small).pop() ?? Buffer.allocUnsafeSlow(large ? largePage : smallPage)
  }

  give(page: Uint8Array): void {
    this.lentBytes -= page.length
    const shelf = page.length === largePage ? this.#large : this.#small
    if (shelf.length < 256) shelf.push(page)
  }
}

/** What has crossed the connections of a broker. */
export class Traffic {
  /** PUBLISH packets. */
  messagesIn = 0
  messagesOut = 0
  /** All others. */
  othersIn = 0
  othersOut = 0
  bytesIn = 0
  bytesOut = 0

  get packetsIn(): number {
    return this.messagesIn + this.othersIn
  }

  get packetsOut(): number {
    return this.messagesOut + this.othersOut
  }

  add(other: Traffic): void {
    this.messagesIn += other.messagesIn
    this.messagesOut += other.messagesOut
    this.othersIn += other.othersIn
    this.othersOut += other.othersOut
    this.bytesIn += other.bytesIn
    this.bytesOut += other.bytesOut
  }
}

/** The clients that have something to send: flushed together when the turn ends, so that a client costs one write a turn. */
export class Turn {
  readonly pages = new Pages()
  /** Memory is short: little may wait for a client before it counts as behind. */
  lean = false
  /** What is kept of packets that have not come whole, and what that may be: who adds to more has to go. */
  readonly unfinished = { bytes: 0 }
  unfinishedBytes = Infinity
  readonly traffic = new Traffic()
  #dirty: Output[] = []
  #scheduled = false
  readonly #endOfTurn: (run: () => void) => void
  readonly #flush = () => {
    this.#scheduled = false
    this.flush()
  }

  constructor(endOfTurn: (run: () => void) => void) {
    this.#endOfTurn = endOfTurn
  }

  /** Flushes an output when the turn ends. It may not hold anything yet: it says so before it takes a page. */
  add(output: Output): void {
    // A fan-out to many thousands would lend a page to each of them: send the first ones early.
    if (this.pages.lentBytes > 64 * 1024 * 1024) this.flush()
    this.#dirty.push(output)
    if (this.#scheduled) return
    this.#scheduled = true
    this.#endOfTurn(this.#flush)
  }

  flush(): void {
    const dirty = this.#dirty
    this.#dirty = []
    for (const output of dirty) output.flush()
  }
}

export class Output {
  /** Bytes handed to the stream that it has not yet taken. */
  unsentBytes = 0
  /** Writes that the stream has taken: progress, for whoever watches for a stall. */
  writes = 0
  /** `drained` is called after a write that leaves no more than this unsent. */
  relaxedBytes = 0
  /** Called when the stream has taken so much that more may come. */
  drained: (() => void) | undefined = undefined
  /** Where what crosses the connection is counted: with all others, or with those of its tenant. */
  traffic: Traffic
  readonly #stream: Stream
  readonly #turn: Turn
  readonly #lent: (Uint8Array | undefined)[] = []
  readonly #lengths: number[] = []
  #page: Uint8Array | undefined = undefined
  #used = 0
  #runSource: Uint8Array | undefined = undefined
  #runStart = 0
  #runEnd = 0
  #dirty = false
  #closed = false
  /** In `Stream.write`. */
  #writing = false

  constructor(stream: Stream, turn: Turn) {
    this.#stream = stream
    this.#turn = turn
    this.traffic = turn.traffic
  }

  /** Everything that waits here or in the stream, in bytes. */
  get waitingBytes(): number {
    return this.unsentBytes + this.#used + this.#runEnd - this.#runStart
  }

  /** Does as much as `bytes` wait? Less will do while memory is short. */
  isBehind(bytes: number): boolean {
    // Each copy of a message asks: what is shared is looked at last.
    const { waitingBytes } = this
    return waitingBytes >= bytes || (waitingBytes >= leanBytes && this.#turn.lean)
  }

  /**
   * Sends a QoS 0 message on as the frame that it arrived in. Frames that follow each other in a chunk become one run,
   * which costs one copy, or none.
   */
  forward(message: Message): void {
    this.traffic.messagesOut++
    if (this.#runSource === message.source && this.#runEnd === message.frameStart) {
      this.#runEnd = message.frameEnd
      return
    }
    this.#settle()
    this.#touch()
    this.#runSource = message.source
    this.#runStart = message.frameStart
    this.#runEnd = message.frameEnd
  }

  /** Sends a QoS 1 or 2 message on as the frame that it arrived in, under our own packet id. */
  forwardAs(message: Message, packetId: number): void {
    this.traffic.messagesOut++
    const { source, frameStart, frameEnd } = message
    const large = frameEnd - frameStart >= direct
    // Of a large frame only the head, which changes, is copied.
    const copied = large ? frameStart + message.idOffset + 2 : frameEnd
    const at = this.#room(copied - frameStart)
    const page = this.#page!
    copyInto(page, at, source, frameStart, copied)
    // The incoming DUP flag is not carried on [MQTT-3.3.1-3].
    page[at] = page[at]! & 0xf7
    page[at + message.idOffset] = packetId >> 8
    page[at + message.idOffset + 1] = packetId & 0xff
    if (large) this.#writeDirect(source, copied, frameEnd)
  }

  /**
   * Encodes a PUBLISH.
   * @param header first byte: 0x30 and the flags
   * @param packetId 0 for QoS 0
   * @param properties -1 for 3.x; else the length of all MQTT 5 properties together
   * @param alias 0 for none; negative: `-alias` is set with the topic; positive: the topic stays empty
   */
  publish(
    message: Message,
    header: number,
    packetId: number,
    properties: number,
    alias: number,
    expirySeconds: number,
    subscriptionIds: readonly number[] | undefined,
  ): void {
    this.traffic.messagesOut++
    const topic = message.topic.wire
    const topicLength = alias > 0 ? 0 : topic.length
    const payloadLength = message.payloadEnd - message.payloadStart
    const whole = 2 + topicLength + (packetId ? 2 : 0) + (properties < 0 ? 0 : varintLength(properties) + properties)
    const payloadApart = payloadLength >= direct
    let at = this.#room(1 + varintLength(whole + payloadLength) + whole + (payloadApart ? 0 : payloadLength))
    const page = this.#page!
    page[at++] = header
    at = writeVarint(page, at, whole + payloadLength)
    page[at++] = topicLength >> 8
    page[at++] = topicLength & 0xff
    if (topicLength > 0) {
      copyInto(page, at, topic, 0, topicLength)
      at += topicLength
    }
    if (packetId) {
      page[at++] = packetId >> 8
      page[at++] = packetId & 0xff
    }
    if (properties >= 0) {
      at = writeVarint(page, at, properties)
      if (expirySeconds >= 0) at = writeU32(page, at, 0x02, expirySeconds)
      if (alias !== 0) at = writeU16(page, at, 0x23, Math.abs(alias))
      if (subscriptionIds)
        for (const id of subscriptionIds) {
          page[at++] = 0x0b
          at = writeVarint(page, at, id)
        }
      if (message.properties) {
        copyInto(page, at, message.properties, 0, message.properties.length)
        at += message.properties.length
      }
    }
    if (payloadApart) this.#writeDirect(message.source, message.payloadStart, message.payloadEnd)
    else copyInto(page, at, message.source, message.payloadStart, message.payloadEnd)
  }

  /** PUBACK, PUBREC, PUBREL, PUBCOMP with reason 0, or PINGRESP with id 0. */
  short(first: number, packetId: number): void {
    this.traffic.othersOut++
    const length = packetId ? 4 : 2
    const at = this.#room(length)
    const page = this.#page!
    page[at] = first
    page[at + 1] = length - 2
    if (packetId) {
      page[at + 2] = packetId >> 8
      page[at + 3] = packetId & 0xff
    }
  }

  /** Sends an encoded packet. */
  frame(bytes: Uint8Array): void {
    this.traffic.othersOut++
    if (bytes.length > largePage) {
      this.#settle()
      this.#touch()
      this.#writeDirect(bytes, 0, bytes.length)
      return
    }
    const at = this.#room(bytes.length)
    copyInto(this.#page!, at, bytes, 0, bytes.length)
  }

  /** Hands everything to the stream. While it still holds an earlier write, only full pages go: small ones would pile up. */
  flush(): void {
    // First, or it would come back dirty, and cost another flush.
    this.#settle()
    this.#dirty = false
    if (this.unsentBytes === 0 || this.#closed) this.#writePage()
  }

  /** Sends what waits, then closes the stream in order. */
  end(): void {
    this.#settle()
    this.#writePage()
    this.#stream.end()
  }

  /** Forgets everything: the stream is gone. */
  close(): void {
    this.#closed = true
    this.#dropPage()
    this.#runSource = undefined
    this.#runStart = this.#runEnd = 0
    this.drained = undefined
  }

  #touch(): void {
    if (this.#dirty) return
    this.#dirty = true
    this.#turn.add(this)
  }

  /** Makes `bytes` of room in the page; gives where it starts. */
  #room(bytes: number): number {
    if (this.#runSource) this.#settle()
    this.#touch()
    const at = this.#used
    if (this.#page === undefined || at + bytes > this.#page.length) return this.#otherPage(bytes)
    this.#used = at + bytes
    return at
  }

  #otherPage(bytes: number): number {
    const page = this.#page
    if (page?.length === smallPage) {
      // Grows once, so that one who gets much a turn still costs one write.
      const larger = this.#turn.pages.take(true)
      larger.set(page)
      this.#turn.pages.give(page)
      this.#page = larger
      if (this.#used + bytes <= larger.length) {
        this.#used += bytes
        return this.#used - bytes
      }
    }
    this.#writePage()
    if (bytes > largePage) this.#page = Buffer.allocUnsafeSlow(bytes)
    else this.#page = this.#turn.pages.take(bytes > smallPage || page !== undefined)
    this.#used = bytes
    return 0
  }

  /** Puts the run behind what the page holds. */
  #settle(): void {
    const source = this.#runSource
    if (source === undefined) return
    const start = this.#runStart
    const end = this.#runEnd
    this.#runSource = undefined
    this.#runStart = this.#runEnd = 0
    if (end - start >= direct) this.#writeDirect(source, start, end)
    else {
      const at = this.#room(end - start)
      copyInto(this.#page!, at, source, start, end)
    }
  }

  #writePage(): void {
    const page = this.#page
    if (page === undefined) return
    if (this.#closed) return this.#dropPage()
    const used = this.#used
    this.#page = undefined
    this.#used = 0
    this.#write(page.subarray(0, used), page.length === smallPage || page.length === largePage ? page : undefined)
  }

  #writeDirect(source: Uint8Array, start: number, end: number): void {
    this.#writePage()
    // In pieces, so that a slow client that takes a large message still shows progress.
    for (; start < end; start += largePage)
      this.#write(source.subarray(start, Math.min(end, start + largePage)), undefined)
  }

  #write(bytes: Uint8Array, page: Uint8Array | undefined): void {
    if (this.#closed) return
    this.unsentBytes += bytes.length
    this.traffic.bytesOut += bytes.length
    this.#lent.push(page)
    this.#lengths.push(bytes.length)
    this.#writing = true
    this.#stream.write(bytes, this.#written)
    this.#writing = false
  }

  // Writes end in the order in which they began, so one callback serves all of them.
  readonly #written = (): void => {
    assert(!this.#writing, 'a stream called `written` before `write` had returned')
    this.writes++
    const page = this.#lent.shift()
    this.unsentBytes -= this.#lengths.shift() ?? 0
    if (page) this.#turn.pages.give(page)
    if (this.#closed || this.unsentBytes > this.relaxedBytes) return
    if (this.unsentBytes === 0 && this.#used > 0 && !this.#dirty) this.#writePage()
    this.drained?.()
  }

  #dropPage(): void {
    if (this.#page && (this.#page.length === smallPage || this.#page.length === largePage))
      this.#turn.pages.give(this.#page)
    this.#page = undefined
    this.#used = 0
  }
}

/** Writes a variable byte integer; gives where it ends. */
function writeVarint(page: Uint8Array, at: number, value: number): number {
  while (value > 0x7f) {
    page[at++] = (value & 0x7f) | 0x80
    value >>>= 7
  }
  page[at++] = value
  return at
}

function writeU16(page: Uint8Array, at: number, id: number, value: number): number {
  page[at] = id
  page[at + 1] = value >> 8
  page[at + 2] = value & 0xff
  return at + 3
}

function writeU32(page: Uint8Array, at: number, id: number, value: number): number {
  page[at] = id
  page[at + 1] = value >>> 24
  page[at + 2] = (value >>> 16) & 0xff
  page[at + 3] = (value >>> 8) & 0xff
  page[at + 4] = value & 0xff
  return at + 5
}
