import type { ClientParts } from './client.ts'
import type { Delivery, Epoch } from './history.ts'
import { idOf, type Publication } from './publication.ts'
import type { Received, Wire } from './wire.ts'

/** What a client accepts. */
export interface Capacity {
  readonly version: 3 | 4 | 5
  readonly receiveMaximum: number
  readonly maximumPacketBytes: number
  readonly topicAliasMaximum: number
  /** Its acknowledgements take so long, at most. */
  readonly slownessMs: number
  /** How likely it is that it refuses a message (v5). */
  readonly moodiness: number
}

/** Messages on their way from the broker to a client: it acknowledges them, and drops repeated QoS 2 ones by their id. */
export class Receiver {
  readonly #parts: ClientParts
  readonly #capacity: Capacity
  /** QoS 2 ids that have been received and not released: part of the session. */
  readonly #unreleased = new Map<number, Publication | undefined>()
  /** Ids that this connection has brought and that are not answered to the end, with what is missing. */
  readonly #open = new Map<number, 'puback' | 'pubrec' | 'pubrel' | 'pubcomp' | 'pubcomp of an earlier connection'>()
  readonly #aliases = new Map<number, string>()
  #answers = 0
  #lastAnswerMs = 0

  constructor(parts: ClientParts, capacity: Capacity) {
    this.#parts = parts
    this.#capacity = capacity
  }

  /** Answers that are still to be sent. */
  get busy(): boolean {
    return this.#answers > 0
  }

  /** A new connection. */
  restart(): void {
    this.#open.clear()
    this.#aliases.clear()
    this.#answers = 0
  }

  /** The session is over. */
  drop(): void {
    this.#unreleased.clear()
  }

  publish(wire: Wire, packet: Received, epoch: Epoch): void {
    const { history, time, dice, blame } = this.#parts
    const topic = this.#topic(packet)
    const id = idOf(packet.payload)
    const publication = id === '' ? undefined : history.find(id)
    if (id !== '' && (publication === undefined || !publication.payload.equals(packet.payload)))
      blame('payload', `${packet.payload.length} bytes came on ${topic} that nobody sent: ${id.slice(0, 20)}`)
    const bytes = packet.length + 2
    if (bytes > this.#capacity.maximumPacketBytes) blame('MQTT-3.1.2-24', `${bytes} bytes came, more than accepted`)
    const properties = packet.properties ?? {}
    const ids = properties.subscriptionIdentifier as number | number[] | undefined
    const delivery: Delivery = {
      publication,
      topic,
      qos: packet.qos,
      retain: packet.retain,
      dup: packet.dup,
      repeated: packet.qos === 2 && this.#unreleased.has(packet.messageId),
      subscriptionIds: ids === undefined ? [] : Array.isArray(ids) ? ids : [ids],
      contentType: (properties.contentType as string | undefined) ?? '',
      rejected: packet.qos > 0 && dice.chance(this.#capacity.moodiness),
      expirySeconds: (properties.messageExpiryInterval as number | undefined) ?? -1,
      seq: time.seq,
      leftMs: wire.stamp.ms,
    }
    epoch.deliveries.push(delivery)
    if (packet.qos > 0) this.#answer(wire, packet, delivery)
  }

  pubrel(wire: Wire, packet: Received): void {
    const { messageId } = packet
    const open = this.#open.get(messageId)
    if (open !== undefined && open !== 'pubrel')
      this.#parts.blame('MQTT-4.3.3', `PUBREL ${messageId} came, whose id waits for ${open}`)
    this.#unreleased.delete(messageId)
    this.#open.set(messageId, open ? 'pubcomp' : 'pubcomp of an earlier connection')
    this.#later(wire, () => {
      this.#open.delete(messageId)
      wire.send({ cmd: 'pubcomp', messageId })
    })
  }

  #answer(wire: Wire, packet: Received, delivery: Delivery): void {
    const { blame } = this.#parts
    const { messageId, qos, dup } = packet
    const what = `${delivery.publication?.id} on ${delivery.topic}`
    const open = this.#open.get(messageId)
    if (open) blame('packet id in use', `PUBLISH ${messageId} (${what}) came, whose id still waits for ${open}`)
    if (delivery.repeated) {
      // A broker that has fallen marks what was in flight, but does not know how far the window had moved on.
      if (!dup && this.#parts.history.falls.length === 0)
        blame('MQTT-3.3.1-1', `PUBLISH ${messageId} (${what}) was sent again without DUP`)
      if (this.#unreleased.get(messageId) !== delivery.publication)
        blame('packet id in use', `PUBLISH ${messageId} (${what}) came, whose id was not released`)
    }
    const { rejected } = delivery
    if (qos === 2 && rejected) this.#unreleased.delete(messageId)
    else if (qos === 2) this.#unreleased.set(messageId, delivery.publication)
    const answer = qos === 1 ? 'puback' : 'pubrec'
    this.#open.set(messageId, answer)
    let unanswered = 0
    for (const missing of this.#open.values()) if (missing !== 'pubcomp of an earlier connection') unanswered++
    if (unanswered > this.#capacity.receiveMaximum)
      blame('MQTT-3.3.4-9', `${unanswered} messages came unacknowledged, more than receive maximum`)
    this.#later(wire, () => {
      if (qos === 1 || rejected) this.#open.delete(messageId)
      else this.#open.set(messageId, 'pubrel')
      wire.send({ cmd: answer, messageId, ...(rejected && { reasonCode: 0x83 }) })
    })
  }

  /** Answers leave in the order of what they answer [MQTT-4.6.0-2 to -4]. */
  #later(wire: Wire, send: () => void): void {
    const { time, dice } = this.#parts
    if (this.#capacity.slownessMs === 0) return send()
    this.#answers++
    this.#lastAnswerMs = Math.max(this.#lastAnswerMs + 1e-6, time.now() + dice.between(0, this.#capacity.slownessMs))
    time.at(this.#lastAnswerMs, () => {
      if (wire.deaf || wire.isClosed) return
      this.#answers--
      send()
    })
  }

  #topic(packet: Received): string {
    const alias = packet.properties?.topicAlias as number | undefined
    if (alias === undefined) return packet.topic
    if (alias === 0 || alias > this.#capacity.topicAliasMaximum)
      this.#parts.blame('MQTT-3.1.2-26', `topic alias ${alias} came`)
    if (packet.topic !== '') this.#aliases.set(alias, packet.topic)
    return this.#aliases.get(alias) ?? this.#parts.blame('MQTT-3.3.2-7', `topic alias ${alias} was never set`)
  }
}
