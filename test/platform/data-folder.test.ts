import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DataFolderError, openDataFolder } from '../../src/platform/data-folder.ts'
import { FolderLock, LockedError } from '../../src/platform/lock.ts'

let folder: string
let data: string
const children: ChildProcess[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-data-'))
  data = join(folder, 'data')
})
afterEach(async () => {
  await Promise.all(children.splice(0).map(kill))
  rmSync(folder, { recursive: true })
})

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

/** Another process that takes the lock of `data`: it says so, and stays. Gives its first word. */
async function holder(): Promise<{ child: ChildProcess; word: string }> {
  const lock = join(folder, 'lock.mjs')
  const source = readFileSync(new URL('../../src/platform/lock.ts', import.meta.url), 'utf8')
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  writeFileSync(lock, ts.transpileModule(source, { compilerOptions }).outputText)
  const script = `
    import { FolderLock } from ${JSON.stringify(pathToFileURL(lock).href)}
    const [folder, unique] = process.argv.slice(-2)
    FolderLock.take(folder, unique).then(() => console.log('held'), (error) => console.log(error.message))
    process.stdin.resume()`
  const args = ['--input-type=module', '-e', script, '--', join(data, 'lock'), `other${children.length}`]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  const [word] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, word: word.toString().trim() }
}

const refusal = (path: string, create = true) =>
  openDataFolder(path, create).then(
    () => expect.unreachable('it was opened'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(DataFolderError)
      expect((error as Error).message).toContain(path)
      return (error as DataFolderError).reason
    },
  )

describe('a data folder', () => {
  test('is made where nothing is, for its owner alone, and is the same one later', async () => {
    const deep = join(folder, 'not', 'there', 'yet')
    const first = await openDataFolder(deep, true)
    expect(statSync(deep).mode & 0o777).toBe(0o700)
    expect(readdirSync(deep).sort()).toEqual(['index', 'lock', 'store.json'])
    await new Promise((resolve) => first.index.commit([['a', Buffer.from('1')]], resolve))
    await first.close()
    expect(readdirSync(join(deep, 'lock'))).toEqual([])
    const second = await openDataFolder(deep, false)
    expect(second.storeId).toBe(first.storeId)
    expect(Array.from(second.index.entries(), ([key]) => key)).toEqual(['a'])
    await second.close()
  })

  test('has an id that no other has', async () => {
    const ids = new Set<number>()
    for (const name of ['a', 'b', 'c']) {
      const opened = await openDataFolder(join(folder, name), true)
      ids.add(opened.storeId)
      await opened.close()
    }
    expect(ids.size).toBe(3)
  })

  const ours = { store: 'godwit', format: 1, id: 7 }
  test.each<[what: string, files: Record<string, string>, reason: string]>([
    ['somebody’s files', { 'notes.txt': 'mine' }, 'foreign'],
    ['somebody’s hidden file', { '.profile': '' }, 'foreign'],
    ['a log without an identity', { 'log/0000000004000000.seg': '' }, 'foreign'],
    ['a newer format', { 'store.json': JSON.stringify({ ...ours, format: 4, id: 'another kind' }) }, 'newer'],
    ['a format that never was', { 'store.json': JSON.stringify({ ...ours, format: 0 }) }, 'damaged'],
    ['an empty identity', { 'store.json': '' }, 'damaged'],
    ['half an identity', { 'store.json': '{"store":"godwit","fo' }, 'damaged'],
    ['an identity that is null', { 'store.json': 'null' }, 'damaged'],
    ['an id of more than 32 bits', { 'store.json': JSON.stringify({ ...ours, id: 2 ** 32 }) }, 'damaged'],
    ['somebody’s store.json', { 'store.json': '{"shop":"bikes","id":7}' }, 'damaged'],
    ['no index', { 'store.json': JSON.stringify(ours) }, 'damaged'],
  ])('with %s is refused', async (_what, files, reason) => {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(data, name, '..'), { recursive: true })
      writeFileSync(join(data, name), text)
    }
    const names = () => readdirSync(data, { recursive: true, encoding: 'utf8' }).filter((name) => name !== 'lock')
    const before = names().sort()
    expect(await refusal(data)).toBe(reason)
    // It stays as it is, and nothing holds it.
    expect(names().sort()).toEqual(before)
  })

  test.each<[what: string, harm: (file: Buffer) => Buffer]>([
    ['empty', () => Buffer.alloc(0)],
    ['zeros', (file) => Buffer.alloc(file.length)],
    ['text', (file) => Buffer.alloc(file.length, 'text')],
    ['cut within its head', (file) => file.subarray(0, 100)],
    ['cut within its second head', (file) => file.subarray(0, 4200)],
    ['cut behind its heads', (file) => file.subarray(0, 8192)],
    ['without its first head', (file) => Buffer.from(file).fill(0, 0, 4096)],
    ['without its second head', (file) => Buffer.from(file).fill(0, 4096, 8192)],
    ['of another kind', (file) => Buffer.from(file).fill(1, 24, 28)],
  ])('whose index is %s is refused, and the process lives', async (_what, harm) => {
    const opened = await openDataFolder(data, true)
    for (let at = 0; at < 3; at++)
      await new Promise((resolve) => opened.index.commit([[`a${at}`, Buffer.alloc(10_000)]], resolve))
    await opened.close()
    const file = join(data, 'index', 'data.mdb')
    writeFileSync(file, harm(readFileSync(file)))
    expect(await refusal(data)).toBe('damaged')
    expect(readdirSync(join(data, 'lock'))).toEqual([])
  })

  test('that is not there, and may not be made, is not made', async () => {
    expect(await refusal(data, false)).toBe('missing')
    expect(existsSync(data)).toBe(false)
    mkdirSync(data)
    expect(await refusal(data, false)).toBe('missing')
    expect(readdirSync(data)).toEqual([])
  })

  test('that is a file cannot be used', async () => {
    writeFileSync(data, '')
    expect(await refusal(data)).toBe('unusable')
    expect(await refusal(join(data, 'below'))).toBe('unusable')
  })

  test('whose first start was cut short is made after all', async () => {
    mkdirSync(join(data, 'lock'), { recursive: true })
    mkdirSync(join(data, 'lost+found'))
    mkdirSync(join(data, 'index.new'))
    writeFileSync(join(data, 'index.new', 'data.mdb'), '\0'.repeat(100))
    writeFileSync(join(data, 'store.json.new'), '{"sto')
    const first = await openDataFolder(data, true)
    await first.close()
    // Cut short a step later: the identity stands, and the index has not got its name.
    renameSync(join(data, 'index'), join(data, 'index.new'))
    const second = await openDataFolder(data, true)
    expect(second.storeId).toBe(first.storeId)
    await second.close()
  })

  test('is one broker’s: another in this process', async () => {
    const first = await openDataFolder(data, true)
    expect(await refusal(data)).toBe('locked')
    await first.close()
    await (await openDataFolder(data, true)).close()
  })

  test('is one broker’s: another process, until it is killed', async () => {
    await (await openDataFolder(data, true)).close()
    const { child, word } = await holder()
    expect(word).toBe('held')
    await expect(openDataFolder(data, true)).rejects.toThrow(`process ${child.pid}`)
    await kill(child)
    const opened = await openDataFolder(data, true)
    // What the dead one left is swept.
    expect(readdirSync(join(data, 'lock'))).toHaveLength(1)
    expect((await holder()).word).toBe(`locked by process ${process.pid}`)
    await opened.close()
    expect((await holder()).word).toBe('held')
  })
})

describe('a lock', () => {
  test('of many that come at once one at most gets it, and all let go', async () => {
    for (let round = 0; round < 20; round++) {
      const takers = Array.from({ length: 5 }, (_, at) => FolderLock.take(join(data, 'lock'), `${round}-${at}`))
      const results = await Promise.allSettled(takers)
      const held = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
      expect(held.length).toBeLessThanOrEqual(1)
      for (const result of results) if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(LockedError)
      for (const lock of held) {
        lock.release()
        lock.release()
      }
      expect(readdirSync(join(data, 'lock'))).toEqual([])
    }
  })

  test('holds in a folder whose name is longer than an address of a socket', async () => {
    const deep = join(folder, 'x'.repeat(100), 'y'.repeat(100))
    const lock = await FolderLock.take(deep, 'a')
    await expect(FolderLock.take(deep, 'b')).rejects.toThrow(LockedError)
    lock.release()
    ;(await FolderLock.take(deep, 'c')).release()
  })
})
