import { CertificateAuthenticator } from '../access/certificate.ts'
import { Chain } from '../access/chain.ts'
import { HttpHook } from '../access/http-hook.ts'
import type { Authenticator } from '../access/identity.ts'
import { JwtAuthenticator } from '../access/jwt.ts'
import { PasswordAuthenticator, PasswordBook, type PasswordCheck } from '../access/passwords.ts'
import { Rehashing } from '../access/rehashing.ts'
import { ScramExchange, ScramUsers } from '../access/scram.ts'
import { type FileUser, withHashes } from '../access/users-file.ts'
import type { AuthStep } from '../config/auth-schema.ts'
import type { AuthConfig } from '../config/auth.ts'
import type { Bytes, Host, PasswordHasher } from '../host.ts'
import { digests } from '../platform/digests.ts'
import { dateOf } from '../platform/host.ts'
import { HttpClient } from '../platform/http-client.ts'
import { changeOwned } from '../platform/owned-file.ts'

/** What log-ins need that outlives a reload of the configuration. */
export interface LogInHost extends Host {
  readonly hasher: PasswordHasher
  readonly check: PasswordCheck
  /** Secret, and the same after a restart and on every node: of it are the salts that unknown users are shown. */
  readonly decoyKey: Bytes
  /** Hashes that we have put in the place of weak ones: new → old. */
  readonly rehashed: Map<string, string>
}

export interface LogIns {
  readonly chain: Chain
  /** Begins a log-in by SCRAM-SHA-256; undefined: nobody has a verifier to be asked. */
  readonly scram: (() => ScramExchange) | undefined
  readonly separate: boolean
  /** For the old ones, once the new ones are there. */
  close(): void
}

/** Makes of a configuration whom to ask. */
export function openLogIns(auth: AuthConfig, host: LogInHost): LogIns {
  const { clock, random } = host
  const client = auth.http && new HttpClient({ ...auth.http, sockets: auth.http.concurrency })
  const made: Record<AuthStep, () => Authenticator> = {
    users: () => usersOf(auth.users!, host),
    mosquitto: () => new PasswordAuthenticator('mosquitto', new PasswordBook(auth.mosquitto), host.check),
    jwt: () => new JwtAuthenticator(auth.jwt!, () => dateOf(clock.wall())),
    certificate: () => new CertificateAuthenticator(auth.certificate!, () => clock.wall()),
    http: () => new HttpHook(client!, digests, random, clock, auth.http!),
  }
  const scramUsers = auth.scram && auth.users ? scramOf(auth.users.users, host.decoyKey) : undefined
  return {
    chain: new Chain(
      auth.order.map((step) => made[step]()),
      host.check,
    ),
    scram: scramUsers && (() => new ScramExchange(scramUsers, digests, nonceOf(random.bytes(18)))),
    separate: auth.sameClientId === 'separate',
    close: () => client?.close(),
  }
}

function usersOf({ file, users }: NonNullable<AuthConfig['users']>, host: LogInHost): Authenticator {
  const book = new PasswordBook()
  for (const [name, { password, ...user }] of users) if (password) book.set(name, { ...user, password })
  const rehashing = new Rehashing(
    host.hasher,
    host.random,
    book,
    // A file that is gone is not made anew.
    (hashes) => {
      for (const hash of hashes.values()) host.rehashed.set(hash.new, hash.old)
      return changeOwned(file, (text) => (text === undefined ? undefined : withHashes(text, hashes)))
    },
    host.log,
  )
  return new PasswordAuthenticator('users', book, host.check, (...proof) => void rehashing.proved(...proof))
}

function scramOf(users: ReadonlyMap<string, FileUser>, decoyKey: Bytes): ScramUsers {
  const known = [...users].flatMap(([name, { scram, tenant, groups }]) => {
    const more = { ...(tenant !== undefined && { tenant }), ...(groups && { groups }) }
    return scram ? [[name, { scram, ...more }] as const] : []
  })
  return new ScramUsers(new Map(known), digests, decoyKey)
}

function nonceOf(bytes: Bytes): string {
  return Buffer.from(bytes).toString('base64')
}
