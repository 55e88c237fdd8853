import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { godwit } from '../cli/godwit.ts'

// `godwit pub` and `sub` beside mosquitto_pub and mosquitto_sub, at Debian's Mosquitto: the same flags do the same.

const peer = 'mosquitto'

let folder: string
let mosquitto: ChildProcess
let port: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-peer-'))
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  port = String((probe.address() as AddressInfo).port)
  probe.close()
  await once(probe, 'close')
  const config = join(folder, 'mosquitto.conf')
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\nlog_dest stderr\n`)
  mosquitto = spawn(peer, ['-c', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  for await (const text of mosquitto.stderr!) if ((log += String(text)).includes(' running')) break
})

afterAll(async () => {
  const closed = once(mosquitto, 'close')
  mosquitto.kill()
  await closed
  rmSync(folder, { recursive: true })
})

interface Result {
  readonly code: number
  readonly out: string
}

async function theirs(verb: 'pub' | 'sub', args: readonly string[], input = ''): Promise<Result> {
  const child = spawn(`${peer}_${verb}`, ['-p', port, ...args], { stdio: ['pipe', 'pipe', 'ignore'] })
  let out = ''
  child.stdout.setEncoding('latin1').on('data', (text: string) => (out += text))
  // Whoever does not read stdin may be gone by now.
  child.stdin.on('error', () => {}).end(input)
  const [code] = (await once(child, 'close')) as [number]
  return { code, out }
}

async function ours(verb: 'pub' | 'sub', args: readonly string[], input = ''): Promise<Result> {
  const { code, out } = await godwit([verb, '-p', port, ...args], { input })
  return { code, out: Buffer.from(out).toString('latin1') }
}

/** Times and packet ids differ from run to run. */
function steady({ code, out }: Result): Result {
  return { code, out: out.replace(/"tst":"[^"]*"/g, '').replace(/"mid":\d+/g, '') }
}

const publications: readonly (readonly [flags: readonly string[], input?: string])[] = [
  [['-t', 'x/1', '-r', '-m', 'text']],
  [['-t', 'x/2', '-r', '-m', '{"a": [1, 2]}', '-q', '2']],
  [['-t', 'x/3', '-r', '-s'], 'two\r\nlines\n'],
  [['-t', 'x/4', '-r', '-l'], 'a\n\nlast'],
  [['-t', 'x/5', '-r', '-m', 'ünïcödé "quoted" \\ back']],
  [
    ['-t', 'x/6', '-r', '-m', 'p', '-q', '1', '-V', 'mqttv5'].concat(
      ['-D', 'publish', 'content-type', 'text/plain', '-D', 'publish', 'user-property', 'k', 'v'],
      ['-D', 'publish', 'response-topic', 'r', '-D', 'publish', 'correlation-data', 'c'],
    ),
  ],
]

const count = ['-t', 'x/#', '-C', String(publications.length)]
const formats: readonly (readonly string[])[] = [
  [],
  ['-v'],
  ['-N'],
  ['-F', '%t|%p|%q|%r|%l|%x|%X|%%|\\t|\\n|@@'],
  ['-F', '%10t|%-10t|%.2t|%5.2t|%05l|%-5l|'],
  ['-F', '%j', '-q', '2'],
  ['-F', '%J'],
  ['-F', '%C|%D|%E|%F|%P|%R|%S|', '-V', 'mqttv5', '-q', '1'],
  ['-F', '%j', '-V', 'mqttv5'],
  ['-T', 'x/2', '-T', 'x/+/y', '-v', '-t', 'x/2/#'],
]

for (const [who, publisher] of [
  ['mosquitto_pub', theirs],
  ['godwit pub', ours],
] as const)
  describe(`what ${who} has published`, () => {
    beforeAll(async () => {
      for (const [flags, input] of publications) expect((await publisher('pub', flags, input)).code).toBe(0)
    })
    for (const format of formats)
      test(`shown with ${JSON.stringify(format.join(' '))}`, async () => {
        const shown = format.includes('-T') ? [...count.slice(0, 2), '-W', '1'] : count
        const [a, b] = [await theirs('sub', [...shown, ...format]), await ours('sub', [...shown, ...format])]
        expect(steady(b)).toEqual(steady(a))
        expect(a.out.length).toBeGreaterThan(0)
      })
  })

test('-W ends with 27', async () => {
  expect([
    (await theirs('sub', ['-t', 'no', '-W', '1'])).code,
    (await ours('sub', ['-t', 'no', '-W', '1'])).code,
  ]).toEqual([27, 27])
})

test('--retained-only and --remove-retained clear a tree', async () => {
  for (const topic of ['y/1', 'y/2', 'y/3']) await theirs('pub', ['-t', topic, '-r', '-m', 'x'])
  expect((await ours('sub', ['-t', 'y/#', '--remove-retained', '--retained-only'])).code).toBe(0)
  expect(await theirs('sub', ['-t', 'y/#', '-W', '1'])).toEqual({ code: 27, out: '' })
})
