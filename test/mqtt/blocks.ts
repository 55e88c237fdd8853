import type { IConnectPacket } from 'mqtt-packet'
import type { Frame } from './reference.ts'

// Where the property blocks of a frame stand, found naively: what the reference does not say.

export type PlaceName = 'connect' | 'will' | 'publish' | 'ack' | 'subscribe' | 'unsubscribe' | 'disconnect' | 'auth'
export type PropertyKind = 'flag' | 'u16' | 'u32' | 'varint' | 'text' | 'binary' | 'pair'

/** Table 2-4 of MQTT 5.0, in the part that a client may send. 'ack' is PUBACK, PUBREC, PUBREL and PUBCOMP. */
export const standardProperties: readonly (readonly [number, string, PropertyKind, readonly PlaceName[]])[] = [
  [0x01, 'payloadFormatIndicator', 'flag', ['publish', 'will']],
  [0x02, 'messageExpiryInterval', 'u32', ['publish', 'will']],
  [0x03, 'contentType', 'text', ['publish', 'will']],
  [0x08, 'responseTopic', 'text', ['publish', 'will']],
  [0x09, 'correlationData', 'binary', ['publish', 'will']],
  [0x0b, 'subscriptionIdentifier', 'varint', ['subscribe']],
  [0x11, 'sessionExpiryInterval', 'u32', ['connect', 'disconnect']],
  [0x12, 'assignedClientIdentifier', 'text', []],
  [0x13, 'serverKeepAlive', 'u16', []],
  [0x15, 'authenticationMethod', 'text', ['connect', 'auth']],
  [0x16, 'authenticationData', 'binary', ['connect', 'auth']],
  [0x17, 'requestProblemInformation', 'flag', ['connect']],
  [0x18, 'willDelayInterval', 'u32', ['will']],
  [0x19, 'requestResponseInformation', 'flag', ['connect']],
  [0x1a, 'responseInformation', 'text', []],
  [0x1c, 'serverReference', 'text', ['disconnect']],
  [0x1f, 'reasonString', 'text', ['ack', 'disconnect', 'auth']],
  [0x21, 'receiveMaximum', 'u16', ['connect']],
  [0x22, 'topicAliasMaximum', 'u16', ['connect']],
  [0x23, 'topicAlias', 'u16', ['publish']],
  [0x24, 'maximumQoS', 'flag', []],
  [0x25, 'retainAvailable', 'flag', []],
  [
    0x26,
    'userProperties',
    'pair',
    ['connect', 'will', 'publish', 'ack', 'subscribe', 'unsubscribe', 'disconnect', 'auth'],
  ],
  [0x27, 'maximumPacketSize', 'u32', ['connect']],
  [0x28, 'wildcardSubscriptionAvailable', 'flag', []],
  [0x29, 'subscriptionIdentifiersAvailable', 'flag', []],
  [0x2a, 'sharedSubscriptionAvailable', 'flag', []],
]

export interface Property {
  readonly id: number
  readonly value: Uint8Array
}

export interface Block {
  readonly place: PlaceName
  /** Where its length stands in the frame, and where its content starts and ends. */
  readonly at: number
  readonly start: number
  readonly end: number
  readonly properties: readonly Property[]
  /** The ids of these, and of one that does not fit. */
  readonly ids: readonly number[]
  /** Every value ends within the block, and the block within the packet. */
  readonly fits: boolean
}

const kinds = new Map(standardProperties.map(([id, , kind]) => [id, kind]))

/** The property blocks of a v5 frame, as far as they can be found. */
export function blocksOf({ bytes, body }: Pick<Frame, 'bytes' | 'body'>): Block[] {
  const afterPrefixed = (at: number): number => at + 2 + ((bytes[at] ?? 0) << 8) + (bytes[at + 1] ?? 0)
  const qos = (bytes[0]! >> 1) & 3
  switch (bytes[0]! >> 4) {
    case 1: {
      const connect = blockAt(bytes, 'connect', afterPrefixed(body) + 4)
      const hasWill = (bytes[afterPrefixed(body) + 1] ?? 0) & 4
      return hasWill ? [connect, blockAt(bytes, 'will', afterPrefixed(connect.end))] : [connect]
    }
    case 3:
      return [blockAt(bytes, 'publish', afterPrefixed(body) + (qos > 0 ? 2 : 0))]
    case 4:
    case 5:
    case 6:
    case 7:
      return bytes.length - body > 3 ? [blockAt(bytes, 'ack', body + 3)] : []
    case 8:
      return [blockAt(bytes, 'subscribe', body + 2)]
    case 10:
      return [blockAt(bytes, 'unsubscribe', body + 2)]
    case 14:
      return bytes.length - body > 1 ? [blockAt(bytes, 'disconnect', body + 1)] : []
    case 15:
      return bytes.length - body > 1 ? [blockAt(bytes, 'auth', body + 1)] : []
    default:
      return []
  }
}

function blockAt(bytes: Uint8Array, place: PlaceName, at: number): Block {
  const length = varintAt(bytes, at)
  const start = at + (length?.size ?? 0)
  const end = start + (length?.value ?? 0)
  const properties: Property[] = []
  const ids: number[] = []
  let fits = length !== undefined && end <= bytes.length
  for (let next = start; fits && next < end;) {
    const kind = kinds.get(bytes[next]!)
    if (kind === undefined) break
    ids.push(bytes[next]!)
    const size = sizeOf(bytes, next + 1, kind)
    if (size === undefined || next + 1 + size > end) fits = false
    else {
      properties.push({ id: bytes[next]!, value: bytes.subarray(next + 1, next + 1 + size) })
      next += 1 + size
    }
  }
  return { place, at, start, end, properties, ids, fits }
}

function sizeOf(bytes: Uint8Array, at: number, kind: PropertyKind): number | undefined {
  const prefixed = (from: number): number => 2 + ((bytes[from] ?? 255) << 8) + (bytes[from + 1] ?? 255)
  switch (kind) {
    case 'flag':
      return 1
    case 'u16':
      return 2
    case 'u32':
      return 4
    case 'varint':
      return varintAt(bytes, at)?.size
    case 'text':
    case 'binary':
      return prefixed(at)
    case 'pair':
      return prefixed(at) + prefixed(at + prefixed(at))
  }
}

function varintAt(bytes: Uint8Array, at: number): { value: number; size: number; minimal: boolean } | undefined {
  let value = 0
  for (let size = 1, scale = 1; size <= 4 && at + size <= bytes.length; size++, scale *= 128) {
    const byte = bytes[at + size - 1]!
    value += (byte & 127) * scale
    if (byte < 128) return { value, size, minimal: size === 1 || byte > 0 }
  }
  return undefined
}

/** Are all variable byte integers of a frame in their shortest form: its length, its blocks' lengths, and in the blocks? */
export function minimal(frame: Pick<Frame, 'bytes' | 'body' | 'version' | 'packet'>): boolean {
  const lengths = [varintAt(frame.bytes, 1)]
  const v5 = (frame.version ?? (frame.packet as IConnectPacket | undefined)?.protocolVersion) === 5
  for (const block of v5 ? blocksOf(frame) : []) {
    lengths.push(varintAt(frame.bytes, block.at))
    for (const { id, value } of block.properties) if (id === 0x0b) lengths.push(varintAt(value, 0))
  }
  return lengths.every((length) => length?.minimal !== false)
}
