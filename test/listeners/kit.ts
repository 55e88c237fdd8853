import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import mqttPacket from 'mqtt-packet'
import type { TestBroker } from '../support/broker.ts'
import { connectPacket } from '../support/raw.ts'

/** A CONNECT of MQTT 5.0 that everybody may send. */
export const connectBytes = mqttPacket.generate(connectPacket(5, { clientId: '' }), { protocolVersion: 5 })

export const transports = ['tcp', 'tls', 'ws', 'wss'] as const
export type Transport = (typeof transports)[number]

export function portOf(broker: TestBroker, transport: Transport): number {
  return transport === 'tcp' ? broker.port : Number(new URL(broker[transport]).port)
}

/** A socket of ours, whose errors are nobody's. */
export async function dialed(broker: TestBroker, transport: Transport): Promise<Socket> {
  const socket = connectTcp(portOf(broker, transport), '127.0.0.1').on('error', () => {})
  await once(socket, 'connect')
  return socket
}

export function gone(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve()
    else socket.resume().once('close', () => resolve())
  })
}

interface Said {
  /** Before anything else. */
  readonly first?: Uint8Array | string
  /** Of the request for a WebSocket. */
  readonly headers?: Record<string, string>
}

/**
 * Goes as far as CONNACK over any transport. @returns how to close it; undefined when the broker has closed first
 */
export async function greeted(
  broker: TestBroker,
  transport: Transport,
  said: Said = {},
): Promise<(() => void) | undefined> {
  return introduced(await dialed(broker, transport), transport, said)
}

/** The same, on a connection that is open. */
export async function introduced(
  plain: Socket,
  transport: Transport,
  { first, headers = {} }: Said = {},
): Promise<(() => void) | undefined> {
  if (first !== undefined) plain.write(first)
  const isSecure = transport === 'tls' || transport === 'wss'
  const socket = isSecure ? connectTls({ socket: plain, rejectUnauthorized: false }).on('error', () => {}) : plain
  const end = (): void => void plain.destroy()
  if (transport === 'tcp' || transport === 'tls') {
    socket.write(connectBytes)
    return (await firstOf(socket, 'data')) ? end : undefined
  }
  // Nobody else's code between, so that what is sent is what stands here.
  const lines = { host: '127.0.0.1', connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' }
  const more = {
    'sec-websocket-key': Buffer.alloc(16).toString('base64'),
    'sec-websocket-protocol': 'mqtt',
    ...headers,
  }
  const text = Object.entries({ ...lines, ...more }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`GET /mqtt HTTP/1.1\r\n${text.join('')}\r\n`)
  const answer = await firstOf(socket, 'data')
  if (!answer?.toString().startsWith('HTTP/1.1 101')) return undefined
  socket.write(frame(connectBytes))
  return (await firstOf(socket, 'data')) ? end : undefined
}

function firstOf(socket: Socket, event: 'data'): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    socket.once(event, resolve).once('close', () => resolve(undefined))
  })
}

/** A binary frame as a client sends it, with a mask of zeros. @param head its first byte: final and binary */
export function frame(bytes: Uint8Array, head = 0x82): Buffer {
  const length =
    bytes.length < 126 ? [0x80 | bytes.length] : [0x80 | 126, (bytes.length >> 8) & 255, bytes.length & 255]
  return Buffer.concat([Buffer.from([head, ...length, 0, 0, 0, 0]), bytes])
}
