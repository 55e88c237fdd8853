import type { IConnectPacket } from 'mqtt-packet'
import type { Wish } from './history.ts'
import type { Capacity } from './receiver.ts'

export interface ClientOptions extends Capacity {
  readonly id: string
  /** What it keeps of its session beyond a connection, in seconds; 0: nothing. */
  readonly expirySeconds: number
  readonly keepAliveSeconds: number
}

/** What a CONNECT may bring along. */
export interface ConnectWish {
  readonly clean: boolean
  readonly will?: Wish & { readonly delaySeconds: number }
  /** Sent right behind CONNECT, without waiting for CONNACK (MQTT 5.0, 3.1.4). */
  readonly inHaste?: () => void
}

export function connectPacket(
  options: ClientOptions,
  clean: boolean,
  will: ConnectWish['will'],
  willPayload: Buffer | undefined,
): IConnectPacket {
  const { id, version, expirySeconds, keepAliveSeconds, maximumPacketBytes } = options
  const v5 = version === 5
  return {
    cmd: 'connect',
    clientId: id,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: version,
    clean,
    keepalive: keepAliveSeconds,
    ...(v5 && {
      properties: {
        sessionExpiryInterval: expirySeconds,
        receiveMaximum: options.receiveMaximum,
        topicAliasMaximum: options.topicAliasMaximum,
        ...(maximumPacketBytes < Infinity && { maximumPacketSize: maximumPacketBytes }),
      },
    }),
    ...(will &&
      willPayload && {
        will: {
          topic: will.topic,
          payload: willPayload,
          qos: will.qos,
          retain: will.retain,
          ...(v5 && { properties: { willDelayInterval: will.delaySeconds } }),
        },
      }),
  }
}
