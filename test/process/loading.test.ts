import { generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Authority } from '../support/authority.ts'
import { godwit, startGodwit, temporary } from '../support/program.ts'

// What takes long to load is loaded by those who need it. Node's own coverage lists the modules that a process has run.

const heavy = new Map([
  ['jose', '/node_modules/jose/'],
  ['ws', '/node_modules/ws/'],
  ['x509', '/node_modules/@peculiar/x509/'],
  ['cluster', '/dist/node/cluster.js'],
])

/** Which of the heavy ones a broker has loaded when it has started and stopped. */
async function loaded(args: readonly string[]): Promise<string[]> {
  const coverage = join(temporary(), 'coverage')
  const { program } = await startGodwit(args, { env: { NODE_V8_COVERAGE: coverage } })
  program.signal('SIGTERM')
  expect(await program.code).toBe(0)
  const { result } = JSON.parse(readFileSync(join(coverage, readdirSync(coverage)[0]!), 'utf8')) as {
    result: readonly { readonly url: string }[]
  }
  return [...heavy].filter(([, path]) => result.some(({ url }) => url.includes(path))).map(([name]) => name)
}

const tcp = ['--listen', 'tcp://127.0.0.1:0']

describe('a broker loads', () => {
  test('alone: none of it', async () => expect(await loaded(tcp)).toEqual([]))

  test('with a listener for WebSockets: those', async () =>
    expect(await loaded(['--listen', 'ws://127.0.0.1:0/mqtt'])).toEqual(['ws']))

  for (const [what, more, names] of [
    ['with client certificates: none of it', '', []],
    ['with a revocation list: what reads it', ', crl: [list.pem]', ['x509']],
  ] as const)
    test(what, async () => {
      const folder = temporary()
      const authority = await Authority.make('ours')
      const { cert, key } = await authority.issue('server')
      const list = await authority.revoke([])
      const files = { 'cert.pem': cert, 'key.pem': key, 'ca.pem': authority.cert, 'list.pem': list }
      for (const [name, { pem }] of Object.entries(files)) writeFileSync(join(folder, name), pem)
      const file = join(folder, 'godwit.yaml')
      const tls = `{ cert: cert.pem, key: key.pem, ca: ca.pem, requestCert: true${more} }`
      writeFileSync(file, `listeners: [{ url: "tls://127.0.0.1:0", tls: ${tls} }]\n`)
      expect(await loaded(['--config', file])).toEqual(names)
    })

  test('with log-ins by token: what checks them', async () => {
    const folder = temporary()
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeFileSync(join(folder, 'key.pem'), publicKey.export({ type: 'spki', format: 'pem' }))
    const file = join(folder, 'godwit.yaml')
    const jwt = '{ key: key.pem, issuer: i, audience: a }'
    writeFileSync(file, `listeners: [{ url: "tcp://127.0.0.1:0" }]\nauth: { jwt: ${jwt} }\n`)
    expect(await loaded(['--config', file])).toEqual(['jose'])
  })
})

test('a node of a cluster issues its certificate once', async () => {
  const folder = temporary()
  const cluster = join(folder, 'cluster')
  expect((await godwit(['cluster', 'init', cluster]).ended()).code).toBe(0)
  const node = ['--cluster', cluster, '--node', 'a', '--cluster-listen', '127.0.0.1:0', '--data', join(folder, 'data')]
  expect(await loaded([...tcp, ...node])).toEqual(['x509', 'cluster'])
  expect(await loaded([...tcp, ...node])).toEqual(['cluster'])
})
