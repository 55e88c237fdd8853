import type { Packet } from 'mqtt-packet'
import { type History, payloadOf, type Publication } from './history.ts'

interface Flight {
  readonly publication: Publication
  /** PUBREC has come: from now on it is PUBREL that is sent. */
  received: boolean
  /** How often PUBREL has gone out. */
  releases: number
}

/** Messages on their way from a client to the broker: the state of a correct sender, which outlives connections. */
export class Publisher {
  readonly #history: History
  readonly #clientId: string
  readonly #send: (packet: Packet) => void
  /** By packet id, in the order of sending. */
  readonly #flights = new Map<number, Flight>()
  readonly #heldReleases: number[] = []
  #lastId = 0
  #holds = false

  constructor(history: History, clientId: string, send: (packet: Packet) => void) {
    this.#history = history
    this.#clientId = clientId
    this.#send = send
  }

  /** Messages that are not acknowledged to the end. */
  get size(): number {
    return this.#flights.size
  }

  publish(publication: Publication): void {
    do this.#lastId = (this.#lastId % 65_535) + 1
    while (this.#flights.has(this.#lastId))
    this.#flights.set(this.#lastId, { publication, received: false, releases: 0 })
    publication.sentAt = this.#history.now()
    this.#sendPublish(this.#lastId, publication, false)
  }

  /** While it holds, PUBREL waits, so that a kill finds ids between PUBREC and PUBREL. */
  hold(holds: boolean): void {
    this.#holds = holds
    if (!holds) for (const id of this.#heldReleases.splice(0)) this.#release(id)
  }

  /** A new connection to the same session: everything again, in its old order [MQTT-4.4.0-1, MQTT-4.6.0-1]. */
  resume(): void {
    this.#heldReleases.length = 0
    for (const [id, { publication, received }] of this.#flights) {
      if (!received) this.#sendPublish(id, publication, true)
      else this.#release(id)
    }
  }

  /** The broker knows nothing of the session: what it had received is its own to lose, the rest is sent anew. */
  restart(): void {
    this.#heldReleases.length = 0
    for (const [id, { publication, received }] of this.#flights) {
      if (received) this.#flights.delete(id)
      else this.#sendPublish(id, publication, false)
    }
  }

  /** @param reason 0x80 and above: refused */
  puback(id: number, reason: number): void {
    const flight = this.#flights.get(id)
    if (flight?.publication.qos !== 1) return this.#unknown('PUBACK', id)
    this.#flights.delete(id)
    this.#answered(flight.publication, reason)
  }

  pubrec(id: number, reason: number): void {
    const flight = this.#flights.get(id)
    if (flight?.publication.qos !== 2) return this.#unknown('PUBREC', id)
    if (!flight.received) this.#answered(flight.publication, reason)
    if (reason >= 0x80) return void this.#flights.delete(id)
    flight.received = true
    if (this.#holds) this.#heldReleases.push(id)
    else this.#release(id)
  }

  pubcomp(id: number, reason: number): void {
    const flight = this.#flights.get(id)
    if (!flight?.releases) return this.#unknown('PUBCOMP', id)
    this.#flights.delete(id)
    // A second PUBREL may find the id gone: the answer to the first one was cut off.
    if (reason === packetIdNotFound && flight.releases === 1)
      this.#history.incident('QoS 2 id forgotten', `${id} of ${this.#clientId} (m${flight.publication.number})`)
  }

  #release(id: number): void {
    this.#flights.get(id)!.releases++
    this.#send({ cmd: 'pubrel', messageId: id })
  }

  #answered(publication: Publication, reason: number): void {
    if (reason < 0x80) publication.ackedAt = this.#history.now()
    else this.#history.refused++
  }

  #sendPublish(messageId: number, publication: Publication, dup: boolean): void {
    const { topic, qos, retain } = publication
    this.#send({ cmd: 'publish', topic, qos, retain, dup, messageId, payload: payloadOf(publication) })
  }

  #unknown(what: string, id: number): void {
    this.#history.incident('misbehaved', `${what} ${id} came to ${this.#clientId}, which waits for none`)
  }
}

const packetIdNotFound = 0x92
