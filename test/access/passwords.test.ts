import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Chain } from '../../src/access/chain.ts'
import type { Authenticator } from '../../src/access/identity.ts'
import { type LineFault, parseMosquittoPasswords } from '../../src/access/mosquitto-passwords.ts'
import { hashPassword, parseHash, type PasswordHash } from '../../src/access/password-hash.ts'
import { PasswordAuthenticator, PasswordBook } from '../../src/access/passwords.ts'
import { blockingHasher } from '../../src/platform/password-work.ts'
import { SeededRandom } from '../support/random.ts'
import { checkOf, CountingHasher, shows } from './kit.ts'

// Written by mosquitto_passwd 2.0.11, -H sha512 and -H sha512-pbkdf2, with these passwords.
const passwords = ['secret', 'a', 'pä$$wörd 日本', 'with:colon', ' spaces around ', 'x'.repeat(200)]

function mosquitto(kind: 'sha512' | 'pbkdf2'): PasswordBook {
  const faults: LineFault[] = []
  const users = parseMosquittoPasswords(readFileSync(`test/access/mosquitto-${kind}.txt`, 'utf8'), faults)
  expect(faults).toEqual([])
  return new PasswordBook(users)
}

function hashOf(text: string): PasswordHash {
  const hash = parseHash(text)
  if (typeof hash === 'string') throw new Error(hash)
  return hash
}

const salt = 'c29tZXNhbHQ'
// Of the reference implementation's tests: "password", "somesalt".
const argon2id = `$argon2id$v=19$m=256,t=2,p=1$${salt}$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4`

describe('files of the real mosquitto_passwd', () => {
  for (const kind of ['sha512', 'pbkdf2'] as const)
    for (const [at, password] of passwords.entries())
      test(`${kind}: ${password.slice(0, 20)}`, async () => {
        const check = checkOf(blockingHasher)
        const hash = mosquitto(kind).get(`u${at + 1}`)!.password
        expect(hash.weak).toBe(true)
        expect(await check.matches(hash, Buffer.from(password))).toBe(true)
        expect(await check.matches(hash, Buffer.from(`${password} `))).toBe(false)
        expect(await check.matches(hash, Buffer.from(''))).toBe(false)
      })
})

describe('argon2id', () => {
  test('a hash that others have made', async () => {
    const check = checkOf(blockingHasher)
    expect(await check.matches(hashOf(argon2id), Buffer.from('password'))).toBe(true)
    expect(await check.matches(hashOf(argon2id), Buffer.from('Password'))).toBe(false)
  })

  test('our own', async () => {
    const text = await hashPassword(blockingHasher, new SeededRandom(3), Buffer.from('pä ss'))
    expect(text).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
    const hash = hashOf(text)
    expect(hash.weak).toBe(false)
    expect(await checkOf(blockingHasher).matches(hash, Buffer.from('pä ss'))).toBe(true)
    expect(await hashPassword(blockingHasher, new SeededRandom(4), Buffer.from('pä ss'))).not.toBe(text)
  })
})

const hash64 = Buffer.alloc(64, 7).toString('base64')
describe('what is no hash is refused, and not shown', () => {
  for (const [text, why] of [
    ['', 'no hash of a password'],
    ['secret', 'no hash of a password'],
    ['pbkdf2$secret$1$2', 'no hash of a password'],
    ['$9$secret$1', 'a kind that is not known'],
    ['$2b$12$secretsecretsecret', 'a kind that is not known'],
    ['$argon2i$v=19$m=256,t=2,p=1$secret$secret', 'a kind that is not known'],
    [argon2id.replace('v=19', 'v=16'), 'no argon2id'],
    [argon2id.replace('m=256', 'm=7'), 'out of range'],
    [argon2id.replace('m=256', 'm=9999999'), 'out of range'],
    [argon2id.replace('p=1', 'p=0'), 'out of range'],
    [argon2id.replace('t=2', 't=101'), 'out of range'],
    [argon2id.replace(salt, 'c2FsdA'), 'no argon2id'],
    [argon2id.replace(salt, '!secret!'), 'no argon2id'],
    [`${argon2id}$x`, 'no argon2id'],
    [argon2id.slice(0, 50), 'no argon2id'],
    [`$7$0$c2FsdA==$${hash64}`, 'no hash of the kind $7$'],
    [`$7$1e3$c2FsdA==$${hash64}`, 'no hash of the kind $7$'],
    [`$7$99999999$c2FsdA==$${hash64}`, 'more than'],
    [`$7$101$c2FsdA==$c2VjcmV0`, 'no hash of the kind $7$'],
    [`$7$101$c2Fs!A==$${hash64}`, 'no hash of the kind $7$'],
    [`$7$101$$${hash64}`, 'no hash of the kind $7$'],
    [`$6$c2FsdA==$c2VjcmV0`, 'no hash of the kind $6$'],
    [`$6$c2FsdB==$${hash64}`, 'no hash of the kind $6$'],
  ] as const)
    test(text.slice(0, 60), () => {
      const fault = parseHash(text)
      expect(fault).toContain(why)
      expect(fault).not.toMatch(/secret|c2FsdA|c2VjcmV0/)
    })
})

test('a password_file as Mosquitto reads it, and what it would leave out', () => {
  const hash = readFileSync('test/access/mosquitto-pbkdf2.txt', 'utf8').split('\n')[0]!.slice(3)
  const faults: LineFault[] = []
  const text = [
    `# comment:${hash}`,
    '',
    `plain:${hash}`,
    ` blanks :  ${hash}  `,
    `crlf:${hash}\r`,
    'planted-secret',
    'bob:planted-secret',
    `plain:${hash}`,
    `:${hash}`,
    `a\tb:${hash}`,
    `__proto__:${hash}`,
    'empty:',
  ].join('\n')
  const users = parseMosquittoPasswords(text, faults)
  expect([...users.keys()]).toEqual(['plain', 'blanks', 'crlf', '__proto__'])
  for (const { password } of users.values()) expect(password.text).toBe(hash)
  expect(faults).toEqual([
    { line: 6, message: 'no ":" between a name and a hash' },
    { line: 7, message: 'what "bob" has is no hash of a password' },
    { line: 8, message: '"plain" stands further up already' },
    { line: 9, message: 'no name before ":", or one that MQTT does not allow' },
    { line: 10, message: 'no name before ":", or one that MQTT does not allow' },
    { line: 12, message: 'what "empty" has is no hash of a password' },
  ])
})

describe('what was right is remembered', () => {
  const hash = mosquitto('pbkdf2').get('u1')!.password

  test('the right password costs a hash once, a wrong one each time', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    for (let i = 0; i < 5; i++) expect(await check.matches(hash, Buffer.from('secret'))).toBe(true)
    expect(hasher.take().length).toBe(1)
    for (let i = 0; i < 5; i++) expect(await check.matches(hash, Buffer.from('Secret'))).toBe(false)
    expect(hasher.take().length).toBe(5)
    expect(check.remembered).toBe(1)
  })

  test('a hundred that come at a time cost one', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    await Promise.all(Array.from({ length: 100 }, () => check.matches(hash, Buffer.from('secret'))))
    expect(hasher.take().length).toBe(1)
  })

  test('another hash of the same password is another pair', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    await check.matches(hash, Buffer.from('secret'))
    expect(await check.matches(mosquitto('sha512').get('u1')!.password, Buffer.from('secret'))).toBe(true)
    expect(await check.matches(mosquitto('sha512').get('u2')!.password, Buffer.from('secret'))).toBe(false)
    expect(hasher.take().length).toBe(3)
  })

  test('only so many, and the last used stay', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher, 2)
    const book = mosquitto('sha512')
    const right = (at: number) => check.matches(book.get(`u${at + 1}`)!.password, Buffer.from(passwords[at]!))
    for (const at of [0, 1, 0, 2]) await right(at)
    expect(check.remembered).toBe(2)
    hasher.take()
    await right(0)
    expect(hasher.take().length).toBe(0)
    await right(1)
    expect(hasher.take().length).toBe(1)
  })

  test('a fault is not remembered', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    hasher.busy = true
    await expect(check.matches(hash, Buffer.from('secret'))).rejects.toThrow('too many')
    hasher.busy = false
    expect(await check.matches(hash, Buffer.from('secret'))).toBe(true)
  })
})

const notMine: Authenticator = { source: 'jwt', authenticate: () => 'not-mine' }

describe('the chain', () => {
  function chainOf(hasher: CountingHasher, ...more: Authenticator[]): Chain {
    const check = checkOf(hasher)
    const users = new PasswordBook([['anna', { password: hashOf(argon2id), tenant: 't1', groups: ['g'] }]])
    return new Chain(
      [
        notMine,
        new PasswordAuthenticator('users', users, check),
        new PasswordAuthenticator('mosquitto', mosquitto('pbkdf2'), check),
        ...more,
      ],
      check,
    )
  }

  for (const [name, credentials, wanted] of [
    [
      'the first file',
      shows('anna', 'password'),
      { identity: { user: 'anna', source: 'users', tenant: 't1', groups: ['g'] } },
    ],
    ['the second file', shows('u2', 'a'), { identity: { user: 'u2', source: 'mosquitto' } }],
    ['a wrong password', shows('anna', 'X'), { denied: 'wrong password', by: 'users' }],
    ['nobody', shows('berta', 'x'), { denied: 'unknown user', by: undefined }],
    ['no password', shows('anna'), { denied: 'no password', by: undefined }],
    ['no name', shows(), { denied: 'nothing to say who it is', by: undefined }],
    ['a password alone', shows(undefined, 'x'), { denied: 'nothing to say who it is', by: undefined }],
    ['__proto__', shows('__proto__', 'x'), { denied: 'unknown user', by: undefined }],
    ['constructor', shows('constructor', 'x'), { denied: 'unknown user', by: undefined }],
    ['an empty name', shows('', 'x'), { denied: 'unknown user', by: undefined }],
  ] as const)
    test(name, async () => expect(await chainOf(new CountingHasher()).authenticate(credentials)).toEqual(wanted))

  test('who is known to two is judged by the first alone', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    const first = new PasswordBook([['u1', { password: hashOf(argon2id) }]])
    const chain = new Chain(
      [
        new PasswordAuthenticator('users', first, check),
        new PasswordAuthenticator('mosquitto', mosquitto('pbkdf2'), check),
      ],
      check,
    )
    expect(await chain.authenticate(shows('u1', 'secret'))).toEqual({ denied: 'wrong password', by: 'users' })
  })

  test('a throw denies, but is no failure; and whoever is busy says so', async () => {
    const throwing: Authenticator = {
      source: 'http',
      authenticate: () => {
        throw new Error('no answer')
      },
    }
    expect(await chainOf(new CountingHasher(), throwing).authenticate(shows('berta', 'x'))).toEqual({
      denied: 'it cannot be checked: no answer',
      busy: true,
      by: 'http',
    })
    const hasher = new CountingHasher()
    hasher.busy = true
    const chain = chainOf(hasher)
    expect(await chain.authenticate(shows('anna', 'x'))).toEqual({ denied: 'too many', busy: true, by: 'users' })
    expect(await chain.authenticate(shows('berta', 'x'))).toEqual({ denied: 'too many', busy: true, by: undefined })
  })

  test('nobody to ask lets nobody in', async () => {
    const chain = new Chain([], checkOf(new CountingHasher()))
    expect(await chain.authenticate(shows('anna', 'x'))).toEqual({ denied: 'unknown user', by: undefined })
  })
})

describe('row 16: an unknown user costs what a known one costs', () => {
  test('with hashes of one kind: the same work, to the byte', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    const chain = new Chain([new PasswordAuthenticator('mosquitto', mosquitto('pbkdf2'), check)], check)
    const costs = new Set<string>()
    for (const name of ['u1', 'u2', 'nobody', 'x', 'ü', 'u1 ']) {
      await chain.authenticate(shows(name, 'wrong'))
      const paid = hasher.take()
      expect(paid.length).toBe(1)
      costs.add(paid[0]!)
    }
    expect([...costs]).toEqual(['sha512 101 64 password 5 salt 12'])
  })

  test('with hashes of many kinds: unknown names cost as often what each of them costs', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    const users = new PasswordBook([['anna', { password: hashOf(argon2id.replace('m=256,t=2', 'm=8,t=1')) }]])
    const chain = new Chain(
      [
        new PasswordAuthenticator('users', users, check),
        new PasswordAuthenticator('mosquitto', mosquitto('pbkdf2'), check),
      ],
      check,
    )
    let ofUsers = 0
    for (let i = 0; i < 1400; i++) {
      await chain.authenticate(shows(`n${i}`, 'wrong'))
      const [paid, ...more] = hasher.take()
      expect(more).toEqual([])
      if (paid === 'argon2id 8 1 1 32 password 5 salt 8') ofUsers++
      else expect(paid).toBe('sha512 101 64 password 5 salt 12')
    }
    // One in seven: 200, and five times the deviation on either side.
    expect(ofUsers).toBeGreaterThan(135)
    expect(ofUsers).toBeLessThan(265)
  })

  test('one name costs the same each time, and many at once the same as for a known one', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    const chain = new Chain([new PasswordAuthenticator('mosquitto', mosquitto('pbkdf2'), check)], check)
    const many = async (name: string): Promise<number> => {
      await Promise.all(Array.from({ length: 10 }, () => chain.authenticate(shows(name, 'wrong'))))
      return hasher.take().length
    }
    expect(await many('nobody')).toBe(await many('u1'))
  })

  test('without a password nobody pays', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    const chain = new Chain([new PasswordAuthenticator('mosquitto', mosquitto('pbkdf2'), check)], check)
    for (const name of ['u1', 'nobody']) await chain.authenticate(shows(name))
    expect(hasher.take()).toEqual([])
  })

  test('an empty file: what a new password costs', async () => {
    const hasher = new CountingHasher()
    const check = checkOf(hasher)
    const chain = new Chain([new PasswordAuthenticator('users', new PasswordBook(), check)], check)
    await chain.authenticate(shows('nobody', 'wrong'))
    expect(hasher.take()).toEqual(['argon2id 19456 2 1 32 password 5 salt 16'])
  })
})

test('what was proved with a weak hash is told to who keeps the file', async () => {
  const told: string[] = []
  const check = checkOf(new CountingHasher())
  const authenticator = new PasswordAuthenticator('users', mosquitto('sha512'), check, (name, hash, password) =>
    told.push(`${name} ${hash.weak} ${Buffer.from(password).toString()}`),
  )
  await authenticator.authenticate(shows('u1', 'wrong'))
  await authenticator.authenticate(shows('u1', 'secret'))
  expect(told).toEqual(['u1 true secret'])
})
