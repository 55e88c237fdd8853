import { generate } from 'selfsigned'
import type { TlsSettings } from '../../src/config/listener.ts'

/** A certificate for 127.0.0.1 that is its own authority, and a client's that it has signed: PEM texts. */
export interface Certificates {
  readonly cert: string
  readonly key: string
  readonly clientCert: string
  readonly clientKey: string
}

export async function makeCertificates(commonName = 'test'): Promise<Certificates> {
  const made = await generate([{ name: 'commonName', value: commonName }], {
    keyType: 'ec',
    algorithm: 'sha256',
    clientCertificate: { cn: 'device' },
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] },
    ],
  })
  return { cert: made.cert, key: made.private, clientCert: made.clientcert!, clientKey: made.clientprivate! }
}

/** The settings of a listener that serves them. */
export function listenerTls({ cert, key }: Certificates, requestCert = false): TlsSettings {
  const file = (pem: string) => ({ file: 'in memory', pem })
  return { cert: file(cert), key: file(key), requestCert, ...(requestCert && { ca: file(cert) }) }
}
