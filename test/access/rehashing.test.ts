import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseMosquittoPasswords } from '../../src/access/mosquitto-passwords.ts'
import { PasswordAuthenticator, PasswordBook } from '../../src/access/passwords.ts'
import { type NewHash, Rehashing } from '../../src/access/rehashing.ts'
import { parseUsers, withHashes } from '../../src/access/users-file.ts'
import type { Log } from '../../src/host.ts'
import { SeededRandom } from '../support/random.ts'
import { checkOf, CountingHasher, shows } from './kit.ts'

class World {
  readonly hasher = new CountingHasher()
  readonly warnings: object[] = []
  readonly saves: number[] = []
  readonly book = new PasswordBook(
    parseMosquittoPasswords(readFileSync('test/access/mosquitto-sha512.txt', 'utf8'), []),
  )
  readonly check = checkOf(this.hasher)
  fault: Error | undefined
  text = `# ours\nusers:\n${[1, 2, 3].map((at) => `  u${at}: { password: "${this.book.get(`u${at}`)!.password.text}", groups: [g] } # ${at}\n`).join('')}`
  readonly #log: Log = { debug() {}, info() {}, error() {}, warn: (fields) => this.warnings.push(fields) }
  readonly rehashing = new Rehashing(
    this.hasher,
    new SeededRandom(2),
    this.book,
    (hashes) => this.#save(hashes),
    this.#log,
  )

  #save(hashes: ReadonlyMap<string, NewHash>): Promise<void> {
    if (this.fault) return Promise.reject(this.fault)
    this.saves.push(hashes.size)
    this.text = withHashes(this.text, hashes) ?? this.text
    return Promise.resolve()
  }

  proved(user: string, password: string): Promise<void> {
    return this.rehashing.proved(user, this.book.get(user)!.password, Buffer.from(password))
  }
}

test('a weak hash becomes argon2id, in the file and in the book; all else stays', async () => {
  const world = new World()
  await world.proved('u1', 'secret')
  const password = parseUsers(world.text, []).get('u1')!.password!
  expect(password.weak).toBe(false)
  expect(await world.check.matches(password, Buffer.from('secret'))).toBe(true)
  expect(world.book.get('u1')!.password.text).toBe(password.text)
  expect(world.text).toContain('groups: [ g ] } # 1\n')
  expect(world.text.startsWith('# ours\nusers:\n')).toBe(true)
  // Once.
  world.hasher.take()
  await world.proved('u1', 'secret')
  expect(world.hasher.take()).toEqual([])
})

test('many at a time: one hash each, few writes', async () => {
  const world = new World()
  const passwords = ['secret', 'a', 'pä$$wörd 日本']
  await Promise.all([1, 2, 3, 1, 2, 3].map((at) => world.proved(`u${at}`, passwords[at - 1]!)))
  expect(world.hasher.take().length).toBe(3)
  expect(world.saves.length).toBeLessThan(3)
  expect([...parseUsers(world.text, []).values()].map(({ password }) => password!.weak)).toEqual([false, false, false])
})

test('a hash that somebody has changed meanwhile stays', async () => {
  const world = new World()
  const other = world.book.get('u2')!.password.text
  world.text = world.text.replace(world.book.get('u1')!.password.text, other)
  const before = world.text
  await world.proved('u1', 'secret')
  expect(world.text).toBe(before)
})

test('what cannot be written is said, without the password, and tried again', async () => {
  const world = new World()
  world.fault = new Error('read-only file system')
  await world.proved('u1', 'secret')
  expect(world.warnings).toEqual([{ user: 'u1', fault: 'read-only file system' }])
  expect(world.book.get('u1')!.password.weak).toBe(true)
  world.fault = undefined
  await world.proved('u1', 'secret')
  expect(world.book.get('u1')!.password.weak).toBe(false)
})

test('when too many wait it is left for another time, in silence', async () => {
  const world = new World()
  world.hasher.busy = true
  await world.proved('u1', 'secret')
  expect([world.warnings, world.saves]).toEqual([[], []])
})

test('after a log-in', async () => {
  const world = new World()
  let rehashed: Promise<void> | undefined
  const authenticator = new PasswordAuthenticator('users', world.book, world.check, (...proof) => {
    rehashed = world.rehashing.proved(...proof)
  })
  await authenticator.authenticate(shows('u1', 'secret'))
  await rehashed
  expect(await authenticator.authenticate(shows('u1', 'secret'))).toHaveProperty('identity')
  expect(await authenticator.authenticate(shows('u1', 'Secret'))).toEqual({ denied: 'wrong password' })
})

test('a file that has become unreadable is not written', () => {
  expect(withHashes('users: [', new Map([['u1', { old: 'a', new: 'b' }]]))).toBeUndefined()
})
