import { describe, expect, test } from 'vitest'
import { makeVerifier, parseVerifier, ScramExchange, ScramUsers, type ScramVerifier } from '../../src/access/scram.ts'
import { digests } from '../../src/platform/digests.ts'
import { blockingHasher, hashNow } from '../../src/platform/password-work.ts'
import { SeededRandom } from '../support/random.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text)
const text = (data: Uint8Array): string => Buffer.from(data).toString()

function verifierOf(text: string): ScramVerifier {
  const verifier = parseVerifier(text)
  if (typeof verifier === 'string') throw new Error(verifier)
  return verifier
}

// RFC 7677, section 3.
const rfc = {
  salt: 'W22ZaJ0SNY7soEsUEjb6gQ==',
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  nonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
}

/** The keys as RFC 5802 has them, computed here once more. */
function keysOf(password: string, salt: Uint8Array, iterations: number) {
  const work = { digest: 'sha256', password: bytes(password), salt, iterations, bytes: 32 } as const
  const salted = hashNow({ kind: 'pbkdf2', ...work })
  const clientKey = digests.hmacSha256(salted, bytes('Client Key'))
  const serverKey = digests.hmacSha256(salted, bytes('Server Key'))
  return { clientKey, storedKey: digests.sha256(clientKey), serverKey }
}

const salt = Buffer.from(rfc.salt, 'base64')
const pencil = { iterations: 4096, salt, ...keysOf('pencil', salt, 4096) }
const users = new ScramUsers(
  new Map([
    ['user', { scram: pencil, tenant: 't', groups: ['g'] }],
    ['a,b=c', { scram: pencil }],
  ]),
  digests,
  Buffer.alloc(32, 5),
)
const exchange = (nonce = rfc.nonce): ScramExchange => new ScramExchange(users, digests, nonce)

test('the exchange of RFC 7677', () => {
  const scram = exchange()
  const first = scram.first(bytes(rfc.clientFirst))
  if ('denied' in first) throw new Error(first.denied)
  expect(text(first.data)).toBe(rfc.serverFirst)
  const final = scram.final(bytes(rfc.clientFinal))
  if ('denied' in final) throw new Error(final.denied)
  expect(text(final.data)).toBe(rfc.serverFinal)
  expect(final.identity).toEqual({ user: 'user', source: 'scram', tenant: 't', groups: ['g'] })
  // Once is enough.
  expect(scram.final(bytes(rfc.clientFinal))).toEqual({ denied: 'SCRAM: nothing has begun' })
})

/** A client that follows RFC 5802. */
function logIn(
  server: ScramExchange,
  { name = 'user', password = 'pencil', header = 'n,,', change = (final: string) => final },
): string {
  const bare = `n=${name},r=clientnonce`
  const first = server.first(bytes(header + bare))
  if ('denied' in first) return first.denied
  const [, nonce, saltText, iterations] = /^r=(.*),s=(.*),i=(.*)$/.exec(text(first.data))!
  const { clientKey, storedKey, serverKey } = keysOf(password, Buffer.from(saltText!, 'base64'), Number(iterations))
  const binding = Buffer.from(header).toString('base64')
  const withoutProof = `c=${binding},r=${nonce}`
  const signed = bytes(`${bare},${text(first.data)},${withoutProof}`)
  const mask = digests.hmacSha256(storedKey, signed)
  const proof = Buffer.from(clientKey.map((byte, at) => byte ^ mask[at]!)).toString('base64')
  const final = server.final(bytes(change(`${withoutProof},p=${proof}`)))
  if ('denied' in final) return final.denied
  const signature = Buffer.from(digests.hmacSha256(serverKey, signed)).toString('base64')
  expect(text(final.data)).toBe(`v=${signature}`)
  return `welcome ${final.identity.user}`
}

describe('a client', () => {
  for (const [name, given, wanted] of [
    ['with the right password', {}, 'welcome user'],
    ['that could bind a channel', { header: 'y,,' }, 'welcome user'],
    ['with a name that is escaped', { name: 'a=2Cb=3Dc' }, 'welcome a,b=c'],
    ['with a wrong password', { password: 'Pencil' }, 'wrong password'],
    ['that nobody knows', { name: 'nobody' }, 'unknown user'],
    ['__proto__', { name: '__proto__' }, 'unknown user'],
    [
      'with another nonce',
      { change: (final: string) => final.replace('clientnonce', 'clientnoncf') },
      'SCRAM: the nonce is not the one that was given',
    ],
    [
      'whose header was changed on the way',
      { change: (final: string) => final.replace('biws', 'eSws') },
      'SCRAM: the channel binding has changed',
    ],
    ['without a proof', { change: (final: string) => final.replace(/,p=.*/, '') }, 'SCRAM: client-final has no proof'],
    [
      'with half a proof',
      { change: (final: string) => final.replace(/,p=.*/, ',p=AAAA') },
      'SCRAM: client-final has no proof',
    ],
    [
      'with a proof of nothing',
      { change: (final: string) => final.replace(/,p=.*/, `,p=${Buffer.alloc(32).toString('base64')}`) },
      'wrong password',
    ],
    [
      'with an extension that its proof does not cover',
      { change: (final: string) => final.replace(',p=', ',x=1,p=') },
      'wrong password',
    ],
    ['that wants its channel bound', { header: 'p=tls-exporter,,' }, 'SCRAM: channel binding is not known here'],
    ['that acts for another', { header: 'n,a=admin,' }, 'SCRAM: an authorization identity is not known here'],
    ['without a header', { header: '' }, 'SCRAM: client-first has no header'],
    ['with a bad escape', { name: 'a=b' }, 'SCRAM: the user name is none'],
    ['with a bad escape at the end', { name: 'a=2' }, 'SCRAM: the user name is none'],
    ['without a name', { name: '' }, 'SCRAM: the user name is none'],
    ['with a line in its name', { name: 'a\nb' }, 'SCRAM: the user name is none'],
    ['with a name that is very long', { name: 'a'.repeat(3000) }, 'SCRAM: client-first is no text, or too long'],
  ] as const)
    test(name, () => expect(logIn(exchange('servernonce'), given)).toBe(wanted))

  for (const message of [
    '',
    'n',
    'n,',
    'n,,',
    'n,,n=user',
    'n,,n=user,r=',
    'n,,r=clientnonce,n=user',
    'n,,m=x,n=user,r=clientnonce',
    'n,,n=user,r=short',
    'n,,n=user,r=client nonce',
    'x,,n=user,r=clientnonce',
  ])
    test(`begins with "${message}"`, () =>
      expect(exchange().first(bytes(message))).toMatchObject({ denied: expect.stringMatching(/^SCRAM: /) as string }))

  test('no UTF-8', () => expect(exchange().first(Uint8Array.of(0x6e, 0x2c, 0x2c, 0xff))).toHaveProperty('denied'))
  test('extensions of client-first that need not be known', () => {
    expect(exchange().first(bytes('n,,n=user,r=clientnonce,x=1'))).toHaveProperty('data')
  })
  test('random bytes, at either step', () => {
    const random = new SeededRandom(7)
    for (let i = 0; i < 5000; i++) {
      const noise = random.bytes(random.below(60))
      expect(exchange().first(noise)).toHaveProperty('denied')
      const begun = exchange()
      begun.first(bytes(rfc.clientFirst))
      expect(begun.final(noise)).toHaveProperty('denied')
    }
  })
})

test('an unknown user gets a salt like the others, and always the same one', () => {
  const ask = (name: string, nonce: string): string => {
    const first = exchange(nonce).first(bytes(`n,,n=${name},r=clientnonce`))
    if ('denied' in first) throw new Error(first.denied)
    return text(first.data).replace(nonce, '')
  }
  const shape = /^r=clientnonce,s=[A-Za-z0-9+/]{22}==,i=4096$/
  for (const name of ['user', 'nobody']) {
    expect(ask(name, 'one')).toMatch(shape)
    expect(ask(name, 'one')).toBe(ask(name, 'two'))
  }
  expect(ask('nobody', 'one')).not.toBe(ask('somebody', 'one'))
})

test('work of one log-in: the same for a known and an unknown user', () => {
  const count = (name: string): number => {
    let calls = 0
    const counting = {
      sha256: (data: Uint8Array) => (calls++, digests.sha256(data)),
      hmacSha256: (key: Uint8Array, data: Uint8Array) => (calls++, digests.hmacSha256(key, data)),
      same: (a: Uint8Array, b: Uint8Array) => (calls++, digests.same(a, b)),
    }
    logIn(new ScramExchange(users, counting, 'servernonce'), { name, password: 'wrong' })
    return calls
  }
  expect(count('nobody')).toBe(count('user'))
})

describe('what is kept', () => {
  test('of a new password', async () => {
    const random = new SeededRandom(1)
    const kept = (await makeVerifier(blockingHasher, digests, random, 'pencil'))!
    expect(kept).toMatch(/^SCRAM-SHA-256\$4096:[^:$]{24}\$[^:$]{44}:[^:$]{44}$/)
    const { salt, ...keys } = verifierOf(kept)
    expect(keys).toMatchObject({ iterations: 4096, storedKey: keysOf('pencil', salt, 4096).storedKey })
  })

  // RFC 4013, section 3, and keyboards that differ.
  for (const [a, b] of [
    ['I\u00adX', 'IX'],
    ['\u00aa', 'a'],
    ['\u2168', 'IX'],
    ['u\u0308', 'ü'],
    ['a\u00a0b', 'a b'],
  ] as const)
    test(`${JSON.stringify(a)} is ${b}`, async () => {
      const make = (password: string) => makeVerifier(blockingHasher, digests, new SeededRandom(1), password)
      expect(await make(a)).toBe(await make(b))
    })
  for (const password of ['', '\u0007', 'a\u200eb', '\ue000', '\u00ad'])
    test(`${JSON.stringify(password)} is none`, async () => {
      expect(await makeVerifier(blockingHasher, digests, new SeededRandom(1), password)).toBeUndefined()
    })

  const key = Buffer.alloc(32, 1).toString('base64')
  for (const wrong of [
    '',
    'planted',
    `SCRAM-SHA-1$4096:${rfc.salt}$${key}:${key}`,
    `SCRAM-SHA-256$4095:${rfc.salt}$${key}:${key}`,
    `SCRAM-SHA-256$9999999:${rfc.salt}$${key}:${key}`,
    `SCRAM-SHA-256$4096:AAAA$${key}:${key}`,
    `SCRAM-SHA-256$4096:${rfc.salt}$${key}:planted`,
    `SCRAM-SHA-256$4096:${rfc.salt}$${key}:${key}:${key}`,
  ])
    test(`no verifier: ${wrong.slice(0, 40)}`, () => {
      expect(parseVerifier(wrong)).toMatch(/^is (no|a) SCRAM verifier/)
      expect(parseVerifier(wrong)).not.toMatch(/planted|AQEB/)
    })
})
