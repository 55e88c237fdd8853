// DER (ITU-T X.690), as much of it as certificates and revocation lists need.

/** Tags. */
export const Der = {
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  text: 0x0c,
  utcTime: 0x17,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** One value: tag, length, content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.concat(content)
  const { length } = bytes
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Uint8Array.of(tag, ...head), bytes])
}

export function sequence(...items: readonly Uint8Array[]): Buffer {
  return der(Der.sequence, ...items)
}

/** @param dotted as `2.5.29.17`, with a first number of at most 2 */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const content = [first * 40 + second, ...rest].flatMap((number) => {
    const groups = [number & 0x7f]
    for (let left = number >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80)
    return groups
  })
  return der(Der.oid, Uint8Array.from(content))
}

/** To the second; as RFC 5280, 4.1.2.5 wants it: with a year of two digits until 2049. */
export function time(atMs: number): Buffer {
  const digits = new Date(atMs).toISOString().replace(/\.\d+|[-:T]/g, '')
  return digits < '2050' ? der(Der.utcTime, Buffer.from(digits.slice(2))) : der(Der.time, Buffer.from(digits))
}

export interface DerValue {
  readonly tag: number
  /** With tag and length. */
  readonly whole: Buffer
  readonly content: Buffer
}

/** The values that stand in `bytes` one behind the other. @throws RangeError when the last one is cut off */
export function valuesIn(bytes: Buffer): DerValue[] {
  const values: DerValue[] = []
  for (let at = 0; at < bytes.length;) {
    const tag = bytes.readUInt8(at)
    const first = bytes.readUInt8(at + 1)
    const size = first < 0x80 ? 0 : first & 0x7f
    const from = at + 2 + size
    const to = from + (size === 0 ? first : bytes.readUIntBE(at + 2, size))
    if (to > bytes.length) throw new RangeError('a DER value is longer than what it stands in')
    values.push({ tag, whole: bytes.subarray(at, to), content: bytes.subarray(from, to) })
    at = to
  }
  return values
}

/** What a time says; undefined: it is none. */
export function timeIn({ tag, content }: DerValue): number | undefined {
  if (tag !== Der.utcTime && tag !== Der.time) return undefined
  const text = content.toString('latin1')
  // Of two digits, those from 50 on are of the last century.
  const digits = tag === Der.time ? text : `${text < '50' ? '20' : '19'}${text}`
  return Date.parse(digits.replace(/^(....)(..)(..)(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'))
}
