import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type * as World from './tenants-world.ts'

// Bugs that we plant in what keeps tenants apart, to see that the comparison with brokers of their own finds them.

type Mutant = readonly [what: string, file: string, line: string, instead: string]

const mutants: readonly Mutant[] = [
  ['a session has the id of other tenants', 'broker/door.ts', 'sessionKey(root?.tenant, ', 'sessionKey(undefined, '],
  [
    'a filter stays as it was written',
    'broker/subscribing.ts',
    'const within = root.filter(filter)',
    'const within = filter',
  ],
  [
    'the root of a shared subscription stands before its group',
    'mqtt/root.ts',
    '`$share/${group}/${inside}`',
    'inside',
  ],
  [
    'a filter is not found again',
    'broker/subscribing.ts',
    'return root ? root.filter(filter) : filter',
    'return filter',
  ],
  ['a will stays as it was written', 'broker/handshake.ts', 'root.topic(packet.will.topic)', 'packet.will.topic'],
  [
    'a topic stays as it was written',
    'mqtt/connection.ts',
    'topics.under(root.bytes, chunk, start, end)',
    'topics.at(chunk, start, end)',
  ],
  ['clients are sent the root', 'mqtt/output.ts', 'message.topic.wire', 'message.topic.bytes'],
  ['the root counts towards the largest packet', 'mqtt/sender.ts', 'message.topic.wire', 'message.topic.bytes'],
  ['rules see the root of a topic', 'access/permissions.ts', 'new Asked(topic.shown)', 'new Asked(topic.name)'],
  [
    'rules see the root of a filter',
    'access/permissions.ts',
    'this.#granted(new Asked(shownFilter(filter)))',
    'this.#granted(new Asked(filter))',
  ],
  ['anybody may publish to a tenant', 'broker/publishing.ts', ' || isOfTenants(name)', ''],
  [
    'anybody may subscribe to a tenant',
    'broker/subscribing.ts',
    'root === undefined ? isOfTenants(filter)',
    'root === undefined ? false',
  ],
  ['what ends is counted on', 'sessions/session.ts', 'this.tenant.subscriptions -= this.#subscriptions.size', ''],
  [
    'what is read back is not counted',
    'sessions/sessions.ts',
    'tenant.subscriptions += session.subscriptions.size',
    '',
  ],
  [
    'what is cleared is counted on',
    'retain/retained.ts',
    'this.#count(kept.message.topic, -1,',
    'this.#count(kept.message.topic, 0,',
  ],
  [
    'a session that ends is counted on',
    'broker/tenants.ts',
    'if (--tenant.sessions > 0) return',
    'if (tenant.sessions > 0) return',
  ],
]

const folder = mkdtempSync(join(tmpdir(), 'godwit-tenants-'))
afterAll(() => rmSync(folder, { recursive: true }))

// Every other one with each change; `MUTANTS=all`: all of them.
const planted = mutants.filter((_, at) => at % 2 === 0 || process.env['MUTANTS'] === 'all')
for (const [at, [what, file, line, instead]] of planted.entries())
  test(`${what}: found`, { timeout: 60_000 }, async () => {
    const root = join(folder, `${at}`)
    for (const part of ['src', ...['broker', 'fuzz', 'sim', 'support'].map((name) => `test/${name}`)])
      cpSync(part, join(root, part), { recursive: true })
    symlinkSync(resolve('node_modules'), join(root, 'node_modules'))
    const path = join(root, 'src', file)
    const parts = readFileSync(path, 'utf8').split(line)
    expect(parts.length, `"${line}" stands once in ${file}`).toBe(2)
    writeFileSync(path, parts.join(instead))
    const { play } = (await import(join(root, 'test/broker/tenants-world.ts'))) as typeof World
    await expect(play(1, 50)).rejects.toThrow(/^seed /)
  })
