import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { godwit, startGodwit, temporary } from '../support/program.ts'

// Data directories that a broker must not use, as a person sees it: exit code 3, one line, and nothing has changed.

const golden = fileURLToPath(new URL('../store/golden/format-1', import.meta.url))
const listen = ['--listen', 'tcp://127.0.0.1:0']
const identity = { store: 'godwit', format: 1, id: 7 }

function json(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

/** A copy of the golden directory. */
function copied(): string {
  const data = join(temporary(), 'data')
  cpSync(golden, data, { recursive: true })
  return data
}

/** Names and contents; not of the lock's folder, which a try may leave, empty. */
function contents(data: string): Map<string, string> {
  const files = readdirSync(data, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return new Map(files.map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name)).toString('base64')]))
}

async function refused(args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { code, out, err } = await godwit(args, { env }).ended()
  expect([code, out]).toEqual([3, ''])
  return err
}

describe('a directory that is not ours, or not for this version', () => {
  const cases: readonly (readonly [what: string, change: (data: string) => void, message: (data: string) => string])[] =
    [
      [
        'somebody else’s',
        (data) => {
          rmSync(data, { recursive: true })
          mkdirSync(data)
          writeFileSync(join(data, 'diary.txt'), 'dear diary')
        },
        (data) =>
          `${data} is not a store of godwit: it holds "diary.txt" and no store.json; name an empty folder, or a new one`,
      ],
      [
        'of another program with a store.json',
        (data) => writeFileSync(join(data, 'store.json'), json({ ...identity, store: 'grocer' })),
        (data) => `${data}/store.json is damaged, or not by godwit; restore it from a backup`,
      ],
      [
        'of a newer version',
        (data) => writeFileSync(join(data, 'store.json'), json({ ...identity, format: 4, more: 1 })),
        (data) => `${data} was written by a newer version (format 4; this one reads up to 3); use that version`,
      ],
      [
        'without its index',
        (data) => rmSync(join(data, 'index'), { recursive: true }),
        (data) => `the index ${data}/index is damaged: it has no data.mdb; restore the whole folder from a backup`,
      ],
    ]
  for (const [what, change, message] of cases)
    test(what, async () => {
      const data = copied()
      change(data)
      const before = contents(data)
      expect(await refused(['start', ...listen, '--data', data])).toBe(`error: ${message(data)}\n`)
      const after = contents(data)
      // LMDB makes it beside an index that it opens.
      after.delete('lock.mdb')
      expect(after).toEqual(before)
    })

  test('a file', async () => {
    const data = join(temporary(), 'data')
    writeFileSync(data, '')
    expect(await refused(['start', ...listen, '--data', data])).toBe(
      `error: ${data} cannot be used: ENOTDIR: not a directory, scandir '${data}'\n`,
    )
  })

  /** A directory that a broker has used. */
  async function used(): Promise<string> {
    const data = join(temporary(), 'data')
    const { program } = await startGodwit([...listen, '--data', data])
    program.signal('SIGTERM')
    expect(await program.code).toBe(0)
    return data
  }

  test('with the log of another store', async () => {
    const data = await used()
    writeFileSync(join(data, 'store.json'), json(identity))
    const message = `error: ${data}: a segment belongs to another store\n`
    expect(await refused(['start', ...listen, '--data', data])).toBe(message)
    expect(await refused(['store', 'verify', data])).toBe(message)
  })

  test('with segments of another size', async () => {
    const data = await used()
    expect(await refused(['start', ...listen, '--data', data], { GODWIT_STORE_SEGMENT_BYTES: '1048576' })).toBe(
      `error: ${data}: the log has segments of 67108864 bytes, not 1048576: set store.segmentBytes back to 67108864\n`,
    )
  })
})

test('a directory in use: the second broker and the readers are told by whom, and the first one goes on', async () => {
  const data = join(temporary(), 'data')
  const env = { GODWIT_LIMITS_SYS_SECONDS: '0' }
  const { program, port } = await startGodwit([...listen, '--data', data], { env })
  const inUse = new RegExp(
    `^error: ${data.replaceAll('.', '\\.')} is in use by (another|a) broker \\(process \\d+\\); (.*)\n$`,
  )
  const started = inUse.exec(await refused(['start', ...listen, '--data', data]))
  expect(started?.slice(1)).toEqual(['another', 'stop it, or give this one a folder of its own'])
  for (const verb of ['verify', 'ls']) {
    const read = inUse.exec(await refused(['store', verb, data]))
    expect(read?.slice(1)).toEqual(['a', 'stop it first, or read a copy'])
  }
  const published = ['pub', '-p', String(port), '-t', 'a', '-m', 'still here', '-q', '1', '-r']
  expect((await godwit(published).ended()).code).toBe(0)
  program.signal('SIGKILL')
  await program.code
  const { code, out } = await godwit(['store', 'ls', '--retained', '--json', data]).ended()
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ retainedMessages: [{ topic: 'a', qos: 1, bytes: 10 }] })
})

test('a directory that is not there is not made by who reads it', async () => {
  const folder = temporary()
  const err = await refused(['store', 'verify', join(folder, 'nowhere')])
  expect(err).toBe(`error: ${join(folder, 'nowhere')} holds no store; is the name right?\n`)
  expect(readdirSync(folder)).toEqual([])
})
