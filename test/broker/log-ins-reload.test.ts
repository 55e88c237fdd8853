import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { Reason } from '../../src/mqtt/reason.ts'
import { parseUsers } from '../../src/access/users-file.ts'
import { CountingHasher } from '../access/kit.ts'
import { Client } from '../clients/kit.ts'
import { authPacket, AuthFiles, ScramClient, scramAnswer, token, tokenKey } from '../support/auth.ts'
import { startBroker, type TestBroker, type TestBrokerOptions } from '../support/broker.ts'
import { listenerTls, makeCertificates } from '../support/certificates.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

// The configuration is read again, while clients are there.

let files: AuthFiles
const text = `
auth: { users: users.yaml, scram: true, mosquitto: { password_file: passwd }, jwt: { key: key.pem, issuer: i, audience: a } }
audit: { file: audit.log }
`
const [anna, bert, sam] = [{ password: 'right' }, { password: 'right' }, { scram: 'right' }]
const passwd = readFileSync('test/access/mosquitto-pbkdf2.txt', 'utf8')

beforeEach(async () => {
  files = new AuthFiles()
  files.write('passwd', passwd)
  files.write('key.pem', tokenKey)
  await files.users({ anna, bert, sam })
})

function start(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const { auth, audit } = files.config(text)
  return startBroker({ hasher: new CountingHasher(), config: { auth, audit }, ...options })
}

const reload = (broker: TestBroker, given = text) => broker.reload(undefined, { auth: files.auth(given) })

function enter(broker: TestBroker, username: string, password = 'right', version: 4 | 5 = 5): Promise<RawClient> {
  return RawClient.connect(broker, version, { clientId: username, username, password: password as never })
}

/** Whose users stand as they stood, with other secrets for these. */
function change(change: (users: Record<string, object>) => void): void {
  const file = join(files.folder, 'users.yaml')
  const { users } = JSON.parse(readFileSync(file, 'utf8')) as { users: Record<string, object> }
  change(users)
  writeFileSync(file, JSON.stringify({ users }))
}

test('who is gone, or has another password, goes; the others stay', async () => {
  await files.users({ anna, bert, cleo: { password: 'right' } })
  const other = JSON.stringify(
    (JSON.parse(readFileSync(join(files.folder, 'users.yaml'), 'utf8')) as { users: { bert: object } }).users.bert,
  )
  await files.users({ anna, bert, cleo: { password: 'right' } })
  const broker = await start()
  const [first, second, third] = [
    await enter(broker, 'anna', 'right', 4),
    await enter(broker, 'bert'),
    await enter(broker, 'cleo'),
  ]
  const [u1, u2] = [await enter(broker, 'u1', 'secret').catch(() => undefined), await enter(broker, 'u2', 'a')]
  change((users) => {
    delete users['anna']
    users['bert'] = JSON.parse(other) as object
  })
  files.write(
    'passwd',
    passwd
      .split('\n')
      .filter((line) => !line.startsWith('u2:'))
      .join('\n'),
  )
  await reload(broker)
  await first.expectDisconnect(Reason.notAuthorized)
  await second.expectDisconnect(Reason.notAuthorized)
  await u2.expectDisconnect(Reason.notAuthorized)
  await third.expectQuiet()
  await u1?.expectQuiet()
  await expect(enter(broker, 'anna')).rejects.toThrow('134')
  await enter(broker, 'bert')
})

test('SCRAM: another verifier, or none', async () => {
  const broker = await start()
  const log = async (password = 'right') => {
    const scram = new ScramClient('sam', password)
    const properties = { authenticationMethod: 'SCRAM-SHA-256', authenticationData: scram.first }
    const client = (await RawClient.open(broker, 5)).send(connectPacket(5, { properties }))
    expect((await scramAnswer(client, scram)).reasonCode).toBe(0)
    return client
  }
  const client = await log()
  await reload(broker)
  await client.expectQuiet()
  await files.users({ sam: { scram: 'other' } })
  await reload(broker)
  await client.expectDisconnect(Reason.notAuthorized)
  const next = await log('other')
  await reload(broker, text.replace('scram: true', 'scram: false'))
  await next.expectDisconnect(Reason.notAuthorized)
})

test('SCRAM: users who are read again while it answers', async () => {
  const broker = await start()
  const scram = new ScramClient('sam', 'right')
  const properties = { authenticationMethod: 'SCRAM-SHA-256', authenticationData: scram.first }
  const client = (await RawClient.open(broker, 5)).send(connectPacket(5, { properties }))
  const challenge = await client.expect('auth')
  change((users) => delete users['sam'])
  await reload(broker)
  const { authenticationData } = challenge.properties as { authenticationData: Buffer }
  client.send(authPacket(0x18, scram.final(authenticationData)))
  expect((await client.expect('connack')).reasonCode).toBe(Reason.serverBusy)
})

test('a weak hash that the broker has replaced is no other password', async () => {
  const [weak = ''] = readFileSync('test/access/mosquitto-sha512.txt', 'utf8').split('\n')
  change((users) => (users['old'] = { password: weak.slice(3) }))
  const broker = await start()
  const client = await enter(broker, 'old', 'secret')
  const file = join(files.folder, 'users.yaml')
  await expect.poll(() => parseUsers(readFileSync(file, 'utf8'), []).get('old')!.password!.weak).toBe(false)
  for (let times = 0; times < 2; times++) {
    await reload(broker)
    await client.expectQuiet()
  }
})

test('of the keys of tokens one is gone: so are those whose tokens it has signed', async () => {
  const made = ['a', 'b'].map((kid) => ({ kid, ...generateKeyPairSync('ed25519') }))
  const jwks = (kids: string): string =>
    JSON.stringify({
      keys: made.flatMap(({ kid, publicKey }) =>
        kids.includes(kid) ? [{ ...publicKey.export({ format: 'jwk' }), kid }] : [],
      ),
    })
  const jwtText = 'auth: { jwt: { jwks: keys.json, issuer: i, audience: a } }'
  const exp = Math.floor(Date.now() / 1000) + 3600
  files.write('keys.json', jwks('ab'))
  const { auth } = files.config(jwtText)
  const broker = await startBroker({ hasher: new CountingHasher(), config: { auth } })
  const [a, b] = [
    await enter(broker, 'a', await token({ sub: 'a', exp }, made[0]!.privateKey)),
    await enter(broker, 'b', await token({ sub: 'b', exp }, made[1]!.privateKey)),
  ]
  await reload(broker, jwtText)
  await a.expectQuiet()
  files.write('keys.json', jwks('b'))
  await reload(broker, jwtText)
  await a.expectDisconnect(Reason.notAuthorized)
  await b.expectQuiet()
})

test('tokens are for another audience', async () => {
  const broker = await start()
  const client = await enter(broker, 'whoever', await token({ exp: Math.floor(Date.now() / 1000) + 3600 }))
  await reload(broker)
  await client.expectQuiet()
  await reload(broker, text.replace('audience: a', 'audience: b'))
  await client.expectDisconnect(Reason.notAuthorized)
})

test('another key of tokens in the place of theirs', async () => {
  const broker = await start()
  const client = await enter(broker, 'whoever', await token({ exp: Math.floor(Date.now() / 1000) + 3600 }))
  files.write('key.pem', generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }) as string)
  await reload(broker)
  await client.expectDisconnect(Reason.notAuthorized)
})

test('whom a hook has let in: another hook has not', async () => {
  const service = createServer((_request, response) => response.end('{"result":"allow","user":"hooked"}'))
  await new Promise<void>((done) => service.listen(0, '127.0.0.1', done))
  onTestFinished(() => void service.close().closeAllConnections())
  const { port } = service.address() as AddressInfo
  const hook = (path: string, more = '') => `auth: { http: { url: 'http://127.0.0.1:${port}/${path}'${more} } }`
  const broker = await start({ config: { auth: files.auth(hook('one')) } })
  const client = await enter(broker, 'anybody')
  await reload(broker, hook('one', ', cacheSeconds: 1'))
  await client.expectQuiet()
  await reload(broker, hook('two'))
  await client.expectDisconnect(Reason.notAuthorized)
})

test('groups are those of now', async () => {
  const { permissions } = files.config(
    'permissions: [{ effect: allow, who: { groups: [ops] }, actions: [publish], topics: [a] }]',
  )
  const broker = await start({ config: { auth: files.auth(text), permissions } })
  const client = await enter(broker, 'anna')
  for (const [groups, code] of [
    [['ops'], Reason.noMatchingSubscribers],
    [[], Reason.notAuthorized],
  ] as const) {
    change((users) => (users['anna'] = { ...users['anna'], groups }))
    await broker.reload(undefined, { auth: files.auth(text), permissions })
    client.publish('a', 'x', { qos: 1, messageId: 1 })
    expect((await client.expect('puback')).reasonCode).toBe(code)
  }
})

test('nobody is moved to another tenant while connected', async () => {
  const { tenants } = files.config('tenants: { north: {}, south: {} }')
  const broker = await start({ config: { auth: files.auth(text), tenants } })
  const client = await enter(broker, 'anna')
  change((users) => (users['anna'] = { ...users['anna'], tenant: 'north' }))
  await broker.reload(undefined, { auth: files.auth(text), tenants })
  await client.expectDisconnect(Reason.notAuthorized)
  const north = await enter(broker, 'anna')
  change((users) => (users['anna'] = { ...users['anna'], tenant: 'south' }))
  await broker.reload(undefined, { auth: files.auth(text), tenants })
  await north.expectDisconnect(Reason.notAuthorized)
})

test('another name in certificates', async () => {
  const certificates = await makeCertificates()
  const tls = listenerTls(certificates, true)
  files.write('ca.pem', certificates.cert)
  files.write('server.key', certificates.key)
  const by = (name: string) => `
listeners: [{ url: 'tls://127.0.0.1', tls: { cert: ca.pem, key: server.key, ca: ca.pem, requestCert: true } }]
auth: { certificate: { user: ${name} } }
`
  const broker = await start({ tls, config: { auth: files.auth(by('cn')) } })
  const { clientCert: cert, clientKey: key } = certificates
  const client = await Client.join(broker, 5, { transport: 'tls', ca: certificates.cert, cert, key })
  await reload(broker, by('cn'))
  expect(await client.settled()).toEqual([])
  await reload(broker, by('dns'))
  await client.gone()
})

test('a step that is there no more', async () => {
  const broker = await start()
  const client = await enter(broker, 'u2', 'a')
  const other = await enter(broker, 'anna')
  await reload(broker, 'auth: { users: users.yaml }')
  await client.expectDisconnect(Reason.notAuthorized)
  await other.expectQuiet()
})

test('log-ins begin: whoever has not logged in goes', async () => {
  const broker = await startBroker({ hasher: new CountingHasher() })
  const unproved = await enter(broker, 'anna', 'wrong')
  const silent = await RawClient.connect(broker, 4)
  const early = await RawClient.open(broker, 5)
  await reload(broker)
  await unproved.expectDisconnect(Reason.notAuthorized)
  await silent.expectClosed()
  early.send(connectPacket(5))
  expect((await early.expect('connack')).reasonCode).toBe(Reason.notAuthorized)
  await enter(broker, 'anna')
})

test('who is being asked about while the users are read again is judged by the new ones', async () => {
  const hasher = new CountingHasher()
  let go = () => {}
  const held = new Promise<void>((resolve) => (go = resolve))
  let asked = 0
  const slow = {
    hash: async (work: Parameters<CountingHasher['hash']>[0]) => {
      if (asked++ === 0) await held
      return hasher.hash(work)
    },
  }
  const broker = await start({ hasher: slow })
  const client = await RawClient.open(broker, 5)
  client.send(connectPacket(5, { username: 'anna', password: 'right' as never }))
  await expect.poll(() => asked).toBe(1)
  change((users) => delete users['anna'])
  await reload(broker)
  go()
  expect((await client.expect('connack')).reasonCode).toBe(Reason.badUserNameOrPassword)
})

describe('the audit log', () => {
  const lines = (): Record<string, unknown>[] =>
    readFileSync(join(files.folder, 'audit.log'), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>)

  test('who came, who was denied and why', async () => {
    const broker = await start()
    await enter(broker, 'anna')
    await enter(broker, 'bert', 'planted-wrong').catch(() => {})
    await enter(broker, 'no"body\u00ad', 'planted-wrong').catch(() => {})
    await expect.poll(() => lines().length).toBe(3)
    expect(lines()).toMatchObject([
      { event: 'log-in', client: 'anna', user: 'anna', by: 'users', protocol: 'tcp' },
      { event: 'log-in-denied', client: 'bert', user: 'bert', by: 'users', why: 'wrong password' },
      { event: 'log-in-denied', user: 'no"body\u00ad', why: 'unknown user' },
    ])
    expect(readFileSync(join(files.folder, 'audit.log'), 'utf8')).not.toContain('planted')
  })

  test('a file that cannot be opened: nothing starts', async () => {
    const { auth } = files.config(text)
    const audit = { file: join(files.folder, 'no/such/folder') }
    await expect(startBroker({ hasher: new CountingHasher(), config: { auth, audit } })).rejects.toThrow(
      /cannot write the audit log/,
    )
  })
})
