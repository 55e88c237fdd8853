import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { exportJWK, type JWTPayload, SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { Chain } from '../../src/access/chain.ts'
import { jwtKey, type JwtKey, parseJwks, secretKey } from '../../src/access/jwt-keys.ts'
import { JwtAuthenticator, type JwtSettings, NoTokenLibraryError } from '../../src/access/jwt.ts'
import { publicJwk } from '../../src/platform/public-keys.ts'
import { checkOf, CountingHasher, shows } from './kit.ts'

const nowSeconds = 1_800_000_000
const secret = 'planted secret of sixty-four bytes, so that it is enough for 512'
const pairs = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  ed: generateKeyPairSync('ed25519'),
}
const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }) as string

function usable(key: JwtKey | string | undefined): JwtKey {
  if (typeof key !== 'object') throw new Error(key ?? 'not for tokens')
  return key
}
const keyOf = (name: keyof typeof pairs, more: object = {}): JwtKey =>
  usable(jwtKey({ ...publicJwk(pem(pairs[name].publicKey)), ...more }))
const secretOf = (): JwtKey => usable(secretKey(`${secret}\n`))

const claims = { user: 'sub', tenant: 'org', groups: 'groups', permissions: 'mqtt' }
const settings = (keys: readonly JwtKey[], more: Partial<JwtSettings> = {}): JwtSettings => {
  return { keys, issuer: 'https://id.example', audience: 'mqtt', claims, leewaySeconds: 0, ...more }
}
const good = { iss: 'https://id.example', aud: 'mqtt', sub: 'anna', exp: nowSeconds + 60 }

function sign(key: KeyObject | Uint8Array, alg: string, payload: object = good, header: object = {}): Promise<string> {
  return new SignJWT(payload as JWTPayload).setProtectedHeader({ alg, ...header }).sign(key)
}
async function check(token: string, given: JwtSettings, username?: string): Promise<unknown> {
  const authenticator = new JwtAuthenticator(given, () => new Date(nowSeconds * 1000))
  const answer = await authenticator.authenticate(shows(username, token))
  if (answer === 'not-mine') return answer
  if ('denied' in answer) return answer.denied
  const { signedWith, ...identity } = answer.identity
  expect(given.keys).toContain(signedWith)
  return identity
}
const anna = { user: 'anna', source: 'jwt', expiresAt: nowSeconds + 60 }

describe('a token that is good', () => {
  for (const [name, alg] of [
    ['rsa', 'RS256'],
    ['rsa', 'RS384'],
    ['rsa', 'RS512'],
    ['p256', 'ES256'],
    ['p384', 'ES384'],
    ['p521', 'ES512'],
    ['ed', 'EdDSA'],
    ['ed', 'Ed25519'],
  ] as const)
    test(alg, async () => {
      expect(await check(await sign(pairs[name].privateKey, alg), settings([keyOf(name)]))).toEqual(anna)
    })
  for (const alg of ['HS256', 'HS384', 'HS512'])
    test(alg, async () =>
      expect(await check(await sign(Buffer.from(secret), alg), settings([secretOf()]))).toEqual(anna),
    )

  test('with all that it may say; the user name of CONNECT does not count', async () => {
    const mqtt = [
      { effect: 'allow', actions: ['publish', 'receive'], topics: ['a/%c/#'] },
      { effect: 'deny', actions: ['publish'], topics: ['a/+/s'] },
    ]
    const payload = { ...good, aud: ['x', 'mqtt'], org: 'north', groups: ['g', 'h'], mqtt }
    expect(await check(await sign(pairs.ed.privateKey, 'EdDSA', payload), settings([keyOf('ed')]), 'berta')).toEqual({
      ...anna,
      tenant: 'north',
      groups: ['g', 'h'],
      permissions: mqtt.map((rule, at) => {
        return { ...rule, who: { everybody: true }, place: { source: `token, rule ${at + 1}` } }
      }),
    })
  })

  test('the user from another claim', async () => {
    const payload = { ...good, device: 'd 1' }
    const given = settings([keyOf('ed')], { claims: { user: 'device' } })
    expect(await check(await sign(pairs.ed.privateKey, 'EdDSA', payload), given)).toEqual({ ...anna, user: 'd 1' })
  })

  test('one key of several, by its name or without', async () => {
    const keys = [keyOf('p256', { kid: 'a' }), keyOf('p384', { kid: 'b' }), keyOf('ed', { kid: 'c' })]
    const other = generateKeyPairSync('ed25519')
    const twin = usable(jwtKey({ ...(await exportJWK(other.publicKey)), kid: 'd' }))
    const given = settings([twin, ...keys])
    expect(await check(await sign(pairs.ed.privateKey, 'EdDSA', good, { kid: 'c' }), given)).toEqual(anna)
    expect(await check(await sign(pairs.ed.privateKey, 'EdDSA'), given)).toEqual(anna)
    expect(await check(await sign(pairs.ed.privateKey, 'EdDSA', good, { kid: 'd' }), given)).toBe(
      'token: the signature is wrong',
    )
    expect(await check(await sign(pairs.ed.privateKey, 'EdDSA', good, { kid: 'e' }), given)).toBe(
      'token: no key of ours is for it',
    )
  })

  test('within the leeway', async () => {
    const late = await sign(pairs.ed.privateKey, 'EdDSA', { ...good, exp: nowSeconds - 4 })
    expect(await check(late, settings([keyOf('ed')]))).toBe('token: it has expired')
    expect(await check(late, settings([keyOf('ed')], { leewaySeconds: 5 }))).toHaveProperty('user', 'anna')
  })
})

describe('a token that is refused', () => {
  const without = (name: keyof typeof good) => Object.fromEntries(Object.entries(good).filter(([key]) => key !== name))
  for (const [name, payload, wanted] of [
    ['expired', { ...good, exp: nowSeconds }, 'token: it has expired'],
    ['without an end', without('exp'), 'token: the claim "exp" is missing or wrong'],
    ['whose end is text', { ...good, exp: '9999999999' }, 'token: the claim "exp" is missing or wrong'],
    ['not yet good', { ...good, nbf: nowSeconds + 1 }, 'token: the claim "nbf" is missing or wrong'],
    ['without an issuer', without('iss'), 'token: the claim "iss" is missing or wrong'],
    ['of another issuer', { ...good, iss: 'https://id.example/' }, 'token: the claim "iss" is missing or wrong'],
    ['without an audience', without('aud'), 'token: the claim "aud" is missing or wrong'],
    ['for another audience', { ...good, aud: ['mqtt2'] }, 'token: the claim "aud" is missing or wrong'],
    ['of nobody', without('sub'), 'token: the user is no name'],
    ['of an empty name', { ...good, sub: '' }, 'token: the user is no name'],
    ['of a number', { ...good, sub: 1 }, 'token: the user is no name'],
    ['of two lines', { ...good, sub: 'a\nb' }, 'token: the user is no name'],
    ['with groups that are none', { ...good, groups: 'g' }, 'token: the groups are no list of names'],
    [
      'with a tenant that is none',
      { ...good, org: null },
      'token: the tenant is no name: 1 to 64 letters, digits, ".", "_" and "-"',
    ],
    ['with permissions that are none', { ...good, mqtt: {} }, 'token: the permissions are no list of up to 200 rules'],
    [
      'with an effect that is none',
      { ...good, mqtt: [{ effect: 'Allow', actions: ['publish'], topics: ['#'] }] },
      'token: rule 1 of the permissions is none',
    ],
    [
      'with an action that is none',
      { ...good, mqtt: [{ effect: 'allow', actions: ['pub'], topics: ['#'] }] },
      'token: rule 1 of the permissions is none',
    ],
    [
      'with a topic that is none',
      { ...good, mqtt: [{ effect: 'deny', actions: ['publish'], topics: ['a#'] }] },
      'token: rule 1 of the permissions is none',
    ],
    [
      'with a rule that says more',
      { ...good, mqtt: [{ effect: 'allow', actions: ['publish'], topics: ['#'], qos: 0 }] },
      'token: rule 1 of the permissions is none',
    ],
  ] as const)
    test(name, async () => {
      expect(await check(await sign(pairs.ed.privateKey, 'EdDSA', payload), settings([keyOf('ed')]))).toBe(wanted)
    })

  test('changed, or cut', async () => {
    const token = await sign(pairs.ed.privateKey, 'EdDSA')
    const [header, payload, signature] = token.split('.')
    const other = Buffer.from(JSON.stringify({ ...good, sub: 'admin' })).toString('base64url')
    const given = settings([keyOf('ed')])
    expect(await check(`${header}.${other}.${signature}`, given)).toBe('token: the signature is wrong')
    expect(await check(`${header}.${payload}.`, given)).toBe('token: the signature is wrong')
    expect(await check(`${header}..${signature}`, given)).toMatch(/^token: /)
    expect(await check(`${token}x${'x'.repeat(20_000)}`, given)).toBe('a token that is too long')
  })

  test('with an extension that must be known', async () => {
    const key = pairs.ed.privateKey
    const token = await new SignJWT(good)
      .setProtectedHeader({ alg: 'EdDSA', crit: ['x'], x: 1 })
      .sign(key, { crit: { x: true } })
    expect(await check(token, settings([keyOf('ed')]))).toBe('token: ERR_JOSE_NOT_SUPPORTED')
  })

  const raw = (header: object, signed = ''): string => {
    const encoded = [header, good].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    const mac = signed && createHmac('sha256', signed).update(encoded).digest('base64url')
    return `${encoded}.${mac}`
  }
  for (const alg of ['none', 'None', 'nOnE', '', undefined])
    test(`alg ${alg}`, async () => {
      for (const key of [keyOf('rsa'), secretOf()])
        expect(await check(raw({ typ: 'JWT', alg }), settings([key]))).toMatch(/^token: /)
    })

  test('signed with a public key that is taken for a secret', async () => {
    const text = pem(pairs.rsa.publicKey)
    for (const secret of [text, text.trim(), text.replaceAll('\n', '')])
      for (const key of [keyOf('rsa'), keyOf('ed')])
        expect(await check(raw({ alg: 'HS256' }, secret), settings([key]))).toBe('token: no key of ours is for it')
  })

  test('with an algorithm that is not of the key', async () => {
    const token = await sign(pairs.p256.privateKey, 'ES256')
    expect(await check(token, settings([keyOf('p384'), keyOf('rsa'), secretOf()]))).toBe(
      'token: no key of ours is for it',
    )
    const pinned = settings([keyOf('rsa', { alg: 'RS512' })])
    expect(await check(await sign(pairs.rsa.privateKey, 'RS256'), pinned)).toBe('token: no key of ours is for it')
    expect(await check(await sign(pairs.rsa.privateKey, 'PS256'), settings([keyOf('rsa')]))).toBe(
      'token: no key of ours is for it',
    )
  })

  test('with a key of its own in the header', async () => {
    const own = generateKeyPairSync('ed25519')
    const jwk = await exportJWK(own.publicKey)
    const token = await sign(own.privateKey, 'EdDSA', good, { jwk })
    expect(await check(token, settings([keyOf('ed')]))).toBe('token: the signature is wrong')
  })
})

test('what is no token is for somebody else', async () => {
  const authenticator = new JwtAuthenticator(settings([secretOf()]), () => new Date(0))
  for (const password of ['', 'secret', 'eyJ', 'eyJ.a', 'a.b.c', 'eyJ.a.b.c', 'eyJ a.b.c', 'eyJä.b.c'])
    expect(await authenticator.authenticate(shows('anna', password))).toBe('not-mine')
  expect(await authenticator.authenticate(shows('anna'))).toBe('not-mine')
  expect(await authenticator.authenticate(shows('anna', 'eyJ.a.b'))).toMatchObject({
    denied: expect.stringMatching(/^token: /) as string,
  })
})

test('without the library nobody is let in by a token, others are, and nothing is left unhandled', async () => {
  const unhandled: unknown[] = []
  const note = (fault: unknown): void => void unhandled.push(fault)
  process.on('unhandledRejection', note)
  try {
    const gone = (): Promise<never> => Promise.reject(new Error('no such package'))
    const authenticator = new JwtAuthenticator(settings([secretOf()]), () => new Date(0), gone)
    // By now whoever looks for what nobody has handled has looked.
    await new Promise((resolve) => void setImmediate(resolve))
    const chain = new Chain([authenticator], checkOf(new CountingHasher()))
    for (let times = 0; times < 2; times++)
      await expect(authenticator.authenticate(shows('anna', 'eyJ.a.b'))).rejects.toThrow(NoTokenLibraryError)
    expect(await chain.authenticate(shows('anna', 'eyJ.a.b'))).toMatchObject({
      denied: 'it cannot be checked: the library that checks tokens cannot be loaded',
      busy: true,
      by: 'jwt',
    })
    expect(await authenticator.authenticate(shows('anna', 'secret'))).toBe('not-mine')
    await new Promise((resolve) => void setImmediate(resolve))
  } finally {
    process.off('unhandledRejection', note)
  }
  expect(unhandled).toEqual([])
})

describe('keys', () => {
  const ed = publicJwk(pem(pairs.ed.publicKey))
  test('a JWKS: the usable ones', () => {
    const text = JSON.stringify({
      keys: [
        ed,
        { ...ed, use: 'enc' },
        { kty: 'EC', crv: 'secp256k1', x: 'a', y: 'b' },
        { kty: 'new' },
        { ...ed, alg: 'RS256' },
      ],
    })
    expect(parseJwks(text)).toMatchObject([{ algorithms: ['EdDSA', 'Ed25519'], kid: undefined }])
  })

  const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
  for (const [name, text, wanted] of [
    ['no JSON', 'planted', 'is no JSON'],
    ['null', 'null', 'is no JWKS: an object with a list named keys'],
    ['one key', JSON.stringify(ed), 'is no JWKS: an object with a list named keys'],
    ['nothing usable', '{"keys":[]}', 'has no key that tokens can be checked with'],
    [
      'a private key',
      JSON.stringify({ keys: [ed, pairs.ed.privateKey.export({ format: 'jwk' })] }),
      'key 2 is a private key: whoever checks tokens needs the public one only',
    ],
    [
      'a small key',
      JSON.stringify({ keys: [small.export({ format: 'jwk' })] }),
      'key 1 is an RSA key of less than 2048 bits',
    ],
    [
      'a short secret',
      JSON.stringify({ keys: [{ kty: 'oct', k: 'cGxhbnRlZA' }] }),
      'key 1 is a secret of less than 32 bytes',
    ],
    ['half a key', '{"keys":[{"kty":"EC","crv":"P-256","x":"a"}]}', 'key 1 is no key of the type EC'],
    ['no key', '{"keys":[1]}', 'key 1 is none'],
    ['too many', JSON.stringify({ keys: Array.from({ length: 65 }, () => ed) }), 'has more than 64 keys'],
  ] as const)
    test(name, () => expect(parseJwks(text)).toBe(wanted))

  test('a public key is never taken for a secret', () => {
    const der = pairs.rsa.publicKey.export({ type: 'spki', format: 'der' }).toString('latin1')
    for (const text of [
      pem(pairs.rsa.publicKey),
      pem(pairs.ed.publicKey).replaceAll('\n', ''),
      JSON.stringify(ed),
      'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ',
      der,
      `\ufeff${pem(pairs.ed.publicKey)}`,
    ])
      expect(secretKey(text)).toBe('is no secret of printable characters in one line')
    expect(secretKey('planted')).toBe('is a secret of less than 32 bytes')
    expect(usable(secretKey('x'.repeat(32))).algorithms).toEqual(['HS256'])
    expect(usable(secretKey('x'.repeat(48))).algorithms).toEqual(['HS256', 'HS384'])
  })

  test('PEM: a public key; never a private one', () => {
    expect(() => publicJwk(pairs.rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)).toThrow(
      'holds a private key: name the public one',
    )
    expect(() => publicJwk('-----BEGIN PUBLIC KEY-----\nplanted\n-----END PUBLIC KEY-----')).toThrow(
      /^holds no public key$/,
    )
    expect(() => publicJwk({ kty: 'EC', crv: 'P-256', x: 'a', y: 'b' })).toThrow(/^holds no public key$/)
  })
})
