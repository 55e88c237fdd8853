import 'reflect-metadata'
import { webcrypto, X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { describe, expect, test } from 'vitest'
import { CertificateAuthenticator, type CertificateName } from '../../src/access/certificate.ts'
import type { PeerCertificate } from '../../src/host.ts'
import { makeCertificates } from '../support/certificates.ts'
import { shows } from './kit.ts'

const nowMs = Date.parse('2026-11-21T08:00:00Z')
const certificate: PeerCertificate = {
  subject: { CN: 'device 7', O: 'x' },
  subjectaltname: 'DNS:d7.example, email:d7@example.org, URI:urn:d7, IP Address:192.0.2.7',
  valid_from: 'Nov 20 08:00:00 2026 GMT',
  valid_to: 'Nov 22 08:00:00 2026 GMT',
  authorized: true,
}

function ask(name: CertificateName, more: Partial<PeerCertificate> = {}): unknown {
  const answer = new CertificateAuthenticator(name, () => nowMs).authenticate(
    shows('whoever', undefined, { certificate: { ...certificate, ...more } }),
  )
  if (answer === 'not-mine') return answer
  return 'denied' in answer ? answer.denied : answer.identity.user
}

describe('row 17: the name in a certificate, as it stands there or not at all', () => {
  for (const [name, kind, more, wanted] of [
    ['common name', 'cn', {}, 'device 7'],
    ['DNS', 'dns', {}, 'd7.example'],
    ['e-mail', 'email', {}, 'd7@example.org'],
    ['URI', 'uri', {}, 'urn:d7'],
    [
      'a common name that looks like more of a DN',
      'cn',
      { subject: { CN: 'a/CN=admin, CN=admin' } },
      'a/CN=admin, CN=admin',
    ],
    ['two common names', 'cn', { subject: { CN: ['a', 'admin'] } }, 'certificate: 2 names of the kind cn'],
    ['no common name', 'cn', { subject: {} }, 'certificate: 0 names of the kind cn'],
    ['no subject', 'cn', { subject: undefined as never }, 'certificate: 0 names of the kind cn'],
    ['an empty common name', 'cn', { subject: { CN: '' } }, 'certificate: its cn is no name of a user'],
    ['NUL in it', 'cn', { subject: { CN: 'admin\0.example' } }, 'certificate: its cn is no name of a user'],
    ['a line in it', 'cn', { subject: { CN: 'a\nb' } }, 'certificate: its cn is no name of a user'],
    ['a very long one', 'cn', { subject: { CN: 'a'.repeat(257) } }, 'certificate: its cn is no name of a user'],
    ['no such name', 'dns', { subjectaltname: 'URI:urn:d7' }, 'certificate: 0 names of the kind dns'],
    ['no alternative names', 'dns', { subjectaltname: undefined as never }, 'certificate: 0 names of the kind dns'],
    ['two of them', 'dns', { subjectaltname: 'DNS:a, DNS:b' }, 'certificate: 2 names of the kind dns'],
    ['one that looks like two', 'dns', { subjectaltname: 'DNS:"a, DNS:admin"' }, 'a, DNS:admin'],
    ['one in another', 'dns', { subjectaltname: 'URI:"x, DNS:admin", DNS:a' }, 'a'],
    ['quotes in quotes', 'uri', { subjectaltname: 'URI:"a\\", DNS:\\"b", DNS:c' }, 'a", DNS:"b'],
    [
      'NUL in one',
      'dns',
      { subjectaltname: 'DNS:"admin\\u0000.example"' },
      'certificate: its dns is no name of a user',
    ],
    ['quotes without an end', 'dns', { subjectaltname: 'DNS:"a' }, 'certificate: its names cannot be read'],
    ['something behind the quotes', 'dns', { subjectaltname: 'DNS:"a"b' }, 'certificate: its names cannot be read'],
    ['no kind', 'dns', { subjectaltname: 'admin' }, 'certificate: its names cannot be read'],
    ['not found good', 'cn', { authorized: false }, 'certificate: TLS has not found it good'],
    ['over', 'cn', { valid_to: 'Nov 21 08:00:00 2026 GMT' }, 'certificate: it is not good at this time'],
    ['not yet', 'cn', { valid_from: 'Nov 21 08:00:01 2026 GMT' }, 'certificate: it is not good at this time'],
    ['no time', 'cn', { valid_to: 'soon' }, 'certificate: it is not good at this time'],
  ] as const)
    test(name, () => expect(ask(kind, more)).toBe(wanted))
})

test('it ends with the certificate', () => {
  expect(
    new CertificateAuthenticator('cn', () => nowMs).authenticate(shows(undefined, undefined, { certificate })),
  ).toEqual({
    identity: { user: 'device 7', source: 'certificate', expiresAt: Date.parse('2026-11-22T08:00:00Z') / 1000 },
  })
})

test('without a certificate it is for others', () => {
  expect(new CertificateAuthenticator('cn', () => nowMs).authenticate(shows('anna', 'x'))).toBe('not-mine')
})

test('a certificate that Node has read', async () => {
  const { clientCert } = await makeCertificates()
  const { subject, validFrom, validTo } = new X509Certificate(clientCert)
  expect(subject).toBe('CN=device')
  const legacy = new X509Certificate(clientCert).toLegacyObject() as unknown as PeerCertificate
  const answer = new CertificateAuthenticator('cn', () => Date.parse(validFrom) + 1000).authenticate(
    shows(undefined, undefined, { certificate: { ...legacy, authorized: true } }),
  )
  expect(answer).toEqual({ identity: { user: 'device', source: 'certificate', expiresAt: Date.parse(validTo) / 1000 } })
})

describe('odd certificates, as Node reads them', () => {
  async function made(name: x509.JsonName, names: x509.JsonGeneralNames): Promise<PeerCertificate> {
    x509.cryptoProvider.set(webcrypto)
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name,
      keys: await webcrypto.subtle.generateKey(algorithm, false, ['sign', 'verify']),
      signingAlgorithm: algorithm,
      notBefore: new Date(nowMs - 1000),
      notAfter: new Date(nowMs + 1000),
      ...(names.length > 0 && { extensions: [new x509.SubjectAlternativeNameExtension(names)] }),
    })
    const legacy = new X509Certificate(Buffer.from(certificate.rawData)).toLegacyObject() as unknown as PeerCertificate
    return { ...legacy, authorized: true }
  }

  for (const [title, kind, name, names, wanted] of [
    ['one common name', 'cn', [{ CN: ['device'] }], [], 'device'],
    ['two in two parts', 'cn', [{ CN: ['device'] }, { CN: ['admin'] }], [], 'certificate: 2 names of the kind cn'],
    ['two in one part', 'cn', [{ CN: ['device', 'admin'] }], [], 'certificate: 2 names of the kind cn'],
    ['one that looks like two', 'cn', [{ CN: ['device\\, CN=admin'] }], [], 'device, CN=admin'],
    ['one in another part', 'cn', [{ O: ['CN=admin'] }, { CN: ['device'] }], [], 'device'],
    ['none', 'cn', [{ O: ['admin'] }], [], 'certificate: 0 names of the kind cn'],
    ['NUL', 'cn', [{ CN: ['admin\0x'] }], [], 'certificate: its cn is no name of a user'],
    ['a DNS name', 'dns', [], [{ type: 'dns', value: 'd.example' }], 'd.example'],
    ['one that looks like two', 'dns', [], [{ type: 'dns', value: 'd, DNS:admin' }], 'd, DNS:admin'],
    [
      'a URI that looks like more',
      'dns',
      [],
      [{ type: 'url', value: 'urn:x, DNS:admin' }],
      'certificate: 0 names of the kind dns',
    ],
    ['NUL in one', 'dns', [], [{ type: 'dns', value: 'admin\0.example' }], 'certificate: its dns is no name of a user'],
    [
      'two',
      'email',
      [],
      [
        { type: 'email', value: 'a@x' },
        { type: 'email', value: 'b@x' },
      ],
      'certificate: 2 names of the kind email',
    ],
  ] as const)
    test(`${kind}: ${title}`, async () => {
      const given = await made(name as unknown as x509.JsonName, names as unknown as x509.JsonGeneralNames)
      expect(ask(kind, { subjectaltname: undefined as never, ...given })).toBe(wanted)
    })
})
