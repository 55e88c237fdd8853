import { type Batch, orderBytes, publisherAt, sequenceAt, stampAt, stampBytes } from './frames.ts'
import type { Tally } from './tally.ts'

export interface Wire {
  write(bytes: Uint8Array): void
  /** Bytes that the kernel has not taken yet. */
  readonly pendingBytes: number
  /** Sends the last bytes, and waits for the peer to close too. */
  end(bytes: Uint8Array): void
  close(): void
}

/** Where the flow of a packet id stands; the table of a sender holds one byte for each id. */
const free = 0
const puback = 4
const pubrec = 5
const pubcomp = 7
const lastId = 65_535

/** More waiting than this, and the next batch waits too. */
const fullBytes = 65_536

/** One publisher's outgoing half: numbers frames, keeps the window, pairs acknowledgements. */
export class Sender {
  sent = 0
  inFlight = 0
  readonly #states: Uint8Array
  /** When the message of a packet id was due, where that is measured. */
  readonly #dueUs: Float64Array
  readonly #numbered: boolean
  #packetId = 0

  constructor(
    readonly index: number,
    readonly batch: Batch,
    readonly wire: Wire,
    readonly tally: Tally,
    /** QoS 1 and 2: how many may wait for their acknowledgement. */
    public window: number,
    payloadBytes: number,
    order: boolean,
    /** Takes the time from when a message was due to its acknowledgement; given, all messages must have a stamp. */
    readonly latency?: (us: number) => void,
  ) {
    this.#states = new Uint8Array(batch.qos > 0 ? lastId + 1 : 0)
    this.#dueUs = new Float64Array(latency && batch.qos > 0 ? lastId + 1 : 0)
    this.#numbered = order && payloadBytes >= orderBytes
  }

  /**
   * Writes `most` messages, or as many as the window and the socket have room for.
   * @param stampUs written into each payload when given
   * @returns how many were written
   */
  send(most: number, stampUs?: number): number {
    const { batch } = this
    let left = most
    while (left > 0 && this.wire.pendingBytes < fullBytes) {
      const frames = Math.min(left, batch.frames, this.#room(Math.min(left, batch.frames)))
      if (frames === 0) break
      const plain = batch.bytes.subarray(0, frames * batch.frameBytes)
      const same = batch.qos === 0 && !this.#numbered && stampUs === undefined
      this.wire.write(same ? plain : this.#fill(Buffer.from(plain), frames, stampUs))
      this.sent += frames
      left -= frames
    }
    this.tally.sent += most - left
    return most - left
  }

  /** @param type the packet's: 4 PUBACK, 5 PUBREC, 7 PUBCOMP. @returns whether a PUBREL is due. */
  acknowledged(type: number, id: number, reason: number): boolean {
    if (this.#states[id] !== type) {
      this.tally.strayAcks++
      return false
    }
    if (reason >= 0x80) this.tally.rejected++
    else if (type === pubrec) {
      this.#states[id] = pubcomp
      return true
    } else {
      this.tally.acked++
      this.latency?.(this.tally.lastUs - this.#dueUs[id]!)
    }
    this.#states[id] = free
    this.inFlight--
    return false
  }

  /** How many of the next `wanted` packet ids may be used now. Ids go round, so that none is used again at once. */
  #room(wanted: number): number {
    if (this.batch.qos === 0) return wanted
    const room = Math.min(wanted, this.window - this.inFlight)
    for (let i = 0; i < room; i++) if (this.#states[((this.#packetId + i) % lastId) + 1] !== free) return i
    return room
  }

  #fill(bytes: Buffer, frames: number, stampUs: number | undefined): Buffer {
    const { qos, frameBytes, idAt, payloadAt } = this.batch
    for (let i = 0, at = 0; i < frames; i++, at += frameBytes) {
      if (qos > 0) {
        const id = (this.#packetId = (this.#packetId % lastId) + 1)
        bytes[at + idAt] = id >> 8
        bytes[at + idAt + 1] = id
        this.#states[id] = qos === 1 ? puback : pubrec
        if (this.latency) this.#dueUs[id] = stampUs!
      }
      if (stampUs !== undefined) bytes.writeDoubleLE(stampUs, at + payloadAt + stampAt)
      if (this.#numbered) {
        bytes.writeUInt32LE(this.index, at + payloadAt + publisherAt)
        bytes.writeUInt32LE(this.sent + i + 1, at + payloadAt + sequenceAt)
      }
    }
    if (qos > 0) this.inFlight += frames
    return bytes
  }
}

/** Reads the payloads that one subscriber gets. */
export class Inspector {
  readonly #latest: Uint32Array

  constructor(
    readonly tally: Tally,
    /** 0: the order is not looked at. */
    publishers: number,
    /** Every message's subscribers see all of it: a shared group's members do not. */
    readonly whole: boolean,
    readonly latency?: (us: number) => void,
  ) {
    this.#latest = new Uint32Array(publishers)
  }

  see(bytes: Buffer, from: number, to: number): void {
    if (this.latency && to - from >= stampBytes) this.latency(this.tally.lastUs - bytes.readDoubleLE(from + stampAt))
    if (this.#latest.length === 0 || to - from < orderBytes) return
    const publisher = bytes.readUInt32LE(from + publisherAt)
    const sequence = bytes.readUInt32LE(from + sequenceAt)
    const latest = this.#latest[publisher]
    if (latest === undefined || sequence <= latest) return void this.tally.outOfOrder++
    if (this.whole) this.tally.gaps += sequence - latest - 1
    this.#latest[publisher] = sequence
  }
}
