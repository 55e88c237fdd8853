import { describe, expect, test } from 'vitest'
import { Buffers } from '../../src/store/buffers.ts'

const KiB = 1024

describe('buffers', () => {
  test.each([
    [1, 4 * KiB],
    [4 * KiB, 4 * KiB],
    [4 * KiB + 1, 8 * KiB],
    [200 * KiB, 256 * KiB],
    [3 * KiB * KiB, 4 * KiB * KiB],
  ])('%i bytes take one of %i', (bytes, length) => {
    expect(new Buffers(0).take(bytes).length).toBe(length)
  })

  test('one that comes back is used again, by those who want its size', () => {
    const buffers = new Buffers(16 * KiB)
    const small = buffers.take(4 * KiB)
    const large = buffers.take(16 * KiB)
    buffers.give(small)
    buffers.give(large)
    expect(buffers.take(10 * KiB)).toBe(large)
    expect(buffers.take(10 * KiB)).not.toBe(large)
    expect(buffers.take(9)).toBe(small)
  })

  test('keeps so many bytes of each size', () => {
    const buffers = new Buffers(8 * KiB)
    const given = [1, 2, 3].map(() => buffers.take(4 * KiB))
    const tooLarge = buffers.take(16 * KiB)
    for (const buffer of [...given, tooLarge]) buffers.give(buffer)
    const again = [1, 2, 3].map(() => buffers.take(4 * KiB))
    expect(again.filter((buffer) => given.includes(buffer))).toHaveLength(2)
    expect(buffers.take(16 * KiB)).not.toBe(tooLarge)
  })
})
