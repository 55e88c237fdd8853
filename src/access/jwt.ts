import type * as jose from 'jose'
import type { JWK, JWTPayload } from 'jose'
import { identityOf } from './claims.ts'
import type { Answer, Authenticator, Credentials } from './identity.ts'
import type { JwtKey } from './jwt-keys.ts'

export interface JwtSettings {
  readonly keys: readonly JwtKey[]
  /** Who must have made the token, and for whom. */
  readonly issuer: string
  readonly audience: string
  /** Names of claims; of those without a name nothing is read. */
  readonly claims: {
    readonly user: string
    readonly tenant?: string
    readonly groups?: string
    readonly permissions?: string
  }
  /** How far the clock of who makes the tokens may be off. */
  readonly leewaySeconds: number
}

type Jose = typeof jose

/** The library that checks tokens is not there: nobody can be judged by one. */
export class NoTokenLibraryError extends Error {
  override readonly name = 'NoTokenLibraryError'
}
type Imported = Awaited<ReturnType<Jose['importJWK']>>

const longest = 16_384

/** Lets those in whose password is a token that somebody whom we trust has signed. The user name of CONNECT does not count. */
export class JwtAuthenticator implements Authenticator {
  readonly source = 'jwt'
  readonly #settings: JwtSettings
  readonly #now: () => Date
  /** Loaded only where somebody checks tokens. What goes wrong is kept for whoever asks: nobody waits for it here. */
  readonly #jose: Promise<Jose | NoTokenLibraryError>
  /** By key and algorithm. */
  readonly #imported = new Map<string, Promise<Imported>>()

  /** @param now the wall clock's time */
  constructor(settings: JwtSettings, now: () => Date, load: () => Promise<Jose> = () => import('jose')) {
    this.#settings = settings
    this.#now = now
    this.#jose = load().catch(
      (fault: unknown) => new NoTokenLibraryError('the library that checks tokens cannot be loaded', { cause: fault }),
    )
  }

  authenticate({ password }: Credentials): Answer | Promise<Answer> {
    const token = password && tokenIn(password)
    if (token === undefined) return 'not-mine'
    return password!.length > longest ? { denied: 'a token that is too long' } : this.#check(token)
  }

  /** @throws NoTokenLibraryError */
  async #check(token: string): Promise<Answer> {
    const jose = await this.#jose
    if (jose instanceof NoTokenLibraryError) throw jose
    try {
      const verified = await this.#verified(jose, token)
      return typeof verified === 'string' ? { denied: verified } : this.#identity(verified.payload, verified.key)
    } catch (fault) {
      return { denied: `token: ${why(jose, fault)}` }
    }
  }

  /** @throws JOSEError */
  async #verified(
    { decodeProtectedHeader, errors, importJWK, jwtVerify }: Jose,
    token: string,
  ): Promise<{ readonly payload: JWTPayload; readonly key: JwtKey } | string> {
    const { issuer, audience, leewaySeconds, keys } = this.#settings
    const { alg, kid } = decodeProtectedHeader(token)
    const possible = keys.filter(
      (key) => key.algorithms.includes(alg ?? '') && (kid === undefined || key.kid === undefined || key.kid === kid),
    )
    for (const key of possible) {
      try {
        const { payload } = await jwtVerify(token, await this.#import(importJWK, key, alg!), {
          algorithms: [alg!],
          issuer,
          audience,
          requiredClaims: ['exp'],
          clockTolerance: leewaySeconds,
          currentDate: this.#now(),
        })
        return { payload, key }
      } catch (fault) {
        if (!(fault instanceof errors.JWSSignatureVerificationFailed)) throw fault
      }
    }
    return possible.length === 0 ? 'token: no key of ours is for it' : 'token: the signature is wrong'
  }

  #import(load: Jose['importJWK'], key: JwtKey, alg: string): Promise<Imported> {
    const name = `${this.#settings.keys.indexOf(key)} ${alg}`
    const known = this.#imported.get(name)
    if (known) return known
    const imported = load(key.jwk as JWK, alg)
    this.#imported.set(name, imported)
    return imported
  }

  #identity(payload: JWTPayload, signedWith: JwtKey): Answer {
    const { user, tenant, groups, permissions } = this.#settings.claims
    const claim = (name: string | undefined): unknown =>
      name !== undefined && Object.hasOwn(payload, name) ? payload[name] : undefined
    const said = {
      user: claim(user),
      tenant: claim(tenant),
      groups: claim(groups),
      permissions: claim(permissions),
      expiresAt: payload.exp,
    }
    const identity = identityOf(said, 'jwt', 'token')
    return typeof identity === 'string' ? { denied: `token: ${identity}` } : { identity: { ...identity, signedWith } }
  }
}

/** Three parts with dots between, the first of them an object: nobody's password looks like that. */
function tokenIn(password: Uint8Array): string | undefined {
  const text = Buffer.from(password).toString('latin1')
  return text.startsWith('eyJ') && /^[\w-]+\.[\w-]*\.[\w-]*$/.test(text) ? text : undefined
}

/** Without what stands in the token: the library's own words name claims, and never their values. */
function why({ errors }: Jose, fault: unknown): string {
  if (fault instanceof errors.JWTExpired) return 'it has expired'
  if (fault instanceof errors.JWTClaimValidationFailed) return `the claim "${fault.claim}" is missing or wrong`
  if (fault instanceof errors.JOSEError) return fault.code
  return 'it cannot be checked'
}
