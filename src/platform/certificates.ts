import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  webcrypto,
  type X509Certificate,
} from 'node:crypto'
import { authorityUri, nodeUri } from './cluster-names.ts'

// Certificates are made rarely, and what makes them takes long to load: it is loaded then.

const dayMs = 86_400_000
const authorityMs = 3650 * dayMs
const nodeMs = 365 * dayMs
/** Clocks of other machines may be behind. */
const slackMs = dayMs

const curve = { name: 'ECDSA', namedCurve: 'P-256' }
const signing = { name: 'ECDSA', hash: 'SHA-256' }

export interface Pair {
  /** PEM. */
  readonly certificate: string
  readonly key: string
}

/** A private key, as PEM. */
export function newKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
}

/** Makes the authority of a cluster: it signs certificates of nodes, and nothing else. */
export async function makeAuthority(clusterId: string, nowMs: number): Promise<Pair> {
  const x509 = await load()
  const key = newKey()
  const privateKey = await imported(key)
  const publicKey = await importedPublic(createPrivateKey(key))
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=godwit cluster ${clusterId}`,
    keys: { privateKey, publicKey },
    signingAlgorithm: signing,
    notBefore: new Date(nowMs - slackMs),
    notAfter: new Date(nowMs + authorityMs),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: authorityUri(clusterId) }]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  })
  return { certificate: pem(certificate), key }
}

/** A certificate, as PEM, that says that whoever has the private key to `publicKey` is `node`. */
export async function issue(
  authority: Pair,
  clusterId: string,
  node: string,
  publicKey: KeyObject,
  nowMs: number,
): Promise<string> {
  const x509 = await load()
  const issuer = new x509.X509Certificate(authority.certificate)
  const notAfterMs = Math.min(nowMs + nodeMs, issuer.notAfter.getTime())
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${node}`,
    issuer: issuer.subject,
    publicKey: await importedPublic(publicKey),
    signingKey: await imported(authority.key),
    signingAlgorithm: signing,
    notBefore: new Date(nowMs - slackMs),
    notAfter: new Date(notAfterMs),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      // A node is the server of those who dial it, and the client of those whom it dials.
      new x509.ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']),
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: nodeUri(clusterId, node) },
        { type: 'dns', value: node },
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  })
  return pem(certificate)
}

/** Is less than a third of its life left, or has it not begun? */
export function isNearEnd(certificate: X509Certificate, nowMs: number): boolean {
  const [fromMs, toMs] = lifeOf(certificate)
  return nowMs < fromMs || nowMs > toMs - (toMs - fromMs) / 3
}

export function isOver(certificate: X509Certificate, nowMs: number): boolean {
  return nowMs > lifeOf(certificate)[1]
}

function lifeOf({ validFrom, validTo }: X509Certificate): [fromMs: number, toMs: number] {
  return [Date.parse(validFrom), Date.parse(validTo)]
}

/** Who has made each of these revocation lists (PEM), and until when it holds; undefined: it does not say. */
export async function revocationLists(
  pems: readonly string[],
): Promise<{ readonly issuer: string; readonly endsMs: number | undefined }[]> {
  const x509 = await load()
  return pems.map((text) => {
    const { issuer, nextUpdate } = new x509.X509Crl(text)
    return { issuer, endsMs: nextUpdate?.getTime() }
  })
}

async function load() {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  x509.cryptoProvider.set(webcrypto)
  return x509
}

function imported(key: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(key).export({ type: 'pkcs8', format: 'der' })
  return webcrypto.subtle.importKey('pkcs8', der, curve, false, ['sign'])
}

/** @param key of either kind: a private one knows its public one */
function importedPublic(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' })
  return webcrypto.subtle.importKey('spki', der, curve, true, ['verify'])
}

/** Positive, and never the same twice. */
function serial(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes.toString('hex')
}

function pem(certificate: { toString(format: 'pem'): string }): string {
  return `${certificate.toString('pem').trim()}\n`
}
