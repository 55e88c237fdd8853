import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DiskFile } from '../../src/host.ts'
import { checksum } from '../../src/platform/checksum.ts'
import { NodeDisk } from '../../src/platform/disk.ts'
import { SeededRandom } from '../support/random.ts'

let folder: string
let disk: NodeDisk
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-disk-'))
  disk = new NodeDisk(folder)
})
afterEach(() => rmSync(folder, { recursive: true }))

type Fault = Error | undefined
const write = (file: DiskFile, bytes: Uint8Array, position: number, length = bytes.length) =>
  new Promise<Fault>((resolve) => file.write(pieces(bytes.subarray(0, length)), position, resolve))
/** In one to four pieces, some of which may be empty. */
const pieces = (bytes: Uint8Array) => {
  const cuts = [0, bytes.length >> 2, bytes.length >> 1, bytes.length].slice(bytes.length % 3)
  return cuts.map((cut, at) => bytes.subarray(at === 0 ? 0 : cuts[at - 1], cut))
}
const sync = (file: DiskFile) => new Promise<Fault>((resolve) => file.sync(resolve))
const read = (file: DiskFile, into: Uint8Array, position: number) =>
  new Promise<[Fault, number]>((resolve) => file.read(into, position, (fault, count) => resolve([fault, count])))

describe('a file', () => {
  test('random writes, reads and cuts, against bytes in memory', async () => {
    const random = new SeededRandom(1)
    let file = disk.open('a', true)
    let model = Buffer.alloc(0)
    for (let step = 0; step < 300; step++) {
      const position = random.below(model.length + 1)
      switch (random.below(5)) {
        case 0: {
          const size = random.below(model.length + 1)
          if (!random.once(4)) break
          file.truncate(size)
          model = model.subarray(0, size)
          break
        }
        case 1: {
          const [into, now] = [new Uint8Array(random.below(500)), new Uint8Array(random.below(500))]
          const [fault, count] = await read(file, into, position)
          expect(fault).toBeUndefined()
          expect(into.subarray(0, count)).toEqual(Uint8Array.from(model.subarray(position, position + into.length)))
          const countNow = file.readNow(now, position)
          expect(now.subarray(0, countNow)).toEqual(Uint8Array.from(model.subarray(position, position + now.length)))
          break
        }
        case 2:
          if (!random.once(10)) break
          file.close()
          file = disk.open('a', false)
          break
        default: {
          const bytes = random.bytes(random.below(400))
          const length = random.below(bytes.length + 1)
          expect(await write(file, bytes, position, length)).toBeUndefined()
          model = Buffer.concat([
            model.subarray(0, position),
            bytes.subarray(0, length),
            model.subarray(position + length),
          ])
        }
      }
      expect(file.size).toBe(model.length)
    }
    expect(await sync(file)).toBeUndefined()
    file.close()
    expect(readFileSync(join(folder, 'a')).equals(model)).toBe(true)
  })

  test('is for its owner alone', () => {
    disk.makeFolder('log')
    disk.open('log/a', true).close()
    expect(statSync(join(folder, 'log')).mode & 0o777).toBe(0o700)
    expect(statSync(join(folder, 'log/a')).mode & 0o777).toBe(0o600)
  })

  test('that is closed while it is written: the write comes to its end, and not in the next file', async () => {
    const file = disk.open('a', true)
    const bytes = new SeededRandom(2).bytes(1 << 20)
    const written = write(file, bytes, 0)
    file.close()
    const next = disk.open('b', true)
    expect(await written).toBeUndefined()
    expect(statSync(join(folder, 'a')).size).toBe(bytes.length)
    expect(statSync(join(folder, 'b')).size).toBe(0)
    next.close()
    expect(() => file.readNow(bytes, 0)).toThrow('closed')
    expect(() => file.sync(() => undefined)).toThrow('closed')
  })

  test('tells a fault of the system, with its code', async () => {
    expect(() => disk.open('none', false)).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    disk.open('a', true).close()
    expect(() => disk.open('a', true)).toThrow(expect.objectContaining({ code: 'EEXIST' }))
    // The one disk that is always full.
    const full = new NodeDisk('/dev').open('full', false)
    expect(await write(full, new Uint8Array(10), 0)).toMatchObject({ code: 'ENOSPC' })
    full.close()
  })
})

describe('a folder', () => {
  test('lists its files in order, without folders; one that is not there has none', () => {
    disk.makeFolder('log/deep')
    for (const name of ['log/c', 'log/a', 'log/B', 'log/deep/d']) disk.open(name, true).close()
    expect(disk.list('log')).toEqual(['B', 'a', 'c'])
    disk.rename('log/a', 'log/z')
    disk.remove('log/B')
    expect(disk.list('log')).toEqual(['c', 'z'])
    expect(disk.list('none')).toEqual([])
    disk.makeFolder('log')
  })

  test.each([
    ['', undefined],
    ['log', undefined],
    ['none', 'ENOENT'],
  ])('syncing "%s" ends with %s', async (name, code) => {
    disk.makeFolder('log')
    const fault = await new Promise<Fault>((resolve) => disk.syncFolder(name, resolve))
    expect((fault as { code?: string } | undefined)?.code).toBe(code)
  })

  test('knows its room', () => {
    expect(disk.freeBytes()).toBeGreaterThan(0)
  })
})

test('the checksum is CRC-32, goes on from a seed, and minds its bounds', () => {
  const bytes = Buffer.from('--123456789--')
  expect(checksum(bytes, 2, 11, 0)).toBe(0xcbf43926)
  expect(checksum(bytes, 6, 11, checksum(bytes, 2, 6, 0))).toBe(0xcbf43926)
  expect(checksum(bytes, 2, 11, 7)).not.toBe(0xcbf43926)
})
