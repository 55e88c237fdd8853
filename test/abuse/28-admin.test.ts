import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openHttp } from '../../src/platform/http.ts'
import { exchange, recordedLog, requestHead } from '../admin/kit.ts'
import { eachRow, join as joinBroker } from '../standard/kit.ts'
import { startBroker, temporaryFolder, type TestBroker } from '../support/broker.ts'
import { honest } from './kit.ts'

interface World {
  readonly broker: TestBroker
  readonly url: string
  readonly token: string
}

/** A node with its admin listener. */
async function world(): Promise<World> {
  const data = temporaryFolder()
  const admin = { host: '127.0.0.1', port: 0, chosen: true, tokenFile: undefined }
  const broker = await startBroker({ data, config: { admin, durability: 'memory' } })
  return { broker, url: broker.node.admin!, token: readFileSync(join(data, 'admin-token'), 'utf8').trim() }
}

const evil = '<img src=x onerror=alert(1)>'

/** The parts of one answer. */
function parts(answer: string): { status: number; headers: string; body: string } {
  const [headers = '', body = ''] = answer.split('\r\n\r\n')
  return { status: Number(headers.split(' ')[1]), headers: headers.toLowerCase(), body }
}

/** A page in a browser can make nothing of an answer but text. */
function expectInert(answer: string): void {
  const { headers, body } = parts(answer)
  expect(headers).toContain('content-type: application/json')
  expect(headers).toContain('x-content-type-options: nosniff')
  expect(headers).toContain('cache-control: no-store')
  expect(headers).not.toContain('access-control')
  expect(headers).not.toContain('set-cookie')
  expect(() => JSON.parse(body) as unknown).not.toThrow()
}

describe('abuse 28: the admin listener', () => {
  test('headers of more than 8 KiB are refused, also where they never end', async () => {
    const { broker, url, token } = await world()
    const others = await honest(broker)
    const statusWith = async (bytes: number) =>
      parts(await exchange(url, requestHead(url, token, 'GET', '/v1/refusals', [`x: ${'x'.repeat(bytes)}`]))).status
    expect([await statusWith(7000), await statusWith(8192)]).toEqual([200, 431])
    const endless = `GET / HTTP/1.1\r\nhost: ${new URL(url).host}\r\nx: ${'x'.repeat(9000)}`
    expect(parts(await exchange(url, endless)).status).toBe(431)
    await others.served()
  })

  test('names that a client or a caller has chosen are inert in whatever is answered', async () => {
    const { broker, url, token } = await world()
    const client = await joinBroker(broker, evil, 5, { username: evil })
    await client.subscribe(`${evil}/#`)
    await eachRow(
      [
        ['GET', '/v1/cluster', 200],
        ['GET', `/v1/${encodeURIComponent(evil)}`, 404],
        ['GET', `/v1/cluster?${encodeURIComponent(evil)}`, 400],
        ['GET', `/v1/${evil.replaceAll(' ', '/')}`, 404],
        ['BREW', '/v1/cluster', 400],
        ['OPTIONS', '/v1/cluster', 405],
        ['TRACE', '/v1/cluster', 405],
        ['GET', '/constructor', 404],
        ['GET', '/__proto__', 404],
      ] as const,
      async (method, path, status) => {
        const answer = await exchange(url, requestHead(url, token, method, path))
        expect(parts(answer).status).toBe(status)
        expectInert(answer)
      },
    )
    const body = JSON.stringify({ node: evil })
    const type = ['content-type: application/json', `content-length: ${body.length}`]
    const answer = await exchange(url, requestHead(url, token, 'POST', '/v1/cluster/evict', type) + body)
    expect(parts(answer).status).toBe(409)
    expectInert(answer)
  })

  test('what is asked for and makes no sense is 400, and nothing is done', async () => {
    const { url, token } = await world()
    const get = (path: string) => [requestHead(url, token, 'GET', path), 400] as const
    const post = (path: string, body: string, status = 400) =>
      [
        requestHead(url, token, 'POST', path, ['content-type: application/json', `content-length: ${body.length}`]) +
          body,
        status,
      ] as const
    await eachRow(
      [
        get('/v1/cluster?page=9223372036854775808'),
        get('/v1/cluster?page=-1'),
        get('/v1/cluster/routes?verify&page=9223372036854775808'),
        get('/v1/cluster?__proto__=1'),
        post('/v1/cluster/drain', '{"clientsPerSecond":9223372036854775808}'),
        post('/v1/cluster/drain', '{"clientsPerSecond":-1}'),
        post('/v1/cluster/drain', '{"clientsPerSecond":"100"}'),
        post('/v1/cluster/evict', '{"node":"b","__proto__":{"force":true}}'),
        post('/v1/cluster/evict', '{"constructor":{"prototype":{"node":"b"}}}'),
        post('/v1/cluster/evict', `${'['.repeat(30_000)}${']'.repeat(30_000)}`),
      ],
      async (request, status) => {
        const answer = await exchange(url, request)
        expect(parts(answer).status).toBe(status)
        expectInert(answer)
      },
    )
    expect(({} as { force?: boolean }).force).toBeUndefined()
  })

  test('there is no default password: each data folder has a token of its own, and nothing else opens', async () => {
    const [one, other] = [await world(), await world()]
    expect(one.token).toMatch(/^[\w-]{43}$/)
    expect(one.token).not.toBe(other.token)
    const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`
    const given = [
      'Bearer ',
      'Bearer admin',
      `Bearer ${other.token}`,
      `Bearer ${one.token.slice(1)}`,
      `Bearer${one.token}`,
    ]
    for (const authorization of [...given, basic('admin:public'), basic('admin:admin'), basic(`:${one.token}`), ''])
      for (const path of ['/v1/cluster', '/v1/nothing', '/']) {
        const head = requestHead(one.url, 'x', 'GET', path).replace(
          'authorization: Bearer x',
          `authorization: ${authorization}`,
        )
        expect([authorization, parts(await exchange(one.url, head)).status]).toEqual([authorization, 401])
      }
    // A token in the address would stand in every log on the way.
    const named = requestHead(one.url, '', 'GET', `/v1/cluster?token=${one.token}`)
    expect(parts(await exchange(one.url, named)).status).toBe(401)
  })

  test('a name of somebody else that was pointed at us is not answered: no rebinding', async () => {
    const { url, token } = await world()
    await eachRow(
      [
        ['evil.example:18083'],
        ['127.0.0.1.evil.example'],
        ['localhost.evil.example'],
        ['localhost@evil.example'],
        ['0x7f.1'],
        ['2130706433'],
        ['127.1'],
        ['[::1'],
        ['127.0.0.1:1:1'],
        ['localhost, evil.example'],
        [''],
      ] as const,
      async (host) => {
        for (const path of ['/v1/cluster', '/ready']) {
          const request = requestHead(url, token, 'GET', path).replace(/^host: .*\r\n/m, `host: ${host}\r\n`)
          expect(parts(await exchange(url, request)).status).toBe(403)
        }
      },
    )
    const none = requestHead(url, token, 'GET', '/v1/cluster').replace(/^host: .*\r\n/m, '')
    expect(parts(await exchange(url, none)).status).toBe(400)
    const two = requestHead(url, token, 'GET', '/v1/cluster', ['host: evil.example'])
    expect(parts(await exchange(url, two)).status).toBe(400)
  })

  test('one request is one request: what two readers could part in two ways is refused, and what hides in it never runs', async () => {
    const { broker, url, token } = await world()
    const hidden = requestHead(url, token, 'GET', '/v1/cluster')
    const post = (more: readonly string[]) =>
      requestHead(url, token, 'POST', '/v1/cluster/leave', ['content-type: application/json', ...more])
    await eachRow(
      [
        ['a length and chunks', post(['content-length: 4', 'transfer-encoding: chunked']) + `0\r\n\r\n${hidden}`],
        ['chunks and a length', post(['transfer-encoding: chunked', 'content-length: 4']) + `0\r\n\r\n${hidden}`],
        ['two lengths', post(['content-length: 0', `content-length: ${hidden.length}`]) + hidden],
        ['a list of lengths', post([`content-length: 0, ${hidden.length}`]) + hidden],
        ['a length with a sign', post(['content-length: +0']) + hidden],
        ['a negative length', post(['content-length: -1']) + hidden],
        ['a length in hex', post(['content-length: 0x0']) + hidden],
        ['chunks that are none', post(['transfer-encoding: xchunked']) + `0\r\n\r\n${hidden}`],
        ['chunks inside of chunks', post(['transfer-encoding: chunked, identity']) + `0\r\n\r\n${hidden}`],
        ['a blank before the colon', post(['transfer-encoding : chunked']) + `0\r\n\r\n${hidden}`],
        ['a folded header', post(['x: y\r\n transfer-encoding: chunked']) + `0\r\n\r\n${hidden}`],
        ['a NUL', post(['x: a\0b']) + hidden],
        ['a lone LF', post(['x: a\ncontent-length: 0']) + hidden],
        ['a size that no number holds', post(['transfer-encoding: chunked']) + `fffffffffffffffff\r\n${hidden}`],
        ['a size that is no number', post(['transfer-encoding: chunked']) + `0x0\r\n${hidden}`],
        ['another version', hidden.replace('HTTP/1.1', 'HTTP/9.9')],
      ] as const,
      async (_name, request) => {
        const answer = await exchange(url, request)
        expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400'])
        expectInert(answer)
      },
    )
    expect(broker.log.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('bodies and headers without end are cut off where they pass the limit', async () => {
    const { broker, url, token } = await world()
    const others = await honest(broker)
    const head = requestHead(url, token, 'POST', '/v1/cluster/evict', [
      'content-type: application/json',
      'transfer-encoding: chunked',
    ])
    for (const [name, beginning, piece, status] of [
      ['a body', head, `1000\r\n${' '.repeat(4096)}\r\n`, 413],
      ['extensions of chunks', head, `1;${'x'.repeat(100)}\r\n \r\n`, 413],
      ['a header', head.slice(0, -2), 'x'.repeat(4096), 431],
      ['headers', head.slice(0, -2), `x: ${'y'.repeat(500)}\r\n`, 431],
      ['a path', 'GET /', 'a'.repeat(4096), 431],
    ] as const) {
      const { answer, sent } = await pour(url, beginning, piece)
      // The reset that ends the connection may overtake the answer.
      expect(['', `HTTP/1.1 ${status}`], name).toContain(answer.slice(0, 12))
      expect(sent).toBeLessThan(64 * 1024 * 1024)
    }
    await others.served()
  })

  test('whoever takes too long is closed, and does not keep the place of others for ever', async () => {
    const { log } = recordedLog()
    const heard: string[] = []
    const answer = { status: 200, headers: {}, body: 'ok' }
    const server = await openHttp({
      host: '127.0.0.1',
      port: 0,
      bodyBytes: 100,
      requestSeconds: 0.05,
      connections: 3,
      log,
      answer: ({ target }) => Promise.resolve((heard.push(target), answer)),
      malformed: (status) => ({ ...answer, status }),
    })
    const url = `http://127.0.0.1:${server.port}`
    const slow = [
      'GET /slow HTTP/1.1\r\nhost: x\r\n',
      'POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{',
      '',
    ]
    const waiting = slow.map((text) => exchange(url, text))
    const fourth = await exchange(url, 'GET /fourth HTTP/1.1\r\nhost: x\r\n\r\n')
    for (const said of await Promise.all(waiting)) expect(['', 'HTTP/1.1 408']).toContain(said.slice(0, 12))
    expect(await exchange(url, 'GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')).toMatch(/^HTTP\/1\.1 200/)
    expect([fourth, heard]).toEqual(['', ['/next']])
    await server.close(0)
  })
})

/** Sends `piece` again and again, until the listener has had enough. */
async function pour(url: string, beginning: string, piece: string): Promise<{ answer: string; sent: number }> {
  const socket: Socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1' })
  let answer = ''
  let over = false
  let sent = 0
  socket.on('data', (chunk) => (answer += chunk.toString()))
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.once('close', resolve)).then(() => (over = true))
  socket.write(beginning)
  const more = (): void => {
    while (!over && !socket.destroyed && sent < 64 * 1024 * 1024) {
      sent += piece.length
      if (!socket.write(piece)) return void socket.once('drain', more)
    }
  }
  more()
  await closed
  return { answer, sent }
}
