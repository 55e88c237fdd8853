import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import {
  type AddressInfo,
  connect as connectTcp,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net'
import { join } from 'node:path'
import { connect, type ConnectionOptions, createServer as createTlsServer } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { issue, newKey } from '../../src/platform/certificates.ts'
import { makeCertificates } from '../support/certificates.ts'
import { cluster, folder, identity, later, Lines, Post, publicKey } from './cluster-kit.ts'

async function two() {
  const { directory, pair } = await cluster()
  const a = await new Post(await identity({ node: 'a', directory })).listen()
  const b = new Post(await identity({ node: 'b', directory }))
  return { directory, pair, a, b }
}

/** `once` of Node fails where an error comes first. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.once('close', () => resolve()))
}

/** A server that is no node. */
async function serve(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(() => void server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe('a stream between two nodes', () => {
  test('knows at both ends who the other is, and carries bytes both ways', async () => {
    const { a, b } = await two()
    const near = await b.dial(a.address)
    const far = await a.came()
    expect([near.peer, far.peer]).toEqual(['a', 'b'])
    near.say('hello')
    near.say(', a')
    await far.heard('hello, a')
    far.say('hello, b')
    await near.heard('hello, b')
    near.stream.end()
    await Promise.all([far.gone(), near.gone()])
  })

  test('is cut at once when one end destroys it, and when its node closes', async () => {
    const { a, b } = await two()
    const first = await b.dial(a.address)
    const far = await a.came()
    first.stream.destroy()
    await far.gone()
    const second = await b.dial(a.address)
    await a.net.close()
    await second.gone()
  })

  test('a certificate that is renewed is shown to those who come; those who are there stay', async () => {
    const { directory, pair, a, b } = await two()
    const near = await b.dial(a.address)
    const shown = async (): Promise<string> => {
      const socket = connect({
        port: a.port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ALPNProtocols: ['godwit-join'],
      })
      await once(socket, 'secureConnect')
      const { fingerprint256 } = socket.getPeerX509Certificate()!
      socket.destroy()
      return fingerprint256
    }
    const before = await shown()
    const key = newKey()
    const certificate = await issue(pair, directory.clusterId, 'a', publicKey(key), Date.now())
    a.net.renew({ ...(await identity({ node: 'a', directory })), certificate, key })
    expect(await shown()).not.toBe(before)
    near.say('still here')
    await (await a.came()).heard('still here')
    expect((await b.dial(a.address)).peer).toBe('a')
  })
})

describe('abuse 29: who is no node of the cluster is not listened to', () => {
  const cases: [string, () => Promise<ConnectionOptions>][] = [
    ['without a certificate', () => Promise.resolve({ ALPNProtocols: ['godwit/1'] })],
    [
      "with another cluster's certificate of the same name",
      async () => {
        const { directory } = await cluster()
        const { certificate: cert, key } = await identity({ node: 'b', directory })
        return { cert, key, ALPNProtocols: ['godwit/1'] }
      },
    ],
    [
      'with a certificate that nobody has signed',
      async () => {
        const { cert, key } = await makeCertificates()
        return { cert, key, ALPNProtocols: ['godwit/1'] }
      },
    ],
    ['with no protocol', () => Promise.resolve({})],
    ['with another protocol', () => Promise.resolve({ ALPNProtocols: ['mqtt'] })],
    ['with TLS 1.2', () => Promise.resolve({ maxVersion: 'TLSv1.2', ALPNProtocols: ['godwit/1'] })],
  ]
  for (const [what, options] of cases)
    test(what, async () => {
      const { a } = await two()
      const socket = connect({ port: a.port, host: '127.0.0.1', rejectUnauthorized: false, ...(await options()) })
      socket.on('error', () => {})
      socket.write('let me in')
      await closed(socket)
      expect(a.accepted).toEqual([])
      expect(a.log.all.filter(({ level }) => level === 'warn').length).toBe(1)
    })

  test('with a certificate of the cluster that names no node: its authority', async () => {
    const { a, pair } = await two()
    const socket = connect({
      ...{ port: a.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['godwit/1'] },
      ...{ cert: pair.certificate, key: pair.key },
    })
    socket.on('error', () => {})
    await closed(socket)
    expect(a.accepted).toEqual([])
  })

  test('with a certificate that has expired', async () => {
    const { directory, pair, a } = await two()
    const key = newKey()
    const old = await issue(pair, directory.clusterId, 'b', publicKey(key), Date.now() - 400 * 86_400_000)
    const b = new Post({ ...(await identity({ node: 'b', directory })), certificate: old, key })
    const ears = await b.dial(a.address)
    await ears.gone()
    expect(a.accepted).toEqual([])
    expect(a.log.all[0]).toMatchObject({ why: 'CERT_HAS_EXPIRED' })
  })

  test('with what is no TLS', async () => {
    const { a } = await two()
    const socket = connectTcp(a.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\n\r\n')
    await closed(socket)
    await a.log.until('a handshake at the cluster port failed')
    expect(a.accepted).toEqual([])
  })

  test('again and again: a line, with the address', async () => {
    const { a, b } = await two()
    for (let i = 0; i < 20; i++) {
      const socket = connectTcp(a.port, '127.0.0.1').on('error', () => {})
      await once(socket, 'connect')
      if (i % 2 === 0) socket.resetAndDestroy()
      else socket.write('GET / HTTP/1.1\r\n\r\n')
      await closed(socket.resume())
    }
    // Behind all of them.
    expect((await b.dial(a.address)).peer).toBe('a')
    const lines = a.log.all.filter(({ message }) => message === 'a handshake at the cluster port failed')
    expect(lines.length).toBeLessThanOrEqual(3)
    expect(new Set(lines.map(({ remote }) => remote))).toEqual(new Set(['127.0.0.1']))
  })

  test('with nothing to say: closed in time, and so many at once at most; nodes come in again then', async () => {
    const { directory, b } = await two()
    const a = await new Post(await identity({ node: 'a', directory }), { handshakeMs: 1500 }).listen()
    const sockets = Array.from({ length: 300 }, () => connectTcp(a.port, '127.0.0.1').on('error', () => {}))
    await Promise.all(sockets.map((socket) => closed(socket.resume())))
    expect(a.accepted).toEqual([])
    expect((await b.dial(a.address)).peer).toBe('a')
  })
})

describe('dialling', () => {
  test('a port that nobody listens at: ECONNREFUSED', async () => {
    const { b } = await two()
    const server = createTcpServer()
    const address = await serve(server)
    server.close()
    await once(server, 'close')
    await expect(b.dial(address)).rejects.toMatchObject({ code: 'ECONNREFUSED', message: 'nobody listens there' })
  })

  test('a node of another cluster', async () => {
    const { b } = await two()
    const { a } = await two()
    await expect(b.dial(a.address)).rejects.toThrow('no node of this cluster')
    expect(a.accepted).toEqual([])
  })

  test('a TLS server with a certificate of its own', async () => {
    const { b } = await two()
    const { cert, key } = await makeCertificates()
    const address = await serve(createTlsServer({ cert, key, ALPNProtocols: ['godwit/1'] }))
    await expect(b.dial(address)).rejects.toThrow('no node of this cluster')
  })

  test('what is no TLS server', async () => {
    const { b } = await two()
    const address = await serve(createTcpServer((socket) => socket.on('error', () => {}).write('220 mail ready\r\n')))
    await expect(b.dial(address)).rejects.toThrow('no node of this cluster')
  })

  test('who hangs up at once', async () => {
    const { b } = await two()
    const address = await serve(createTcpServer((socket) => socket.on('error', () => {}).destroy()))
    await expect(b.dial(address)).rejects.toThrow('is that a cluster port?')
  })

  test('who takes the call and says nothing: ETIMEDOUT', async () => {
    const { directory } = await cluster()
    const b = new Post(await identity({ node: 'b', directory }), { handshakeMs: 300 })
    const address = await serve(createTcpServer((socket) => socket.on('error', () => {}).resume()))
    await expect(b.dial(address)).rejects.toMatchObject({ code: 'ETIMEDOUT' })
  })

  test('a name that does not exist', async () => {
    const { b } = await two()
    await expect(b.dial('nobody.invalid:7001')).rejects.toBeInstanceOf(Error)
  })
})

describe('joining with a token', () => {
  const hourMs = 3_600_000
  const inAnHour = () => Date.now() + hourMs

  async function issuer() {
    const { path, directory, pair } = await cluster()
    const a = await new Post(await identity({ node: 'a', directory }), { directory }).listen()
    return { path, directory, pair, a }
  }
  const join_ = (address: string, joinToken: string, rest: Partial<Parameters<typeof identity>[0]> = {}) =>
    identity({ node: 'd', joinToken, join: [address], data: folder(), ...rest })

  test('gets a certificate that links are made with; the key stays where it is', async () => {
    const { directory, a } = await issuer()
    const data = folder()
    const got = await join_(a.address, directory.token(inAnHour()), { data })
    expect([got.node, got.clusterId]).toEqual(['d', directory.clusterId])
    expect(got.key).toBe(readFileSync(join(data, 'cluster', 'node-key.pem'), 'utf8'))
    const d = new Post(got)
    expect((await d.dial(a.address)).peer).toBe('a')
    expect((await a.came()).peer).toBe('d')
    // It starts without the token, or anybody, from now on.
    expect(await identity({ node: 'd', data })).toEqual(got)
    await a.log.until('a node was given its certificate')
  })

  test('asks one node after the other', async () => {
    const { directory, a } = await issuer()
    const plain = await new Post(await identity({ node: 'c', directory })).listen()
    const server = createTcpServer()
    const nobody = await serve(server)
    server.close()
    const got = await join_('', directory.token(inAnHour()), { join: [nobody, plain.address, a.address] })
    expect(got.node).toBe('d')
  })

  const refusals: [string, (context: Awaited<ReturnType<typeof issuer>>) => Promise<string>, RegExp][] = [
    ['that is none', () => Promise.resolve('hello'), /^that is no join token/],
    [
      'that was cut short',
      ({ directory }) => Promise.resolve(directory.token(inAnHour()).slice(0, -1)),
      /^that is no join token/,
    ],
    [
      'that has expired',
      ({ directory }) => Promise.resolve(directory.token(Date.now() - 1000)),
      /^the join token has expired/,
    ],
    [
      'of another cluster',
      async () => (await cluster()).directory.token(inAnHour()),
      /: it is not of the cluster that the token is for$/,
    ],
    [
      'that has been used',
      async ({ directory }) => {
        const token = directory.token(inAnHour())
        await directory.redeem(token, 'e', publicKey())
        return token
      },
      /: the token has been used already: each is good for one node$/,
    ],
    [
      'that was made up, with the right fingerprint',
      ({ directory }) => {
        const token = directory.token(inAnHour())
        const end = token.slice(-20)
        return Promise.resolve(token.slice(0, -20) + [...end].reverse().join('').replace(/.$/, 'A'))
      },
      /: the token is not of this cluster, or was not copied whole$|no join token/,
    ],
  ]
  for (const [what, token, message] of refusals)
    test(`${what}: one clear line`, async () => {
      const context = await issuer()
      const failure = join_(context.a.address, await token(context))
      await expect(failure).rejects.toMatchObject({ name: 'JoinError' })
      await expect(failure).rejects.toThrow(message)
      const { message: line } = (await failure.catch((fault: unknown) => fault)) as Error
      expect(line).not.toContain('\n')
    })

  test("under another node's name", async () => {
    const { directory, a } = await issuer()
    await expect(join_(a.address, directory.token(inAnHour()), { node: 'a' })).rejects.toThrow(
      'another node is called a',
    )
  })

  test('at a node that has no directory', async () => {
    const { directory } = await issuer()
    const c = await new Post(await identity({ node: 'c', directory })).listen()
    await expect(join_(c.address, directory.token(inAnHour()))).rejects.toThrow('cannot issue certificates')
  })

  test('at what is no node at all', async () => {
    const { directory } = await issuer()
    const token = directory.token(inAnHour())
    const tcp = await serve(createTcpServer((socket) => socket.on('error', () => {}).write('220 mail ready\r\n')))
    await expect(join_(tcp, token)).rejects.toThrow('no node of a cluster')
    const { cert, key } = await makeCertificates()
    const tls = await serve(
      createTlsServer({ cert, key, ALPNProtocols: ['godwit-join'] }, (socket) => socket.on('error', () => {})),
    )
    await expect(join_(tls, token)).rejects.toThrow('it is not of the cluster that the token is for')
  })

  test('the token is shown to nobody who has the fingerprint, but not the key', async () => {
    const { directory, pair } = await issuer()
    const token = directory.token(inAnHour())
    // The authority's certificate is no secret: anybody may hang it behind their own.
    const { cert, key } = await makeCertificates()
    let heard = ''
    const address = await serve(
      createTlsServer({ cert: `${cert.trim()}\n${pair.certificate}`, key, ALPNProtocols: ['godwit-join'] }, (socket) =>
        socket.on('error', () => {}).on('data', (chunk: Buffer) => (heard += chunk.toString())),
      ),
    )
    await expect(join_(address, token)).rejects.toMatchObject({ name: 'JoinError' })
    expect(heard).toBe('')
  })

  test('a request that is too long, or nothing that can be read, is answered by nobody', async () => {
    const { a } = await issuer()
    for (const said of ['x'.repeat(40_000), 'hello\n', '[]\n', '{"node":7}\n', '{"token":"x","node":"d"}\n']) {
      const socket = connect({
        port: a.port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ALPNProtocols: ['godwit-join'],
      })
      let answer = ''
      socket.on('error', () => {}).on('data', (chunk: Buffer) => (answer += chunk.toString()))
      socket.write(said)
      await closed(socket)
      expect(answer).not.toContain('CERTIFICATE')
    }
  })

  test('a certificate near its end is renewed by what it proves, without a token', async () => {
    const { directory, pair, a } = await issuer()
    const data = folder()
    const got = await join_(a.address, directory.token(inAnHour()), { data })
    const age = async (days: number) => {
      const old = await issue(pair, directory.clusterId, 'd', publicKey(got.key), Date.now() - days * 86_400_000)
      writeFileSync(join(data, 'cluster', 'node.pem'), old, { mode: 0o600 })
      return old
    }
    const old = await age(300)
    // Nobody to ask: it goes on with what it has, and says so.
    const log = new Lines()
    expect((await identity({ node: 'd', data, log })).certificate).toBe(old)
    expect(log.all[0]).toMatchObject({
      level: 'warn',
      message: expect.stringContaining('could not be renewed') as string,
    })
    const fresh = await identity({ node: 'd', data, join: [a.address] })
    expect(fresh.certificate).not.toBe(old)
    expect(fresh.key).toBe(got.key)
    await age(400)
    await expect(identity({ node: 'd', data, join: [a.address] })).rejects.toThrow('no certificate that is good')
    // By then it needs a token, and has the right to its name.
    const again = await join_(a.address, directory.token(inAnHour()), { data })
    expect(again.key).toBe(got.key)
  })

  test("nobody renews another node's certificate", async () => {
    const { directory, a } = await issuer()
    const { certificate: cert, key } = await join_(a.address, directory.token(inAnHour()))
    const socket = connect({
      ...{ port: a.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['godwit-join'], cert, key },
    })
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    const spki = publicKey().export({ type: 'spki', format: 'der' }).toString('base64')
    socket.write(`${JSON.stringify({ node: 'a', publicKey: spki })}\n`)
    await closed(socket)
    expect(answer).toContain('a token is needed')
  })
})
