/** A checksum of `bytes[start, end)`; `seed` is that of what stands before it, or any 32 bits to start from. Gives 32 bits. */
export type Checksum = (bytes: Uint8Array, start: number, end: number, seed: number) => number

/** CRC-32 as zlib computes it, eight bytes a step ("slicing by eight"). For hosts whose zlib does not offer it. */
export function crc32(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let crc = ~seed
  let at = start
  for (const eights = end - 7; at < eights; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    crc =
      t7[crc & 0xff]! ^
      t6[(crc >>> 8) & 0xff]! ^
      t5[(crc >>> 16) & 0xff]! ^
      t4[crc >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]!) & 0xff]!
  return ~crc >>> 0
}

// tN[b] is what byte b does to the checksum, N bytes further on.
function makeTable(before?: Int32Array): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => {
    if (before) return (before[byte]! >>> 8) ^ t0[before[byte]! & 0xff]!
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1
    return crc
  })
}
const t0 = makeTable()
const t1 = makeTable(t0)
const t2 = makeTable(t1)
const t3 = makeTable(t2)
const t4 = makeTable(t3)
const t5 = makeTable(t4)
const t6 = makeTable(t5)
const t7 = makeTable(t6)
