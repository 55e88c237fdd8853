import type { IPublishPacket } from 'mqtt-packet'
import type { ClientParts } from './client.ts'
import type { Publication } from './publication.ts'
import type { Received, Wire } from './wire.ts'

interface Flight {
  readonly packetId: number
  readonly publication: Publication
  /** PUBREC came, so PUBREL goes out. */
  released: boolean
  /** What had been recorded when PUBREL first went out. */
  releasedSince: number
}

/** QoS 1 and 2 messages of a client on their way to the broker, in the order in which they were first sent. */
export class Flights {
  readonly #parts: ClientParts
  readonly #clientId: string
  readonly #version: 3 | 4 | 5
  readonly #flights = new Map<number, Flight>()
  #lastId = 0

  constructor(parts: ClientParts, clientId: string, version: 3 | 4 | 5) {
    this.#parts = parts
    this.#clientId = clientId
    this.#version = version
  }

  get size(): number {
    return this.#flights.size
  }

  publish(wire: Wire, publication: Publication): void {
    if (publication.qos === 0) return this.#send(wire, publication, 0, false)
    // Few ids, so that they are used again soon.
    do this.#lastId = (this.#lastId % 40) + 1
    while (this.#flights.has(this.#lastId))
    const packetId = this.#lastId
    this.#flights.set(packetId, { packetId, publication, released: false, releasedSince: 0 })
    this.#send(wire, publication, packetId, false)
  }

  /** The session goes on: everything unacknowledged is sent again, in order [MQTT-4.4.0-1, MQTT-4.6.0-1]. */
  resume(wire: Wire): void {
    for (const { packetId, publication, released } of this.#flights.values()) {
      if (released) {
        wire.owes('pubcomp', packetId)
        wire.send({ cmd: 'pubrel', messageId: packetId })
      } else this.#send(wire, publication, packetId, true)
    }
  }

  /** The session is over; whether the broker has these messages nobody knows. */
  drop(): void {
    this.#flights.clear()
  }

  puback(wire: Wire, packet: Received): void {
    const { publication } = this.#flight(packet, 1, false)
    this.#flights.delete(packet.messageId)
    this.#acknowledged(wire, publication, packet)
  }

  pubrec(wire: Wire, packet: Received): void {
    const flight = this.#flight(packet, 2, false)
    this.#acknowledged(wire, flight.publication, packet)
    if ((packet.reasonCode ?? 0) >= 0x80) {
      this.#flights.delete(packet.messageId)
      return
    }
    flight.released = true
    flight.releasedSince = this.#parts.records.mark
    wire.owes('pubcomp', packet.messageId)
    wire.send({ cmd: 'pubrel', messageId: packet.messageId })
  }

  pubcomp(wire: Wire, packet: Received, persistent: boolean): void {
    const { releasedSince } = this.#flight(packet, 2, true)
    this.#flights.delete(packet.messageId)
    if (!persistent) return
    const { records } = this.#parts
    const lsn = records.changeLsn(`released ${this.#clientId} ${packet.messageId}`, releasedSince)
    if (lsn === undefined || lsn >= wire.stamp.durable)
      this.#parts.blame('ack before durable', `PUBCOMP ${packet.messageId} left before lsn ${lsn}`)
  }

  #flight(packet: Received, qos: 1 | 2, released: boolean): Flight {
    const flight = this.#flights.get(packet.messageId)
    if (!flight || flight.publication.qos !== qos || flight.released !== released)
      this.#parts.blame('unknown ack', `${packet.cmd} ${packet.messageId} came to ${this.#clientId}`)
    return flight
  }

  #acknowledged(wire: Wire, publication: Publication, packet: Received): void {
    const { time, records, blame } = this.#parts
    const lsn = publication.id === '' ? undefined : records.messageLsn(publication.id)
    if (lsn !== undefined && lsn >= wire.stamp.durable)
      blame('ack before durable', `${packet.cmd} of ${publication.id} left before lsn ${lsn}`)
    const reason = packet.reasonCode ?? 0
    // 3.x cannot be told of a refusal [MQTT-3.3.5-2 of 3.1.1].
    if (this.#version === 5 ? publication.refused !== reason >= 0x80 : reason !== 0)
      blame('refusal', `${packet.cmd} of ${publication.id} to ${publication.topic} says ${reason}`)
    if (publication.ackedSeq !== Infinity) return
    publication.ackedSeq = time.seq
    publication.ackedMs = time.now()
    publication.ackedReason = reason
  }

  #send(wire: Wire, publication: Publication, packetId: number, dup: boolean): void {
    const { topic, payload, qos, retain, expirySeconds, contentType } = publication
    publication.sends++
    const packet: IPublishPacket = { cmd: 'publish', topic, payload, qos, retain, dup }
    if (packetId > 0) {
      packet.messageId = packetId
      wire.owes(qos === 1 ? 'puback' : 'pubrec', packetId)
    }
    if (this.#version === 5) {
      const alias = this.#alias(wire, topic)
      if (alias < 0) packet.topic = ''
      packet.properties = {
        ...(expirySeconds >= 0 && { messageExpiryInterval: expirySeconds }),
        ...(alias !== 0 && { topicAlias: Math.abs(alias) }),
        ...(contentType !== '' && { contentType }),
      }
    }
    wire.send(packet)
  }

  /** An alias to set, negative when it is set already; 0 for none. */
  #alias({ aliases, aliasMaximum }: Wire, topic: string): number {
    const { dice } = this.#parts
    if (aliasMaximum === 0 || dice.chance(0.5)) return 0
    const known = aliases.get(topic)
    if (known !== undefined) return -known
    const alias = 1 + dice.below(aliasMaximum)
    // What it stood for before it stands for no more.
    for (const [name, used] of aliases) if (used === alias) aliases.delete(name)
    aliases.set(topic, alias)
    return alias
  }
}
