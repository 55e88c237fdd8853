import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openAdmin, type OpenAdmin } from '../../src/admin/listener.ts'
import { FolderLock } from '../../src/platform/lock.ts'
import { FakeControl, fakeTenants } from '../admin/fake-control.ts'
import { noRefusals, recordedLog } from '../admin/kit.ts'
import { freePort } from '../support/program.ts'
import { Godwit, godwit as run, type Given } from './godwit.ts'

// `godwit cluster …` against the admin listener, with a cluster behind it that is there only to be asked.

let data: string
let control: FakeControl
let admin: OpenAdmin | undefined
let lock: FolderLock
let strangers: Server[] = []
beforeEach(async () => {
  data = mkdtempSync(join(tmpdir(), 'godwit-cluster-'))
  lock = await FolderLock.take(join(data, 'lock'), 'test')
  control = new FakeControl()
  const { log } = recordedLog()
  admin = await openAdmin({
    host: '127.0.0.1',
    port: 0,
    chosen: true,
    tokenFile: undefined,
    data,
    control,
    tenants: fakeTenants,
    refusals: noRefusals,
    log,
    audited() {},
  })
})
afterEach(async () => {
  await admin?.close()
  lock.release()
  await Promise.all(strangers.map((server) => new Promise((resolve) => server.close(resolve))))
  strangers = []
  rmSync(data, { recursive: true })
})

const cluster = (args: readonly string[], given?: Given) => run(['cluster', ...args, '--data', data], given)
const parsed = (text: string) => JSON.parse(text) as unknown

describe('tenants', () => {
  const tenants = (args: readonly string[], given?: Given) => run(['tenants', ...args, '--data', data], given)

  test('in a pipe, and for programs', async () => {
    const { code, out, err } = await tenants([])
    expect([code, err]).toEqual([0, '1 tenant had nothing here any more, and no figures are left of them\n'])
    expect(out.split('\n').map((line) => line.split('\t'))).toEqual([
      [
        ...['TENANT', 'CLIENTS', 'SESSIONS', 'SUBSCRIPTIONS', 'RETAINED', 'RETAINED BYTES'],
        ...['IN', 'OUT', 'BYTES IN', 'BYTES OUT', 'REFUSED'],
      ],
      'north 2 3 1500 4 98304 5 6 70 80 9'.split(' '),
      'south 0 0 0 0 0 0 0 0 0 0'.split(' '),
      [''],
    ])
    expect(parsed((await tenants(['--json'])).out)).toEqual({ schemaVersion: 1, ...fakeTenants() })
  })

  test('on a terminal: a table', async () => {
    const { out } = await tenants([], { terminal: true })
    expect(out)
      .toBe(`TENANT  CLIENTS  SESSIONS  SUBSCRIPTIONS  RETAINED  RETAINED BYTES  IN  OUT  BYTES IN  BYTES OUT  REFUSED
north         2         3          1,500         4        96.0 KiB   5    6      70 B       80 B        9
south         0         0              0         0             0 B   0    0       0 B        0 B        0
`)
  })
})

describe('status', () => {
  test('in a pipe: a line for each node', async () => {
    const { code, out, err } = await cluster(['status'])
    expect([code, err]).toEqual([0, ''])
    expect(out.split('\n').map((line) => line.split('\t'))).toEqual([
      'NODE STATE ADDRESS INCARNATION LINK WAITING BYTES HANDOFF DROPPED REFUSED'.split(' '),
      'a self 127.0.0.1:7001 5 0 0 0 false 0 0'.split(' '),
      'b alive 127.0.0.1:7002 6 2 1 0 false 0 0'.split(' '),
      'c dead 127.0.0.1:7003 7 0 1200 98304 true 12 0'.split(' '),
      [''],
    ])
    expect((await cluster(['status', '--no-headers'])).out).toBe(out.slice(out.indexOf('\n') + 1))
  })

  test('on a terminal: a table', async () => {
    const { out } = await cluster(['status'], { terminal: true })
    expect(out).toBe(`cluster cluster-1, serving; here 2 clients, 3 sessions
lost since the start: 7 messages given up with nodes that are gone, 2 messages for clients of nodes that were away

NODE  STATE  ADDRESS         INCARNATION  LINK  WAITING     BYTES  HANDOFF  DROPPED  REFUSED
a     self   127.0.0.1:7001            5  -           0       0 B  no             0        0
b     alive  127.0.0.1:7002            6  v2          1       0 B  no             0        0
c     dead   127.0.0.1:7003            7  -       1,200  96.0 KiB  yes           12        0
`)
  })

  test('for programs', async () => {
    const { out } = await cluster(['status', '--json'])
    expect(parsed(out)).toEqual({ schemaVersion: 1, ...control.status() })
  })

  test('what a node says of itself does nothing to a terminal', async () => {
    const { nodes, ...status } = control.status()
    control.status = () => ({ ...status, nodes: [{ ...nodes[0]!, address: '\u001b[2Jx\ty' }] })
    for (const terminal of [false, true])
      expect((await cluster(['status'], { terminal })).out).toContain('\\u001b[2Jx\\u0009y')
  })
})

describe('what would be lost is asked for', () => {
  const evict = ['evict', 'c']
  const leave = ['leave']
  for (const [name, args, given, code, done] of [
    ['evict in a pipe', evict, {}, 2, []],
    ['evict --yes', [...evict, '--yes'], {}, 0, ['evict c']],
    ['evict, yes', evict, { terminal: true, input: 'y\n' }, 0, ['evict c']],
    ['evict, Yes', evict, { terminal: true, input: ' YES \n' }, 0, ['evict c']],
    ['evict, no', evict, { terminal: true, input: 'n\n' }, 5, []],
    ['evict, nothing', evict, { terminal: true, input: '\n' }, 5, []],
    ['evict, the end of the input', evict, { terminal: true, input: '' }, 5, []],
    ['leave in a pipe', leave, {}, 2, []],
    ['leave --yes', [...leave, '--yes'], {}, 0, ['leave']],
    ['leave, yes', leave, { terminal: true, input: 'y\n' }, 0, ['leave']],
    ['leave, no', leave, { terminal: true, input: 'no\n' }, 5, []],
  ] as const)
    test(`${name}: ${code}`, async () => {
      const answer = await cluster(args, given)
      expect([answer.code, control.done]).toEqual([code, done])
      if (code === 2) expect(answer.err).toContain('--yes does it')
    })

  test('it says what', async () => {
    expect((await cluster(['evict', 'c'], { terminal: true, input: 'n\n' })).err).toBe(
      'c is dead. Forget it, and lose the 1,200 messages (96.0 KiB) that wait for it here? [y/N] error: nothing was done\n',
    )
    expect((await cluster(['leave'], { terminal: true, input: 'n\n' })).err).toBe(
      '3 sessions with 40 messages are on this node, and nobody would serve them; 1200 messages for c wait here, and may reach nobody; drain hands over what it can. Leave all the same? [y/N] error: nothing was done\n',
    )
    control.behind = { ...control.behind, sessions: 0, messages: 0 }
    expect(await cluster(['leave'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('messages for c') as string,
    })
    expect((await cluster(['leave', '--yes'])).err).toBe(
      'the node has left, and ends\n1,200 messages for c stay behind\n',
    )
  })

  test('Ctrl-C is a no', async () => {
    const command = new Godwit(['cluster', 'evict', 'c', '--data', data], { terminal: true })
    await command.err.until('[y/N]')
    command.signal('SIGINT')
    expect([await command.code, command.listening, control.done]).toEqual([130, 0, []])
  })

  test('a node that leaves nothing behind just leaves', async () => {
    control.behind = { sessions: 0, messages: 0, waiting: [] }
    const { code, err } = await cluster(['leave'])
    expect([code, control.done]).toEqual([0, ['leave']])
    expect(err).toBe('the node has left, and ends\n')
  })
})

test('evict of nobody: 4', async () => {
  expect(await cluster(['evict', 'nobody', '--yes'])).toEqual({
    code: 4,
    out: '',
    err: 'error: no node is named nobody\n',
  })
})

describe('drain', () => {
  test('tells what it has done', async () => {
    const { code, err } = await cluster(['drain', '--rate', '7.5'])
    expect([code, err, control.done]).toEqual([
      0,
      '3 sessions handed over\nthe node has left, and ends\n',
      ['drain 7.5'],
    ])
    expect(parsed((await cluster(['drain', '--json'])).out)).toEqual({
      schemaVersion: 1,
      moved: 3,
      remaining: 0,
      waiting: [],
    })
  })

  test('is a failure when something is left', async () => {
    control.drained = { moved: 1, remaining: 2, waiting: [] }
    const { code, err } = await cluster(['drain'])
    expect(code).toBe(1)
    expect(err).toContain('error: 2 sessions could not be handed over')
    control.drained = { moved: 3, remaining: 0, waiting: [{ node: 'c', messages: 7 }] }
    expect((await cluster(['drain'])).err).toContain('error: 7 messages for c could not go over')
  })

  test('shows on a terminal how far it is, and goes on in the node when it is interrupted', async () => {
    control.drain = () => new Promise(() => {})
    const command = new Godwit(['cluster', 'drain', '--data', data], { terminal: true })
    await command.err.until('draining: 2 clients, 3 sessions to go')
    command.signal('SIGINT')
    expect([await command.code, command.listening]).toEqual([130, 0])
  })
})

describe('routes', () => {
  const rows =
    'NODE\tINCARNATION\tVERSION\tENTRIES\tHASH\na\t5\t17\t3\t00000000deadbeef\nb\t6\t4\t1\t0000000000000007\n'

  test('as they are', async () => {
    expect(await cluster(['routes'])).toEqual({ code: 0, out: rows, err: '' })
    expect(parsed((await cluster(['routes', '--json'])).out)).toEqual({ schemaVersion: 1, tables: control.routes() })
  })

  test('verify: all the same', async () => {
    const err = 'all tables are the same on this node and 1 other\n'
    expect(await cluster(['routes', 'verify'])).toEqual({ code: 0, out: rows, err })
  })

  test('verify: another table under the same version', async () => {
    control.differences = [{ owner: 'a', peer: 'b', behind: false }]
    const { code, err } = await cluster(['routes', 'verify'])
    expect(code).toBe(1)
    expect(err).toBe('the table of a: b has other entries under the same version\nerror: 1 table differ\n')
  })

  test('verify: what is behind catches up', async () => {
    control.differences = [{ owner: 'a', peer: 'b', behind: true }]
    let asked = 0
    control.verify = () => {
      if (++asked === 2) control.differences = []
      return Promise.resolve({ asked: ['b'], silent: [], differences: control.differences })
    }
    expect([(await cluster(['routes', 'verify'])).code, asked]).toEqual([0, 2])
  })

  test('verify: a living node that is silent', async () => {
    control.verify = () => Promise.resolve({ asked: [], silent: ['b'], differences: [] })
    const { code, err } = await cluster(['routes', 'verify'])
    expect([code, err]).toEqual([1, 'b does not answer\nerror: 1 node could not be asked\n'])
  })

  test('anything else: 2', async () => expect((await cluster(['routes', 'verfy'])).code).toBe(2))
})

describe('how the node is found', () => {
  const address = () => admin!.url.replace('http://', '')
  const token = () => join(data, 'admin-token')

  test('by its address and a token file', async () => {
    for (const [args, env] of [
      [['--admin', address(), '--token-file', token()], {}],
      [['--admin', address()], { GODWIT_ADMIN_TOKEN_FILE: token() }],
      [['--admin', address().replace('127.0.0.1', 'localhost')], { GODWIT_DATA: data }],
      [[], { GODWIT_DATA: data }],
    ] as const)
      expect(await run(['cluster', 'status', ...args], { env: { ...env } })).toMatchObject({ code: 0, err: '' })
  })

  test('another token: 5', async () => {
    const file = join(data, 'other')
    writeFileSync(file, 'x'.repeat(43), { mode: 0o600 })
    const { code, err } = await cluster(['status', '--token-file', file])
    expect([code, err]).toEqual([5, 'error: the token is missing or wrong; it is in admin-token in the data folder\n'])
  })

  test('a token that others may read: 3', async () => {
    chmodSync(token(), 0o640)
    const { code, err } = await cluster(['status'])
    expect(code).toBe(3)
    expect(err).toContain('others on this machine may open it')
  })

  test('no token: 3', async () => {
    rmSync(token())
    expect((await cluster(['status'])).code).toBe(3)
  })

  test('no node: 1, and what to do', async () => {
    await admin!.close()
    admin = undefined
    expect(await cluster(['status'])).toMatchObject({
      code: 1,
      err: `error: no node with an admin listener runs on ${data}: name the directory of one with --data, or its address with --admin; one that was started with --admin off has none\n`,
    })
  })

  test('a node that was killed: whoever has its port now is not asked', async () => {
    lock.release()
    let asked = 0
    control.status = () => ({ ...new FakeControl().status(), clients: ++asked })
    const { code, err } = await cluster(['status'])
    expect(asked).toBe(0)
    expect([code, err.includes('no node with an admin listener runs on')]).toEqual([1, true])
    lock = await FolderLock.take(join(data, 'lock'), 'again')
  })

  test('nothing at its address: 1', async () => {
    writeFileSync(join(data, 'admin'), `http://127.0.0.1:${await freePort()}\n`)
    const { code, err } = await cluster(['status'])
    expect(code).toBe(1)
    expect(err).toMatch(/^error: nothing answers at http:\/\/127\.0\.0\.1:\d+: is the node running\?\n$/)
  })

  test('a bad address: 2', async () => {
    const { code, err } = await cluster(['status', '--admin', '18083'])
    expect([code, err]).toEqual([2, 'error: --admin: "18083": no address: write it like 127.0.0.1:7001\n'])
  })

  for (const [name, answer] of [
    ['another server', 'hello'],
    ['JSON that is none of ours', 'null'],
  ] as const)
    test(`${name}: 1`, async () => {
      const server = createServer((_request, response) => response.writeHead(502).end(answer)).listen(0, '127.0.0.1')
      strangers.push(server)
      await new Promise((resolve) => server.once('listening', resolve))
      const { port } = server.address() as AddressInfo
      expect((await cluster(['status', '--admin', `127.0.0.1:${port}`])).code).toBe(1)
    })

  test('the files of the data folder are for its owner alone', () => {
    expect(readFileSync(join(data, 'admin'), 'utf8')).toBe(`${admin!.url}\n`)
    expect(readFileSync(token(), 'utf8')).toMatch(/^[\w-]{43}\n$/)
  })
})
