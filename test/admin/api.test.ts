import { describe, expect, test } from 'vitest'
import { aloneControl } from '../../src/admin/alone.ts'
import { AdminApi, type Answer } from '../../src/admin/api.ts'
import { sameSecret } from '../../src/platform/http.ts'
import { FakeControl, fakeTenants } from './fake-control.ts'
import { noRefusals, recordedLog } from './kit.ts'

const token = 'a'.repeat(43)

interface Asked {
  readonly host?: string | undefined
  readonly authorization?: string | undefined
  readonly type?: string
  readonly body?: string | Uint8Array
}

function apiOf(control = new FakeControl() as ConstructorParameters<typeof AdminApi>[0]['control']) {
  const { log, lines } = recordedLog()
  const changes: string[] = []
  const audited = (...change: string[]) => changes.push(change.join(' from '))
  const api = new AdminApi({
    control,
    tenants: fakeTenants,
    refusals: noRefusals,
    token,
    sameSecret,
    host: 'Admin.Example',
    audited,
    log,
  })
  const ask = async (method: string, target: string, asked: Asked = {}) => {
    const given = { host: '127.0.0.1:18083', authorization: `Bearer ${token}`, type: 'application/json', ...asked }
    const headers = { host: given.host, authorization: given.authorization, 'content-type': given.type }
    const body = typeof given.body === 'string' ? Buffer.from(given.body) : (given.body ?? new Uint8Array())
    return api.answer({ method, target, header: (name) => headers[name], body, remote: '192.0.2.7:4711' })
  }
  return { ask, lines, changes }
}

const fields = ({ body }: Answer) => JSON.parse(body) as Record<string, unknown>

describe('who may ask', () => {
  for (const [name, asked, status] of [
    ['the token', {}, 200],
    ['the scheme in small letters', { authorization: `bearer ${token}` }, 200],
    ['no token', { authorization: undefined }, 401],
    ['an empty one', { authorization: 'Bearer ' }, 401],
    ['another one', { authorization: `Bearer ${'b'.repeat(43)}` }, 401],
    ['the beginning of it', { authorization: `Bearer ${token.slice(1)}` }, 401],
    ['another scheme', { authorization: `Basic ${token}` }, 401],
    ['an address', { host: '192.0.2.1' }, 200],
    ['an IPv6 address', { host: '[::1]:18083' }, 200],
    ['localhost', { host: 'localhost:1' }, 200],
    ['the name that it listens on', { host: 'admin.example:18083' }, 200],
  ] as const)
    test(`${name}: ${status}`, async () => {
      const answer = await apiOf().ask('GET', '/v1/cluster', asked)
      expect(answer.status).toBe(status)
      expect(fields(answer)['schemaVersion']).toBe(1)
      if (status !== 200) expect(Object.keys(fields(answer))).toEqual(['schemaVersion', 'error', 'reason'])
    })

  test('a thousand guesses are ten lines of the log', async () => {
    const { ask, lines } = apiOf()
    for (let guess = 0; guess < 1000; guess++) await ask('GET', '/v1/cluster', { authorization: `Bearer ${guess}` })
    expect(lines.length).toBe(10)
    expect(JSON.stringify(lines)).not.toContain(token)
  })

  test('nothing says that other pages may read it', async () => {
    const { ask } = apiOf()
    const preflight = await ask('OPTIONS', '/v1/cluster/evict')
    expect(preflight.status).toBe(405)
    for (const { headers } of [preflight, await ask('GET', '/v1/cluster')])
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })
})

describe('what is asked', () => {
  const post = (body: string) => ({ body })
  for (const [method, target, asked, status, error] of [
    ['GET', '/', {}, 404, 'not-found'],
    ['GET', '/v1/cluster/', {}, 404, 'not-found'],
    ['GET', '/v1/%', {}, 404, 'not-found'],
    ['GET', '/v1/cluster%2froutes', {}, 404, 'not-found'],
    ['GET', 'http://evil.example/v1/cluster', {}, 404, 'not-found'],
    ['GET', '*', {}, 404, 'not-found'],
    ['GET', `/${'a/'.repeat(4000)}`, {}, 404, 'not-found'],
    ['POST', '/v1/cluster', {}, 405, 'method'],
    ['GET', '/v1/cluster/leave', {}, 405, 'method'],
    ['GET', '/v1/cluster/routes?verify&page=1', {}, 400, 'malformed'],
    ['HEAD', '/v1/cluster', {}, 405, 'method'],
    ['BREW', '/v1/cluster', {}, 405, 'method'],
    ['POST', '/v1/cluster/evict', {}, 400, 'malformed'],
    ['POST', '/v1/cluster/evict', post('{'), 400, 'malformed'],
    ['POST', '/v1/cluster/evict', { body: Uint8Array.of(0x22, 0xff, 0x22) }, 400, 'malformed'],
    ['POST', '/v1/cluster/evict', post('null'), 400, 'malformed'],
    ['POST', '/v1/cluster/evict', post('{"node":7}'), 400, 'malformed'],
    ['POST', '/v1/cluster/evict', post('{"node":"b","nodes":"c"}'), 400, 'malformed'],
    ['POST', '/v1/cluster/evict', { body: '{"node":"b"}', type: 'text/plain' }, 415, 'content-type'],
    ['POST', '/v1/cluster/evict', post('{"node":"nobody"}'), 404, 'no-such-node'],
    ['POST', '/v1/cluster/drain', post('{"clientsPerSecond":0}'), 400, 'malformed'],
    ['POST', '/v1/cluster/drain', post('{"clientsPerSecond":1e999}'), 400, 'malformed'],
    ['POST', '/v1/cluster/leave', {}, 409, 'would-lose'],
  ] as const)
    test(`${method} ${target.slice(0, 40)} ${'body' in asked ? String(asked.body) : ''}: ${status}`, async () => {
      const answer = await apiOf().ask(method, target, asked)
      expect([answer.status, fields(answer)['error']]).toEqual([status, error])
    })
})

describe('what is answered', () => {
  test('the status', async () => {
    const control = new FakeControl()
    const { ask } = apiOf(control)
    expect(fields(await ask('GET', '/v1/cluster'))).toEqual({ schemaVersion: 1, ...control.status() })
  })

  test('ready: without a token, and not while the node is emptied', async () => {
    const control = new FakeControl()
    const { ask } = apiOf(control)
    const ready = async () => {
      const answer = await ask('GET', '/ready', { authorization: undefined })
      return [answer.status, fields(answer)['ready']]
    }
    expect(await ready()).toEqual([200, true])
    control.state = 'draining'
    expect(await ready()).toEqual([503, false])
    expect((await ask('POST', '/ready')).status).toBe(405)
  })

  test('the tables; compared, if that is asked', async () => {
    const control = new FakeControl()
    const { ask } = apiOf(control)
    const tables = control.routes()
    expect(fields(await ask('GET', '/v1/cluster/routes'))).toEqual({ schemaVersion: 1, tables })
    const verified = await control.verify()
    for (const query of ['?verify', '?verify=1', '?verify&verify'])
      expect(fields(await ask('GET', `/v1/cluster/routes${query}`))).toEqual({ schemaVersion: 1, tables, verified })
  })

  test('leave, when nothing stays behind, or although it does', async () => {
    const control = new FakeControl()
    const { ask } = apiOf(control)
    const refused = await ask('POST', '/v1/cluster/leave', { body: '{"force":false}' })
    expect([refused.status, control.done]).toEqual([409, []])
    expect(fields(refused)['reason']).toContain('3 sessions with 40 messages')
    const lost = { sessions: 3, messages: 40, waiting: [{ node: 'c', messages: 1200 }] }
    const answer = await ask('POST', '/v1/cluster/leave', { body: '{"force":true}' })
    expect([answer.status, fields(answer), control.done]).toEqual([
      200,
      { schemaVersion: 1, left: true, lost },
      ['leave'],
    ])
    control.behind = { sessions: 0, messages: 0, waiting: [] }
    expect((await ask('POST', '/v1/cluster/leave')).status).toBe(200)
  })

  test('drain', async () => {
    const control = new FakeControl()
    const { ask } = apiOf(control)
    const body = '{"clientsPerSecond":5}'
    expect(fields(await ask('POST', '/v1/cluster/drain', { body }))).toEqual({
      schemaVersion: 1,
      moved: 3,
      remaining: 0,
      waiting: [],
    })
    await ask('POST', '/v1/cluster/drain')
    expect(control.done).toEqual(['drain 5', 'drain 100'])
  })

  test('evict', async () => {
    const control = new FakeControl()
    const answer = await apiOf(control).ask('POST', '/v1/cluster/evict', { body: '{"node":"c"}' })
    expect(fields(answer)).toEqual({ schemaVersion: 1, node: 'c', lost: { messages: 1200, bytes: 98_304 } })
    expect(control.done).toEqual(['evict c'])
  })

  test('tenants', async () => {
    const answer = await apiOf().ask('GET', '/v1/tenants')
    expect(fields(answer)).toEqual({ schemaVersion: 1, ...fakeTenants() })
    expect((await apiOf().ask('POST', '/v1/tenants')).status).toBe(405)
  })

  test('a fault of ours says nothing of itself but in the log', async () => {
    const control = new FakeControl()
    control.status = () => {
      throw new Error('secret detail')
    }
    const { ask, lines } = apiOf(control)
    const answer = await ask('GET', '/v1/cluster')
    expect([answer.status, answer.body.includes('secret')]).toEqual([500, false])
    expect(lines).toHaveLength(1)
  })
})

test('a node alone has a status of one node, and refuses the rest', async () => {
  const { ask } = apiOf(aloneControl({ incarnation: 7, clients: () => 2, sessions: () => 3 }))
  const status = fields(await ask('GET', '/v1/cluster'))
  expect(status).toMatchObject({
    state: 'serving',
    clients: 2,
    sessions: 3,
    nodes: [{ state: 'self', incarnation: 7 }],
  })
  for (const [method, target, body] of [
    ['GET', '/v1/cluster/routes', ''],
    ['POST', '/v1/cluster/leave', ''],
    ['POST', '/v1/cluster/drain', ''],
    ['POST', '/v1/cluster/evict', '{"node":"b"}'],
  ] as const) {
    const answer = await ask(method, target, { body })
    expect([answer.status, fields(answer)['error']]).toEqual([409, 'no-cluster'])
  }
})

test('who changes something is written down, and who may not is not listened to', async () => {
  const { ask, changes } = apiOf()
  await ask('POST', '/v1/cluster/evict', { body: '{"node":"b"}' })
  await ask('POST', '/v1/cluster/evict', { body: '{"node":"b"}', authorization: 'Bearer wrong' })
  await ask('GET', '/v1/cluster')
  expect(changes).toEqual(['/v1/cluster/evict {"node":"b"} from 192.0.2.7:4711'])
})
