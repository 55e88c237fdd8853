import { copyBytes, copyInto } from './bytes.ts'
import type { Stamp } from './stamp.ts'
import type { QoS, Topic } from './topic.ts'

/** What a message costs in memory beside its bytes; part of every byte limit, so that tiny messages are bounded too. */
const overheadBytes = 120

class Descent {
  stamp: Stamp | undefined = undefined
  origin: string | undefined = undefined
  serial = 0
}

/**
 * One application message. Its value never changes. Its bytes start out in the chunk that it arrived in, and move to a
 * slab when somebody keeps it beyond the turn, so that a small message does not hold 64 KiB of neighbours.
 */
export class Message {
  /** The whole frame stands in `source[frameStart, frameEnd)` and may be sent on as it is; -1 when it may not. */
  frameStart = -1
  frameEnd = -1
  /** Where the packet id stands in that frame, from its start; 0 for QoS 0. */
  idOffset = 0
  /** The store keeps it for sessions that outlive their connections. */
  lasting = false
  /** What only a cluster asks for stands apart: a field more in each message costs a broker alone a hundredth of its speed. */
  #descent: Descent | undefined = undefined
  #kept = false

  constructor(
    readonly topic: Topic,
    readonly qos: QoS,
    readonly retain: boolean,
    /** Payload: `source[payloadStart, payloadEnd)`. */
    public source: Uint8Array,
    public payloadStart: number,
    public payloadEnd: number,
    /** MQTT 5 properties that are forwarded as they stand, encoded, in order. */
    readonly properties: Uint8Array | undefined,
    /** Monotonic milliseconds; Infinity when it never expires. */
    readonly expiresAtMs: number,
    /** The publishing session, for 'no local'; undefined for the broker's own messages. */
    readonly publisher: object | undefined,
    /** 5 or less: the version whose frame stands in `source`. */
    readonly version: number,
  ) {}

  /** In a cluster, of a change of what is retained. */
  get stamp(): Stamp | undefined {
    return this.#descent?.stamp
  }

  set stamp(stamp: Stamp | undefined) {
    if (stamp !== this.stamp) (this.#descent ??= new Descent()).stamp = stamp
  }

  /** In a cluster: where it was published; undefined: here. */
  get origin(): string | undefined {
    return this.#descent?.origin
  }

  set origin(node: string | undefined) {
    if (node !== this.origin) (this.#descent ??= new Descent()).origin = node
  }

  /** In a cluster: which one of its origin's it is; 0: it has no number. */
  get serial(): number {
    return this.#descent === undefined ? 0 : this.#descent.serial
  }

  set serial(serial: number) {
    if (serial !== this.serial) (this.#descent ??= new Descent()).serial = serial
  }

  get payloadLength(): number {
    return this.payloadEnd - this.payloadStart
  }

  /** Bytes that it holds in memory, for limits. */
  get bytes(): number {
    return overheadBytes + this.topic.bytes.length + this.payloadLength + (this.properties?.length ?? 0)
  }

  /** Bytes of what it says: topic, payload and properties. */
  get valueBytes(): number {
    return this.bytes - overheadBytes - this.topic.hidden
  }

  /** The payload as a view; do not change it. */
  payload(): Uint8Array {
    return this.source.subarray(this.payloadStart, this.payloadEnd)
  }

  /**
   * Moves the payload out of the arrival chunk, or of the store; call before holding a message beyond this turn. Into a slab what comes and
   * goes with its neighbours; without one, into bytes of its own, what may stay for long.
   */
  keep(slab?: Slab): this {
    if (!this.#kept) {
      this.#kept = true
      this.frameStart = -1
      if (slab) slab.store(this)
      else standAlone(this)
    }
    return this
  }

  /** The same, but with another end. */
  expiring(atMs: number): Message {
    const { topic, qos, retain, source, payloadStart, payloadEnd, properties, publisher, version } = this
    const other = new Message(
      topic,
      qos,
      retain,
      source,
      payloadStart,
      payloadEnd,
      properties,
      atMs,
      publisher,
      version,
    )
    other.stamp = this.stamp
    other.#kept = this.#kept
    return other
  }

  /** Whole seconds of life left, at least 0 [MQTT-3.3.2-6]; -1 when it never expires. */
  expirySecondsLeft(nowMs: number): number {
    if (this.expiresAtMs === Infinity) return -1
    // Less a microsecond: the rounding error of a sum must not make a second more than was received.
    return Math.max(0, Math.ceil((this.expiresAtMs - nowMs - 0.001) / 1000))
  }
}

function standAlone(message: Message): void {
  message.source = copyBytes(message.source, message.payloadStart, message.payloadEnd)
  message.payloadEnd -= message.payloadStart
  message.payloadStart = 0
}

const slabBytes = 16 * 1024

/** Packs kept payloads into shared pages; a page is freed with its last message. Payloads over a quarter page stand alone. */
export class Slab {
  #page = Buffer.allocUnsafeSlow(slabBytes)
  #used = 0

  store(message: Message): void {
    const { source, payloadStart, payloadEnd } = message
    const length = payloadEnd - payloadStart
    if (length > slabBytes / 4) return standAlone(message)
    if (this.#used + length > slabBytes) {
      this.#page = Buffer.allocUnsafeSlow(slabBytes)
      this.#used = 0
    }
    const start = this.#used
    copyInto(this.#page, start, source, payloadStart, payloadEnd)
    this.#used += length
    message.source = this.#page
    message.payloadStart = start
    message.payloadEnd = start + length
  }
}
