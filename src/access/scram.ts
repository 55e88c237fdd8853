import type { Bytes, Digests, PasswordHasher, Random } from '../host.ts'
import { type Denial, type Identity, isName } from './identity.ts'

// SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side. It never sees the password, and what it keeps opens nothing elsewhere.
//
//   client-first   n,,n=user,r=<client nonce>
//   server-first   r=<both nonces>,s=<salt>,i=<iterations>
//   client-final   c=biws,r=<both nonces>,p=<proof>
//   server-final   v=<signature>

/** The name of the method in CONNECT. */
export const scramMethod = 'SCRAM-SHA-256'

/** What is kept of a password. */
export interface ScramVerifier {
  readonly iterations: number
  readonly salt: Bytes
  readonly storedKey: Bytes
  readonly serverKey: Bytes
}

export interface ScramUser {
  readonly scram: ScramVerifier
  readonly tenant?: string
  readonly groups?: readonly string[]
}

const saltBytes = 16
const keyBytes = 32
/** The least that RFC 7677 allows: devices compute it too. */
const usualIterations = 4096

/** Reads `SCRAM-SHA-256$4096:<salt>$<stored key>:<server key>`. @returns what is wrong, as text that does not show it */
export function parseVerifier(text: string): ScramVerifier | string {
  const [, iterations, ...keys] =
    /^SCRAM-SHA-256\$([0-9]{4,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/.exec(text) ?? []
  const [salt, storedKey, serverKey] = keys.map((key) => Buffer.from(key, 'base64'))
  if (!salt || storedKey?.length !== keyBytes || serverKey?.length !== keyBytes || salt.length < 8)
    return 'is no SCRAM verifier: SCRAM-SHA-256$iterations:salt$stored:server'
  if (Number(iterations) < usualIterations || Number(iterations) > 1_000_000)
    return `is a SCRAM verifier with iterations that are not from ${usualIterations} to 1000000`
  return { iterations: Number(iterations), salt, storedKey, serverKey }
}

/** What to keep of a new password; undefined when it has characters that SCRAM does not allow. */
export async function makeVerifier(
  hasher: PasswordHasher,
  digests: Digests,
  random: Random,
  password: string,
): Promise<string | undefined> {
  const prepared = saslPrep(password)
  if (prepared === undefined) return undefined
  const salt = random.bytes(saltBytes)
  const work = { digest: 'sha256', password: Buffer.from(prepared), salt, iterations: usualIterations } as const
  const salted = await hasher.hash({ kind: 'pbkdf2', ...work, bytes: keyBytes })
  const stored = digests.sha256(digests.hmacSha256(salted, Buffer.from('Client Key')))
  const server = digests.hmacSha256(salted, Buffer.from('Server Key'))
  return `${scramMethod}$${usualIterations}:${base64(salt)}$${base64(stored)}:${base64(server)}`
}

/** What clients make of a password before they hash it (RFC 4013), so that a keyboard's way to write ü does not matter. */
function saslPrep(text: string): string | undefined {
  const prepared = text
    .replace(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g, ' ')
    .replace(/[\u00ad\u034f\u1806\u180b-\u180d\u200c\u200d\u2060\ufe00-\ufe0f\ufeff]/g, '')
    .normalize('NFKC')
  return prepared === '' || prohibited.test(prepared) ? undefined : prepared
}
const prohibited =
  /[\p{Cc}\p{Co}\p{Cs}\u0340\u0341\u200e\u200f\u2028-\u202e\u206a-\u206f\u2ff0-\u2ffb\ufff9-\uffff\u{e0001}\u{e0020}-\u{e007f}]/u

/** Whose verifiers there are. An unknown user is given a salt too, and the same one each time. */
export class ScramUsers {
  readonly #users: ReadonlyMap<string, ScramUser>
  readonly #digests: Digests
  readonly #decoyKey: Bytes
  readonly #decoyIterations: number

  /** @param decoyKey secret, and the same after a restart and on every node: else a salt that changes tells on its user */
  constructor(users: ReadonlyMap<string, ScramUser>, digests: Digests, decoyKey: Bytes) {
    this.#users = users
    this.#digests = digests
    this.#decoyKey = decoyKey
    this.#decoyIterations = commonest([...users.values()].map(({ scram }) => scram.iterations)) ?? usualIterations
  }

  get(name: string): ScramUser | undefined {
    return this.#users.get(name)
  }

  decoy(name: string): ScramVerifier {
    const made = (what: string) => this.#digests.hmacSha256(this.#decoyKey, Buffer.from(`${what}\0${name}`))
    return {
      iterations: this.#decoyIterations,
      salt: made('salt').subarray(0, saltBytes),
      storedKey: made('stored'),
      serverKey: made('server'),
    }
  }
}

/** One log-in. `first`, then `final`; each once. */
export class ScramExchange {
  readonly #users: ScramUsers
  readonly #digests: Digests
  readonly #nonce: string
  #begun: Begun | undefined

  /** @param nonce ours: printable, without commas, never the same twice */
  constructor(users: ScramUsers, digests: Digests, nonce: string) {
    this.#users = users
    this.#digests = digests
    this.#nonce = nonce
  }

  /** Whose log-in it claims to be, once it has begun. */
  get user(): string | undefined {
    return this.#begun?.user
  }

  /** Takes client-first and gives server-first. */
  first(message: Bytes): { readonly data: Bytes } | Denial {
    const parsed = parseFirst(message)
    if (typeof parsed === 'string') return { denied: `SCRAM: ${parsed}` }
    const { user, bare, header, nonce } = parsed
    const verifier = this.#users.get(user)?.scram ?? this.#users.decoy(user)
    const both = nonce + this.#nonce
    const answer = `r=${both},s=${base64(verifier.salt)},i=${verifier.iterations}`
    this.#begun = { user, verifier, both, header, soFar: `${bare},${answer}` }
    return { data: Buffer.from(answer) }
  }

  /** Takes client-final and gives server-final, with who it is. */
  final(message: Bytes): { readonly identity: Identity; readonly data: Bytes } | Denial {
    const begun = this.#begun
    this.#begun = undefined
    if (!begun) return { denied: 'SCRAM: nothing has begun' }
    const parsed = parseFinal(message)
    if (typeof parsed === 'string') return { denied: `SCRAM: ${parsed}` }
    const { user, verifier, both, header, soFar } = begun
    // It covers the header, so nobody on the way has changed what the client asked for.
    if (parsed.binding !== base64(Buffer.from(header))) return { denied: 'SCRAM: the channel binding has changed' }
    if (parsed.nonce !== both) return { denied: 'SCRAM: the nonce is not the one that was given' }

    const signed = Buffer.from(`${soFar},${parsed.withoutProof}`)
    const mask = this.#digests.hmacSha256(verifier.storedKey, signed)
    const clientKey = parsed.proof.map((byte, at) => byte ^ mask[at]!)
    const right = this.#digests.same(this.#digests.sha256(clientKey), verifier.storedKey)
    const signature = this.#digests.hmacSha256(verifier.serverKey, signed)
    const known = this.#users.get(user)
    if (!known) return { denied: 'unknown user' }
    if (!right || known.scram !== verifier) return { denied: 'wrong password' }
    const { tenant, groups } = known
    const more = { ...(tenant !== undefined && { tenant }), ...(groups && { groups }) }
    return { identity: { user, source: 'scram', ...more }, data: Buffer.from(`v=${base64(signature)}`) }
  }
}

interface Begun {
  readonly user: string
  readonly verifier: ScramVerifier
  readonly both: string
  /** `n,,` */
  readonly header: string
  /** client-first without its header, and server-first. */
  readonly soFar: string
}

const longest = 2048
/** Printable, without a comma (RFC 5802, 7). */
const nonceShape = /^[\x21-\x2b\x2d-\x7e]{8,512}$/

interface First {
  readonly user: string
  readonly bare: string
  readonly header: string
  readonly nonce: string
}

function parseFirst(message: Bytes): First | string {
  const text = textOf(message)
  if (text === undefined) return 'client-first is no text, or too long'
  const [binding, authzid, name, nonce] = text.split(',')
  if (binding?.startsWith('p=')) return 'channel binding is not known here'
  if ((binding !== 'n' && binding !== 'y') || authzid === undefined) return 'client-first has no header'
  // Nobody may act for another.
  if (authzid !== '') return 'an authorization identity is not known here'
  if (!name?.startsWith('n=')) return 'client-first has no user name, or an extension that we must know'
  const user = nameOf(name.slice(2))
  if (user === undefined) return 'the user name is none'
  if (!nonce?.startsWith('r=') || !nonceShape.test(nonce.slice(2))) return 'client-first has no nonce'
  const header = `${binding},,`
  return { user, bare: text.slice(header.length), header, nonce: nonce.slice(2) }
}

interface Final {
  readonly binding: string
  readonly nonce: string
  readonly proof: Bytes
  readonly withoutProof: string
}

function parseFinal(message: Bytes): Final | string {
  const text = textOf(message)
  if (text === undefined) return 'client-final is no text, or too long'
  // The proof is the last; what stands between it and the nonce are extensions that we need not know.
  const end = text.lastIndexOf(',p=')
  const proofText = text.slice(end + 3)
  const proof = Buffer.from(proofText, 'base64')
  if (end < 0 || proof.length !== keyBytes || base64(proof) !== proofText) return 'client-final has no proof'
  const withoutProof = text.slice(0, end)
  const [binding, nonce] = withoutProof.split(',')
  if (!binding?.startsWith('c=') || !nonce?.startsWith('r=')) return 'client-final has no binding or no nonce'
  return { binding: binding.slice(2), nonce: nonce.slice(2), proof, withoutProof }
}

/** `=2C` and `=3D` stand for what would end a name; any other `=` is wrong. */
function nameOf(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined
  const name = text.replaceAll('=2C', ',').replaceAll('=3D', '=')
  return isName(name) ? name : undefined
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOf(message: Bytes): string | undefined {
  if (message.length > longest) return undefined
  try {
    return utf8.decode(message)
  } catch {
    return undefined
  }
}

function base64(bytes: Bytes): string {
  return Buffer.from(bytes).toString('base64')
}

function commonest(numbers: readonly number[]): number | undefined {
  const counts = new Map<number, number>()
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1)
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0]
}
