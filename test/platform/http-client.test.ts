import { createServer as createHttp, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { HttpClient, type HttpClientOptions } from '../../src/platform/http-client.ts'
import { makeCertificates } from '../support/certificates.ts'

const servers: Server[] = []
const clients: HttpClient[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  }
})

async function serve(server: Server, scheme = 'http'): Promise<string> {
  servers.push(server)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}/auth?x=1`
}

function clientOf(url: string, more: Partial<HttpClientOptions> = {}): HttpClient {
  const client = new HttpClient({ url, timeoutMs: 10_000, sockets: 2, ...more })
  clients.push(client)
  return client
}

async function read(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request as AsyncIterable<Buffer>) text += chunk.toString()
  return text
}

const answering = (answer: (request: IncomingMessage, response: ServerResponse) => void) => createHttp(answer)

test('posts JSON, with its token, on a connection that is kept', async () => {
  const seen: unknown[] = []
  const sockets = new Set<unknown>()
  const url = await serve(
    createHttp((request, response) => {
      sockets.add(request.socket)
      const { method, url, headers } = request
      void read(request).then((body) => {
        seen.push([method, url, headers['content-type'], headers.authorization, headers['content-length'], body])
        response.writeHead(200).end('{"result":"allow"}')
      })
    }),
  )
  const client = clientOf(url, { token: 't0ken' })
  for (let i = 0; i < 3; i++) {
    const { status, body } = await client.post('{"user":"ü"}')
    expect([status, Buffer.from(body).toString()]).toEqual([200, '{"result":"allow"}'])
  }
  expect(seen[0]).toEqual(['POST', '/auth?x=1', 'application/json', 'Bearer t0ken', '13', '{"user":"ü"}'])
  expect([seen.length, sockets.size]).toEqual([3, 1])
})

describe('what is no answer is a fault', () => {
  for (const [name, answer, wanted] of [
    ['none', () => {}, 'no answer within 100 ms'],
    [
      'one that never ends',
      (_: IncomingMessage, response: ServerResponse) => void response.writeHead(200).write('{'),
      'no answer within 100 ms',
    ],
    [
      'too much',
      (_: IncomingMessage, response: ServerResponse) => void response.writeHead(200).end('x'.repeat(70_000)),
      'an answer of more than 65536 bytes',
    ],
    ['a connection that closes', (request: IncomingMessage) => void request.socket.destroy(), 'socket hang up'],
    [
      'half of one',
      (_: IncomingMessage, response: ServerResponse) => {
        response.writeHead(200, { 'content-length': 100 }).write('{', () => response.socket!.destroy())
      },
      /aborted|closed/,
    ],
  ] as const)
    test(name, async () => {
      const client = clientOf(await serve(answering(answer)), {
        timeoutMs: name.startsWith('none') || name.startsWith('one') ? 100 : 10_000,
      })
      await expect(client.post('{}')).rejects.toThrow(wanted)
    })

  test('nobody there', async () => {
    const url = await serve(createHttp())
    await new Promise((done) => servers.pop()!.close(done))
    await expect(clientOf(url, { token: 'planted' }).post('{"password":"planted"}')).rejects.toThrow(
      /^connect ECONNREFUSED/,
    )
  })
})

test('a redirection is not followed', async () => {
  const url = await serve(
    answering((_, response) => void response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()),
  )
  expect((await clientOf(url).post('{}')).status).toBe(302)
})

test('https: only who has a certificate of the authority', async () => {
  const { cert, key } = await makeCertificates()
  const url = await serve(
    createHttps({ cert, key }, (_, response) => void response.end('{}')),
    'https',
  )
  await expect(clientOf(url).post('{}')).rejects.toThrow(/self.signed/)
  expect((await clientOf(url, { ca: cert }).post('{}')).status).toBe(200)
})

test('https: no TLS before 1.2, whatever the process would take', async () => {
  const { cert, key } = await makeCertificates()
  const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  const url = await serve(
    createHttps({ cert, key, ...old }, (_, response) => void response.end('{}')),
    'https',
  )
  const { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS } = tls
  Object.assign(tls, { DEFAULT_MIN_VERSION: 'TLSv1', DEFAULT_CIPHERS: old.ciphers })
  try {
    // Somebody without a floor gets through.
    const port = Number(new URL(url).port)
    const spoken = await new Promise<string | null>((resolve, reject) => {
      const socket = tls.connect({ port, host: '127.0.0.1', ca: cert }, () => {
        resolve(socket.getProtocol())
        socket.destroy()
      })
      socket.once('error', reject)
    })
    expect(spoken).toBe('TLSv1.1')
    await expect(clientOf(url, { ca: cert }).post('{}')).rejects.toThrow(/protocol version|unsupported protocol/)
  } finally {
    Object.assign(tls, { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS })
  }
})
