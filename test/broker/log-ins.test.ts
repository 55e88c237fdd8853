import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Hooks } from '../../src/access/hooks.ts'
import type { Credentials } from '../../src/access/identity.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { CountingHasher } from '../access/kit.ts'
import { Client } from '../clients/kit.ts'
import { hasten } from '../standard/kit.ts'
import { authPacket, AuthFiles, ScramClient, scramAnswer, token, tokenKey } from '../support/auth.ts'
import { startBroker, type TestBroker, type TestBrokerOptions } from '../support/broker.ts'
import { type Certificates, listenerTls, makeCertificates } from '../support/certificates.ts'
import { HandBroker } from '../support/hand.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

// Who comes in, through real connections.

let files: AuthFiles
let certificates: Certificates
let service: Server
beforeAll(async () => {
  certificates = await makeCertificates()
  service = createServer((request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      const { user } = JSON.parse(body) as { user: string }
      response.writeHead(user === 'broken' ? 500 : 200)
      response.end(JSON.stringify({ result: user === 'hooked' ? 'allow' : 'deny' }))
    })
  })
  await new Promise<void>((done) => service.listen(0, '127.0.0.1', done))
})
afterAll(() => {
  service.closeAllConnections()
  return new Promise((done) => service.close(done))
})

const everything = () => `
listeners: [{ url: 'tls://127.0.0.1', tls: { cert: ca.pem, key: server.key, ca: ca.pem, requestCert: true } }]
auth:
  users: users.yaml
  scram: true
  mosquitto: { password_file: passwd }
  jwt: { key: key.pem, issuer: i, audience: a }
  certificate: { user: cn }
  http: { url: 'http://127.0.0.1:${(service.address() as AddressInfo).port}/' }
`
beforeEach(async () => {
  files = new AuthFiles()
  files.write('passwd', readFileSync('test/access/mosquitto-pbkdf2.txt', 'utf8'))
  files.write('key.pem', tokenKey)
  files.write('ca.pem', '-----BEGIN CERTIFICATE-----\n')
  files.write('server.key', '-----BEGIN PRIVATE KEY-----\n')
  await files.users({ anna: { password: 'right' }, bert: { password: 'right' }, sam: { scram: 'right' } })
})

function start(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const config = { auth: files.auth(everything()) }
  return startBroker({ hasher: new CountingHasher(), config, ...options })
}

const soon = () => Math.floor(Date.now() / 1000) + 3600

describe.each([3, 4, 5] as const)('version %i', (version) => {
  /** The code of CONNACK. */
  async function enter(
    broker: TestBroker,
    username?: string,
    password?: string,
    told = 'not authorized',
  ): Promise<number> {
    const client = await RawClient.open(broker, version)
    const shown = { ...(username !== undefined && { username }), ...(password !== undefined && { password }) }
    client.send(connectPacket(version, { clientId: `c-${username}`, ...shown } as object))
    const connack = await client.expect('connack')
    const code = Number(version === 5 ? connack.reasonCode : connack.returnCode)
    if (code !== 0) await client.expectClosed()
    if (code !== 0 && version === 5)
      expect(connack.properties).toEqual({ reasonString: code === 0x89 ? 'try again later' : told })
    return code
  }
  const wrong = version === 5 ? Reason.badUserNameOrPassword : 4
  const nothing = version === 5 ? Reason.notAuthorized : 5
  const unavailable = version === 5 ? Reason.serverBusy : 3

  test('who comes in, and what the others are told', async () => {
    const broker = await start()
    for (const [username, password, code] of [
      ['anna', 'right', 0],
      ['anna', 'wrong', wrong],
      ['u2', 'a', 0],
      ['u2', 'wrong', wrong],
      ['whoever', await token({ exp: soon() }), 0],
      ['whoever', await token({ exp: 1 }), wrong],
      ['hooked', 'x', 0],
      ['broken', 'x', unavailable],
      ['sam', 'right', wrong],
      ['nobody', 'right', wrong],
      ['bert', undefined, wrong],
      [undefined, undefined, nothing],
    ] as const)
      expect([username, await enter(broker, username, password)]).toEqual([username, code])
    expect(broker.node.broker.ledger.refusals.get('badUserNameOrPassword')).toBe(6)
    // A service with a fault says nothing of whoever it was asked about.
    expect(broker.node.broker.logIns).toMatchObject({ failing: 7, denied: { busy: 1 } })
  })

  test('who the session belongs to is who was proved, not who was claimed', async () => {
    const broker = await start()
    const client = await RawClient.connect(broker, version, {
      username: 'whoever',
      password: (await token({ exp: soon() })) as never,
    })
    expect(broker.node.broker.sessions.get('raw')?.username).toBe('thing')
    await client.drop()
  })

  test('too many passwords at a time: come back later', async () => {
    const hasher = new CountingHasher()
    hasher.busy = true
    const broker = await start({ hasher })
    expect(await enter(broker, 'anna', 'right')).toBe(version === 5 ? Reason.serverBusy : 3)
    hasher.busy = false
    // It was no failure of hers.
    expect(await enter(broker, 'anna', 'right')).toBe(0)
  })

  test('anonymous clients where a listener takes them, and only those', async () => {
    const broker = await start({ allowAnonymous: true })
    expect(await enter(broker)).toBe(0)
    expect(await enter(broker, 'anna')).toBe(wrong)
    expect(await enter(broker, 'bert', 'right')).toBe(0)
  })

  test("a host program's hook is asked after, of the user that was proved", async () => {
    const seen: unknown[] = []
    const authenticate = ({ username }: { username: string | undefined }) => seen.push(username) < 2
    const broker = await start({ hooks: { authenticate } })
    expect(await enter(broker, 'anna', 'wrong')).toBe(wrong)
    expect(await enter(broker, 'whoever', await token({ exp: soon() }))).toBe(0)
    expect(await enter(broker, 'bert', 'right', 'denied')).toBe(nothing)
    expect(seen).toEqual(['thing', 'bert'])
  })
})

test.each(['tls', 'wss'] as const)('a client certificate over %s', async (transport) => {
  const broker = await start({ tls: listenerTls(certificates, true) })
  const { clientCert: cert, clientKey: key } = certificates
  const client = await Client.join(broker, 5, { transport, ca: certificates.cert, cert, key, clientId: 'c' })
  expect(client.connack.reasonCode).toBe(0)
  expect(broker.node.broker.sessions.get('c')?.username).toBe('device')
})

test('a certificate is not nothing: its client is who it says, also where anonymous ones are taken', async () => {
  const broker = await start({ tls: listenerTls(certificates, true), allowAnonymous: true })
  const { clientCert: cert, clientKey: key } = certificates
  await Client.join(broker, 5, { transport: 'tls', ca: certificates.cert, cert, key, clientId: 'c' })
  expect(broker.node.broker.sessions.get('c')?.username).toBe('device')
})

describe('SCRAM-SHA-256', () => {
  const method = 'SCRAM-SHA-256'
  async function begin(broker: TestBroker, scram: ScramClient): Promise<RawClient> {
    const client = await RawClient.open(broker, 5)
    const properties = { authenticationMethod: method, authenticationData: scram.first }
    return client.send(connectPacket(5, { properties }))
  }
  async function enter(broker: TestBroker, scram = new ScramClient('sam', 'right')): Promise<RawClient> {
    const client = await begin(broker, scram)
    const connack = await scramAnswer(client, scram)
    expect(connack).toMatchObject({ cmd: 'connack', reasonCode: 0, properties: { authenticationMethod: method } })
    expect(scram.accepts((connack.properties as { authenticationData: Buffer }).authenticationData)).toBe(true)
    return client
  }
  async function refused(broker: TestBroker, scram: ScramClient): Promise<number> {
    const client = await begin(broker, scram)
    const { reasonCode } = await scramAnswer(client, scram)
    await client.expectClosed()
    return Number(reasonCode)
  }

  test('in, and once more on the same connection', async () => {
    const broker = await start()
    const client = await enter(broker)
    expect(broker.node.broker.sessions.get('raw')?.username).toBe('sam')
    const again = new ScramClient('sam', 'right')
    const { cmd, reasonCode, properties } = await scramAnswer(client.send(authPacket(0x19, again.first)), again)
    expect([cmd, reasonCode]).toEqual(['auth', 0])
    expect(again.accepts((properties as { authenticationData: Buffer }).authenticationData)).toBe(true)
    await client.expectQuiet()
  })

  test('a wrong password, and an unknown user, who learns nothing sooner', async () => {
    const broker = await start()
    expect(await refused(broker, new ScramClient('sam', 'wrong'))).toBe(Reason.badUserNameOrPassword)
    expect(await refused(broker, new ScramClient('nobody', 'right'))).toBe(Reason.badUserNameOrPassword)
  })

  test('nobody becomes somebody else by a second log-in', async () => {
    await files.users({ sam: { scram: 'right' }, eve: { scram: 'hers' } })
    const client = await enter(await start())
    const other = new ScramClient('eve', 'hers')
    expect(await scramAnswer(client.send(authPacket(0x19, other.first)), other)).toMatchObject({
      cmd: 'disconnect',
      reasonCode: Reason.notAuthorized,
    })
    await client.expectClosed()
  })

  test('a second log-in with a wrong password ends the connection', async () => {
    const client = await enter(await start())
    const wrong = new ScramClient('sam', 'wrong')
    expect((await scramAnswer(client.send(authPacket(0x19, wrong.first)), wrong)).reasonCode).toBe(Reason.notAuthorized)
    await client.expectClosed()
  })

  test('a method that nobody knows, or that a host program alone would know', async () => {
    const broker = await start({ hooks: { exchange: () => ({ done: true, username: 'anna' }) } })
    const client = await RawClient.open(broker, 5)
    client.send(connectPacket(5, { properties: { authenticationMethod: 'M' } }))
    expect((await client.expect('connack')).reasonCode).toBe(Reason.badAuthenticationMethod)
  })

  test("nobody becomes somebody else by a second exchange with a host program: the session is the first one's", async () => {
    const exchange: Hooks['exchange'] = (_, { data }) => ({ done: true, username: Buffer.from(data!).toString() })
    const broker = await startBroker({ hooks: { exchange } })
    const method = { authenticationMethod: 'M' }
    const auth = (user: string) =>
      ({
        cmd: 'auth',
        reasonCode: 0x19,
        properties: { ...method, authenticationData: Buffer.from(user) },
      }) as const
    const client = await RawClient.open(broker, 5)
    client.send(connectPacket(5, { properties: { ...method, authenticationData: Buffer.from('anna') } }))
    await client.expect('connack')
    expect(await client.send(auth('anna')).next()).toMatchObject({ cmd: 'auth', reasonCode: 0 })
    await client.send(auth('eve')).expectDisconnect(Reason.notAuthorized)
  })

  test.each(['', 'n,,', 'x'])('rubbish: "%s"', async (text) => {
    const client = await RawClient.open(await start(), 5)
    const properties = { authenticationMethod: method, authenticationData: Buffer.from(text) }
    client.send(connectPacket(5, { properties }))
    expect((await client.expect('connack')).reasonCode).toBe(Reason.notAuthorized)
    await client.expectClosed()
  })
})

test('a token runs out: the client is told, and its will fires', async () => {
  const broker = await start()
  const watcher = await RawClient.connect(broker, 5, { clientId: 'w', username: 'anna', password: 'right' as never })
  await watcher.subscribe('will/#')
  const password = (await token({ exp: soon() })) as never
  const will = (version: number) => ({
    topic: `will/${version}`,
    payload: Buffer.from('x'),
    qos: 0 as const,
    retain: false,
  })
  const clients = await Promise.all(
    ([4, 5] as const).map(
      async (version) =>
        [
          version,
          await RawClient.connect(broker, version, {
            clientId: `c${version}`,
            username: 'x',
            password,
            will: will(version),
          }),
        ] as const,
    ),
  )
  hasten(3500)
  await Promise.all(clients.map(([, client]) => client.expectQuiet()))
  hasten(200)
  await Promise.all(clients.map(([, client]) => client.expectDisconnect(Reason.maximumConnectTime)))
  const topics = [(await watcher.expect('publish')).topic, (await watcher.expect('publish')).topic]
  expect(topics.sort()).toEqual(['will/4', 'will/5'])
})

test('an id that was made here is marked, wherever it is asked of', () => {
  const asked: Credentials[] = []
  const chain = {
    authenticate: (credentials: Credentials) => {
      asked.push(credentials)
      return Promise.resolve({ identity: { user: 'anna', source: 'users' as const } })
    },
  }
  const hand = new HandBroker({ access: { logIns: { chain, scram: undefined, separate: false }, audit: undefined } })
  for (const clientId of ['', 'own']) hand.open().send(connectPacket(5, { clientId, username: 'anna' }))
  expect(asked).toMatchObject([{ idIsOurs: true }, { clientId: 'own' }])
  expect(asked[1]).not.toHaveProperty('idIsOurs')
})

describe('after failures', () => {
  const connect = (password: string) =>
    connectPacket(5, { clientId: '', username: 'anna', password: password as never })

  test('an attempt waits before its password is looked at, and is let in then', async () => {
    const hasher = new CountingHasher()
    const broker = await start({ hasher })
    for (let failures = 0; failures < 8; failures++) {
      const client = (await RawClient.open(broker, 5)).send(connect(`wrong ${failures}`))
      if (failures > 0) hasten(40)
      expect((await client.expect('connack')).reasonCode).toBe(Reason.badUserNameOrPassword)
    }
    hasher.take()
    const client = (await RawClient.open(broker, 5)).send(connect('right'))
    const other = await RawClient.connect(broker, 5, { username: 'bert', password: 'right' as never })
    await other.expectQuiet()
    // Longer than a client has for its CONNECT: this one has sent it.
    hasten(29)
    await other.expectQuiet()
    expect(hasher.take().length).toBe(1)
    expect(client.packets).toEqual([])
    hasten(2)
    expect((await client.expect('connack')).reasonCode).toBe(0)
    expect(hasher.take().length).toBe(1)
  })

  test('who leaves before its turn leaves nothing behind, and costs no hash', async () => {
    const hasher = new CountingHasher()
    const broker = await start({ hasher })
    const failed = (await RawClient.open(broker, 5)).send(connect('wrong'))
    await failed.expect('connack')
    hasher.take()
    const clients = await Promise.all(Array.from({ length: 100 }, () => RawClient.open(broker, 5)))
    for (const client of clients) client.send(connect('right'))
    await Promise.all(clients.map((client) => client.drop()))
    await expect.poll(() => broker.node.broker.connections).toBe(0)
    const last = (await RawClient.open(broker, 5)).send(connect('right'))
    expect((await last.expect('connack')).reasonCode).toBe(0)
    expect(hasher.take().length).toBe(1)
  })

  test('ten thousand wait at a time; one more is told to come later', async () => {
    const authenticate = () => Promise.resolve({ denied: 'wrong password', by: 'users' as const })
    const logIns = { chain: { authenticate }, scram: undefined, separate: false }
    const hand = new HandBroker({ access: { logIns, audit: undefined } })
    const attempt = () => hand.open().send(connect('wrong'))
    const failed = attempt()
    await expect.poll(() => failed.closed).toBe(true)
    const waiting = Array.from({ length: 10_000 }, attempt)
    expect(attempt().taken()).toMatchObject([{ cmd: 'connack', reasonCode: Reason.serverBusy }])
    waiting[0]!.leave()
    expect(attempt().taken()).toEqual([])
  })

  test('SCRAM waits, too', async () => {
    const broker = await start()
    const begin = async (scram: ScramClient) =>
      (await RawClient.open(broker, 5)).send(
        connectPacket(5, {
          clientId: '',
          properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: scram.first },
        }),
      )
    const wrong = new ScramClient('sam', 'wrong')
    for (let failures = 0; failures < 5; failures++) {
      const client = await begin(wrong)
      if (failures > 0) hasten(10)
      await scramAnswer(client, wrong)
    }
    const right = new ScramClient('sam', 'right')
    const client = await begin(right)
    const other = await RawClient.connect(broker, 5, { username: 'bert', password: 'right' as never })
    await other.expectQuiet()
    expect(client.packets).toEqual([])
    hasten(10)
    expect((await scramAnswer(client, right)).reasonCode).toBe(0)
  })
})
