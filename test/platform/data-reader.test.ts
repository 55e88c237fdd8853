import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDataFolder } from '../../src/platform/data-folder.ts'
import { readDataFolder } from '../../src/platform/data-reader.ts'
import { FolderLock } from '../../src/platform/lock.ts'
import type { ReadableIndex } from '../../src/platform/lmdb-reader.ts'

let folder: string
let data: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-reader-'))
  data = join(folder, 'data')
  const made = await openDataFolder(data, true)
  await new Promise((resolve) => made.index.commit([['a', Buffer.from('1')]], resolve))
  await made.close()
})
afterEach(() => rmSync(folder, { recursive: true }))

function names(): string[] {
  return readdirSync(data, { recursive: true, encoding: 'utf8' })
    .map((name) => `${name} ${statSync(join(data, name)).mtimeMs}`)
    .sort()
}

test('reads what is there, beside others that read, and leaves no trace', async () => {
  // What LMDB makes beside its file.
  rmSync(join(data, 'index/lock.mdb'))
  const before = names()
  const [one, other] = await Promise.all([readDataFolder(data), readDataFolder(data)])
  for (const { index } of [one, other])
    expect(Array.from((index as ReadableIndex).entries(), ([key, value]) => `${key}=${String(value)}`)).toEqual(['a=1'])
  await Promise.all([one.close(), other.close()])
  expect(names()).toEqual(before)
})

test('its disk does not write', async () => {
  mkdirSync(join(data, 'log'))
  writeFileSync(join(data, 'log/a'), 'abc')
  const reader = await readDataFolder(data)
  const file = reader.disk.open('log/a', false)
  const bytes = Buffer.alloc(4)
  expect(bytes.toString('utf8', 0, file.readNow(bytes, 0))).toBe('abc')
  const fault = await new Promise((resolve) => file.write([bytes.subarray(0, 3)], 0, resolve))
  expect(fault).toMatchObject({ code: 'EBADF' })
  expect(() => file.truncate(0)).toThrow()
  file.close()
  await reader.close()
})

test('a broker in it, or one that came meanwhile, is told of', async () => {
  const reader = await readDataFolder(data)
  const broker = await FolderLock.take(join(data, 'lock'), 'broker')
  const locked = {
    reason: 'locked',
    message: expect.stringContaining(`is in use by a broker (process ${process.pid})`) as unknown,
  }
  await expect(reader.close()).rejects.toMatchObject(locked)
  await expect(readDataFolder(data)).rejects.toMatchObject(locked)
  broker.release()
  await (await readDataFolder(data)).close()
})

test('what a killed broker left in the lock’s folder does not count', async () => {
  writeFileSync(join(data, 'lock/1-a.new'), '')
  await (await readDataFolder(data)).close()
  expect(readdirSync(join(data, 'lock'))).toEqual(['1-a.new'])
})

test('a first start that was cut short: its index has another name', async () => {
  renameSync(join(data, 'index'), join(data, 'index.new'))
  const reader = await readDataFolder(data)
  expect(reader.index).not.toBeInstanceOf(Error)
  await reader.close()
  expect(readdirSync(data)).toContain('index.new')
})

test('no folder, an empty one, a damaged index', async () => {
  await expect(readDataFolder(join(folder, 'none'))).rejects.toMatchObject({ reason: 'missing' })
  mkdirSync(join(folder, 'empty'))
  await expect(readDataFolder(join(folder, 'empty'))).rejects.toMatchObject({ reason: 'missing' })
  expect(readdirSync(join(folder, 'empty'))).toEqual([])
  writeFileSync(join(data, 'index/data.mdb'), 'x')
  const reader = await readDataFolder(data)
  expect(reader.index).toMatchObject({ name: 'DamagedIndexError' })
  await reader.close()
})
