import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadConfig, type Config } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/problem.ts'

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const mosquitto = readFileSync('test/access/mosquitto-pbkdf2.txt', 'utf8')
const hash = mosquitto.split('\n')[0]!.slice(3)
const verifier = `SCRAM-SHA-256$4096:${Buffer.alloc(16).toString('base64')}$${Buffer.alloc(32).toString('base64')}:${Buffer.alloc(32).toString('base64')}`

/** What there is beside `etc/godwit.yaml`. */
const files: Readonly<Record<string, string>> = {
  'users.yaml': `users:\n  anna: { password: "${hash}", scram: "${verifier}", groups: [g] }\n`,
  'bad-users.yaml': 'users:\n  anna: { password: planted }\n  berta: {}\n',
  passwd: mosquitto,
  'bad-passwd': `# ours\nanna:planted\n${mosquitto}`,
  acl: 'topic read a/#\n',
  'bad-acl': 'topic read a/#\n\ntopc planted\n',
  empty: '',
  'key.pem': publicKey.export({ type: 'spki', format: 'pem' }) as string,
  'private.pem': privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  'jwks.json': JSON.stringify({ keys: [publicKey.export({ format: 'jwk' })] }),
  'bad-jwks.json': JSON.stringify({ keys: [privateKey.export({ format: 'jwk' })] }),
  secret: `${'x'.repeat(40)}\n`,
  'short-secret': 'planted\n',
  token: 't0ken\n',
  'bad-token': 'planted planted\n',
  'ca.pem': '-----BEGIN CERTIFICATE-----\nours\n',
  'server.pem': '-----BEGIN CERTIFICATE-----\nours\n',
  'server.key': '-----BEGIN PRIVATE KEY-----\nours\n',
}
/** Read as files for the owner's eyes alone. */
let secrets: string[] = []

function load(file: string): Config {
  secrets = []
  return loadConfig({
    flags: { config: 'etc/godwit.yaml' },
    env: {},
    readFile: (path, secret) => {
      if (path === 'etc/godwit.yaml') return file
      const text = files[path.replace(/^etc\//, '')]
      if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
      if (secret) secrets.push(path)
      return text
    },
  })
}

function complaint(file: string): string {
  try {
    load(file)
  } catch (fault) {
    if (fault instanceof ConfigError) return fault.message
    throw fault
  }
  return 'no complaint'
}

test('none', () => expect(load('data: x').auth).toBeUndefined())

test('all of it', () => {
  const { auth } = load(`
listeners: [{ url: 'tls://127.0.0.1', tls: { cert: server.pem, key: server.key, ca: ca.pem, requestCert: true } }]
auth:
  order: [jwt, certificate, http, users, mosquitto]
  users: users.yaml
  scram: true
  mosquitto: { password_file: passwd, acl_file: acl }
  jwt:
    key: key.pem
    issuer: https://id.example
    audience: mqtt
    claims: { user: device, tenant: org, groups: g, permissions: p }
    leewaySeconds: 0
  certificate: { user: cn }
  http: { url: 'https://auth.example/mqtt', tokenFile: token, ca: ca.pem, timeoutMs: 1000, cacheSeconds: 0 }
`)
  expect(auth).toMatchObject({
    order: ['jwt', 'certificate', 'http', 'users', 'mosquitto'],
    users: { file: 'etc/users.yaml' },
    scram: true,
    jwt: {
      keys: [{ algorithms: ['EdDSA', 'Ed25519'] }],
      issuer: 'https://id.example',
      audience: 'mqtt',
      claims: { user: 'device', tenant: 'org', groups: 'g', permissions: 'p' },
      leewaySeconds: 0,
    },
    certificate: 'cn',
    http: {
      url: 'https://auth.example/mqtt',
      token: 't0ken',
      ca: files['ca.pem'],
      timeoutMs: 1000,
      concurrency: 32,
      waiting: 1000,
      cacheSeconds: 0,
      cacheEntries: 10_000,
    },
  })
  expect(auth!.users!.users.get('anna')).toMatchObject({ groups: ['g'], scram: { iterations: 4096 } })
  expect([...auth!.mosquitto!.keys()]).toEqual(['u1', 'u2', 'u3', 'u4', 'u5', 'u6'])
  expect(auth!.acl!.stages[0]!.statements.length).toBe(1)
  // Mosquitto's own file may stand as Mosquitto has it.
  expect(secrets).toEqual(['etc/users.yaml', 'etc/token'])
})

test('what is not named is not there, and the order is the usual one', () => {
  expect(load('auth: { mosquitto: { password_file: passwd }, users: users.yaml }').auth).toMatchObject({
    order: ['users', 'mosquitto'],
    acl: undefined,
    jwt: undefined,
    certificate: undefined,
    scram: false,
    http: undefined,
  })
  expect(load('auth: { mosquitto: { acl_file: acl } }').auth).toMatchObject({ order: [], mosquitto: undefined })
  const { jwt } = load('auth: { jwt: { jwks: jwks.json, issuer: i, audience: a } }').auth!
  expect(jwt).toMatchObject({ claims: { user: 'sub' }, leewaySeconds: 5 })
  expect(load('auth: { jwt: { secretFile: secret, issuer: i, audience: a } }').auth!.jwt!.keys[0]!.algorithms).toEqual([
    'HS256',
  ])
  expect(secrets).toEqual(['etc/secret'])
  expect(load('auth: { http: { url: "http://[::1]:8080/" } }').auth!.order).toEqual(['http'])
  expect(load('auth: { http: { url: "http://auth:8080", allowPlaintext: true } }').auth!.order).toEqual(['http'])
})

test('an empty file is a file: nobody is in it', () => {
  expect(load('auth: { users: empty, mosquitto: { password_file: empty, acl_file: empty } }').auth).toMatchObject({
    order: ['users', 'mosquitto'],
    users: { users: new Map() },
    mosquitto: new Map(),
    acl: { stages: [{ statements: [] }, { statements: [] }] },
  })
})

describe('row 15: what is wrong is a complaint that names the place, and never an open door', () => {
  const jwt = 'issuer: i, audience: a'
  for (const [file, ...wanted] of [
    ['auth:', '1:6: auth: must be a map with users, mosquitto, jwt, certificate, scram or http, not null'],
    ['auth: {}', '1:7: auth: must say how clients log in, or be left out'],
    ['auth: { order: [] }', '1:7: auth: must say how clients log in, or be left out'],
    ['auth: { usres: x }', '1:9: auth.usres: unknown key, did you mean "users"?'],
    ['auth: { users: "" }', '1:16: auth.users: must be a file name, not ""'],
    ['auth: { users: nowhere }', '1:16: auth.users: cannot read etc/nowhere: no such file'],
    [
      'auth: { users: bad-users.yaml }',
      '/bad-users.yaml:2:21: users.anna.password: is no hash of a password',
      '/bad-users.yaml:3:10: users.berta: has neither password nor scram',
    ],
    ['auth: { mosquitto: {} }', '1:20: auth.mosquitto: must name a password_file or an acl_file'],
    [
      'auth: { mosquitto: { passwordfile: x } }',
      '1:22: auth.mosquitto.passwordfile: unknown key, did you mean "password_file"?',
    ],
    [
      'auth: { mosquitto: { password_file: nowhere } }',
      '1:37: auth.mosquitto.password_file: cannot read etc/nowhere: no such file',
    ],
    ['auth: { mosquitto: { password_file: bad-passwd } }', '/bad-passwd:2:1: what "anna" has is no hash of a password'],
    [
      'auth: { mosquitto: { acl_file: nowhere } }',
      '1:32: auth.mosquitto.acl_file: cannot read etc/nowhere: no such file',
    ],
    ['auth: { mosquitto: { acl_file: bad-acl } }', '/bad-acl:3:1: '],
    [
      'auth: { scram: true, http: { url: "https://x" } }',
      '1:16: auth.scram: its verifiers stand in a users file: name one with users',
    ],
    ['auth: { certificate: { user: cn } }', '1:22: auth.certificate: no listener asks for certificates'],
    ['auth: { certificate: { user: CN } }', '1:30: auth.certificate.user: must be cn, dns, email, uri, not "CN"'],
    [
      `auth: { jwt: { key: key.pem } }`,
      '1:14: auth.jwt.issuer: is missing: must be a text',
      '1:14: auth.jwt.audience: is missing: must be a text',
    ],
    [`auth: { jwt: { ${jwt} } }`, '1:14: auth.jwt: must name one of key (PEM), jwks and secretFile'],
    [
      `auth: { jwt: { ${jwt}, key: key.pem, secretFile: secret } }`,
      '1:14: auth.jwt: must name one of key (PEM), jwks and secretFile',
    ],
    [
      `auth: { jwt: { ${jwt}, key: private.pem } }`,
      '1:45: auth.jwt.key: etc/private.pem holds a private key: name the public one',
    ],
    [`auth: { jwt: { ${jwt}, key: short-secret } }`, '1:45: auth.jwt.key: etc/short-secret holds no public key'],
    [
      `auth: { jwt: { ${jwt}, secretFile: key.pem } }`,
      '1:52: auth.jwt.secretFile: etc/key.pem is no secret of printable characters in one line',
    ],
    [
      `auth: { jwt: { ${jwt}, secretFile: short-secret } }`,
      '1:52: auth.jwt.secretFile: etc/short-secret is a secret of less than 32 bytes',
    ],
    [`auth: { jwt: { ${jwt}, jwks: bad-jwks.json } }`, '1:46: auth.jwt.jwks: etc/bad-jwks.json key 1 is a private key'],
    [`auth: { jwt: { ${jwt}, jwks: secret } }`, '1:46: auth.jwt.jwks: etc/secret is no JSON'],
    [
      `auth: { jwt: { ${jwt}, key: key.pem, claims: { usr: x } } }`,
      '1:64: auth.jwt.claims.usr: unknown key, did you mean "user"?',
    ],
    ['auth: { http: {} }', '1:15: auth.http.url: is missing: must be a URL like https://auth.example/mqtt'],
    ['auth: { http: { url: auth } }', '1:22: auth.http.url: is no URL: write it like https://auth.example/mqtt'],
    ['auth: { http: { url: "file:///x" } }', '1:22: auth.http.url: must be https:// or http://'],
    [
      'auth: { http: { url: "http://auth.example" } }',
      '1:22: auth.http.url: passwords would cross the network unencrypted',
    ],
    [
      'auth: { http: { url: "https://x", tokenFile: bad-token } }',
      '1:46: auth.http.tokenFile: etc/bad-token holds no token',
    ],
    [
      'auth: { http: { url: "https://x", ca: key.pem } }',
      '1:39: auth.http.ca: etc/key.pem holds no "-----BEGIN CERTIFICATE-----"',
    ],
    [
      'auth: { http: { url: "https://x", concurrency: 0 } }',
      '1:48: auth.http.concurrency: must be a whole number from 1 to 1000, not 0',
    ],
    ['auth: { users: users.yaml, order: [users, jwt] }', '1:43: auth.order.1: jwt is not configured here'],
    ['auth: { users: users.yaml, order: [users, users] }', '1:43: auth.order.1: users stands further up already'],
    ['auth: { users: users.yaml, order: [] }', '1:35: auth.order: must name users, too'],
    [
      'auth: { users: users.yaml, order: [user] }',
      '1:36: auth.order.0: must be users, mosquitto, jwt, certificate, http, not "user"',
    ],
  ] as const)
    test(file, () => {
      const told = complaint(file).split('\n')
      expect(told.length).toBe(wanted.length)
      for (const [at, line] of told.entries())
        expect(line).toContain(wanted[at]!.startsWith('/') ? `etc${wanted[at]}` : `etc/godwit.yaml:${wanted[at]}`)
      expect(told.join()).not.toContain('planted')
    })

  test('a password in a URL is not shown', () => {
    for (const url of ['https://a:planted@x', 'http://planted@127.0.0.1', 'https//a:planted@x', 'ftp://a:planted@x'])
      expect(complaint(`auth: { http: { url: "${url}" } }`)).toMatch(
        /^etc\/godwit.yaml:1:22: auth.http.url: (?!.*planted)/,
      )
  })
})
