import mqttPacket, { type Packet } from 'mqtt-packet'

// mqtt-packet, handed one frame at a time: it reads over the end of a short packet into the next one.

/** A frame as its header says, and what mqtt-packet makes of it. */
export interface Frame {
  /** 3, 4 or 5; undefined when CONNECT must come first. */
  readonly version: number | undefined
  readonly bytes: Uint8Array
  /** Where its content starts; 0 while the header is not complete. */
  readonly body: number
  /** Length of the whole frame as its header says; more than there is when it is not complete. */
  readonly total: number
  /** Undefined when mqtt-packet refuses it. */
  readonly packet: Packet | undefined
  /** How far mqtt-packet read, from `body`. */
  readonly read: number
}

/** Cuts bytes into frames by their headers alone. `total` is Infinity where the length does not end. */
export function cut(bytes: Uint8Array): Pick<Frame, 'bytes' | 'body' | 'total'>[] {
  const frames: Pick<Frame, 'bytes' | 'body' | 'total'>[] = []
  for (let at = 0; at < bytes.length;) {
    let length = 0
    let body = at + 1
    let more = true
    for (let scale = 1; more && body < bytes.length && scale < 128 ** 4; scale *= 128) {
      const byte = bytes[body++]!
      length += (byte & 127) * scale
      more = byte > 127
    }
    const total = more ? Infinity : body - at + length
    frames.push({ bytes: bytes.subarray(at, Math.min(bytes.length, at + total)), body: more ? 0 : body - at, total })
    at += total
  }
  return frames
}

let parser = newParser()
let found: { packet: Packet; read: number } | undefined
let failed = false

/** Reads one whole frame by mqtt-packet. */
export function reference(
  bytes: Uint8Array,
  version: number | undefined,
): { packet: Packet; read: number } | undefined {
  found = undefined
  let whole = false
  parser.settings = version === undefined ? {} : { protocolVersion: version }
  try {
    whole = parser.parse(bytes) === 0
  } catch {
    // It throws where it reads over the end.
  }
  if (!whole) parser = newParser()
  return found
}

/** Does mqtt-packet refuse a frame before it is whole? */
export function refusedEarly(bytes: Uint8Array): boolean {
  failed = false
  newParser().parse(bytes)
  return failed
}

interface Parser {
  settings: { protocolVersion?: number }
  _pos: number
  parse(bytes: Uint8Array): number
  on(event: 'packet' | 'error', listener: (what: Packet) => void): void
}

function newParser(): Parser {
  const fresh = mqttPacket.parser() as unknown as Parser
  fresh.on('packet', (packet) => (found = { packet, read: fresh._pos }))
  fresh.on('error', () => (failed = true))
  return fresh
}

/** What mqtt-packet makes of an encoded property block, without its length. */
export function decodeProperties(block: Uint8Array | undefined): object | undefined {
  if (block === undefined) return undefined
  const length = block.length
  const prefix =
    length < 128
      ? [length]
      : length < 16_384
        ? [(length & 127) | 128, length >> 7]
        : [(length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14]
  const content = 3 + prefix.length + length
  const header = [0x30, (content & 127) | 128, ((content >> 7) & 127) | 128, content >> 14, 0, 1, 0x61]
  return (reference(Buffer.concat([Buffer.from([...header, ...prefix]), block]), 5)?.packet as { properties?: object })
    .properties
}
