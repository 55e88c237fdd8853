import * as zlib from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { crc32 } from '../../src/store/crc.ts'
import { SeededRandom } from '../support/random.ts'

/** The same, bit by bit. */
function slow(bytes: Uint8Array, seed: number): number {
  let crc = ~seed
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1
  }
  return ~crc >>> 0
}

describe('crc32', () => {
  test('gives the published check value', () => {
    expect(crc32(Buffer.from('123456789'), 0, 9, 0)).toBe(0xcbf4_3926)
  })

  test('does what the definition says, at any length, alignment and seed', () => {
    const random = new SeededRandom(1)
    const bytes = random.bytes(300)
    for (let start = 0; start < 9; start++) {
      for (let end = start; end < 60; end++) {
        const seed = random.below(0x1_0000_0000)
        expect(crc32(bytes, start, end, seed)).toBe(slow(bytes.subarray(start, end), seed))
      }
    }
  })

  test('goes on where it ended', () => {
    const bytes = new SeededRandom(2).bytes(100)
    const whole = crc32(bytes, 0, 100, 7)
    for (let at = 0; at <= 100; at++) expect(crc32(bytes, at, 100, crc32(bytes, 0, at, 7))).toBe(whole)
  })

  // Node has it from 20.15 and 22.2 on, but a host may be older.
  const native = (zlib as { crc32?: (bytes: Uint8Array, seed: number) => number }).crc32
  test.skipIf(!native)("agrees with zlib's", () => {
    const random = new SeededRandom(3)
    for (let n = 0; n < 300; n++) {
      const bytes = random.bytes(random.below(500))
      const seed = random.below(0x1_0000_0000)
      expect(crc32(bytes, 0, bytes.length, seed)).toBe(native!(bytes, seed))
    }
  })
})
