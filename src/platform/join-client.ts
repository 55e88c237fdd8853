import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { connect, type ConnectionOptions, type DetailedPeerCertificate, type TLSSocket } from 'node:tls'
import { certified } from './cluster-names.ts'
import { parseToken } from './join-token.ts'
import { alpn, readLine, writeLine } from './join-wire.ts'

/** No certificate was to be had. The message says why. */
export class JoinError extends Error {
  override readonly name = 'JoinError'
}

export interface FetchOptions {
  /** Asked one after the other, until one gives a certificate. */
  readonly join: readonly string[]
  readonly node: string
  /** PEM. */
  readonly key: string
  /** A token, or the certificate that is to be renewed, with the key that it is for. */
  readonly proof: string | { readonly certificate: string; readonly authority: string }
}

/** For a handshake, and for the answer. */
const patienceMs = 10_000

/** Fetches a certificate for `key` from a node that may issue one. PEM texts. @throws JoinError */
export async function fetchCertificate(
  options: FetchOptions,
): Promise<{ readonly certificate: string; readonly authority: string }> {
  const { join, proof } = options
  const parsed = typeof proof === 'string' ? parseToken(proof) : undefined
  if (typeof proof === 'string' && !parsed)
    throw new JoinError('that is no join token, or it was not copied whole: godwit cluster token makes one')
  if (parsed && parsed.expiresMs <= Date.now())
    throw new JoinError(
      `the join token has expired, at ${new Date(parsed.expiresMs).toISOString()}: godwit cluster token makes another`,
    )
  const faults: string[] = []
  for (const address of join) {
    try {
      // Who has the right fingerprint is spoken to a second time, and now has to prove who it is in full.
      const authority = typeof proof === 'string' ? await authorityAt(address, parsed!.fingerprint) : proof.authority
      return await fetchFrom(address, authority, options)
    } catch (fault) {
      faults.push(`${address}: ${(fault as Error).message}`)
    }
  }
  throw new JoinError(`no certificate: ${faults.length > 0 ? faults.join('; ') : 'nobody to ask, --join names nodes'}`)
}

async function fetchFrom(
  address: string,
  authority: string,
  { node, key, proof }: FetchOptions,
): Promise<{ readonly certificate: string; readonly authority: string }> {
  const socket = await opened(address, {
    ...(typeof proof !== 'string' && { cert: proof.certificate, key }),
    ca: authority,
    checkServerIdentity: (_host, { raw }) =>
      certified(new X509Certificate(raw))?.node === undefined ? new Error('it is no node of the cluster') : undefined,
  })
  try {
    const publicKey = createPublicKey(createPrivateKey(key))
    const token = typeof proof === 'string' ? proof : undefined
    writeLine(socket, { token, node, publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64') })
    const answer = (await readLine(socket, patienceMs)) as {
      readonly refused?: unknown
      readonly certificate?: unknown
    }
    if (typeof answer.refused === 'string') throw new Error(plain(answer.refused))
    const { certificate } = answer
    if (typeof certificate !== 'string' || !isFor(certificate, node, key, authority))
      throw new Error('its answer is no certificate for this node')
    return { certificate, authority }
  } finally {
    socket.destroy()
  }
}

/** The authority that a node shows, when it is the one of this fingerprint. Nothing is said to the node. */
async function authorityAt(address: string, fingerprint: Buffer): Promise<string> {
  const socket = await opened(address, { rejectUnauthorized: false })
  try {
    let at: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
    for (const seen = new Set<object>(); at?.raw !== undefined && !seen.has(at); at = at.issuerCertificate) {
      seen.add(at)
      if (createHash('sha256').update(at.raw).digest().equals(fingerprint))
        return new X509Certificate(at.raw).toString()
    }
    throw new Error('it is not of the cluster that the token is for')
  } finally {
    socket.destroy()
  }
}

function opened(address: string, options: ConnectionOptions): Promise<TLSSocket> {
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '')
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...{ host, port: Number(address.slice(colon + 1)), ALPNProtocols: [alpn.join], minVersion: 'TLSv1.3' },
      ...options,
    })
    const timer = setTimeout(() => socket.destroy(new Error('it does not answer in time')), patienceMs)
    socket.on('error', (fault: Error) => reject(new Error(reasonOf(fault))))
    socket.once('close', () => {
      clearTimeout(timer)
      reject(new Error('it closed the connection: does it have the cluster directory (--cluster)?'))
    })
    socket.once('secureConnect', () => {
      clearTimeout(timer)
      resolve(socket)
    })
  })
}

function reasonOf({ message, code }: Error & { readonly code?: string }): string {
  if (code === 'ECONNREFUSED') return 'nobody listens there'
  if (code === 'ENOTFOUND') return 'no such host'
  if (code === 'ECONNRESET') return 'it closed the connection'
  if (code?.startsWith('ERR_SSL') || code === 'EPROTO') return 'what listens there is no node of a cluster'
  return message
}

function isFor(certificate: string, node: string, key: string, authority: string): boolean {
  try {
    const parsed = new X509Certificate(certificate)
    return (
      certified(parsed)?.node === node &&
      parsed.checkPrivateKey(createPrivateKey(key)) &&
      parsed.verify(new X509Certificate(authority).publicKey)
    )
  } catch {
    return false
  }
}

/** Text of somebody else, for a terminal. */
function plain(text: string): string {
  return text.slice(0, 500).replace(/[^\x20-\x7e]/g, '?')
}
