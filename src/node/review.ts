import type { Identity } from '../access/identity.ts'
import type { PasswordUser } from '../access/passwords.ts'
import type { ScramVerifier } from '../access/scram.ts'
import type { AuthConfig } from '../config/auth.ts'

/** Somebody as files say. */
interface Known {
  readonly tenant?: string
  readonly groups?: readonly string[]
}

/**
 * The configuration has been read again: who of those who are here would still be let in by what they have shown?
 * @param before what they were let in by
 * @param rehashed new hash → the old one that it stands for: we have replaced it, and nobody has another password
 * @returns for an identity the one that it has now; undefined: it must go
 */
export function reviewOf(
  before: AuthConfig | undefined,
  after: AuthConfig | undefined,
  rehashed: ReadonlyMap<string, string>,
): (identity: Identity) => Identity | undefined {
  const isSame = (was: PasswordUser['password'] | undefined, now: PasswordUser['password'] | undefined): boolean =>
    was !== undefined && now !== undefined && (was.text === now.text || rehashed.get(now.text) === was.text)
  const stays = same(before, after)
  const keys = new Set(after?.jwt?.keys.map((key) => JSON.stringify(key)))
  return (identity) => {
    if (!after || !before) return identity
    const { user, source } = identity
    const [was, now] = [before.users?.users.get(user), after.users?.users.get(user)]
    switch (source) {
      case 'users':
        return now && isSame(was?.password, now.password) ? renewed(identity, now) : undefined
      case 'scram':
        return now && after.scram && isSameVerifier(was?.scram, now.scram) ? renewed(identity, now) : undefined
      case 'mosquitto': {
        const there = after.mosquitto?.get(user)
        return there && isSame(before.mosquitto?.get(user)?.password, there.password) ? identity : undefined
      }
      case 'jwt':
        return stays.jwt && keys.has(JSON.stringify(identity.signedWith)) ? identity : undefined
      default:
        return stays[source] ? identity : undefined
    }
  }
}

/** Of those who stand in no file: is the rule that let them in still there? */
function same(before: AuthConfig | undefined, after: AuthConfig | undefined) {
  const [was, now] = [before?.jwt, after?.jwt]
  return {
    jwt:
      was?.issuer === now?.issuer &&
      was?.audience === now?.audience &&
      JSON.stringify(was?.claims) === JSON.stringify(now?.claims),
    certificate: before?.certificate === after?.certificate,
    http: before?.http?.url === after?.http?.url,
  }
}

/** A tenant is another world: nobody is moved there while connected. */
function renewed(identity: Identity, { tenant, groups }: Known): Identity | undefined {
  if (tenant !== identity.tenant) return undefined
  return { ...identity, groups: groups ?? [] }
}

function isSameVerifier(was: ScramVerifier | undefined, now: ScramVerifier | undefined): boolean {
  return was !== undefined && now !== undefined && textOf(was) === textOf(now)
}

function textOf({ iterations, salt, storedKey, serverKey }: ScramVerifier): string {
  return [iterations, ...[salt, storedKey, serverKey].map((bytes) => Buffer.from(bytes).toString('hex'))].join(' ')
}
