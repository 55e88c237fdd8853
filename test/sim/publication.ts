import type { QoS } from '../../src/mqtt/topic.ts'
import type { Client } from './client.ts'

/** A message, from the publisher's side. `seq` counts the events of the world. */
export interface Publication {
  /** Stands at the start of the payload; '' for an empty payload. */
  readonly id: string
  /** Its place among the publications of a world. */
  readonly number: number
  readonly by: Client
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  readonly payload: Buffer
  readonly isWill: boolean
  /** -1: never expires. */
  readonly expirySeconds: number
  /** MQTT 5 content type, carried through the broker; '' when none. */
  readonly contentType: string
  /** When it was first sent (a will: when its CONNECT was). */
  readonly sentSeq: number
  readonly sentMs: number
  /** Times that it was sent. */
  sends: number
  /** When the publisher knew that the broker has it; Infinity before. */
  ackedSeq: number
  ackedMs: number
  /** What the acknowledgement said (v5). */
  ackedReason: number
  /** The broker must say no. */
  readonly refused: boolean
  /** A will whose client said goodbye in time: it must never fire. */
  isWithdrawn: boolean
  /** A will that must fire. */
  isDue: boolean
}

/** The payload of a message: its id and a dot, again and again, up to `bytes`; at least once. */
export function payloadOf(id: string, bytes: number): Buffer {
  return Buffer.alloc(Math.max(bytes, id.length + 1), `${id}.`)
}

/** The id in a payload. */
export function idOf(payload: Uint8Array): string {
  let id = ''
  for (let i = 0; i < payload.length && payload[i] !== 0x2e; i++) id += String.fromCharCode(payload[i]!)
  return id
}
