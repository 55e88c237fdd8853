import type { PeerCertificate } from '../host.ts'
import type { JwtKey } from './jwt-keys.ts'
import type { Rule } from './rules.ts'

/** Kinds of authenticators, by their names in the configuration. */
export const sources = ['users', 'mosquitto', 'jwt', 'certificate', 'scram', 'http'] as const
export type Source = (typeof sources)[number]
/** Who may deny a log-in. */
export type Judge = Source | 'host-program'

/** Who a client has proved to be. */
export interface Identity {
  readonly user: string
  /** Who has found the proof good. */
  readonly source: Source
  readonly tenant?: string
  readonly groups?: readonly string[]
  /** Unix time in seconds from which on it holds no more. */
  readonly expiresAt?: number
  /** Of a token: what it was signed with. */
  readonly signedWith?: JwtKey
  /** What a token allows: with them it has only what some rule allows. */
  readonly permissions?: readonly Rule[]
}

/** What a client shows to prove who it is. */
export interface Credentials {
  readonly clientId: string
  /** The client gave none, so it was made here: nobody comes with it again. */
  readonly idIsOurs?: true
  readonly username: string | undefined
  readonly password: Uint8Array | undefined
  /** Address and port. */
  readonly remote: string
  /** What it speaks: tcp, tls, ws, wss. */
  readonly protocol: string
  readonly certificate?: PeerCertificate
}

/** Why somebody is not let in: for our own log and never for the client, whom it would teach. */
export interface Denial {
  readonly denied: string
  /** We could not say, for now: it may try again. */
  readonly busy?: true
}

/** `not-mine`: these credentials are for another authenticator to judge. */
export type Answer = { readonly identity: Identity } | Denial | 'not-mine'

export interface Authenticator {
  readonly source: Source
  /** A throw denies. */
  authenticate(credentials: Credentials): Answer | Promise<Answer>
  /** Of those who compare passwords: how not to tell by the time whether a user is known. */
  readonly decoys?: Decoys
}

export interface Decoys {
  /** How many users it knows. */
  readonly count: number
  /** Does what checking the password of the user at `index` costs, with a salt of this unknown user's own. */
  check(username: string, password: Uint8Array, index: number): Promise<void>
}

// What MQTT refuses in a user name is refused wherever else a name comes from: it forges log lines and never names anybody.
const controls = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/

/** A name of a user, tenant or group: 1 to 256 characters, well-formed, without control characters. */
export function isName(value: unknown): value is string {
  return (
    typeof value === 'string' && value.length > 0 && value.length <= 256 && !controls.test(value) && isWellFormed(value)
  )
}

// `String.prototype.isWellFormed` is newer than Node 20's types: encodeURIComponent throws at a lone surrogate.
function isWellFormed(text: string): boolean {
  try {
    encodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
