import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { BusyError, type PasswordWork } from '../../src/host.ts'
import { PasswordPool, type PasswordPoolOptions } from '../../src/platform/password-pool.ts'
import { hashNow } from '../../src/platform/password-work.ts'
import { root } from '../support/program.ts'

const script = pathToFileURL(join(root, 'dist/platform/password-worker.js'))
const pools: PasswordPool[] = []
afterEach(() => Promise.all(pools.splice(0).map((pool) => pool.close())))

function poolOf(options: PasswordPoolOptions): PasswordPool {
  const pool = new PasswordPool({ script, ...options })
  pools.push(pool)
  return pool
}

const salt = Buffer.alloc(16, 1)
const argon2id = (text: string, lanes = 1): PasswordWork => {
  return { kind: 'argon2id', password: Buffer.from(text), salt, memoryKiB: 64, passes: 1, lanes, bytes: 32 }
}
const pbkdf2 = (text: string): PasswordWork => {
  return { kind: 'pbkdf2', digest: 'sha512', password: Buffer.from(text), salt, iterations: 101, bytes: 64 }
}
const sha512 = (text: string): PasswordWork => ({ kind: 'sha512', password: Buffer.from(text), salt })

test('threads compute what one thread would', async () => {
  const pool = poolOf({ threads: 2 })
  const works = Array.from({ length: 60 }, (_, at) => [argon2id, pbkdf2, sha512][at % 3]!(`password ${at}`))
  const hashes = await Promise.all(works.map((work) => pool.hash(work)))
  expect(hashes.map((hash) => Buffer.from(hash))).toEqual(works.map((work) => Buffer.from(hashNow(work))))
})

test('so many wait, and the next is refused and counted', async () => {
  const pool = poolOf({ threads: 1, waiting: 2 })
  const taken = [1, 2, 3].map((at) => pool.hash(sha512(`${at}`)))
  await expect(pool.hash(sha512('4'))).rejects.toThrow(BusyError)
  expect(pool.refused).toBe(1)
  expect((await Promise.all(taken)).length).toBe(3)
  expect((await pool.hash(sha512('5'))).length).toBe(64)
  expect(pool.refused).toBe(1)
})

test('a hash that cannot be fails alone', async () => {
  const pool = poolOf({ threads: 1 })
  const wrong = pool.hash(argon2id('x', 300))
  const right = pool.hash(argon2id('x'))
  await expect(wrong).rejects.toThrow()
  expect((await right).length).toBe(32)
})

test('a thread that ends fails its hash, and not the next', async () => {
  const broken = new PasswordPool({ threads: 1, script: new URL('data:text/javascript,process.exit(3)') })
  pools.push(broken)
  await expect(broken.hash(sha512('1'))).rejects.toThrow('has ended')
  await expect(broken.hash(sha512('2'))).rejects.toThrow('has ended')
})

test('close rejects what has not been computed, and what comes after', async () => {
  const pool = poolOf({ threads: 1 })
  const waiting = [1, 2, 3].map((at) => pool.hash(sha512(`${at}`)))
  const ends = Promise.allSettled(waiting)
  await pool.close()
  expect((await ends).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  await expect(pool.hash(sha512('4'))).rejects.toThrow('closed')
})
