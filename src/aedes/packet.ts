import { Message } from '../mqtt/message.ts'
import type { WillPacket } from '../mqtt/packets.ts'
import type { QoS, TopicTable } from '../mqtt/topic.ts'

/** A PUBLISH as Aedes hands it over (aedes-packet, mqtt-packet), with whatever else stands in it. */
export interface AedesPacket {
  readonly topic: string
  readonly payload?: string | Uint8Array
  readonly qos?: QoS
  readonly retain?: boolean
  readonly dup?: boolean
  readonly cmd?: string
  /** Names a packet among all brokers, with the counter. */
  readonly brokerId?: string
  readonly brokerCounter?: number
  messageId?: number | undefined
  readonly [field: string]: unknown
}

/** A packet of which only the id counts. */
export interface AedesPubrel {
  readonly cmd: 'pubrel'
  readonly messageId: number
}

// What Aedes has in a packet and MQTT has not is kept as a user property: JSON, in which each text begins with a letter
// that tells text (s) from bytes (b, base64). So every broker that opens the store finds properties that it can forward.
//
//   0x26 · 5 "aedes" · length JSON · …       again with the rest of it, where it is longer than a property may be

const userProperty = 0x26
const noteName = Buffer.from('aedes')
const mostValueBytes = 0xffff

/** The packet as it goes into a queue: the fields that aedes-packet keeps, and no message id. */
export function queuedPacket(packet: AedesPacket): AedesPacket {
  const { clientId, nl, properties, messageExpiry } = packet
  return {
    ...(clientId !== undefined && { clientId }),
    ...(nl !== undefined && { nl }),
    ...(properties !== undefined && { properties }),
    ...(messageExpiry !== undefined && { messageExpiry }),
    cmd: packet.cmd ?? 'publish',
    ...(packet.brokerId !== undefined && { brokerId: packet.brokerId }),
    brokerCounter: packet.brokerCounter ?? 0,
    topic: packet.topic,
    payload: packet.payload ?? Buffer.alloc(0),
    qos: packet.qos ?? 0,
    retain: packet.retain ?? false,
    dup: packet.dup ?? false,
  }
}

/**
 * The packet as a message of the store.
 * @throws MqttError when the topic is none
 */
export function messageOf(packet: AedesPacket, retained: boolean, topics: TopicTable): Message {
  const topic = topics.named(packet.topic)
  const payload = bytesOf(packet.payload)
  const note = noteOf(packet)
  return new Message(topic, packet.qos ?? 0, retained, payload, 0, payload.length, note, Infinity, undefined, 5)
}

/** The packet that a message was made of: in an object, and bytes, of its own. */
export function packetOf(message: Message): AedesPacket {
  const { topic, qos, retain, properties } = message
  return packetFrom(topic.name, message.payload(), qos, retain, properties)
}

/** A will as the store keeps it. */
export function willOf(packet: AedesPacket): WillPacket {
  return {
    topic: packet.topic,
    payload: Uint8Array.from(bytesOf(packet.payload)),
    qos: packet.qos ?? 0,
    retain: packet.retain ?? false,
    delaySeconds: 0,
    expirySeconds: -1,
    properties: noteOf(packet),
  }
}

export function packetOfWill({ topic, payload, qos, retain, properties }: WillPacket): AedesPacket {
  return packetFrom(topic, payload, qos, retain, properties)
}

/** Names a packet until it has an id. */
export function identityOf({ brokerId, brokerCounter }: AedesPacket): string {
  return `${brokerCounter ?? 0} ${brokerId ?? ''}`
}

function bytesOf(payload: string | Uint8Array | undefined): Uint8Array {
  return typeof payload === 'string' ? Buffer.from(payload) : (payload ?? Buffer.alloc(0))
}

function packetFrom(
  topic: string,
  payload: Uint8Array,
  qos: QoS,
  retain: boolean,
  properties: Uint8Array | undefined,
): AedesPacket {
  const own = Buffer.from(payload)
  // Without a note it was no Aedes that wrote it.
  const { payload: text, ...rest } = readNote(properties) ?? { cmd: 'publish', qos, retain, dup: false }
  return { ...rest, topic, payload: text === undefined ? own : own.toString() }
}

/** Everything but the topic and the payload; of that, whether it is a text. */
function noteOf({ topic: _topic, payload, ...rest }: AedesPacket): Uint8Array {
  const json = Buffer.from(JSON.stringify(typeof payload === 'string' ? { ...rest, payload: '' } : rest, tagged))
  const parts: Uint8Array[] = []
  for (let at = 0; at < json.length;) {
    let end = Math.min(json.length, at + mostValueBytes)
    // Not within a character: each property is UTF-8 for itself.
    while (end < json.length && (json[end]! & 0xc0) === 0x80) end--
    const name = Buffer.from([userProperty, 0, noteName.length])
    parts.push(name, noteName, Buffer.from([(end - at) >> 8, (end - at) & 0xff]), json.subarray(at, end))
    at = end
  }
  return Buffer.concat(parts)
}

/** Undefined when it is none of ours. */
function readNote(properties: Uint8Array | undefined): Partial<AedesPacket> | undefined {
  try {
    return properties && parseNote(properties)
  } catch {
    return undefined
  }
}

function parseNote(properties: Uint8Array): Partial<AedesPacket> | undefined {
  const bytes = Buffer.from(properties.buffer, properties.byteOffset, properties.byteLength)
  const nameEnd = 3 + noteName.length
  let json = ''
  for (let at = 0; at < bytes.length;) {
    if (bytes[at] !== userProperty || !bytes.subarray(at + 3, at + nameEnd).equals(noteName)) return undefined
    const start = at + nameEnd + 2
    at = start + bytes.readUInt16BE(at + nameEnd)
    json += bytes.toString('utf8', start, at)
  }
  return JSON.parse(json, untagged) as Partial<AedesPacket>
}

function tagged(this: Record<string, unknown>, key: string, value: unknown): unknown {
  // `value` is what a Buffer's toJSON made of it.
  const original = this[key]
  if (original instanceof Uint8Array) return `b${Buffer.from(original).toString('base64')}`
  return typeof value === 'string' ? `s${value}` : value
}

function untagged(_key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value
  return value.startsWith('b') ? Buffer.from(value.slice(1), 'base64') : value.slice(1)
}
