import { generate } from 'mqtt-packet'
import type { QoS } from '../../mqtt/topic.ts'

export type Version = 4 | 5

export interface Login {
  readonly version: Version
  readonly username?: string
  readonly password?: string
}

/** Long enough to come back for what was queued; only version 5 says it. */
const sessionExpirySeconds = 7200

/**
 * @param keepAliveSeconds longer than the run, so that nobody has to ping.
 * @param persistent its session stays when it leaves, and is taken up again
 */
export function connectFrame(clientId: string, login: Login, keepAliveSeconds: number, persistent: boolean): Buffer {
  return generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: login.version,
    clean: !persistent,
    clientId,
    keepalive: keepAliveSeconds,
    ...(persistent && login.version === 5 ? { properties: { sessionExpiryInterval: sessionExpirySeconds } } : {}),
    ...(login.username === undefined ? {} : { username: login.username }),
    ...(login.password === undefined ? {} : { password: Buffer.from(login.password) }),
  })
}

export function subscribeFrame(filter: string, qos: QoS, version: Version): Buffer {
  return generate(
    { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos }] },
    { protocolVersion: version },
  )
}

export const pingFrame = generate({ cmd: 'pingreq' })

const disconnectFrames = {
  4: generate({ cmd: 'disconnect' }),
  5: generate({ cmd: 'disconnect' }, { protocolVersion: 5 }),
}

/** Ends the connection in order; the session keeps the expiry that it has. */
export function disconnectFrame(version: Version): Buffer {
  return disconnectFrames[version]
}

/** Where the payload of a measured message carries what: see `Sender` and `Inspector`. */
export const stampAt = 0 // float64, microseconds of the run's clock
export const publisherAt = 8 // uint32
export const sequenceAt = 12 // uint32, from 1
export const stampBytes = 8
export const orderBytes = 16

/** A run of identical PUBLISH frames: what a publisher writes at once, or copies and numbers. */
export class Batch {
  readonly bytes: Buffer
  readonly frameBytes: number
  readonly frames: number
  /** Offset of the packet id in a frame; meaningless at QoS 0. */
  readonly idAt: number
  readonly payloadAt: number

  constructor(
    topic: string,
    readonly qos: QoS,
    version: Version,
    payloadBytes: number,
    mostBytes: number,
  ) {
    const payload = Buffer.alloc(payloadBytes, 'x')
    const frame = generate(
      { cmd: 'publish', topic, qos, payload, dup: false, retain: false, ...(qos > 0 ? { messageId: 1 } : {}) },
      { protocolVersion: version },
    )
    this.frameBytes = frame.length
    this.frames = Math.max(1, Math.floor(mostBytes / frame.length))
    this.bytes = Buffer.alloc(this.frames * frame.length, frame)
    this.payloadAt = frame.length - payloadBytes
    this.idAt = this.payloadAt - (version === 5 ? 1 : 0) - 2
  }
}
