import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import type { Bytes } from '../host.ts'

/**
 * What has come of a PROXY header so far.
 *
 * `source` is undefined when the proxy speaks for itself, or does not know for whom: then the address is that of the socket.
 * `rest` is what the client has sent behind the header.
 */
export type ProxyReading =
  | { readonly kind: 'more' }
  | { readonly kind: 'read'; readonly source: ProxySource | undefined; readonly rest: Bytes }
  | { readonly kind: 'fault'; readonly why: string }

export interface ProxySource {
  readonly address: string
  readonly port: number
}

/** The longest line of version 1, with its end (haproxy's proxy-protocol.txt, 2.1). */
const longestLine = 107
const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const fixedBytes = 16
/** Version 2 may declare 65,535 bytes: room for the largest address, and for more than any proxy has to say beside it. */
const longestBody = 4096

const word = Buffer.from('PROXY ')
const more: ProxyReading = { kind: 'more' }

/**
 * Reads the header of the PROXY protocol, version 1 or 2, that a proxy sends in front of a client's bytes. For a peer that
 * is listed as a proxy: there the header must come, and for any other peer it is a fault, which is for the caller to say.
 *
 *   bytes in any pieces ─▶ signature, byte by byte ─▶ a line (version 1), or a declared length (version 2) ─▶ source, rest
 *
 * It holds 4,112 bytes at most, 107 before version 2 has declared its length. It never throws, and a fault is final.
 */
export class ProxyHeader {
  #held = Buffer.alloc(longestLine)
  #size = 0
  #end: ProxyReading | undefined

  /** The next bytes of the stream; none once it is `read` or a `fault`. */
  receive(chunk: Bytes): ProxyReading {
    let at = 0
    while (this.#end === undefined && at < chunk.length) {
      this.#held[this.#size++] = chunk[at++]!
      this.#end = this.#look(chunk, at)
    }
    return this.#end ?? more
  }

  /** One more byte is there; `at` is where the rest of the chunk begins. */
  #look(chunk: Bytes, at: number): ProxyReading | undefined {
    const size = this.#size
    const last = this.#held[size - 1]!
    if (this.#held[0] === signature[0]) {
      if (size <= signature.length) return last === signature[size - 1] ? undefined : fault('no PROXY header')
      if (size < fixedBytes) return size === 13 ? unknownCommand(last) : undefined
      const bytes = fixedBytes + this.#held.readUInt16BE(14)
      if (size === fixedBytes) {
        if (bytes > fixedBytes + longestBody) return fault(`a PROXY header of ${bytes} bytes`)
        this.#held = Buffer.concat([this.#held.subarray(0, size)], Math.max(bytes, size))
      }
      return size < bytes ? undefined : readBinary(this.#held, chunk, at)
    }
    if (size <= word.length) return last === word[size - 1] ? undefined : fault('no PROXY header')
    if (last === 0x0a) return readLine(this.#held.toString('latin1', 0, size), chunk, at)
    return size < longestLine ? undefined : fault('a PROXY line without an end')
  }
}

/** `PROXY TCP4 192.0.2.1 198.51.100.2 50000 1883\r\n` (2.1). */
function readLine(line: string, chunk: Bytes, at: number): ProxyReading {
  const rest = chunk.subarray(at)
  if (!line.endsWith('\r\n') || line.indexOf('\r') !== line.length - 2) return fault('a PROXY line with a wrong end')
  const words = line.slice(0, -2).split(' ')
  // What stands behind UNKNOWN is nobody's business.
  if (words[1] === 'UNKNOWN') return { kind: 'read', source: undefined, rest }
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = '', ...others] = words
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isPlainIPv6 : undefined
  if (isAddress === undefined) return fault('a PROXY line for neither TCP4, TCP6 nor UNKNOWN')
  if (others.length > 0 || !isAddress(source) || !isAddress(destination))
    return fault('a PROXY line with wrong addresses')
  if (!isPort(sourcePort) || !isPort(destinationPort)) return fault('a PROXY line with wrong ports')
  const address = family === 'TCP4' ? source : canonical(source)
  return { kind: 'read', source: { address, port: Number(sourcePort) }, rest }
}

/** Version 2, all of it (2.2). */
function readBinary(header: Buffer, chunk: Bytes, at: number): ProxyReading {
  const rest = chunk.subarray(at)
  const command = header[12]! & 15
  const [family, protocol] = [header[13]! >> 4, header[13]! & 15]
  // The proxy itself, to see whether we live: whatever follows means nothing.
  if (command === 0) return { kind: 'read', source: undefined, rest }
  const addressBytes = addressSizes[family]
  if (addressBytes === undefined || protocol > 2) return fault(`PROXY family ${family}, protocol ${protocol}`)
  const body = header.subarray(fixedBytes)
  if (body.length < addressBytes) return fault('a PROXY header that is too short for its addresses')
  if (!areFields(body.subarray(addressBytes))) return fault('a PROXY header with wrong lengths')
  if (family === 1 && protocol === 1)
    return { kind: 'read', source: { address: body.subarray(0, 4).join('.'), port: body.readUInt16BE(8) }, rest }
  if (family === 2 && protocol === 1)
    return { kind: 'read', source: { address: groups(body), port: body.readUInt16BE(32) }, rest }
  // A path on the proxy's machine is no address that could be told apart, and what is unspecified is none.
  return { kind: 'read', source: undefined, rest }
}

/** Version 2, for others or for itself: nothing else may stand there. */
function unknownCommand(byte: number): ProxyReading | undefined {
  return byte === 0x20 || byte === 0x21 ? undefined : fault(`PROXY version ${byte >> 4}, command ${byte & 15}`)
}

/** Of both ends, with ports: nothing, IPv4, IPv6, paths. */
const addressSizes: readonly (number | undefined)[] = [0, 12, 36, 216]

/** Types, lengths and values that fill the bytes exactly. What they say is not needed. */
function areFields(bytes: Buffer): boolean {
  let at = 0
  while (at + 3 <= bytes.length) at += 3 + bytes.readUInt16BE(at + 1)
  return at === bytes.length
}

function groups(bytes: Buffer): string {
  const texts = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16))
  return canonical(texts.join(':'))
}

/** One text for each address, as sockets have it. */
function canonical(address: string): string {
  return new SocketAddress({ address, family: 'ipv6' }).address
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%')
}

function isPort(text: string): boolean {
  return /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65_535
}

function fault(why: string): ProxyReading {
  return { kind: 'fault', why }
}
