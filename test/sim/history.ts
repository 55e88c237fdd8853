import type { QoS } from '../../src/mqtt/topic.ts'
import type { Client } from './client.ts'
import { payloadOf, type Publication } from './publication.ts'
import type { Time } from './time.ts'

/** A session, from the client's side: from a CONNECT without state until the broker has surely forgotten it. */
export interface Epoch {
  readonly client: Client
  /** It outlives a connection. */
  persistent: boolean
  /** The client still counts on it. */
  alive: boolean
  /** When it was surely over; Infinity before. */
  endSeq: number
  /** Everything that it ever subscribed to. */
  readonly intervals: Interval[]
  readonly deliveries: Delivery[]
}

/** From SUBSCRIBE to UNSUBSCRIBE. The edges are soft: what the broker did between request and answer, nobody knows. */
export interface Interval {
  /** With `$share/group/` if it has that. */
  readonly name: string
  readonly filter: string
  readonly group: string | undefined
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: 0 | 1 | 2
  /** 0: none. */
  readonly subscriptionId: number
  /** The client had no subscription to this filter before, surely. */
  readonly isNew: boolean
  /** SUBSCRIBE was sent. */
  readonly maybeFrom: number
  /** SUBACK came. */
  certainFrom: number
  /** UNSUBSCRIBE, or another SUBSCRIBE, was sent. */
  certainTo: number
  /** Its answer came. */
  maybeTo: number
}

/** A PUBLISH that came to a client. */
export interface Delivery {
  /** Undefined for an empty payload. */
  readonly publication: Publication | undefined
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  /** The client knew it by its QoS 2 packet id, and dropped it. */
  readonly repeated: boolean
  /** The client said no to it. */
  readonly rejected: boolean
  readonly subscriptionIds: readonly number[]
  readonly contentType: string
  /** -1: none. */
  readonly expirySeconds: number
  readonly seq: number
  /** When it left the broker. */
  readonly leftMs: number
}

/** What a client wants to publish. */
export interface Wish {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  /** 0: an empty payload. */
  readonly payloadBytes: number
  readonly isWill: boolean
  readonly expirySeconds: number
  readonly contentType: string
}

/** All that the clients of a world have seen and done: what the checker judges. */
export class History {
  readonly publications: Publication[] = []
  readonly epochs: Epoch[] = []
  /** When the broker fell. */
  readonly falls: { readonly seq: number; readonly ms: number }[] = []
  readonly #byId = new Map<string, Publication>()
  readonly #time: Time

  constructor(time: Time) {
    this.#time = time
  }

  publication(by: Client, wish: Wish): Publication {
    const number = this.publications.length
    const id = wish.payloadBytes > 0 ? `m${number}` : ''
    const { topic, qos, retain, isWill, expirySeconds, contentType } = wish
    const publication: Publication = {
      id,
      number,
      by,
      topic,
      qos,
      retain,
      payload: id === '' ? Buffer.alloc(0) : payloadOf(id, wish.payloadBytes),
      isWill,
      expirySeconds,
      contentType,
      sentSeq: this.#time.seq,
      sentMs: this.#time.now(),
      sends: isWill ? 1 : 0,
      ackedSeq: Infinity,
      ackedMs: Infinity,
      ackedReason: 0,
      refused: topic.startsWith('deny/') || topic.startsWith('$SYS/'),
      isWithdrawn: false,
      isDue: false,
    }
    this.publications.push(publication)
    if (id !== '') this.#byId.set(id, publication)
    return publication
  }

  find(id: string): Publication | undefined {
    return this.#byId.get(id)
  }

  epoch(client: Client, persistent: boolean): Epoch {
    const epoch = { client, persistent, alive: true, endSeq: Infinity, intervals: [], deliveries: [] }
    this.epochs.push(epoch)
    return epoch
  }
}
