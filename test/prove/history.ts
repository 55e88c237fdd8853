// What clients were promised, and what came. Every `…At` is a place in the one order in which the load saw things happen.

export type Qos = 1 | 2

/** A message that somebody wanted to publish; its number stands at the beginning of its payload. */
export interface Publication {
  readonly number: number
  readonly publisher: string
  readonly topic: string
  readonly qos: Qos
  readonly kind: 'message' | 'will' | 'probe'
  readonly retain: boolean
  /** Of the payload. 0: it clears the retained message, and nobody can tell who sent it. */
  readonly bytes: number
  /** First sent; of a will, with its CONNECT. Infinity: never. */
  sentAt: number
  /** Its PUBACK or PUBREC came; a will fell due. Infinity: never. */
  ackedAt: number
  /** A will whose client came back before its delay was over. */
  withdrawn: boolean
}

export interface Subscription {
  readonly filter: string
  readonly qos: Qos
  readonly askedAt: number
  /** Its SUBACK came. */
  grantedAt: number
  /** UNSUBSCRIBE went out. */
  leavingAt: number
  /** Its UNSUBACK came. */
  leftAt: number
}

/** A persistent session that receives. Its filters do not overlap. */
export interface Subscriber {
  readonly id: string
  readonly subscriptions: Subscription[]
  /** Numbers of the live messages in the order of their coming, without what a receiver of QoS 2 drops by its packet id. */
  readonly received: number[]
}

/** What a new subscription was told about a retained topic. */
export interface Reading {
  readonly topic: string
  /** Undefined: nothing is retained. */
  readonly number: number | undefined
  readonly askedAt: number
  readonly heardAt: number
}

/** What is wrong by itself, whatever else happens. */
export interface Incident {
  readonly kind: 'session vanished' | 'QoS 2 id forgotten' | 'damaged' | 'misbehaved'
  readonly what: string
}

export interface Recorded {
  readonly publications: readonly Publication[]
  readonly subscribers: readonly Subscriber[]
  readonly readings: readonly Reading[]
  readonly incidents: readonly Incident[]
}

export class History implements Recorded {
  readonly publications: Publication[] = []
  readonly subscribers: Subscriber[] = []
  readonly readings: Reading[] = []
  readonly incidents: Incident[] = []
  /** Messages that were refused with a reason, like a full disk: nothing was promised. */
  refused = 0
  /** Repeated QoS 2 messages that a receiver dropped by their packet id. */
  dropped = 0
  #at = 0

  /** The next place in the order. */
  now(): number {
    return ++this.#at
  }

  publication(
    fields: Pick<Publication, 'publisher' | 'topic' | 'qos' | 'bytes'> & Partial<Pick<Publication, 'kind' | 'retain'>>,
  ): Publication {
    const publication: Publication = {
      kind: 'message',
      retain: false,
      ...fields,
      number: this.publications.length,
      sentAt: Infinity,
      ackedAt: Infinity,
      withdrawn: false,
    }
    this.publications.push(publication)
    return publication
  }

  incident(kind: Incident['kind'], what: string): void {
    this.incidents.push({ kind, what })
  }
}

/** The payload of a publication: its number, and as much of a pattern as makes its length right. */
export function payloadOf({ number, bytes }: Publication): Buffer {
  return Buffer.alloc(bytes, `${number} `)
}

/** The publication that a payload belongs to; undefined when it is not, byte for byte, what was sent to this topic. */
export function publicationOf(all: readonly Publication[], topic: string, payload: Buffer): Publication | undefined {
  const publication = all[Number.parseInt(payload.toString('latin1', 0, 12), 10)]
  return publication?.topic === topic && payloadOf(publication).equals(payload) ? publication : undefined
}
