import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import { revocationLists } from './certificates.ts'
import { tlsWords } from './tls-words.ts'

/** A file of the TLS settings: the path for messages, the text as it was when the configuration was loaded. */
export interface PemFile {
  readonly file: string
  readonly pem: string
}

export interface KeyPair {
  readonly cert: PemFile
  readonly key: PemFile
}

/** Who we are to a client, and whether it must show a certificate of its own. */
export interface TlsSettings extends KeyPair {
  /** Authorities that client certificates are checked against. */
  readonly ca?: PemFile
  readonly requestCert: boolean
  /** Their revocation lists. With one, each authority of a chain must have one that has not expired. */
  readonly crl?: readonly PemFile[]
  /** Who we are to clients that ask for one of these hosts: a name, or `*.` and the rest of one. */
  readonly sni?: readonly (KeyPair & { readonly hosts: readonly string[] })[]
}

/** A file that TLS cannot use; the message names it. */
export class TlsFileError extends Error {
  override readonly name = 'TlsFileError'
}

/**
 * What a TLS listener shows and checks, made of one set of files. A reload makes another; connections keep theirs.
 *
 *   host that the client asks for ─▶ its name ─▶ *. in place of its first label ─▶ the listener's own certificate
 */
export class TlsContexts {
  /** The listener's own, for those who ask for no host, or for one that is not listed. */
  readonly options: SecureContextOptions
  readonly requestCert: boolean
  /** What an operator should know of the files, though they can be used. */
  readonly worries: readonly string[]
  readonly #hosts: ReadonlyMap<string, SecureContext>

  private constructor(settings: TlsSettings, worries: readonly string[]) {
    const checks = checksOf(settings)
    this.options = { ...shown(settings), ...checks }
    this.requestCert = settings.requestCert
    this.worries = worries
    this.#hosts = new Map(
      (settings.sni ?? []).flatMap(({ hosts, ...pair }) => {
        const context = createSecureContext({ ...shown(pair), ...checks })
        return hosts.map((host) => [host, context] as const)
      }),
    )
  }

  /** @throws TlsFileError when a file cannot be used */
  static async open(settings: TlsSettings, nowMs: number): Promise<TlsContexts> {
    const pairs = [settings, ...(settings.sni ?? [])]
    const worries = [...pairs.flatMap((pair) => checkPair(pair, nowMs)), ...(await checkLists(settings, nowMs))]
    return new TlsContexts(settings, worries)
  }

  /** @param host as the client has sent it; undefined when only the listener's own certificate is for it */
  contextFor(host: string): SecureContext | undefined {
    const name = host.toLowerCase()
    return this.#hosts.get(name) ?? this.#hosts.get(`*${name.slice(name.indexOf('.'))}`)
  }
}

function shown({ cert, key }: KeyPair): SecureContextOptions {
  return { cert: cert.pem, key: key.pem }
}

function checksOf({ ca, crl, requestCert }: TlsSettings): SecureContextOptions {
  return {
    ...(ca && { ca: ca.pem }),
    ...(crl && { crl: crl.flatMap(({ pem }) => listsIn(pem)) }),
    minVersion: 'TLSv1.2',
    // Those of TLS 1.3 are all so.
    ciphers: 'ECDHE+AESGCM:ECDHE+CHACHA20',
    honorCipherOrder: true,
    // A session that is resumed brings its certificate along unchecked, also one that has been revoked since.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (requestCert ? constants.SSL_OP_NO_TICKET : 0),
  }
}

function checkPair({ cert, key }: KeyPair, nowMs: number): string[] {
  const certificate = used(cert, (pem) => new X509Certificate(pem))
  const privateKey: KeyObject = used(key, (pem) => createPrivateKey(pem))
  if (!certificate.checkPrivateKey(privateKey)) throw new TlsFileError(`${key.file} is not the key to ${cert.file}`)
  used(cert, () => createSecureContext(shown({ cert, key })))
  const end = certificate.validTo
  return Date.parse(end) > nowMs ? [] : [`${cert.file} has expired (${end}): clients do not trust it`]
}

async function checkLists({ ca, crl }: TlsSettings, nowMs: number): Promise<string[]> {
  if (ca) used(ca, (pem) => new X509Certificate(pem))
  if (!crl) return []
  const worries: string[] = []
  for (const file of crl) {
    const lists = listsIn(file.pem)
    // Without a list nothing would be checked.
    if (lists.length === 0) throw new TlsFileError(`${file.file} holds no revocation list`)
    used(file, () => createSecureContext({ crl: lists }))
    for (const { issuer, endsMs } of await revocationLists(lists)) {
      if (endsMs !== undefined && endsMs <= nowMs)
        worries.push(
          `${file.file}: the revocation list of ${issuer} has expired (${new Date(endsMs).toISOString()}): ` +
            'clients whose certificates it is for are refused until there is a new one',
        )
    }
  }
  return worries
}

function used<T>({ file, pem }: PemFile, use: (pem: string) => T): T {
  try {
    return use(pem)
  } catch (fault) {
    throw new TlsFileError(`${file} cannot be used: ${tlsWords(fault as Error)}`, { cause: fault })
  }
}

/** Node reads one list of a text, and no more. */
function listsIn(pem: string): string[] {
  return pem.match(/-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----/g) ?? []
}

/** The socket that TLS runs on. Node has no other way to it, and once a handshake has failed TLS knows no address any more. */
export function below(socket: Duplex): Socket {
  return (socket as unknown as { _parent: Socket })._parent
}
