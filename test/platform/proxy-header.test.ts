import { Buffer } from 'node:buffer'
import { describe, expect, test } from 'vitest'
import { ProxyHeader, type ProxyReading, type ProxySource } from '../../src/platform/proxy-header.ts'
import { SeededRandom } from '../support/random.ts'

const signature = '0d0a0d0a000d0a515549540a'
/** A header of version 2 from its version and command, family and protocol, and what follows the length. */
function binary(command: number, family: number, body: Buffer | string, length?: number): Buffer {
  const bytes = Buffer.from(body as string, 'hex')
  const fixed = Buffer.from([command, family, 0, 0])
  fixed.writeUInt16BE(length ?? bytes.length, 2)
  return Buffer.concat([Buffer.from(signature, 'hex'), fixed, bytes])
}
const v4 = 'c0000201' + 'c6336402' + 'c350' + '075b'
const v6 = `20010db8${'0'.repeat(22)}01` + `20010db8${'0'.repeat(22)}02` + 'c350' + '075b'
const mapped = `${'0'.repeat(20)}ffffc0000201` + `${'0'.repeat(20)}ffffc6336402` + 'c350' + '075b'
const unix = `${Buffer.from('/tmp/a').toString('hex')}`.padEnd(432, '0')
const field = (type: number, value: string): string =>
  Buffer.from([type, value.length >> 8, value.length & 255, ...Buffer.from(value)]).toString('hex')

const one: ProxySource = { address: '192.0.2.1', port: 50_000 }
const six: ProxySource = { address: '2001:db8::1', port: 50_000 }
const longest = `PROXY TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535\r\n`

const good: readonly (readonly [name: string, header: Buffer | string, source: ProxySource | undefined])[] = [
  ['TCP4', 'PROXY TCP4 192.0.2.1 198.51.100.2 50000 1883\r\n', one],
  ['TCP4, ports at their ends', 'PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n', { address: '0.0.0.0', port: 0 }],
  ['TCP6', 'PROXY TCP6 2001:db8::1 2001:db8::2 50000 1883\r\n', six],
  ['TCP6, written in full', 'PROXY TCP6 2001:0DB8:0:0:0:0:0:1 ::1 50000 1883\r\n', six],
  ['TCP6, the longest', longest, { address: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', port: 65_535 }],
  ['UNKNOWN', 'PROXY UNKNOWN\r\n', undefined],
  ['UNKNOWN, with something', 'PROXY UNKNOWN ffff::1 what ever\r\n', undefined],
  ['UNKNOWN, the longest', `PROXY UNKNOWN ${longest.slice(11)}`, undefined],
  ['version 2, IPv4', binary(0x21, 0x11, v4), one],
  ['version 2, IPv6', binary(0x21, 0x21, v6), six],
  ['version 2, IPv4 in IPv6', binary(0x21, 0x21, mapped), { address: '::ffff:192.0.2.1', port: 50_000 }],
  ['version 2, fields', binary(0x21, 0x11, v4 + field(2, 'broker.example') + field(4, '') + field(0xee, 'x')), one],
  ['version 2, as long as may be', binary(0x21, 0x11, v4 + field(4, 'x'.repeat(4096 - 12 - 3))), one],
  ['version 2, a path', binary(0x21, 0x31, unix), undefined],
  ['version 2, datagrams are not for us', binary(0x21, 0x12, v4), undefined],
  ['version 2, unspecified', binary(0x21, 0, ''), undefined],
  ['version 2, unspecified protocol', binary(0x21, 0x10, v4), undefined],
  ['version 2, local', binary(0x20, 0, ''), undefined],
  ['version 2, local with anything', binary(0x20, 0xff, 'abcdef'), undefined],
]

const bad: readonly (readonly [name: string, header: Buffer | string, why: string, at?: number])[] = [
  ['MQTT', Buffer.from('100c00044d515454', 'hex'), 'no PROXY header', 1],
  ['TLS', Buffer.from('1603010200', 'hex'), 'no PROXY header', 1],
  ['HTTP', 'GET / HTTP/1.1\r\n', 'no PROXY header', 1],
  ['another word', 'PROXi TCP4', 'no PROXY header', 5],
  ['small letters', 'proxy TCP4', 'no PROXY header', 1],
  ['a word that goes on', 'PROXYTCP4 ', 'no PROXY header', 6],
  ['a line without an end', `PROXY UNKNOWN ${'x'.repeat(200)}`, 'a PROXY line without an end', 107],
  ['a line that is a byte too long', `PROXY UNKNOWN ${longest.slice(11, -2)}x\r\n`, 'a PROXY line without an end', 107],
  ['only LF', 'PROXY UNKNOWN\n', 'a PROXY line with a wrong end'],
  ['only CR', `PROXY UNKNOWN\r${'x'.repeat(20)}\r\n`, 'a PROXY line with a wrong end'],
  ['CR CR LF', 'PROXY UNKNOWN\r\r\n', 'a PROXY line with a wrong end'],
  ['no family', 'PROXY \r\n', 'a PROXY line for neither TCP4, TCP6 nor UNKNOWN'],
  ['UDP4', 'PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n', 'a PROXY line for neither TCP4, TCP6 nor UNKNOWN'],
  ['unknown in small letters', 'PROXY unknown\r\n', 'a PROXY line for neither TCP4, TCP6 nor UNKNOWN'],
  ['a constructor', 'PROXY constructor 1 2 3 4\r\n', 'a PROXY line for neither TCP4, TCP6 nor UNKNOWN'],
  ['nothing behind', 'PROXY TCP4\r\n', 'a PROXY line with wrong addresses'],
  ['one address', 'PROXY TCP4 1.2.3.4 50000 1883\r\n', 'a PROXY line with wrong addresses'],
  ['two spaces', 'PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['a tab', 'PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n', 'a PROXY line for neither TCP4, TCP6 nor UNKNOWN'],
  ['a space at the end', 'PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n', 'a PROXY line with wrong addresses'],
  ['IPv6 as TCP4', 'PROXY TCP4 ::1 ::1 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['IPv4 as TCP6', 'PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['octal', 'PROXY TCP4 010.2.3.4 1.2.3.4 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['above 255', 'PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['a zone', 'PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['a host name', 'PROXY TCP4 localhost 1.2.3.4 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['a NUL', 'PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n', 'a PROXY line with wrong addresses'],
  ['a port above 65535', 'PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n', 'a PROXY line with wrong ports'],
  ['a port with a zero in front', 'PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n', 'a PROXY line with wrong ports'],
  ['a port with a sign', 'PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n', 'a PROXY line with wrong ports'],
  ['a port that is none', 'PROXY TCP4 1.2.3.4 1.2.3.4 1e3 2\r\n', 'a PROXY line with wrong ports'],
  ['no port', 'PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n', 'a PROXY line with wrong ports'],
  ['a signature that is none', Buffer.from(`${signature.slice(0, 22)}0b21`, 'hex'), 'no PROXY header', 12],
  ['version 1 in binary', binary(0x11, 0x11, v4), 'PROXY version 1, command 1', 13],
  ['version 3', binary(0x31, 0x11, v4), 'PROXY version 3, command 1', 13],
  ['command 2', binary(0x22, 0x11, v4), 'PROXY version 2, command 2', 13],
  ['65,535 bytes', binary(0x21, 0x11, v4, 65_535), 'a PROXY header of 65551 bytes', 16],
  ['one byte too many', binary(0x20, 0, '', 4097), 'a PROXY header of 4113 bytes', 16],
  ['family 4', binary(0x21, 0x41, unix), 'PROXY family 4, protocol 1'],
  ['protocol 3', binary(0x21, 0x13, v4), 'PROXY family 1, protocol 3'],
  ['IPv4, too short', binary(0x21, 0x11, v4.slice(2)), 'a PROXY header that is too short for its addresses'],
  ['IPv6, too short', binary(0x21, 0x21, v4), 'a PROXY header that is too short for its addresses'],
  ['no addresses at all', binary(0x21, 0x11, ''), 'a PROXY header that is too short for its addresses'],
  ['a path, too short', binary(0x21, 0x31, unix.slice(2)), 'a PROXY header that is too short for its addresses'],
  ['a field that claims more', binary(0x21, 0x11, `${v4}040002aa`), 'a PROXY header with wrong lengths'],
  ['a field without a length', binary(0x21, 0x11, `${v4}04`), 'a PROXY header with wrong lengths'],
  ['a field that claims 64 KiB', binary(0x21, 0x11, `${v4}04ffff`), 'a PROXY header with wrong lengths'],
]

const bytesOf = (header: Buffer | string): Buffer => Buffer.from(header as string, 'latin1')
const client = Buffer.from('100c00044d5154540502003c00', 'hex')

/** Feeds pieces until there is an end; gives it, with the bytes that were needed and all that came behind the header. */
function feed(pieces: readonly Buffer[]): { reading: ProxyReading; used: number; rest: Buffer } {
  const header = new ProxyHeader()
  let used = 0
  for (const [at, piece] of pieces.entries()) {
    const reading = header.receive(piece)
    used += piece.length
    if (reading.kind === 'more') continue
    const rest = reading.kind === 'read' ? Buffer.from(reading.rest) : Buffer.alloc(0)
    return { reading, used, rest: Buffer.concat([rest, ...pieces.slice(at + 1)]) }
  }
  return { reading: { kind: 'more' }, used, rest: Buffer.alloc(0) }
}

const each = (bytes: Buffer): Buffer[] => Array.from(bytes, (byte) => Buffer.from([byte]))

describe('headers', () => {
  for (const [name, text, source] of good)
    test(name, () => {
      const header = bytesOf(text)
      const whole = Buffer.concat([header, client])
      for (let cut = 0; cut <= whole.length; cut += header.length > 1000 ? 7 : 1) {
        const { reading, rest } = feed([whole.subarray(0, cut), whole.subarray(cut)])
        expect(reading).toMatchObject({ kind: 'read' })
        expect((reading as { source?: ProxySource }).source).toEqual(source)
        expect(rest).toEqual(client)
      }
      const { used, rest } = feed(each(whole))
      expect([used, rest]).toEqual([header.length, client])
      // All but its last byte is not enough, whatever it is.
      expect(feed([header.subarray(0, -1)]).reading).toEqual({ kind: 'more' })
    })
})

describe('what is none', () => {
  for (const [name, text, why, at] of bad)
    test(name, () => {
      const header = bytesOf(text)
      const wanted = { kind: 'fault', why }
      for (let cut = 0; cut <= header.length; cut++)
        expect(feed([header.subarray(0, cut), header.subarray(cut)]).reading).toEqual(wanted)
      expect(feed([Buffer.concat([header, client])]).reading).toEqual(wanted)
      const { used } = feed(each(Buffer.concat([header, client])))
      // As soon as it can be told.
      expect(used).toBe(at ?? header.length)
    })
})

test('a fault is final, and nothing is asked for', () => {
  const header = new ProxyHeader()
  expect(header.receive(Buffer.alloc(0))).toEqual({ kind: 'more' })
  expect(header.receive(Buffer.from('x'))).toEqual({ kind: 'fault', why: 'no PROXY header' })
  expect(header.receive(Buffer.from('PROXY UNKNOWN\r\n'))).toEqual({ kind: 'fault', why: 'no PROXY header' })
})

test('headers with a byte changed: read or refused at any cut alike, and never thrown at', () => {
  const random = new SeededRandom(Number(process.env.PROXY_SEED ?? 1))
  const small = good.map(([, text]) => bytesOf(text)).filter(({ length }) => length < 300)
  for (let times = 0; times < 20_000; times++) {
    const bytes = Buffer.concat([random.pick(small), client])
    for (let changes = 1 + random.below(2); changes > 0; changes--)
      bytes[random.below(bytes.length)] = random.below(256)
    const whole = feed([bytes])
    const cut = random.below(bytes.length)
    const parts = feed([bytes.subarray(0, cut), bytes.subarray(cut)])
    expect({ ...parts.reading, rest: undefined }).toEqual({ ...whole.reading, rest: undefined })
    if (whole.reading.kind === 'read') expect(parts.rest).toEqual(whole.rest)
  }
})
