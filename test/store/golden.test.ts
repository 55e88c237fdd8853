import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { Godwit } from '../cli/godwit.ts'
import type { Message } from '../../src/mqtt/message.ts'
import type { Stamp } from '../../src/mqtt/stamp.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { checksum } from '../../src/platform/checksum.ts'
import { openDataFolder } from '../../src/platform/data-folder.ts'
import { nodeHost } from '../../src/platform/host.ts'
import { unpackGrant } from '../../src/routing/delivery.ts'
import { type DiskStore, openDiskStore } from '../../src/store/disk-store.ts'
import { Entry, type RecoveredSession } from '../../src/store/port.ts'
import { format } from '../../src/store/image.ts'
import { type Golden, type GoldenMessage, goldenOf, type GoldenSession, makeGolden } from './golden/make.ts'
import { silent } from './model.ts'
import { aliveIn } from './places.ts'

// Directories that released versions have left behind, each with the same in it: what was kept once is read for ever.
// A new format: MAKE_GOLDEN=format-3 npx vitest run test/store/golden.test.ts; it must not touch the old ones.

const here = fileURLToPath(new URL('golden/', import.meta.url))
const segmentBytes = 4096
const scratch = mkdtempSync(join(tmpdir(), 'godwit-golden-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const made = process.env.MAKE_GOLDEN
if (made !== undefined) test(`make ${made}`, () => makeGolden(join(scratch, 'work'), join(here, made)))

test('what is made today has the same in it', async () => {
  const directory = join(scratch, 'today')
  await makeGolden(join(scratch, 'today-work'), directory)
  expect(await read(directory)).toEqual(goldenOf(format))
})

const formats = readdirSync(here, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
describe.each(formats)('%s', (name) => {
  const itsFormat = Number(name.replace('format-', ''))
  const golden = goldenOf(itsFormat)

  test('is small', () => {
    const bytes = filesOf(join(here, name)).map((file) => statSync(file).size)
    expect(bytes.reduce((sum, size) => sum + size, 0)).toBeLessThan(300 * 1024)
  })

  test('is read, and read again by who has written to it since', async () => {
    const directory = join(scratch, name)
    cpSync(join(here, name), directory, { recursive: true })
    expect(await read(directory)).toEqual(golden)
    expect(await read(directory)).toEqual(golden)
  })

  test('verify and ls read it where it stands, and leave no trace', async () => {
    const directory = join(here, name)
    const before = fingerprint(directory)
    const verified = new Godwit(['store', 'verify', '--json', directory])
    expect([await verified.code, verified.err.text]).toEqual([0, ''])
    const queued = Object.values(golden.sessions).reduce((sum, { queue }) => sum + queue.length, 0)
    expect(JSON.parse(verified.out.text)).toMatchObject({
      sound: true,
      format: itsFormat,
      sessions: Object.keys(golden.sessions).length,
      queued: { messages: queued },
      retained: { messages: golden.retained.length },
      log: { tornBytes: 0 },
      quarantine: [],
      damage: [],
    })
    const listed = new Godwit(['store', 'ls', '--json', directory])
    expect(await listed.code).toBe(0)
    const { sessions } = JSON.parse(listed.out.text) as { sessions: { clientId: string }[] }
    expect(sessions.map(({ clientId }) => clientId).sort()).toEqual(Object.keys(golden.sessions).sort())
    expect(fingerprint(directory)).toEqual(before)
  })
})

/** All that a directory holds, as the current code opens it. */
async function read(directory: string): Promise<Golden> {
  const folder = await openDataFolder(directory, false)
  const { disk, index, storeId } = folder
  const { clock } = nodeHost(silent)
  const topics = new TopicTable()
  const { store, recovered } = openDiskStore({
    disk,
    index,
    clock,
    log: silent,
    storeId,
    topics,
    checksum,
    segmentBytes,
  })
  const sessions = Array.from(recovered.sessions, (session) => [session.clientId, sessionOf(session, store)] as const)
  const messages = recovered.retained.filter(({ payloadLength }) => payloadLength > 0)
  const retained = messages.map((message) => messageOf(message))
  const tombstones = recovered.retained.filter((message) => !messages.includes(message))
  expect(store.figures).toMatchObject({ quarantined: 0, lostCopies: 0 })
  await store.close()
  await folder.close()
  return {
    sessions: Object.fromEntries(sessions),
    retained: retained.sort((a, b) => (a.topic < b.topic ? -1 : 1)),
    tombstones: Object.fromEntries(tombstones.map(({ topic, stamp }) => [topic.name, stampOf(stamp!)])),
  }
}

function sessionOf(session: RecoveredSession, store: DiskStore): GoldenSession {
  const { expirySeconds, username, will, subscriptions, incoming } = session
  return {
    expirySeconds,
    ...(username !== undefined && { username }),
    ...(will && {
      will: {
        topic: will.topic,
        payload: Buffer.from(will.payload).toString(),
        qos: will.qos,
        retain: will.retain,
        delaySeconds: will.delaySeconds,
      },
    }),
    subscriptions: Object.fromEntries(Array.from(subscriptions, ([filter, packed]) => [filter, unpackGrant(packed)])),
    ...(incoming.length > 0 && { incoming: [...incoming].sort((a, b) => a - b) }),
    queue: queueOf(session, store),
  }
}

function queueOf({ number, queue }: RecoveredSession, store: DiskStore): GoldenMessage[] {
  return aliveIn(queue).map(({ seq, entry, lsn, expiry }) => {
    const state = entry & Entry.stateBits
    const copy = store.readNow(lsn, number, seq)!
    // What a copy has of its own: the QoS and flags that its subscription gave it.
    const message = messageOf(copy.message)
    expect(Math.min(copy.message.bytes, Entry.mostBytes)).toBe(entry >>> Entry.bytesShift)
    // What expires beyond 32 bits of seconds has none of its own.
    if (message.expires !== true) expect(expiry).toBe(0)
    const { retain: _, ...rest } = message
    return {
      ...rest,
      qos: entry & Entry.qos2 ? 2 : 1,
      ...(entry & Entry.retain && { retain: true }),
      ...(copy.subscriptionIds && { subscriptionIds: copy.subscriptionIds }),
      ...(copy.shared !== undefined && { shared: copy.shared }),
      ...(state === Entry.released && { released: true }),
    }
  })
}

function messageOf(message: Message): GoldenMessage {
  const { topic, qos, retain, properties, expiresAtMs, stamp } = message
  return {
    topic: topic.name,
    payload: Buffer.from(message.payload()).toString(),
    qos,
    ...(retain && { retain }),
    ...(stamp && { stamp: stampOf(stamp) }),
    ...(expiresAtMs !== Infinity && { expires: true }),
    ...(properties && { properties: Buffer.from(properties).toString('hex') }),
  }
}

function stampOf({ ms, count, node }: Stamp): string {
  return `${ms} ${count} ${node}`
}

function filesOf(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  return entries.flatMap((entry) => (entry.isFile() ? [join(entry.parentPath, entry.name)] : [])).sort()
}

function fingerprint(directory: string): string[] {
  return filesOf(directory).map((file) => `${file} ${statSync(file).mtimeMs} ${readFileSync(file).toString('base64')}`)
}
