import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto'
import { authorityUri, nodeUri } from './cluster-names.ts'
import { Der, der, type DerValue, oid, sequence, time, timeIn, valuesIn } from './der.ts'

// RFC 5280, with one kind of key and of signature: ECDSA on P-256 with SHA-256.

const dayMs = 86_400_000
const authorityMs = 3650 * dayMs
const nodeMs = 365 * dayMs
/** Clocks of other machines may be behind. */
const slackMs = dayMs

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
export function makeAuthority(clusterId: string, nowMs: number): Pair {
  const key = newKey()
  const publicKey = createPublicKey(key)
  const name = nameOf(`godwit cluster ${clusterId}`)
  const certificate = signed(key, {
    issuer: name,
    subject: name,
    publicKey,
    fromMs: nowMs - slackMs,
    toMs: nowMs + authorityMs,
    extensions: [
      // An authority, of nodes only: no other authority stands below it.
      extension('2.5.29.19', sequence(yes, der(Der.integer, Uint8Array.of(0))), 'critical'),
      keyUsage(keyCertSign | crlSign),
      alternativeNames([uriName, authorityUri(clusterId)]),
      extension('2.5.29.14', der(Der.octets, keyId(publicKey))),
    ],
  })
  return { certificate, key }
}

/** A certificate, as PEM, that says that whoever has the private key to `publicKey` is `node`. */
export function issue(authority: Pair, clusterId: string, node: string, publicKey: KeyObject, nowMs: number): string {
  const issuer = new X509Certificate(authority.certificate)
  return signed(authority.key, {
    issuer: subjectOf(issuer),
    subject: nameOf(node),
    publicKey,
    fromMs: nowMs - slackMs,
    toMs: Math.min(nowMs + nodeMs, lifeOf(issuer)[1]),
    extensions: [
      extension('2.5.29.19', sequence(), 'critical'),
      keyUsage(digitalSignature),
      // A node is the server of those who dial it, and the client of those whom it dials.
      extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'))),
      alternativeNames([uriName, nodeUri(clusterId, node)], [dnsName, node]),
      extension('2.5.29.35', sequence(der(0x80, keyId(issuer.publicKey)))),
    ],
  })
}

interface Unsigned {
  /** DER, as the other fields of this kind. */
  readonly issuer: Uint8Array
  readonly subject: Uint8Array
  readonly publicKey: KeyObject
  readonly fromMs: number
  readonly toMs: number
  readonly extensions: readonly Uint8Array[]
}

const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'))
const version3 = der(0xa0, der(Der.integer, Uint8Array.of(2)))
const yes = der(0x01, Uint8Array.of(0xff))

function signed(key: string, { issuer, subject, publicKey, fromMs, toMs, extensions }: Unsigned): string {
  const content = sequence(
    version3,
    der(Der.integer, serial()),
    ecdsaWithSha256,
    issuer,
    sequence(time(fromMs), time(toMs)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  return pem(sequence(content, ecdsaWithSha256, bitString(0, sign('sha256', content, key))))
}

/** @param unused bits at the end of the last byte */
function bitString(unused: number, bytes: Uint8Array): Uint8Array {
  return der(Der.bits, Uint8Array.of(unused), bytes)
}

function extension(id: string, value: Uint8Array, critical?: 'critical'): Uint8Array {
  return sequence(oid(id), ...(critical ? [yes] : []), der(Der.octets, value))
}

/** Bits of the one byte that we need, from the left. */
const [digitalSignature, keyCertSign, crlSign] = [0x80, 0x04, 0x02]

function keyUsage(flags: number): Uint8Array {
  // DER leaves out zeros at the end.
  const unused = 31 - Math.clz32(flags & -flags)
  return extension('2.5.29.15', bitString(unused, Uint8Array.of(flags)), 'critical')
}

const [dnsName, uriName] = [0x82, 0x86]

function alternativeNames(...names: readonly (readonly [kind: number, text: string])[]): Uint8Array {
  return extension('2.5.29.17', sequence(...names.map(([kind, text]) => der(kind, Buffer.from(text)))))
}

const commonName = '2.5.4.3'

function nameOf(text: string): Uint8Array {
  return sequence(der(Der.set, sequence(oid(commonName), der(Der.text, Buffer.from(text)))))
}

/** As its authority has written it: what names that authority must be the same. */
function subjectOf({ raw }: X509Certificate): Uint8Array {
  const [content] = valuesIn(valuesIn(raw)[0]!.content)
  return valuesIn(content!.content)[5]!.whole
}

/** RFC 5280, 4.2.1.2: SHA-1 of the key's own bits. */
function keyId(publicKey: KeyObject): Uint8Array {
  const [spki] = valuesIn(publicKey.export({ type: 'spki', format: 'der' }))
  const [, bits] = valuesIn(spki!.content)
  return createHash('sha1').update(bits!.content.subarray(1)).digest()
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
export function revocationLists(
  pems: readonly string[],
): { readonly issuer: string; readonly endsMs: number | undefined }[] {
  return pems.map((text) => {
    const raw = Buffer.from(text.replace(/-----[^-]*-----/g, ''), 'base64')
    const [content] = valuesIn(valuesIn(raw)[0]!.content)
    const fields = valuesIn(content!.content)
    // Its version may be left out.
    const [, issuer, , next] = fields[0]!.tag === Der.integer ? fields.slice(1) : fields
    return { issuer: nameText(issuer!), endsMs: next && timeIn(next) }
  })
}

/** For people. */
const attributes = new Map([
  [commonName, 'CN'],
  ['2.5.4.6', 'C'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
])
const attributeNames = new Map([...attributes].map(([id, name]) => [oid(id).toString('hex'), name]))

function nameText({ content }: DerValue): string {
  return valuesIn(content)
    .flatMap((set) => valuesIn(set.content))
    .map((attribute) => {
      const [id, value] = valuesIn(attribute.content)
      return `${attributeNames.get(id!.whole.toString('hex')) ?? id!.content.toString('hex')}=${value!.content.toString()}`
    })
    .join(', ')
}

/** Positive, and never the same twice. */
function serial(): Uint8Array {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes
}

function pem(certificate: Buffer): string {
  const lines = certificate.toString('base64').match(/.{1,64}/g)!
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}
