import { crc32 } from 'node:zlib'

/** CRC-32 of bytes[start, end), going on from `seed`. */
export function checksum(bytes: Uint8Array, start: number, end: number, seed: number): number {
  return crc32(bytes.subarray(start, end), seed)
}
