import type { IConnectPacket, IPublishPacket, ISubscribePacket, Packet } from 'mqtt-packet'
import { type Block, blocksOf, minimal, type PlaceName, standardProperties } from './blocks.ts'
import type { Frame } from './reference.ts'

// Where the standard, or we, ask for more than mqtt-packet does; and where mqtt-packet asks for more than the standard.

/** A frame, and what counts beside its bytes. */
export interface Judged extends Frame {
  /** The topic of a PUBLISH, aliases followed. */
  readonly topic: string | undefined
  readonly limits: {
    readonly packetBytes: number
    readonly topicAliases: number
    readonly userProperties: number
    readonly userPropertyBytes: number
  }
}

export interface Stricter {
  readonly clause: string
  readonly what: string
  /** Where the example comes: in a connection of this version, or (0) as its first packets. */
  readonly version: 0 | 3 | 4 | 5
  /** Frames that mqtt-packet takes, the last of which we refuse, in hex. */
  readonly example: string
  /** Has this frame such a fault? Judged by what mqtt-packet reads, or by the bare bytes. */
  readonly holds: (frame: Judged) => boolean
}

/** All that we refuse and mqtt-packet takes. The standard's clause, where there is one. */
export const stricter: readonly Stricter[] = (
  [
    // Headers and order.
    ['MQTT-1.5.5-1', 'a length in its shortest form', 4, 'c08000', (f) => !minimal(f)],
    ['MQTT-3.1.0-1', 'CONNECT first', 0, 'c000', (f) => f.version === undefined && f.bytes[0] !== 0x10],
    ['MQTT-3.1.0-2', 'one CONNECT', 4, '100d 00044d515454 04 02 0000 000163', (f) => is(f, 'connect') && !first(f)],
    ['MQTT-3.2.2-15', 'our maximum packet size', 4, '30ffffff7f', (f) => f.total > f.limits.packetBytes],
    ['MQTT-4.13.1-1', 'no packet of a server', 4, 'd000', (f) => /connack|suback|pingresp/.test(f.packet?.cmd ?? '')],
    ['MQTT-2.1.3-1', 'PINGREQ is empty', 4, 'c00100', (f) => is(f, 'pingreq') && f.total > 2],

    // Fields of any packet.
    ['MQTT-4.13.1-1', 'a field ends where its packet or block ends', 5, '3006 000161 01 0100', overruns],
    ['MQTT-1.5.4-1', 'text is well-formed', 4, '3003 0001ff', (f) => says(f, /\ufffd/)],
    ['MQTT-1.5.4-2', 'text without U+0000', 4, '3003 000100', (f) => says(f, /\0/)],
    ['MQTT-1.5.4', 'names without control and non-characters', 4, '3003 00010a', (f) => says(f, unnamable)],
    ['MQTT-2.2.1-3', 'packet ids from 1', 4, '3205 000161 0000', (f) => f.packet?.messageId === 0],

    // Properties.
    ['MQTT-2.2.2.2', 'a property in its place', 5, '3007 000161 03 210001', misplaced],
    ['MQTT-2.2.2.2', 'a property once', 5, '3008 000161 04 0101 0101', (f) => blocksIn(f).some(repeats)],
    ['MQTT-2.2.2.2', 'a flag is 0 or 1', 5, '3006 000161 02 0102', (f) => values(f, ...flags).some(([v]) => v! > 1)],
    ['MQTT-2.2.2.2', 'our limit on user properties', 5, `30ca02 000161 c502 ${'2600000000'.repeat(65)}`, tooMany],
    ['MQTT-3.1.2.11.3', 'receive maximum from 1', 0, connect5('210000'), (f) => values(f, 0x21).some(isZero)],
    ['MQTT-3.1.2.11.4', 'packet size from 1', 0, connect5('2700000000'), (f) => values(f, 0x27).some(isZero)],
    ['MQTT-3.1.2.11.10', 'data needs a method', 0, connect5('16000161'), (f) => has(f, 0x16) && !has(f, 0x15)],
    ['MQTT-3.8.2.1.2', 'subscription id from 1', 5, '8209 0001 020b00 000161 00', (f) => values(f, 0x0b).some(isZero)],
    ['MQTT-3.3.4-6', 'no subscription id from clients', 5, '3006 000161 02 0b01', publishesId],
    ['MQTT-3.3.2-14', 'a response topic is a topic', 5, '3008 000161 04 0800012b', badResponseTopic],
    ['MQTT-3.3.2.3.2', 'text is what it says', 5, '3007 000161 02 0101 ff', claimsText],
    ['MQTT-3.3.2-8', 'a topic, or an alias from 1', 5, '3003 0000 00', noTopicOrAlias],
    ['MQTT-3.3.2-9', 'our maximum of aliases', 5, '3007 000161 03 230021', (f) => aliasOf(f) > f.limits.topicAliases],
    ['MQTT-3.3.2-7', 'an alias that was set', 5, '3006 0000 03 230001', noTopic],

    // PUBLISH, and wills.
    ['MQTT-3.3.2-1', 'PUBLISH has its id', 4, '3204 000161 00', (f) => is(f, 'publish') && f.packet?.messageId === -1],
    ['MQTT-3.3.1-2', 'no DUP at QoS 0', 4, '3803 000161', (f) => f.bytes[0]! >> 1 === 0x1c],
    ['MQTT-4.7.3-1', 'a topic is not empty', 4, '3002 0000', (f) => topicOf(f) === ''],
    ['MQTT-3.3.2-2', 'a topic without wildcards', 4, '3003 000123', (f) => /[+#]/.test(topicOf(f) ?? '')],
    ['MQTT-4.7.3', 'our limit on levels', 4, `3066 0064 ${'2f'.repeat(100)}`, tooDeep],

    // Acknowledgements.
    ['MQTT-2.2.1-5', 'it has a packet id', 4, '4000', (f) => isAck(f) && f.packet?.messageId === -1],
    ['MQTT-2.3.1-6', 'before v5 it has nothing else', 4, '4003 0001 00', (f) => isAck(f) && f.version !== 5],
    ['MQTT-3.4.2-1', 'PUBACK ends with its properties', 5, '4005 0001 00 00 00', (f) => is(f, 'puback') && unread(f)],
    ['MQTT-3.5.2-1', 'PUBREC ends with its properties', 5, '5005 0001 00 00 00', (f) => is(f, 'pubrec') && unread(f)],
    ['MQTT-3.6.2-1', 'PUBREL ends with its properties', 5, '6205 0001 00 00 00', (f) => is(f, 'pubrel') && unread(f)],
    ['MQTT-3.7.2-1', 'PUBCOMP ends with its properties', 5, '7005 0001 00 00 00', (f) => is(f, 'pubcomp') && unread(f)],

    // SUBSCRIBE and UNSUBSCRIBE.
    ['MQTT-3.8.3-2', 'SUBSCRIBE has a filter', 4, '8202 0001', noFilter],
    ['MQTT-3.8.3-4', 'no local is not for groups', 5, '8210 0001 00 000a 2473686172652f672f61 05', noLocalGroup],
    ['MQTT-3.10.3-2', 'UNSUBSCRIBE has a filter', 4, 'a202 0001', noFilter],

    // CONNECT.
    ['MQTT-3.1.2-2', 'name and level are a pair', 0, '100d 00044d515454 03 02 0000 000163', (f) => !isPair(f)],
    ['MQTT-3.1.2-12', 'will QoS up to 2', 0, '1012 00044d515454 041e0000 000163 000177 0000', willQos3],
    ['MQTT-3.1.2-22', 'no password without user', 0, '1010 00044d515454 04 42 0000 000163 000170', lonelyPassword],
    ['MQTT-3.1.4-1', 'CONNECT ends with its last field', 0, '100e 00044d515454 04 02 0000 000163 00', unread],

    // DISCONNECT and AUTH.
    ['MQTT-3.14.1-1', 'DISCONNECT is empty before v5', 4, 'e00100', (f) => is(f, 'disconnect') && f.version !== 5],
    ['MQTT-3.14.2-1', 'a reason of a client', 5, 'e0018b', serversReason],
    ['MQTT-3.14.2', 'DISCONNECT ends with its properties', 5, 'e003000000', (f) => is(f, 'disconnect') && unread(f)],
    ['MQTT-3.15.2-1', 'success is for servers to say', 5, 'f00100', (f) => is(f, 'auth') && codeOf(f) === 0],
    ['MQTT-3.15.2', 'AUTH ends with its properties', 5, 'f003180000', (f) => is(f, 'auth') && unread(f)],
    ['MQTT-4.12.0-5', 'AUTH by the method of CONNECT', 5, 'f006 18 04 15000178', (f) => is(f, 'auth')],
    ['MQTT-4.12.0-7', 'AUTH after a method', 0, `${connect5('')} f002 18 00`, (f) => is(f, 'auth')],
  ] as const satisfies readonly (readonly [string, string, number, string, (frame: Judged) => boolean])[]
).map(([clause, what, version, example, holds]) => ({ clause, what, version, example, holds }))

/** All that mqtt-packet refuses and we take, as MQTT 3.1 does. The examples are refused in 3.1.1. */
export const laxer: readonly { readonly what: string; readonly version: 0 | 3; readonly example: string }[] = [
  { what: 'DUP on a PUBREL that comes again', version: 3, example: '6a02 0001' },
  { what: 'DUP on a SUBSCRIBE that comes again', version: 3, example: '8a06 0001 000161 00' },
  { what: 'DUP on an UNSUBSCRIBE that comes again', version: 3, example: 'aa05 0001 000161' },
  { what: 'a password announced and left out', version: 0, example: '1012 00064d5149736470 03 c2 0000 000163 000175' },
  { what: 'credentials announced and left out', version: 0, example: '100f 00064d5149736470 03 c2 0000 000163' },
]

/** The same frame as mqtt-packet may take it, when it is one of `laxer`. */
export function tamed({ version, bytes, body }: Pick<Frame, 'version' | 'bytes' | 'body'>): Uint8Array[] {
  if (version === 3 && [0x6a, 0x8a, 0xaa].includes(bytes[0]!)) return [cleared(bytes, 0, 0x08)]
  if (version === undefined && bytes[0] === 0x10 && bytes[body + 8] === 3)
    return [cleared(bytes, body + 9, 0x40), cleared(bytes, body + 9, 0xc0)]
  return []
}

function cleared(bytes: Uint8Array, at: number, bits: number): Uint8Array {
  const tame = Uint8Array.from(bytes)
  tame[at]! &= ~bits
  return tame
}

/** CONNECT of a v5 client 'c' with these properties (less than 128 bytes). */
function connect5(properties: string): string {
  const length = properties.length / 2
  const byte = (value: number): string => value.toString(16).padStart(2, '0')
  return `10${byte(14 + length)} 00044d515454 05 02 0000 ${byte(length)} ${properties} 000163`
}

const unnamable = /[\u0001-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/

const serverReasons = [0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2]

const flags = standardProperties.flatMap(([id, , kind]) => (kind === 'flag' ? [id] : []))
const places = new Map<number, readonly PlaceName[]>(standardProperties.map(([id, , , where]) => [id, where]))

function is(frame: Judged, cmd: Packet['cmd']): boolean {
  return frame.packet?.cmd === cmd
}

function isAck(frame: Judged): boolean {
  return /puback|pubrec|pubrel|pubcomp/.test(frame.packet?.cmd ?? '')
}

function first(frame: Judged): boolean {
  return frame.version === undefined
}

/** Did mqtt-packet leave bytes of the packet unread? */
function unread(frame: Judged): boolean {
  return frame.read < frame.total - frame.body
}

function overruns(frame: Judged): boolean {
  return hasHole(frame.packet) || blocksIn(frame).some(({ fits }) => !fits)
}

/** mqtt-packet gives null, -1 or undefined for a field that is not there. */
function hasHole(value: unknown): boolean {
  if (value === null || value === -1 || value === undefined) return true
  return typeof value === 'object' && !Buffer.isBuffer(value) && Object.values(value).some(hasHole)
}

/** Does a text of the packet match? Names of user properties are text, too. */
function says({ packet }: Judged, pattern: RegExp): boolean {
  const search = (value: unknown): boolean =>
    typeof value === 'string'
      ? pattern.test(value)
      : typeof value === 'object' &&
        value !== null &&
        !Buffer.isBuffer(value) &&
        Object.entries(value).some(([name, inner]) => pattern.test(name) || search(inner))
  return search(packet)
}

function blocksIn(frame: Judged): Block[] {
  const version = frame.version ?? (frame.packet as IConnectPacket | undefined)?.protocolVersion
  return version === 5 ? blocksOf(frame) : []
}

function values(frame: Judged, ...ids: number[]): Uint8Array[] {
  return blocksIn(frame).flatMap(({ properties }) =>
    properties.filter(({ id }) => ids.includes(id)).map(({ value }) => value),
  )
}

function has(frame: Judged, id: number): boolean {
  return blocksIn(frame).some(({ ids }) => ids.includes(id))
}

function isZero(value: Uint8Array): boolean {
  return value.every((byte) => byte === 0)
}

function misplaced(frame: Judged): boolean {
  return blocksIn(frame).some(({ place, ids }) => ids.some((id) => !places.get(id)!.includes(place)))
}

function repeats({ ids }: Block): boolean {
  const single = ids.filter((id) => id !== 0x26)
  return new Set(single).size < single.length
}

function tooMany(frame: Judged): boolean {
  const { userProperties, userPropertyBytes } = frame.limits
  return blocksIn(frame).some(({ properties }) => {
    const pairs = properties.filter(({ id }) => id === 0x26)
    return (
      pairs.length > userProperties || pairs.reduce((sum, { value }) => sum + 1 + value.length, 0) > userPropertyBytes
    )
  })
}

function badResponseTopic(frame: Judged): boolean {
  return values(frame, 0x08).some((value) => value.length === 2 || /[+#]/.test(Buffer.from(value).toString('latin1')))
}

function aliasOf(frame: Judged): number {
  const [alias] = values(frame, 0x23)
  return alias ? alias[0]! * 256 + alias[1]! : 0
}

function publishesId(frame: Judged): boolean {
  return is(frame, 'publish') && has(frame, 0x0b)
}

function claimsText(frame: Judged): boolean {
  return values(frame, 0x01).some(([claim]) => claim === 1)
}

function noTopicOrAlias(frame: Judged): boolean {
  return noTopic(frame) || values(frame, 0x23).some(isZero)
}

function noTopic(frame: Judged): boolean {
  return frame.version === 5 && is(frame, 'publish') && !frame.topic
}

function willOf({ packet }: Judged): IConnectPacket['will'] {
  return packet?.cmd === 'connect' ? packet.will : undefined
}

function topicOf(frame: Judged): string | undefined {
  return is(frame, 'publish') ? (frame.packet as IPublishPacket).topic : willOf(frame)?.topic
}

function willQos3(frame: Judged): boolean {
  return Number(willOf(frame)?.qos) === 3
}

function tooDeep(frame: Judged): boolean {
  return topicOf(frame)!.split('/').length > 100
}

function noFilter({ packet }: Judged): boolean {
  const { subscriptions, unsubscriptions } = packet as { subscriptions?: object[]; unsubscriptions?: string[] }
  return (subscriptions ?? unsubscriptions)?.length === 0
}

function filtersOf({ packet }: Judged): ISubscribePacket['subscriptions'] {
  return packet?.cmd === 'subscribe' ? packet.subscriptions : []
}

function noLocalGroup(frame: Judged): boolean {
  return filtersOf(frame).some(({ topic, nl }) => nl && topic.startsWith('$share/'))
}

function isPair({ packet }: Judged): boolean {
  const { protocolId, protocolVersion, bridgeMode } = packet as IConnectPacket & { bridgeMode?: boolean }
  return !bridgeMode && (protocolId === 'MQTT' ? protocolVersion! > 3 : protocolVersion === 3)
}

function lonelyPassword({ packet }: Judged): boolean {
  const { username, password, protocolVersion } = packet as IConnectPacket
  return protocolVersion !== 5 && username === undefined && password !== undefined
}

function serversReason(frame: Judged): boolean {
  return is(frame, 'disconnect') && serverReasons.includes(codeOf(frame))
}

function codeOf({ packet }: Judged): number {
  return (packet as { reasonCode: number }).reasonCode
}
