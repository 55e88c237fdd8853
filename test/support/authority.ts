import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import type { PemFile } from '../../src/config/listener.ts'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const hourMs = 3_600_000

/** A certificate and its key, as a listener or a client names them. */
export interface Issued {
  readonly cert: PemFile
  readonly key: PemFile
  readonly serialNumber: string
}

interface Wanted {
  /** Default: an hour ago, and in an hour. */
  readonly fromMs?: number
  readonly toMs?: number
  readonly names?: x509.JsonGeneralNames
}

/** An authority that issues certificates of every kind, and revokes them. */
export class Authority {
  readonly cert: PemFile
  readonly #name: string
  readonly #keys: webcrypto.CryptoKeyPair
  #serial = 1

  private constructor(name: string, keys: webcrypto.CryptoKeyPair, cert: PemFile) {
    this.#name = name
    this.#keys = keys
    this.cert = cert
  }

  static async make(name: string): Promise<Authority> {
    x509.cryptoProvider.set(webcrypto)
    const keys = await newKeys()
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: '01',
      name: `CN=${name}`,
      keys,
      signingAlgorithm: algorithm,
      notBefore: new Date(Date.now() - 1000 * hourMs),
      notAfter: new Date(Date.now() + 1000 * hourMs),
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      ],
    })
    return new Authority(name, keys, { file: `${name}.pem`, pem: certificate.toString('pem') })
  }

  async issue(subject: string | x509.JsonName, { fromMs, toMs, names }: Wanted = {}): Promise<Issued> {
    const keys = await newKeys()
    const title = typeof subject === 'string' ? subject : 'odd'
    const serialNumber = (++this.#serial).toString(16).padStart(4, '0')
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber,
      subject,
      issuer: `CN=${this.#name}`,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: algorithm,
      notBefore: new Date(fromMs ?? Date.now() - hourMs),
      notAfter: new Date(toMs ?? Date.now() + hourMs),
      extensions: [
        new x509.SubjectAlternativeNameExtension(
          names ?? [
            { type: 'ip', value: '127.0.0.1' },
            { type: 'dns', value: title.replace(/^CN=/, '') },
          ],
        ),
      ],
    })
    const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)
    return {
      cert: { file: `${title}.pem`, pem: certificate.toString('pem') },
      key: { file: `${title}.key`, pem: x509.PemConverter.encode(der, 'PRIVATE KEY') },
      serialNumber,
    }
  }

  /** A revocation list. @param toMs until when it holds; default: an hour from now */
  async revoke(revoked: readonly Issued[], toMs = Date.now() + hourMs): Promise<PemFile> {
    const list = await x509.X509CrlGenerator.create({
      issuer: `CN=${this.#name}`,
      thisUpdate: new Date(Math.min(Date.now(), toMs) - hourMs),
      nextUpdate: new Date(toMs),
      signingAlgorithm: algorithm,
      signingKey: this.#keys.privateKey,
      entries: revoked.map(({ serialNumber }) => ({ serialNumber, revocationDate: new Date(Date.now() - hourMs) })),
    })
    return { file: `${this.#name}.crl`, pem: x509.PemConverter.encode(list.rawData, 'X509 CRL') }
  }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
}
