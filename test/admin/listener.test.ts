import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openAdmin, type AdminOptions, type OpenAdmin } from '../../src/admin/listener.ts'
import { FakeControl, fakeTenants } from './fake-control.ts'
import { exchange, noRefusals, recordedLog, requestHead } from './kit.ts'

let data: string
let control: FakeControl
const open: OpenAdmin[] = []
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'godwit-admin-'))
  control = new FakeControl()
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((admin) => admin.close()))
  rmSync(data, { recursive: true })
})

async function opened(options: Partial<AdminOptions> = {}): Promise<OpenAdmin> {
  const { log } = recordedLog()
  const where = { host: '127.0.0.1', port: 0, chosen: true, tokenFile: undefined, data }
  const plain = { ...where, control, refusals: noRefusals, log, audited() {} }
  const admin = await openAdmin({ ...plain, tenants: fakeTenants, ...options })
  open.push(admin)
  return admin
}

const token = (): string => readFileSync(join(data, 'admin-token'), 'utf8').trim()
const portOf = ({ url }: OpenAdmin): number => Number(new URL(url).port)

const said = ({ url }: OpenAdmin, text: string): Promise<string> => exchange(url, text)
const head = ({ url }: OpenAdmin, method: string, path: string, more?: readonly string[]): string =>
  requestHead(url, token(), method, path, more)

const json = 'content-type: application/json'

describe('HTTP', () => {
  test('an answer', async () => {
    const admin = await opened()
    const answer = await said(admin, head(admin, 'GET', '/v1/cluster'))
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(answer).toContain('"schemaVersion":1')
    expect(answer.toLowerCase()).not.toContain('access-control')
  })

  test('a body in pieces', async () => {
    const admin = await opened()
    const answer = await said(
      admin,
      `${head(admin, 'POST', '/v1/cluster/evict', [json, 'transfer-encoding: chunked'])}6\r\n{"node\r\n6\r\n":"c"}\r\n0\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    expect(control.done).toEqual(['evict c'])
  })

  for (const [name, request, status] of [
    ['no HTTP', () => 'hello\r\n\r\n', 400],
    ['a client of MQTT', () => '\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00', 400],
    ['headers without end', (admin: OpenAdmin) => head(admin, 'GET', '/', [`x: ${'y'.repeat(20_000)}`]), 431],
    [
      'a body that says it is too long',
      (admin: OpenAdmin) => head(admin, 'POST', '/v1/cluster/evict', [json, 'content-length: 65537']),
      413,
    ],
    [
      'the same, and asks first',
      (admin: OpenAdmin) =>
        head(admin, 'POST', '/v1/cluster/evict', [json, 'content-length: 65537', 'expect: 100-continue']),
      413,
    ],
    [
      'a body that does not say so',
      (admin: OpenAdmin) =>
        `${head(admin, 'POST', '/v1/cluster/evict', [json, 'transfer-encoding: chunked'])}10001\r\n${' '.repeat(65_537)}\r\n`,
      413,
    ],
  ] as const)
    test(`${name}: ${status}`, async () => {
      const admin = await opened()
      const answer = await said(admin, request(admin))
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
      expect(answer).toContain('"schemaVersion":1,"error":"malformed"')
      expect(control.done).toEqual([])
    })

  test('what is under way is finished when it closes', async () => {
    let finish: (() => void) | undefined
    let asked: () => void
    const begun = new Promise<void>((resolve) => (asked = resolve))
    control.drain = () => {
      asked()
      return new Promise((resolve) => (finish = () => resolve({ moved: 9, remaining: 0, waiting: [] })))
    }
    const admin = await opened()
    const answer = said(admin, head(admin, 'POST', '/v1/cluster/drain', ['content-length: 0']))
    await begun
    const closed = admin.close()
    finish!()
    expect(await answer).toContain('"moved":9')
    await closed
  })
})

describe('its port', () => {
  test('the default is taken: another one', async () => {
    const first = await opened()
    const second = await opened({ port: portOf(first), chosen: false })
    expect(portOf(second)).not.toBe(portOf(first))
    expect(readFileSync(join(data, 'admin'), 'utf8')).toBe(`${second.url}\n`)
  })

  test('a chosen one is taken: an error', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    await expect(opened({ port })).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await new Promise((resolve) => server.close(resolve))
  })
})

describe('its files', () => {
  test('the token is made once, for its owner alone; the address goes with the listener', async () => {
    const first = await opened()
    const made = token()
    expect(made).toMatch(/^[\w-]{43}$/)
    for (const name of ['admin', 'admin-token']) expect(statSync(join(data, name)).mode & 0o777).toBe(0o600)
    await first.close()
    expect(readdirSync(data)).toEqual(['admin-token'])
    await opened()
    expect(token()).toBe(made)
    expect(readdirSync(data)).toEqual(['admin', 'admin-token'])
  })

  test('a folder that takes no word of it: said in the log, and everything else goes on', async () => {
    mkdirSync(join(data, 'admin'))
    const { log, lines } = recordedLog()
    const admin = await opened({ log })
    const message = expect.stringContaining('could not be noted in the data folder') as string
    expect(lines).toEqual([expect.objectContaining({ message })])
    expect(await said(admin, head(admin, 'GET', '/cluster'))).toMatch(/^HTTP\/1.1 \d/)
  })

  test('a token file elsewhere, without a data folder', async () => {
    const tokenFile = join(data, 'token')
    await opened({ tokenFile, data: undefined })
    expect(readdirSync(data)).toEqual(['token'])
  })

  for (const [name, text, mode, why] of [
    ['open to others', 'x'.repeat(43), 0o644, 'others on this machine may open it'],
    ['empty', '', 0o600, 'holds no admin token'],
    ['short', 'secret', 0o600, 'holds no admin token'],
    ['two lines', `${'x'.repeat(43)}\n${'y'.repeat(43)}`, 0o600, 'holds no admin token'],
  ] as const)
    test(`a token file that is ${name}`, async () => {
      writeFileSync(join(data, 'admin-token'), text, { mode })
      await expect(opened()).rejects.toThrow(why)
      expect(readFileSync(join(data, 'admin-token'), 'utf8')).toBe(text)
    })
})
