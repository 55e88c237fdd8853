import { isUtf8 } from 'node:buffer'
import mqttPacket, {
  type IAuthPacket,
  type IConnectPacket,
  type IDisconnectPacket,
  type ISubscribePacket,
  type IUnsubscribePacket,
} from 'mqtt-packet'
import { copyBytes } from './bytes.ts'
import { CheckedProperties, checkProperties, forwardedProperties, Place, type PropertyLimits } from './properties.ts'
import { malformed, protocolError, Reader } from './reader.ts'
import { assert, MqttError, publishReasons, Reason } from './reason.ts'
import { parseTopicName, type QoS } from './topic.ts'

// The packets off the hot path. Each is first checked here, clause by clause, where mqtt-packet is lenient; then
// mqtt-packet decodes it. What the broker acts on comes out as our own types.

export type Version = 3 | 4 | 5

export interface WillPacket {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: QoS
  readonly retain: boolean
  readonly delaySeconds: number
  /** -1: never expires. */
  readonly expirySeconds: number
  /** Forwarded MQTT 5 properties, encoded. */
  readonly properties: Uint8Array | undefined
}

export interface ConnectPacket {
  readonly version: Version
  readonly clean: boolean
  readonly keepAliveSeconds: number
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Uint8Array | undefined
  readonly will: WillPacket | undefined
  /** As asked for; 3.x: 0 when clean, else Infinity. */
  readonly sessionExpirySeconds: number
  readonly receiveMaximum: number
  /** Infinity when not limited. */
  readonly maximumPacketBytes: number
  readonly topicAliasMaximum: number
  readonly wantsResponseInformation: boolean
  readonly wantsProblemInformation: boolean
  /** It said so; the default is to want it. */
  readonly asksForProblemInformation: boolean
  readonly authenticationMethod: string | undefined
  readonly authenticationData: Uint8Array | undefined
}

export interface SubscribeEntry {
  readonly filter: string
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: 0 | 1 | 2
}

export interface SubscribePacket {
  readonly packetId: number
  /** 0: none. */
  readonly subscriptionId: number
  readonly entries: readonly SubscribeEntry[]
}

export interface UnsubscribePacket {
  readonly packetId: number
  readonly filters: readonly string[]
}

export interface DisconnectPacket {
  readonly reason: number
  readonly sessionExpirySeconds: number | undefined
}

export interface AuthPacket {
  readonly reason: number
  readonly method: string | undefined
  readonly data: Uint8Array | undefined
}

export interface DecoderLimits extends PropertyLimits {
  /** A SUBSCRIBE or UNSUBSCRIBE may name so many filters, or a thousand, whichever is more. */
  readonly subscriptionsPerSession: number
}

/** Decodes for all clients of a broker: it holds no state between packets, only what it needs while it reads one. */
export class PacketDecoder {
  readonly #limits: DecoderLimits
  readonly #reader = new Reader()
  readonly #properties = new CheckedProperties()
  readonly #willProperties = new CheckedProperties()
  readonly #reference = new ReferenceDecoder()

  constructor(limits: DecoderLimits) {
    this.#limits = limits
  }

  /**
   * Decodes CONNECT. `frame` is the whole packet, its content starts at `body`; the same holds for the other packets.
   * @throws MqttError; 0x84 when the version is none that we speak, else as section 3.1 says.
   */
  connect(frame: Uint8Array, body: number): ConnectPacket {
    const reader = this.#reader.over(frame, body, frame.length)
    const version = checkProtocol(reader)
    const flagsAt = reader.at
    const flags = reader.u8()
    checkConnectFlags(flags, version)
    reader.u16()
    this.#properties.clear()
    if (version === 5) this.#check(Place.connect)
    const method = this.#properties.authenticationMethod
    reader.text()
    if (flags & 0x04) {
      this.#willProperties.clear()
      if (version === 5) checkProperties(reader, Place.will, this.#limits, this.#willProperties)
      parseTopicName(reader.text())
      reader.skipPrefixed()
    }
    let announced = flags
    for (const flag of [0x80, 0x40]) {
      if (!(flags & flag)) continue
      // 3.1 lets a client announce a user name and a password, and leave them out: the length decides.
      if (version === 3 && reader.left === 0) announced &= ~flag
      else if (flag === 0x80) reader.text()
      else reader.skipPrefixed()
    }
    if (reader.left > 0) throw malformed('MQTT-3.1.4-1', 'bytes are left behind the last field of CONNECT')
    const packet = this.#reference.decode(withFlags(frame, flagsAt, announced), version) as IConnectPacket
    const asked = packet.properties
    if (asked?.authenticationData && method === undefined)
      throw protocolError('MQTT-3.1.2.11.10', 'authentication data without a method')
    return {
      version,
      clean: packet.clean === true,
      keepAliveSeconds: packet.keepalive ?? 0,
      clientId: packet.clientId,
      username: packet.username,
      password: packet.password && Buffer.from(packet.password),
      will: packet.will && this.#will(packet.will, frame),
      sessionExpirySeconds: version === 5 ? (asked?.sessionExpiryInterval ?? 0) : packet.clean ? 0 : Infinity,
      receiveMaximum: asked?.receiveMaximum ?? 65_535,
      maximumPacketBytes: asked?.maximumPacketSize ?? Infinity,
      topicAliasMaximum: asked?.topicAliasMaximum ?? 0,
      wantsResponseInformation: asked?.requestResponseInformation === true,
      wantsProblemInformation: asked?.requestProblemInformation !== false,
      asksForProblemInformation: asked?.requestProblemInformation === true,
      authenticationMethod: method,
      authenticationData: asked?.authenticationData && Buffer.from(asked.authenticationData),
    }
  }

  #will(will: NonNullable<IConnectPacket['will']>, frame: Uint8Array): WillPacket {
    const payload = typeof will.payload === 'string' ? Buffer.from(will.payload) : will.payload
    if (this.#willProperties.payloadIsText) checkPayloadFormat(payload)
    return {
      topic: will.topic,
      payload: copyBytes(payload, 0, payload.length),
      qos: will.qos ?? 0,
      retain: will.retain === true,
      delaySeconds: this.#willProperties.willDelaySeconds,
      expirySeconds: this.#willProperties.messageExpirySeconds,
      properties: forwardedProperties(frame, this.#willProperties),
    }
  }

  /** Decodes SUBSCRIBE. Filters are checked one by one later: a bad one fails alone, in SUBACK. */
  subscribe(frame: Uint8Array, body: number, version: Version): SubscribePacket {
    const reader = this.#reader.over(frame, body, frame.length)
    checkPacketId(reader)
    if (version === 5) this.#check(Place.subscribe)
    if (reader.left === 0) throw protocolError('MQTT-3.8.3-2', 'SUBSCRIBE without a topic filter')
    for (let filters = 1; reader.left > 0; filters++) {
      this.#checkFilters(filters)
      const filter = reader.text()
      const options = reader.u8()
      if ((options & 3) === 3) throw malformed('MQTT-3.8.3-5', 'subscription QoS 3')
      if (options & (version === 5 ? 0xc0 : 0xfc)) throw malformed('MQTT-3.8.3-5', 'reserved subscription options')
      if ((options & 0x30) === 0x30) throw protocolError('MQTT-3.8.3.1', 'retain handling 3')
      if (options & 4 && filter.startsWith('$share/'))
        throw protocolError('MQTT-3.8.3-4', 'no local on a shared subscription')
    }
    const packet = this.#reference.decode(frame, version) as ISubscribePacket
    return {
      packetId: packet.messageId!,
      subscriptionId: packet.properties?.subscriptionIdentifier ?? 0,
      entries: packet.subscriptions.map(({ topic, qos, nl, rap, rh }) => ({
        filter: topic,
        qos,
        noLocal: nl === true,
        retainAsPublished: rap === true,
        retainHandling: (rh ?? 0) as 0 | 1 | 2,
      })),
    }
  }

  unsubscribe(frame: Uint8Array, body: number, version: Version): UnsubscribePacket {
    const reader = this.#reader.over(frame, body, frame.length)
    checkPacketId(reader)
    if (version === 5) this.#check(Place.unsubscribe)
    if (reader.left === 0) throw protocolError('MQTT-3.10.3-2', 'UNSUBSCRIBE without a topic filter')
    for (let filters = 1; reader.left > 0; filters++) {
      this.#checkFilters(filters)
      reader.text()
    }
    const packet = this.#reference.decode(frame, version) as IUnsubscribePacket
    return { packetId: packet.messageId!, filters: packet.unsubscriptions }
  }

  disconnect(frame: Uint8Array, body: number, version: Version): DisconnectPacket {
    const reader = this.#reader.over(frame, body, frame.length)
    if (version !== 5 && reader.left > 0) throw malformed('MQTT-3.14.1-1', 'DISCONNECT with content')
    if (reader.left === 0) return { reason: Reason.success, sessionExpirySeconds: undefined }
    const reason = reader.u8()
    if (!clientDisconnectReasons.includes(reason))
      throw protocolError('MQTT-3.14.2-1', `a client may not disconnect with 0x${reason.toString(16)}`)
    if (reader.left > 0) this.#check(Place.disconnect)
    if (reader.left > 0) throw malformed('MQTT-3.14.2', 'bytes are left behind DISCONNECT')
    const packet = this.#reference.decode(frame, version) as IDisconnectPacket
    return { reason, sessionExpirySeconds: packet.properties?.sessionExpiryInterval }
  }

  auth(frame: Uint8Array, body: number): AuthPacket {
    const reader = this.#reader.over(frame, body, frame.length)
    const reason = reader.left === 0 ? Reason.success : reader.u8()
    if (reason !== Reason.continueAuthentication && reason !== Reason.reauthenticate)
      throw protocolError('MQTT-3.15.2-1', `a client may not send AUTH with 0x${reason.toString(16)}`)
    if (reader.left > 0) this.#check(Place.auth)
    if (reader.left > 0) throw malformed('MQTT-3.15.2', 'bytes are left behind AUTH')
    const packet = this.#reference.decode(frame, 5) as IAuthPacket
    const data = packet.properties?.authenticationData
    return { reason, method: packet.properties?.authenticationMethod, data: data && Buffer.from(data) }
  }

  /** The reason in a v5 PUBACK, PUBREC, PUBREL or PUBCOMP that goes on behind its packet id, at `at`. */
  ackReason(bytes: Uint8Array, at: number, end: number, place: AckPlace): number {
    const reader = this.#reader.over(bytes, at, end)
    const reason = reader.u8()
    const { codes, clause } = ackReasons[place]
    if (!codes.includes(reason)) throw protocolError(clause, `0x${reason.toString(16)} is no reason of this packet`)
    if (reader.left > 0) this.#check(place)
    if (reader.left > 0) throw malformed(clause, 'bytes are left behind an acknowledgement')
    return reason
  }

  /** The properties of a PUBLISH; leaves where they end in `end`. The result is good until the next call. */
  publishProperties(bytes: Uint8Array, at: number, end: number): CheckedProperties {
    this.#reader.over(bytes, at, end)
    return this.#check(Place.publish)
  }

  // A packet of the size that we take could name half a million.
  #checkFilters(count: number): void {
    const most = Math.max(1000, this.#limits.subscriptionsPerSession)
    if (count > most)
      throw new MqttError(Reason.quotaExceeded, 'MQTT-3.8.3', `a packet may name ${most} topic filters at most`)
  }

  #check(place: Place): CheckedProperties {
    return checkProperties(this.#reader, place, this.#limits, this.#properties)
  }
}

function checkProtocol(reader: Reader): Version {
  const name = reader.text()
  const level = reader.u8()
  if (name === 'MQTT' ? level === 4 || level === 5 : name === 'MQIsdp' && level === 3) return level as Version
  if (name !== 'MQTT' && name !== 'MQIsdp') throw malformed('MQTT-3.1.2-1', `"${name}" is not a protocol of ours`)
  throw new MqttError(Reason.unsupportedProtocolVersion, 'MQTT-3.1.2-2', `${name} level ${level} is not spoken here`)
}

function checkConnectFlags(flags: number, version: Version): void {
  if (flags & 0x01) throw malformed('MQTT-3.1.2-3', 'the reserved connect flag is set')
  const willQos = (flags >> 3) & 3
  if (willQos === 3) throw malformed('MQTT-3.1.2-12', 'will QoS 3')
  if (!(flags & 0x04)) {
    if (willQos !== 0) throw malformed('MQTT-3.1.2-11', 'a will QoS without a will')
    if (flags & 0x20) throw malformed('MQTT-3.1.2-13', 'will retain without a will')
  }
  if (version !== 5 && (flags & 0xc0) === 0x40) throw malformed('MQTT-3.1.2-22', 'a password without a user name')
}

function withFlags(frame: Uint8Array, at: number, flags: number): Uint8Array {
  if (frame[at] === flags) return frame
  const changed = copyBytes(frame, 0, frame.length)
  changed[at] = flags
  return changed
}

function checkPacketId(reader: Reader): void {
  if (reader.u16() === 0) throw protocolError('MQTT-2.2.1-3', 'packet id 0')
}

/** @throws MqttError 0x99 when a payload that claims to be text is no UTF-8 (MQTT 5.0, 3.3.2.3.2). */
export function checkPayloadFormat(payload: Uint8Array): void {
  if (!isUtf8(payload))
    throw new MqttError(Reason.payloadFormatInvalid, 'MQTT-3.3.2.3.2', 'the payload is not the UTF-8 that it claims')
}

const clientDisconnectReasons: readonly number[] = [
  0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
]

const releaseReasons: readonly number[] = [0x00, 0x92]
export type AckPlace = typeof Place.puback | typeof Place.pubrec | typeof Place.pubrel | typeof Place.pubcomp
const ackReasons: Record<AckPlace, { codes: readonly number[]; clause: string }> = {
  [Place.puback]: { codes: publishReasons, clause: 'MQTT-3.4.2-1' },
  [Place.pubrec]: { codes: publishReasons, clause: 'MQTT-3.5.2-1' },
  [Place.pubrel]: { codes: releaseReasons, clause: 'MQTT-3.6.2-1' },
  [Place.pubcomp]: { codes: releaseReasons, clause: 'MQTT-3.7.2-1' },
}

/** mqtt-packet, one parser for each version. It is never handed what the checks above have not passed. */
class ReferenceDecoder {
  readonly #parsers = new Map<Version, ReferenceParser>()
  #decoded: object | undefined = undefined

  decode(frame: Uint8Array, version: Version): object {
    let parser = this.#parsers.get(version)
    if (!parser) {
      parser = mqttPacket.parser() as unknown as ReferenceParser
      parser.on('packet', (packet) => (this.#decoded = packet))
      parser.on('error', (fault) => (this.#decoded = fault))
      this.#parsers.set(version, parser)
    }
    // CONNECT leaves its own packet there as the settings of what follows.
    parser.settings = { protocolVersion: version }
    parser.parse(frame)
    const decoded = this.#decoded
    this.#decoded = undefined
    const refusal = decoded instanceof Error ? decoded.message : 'no packet'
    assert(decoded !== undefined && !(decoded instanceof Error), `mqtt-packet refused a checked frame: ${refusal}`)
    return decoded
  }
}

interface ReferenceParser {
  settings: { protocolVersion: number }
  parse(frame: Uint8Array): number
  on(event: 'packet' | 'error', listener: (what: object) => void): void
}
