import { createPublicKey } from 'node:crypto'

/**
 * A public key, or the one in a certificate, as a JWK (RFC 7517).
 * @param pem PEM text, or a JWK
 * @throws Error that says what is wrong, and shows nothing of it
 */
export function publicJwk(pem: string | Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  // Node would make the public key of it, and nobody would learn that the private one lies about.
  if (typeof pem === 'string' && pem.includes('PRIVATE KEY-----'))
    throw new Error('holds a private key: name the public one')
  try {
    const key = typeof pem === 'string' ? createPublicKey(pem) : createPublicKey({ key: pem, format: 'jwk' })
    return key.export({ format: 'jwk' })
  } catch {
    throw new Error('holds no public key')
  }
}
