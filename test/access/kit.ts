import { BusyError, type PasswordHasher, type PasswordWork } from '../../src/host.ts'
import type { Credentials } from '../../src/access/identity.ts'
import { PasswordCheck } from '../../src/access/passwords.ts'
import { digests } from '../../src/platform/digests.ts'
import { blockingHasher } from '../../src/platform/password-work.ts'
import { SeededRandom } from '../support/random.ts'

/** Computes real hashes, and writes down what each has cost. */
export class CountingHasher implements PasswordHasher {
  readonly costs: string[] = []
  busy = false

  hash(work: PasswordWork): Promise<Uint8Array> {
    if (this.busy) return Promise.reject(new BusyError('too many'))
    this.costs.push(costOf(work))
    return blockingHasher.hash(work)
  }

  /** What has been paid since somebody asked last. */
  take(): string[] {
    return this.costs.splice(0)
  }
}

function costOf(work: PasswordWork): string {
  const sizes = `password ${work.password.length} salt ${work.salt.length}`
  if (work.kind === 'argon2id') return `argon2id ${work.memoryKiB} ${work.passes} ${work.lanes} ${work.bytes} ${sizes}`
  return work.kind === 'pbkdf2' ? `${work.digest} ${work.iterations} ${work.bytes} ${sizes}` : `sha512 ${sizes}`
}

export function checkOf(hasher: PasswordHasher, most?: number): PasswordCheck {
  return new PasswordCheck(hasher, digests, new SeededRandom(1), most)
}

export function shows(username?: string, password?: string, more: Partial<Credentials> = {}): Credentials {
  return {
    clientId: 'c1',
    username,
    password: password === undefined ? undefined : Buffer.from(password),
    remote: '192.0.2.7:4711',
    protocol: 'tcp',
    ...more,
  }
}
