import { expect } from 'vitest'
import type { TestBroker } from '../support/broker.ts'
import { RawClient, type Received, type Transport } from '../support/raw.ts'

// Packets written by hand, byte by byte, so that they can be wrong where a test wants it.

export type Version = 3 | 4 | 5

/** A byte, bytes as they stand, or text with its length before it. */
export type Part = number | Uint8Array | string

export const versions: readonly Version[] = [3, 4, 5]
export const transports: readonly Transport[] = ['tcp', 'ws']

export function bytes(...parts: readonly Part[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'number') return Buffer.of(part)
      if (typeof part !== 'string') return part
      return text(Buffer.from(part))
    }),
  )
}

/** A packet with the length that it has. */
export function packet(first: number, ...parts: readonly Part[]): Buffer {
  const content = bytes(...parts)
  return bytes(first, varint(content.length), content)
}

/** MQTT 5 properties, with their length before them. */
export function block(...parts: readonly Part[]): Buffer {
  const content = bytes(...parts)
  return bytes(varint(content.length), content)
}

export function varint(value: number): Buffer {
  return value < 128 ? Buffer.of(value) : bytes((value & 127) | 128, varint(value >>> 7))
}

export function u16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255)
}

export function u32(value: number): Buffer {
  return bytes(u16(value >>> 16), u16(value & 0xffff))
}

/** Bytes with a two-byte length before them, which may lie. */
export function text(content: Uint8Array, length = content.length): Buffer {
  return bytes(u16(length), content)
}

export function hex(digits: string): Buffer {
  return Buffer.from(digits.replaceAll(' ', ''), 'hex')
}

export interface ConnectFields {
  readonly protocol?: string
  readonly level?: number
  /** Clean session or clean start alone, if not given. */
  readonly flags?: number
  readonly keepAliveSeconds?: number
  /** Left out for 3.x. */
  readonly properties?: Uint8Array
  /** Client id, will, user name, password: what the flags announce. */
  readonly payload?: readonly Part[]
}

export function connect(version: Version, fields: ConnectFields = {}): Buffer {
  const { protocol, level, flags, keepAliveSeconds, properties, payload } = fields
  return packet(
    0x10,
    protocol ?? (version === 3 ? 'MQIsdp' : 'MQTT'),
    level ?? version,
    flags ?? 2,
    u16(keepAliveSeconds ?? 0),
    version === 5 ? (properties ?? block()) : Buffer.alloc(0),
    ...(payload ?? ['raw']),
  )
}

/** Properties that a packet of this version has; none in 3.x. */
export function only5(version: Version, ...parts: readonly Part[]): Buffer {
  return version === 5 ? block(...parts) : Buffer.alloc(0)
}

/** Runs every row, and names the one that fails. */
export async function each<T>(
  rows: Readonly<Record<string, T>>,
  body: (row: T, name: string) => Promise<void>,
): Promise<void> {
  for (const [name, row] of Object.entries(rows))
    await body(row, name).catch((fault: unknown) => {
      throw new Error(`${name}: ${fault instanceof Error ? fault.message : String(fault)}`, { cause: fault })
    })
}

/** Sends CONNECT and gives CONNACK's code; undefined when the connection closes without one. */
export async function answer(client: RawClient, request: Uint8Array): Promise<number | undefined> {
  client.bytes(request)
  try {
    const { reasonCode, returnCode } = await client.expect('connack')
    return (reasonCode ?? returnCode) as number
  } catch (fault) {
    if (client.closed && client.packets.length === 0) return undefined
    throw fault
  }
}

/** Sends a CONNECT that must be refused with `code`; undefined: without CONNACK. */
export async function expectRefusal(
  broker: TestBroker,
  version: Version,
  request: Uint8Array,
  code: number | undefined,
  transport: Transport = 'tcp',
): Promise<void> {
  const client = await RawClient.open(broker, version, transport)
  expect(await answer(client, request)).toBe(code)
  await client.expectClosed()
}

/** The clauses that were named for the connections closed so far. Nothing may have failed on our side. */
export function clausesLogged(broker: TestBroker): unknown[] {
  expect(broker.log.filter(({ level }) => level === 'error')).toEqual([])
  return broker.log.filter(({ level }) => level === 'warn').map(({ fields }) => fields.clause)
}

/** The connection must close for a malformed packet or a protocol error; v5 is told which. */
export async function expectFault(client: RawClient, version: Version): Promise<void> {
  if (version === 5) {
    const { reasonCode, raw } = await client.expect('disconnect')
    expect([0x81, 0x82], raw.toString('hex')).toContain(reasonCode)
  }
  await client.expectClosed()
}

export function propertiesOf({ properties }: Received): Record<string, unknown> {
  return (properties ?? {}) as Record<string, unknown>
}

/** Tells when the broker has seen a client leave: a socket that is closed here is not yet closed there. */
export function departures() {
  const left: string[] = []
  let wake = () => {}
  return {
    observer: {
      disconnected({ id }: { id: string }) {
        left.push(id)
        wake()
      },
    },
    async of(id: string): Promise<void> {
      while (!left.includes(id)) await new Promise<void>((resolve) => (wake = resolve))
      left.splice(left.indexOf(id), 1)
    },
  }
}
