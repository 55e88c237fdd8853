import type { IPublishPacket } from 'mqtt'

/** A message as it arrived. */
export interface Received {
  readonly topic: string
  readonly payload: Buffer
  readonly packet: IPublishPacket
  readonly at: Date
}

/** User properties in order of their names' first appearance: the codec groups them. */
export function userProperties({ packet }: Received): readonly (readonly [name: string, value: string])[] {
  return Object.entries(packet.properties?.userProperties ?? {}).flatMap(([name, values]) =>
    (Array.isArray(values) ? values : [values]).map((value) => [name, value] as const),
  )
}

/** One line of `sub --json`. A payload that is no UTF-8 goes in base64, so that nothing is lost. */
export function jsonLine(message: Received): string {
  const { topic, payload, packet, at } = message
  const text = asText(payload)
  const { userProperties: _grouped, correlationData, ...properties } = packet.properties ?? {}
  const user = userProperties(message)
  const record = {
    schemaVersion: 1,
    time: at.toISOString(),
    topic,
    qos: packet.qos,
    retain: packet.retain,
    ...(packet.dup && { dup: true }),
    ...(packet.messageId && { messageId: packet.messageId }),
    payload: text ?? payload.toString('base64'),
    encoding: text === undefined ? 'base64' : 'utf8',
    ...(packet.properties && {
      properties: {
        ...properties,
        ...(correlationData && { correlationData: correlationData.toString('base64') }),
        ...(user.length > 0 && { userProperties: user }),
      },
    }),
  }
  return JSON.stringify(record)
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function asText(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}
