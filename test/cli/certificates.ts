import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generate } from 'selfsigned'

/** Files of a certificate that is its own authority, and of a client's that it has signed. */
export interface CertificateFiles {
  readonly cert: string
  readonly key: string
  readonly clientCert: string
  readonly clientKey: string
  readonly pem: { readonly cert: string; readonly key: string }
}

/** Makes a certificate for `name`, or for the address 127.0.0.1, and writes it into `folder`. */
export async function makeCertificate(folder: string, name?: string): Promise<CertificateFiles> {
  const made = await generate([{ name: 'commonName', value: name ?? 'test' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    clientCertificate: { cn: 'device' },
    extensions: [
      { name: 'basicConstraints', cA: true },
      {
        name: 'subjectAltName',
        altNames: [name === undefined ? { type: 7, ip: '127.0.0.1' } : { type: 2, value: name }],
      },
    ],
  })
  const write = (file: string, text: string): string => {
    const path = join(folder, `${name ?? 'address'}-${file}`)
    writeFileSync(path, text)
    return path
  }
  return {
    cert: write('cert.pem', made.cert),
    key: write('key.pem', made.private),
    clientCert: write('client-cert.pem', made.clientcert!),
    clientKey: write('client-key.pem', made.clientprivate!),
    pem: { cert: made.cert, key: made.private },
  }
}
