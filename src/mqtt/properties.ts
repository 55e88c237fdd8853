import { copyBytes } from './bytes.ts'
import { malformed, protocolError, type Reader } from './reader.ts'
import { MqttError, Reason } from './reason.ts'

// The properties of MQTT 5.0, table 2-4: identifier, name, type, and the packets that may carry it.

/** Where a property block stands. A will's block is its own place. */
export const Place = {
  connect: 0x2,
  connack: 0x4,
  publish: 0x8,
  puback: 0x10,
  pubrec: 0x20,
  pubrel: 0x40,
  pubcomp: 0x80,
  subscribe: 0x100,
  suback: 0x200,
  unsubscribe: 0x400,
  unsuback: 0x800,
  disconnect: 0x4000,
  auth: 0x8000,
  will: 0x10000,
} as const
export type Place = (typeof Place)[keyof typeof Place]

type Kind = 'flag' | 'u16' | 'u32' | 'varint' | 'text' | 'binary' | 'pair'

const p = Place
const message = p.publish | p.will
const reasoned = p.connack | p.puback | p.pubrec | p.pubrel | p.pubcomp | p.suback | p.unsuback | p.disconnect | p.auth
const everywhere = reasoned | p.connect | p.publish | p.subscribe | p.unsubscribe | p.will

const table: readonly (readonly [id: number, name: string, kind: Kind, places: number])[] = [
  [0x01, 'payloadFormatIndicator', 'flag', message],
  [0x02, 'messageExpiryInterval', 'u32', message],
  [0x03, 'contentType', 'text', message],
  [0x08, 'responseTopic', 'text', message],
  [0x09, 'correlationData', 'binary', message],
  [0x0b, 'subscriptionIdentifier', 'varint', p.publish | p.subscribe],
  [0x11, 'sessionExpiryInterval', 'u32', p.connect | p.connack | p.disconnect],
  [0x12, 'assignedClientIdentifier', 'text', p.connack],
  [0x13, 'serverKeepAlive', 'u16', p.connack],
  [0x15, 'authenticationMethod', 'text', p.connect | p.connack | p.auth],
  [0x16, 'authenticationData', 'binary', p.connect | p.connack | p.auth],
  [0x17, 'requestProblemInformation', 'flag', p.connect],
  [0x18, 'willDelayInterval', 'u32', p.will],
  [0x19, 'requestResponseInformation', 'flag', p.connect],
  [0x1a, 'responseInformation', 'text', p.connack],
  [0x1c, 'serverReference', 'text', p.connack | p.disconnect],
  [0x1f, 'reasonString', 'text', reasoned],
  [0x21, 'receiveMaximum', 'u16', p.connect | p.connack],
  [0x22, 'topicAliasMaximum', 'u16', p.connect | p.connack],
  [0x23, 'topicAlias', 'u16', p.publish],
  [0x24, 'maximumQoS', 'flag', p.connack],
  [0x25, 'retainAvailable', 'flag', p.connack],
  [0x26, 'userProperties', 'pair', everywhere],
  [0x27, 'maximumPacketSize', 'u32', p.connect | p.connack],
  [0x28, 'wildcardSubscriptionAvailable', 'flag', p.connack],
  [0x29, 'subscriptionIdentifiersAvailable', 'flag', p.connack],
  [0x2a, 'sharedSubscriptionAvailable', 'flag', p.connack],
]

const names: (string | undefined)[] = []
const kinds: (Kind | undefined)[] = []
const places: (number | undefined)[] = []
for (const [id, name, kind, where] of table) {
  names[id] = name
  kinds[id] = kind
  places[id] = where
}

/** How much of user properties one packet may carry. */
export interface PropertyLimits {
  readonly userProperties: number
  readonly userPropertyBytes: number
}

/** What the broker itself acts on in a checked block; the rest is only forwarded. */
export class CheckedProperties {
  /** The block's content: `bytes[start, end)`, without its length. */
  start = 0
  end = 0
  /** Seconds; -1 when absent. */
  messageExpirySeconds = -1
  /** 0 when absent. */
  topicAlias = 0
  willDelaySeconds = 0
  payloadIsText = false
  authenticationMethod: string | undefined = undefined
  /** True when every byte of the block is forwarded to subscribers as it stands. */
  forwardWhole = true

  clear(): void {
    this.start = this.end = 0
    this.messageExpirySeconds = -1
    this.topicAlias = 0
    this.willDelaySeconds = 0
    this.payloadIsText = false
    this.authenticationMethod = undefined
    this.forwardWhole = true
  }
}

/**
 * Checks the property block at the reader, and leaves the reader behind it.
 * @throws MqttError 0x81 for an unknown, misplaced or short property, 0x82 for a repeated one or a value that the
 * standard forbids, 0x94 for alias 0, 0x97 above the limits.
 */
export function checkProperties(
  reader: Reader,
  place: Place,
  limits: PropertyLimits,
  into: CheckedProperties,
): CheckedProperties {
  into.clear()
  const length = reader.varint()
  const outerEnd = reader.end
  if (length > reader.left) throw malformed('MQTT-2.2.2-1', 'the property length is larger than the packet')
  into.start = reader.at
  into.end = reader.end = reader.at + length
  let seenBelow32 = 0
  let seenFrom32 = 0
  let pairs = 0
  let pairBytes = 0
  while (reader.left > 0) {
    const at = reader.at
    const id = reader.varint()
    const kind = kinds[id]
    if (kind === undefined) throw malformed('MQTT-2.2.2.2', `unknown property 0x${id.toString(16)}`)
    if (!(places[id]! & place)) throw malformed('MQTT-2.2.2.2', `${names[id]} may not stand in this packet`)
    if (kind === 'pair') {
      reader.skipText()
      reader.skipText()
      pairBytes += reader.at - at
      if (++pairs > limits.userProperties || pairBytes > limits.userPropertyBytes)
        throw new MqttError(Reason.quotaExceeded, 'MQTT-2.2.2.2', 'too many user properties')
      continue
    }
    const bit = 1 << (id & 31)
    if ((id < 32 ? seenBelow32 : seenFrom32) & bit) throw protocolError('MQTT-2.2.2.2', `${names[id]} stands twice`)
    if (id < 32) seenBelow32 |= bit
    else seenFrom32 |= bit
    readValue(reader, id, kind, place, into)
  }
  reader.end = outerEnd
  return into
}

function readValue(reader: Reader, id: number, kind: Kind, place: Place, into: CheckedProperties): void {
  switch (kind) {
    case 'flag': {
      const value = reader.u8()
      if (value > 1) throw protocolError('MQTT-2.2.2.2', `${names[id]} must be 0 or 1, not ${value}`)
      if (id === 0x01) into.payloadIsText = value === 1
      return
    }
    case 'u16': {
      const value = reader.u16()
      if (id === 0x23) {
        // Zero is no alias [MQTT-3.3.2-8].
        if (value === 0) throw new MqttError(Reason.topicAliasInvalid, 'MQTT-3.3.2-8', 'topic alias 0')
        into.topicAlias = value
        into.forwardWhole = false
      } else if (id === 0x21 && value === 0) throw protocolError('MQTT-3.1.2.11.3', 'receive maximum 0')
      return
    }
    case 'u32': {
      const value = reader.u32()
      if (id === 0x02) {
        into.messageExpirySeconds = value
        into.forwardWhole = false
      } else if (id === 0x18) {
        into.willDelaySeconds = value
        into.forwardWhole = false
      } else if (id === 0x27 && value === 0) throw protocolError('MQTT-3.1.2.11.4', 'maximum packet size 0')
      return
    }
    case 'varint': {
      if (place === Place.publish)
        throw protocolError('MQTT-3.3.4-6', 'a client must not send a subscription identifier in PUBLISH')
      if (reader.varint() === 0) throw protocolError('MQTT-3.8.2.1.2', 'subscription identifier 0')
      return
    }
    case 'text': {
      if (id !== 0x08 && id !== 0x15) return reader.skipText()
      const value = reader.text()
      if (id === 0x15) into.authenticationMethod = value
      else if (value === '' || value.includes('+') || value.includes('#'))
        throw protocolError('MQTT-3.3.2-14', `response topic "${value}" is no topic name`)
      return
    }
    case 'binary': {
      reader.skipPrefixed()
      return
    }
    case 'pair':
      return
  }
}

/**
 * The properties of a checked PUBLISH or will block that go to subscribers unaltered and in order
 * [MQTT-3.3.2-4, -15, -16, -17, -18, -20]: all but expiry, alias and will delay. A copy, or undefined when there are none.
 */
export function forwardedProperties(bytes: Uint8Array, block: CheckedProperties): Uint8Array | undefined {
  if (block.start === block.end) return undefined
  if (block.forwardWhole) return copyBytes(bytes, block.start, block.end)
  const kept: number[] = []
  for (let at = block.start; at < block.end;) {
    const id = bytes[at]!
    const next = at + 1 + valueLength(bytes, at + 1, kinds[id]!)
    if (id !== 0x02 && id !== 0x23 && id !== 0x18) for (let i = at; i < next; i++) kept.push(bytes[i]!)
    at = next
  }
  return kept.length === 0 ? undefined : Uint8Array.from(kept)
}

/** Length of a checked value. */
function valueLength(bytes: Uint8Array, at: number, kind: Kind): number {
  const prefixed = (start: number) => 2 + ((bytes[start]! << 8) | bytes[start + 1]!)
  switch (kind) {
    case 'flag':
      return 1
    case 'u16':
      return 2
    case 'u32':
      return 4
    case 'text':
    case 'binary':
      return prefixed(at)
    case 'pair': {
      const name = prefixed(at)
      return name + prefixed(at + name)
    }
    case 'varint': {
      let length = 1
      while (bytes[at + length - 1]! >= 0x80) length++
      return length
    }
  }
}
