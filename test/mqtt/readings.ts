import type { IConnectPacket, IPublishPacket, ISubscribePacket, Packet } from 'mqtt-packet'
import type { Message } from '../../src/mqtt/message.ts'
import type {
  AuthPacket,
  ConnectPacket,
  DisconnectPacket,
  SubscribePacket,
  UnsubscribePacket,
  WillPacket,
} from '../../src/mqtt/packets.ts'
import { decodeProperties } from './reference.ts'

// What a packet says, as a line of text: by our codec and by mqtt-packet. The same packet gives the same line.

export function ourPublish(message: Message, packetId: number, nowMs: number): string {
  const { topic, qos, retain, expiresAtMs, properties } = message
  const expiry = expiresAtMs === Infinity ? undefined : (expiresAtMs - nowMs) / 1000
  return publish(topic.name, qos, retain, packetId, expiry, decodeProperties(properties), message.payload())
}

/** `topic`: what an alias stands for. */
export function theirPublish(packet: IPublishPacket, topic: string | undefined): string {
  const { qos, retain, messageId, properties } = packet
  const { messageExpiryInterval, topicAlias: _, ...forwarded } = properties ?? {}
  const payload = packet.payload as Buffer
  return publish(topic, qos, retain, messageId ?? 0, messageExpiryInterval, forwarded, payload)
}

function publish(
  topic: string | undefined,
  qos: number,
  retain: boolean,
  packetId: number,
  expiry: number | undefined,
  properties: object | undefined,
  payload: Uint8Array,
): string {
  const said = properties && Object.keys(properties).length > 0 ? properties : undefined
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString('latin1')
  return line('publish', topic, qos, retain, packetId, expiry, said, bytes)
}

export function ourAck(cmd: string, packetId: number, reason: number): string {
  return line(cmd, packetId, reason)
}

export function ourConnect(packet: ConnectPacket): string {
  return line(
    'connect',
    packet.version,
    packet.clean,
    packet.keepAliveSeconds,
    packet.clientId,
    packet.username,
    packet.password && Buffer.from(packet.password).toString('hex'),
    packet.will && ourWill(packet.will),
    String(packet.sessionExpirySeconds),
    packet.receiveMaximum,
    String(packet.maximumPacketBytes),
    packet.topicAliasMaximum,
    packet.wantsResponseInformation,
    packet.wantsProblemInformation,
    packet.authenticationMethod,
    packet.authenticationData && Buffer.from(packet.authenticationData).toString('hex'),
  )
}

function ourWill({ topic, payload, qos, retain, delaySeconds, expirySeconds, properties }: WillPacket): unknown[] {
  const bytes = Buffer.from(payload).toString('latin1')
  return [topic, qos, retain, delaySeconds, expirySeconds, decodeProperties(properties) ?? {}, bytes]
}

function theirConnect(packet: IConnectPacket): string {
  const { clean, properties = {} } = packet
  const v5 = packet.protocolVersion === 5
  return line(
    'connect',
    packet.protocolVersion,
    clean,
    packet.keepalive,
    packet.clientId,
    packet.username,
    packet.password?.toString('hex'),
    packet.will && theirWill(packet.will),
    String(v5 ? (properties.sessionExpiryInterval ?? 0) : clean ? 0 : Infinity),
    properties.receiveMaximum ?? 65_535,
    String(properties.maximumPacketSize ?? Infinity),
    properties.topicAliasMaximum ?? 0,
    properties.requestResponseInformation ?? false,
    properties.requestProblemInformation ?? true,
    properties.authenticationMethod,
    properties.authenticationData?.toString('hex'),
  )
}

function theirWill({ topic, payload, qos, retain, properties }: NonNullable<IConnectPacket['will']>): unknown[] {
  const { willDelayInterval = 0, messageExpiryInterval = -1, ...forwarded } = properties ?? {}
  const bytes = (payload as Buffer).toString('latin1')
  return [topic, qos, retain, willDelayInterval, messageExpiryInterval, forwarded, bytes]
}

export function ourSubscribe(packet: SubscribePacket): string {
  const entries = packet.entries.map((entry) => [
    entry.filter,
    entry.qos,
    entry.noLocal,
    entry.retainAsPublished,
    entry.retainHandling,
  ])
  return line('subscribe', packet.packetId, packet.subscriptionId, entries)
}

export function ourUnsubscribe(packet: UnsubscribePacket): string {
  return line('unsubscribe', packet.packetId, packet.filters)
}

export function ourDisconnect(packet: DisconnectPacket): string {
  return line('disconnect', packet.reason, packet.sessionExpirySeconds)
}

export function ourAuth(packet: AuthPacket): string {
  return line('auth', packet.reason, packet.method, packet.data && Buffer.from(packet.data).toString('hex'))
}

/** A packet as mqtt-packet reads it; undefined for one that only a server sends. */
export function theirs(packet: Packet, topic: string | undefined): string | undefined {
  switch (packet.cmd) {
    case 'connect':
      return theirConnect(packet)
    case 'publish':
      return theirPublish(packet, topic)
    case 'puback':
    case 'pubrec':
      return line(packet.cmd, packet.messageId, packet.reasonCode ?? 0)
    case 'pubrel':
    case 'pubcomp':
      return line(packet.cmd, packet.messageId, 0)
    case 'subscribe':
      return theirSubscribe(packet)
    case 'unsubscribe':
      return line('unsubscribe', packet.messageId, packet.unsubscriptions)
    case 'pingreq':
      return 'pingreq'
    case 'disconnect': {
      const { reasonCode, properties } = packet
      return line('disconnect', reasonCode ?? 0, properties?.sessionExpiryInterval)
    }
    case 'auth': {
      const { reasonCode, properties } = packet
      const data = properties?.authenticationData?.toString('hex')
      return line('auth', reasonCode, properties?.authenticationMethod, data)
    }
    default:
      return undefined
  }
}

function theirSubscribe(packet: ISubscribePacket): string {
  const entries = packet.subscriptions.map(({ topic, qos, nl, rap, rh }) => [
    topic,
    qos,
    nl ?? false,
    rap ?? false,
    rh ?? 0,
  ])
  return line('subscribe', packet.messageId, packet.properties?.subscriptionIdentifier ?? 0, entries)
}

function line(...said: unknown[]): string {
  return JSON.stringify(said)
}
