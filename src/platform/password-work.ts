import { createHash, pbkdf2Sync } from 'node:crypto'
import { hashRawSync } from '@node-rs/argon2'
import type { Bytes, PasswordHasher, PasswordWork } from '../host.ts'

// Numbers of the library, whose own names for them are not there at run time.
const argon2id = 2
const version0x13 = 1

/** Computes a hash, and blocks the thread that it runs on. @throws when the parameters are none that there can be */
export function hashNow(work: PasswordWork): Bytes {
  switch (work.kind) {
    case 'argon2id':
      return hashRawSync(work.password, {
        algorithm: argon2id,
        version: version0x13,
        salt: work.salt,
        memoryCost: work.memoryKiB,
        timeCost: work.passes,
        parallelism: work.lanes,
        outputLen: work.bytes,
      })
    case 'pbkdf2':
      return pbkdf2Sync(work.password, work.salt, work.iterations, work.bytes, work.digest)
    case 'sha512':
      return createHash('sha512').update(work.password).update(work.salt).digest()
  }
}

/** For a command, which has nothing else to do meanwhile. A broker takes a `PasswordPool`. */
export const blockingHasher: PasswordHasher = { hash: (work) => new Promise((resolve) => resolve(hashNow(work))) }
