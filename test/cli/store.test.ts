import { cpSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync, closeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { goldenOf } from '../store/golden/make.ts'
import { godwit } from './godwit.ts'

// On a copy of the golden directory, whole and damaged.

const origin = fileURLToPath(new URL('../store/golden/format-1', import.meta.url))
const golden = goldenOf(1)
const firstSegment = 'log/0000000000001000.seg'
let folder: string
let data: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-store-'))
  data = join(folder, 'data')
  cpSync(origin, data, { recursive: true })
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Turns bits of a file over. */
function flip(name: string, at: number): void {
  const path = join(data, name)
  const byte = readFileSync(path)[at]!
  const descriptor = openSync(path, 'r+')
  writeSync(descriptor, Buffer.of(byte ^ 0x55), 0, 1, at)
  closeSync(descriptor)
}

/** Where a text stands in the first segment. */
function placeOf(text: string): number {
  const at = readFileSync(join(data, firstSegment)).indexOf(text)
  expect(at).toBeGreaterThan(0)
  return at
}

async function json(args: readonly string[]): Promise<{ code: number; report: Record<string, unknown> }> {
  const { code, out, err } = await godwit(['store', ...args, '--json', data])
  expect(err).toBe('')
  return { code, report: JSON.parse(out) as Record<string, unknown> }
}

describe('verify', () => {
  test('of what is sound', async () => {
    const { code, out, err } = await godwit(['store', 'verify', data])
    expect([code, err]).toEqual([0, ''])
    expect(out.startsWith(`${data}: format 1, store `)).toBe(true)
    for (const line of ['sessions       4', 'retained       3 messages, 1.0 KiB', 'nothing is damaged'])
      expect(out).toContain(`${line}\n`)
    expect(out).not.toContain('torn')
  })

  test('of damage that a start would come by: its place, and whose messages it took', async () => {
    // A frame that two sessions were to get something of, behind what the index knows.
    const at = placeOf('large large')
    flip(firstSegment, at)
    const { code, out, err } = await godwit(['store', 'verify', data])
    expect([code, err]).toEqual([1, ''])
    const told = out.slice(out.indexOf('damaged')).replaceAll(/\d{3,}/g, 'N')
    expect(told).toContain('damaged: 1 place, ')
    expect(told).toContain(
      '\n\n  log/N.seg, bytes N to N\n    not as it was written (1 record)\n    lost to "pump/1": 1 message\n',
    )
    expect(told).toContain('    lost to "sensor-ü": 1 message\n')
    const { report } = await json(['verify'])
    expect(report).toMatchObject({
      sound: false,
      queued: { messages: 6 },
      damage: [
        {
          records: 1,
          lost: expect.arrayContaining([
            { clientId: 'pump/1', messages: 1 },
            { clientId: 'sensor-ü', messages: 1 },
          ]) as unknown,
        },
      ],
    })
    // Nothing was set aside: that is for a start to do.
    expect(report).toMatchObject({ quarantine: [] })
  })

  test('of damage that no start looks at, before a client does', async () => {
    flip(firstSegment, placeOf('before'))
    expect((await json(['ls'])).code).toBe(0)
    const { code, report } = await json(['verify'])
    expect(code).toBe(1)
    expect(report).toMatchObject({ damage: [{ messages: 1, lost: [{ clientId: 'pump/1', messages: 1 }] }] })
  })

  test('of a torn end: no damage', async () => {
    writeFileSync(join(data, 'log/0000000000008000.seg'), Buffer.alloc(77), { flag: 'a' })
    const { code, report } = await json(['verify'])
    expect(code).toBe(0)
    expect(report).toMatchObject({ sound: true, log: { tornBytes: 77 } })
  })

  test('of a broken index: the log is read all the same', async () => {
    writeFileSync(join(data, 'index/data.mdb'), 'no index')
    const { code, report } = await json(['verify'])
    expect(code).toBe(1)
    expect(report).toMatchObject({ index: { entries: 0 } })
    expect((report.damage as { place: string }[])[0]).toMatchObject({
      place: 'index',
      what: 'it cannot be read: no head of an index at 0; what follows is what the log alone has',
    })
  })

  test('names what was set aside', async () => {
    cpSync(join(data, firstSegment), join(data, 'quarantine/a.bin'))
    const { out } = await godwit(['store', 'verify', data])
    expect(out).toContain('set aside      quarantine/a.bin, 25.7 KiB\n')
  })
})

describe('ls', () => {
  test('of sessions', async () => {
    const { code, out, err } = await godwit(['store', 'ls', data])
    expect([code, err]).toEqual([0, ''])
    expect(out.split('\n')[1]).toBe('4 sessions, 8 messages queued (47.9 KiB), 3 retained (1.0 KiB)')
    expect(out).toMatch(/^CLIENT +EPOCH +CONNECTED +ENDS +QUEUED +BYTES +QOS 2 +WILL +SUBSCRIPTIONS$/m)
    expect(out).toMatch(/^sensor-ü +1 +no +never +2 +23.7 KiB +0 +- +orders\/\+$/m)
    expect(out).toMatch(/^present +1 +yes +\S+Z +0 +0 B +0 +will\/present +present\/only$/m)
  })

  test('as JSON: all that a session has', async () => {
    const { report } = await json(['ls'])
    const sessions = report.sessions as { clientId: string; subscriptions: { filter: string }[] }[]
    for (const session of sessions) {
      const { subscriptions, queue, incoming = [], expirySeconds, username } = golden.sessions[session.clientId]!
      expect(session).toMatchObject({
        expirySeconds: expirySeconds === Infinity ? null : expirySeconds,
        ...(username !== undefined && { username }),
        subscriptions: Object.entries(subscriptions).map(([filter, grant]) => ({ filter, ...grant })),
        queued: { messages: queue.length, released: queue.filter(({ released }) => released).length },
        incoming,
      })
    }
    expect(report).not.toHaveProperty('retainedMessages')
  })

  test('of retained messages, and no more than asked for', async () => {
    const { out } = await godwit(['store', 'ls', '--retained', '--limit', '2', data])
    const lines = out.split('\n')
    expect(lines[3]).toMatch(/^TOPIC +QOS +BYTES +EXPIRES$/)
    expect(lines[6]).toBe('and 1 more retained message; --limit shows them')
    for (const line of lines) expect(line.length).toBeLessThan(160)
    const { report } = await json(['ls', '--retained', '--sessions'])
    expect(report).toMatchObject({ sessionCount: 4, sessions: { length: 4 } })
    const topics = (report.retainedMessages as { topic: string }[]).map(({ topic }) => topic)
    expect(topics.sort()).toEqual(golden.retained.map(({ topic }) => topic))
  })

  test('of damage: what is left, and where to learn more', async () => {
    flip(firstSegment, placeOf('large large'))
    const { code, out, err } = await godwit(['store', 'ls', data])
    expect(code).toBe(1)
    expect(out).toContain('4 sessions, 6 messages queued')
    expect(err).toContain('lost to "sensor-ü": 1 message\n')
    expect(err).toMatch(/godwit store verify reads all of it\n$/)
  })
})

test('slips of the finger end with 2', async () => {
  for (const args of [[], ['verify'], ['ls', '--limit', '-1', 'x'], ['verify', 'x', 'y'], ['lst', 'x']])
    expect((await godwit(['store', ...args])).code).toBe(2)
})

test('help', async () => {
  for (const args of [
    ['store', '--help'],
    ['store', 'verify', '--help'],
    ['store', 'ls', '--help'],
  ]) {
    const { code, out } = await godwit(args)
    expect(code).toBe(0)
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(120)
  }
})
