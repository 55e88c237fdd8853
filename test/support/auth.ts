import { createHash, createHmac, generateKeyPairSync, pbkdf2Sync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { hashPassword } from '../../src/access/password-hash.ts'
import { makeVerifier, scramMethod } from '../../src/access/scram.ts'
import { readTextFile } from '../../src/cli/read-file.ts'
import { type Config, loadConfig } from '../../src/config/config.ts'
import { digests } from '../../src/platform/digests.ts'
import { blockingHasher } from '../../src/platform/password-work.ts'
import { temporaryFolder } from './broker.ts'
import { SeededRandom } from './random.ts'
import type { RawClient } from './raw.ts'

const random = new SeededRandom(4)
const { publicKey, privateKey } = generateKeyPairSync('ed25519')

/** Files that say who may log in, and the configuration that names them. */
export class AuthFiles {
  readonly folder = temporaryFolder()

  write(name: string, text: string): string {
    const file = join(this.folder, name)
    writeFileSync(file, text, { mode: 0o600 })
    return file
  }

  /** Users by name: `password`, and `scram` for the password of a SCRAM verifier. */
  async users(
    users: Record<string, { password?: string; scram?: string; tenant?: string; groups?: string[] }>,
  ): Promise<void> {
    const entries = Object.entries(users).map(async ([name, { password, scram, ...more }]) => [
      name,
      {
        ...more,
        ...(password !== undefined && { password: await quickHash(password) }),
        ...(scram !== undefined && { scram: await makeVerifier(blockingHasher, digests, random, scram) }),
      },
    ])
    this.write('users.yaml', JSON.stringify({ users: Object.fromEntries(await Promise.all(entries)) as object }))
  }

  /** Reads a configuration; `text` is what stands in it. @throws ConfigError */
  config(text: string): Config {
    const config = this.write('godwit.yaml', text)
    return loadConfig({ flags: { config }, env: {}, readFile: readTextFile })
  }

  /** Its `auth` alone. */
  auth(text: string): Config['auth'] {
    return this.config(text).auth
  }
}

/** A hash that costs less than those that are for real. */
function quickHash(password: string): Promise<string> {
  const cheap = {
    hash: (work: Parameters<typeof blockingHasher.hash>[0]) => blockingHasher.hash({ ...work, ...quick }),
  }
  return hashPassword(cheap, random, Buffer.from(password)).then((text) =>
    text.replace(/m=[0-9]+,t=[0-9]+/, `m=${quick.memoryKiB},t=${quick.passes}`),
  )
}
const quick = { memoryKiB: 64, passes: 1 }

/** What the broker of `issuer: i, audience: a` and the public key below believes. */
export function token(payload: object, key = privateKey): Promise<string> {
  return new SignJWT({ iss: 'i', aud: 'a', sub: 'thing', ...payload }).setProtectedHeader({ alg: 'EdDSA' }).sign(key)
}
export const tokenKey = publicKey.export({ type: 'spki', format: 'pem' }) as string

/** The client's side of SCRAM-SHA-256 (RFC 5802), written from its text. */
export class ScramClient {
  readonly first: Buffer
  readonly #password: string
  readonly #bare: string
  #signature = ''

  constructor(user: string, password: string, nonce = 'rOprNGfwEbeRWgbNEkqO') {
    this.#password = password
    this.#bare = `n=${user},r=${nonce}`
    this.first = Buffer.from(`n,,${this.#bare}`)
  }

  /** client-final for this server-first. */
  final(serverFirst: Buffer): Buffer {
    const text = serverFirst.toString()
    const [, nonce = '', salt = '', iterations = ''] = /^r=(.*),s=(.*),i=(.*)$/.exec(text) ?? []
    const salted = pbkdf2Sync(this.#password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
    const mac = (key: Buffer, data: string) => createHmac('sha256', key).update(data).digest()
    const clientKey = mac(salted, 'Client Key')
    const stored = createHash('sha256').update(clientKey).digest()
    const withoutProof = `c=biws,r=${nonce}`
    const signed = `${this.#bare},${text},${withoutProof}`
    const mask = mac(stored, signed)
    this.#signature = mac(mac(salted, 'Server Key'), signed).toString('base64')
    return Buffer.from(
      `${withoutProof},p=${Buffer.from(clientKey.map((byte, at) => byte ^ mask[at]!)).toString('base64')}`,
    )
  }

  /** Does server-final prove that the server knows the verifier, too? */
  accepts(serverFinal: Buffer): boolean {
    return this.#signature !== '' && serverFinal.toString() === `v=${this.#signature}`
  }
}

/** AUTH with SCRAM's data. */
export function authPacket(reasonCode: 0x18 | 0x19, data: Buffer) {
  const properties = { authenticationMethod: scramMethod, authenticationData: data }
  return { cmd: 'auth', reasonCode, properties } as const
}

/** Answers the broker's AUTH with client-final, and gives what comes then. */
export async function scramAnswer(client: RawClient, scram: ScramClient) {
  const { properties } = await client.expect('auth')
  const { authenticationData } = properties as { authenticationData: Buffer }
  return client.send(authPacket(0x18, scram.final(authenticationData))).next()
}
