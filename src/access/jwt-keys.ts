// Keys of tokens, each with the algorithms that it may be used for. The key says which, never the token: a public key that is
// taken for a secret lets everybody sign (CVE-2015-9235 and its kin).

/** RFC 7517. */
export interface Jwk {
  readonly kty?: unknown
  readonly [member: string]: unknown
}

export interface JwtKey {
  /** Its name, where it has one: a token that names a key is checked with that one. */
  readonly kid: string | undefined
  readonly algorithms: readonly string[]
  readonly jwk: Jwk
}

const mostKeys = 64
const curves = new Map([
  ['P-256', 'ES256'],
  ['P-384', 'ES384'],
  ['P-521', 'ES512'],
])

/** @returns undefined for a key that is for something else than tokens of ours, text for one that must not be used */
export function jwtKey(jwk: Jwk): JwtKey | string | undefined {
  const { kty, crv, kid, alg, use, d } = jwk
  if (use !== undefined && use !== 'sig') return undefined
  if (d !== undefined) return 'is a private key: whoever checks tokens needs the public one only'
  const possible = algorithmsOf(jwk)
  if (typeof possible === 'string') return possible
  const algorithms = alg === undefined ? possible : possible.filter((name) => name === alg)
  if (algorithms.length === 0) return undefined
  const members = kty === 'RSA' ? ['n', 'e'] : kty === 'EC' ? ['x', 'y'] : kty === 'OKP' ? ['x'] : ['k']
  if (!members.every((name) => typeof jwk[name] === 'string')) return `is no key of the type ${String(kty)}`
  const used = Object.fromEntries(members.map((name) => [name, jwk[name]]))
  return {
    kid: typeof kid === 'string' ? kid : undefined,
    algorithms,
    jwk: { kty, ...(crv !== undefined && { crv }), ...used },
  }
}

function algorithmsOf({ kty, crv, n, k }: Jwk): readonly string[] | string {
  switch (kty) {
    case 'RSA':
      return bytesOf(n) < 256 ? 'is an RSA key of less than 2048 bits' : ['RS256', 'RS384', 'RS512']
    case 'EC':
      return [curves.get(String(crv)) ?? []].flat()
    case 'OKP':
      return crv === 'Ed25519' ? ['EdDSA', 'Ed25519'] : []
    case 'oct': {
      // RFC 7518, 3.2: not shorter than the hash.
      const bytes = bytesOf(k)
      if (bytes < 32) return 'is a secret of less than 32 bytes'
      return [['HS256'], bytes >= 48 ? ['HS384'] : [], bytes >= 64 ? ['HS512'] : []].flat()
    }
    default:
      return []
  }
}

function bytesOf(base64url: unknown): number {
  return typeof base64url === 'string' ? Buffer.from(base64url, 'base64url').length : 0
}

/** Reads a file of keys, as identity providers publish it. @returns what is wrong, as text that shows nothing of it */
export function parseJwks(text: string): readonly JwtKey[] | string {
  let keys: unknown
  try {
    keys = (JSON.parse(text) as { keys?: unknown } | null)?.keys
  } catch {
    return 'is no JSON'
  }
  if (!Array.isArray(keys)) return 'is no JWKS: an object with a list named keys'
  if (keys.length > mostKeys) return `has more than ${mostKeys} keys`
  const usable: JwtKey[] = []
  for (const [at, jwk] of keys.entries()) {
    const key = typeof jwk === 'object' && jwk !== null ? jwtKey(jwk as Jwk) : 'is none'
    if (typeof key === 'string') return `key ${at + 1} ${key}`
    if (key) usable.push(key)
  }
  return usable.length > 0 ? usable : 'has no key that tokens can be checked with'
}

/** A secret that tokens are signed with, as a file has it: its text, without the end of the line. */
export function secretKey(text: string): JwtKey | string {
  const secret = text.replace(/\r?\n$/, '')
  // Every way to write a public key down, so that none is ever taken for a secret.
  if (/-----BEGIN|ssh-|ecdsa-|\{|"|[^\x20-\x7e]/.test(secret)) return 'is no secret of printable characters in one line'
  const k = Buffer.from(secret).toString('base64url')
  const key = jwtKey({ kty: 'oct', k })
  return key ?? 'is no secret'
}
