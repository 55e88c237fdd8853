import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exchange, requestHead } from '../admin/kit.ts'
import { AuthFiles, authPacket, ScramClient, scramAnswer } from '../support/auth.ts'
import type { TestBroker } from '../support/broker.ts'
import { makeCertificates } from '../support/certificates.ts'
import { freePort, godwit, startGodwit } from '../support/program.ts'
import { connectPacket, RawClient, type Received } from '../support/raw.ts'

// A real process with every secret that there is, used rightly and wrongly; then everything that it has said or written is searched.

/** Says no, and repeats what it was asked: what a service answers may be written nowhere either. */
let service: Server
beforeAll(async () => {
  service = createServer((request, response) => {
    void text(request).then((body) => {
      response.writeHead(500, { 'x-echo': request.headers.authorization })
      response.end(body)
    })
  })
  await new Promise<void>((done) => service.listen(0, '127.0.0.1', done))
})
afterAll(() => {
  service.closeAllConnections()
  return new Promise((done) => service.close(done))
})

const planted = {
  'a password': 'planted-right-password',
  'a wrong password': 'planted-wrong-password',
  'the password of one that nobody knows': 'planted-strange-password',
  'a password for SCRAM': 'planted-scram-password',
  'a password in a packet that is refused': 'planted-refused-password',
  'the secret of tokens': 'planted-token-secret-of-32-bytes-or-more',
  'the token for the HTTP hook': 'planted-hook-bearer-token',
  'a wrong token for the admin listener': 'planted-admin-bearer-token',
}

/** Files of the data folder and of the cluster's that are there to hold a secret. */
const keepers = ['admin-token', 'decoy-key', 'join-secret', 'ca-key.pem', 'node-key.pem']

describe('abuse 19: secrets', () => {
  test('nothing that is said, logged, kept or shown holds one; and its files are for their owner alone', async () => {
    const files = new AuthFiles()
    const { cert, key } = await makeCertificates()
    files.write('cert.pem', cert)
    files.write('key.pem', key)
    files.write('secret', `${planted['the secret of tokens']}\n`)
    files.write('hook-token', `${planted['the token for the HTTP hook']}\n`)
    await files.users({ ann: { password: planted['a password'] }, sam: { scram: planted['a password for SCRAM'] } })
    const cluster = join(files.folder, 'cluster')
    expect((await godwit(['cluster', 'init', cluster]).ended()).code).toBe(0)
    const clusterPort = await freePort()
    const settings = `
logLevel: debug
limits: { sysSeconds: 1 }
listeners:
  - url: tcp://127.0.0.1:0
  - { url: 'tls://127.0.0.1:0', tls: { cert: cert.pem, key: key.pem } }
admin: { listen: '127.0.0.1:0' }
audit: { file: audit.log }
cluster: { directory: cluster, node: a, listen: '127.0.0.1:${clusterPort}' }
auth:
  users: users.yaml
  scram: true
  jwt: { secretFile: secret, issuer: i, audience: a }
  http: { url: 'http://127.0.0.1:${(service.address() as AddressInfo).port}/', tokenFile: hook-token, cacheSeconds: 0 }
`
    const config = files.write('godwit.yaml', settings)
    const data = join(files.folder, 'data')
    const { program, port } = await startGodwit(['--config', config, '--data', data])
    const secrets = new Map(Object.entries(planted))
    secrets.set('the key of a certificate', key.split('\n')[1]!)
    secrets.set('the admin token', readFileSync(join(data, 'admin-token'), 'utf8').trim())
    secrets.set(
      'the hash of a password',
      /argon2id[^"]*\$([^"$]+)/.exec(readFileSync(join(files.folder, 'users.yaml'), 'utf8'))![1]!,
    )
    secrets.set('the secret of the cluster', readFileSync(join(cluster, 'join-secret'), 'utf8').trim())
    secrets.set('the key of the cluster', readFileSync(join(cluster, 'ca-key.pem'), 'utf8').split('\n')[1]!)
    const joinToken = (await godwit(['cluster', 'token', '--cluster', cluster]).ended()).out.trim()
    secrets.set('a token to join', joinToken)
    const said: string[] = [readFileSync(`/proc/${program.pid}/cmdline`, 'utf8')]

    const broker = { port } as TestBroker
    const tokenOf = (exp: number): Promise<string> =>
      new SignJWT({ iss: 'i', aud: 'a', sub: 'thing', exp })
        .setProtectedHeader({ alg: 'HS256' })
        .sign(Buffer.from(planted['the secret of tokens']))
    const soon = Math.floor(Date.now() / 1000) + 3600
    for (const [name, exp] of [
      ['a token', soon],
      ['a token that is over', 1],
    ] as const)
      secrets.set(name, await tokenOf(exp))
    for (const version of [4, 5] as const)
      for (const [user, password, good] of [
        ['ann', 'a password', true],
        ['ann', 'a wrong password', false],
        ['strange', 'the password of one that nobody knows', false],
        ['thing', 'a token', true],
        ['thing', 'a token that is over', false],
      ] as const) {
        const client = await RawClient.open(broker, version)
        const shown = { username: user, password: Buffer.from(secrets.get(password)!) }
        client.send(connectPacket(version, { clientId: `${user}-${version}`, ...shown }))
        const connack = await client.expect('connack')
        expect([user, password, (connack.reasonCode ?? connack.returnCode) === 0]).toEqual([user, password, good])
        said.push(connack.raw.toString('latin1'))
        if (good) said.push(...(await used(client)))
        else await client.expectClosed()
      }
    const scram = new ScramClient('sam', planted['a password for SCRAM'])
    const challenged = await RawClient.open(broker)
    const properties = { authenticationMethod: 'SCRAM-SHA-256', authenticationData: scram.first }
    challenged.send(connectPacket(5, { clientId: 'sam', properties }))
    expect(await scramAnswer(challenged, scram)).toMatchObject({ cmd: 'connack', reasonCode: 0 })
    challenged.send(authPacket(0x18, Buffer.from(planted['a password for SCRAM'])))
    said.push((await challenged.next()).raw.toString('latin1'))
    // A CONNECT that breaks a rule behind its password, and one that is cut off within it.
    for (const [bad, cut] of [
      [Buffer.from('trailing'), 0],
      [Buffer.alloc(0), 3],
    ] as const) {
      const client = await RawClient.open(broker, 4)
      const password = Buffer.from(planted['a password in a packet that is refused'])
      const content = Buffer.concat([
        Buffer.from('\0\x04MQTT\x04\xc2\0\0\0\x01x\0\x03ann', 'latin1'),
        Buffer.of(0, password.length),
        password.subarray(0, password.length - cut),
        bad,
      ])
      client.bytes(Buffer.concat([Buffer.of(0x10, content.length), content]))
      await client.expectClosed()
    }
    const url = readFileSync(join(data, 'admin'), 'utf8').trim()
    const { 'a wrong token for the admin listener': wrong } = planted
    for (const [token, path] of [
      [secrets.get('the admin token')!, '/v1/cluster'],
      [secrets.get('the admin token')!, '/v1/cluster/routes?verify'],
      [secrets.get('the admin token')!, '/v1/nothing'],
      [wrong, '/v1/cluster'],
      [wrong, `/v1/cluster?token=${secrets.get('the admin token')!}`],
    ] as const)
      said.push(await exchange(url, requestHead(url, token, 'GET', path)))
    const body = '{"node":"nobody"}'
    const json = ['content-type: application/json', `content-length: ${body.length}`]
    const head = requestHead(url, secrets.get('the admin token')!, 'POST', '/v1/cluster/evict', json)
    said.push(await exchange(url, head + body))
    // A reload that is refused quotes what is wrong, and a file of secrets is not for quoting.
    const wrongly = [
      ['secretFile: secret', 'secretFile: users.yaml'],
      ['users: users.yaml', 'users: secret'],
      ['tokenFile: hook-token', 'tokenFile: key.pem'],
    ] as const
    writeFileSync(
      config,
      wrongly.reduce((text, [from, to]) => text.replace(from, to), settings),
    )
    program.signal('SIGHUP')
    await program.err.until('the old one stays')
    program.signal('SIGTERM')
    expect(await program.code).toBe(0)
    said.push(program.out.text, program.err.text)
    expect(program.err.text).toContain('"level":"debug"')

    const kept = [...filesOf(data), ...filesOf(cluster), join(files.folder, 'audit.log')]
    for (const file of kept)
      if (!keepers.some((name) => file.endsWith(name))) said.push(readFileSync(file).toString('latin1'))
    const leaks = (texts: readonly string[]): string[] =>
      [...secrets]
        .filter(([, secret]) => texts.some((one) => spellings(secret).some((it) => one.includes(it))))
        .map(([name]) => name)
    // The search finds what is there.
    expect(leaks([readFileSync(join(data, 'admin-token'), 'utf8')])).toEqual(['the admin token'])
    expect(leaks(said)).toEqual([])
    // And the audit log has what it is for: ten log-ins, good or not, SCRAM's, and what the admin listener was asked to do.
    const audit = readFileSync(kept.at(-1)!, 'utf8')
    expect(audit.match(/"event":"log-in/g)!.length).toBeGreaterThanOrEqual(10)
    expect(audit).toMatch(/"event":"administration","remote":"127\.0\.0\.1:\d+","action":"\/v1\/cluster\/evict /)
    expect(kept.length).toBeGreaterThan(5)
    expect(kept.filter((file) => (statSync(file).mode & 0o077) !== 0)).toEqual([])
  }, 60_000)
})

/** A client does what clients do; gives all that it was told, and `$SYS` in it. */
async function used(client: RawClient): Promise<string[]> {
  const told: Received[] = []
  await client.subscribe('$SYS/#')
  let last: Received
  do told.push((last = await client.next()))
  while (last.cmd === 'publish' && last.topic !== '$SYS/broker/heap/current')
  await client.disconnect()
  return told.map(({ raw }) => raw.toString('latin1'))
}

/** As it is, and as it may stand in JSON, in a header or in a dump. */
function spellings(secret: string): string[] {
  const bytes = Buffer.from(secret)
  return [secret, bytes.toString('base64').replace(/.?=*$/, ''), bytes.toString('hex'), encodeURIComponent(secret)]
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => statSync(file).isFile())
}
