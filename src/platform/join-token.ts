import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

// A token lets one node fetch a certificate, once, until it expires:
//
//   godwit-join-<base64url of: version u8 · number (12) · expiry, Unix seconds (6) · SHA-256 of the authority's certificate (32) · MAC (32)>
//
// The MAC is over all that stands before it, with the cluster's join secret. The fingerprint is for the node that joins: it
// knows whom it speaks to before it shows the token.

export interface JoinToken {
  /** Nobody else has it. */
  readonly number: string
  readonly expiresMs: number
  /** Of the authority's certificate: SHA-256. */
  readonly fingerprint: Buffer
  readonly signed: Buffer
  readonly mac: Buffer
}

const prefix = 'godwit-join-'
const version = 1
const numberBytes = 12
const expiryBytes = 6
const hashBytes = 32
const signedBytes = 1 + numberBytes + expiryBytes + hashBytes

export function makeToken(secret: string, fingerprint: Buffer, expiresMs: number): string {
  const expiry = Buffer.alloc(expiryBytes)
  expiry.writeUIntBE(Math.floor(expiresMs / 1000), 0, expiryBytes)
  const signed = Buffer.concat([Buffer.of(version), randomBytes(numberBytes), expiry, fingerprint])
  return prefix + Buffer.concat([signed, macOf(secret, signed)]).toString('base64url')
}

/** Undefined when it is none, or was not copied whole. */
export function parseToken(text: string): JoinToken | undefined {
  if (!text.startsWith(prefix) || text.length > 200) return undefined
  const bytes = Buffer.from(text.slice(prefix.length), 'base64url')
  if (bytes.length !== signedBytes + hashBytes || bytes[0] !== version) return undefined
  // What base64url reads over is not what we wrote.
  if (bytes.toString('base64url') !== text.slice(prefix.length)) return undefined
  const expiryAt = 1 + numberBytes
  return {
    number: bytes.toString('hex', 1, expiryAt),
    expiresMs: bytes.readUIntBE(expiryAt, expiryBytes) * 1000,
    fingerprint: bytes.subarray(expiryAt + expiryBytes, signedBytes),
    signed: bytes.subarray(0, signedBytes),
    mac: bytes.subarray(signedBytes),
  }
}

export function isSignedBy(token: JoinToken, secret: string): boolean {
  return timingSafeEqual(macOf(secret, token.signed), token.mac)
}

function macOf(secret: string, signed: Buffer): Buffer {
  return createHmac('sha256', secret).update(signed).digest()
}
