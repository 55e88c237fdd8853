import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Audit } from '../../src/access/audit.ts'
import type { Credentials } from '../../src/access/identity.ts'
import type { PeerCertificate } from '../../src/host.ts'
import { hashPassword } from '../../src/access/password-hash.ts'
import { makeVerifier } from '../../src/access/scram.ts'
import { parseUsers } from '../../src/access/users-file.ts'
import { loadConfig } from '../../src/config/config.ts'
import { type LogIns, openLogIns } from '../../src/node/log-ins.ts'
import { readTextFile } from '../../src/cli/read-file.ts'
import { digests } from '../../src/platform/digests.ts'
import { nodeHost } from '../../src/platform/host.ts'
import { SeededRandom } from '../support/random.ts'
import { checkOf, CountingHasher, shows } from './kit.ts'

// All of it together: from the text of a configuration to who is let in.

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const hasher = new CountingHasher()
let folder: string
let logIns: LogIns
/** What the log, the audit log and refusals have said. */
let told: string[]
let answer: { status: number; body: string }
const server = createServer((request, response) => {
  request.resume().once('end', () => response.writeHead(answer.status).end(answer.body))
})

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-log-ins-'))
  told = []
  answer = { status: 200, body: '{"result":"ignore"}' }
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  const [weak] = readFileSync('test/access/mosquitto-sha512.txt', 'utf8').split('\n')
  const random = new SeededRandom(4)
  const users = {
    anna: { password: await hashPassword(hasher, random, Buffer.from('planted-anna')), tenant: 'north' },
    old: { password: weak!.slice(3) },
    scram: { scram: (await makeVerifier(hasher, digests, random, 'planted-scram'))! },
  }
  write('users.yaml', JSON.stringify({ users }))
  write('token', 'planted-token')
  write('passwd', readFileSync('test/access/mosquitto-pbkdf2.txt', 'utf8'))
  write('key.pem', publicKey.export({ type: 'spki', format: 'pem' }) as string)
  write('ca.pem', '-----BEGIN CERTIFICATE-----\n')
  write('server.key', '-----BEGIN PRIVATE KEY-----\n')
  write(
    'godwit.yaml',
    `listeners: [{ url: 'tls://127.0.0.1', tls: { cert: ca.pem, key: server.key, ca: ca.pem, requestCert: true } }]
auth:
  users: users.yaml
  scram: true
  mosquitto: { password_file: passwd }
  jwt: { key: key.pem, issuer: i, audience: a }
  certificate: { user: cn }
  http: { url: 'http://127.0.0.1:${port}/', tokenFile: token, timeoutMs: 5000 }
`,
  )
  const { auth } = loadConfig({ flags: { config: join(folder, 'godwit.yaml') }, env: {}, readFile: readTextFile })
  const note = (fields: object, message: string): void => void told.push(`${message} ${JSON.stringify(fields)}`)
  const host = nodeHost({ debug: note, info: note, warn: note, error: note })
  logIns = openLogIns(auth!, {
    ...host,
    hasher,
    check: checkOf(hasher),
    decoyKey: Buffer.alloc(32, 9),
    rehashed: new Map(),
  })
  hasher.take()
})

afterEach(async () => {
  logIns.close()
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
  rmSync(folder, { recursive: true })
})

function write(name: string, text: string): void {
  writeFileSync(join(folder, name), text, { mode: 0o600 })
}

function token(payload: object): Promise<string> {
  return new SignJWT({ iss: 'i', aud: 'a', sub: 'thing', ...payload })
    .setProtectedHeader({ alg: 'EdDSA' })
    .sign(privateKey)
}

const certificate: PeerCertificate = {
  subject: { CN: 'device' },
  valid_from: 'Nov 20 08:00:00 2000 GMT',
  valid_to: 'Nov 20 08:00:00 2099 GMT',
  authorized: true,
}

/** `user of source`, or why not. */
async function enter(credentials: Credentials): Promise<string> {
  const logIn = await logIns.chain.authenticate(credentials)
  const audit = new Audit({ write: (line) => told.push(line) > 0 }, () => 'now')
  const party = { clientId: credentials.clientId, user: credentials.username, remote: credentials.remote }
  if ('identity' in logIn) {
    audit.write({ event: 'log-in', party, by: logIn.identity.source })
    return `${logIn.identity.user} of ${logIn.identity.source}`
  }
  audit.write({ event: 'log-in-denied', party, by: logIn.by, why: logIn.denied })
  told.push(logIn.denied)
  return `denied by ${logIn.by}: ${logIn.denied}`
}

test('each by its own way, and what they refuse', async () => {
  const exp = Math.floor(Date.now() / 1000) + 3600
  for (const [credentials, wanted] of [
    [shows('anna', 'planted-anna'), 'anna of users'],
    [shows('anna', 'planted-wrong'), 'denied by users: wrong password'],
    [shows('u2', 'a'), 'u2 of mosquitto'],
    [shows('u2', 'planted-wrong'), 'denied by mosquitto: wrong password'],
    [shows('whoever', await token({ exp })), 'thing of jwt'],
    [shows('whoever', await token({ exp: 1 })), 'denied by jwt: token: it has expired'],
    [shows('anna', await token({ exp })), 'denied by users: wrong password'],
    [shows(undefined, undefined, { certificate }), 'device of certificate'],
    [
      shows(undefined, undefined, { certificate: { ...certificate, authorized: false } }),
      'denied by certificate: certificate: TLS has not found it good',
    ],
    [shows('scram', 'planted-scram'), 'denied by undefined: unknown user'],
    [shows('nobody', 'planted-wrong'), 'denied by undefined: unknown user'],
    [shows('nobody'), 'denied by undefined: no password'],
    [shows(), 'denied by undefined: nothing to say who it is'],
  ] as const)
    expect(await enter(credentials)).toBe(wanted)
})

test('the HTTP hook has the last word on whom nobody else knows', async () => {
  answer.body = '{"result":"allow","user":"hooked"}'
  expect(await enter(shows('nobody', 'planted-x'))).toBe('hooked of http')
  expect(await enter(shows('anna', 'planted-x'))).toBe('denied by users: wrong password')
  for (const [status, body, wanted] of [
    [200, '{"result":"deny"}', 'http: denied'],
    [500, '{"result":"allow"}', 'http: the answer has the status 500'],
    [200, '', 'http: the answer is no JSON'],
  ] as const) {
    answer = { status, body }
    expect(await enter(shows('nobody', 'planted-y'))).toBe(`denied by http: ${wanted}`)
  }
})

test('SCRAM, with those of the users file who have a verifier', () => {
  const begin = (name: string) => logIns.scram!().first(Buffer.from(`n,,n=${name},r=clientnonce`))
  for (const name of ['scram', 'anna', 'nobody']) expect(begin(name)).toHaveProperty('data')
  expect(begin('scram')).not.toEqual(begin('scram'))
})

test('a weak hash is replaced in the file', async () => {
  expect(await enter(shows('old', 'secret'))).toBe('old of users')
  const isWeak = () => parseUsers(readTextFile(join(folder, 'users.yaml'), true), []).get('old')!.password!.weak
  await expect.poll(isWeak).toBe(false)
  expect(await enter(shows('old', 'secret'))).toBe('old of users')
})

test('row 16: whoever is not known costs one hash, as whoever is', async () => {
  for (const name of ['anna', 'u1', 'old', 'nobody', 'scram', 'x']) {
    await enter(shows(name, 'planted-wrong'))
    expect(hasher.take().length).toBe(1)
  }
})

test('row 19: secrets stand in no refusal, no audit line and no log', async () => {
  const exp = Math.floor(Date.now() / 1000) + 3600
  const tokens = await Promise.all([token({ exp: 1 }), token({ exp, sub: '' }), token({ exp, aud: 'planted-x' })])
  for (const password of [
    'planted-anna',
    'planted-wrong',
    ...tokens,
    `${tokens[0]}x`,
    'eyJwbGFudGVk.eyJwbGFudGVk.cGxhbnRlZA',
  ])
    for (const name of ['anna', 'u1', 'nobody', undefined]) await enter(shows(name, password))
  answer = { status: 500, body: 'planted' }
  await enter(shows('nobody', 'planted-again'))
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
  await enter(shows('nobody', 'planted-and-nobody-there'))
  hasher.busy = true
  await enter(shows('u1', 'planted-and-busy'))
  hasher.busy = false
  rmSync(join(folder, 'users.yaml'))
  await enter(shows('old', 'secret'))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  expect(told.length).toBeGreaterThan(60)
  const all = told.join('\n')
  expect(all).not.toMatch(/planted|cGxhbnRlZ|eyJ|\$argon2id|\$6\$|\$7\$/)
  for (const part of tokens.flatMap((text) => text.split('.'))) expect(all).not.toContain(part)
})
