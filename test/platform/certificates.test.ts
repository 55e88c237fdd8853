import 'reflect-metadata'
import { createPublicKey, webcrypto, X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { describe, expect, test } from 'vitest'
import { issue, makeAuthority, newKey, revocationLists } from '../../src/platform/certificates.ts'

x509.cryptoProvider.set(webcrypto)

const nowMs = Date.parse('2026-11-21T08:00:00Z')

function extensionsOf(pem: string) {
  return new x509.X509Certificate(pem).extensions.map((extension) => {
    const { type, critical } = extension
    if (extension instanceof x509.BasicConstraintsExtension) return [critical, extension.ca, extension.pathLength]
    if (extension instanceof x509.KeyUsagesExtension) return [critical, extension.usages]
    if (extension instanceof x509.ExtendedKeyUsageExtension) return [critical, extension.usages]
    if (extension instanceof x509.SubjectAlternativeNameExtension) return [critical, extension.names.toJSON()]
    if (extension instanceof x509.SubjectKeyIdentifierExtension) return [critical, 'itself', extension.keyId]
    if (extension instanceof x509.AuthorityKeyIdentifierExtension) return [critical, 'by', extension.keyId]
    return [critical, type]
  })
}

async function keyIdOf(key: string): Promise<string> {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const { keyId } = await x509.SubjectKeyIdentifierExtension.create(new x509.PublicKey(spki))
  return keyId
}

test('an authority signs certificates of nodes, and nothing else', async () => {
  const { certificate, key } = await makeAuthority('0123456789abcdef', nowMs)
  const { subject, issuer, notBefore, notAfter, serialNumber } = new x509.X509Certificate(certificate)
  expect([subject, issuer]).toEqual(Array(2).fill('CN=godwit cluster 0123456789abcdef'))
  expect([notBefore, notAfter].map((date) => date.toISOString())).toEqual([
    '2026-11-20T08:00:00.000Z',
    '2036-11-18T08:00:00.000Z',
  ])
  expect(serialNumber).toMatch(/^[4-7][0-9a-f]{31}$/)
  expect(extensionsOf(certificate)).toEqual([
    [true, true, 0],
    [true, x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign],
    [false, [{ type: 'url', value: 'godwit://0123456789abcdef' }]],
    [false, 'itself', await keyIdOf(key)],
  ])
  const ours = new X509Certificate(certificate)
  expect([ours.ca, ours.verify(createPublicKey(key)), ours.checkIssued(ours)]).toEqual([true, true, true])
})

test('a node is a server and a client, for a year', async () => {
  const authority = await makeAuthority('0123456789abcdef', nowMs)
  const key = newKey()
  const certificate = await issue(authority, '0123456789abcdef', 'a', createPublicKey(key), nowMs)
  const { subject, issuer, notAfter } = new x509.X509Certificate(certificate)
  expect([subject, issuer]).toEqual(['CN=a', 'CN=godwit cluster 0123456789abcdef'])
  expect(notAfter.toISOString()).toBe('2027-11-21T08:00:00.000Z')
  expect(extensionsOf(certificate)).toEqual([
    [true, false, undefined],
    [true, x509.KeyUsageFlags.digitalSignature],
    [false, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']],
    [
      false,
      [
        { type: 'url', value: 'godwit://0123456789abcdef/node/a' },
        { type: 'dns', value: 'a' },
      ],
    ],
    [false, 'by', await keyIdOf(authority.key)],
  ])
  const [ours, theirs] = [new X509Certificate(certificate), new X509Certificate(authority.certificate)]
  expect([ours.ca, ours.checkIssued(theirs), ours.verify(theirs.publicKey)]).toEqual([false, true, true])
})

test('no certificate outlives its authority', async () => {
  const authority = await makeAuthority('0123456789abcdef', nowMs)
  const certificate = await issue(
    authority,
    '0123456789abcdef',
    'a',
    createPublicKey(newKey()),
    Date.parse('2036-06-01'),
  )
  expect(new X509Certificate(certificate).validTo).toBe(new X509Certificate(authority.certificate).validTo)
})

test('an authority that says less of itself than ours do', async () => {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=godwit cluster 0123456789abcdef',
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    notBefore: new Date(nowMs),
    notAfter: new Date(nowMs + 1e9),
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  })
  const key = x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
  const authority = { certificate: made.toString('pem'), key }
  const certificate = new X509Certificate(
    await issue(authority, '0123456789abcdef', 'a', createPublicKey(newKey()), nowMs),
  )
  expect(certificate.checkIssued(new X509Certificate(authority.certificate))).toBe(true)
  expect(certificate.verify(createPublicKey(key))).toBe(true)
})

describe('revocation lists: whose, and until when', () => {
  for (const [issuer, ends, shown] of [
    ['CN=ours', '2026-12-01T00:00:00Z', 'CN=ours'],
    ['C=DE, O=Some & Sons, OU=x, CN=Ä', '2051-01-01T00:00:00Z', 'C=DE, O=Some & Sons, OU=x, CN=Ä'],
    ['CN=ours', undefined, 'CN=ours'],
  ] as const)
    test(`${issuer}, ${ends}`, async () => {
      const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
      const list = await x509.X509CrlGenerator.create({
        issuer,
        thisUpdate: new Date(nowMs),
        ...(ends !== undefined && { nextUpdate: new Date(ends) }),
        signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
        signingKey: keys.privateKey,
        entries: [{ serialNumber: '01', revocationDate: new Date(nowMs) }],
      })
      expect(await revocationLists([x509.PemConverter.encode(list.rawData, 'X509 CRL')])).toEqual([
        { issuer: shown, endsMs: ends && Date.parse(ends) },
      ])
    })
})
