import { join, resolve } from 'node:path'
import type { Bytes, Random } from '../host.ts'
import { claimFile, ClusterIdentityError, readSecret } from './secret-files.ts'

const keyBytes = 32

/**
 * A secret of the data folder, made where there is none: of it are the salts that unknown users are shown, which must not change at
 * a restart, or they would tell who is unknown.
 * @throws ClusterIdentityError, which names the file
 */
export function openDecoyKey(data: string, random: Random): Bytes {
  const file = join(resolve(data), 'decoy-key')
  let text = readSecret(file)
  if (text === undefined) {
    text = Buffer.from(random.bytes(keyBytes)).toString('hex')
    claimFile(file, text)
  }
  const key = Buffer.from(text, 'hex')
  if (key.length !== keyBytes)
    throw new ClusterIdentityError(`${file} is damaged: delete it, and the next start makes one`)
  return key
}
