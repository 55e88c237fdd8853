import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DiskFault, Index } from '../../src/host.ts'
import { openIndex } from '../../src/platform/lmdb.ts'
import { Dice } from '../sim/dice.ts'
import { MemoryIndex } from '../sim/index.ts'

let folder: string
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'godwit-index-'))))
afterEach(() => rmSync(folder, { recursive: true }))

type Change = readonly [key: string, value: Uint8Array | undefined]
const commit = (index: Index, changes: readonly Change[]) =>
  new Promise<DiskFault | undefined>((resolve) => index.commit(changes, resolve))
const content = (index: Index) =>
  Array.from(index.entries(), ([key, value]) => [key, Buffer.from(value).toString('hex')])

const kinds: [name: string, open: () => Index, reopen: (index: Index) => Promise<Index>][] = [
  [
    'in LMDB',
    () => openIndex(join(folder, 'index'), () => Infinity),
    async (index) => {
      await index.close()
      return openIndex(join(folder, 'index'), () => Infinity)
    },
  ],
  [
    'in memory',
    () => new MemoryIndex(setImmediate),
    (index) => Promise.resolve((index as MemoryIndex).crash(new Dice(1))),
  ],
]

describe.each(kinds)('an index %s', (_name, open, reopen) => {
  test('random commits and reopenings, against a map', async () => {
    const dice = new Dice(3)
    const model = new Map<string, Uint8Array>()
    const names = ['a', 'a/b', 'é', '𝄞', '～', 'm', 's1', 's10', 'x'.repeat(1978), 'c', '\u0001']
    let index = open()
    for (let step = 0; step < 60; step++) {
      const changes = Array.from({ length: dice.below(8) }, (): Change => {
        const size = dice.chance(0.1) ? 20_000 : dice.below(50)
        return [dice.pick(names), dice.chance(0.3) ? undefined : dice.bytes(size)]
      })
      for (const [key, value] of changes) {
        if (value) model.set(key, value)
        else model.delete(key)
      }
      expect(await commit(index, changes)).toBeUndefined()
      if (dice.chance(0.2)) index = await reopen(index)
      const expected = [...model].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      expect(content(index)).toEqual(expected.map(([key, value]) => [key, Buffer.from(value).toString('hex')]))
    }
    await index.close()
  })

  test('values that were read are the reader’s', async () => {
    const index = open()
    const value = Buffer.from('before')
    await commit(index, [
      ['a', value],
      ['b', Buffer.from('other')],
    ])
    value.fill(0)
    const [[, read]] = [...index.entries()] as [readonly [string, Uint8Array], unknown]
    await commit(index, [
      ['a', Buffer.from('behind')],
      ['b', undefined],
    ])
    expect(Buffer.from(read).toString()).toBe('before')
    await index.close()
  })

  test.each([
    ['empty', ''],
    ['too long', 'x'.repeat(1979)],
    ['too long in bytes', 'é'.repeat(990)],
  ])('a key that is %s changes nothing', async (_name, key) => {
    const index = open()
    expect(() =>
      index.commit(
        [
          ['a', Buffer.from('1')],
          [key, Buffer.from('2')],
        ],
        () => undefined,
      ),
    ).toThrow(RangeError)
    expect(await commit(index, [['b', Buffer.from('3')]])).toBeUndefined()
    expect(content(index)).toEqual([['b', '33']])
    await index.close()
  })

  test('one commit at a time, and none when it is closed', async () => {
    const index = open()
    const first = commit(index, [['a', Buffer.from('1')]])
    expect(() => index.commit([], () => undefined)).toThrow('one commit at a time')
    expect(await first).toBeUndefined()
    // From within the word of the last one: how a checkpoint goes on.
    await new Promise<void>((resolve) => index.commit([], () => index.commit([], () => resolve())))
    await index.close()
    await index.close()
    expect(() => index.commit([], () => undefined)).toThrow('one commit at a time')
  })
})

describe('an index in memory', () => {
  test('a crash leaves a commit that was under way whole or not at all', () => {
    const left = new Set<string>()
    for (let seed = 0; seed < 50; seed++) {
      const index = new MemoryIndex(() => undefined, [['a', Buffer.from('0')]])
      index.commit(
        [
          ['a', undefined],
          ['b', Buffer.from('1')],
          ['c', Buffer.from('2')],
        ],
        () => expect.unreachable(),
      )
      left.add(
        content(index.crash(new Dice(seed)))
          .flat()
          .join(' '),
      )
    }
    expect([...left].sort()).toEqual(['a 30', 'b 31 c 32'])
  })

  test('a fault that was planted comes once, and nothing is changed by it', async () => {
    const index = new MemoryIndex(setImmediate)
    index.failCommit(2, 'ENOSPC')
    expect(await commit(index, [['a', Buffer.from('1')]])).toBeUndefined()
    expect(await commit(index, [['a', undefined]])).toMatchObject({ code: 'ENOSPC' })
    expect(content(index)).toEqual([['a', '31']])
    expect(await commit(index, [['a', undefined]])).toBeUndefined()
  })

  test('a value that changes while it is committed is found', () => {
    const value = Buffer.from('1')
    let run = () => {}
    new MemoryIndex((later) => (run = later)).commit([['a', value]], () => undefined)
    value.fill(0)
    expect(() => run()).toThrow('changed while it was committed')
  })
})

// A disk of its own, which only root may mount.
const canMount = process.getuid?.() === 0 && spawnSync('/bin/mount', ['--version']).status === 0

test.skipIf(!canMount)('a full disk: ENOSPC, all or nothing, and it goes on when there is room', async (context) => {
  const disk = join(folder, 'small')
  mkdirSync(disk)
  if (spawnSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk]).status !== 0)
    return context.skip('this machine may not mount, although it is root')
  try {
    const freeBytes = () => statfsSync(disk).bavail * statfsSync(disk).bsize
    const index = openIndex(join(disk, 'index'), freeBytes)
    expect(await commit(index, [['a', Buffer.from('1')]])).toBeUndefined()
    const tooMuch = Array.from({ length: 2000 }, (_, at): Change => [`k${at}`, Buffer.alloc(4000, at)])
    // The first is cut short (EIO, LMDB says), and the next finds no room at all.
    for (let attempt = 0; attempt < 3; attempt++)
      expect(await commit(index, [['a', undefined], ...tooMuch])).toMatchObject({ code: 'ENOSPC' })
    expect(content(index)).toEqual([['a', '31']])
    expect(await commit(index, [['b', Buffer.from('2')]])).toBeUndefined()
    await index.close()
    const again = openIndex(join(disk, 'index'), freeBytes)
    expect(content(again)).toEqual([
      ['a', '31'],
      ['b', '32'],
    ])
    await again.close()
  } finally {
    spawnSync('/bin/umount', [disk])
  }
})
