import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type TlsOptions } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAedes, type TestBroker } from './brokers.ts'
import { makeCertificate, type CertificateFiles } from './certificates.ts'
import { godwit } from './godwit.ts'

let folder: string
let ours: CertificateFiles
let others: CertificateFiles
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-tls-'))
  ours = await makeCertificate(folder)
  others = await makeCertificate(folder, 'other.example')
})
afterAll(() => rmSync(folder, { recursive: true }))

function startTls(options: TlsOptions): Promise<TestBroker> {
  return startAedes({}, (handle) => createServer(options, handle).on('tlsClientError', () => {}))
}

const message = ['-t', 'a', '-m', 'x', '-q', '1']
const ok = { code: 0, out: '', err: '' }

test('a certificate that --cafile trusts', async () => {
  const { port, published } = await startTls(ours.pem)
  expect(await godwit(['pub', '-p', String(port), '--cafile', ours.cert, ...message])).toEqual(ok)
  expect(await godwit(['pub', '-L', `mqtts://127.0.0.1:${port}`, '--cafile', ours.cert, ...message])).toEqual(ok)
  expect(published.length).toBe(2)
})

test('a certificate that nobody trusts', async () => {
  const { port } = await startTls(ours.pem)
  const err = `error: cannot connect to mqtts://127.0.0.1:${port}: its certificate is self-signed: trust it with --cafile\n`
  expect(await godwit(['pub', '-L', `mqtts://127.0.0.1:${port}`, ...message])).toEqual({ code: 1, out: '', err })
})

test('a certificate for another host, and --insecure', async () => {
  const { port } = await startTls(others.pem)
  const args = ['pub', '-p', String(port), '--cafile', others.cert, ...message]
  const err = `error: cannot connect to mqtts://127.0.0.1:${port}: its certificate is for another host name\n`
  expect(await godwit(args)).toEqual({ code: 1, out: '', err })
  expect(await godwit([...args, '--insecure'])).toEqual(ok)
  // It does not excuse an authority that nobody knows.
  expect((await godwit(['pub', '-L', `mqtts://127.0.0.1:${port}`, '--insecure', ...message])).code).toBe(1)
})

test('a certificate of our own', async () => {
  const { port } = await startTls({ ...ours.pem, ca: ours.pem.cert, requestCert: true, rejectUnauthorized: true })
  const args = ['pub', '-p', String(port), '--cafile', ours.cert, ...message]
  const url = `mqtts://127.0.0.1:${port}`
  const why = 'it asks for a certificate: --cert FILE --key FILE'
  expect(await godwit(args)).toEqual({ code: 1, out: '', err: `error: cannot connect to ${url}: ${why}\n` })
  expect(await godwit([...args, '--cert', ours.clientCert, '--key', ours.clientKey])).toEqual(ok)
})

test('a port without TLS', async () => {
  const { port } = await startAedes()
  const { code, err } = await godwit(['pub', '-p', String(port), '--cafile', ours.cert, ...message])
  expect(code).toBe(1)
  expect(err).toMatch(/^error: cannot connect to mqtts:\/\/127\.0\.0\.1:\d+: .+\n$/)
})
