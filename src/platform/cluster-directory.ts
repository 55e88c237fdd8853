import { createHash, createPublicKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { issue, makeAuthority } from './certificates.ts'
import { certified, isNodeName } from './cluster-names.ts'
import { isSignedBy, makeToken, parseToken } from './join-token.ts'
import { ClusterIdentityError, claimFile, makeSecretFolder, readSecret, writeSecret } from './secret-files.ts'

const names = { certificate: 'ca.pem', key: 'ca-key.pem', secret: 'join-secret' } as const

/** Makes the identity of a new cluster. @returns its id @throws ClusterIdentityError when anything is there already */
export async function initCluster(path: string): Promise<string> {
  const root = resolve(path)
  makeSecretFolder(root)
  const found = readdirSync(root)
  if (found.some((name) => name === names.certificate))
    throw new ClusterIdentityError(`${root} holds a cluster already: it stays as it is`)
  if (found.length > 0) throw new ClusterIdentityError(`${root} is not empty: name a new directory`)
  const clusterId = randomBytes(10).toString('hex')
  const { certificate, key } = await makeAuthority(clusterId, Date.now())
  // The certificate last: without it there is no cluster.
  writeSecret(join(root, names.secret), `${randomBytes(32).toString('base64url')}\n`)
  writeSecret(join(root, names.key), key)
  writeSecret(join(root, names.certificate), certificate)
  return clusterId
}

/** Why nobody gets a certificate. */
export class JoinRefusal extends Error {
  override readonly name = 'JoinRefusal'
}

/**
 * The identity of a cluster, for a node that was started with it: it may say who is who.
 *
 *   ca.pem, ca-key.pem   the authority that signs the nodes' certificates
 *   join-secret          signs tokens
 *   nodes/<name>         the hash of the key that a node has its certificate for
 *   used/<number>        tokens that were used: by which node and key, until when they would be good
 */
export class ClusterDirectory {
  readonly clusterId: string
  /** The authority's certificate, as PEM. */
  readonly certificate: string
  readonly #root: string
  readonly #key: string
  readonly #secret: string

  /** @throws ClusterIdentityError */
  constructor(path: string) {
    const root = resolve(path)
    const part = (name: string): string => {
      const text = readSecret(join(root, name))
      if (text !== undefined) return text.trim()
      throw new ClusterIdentityError(`${root} holds no cluster (there is no ${name}): godwit cluster init makes one`)
    }
    this.#root = root
    this.certificate = `${part(names.certificate)}\n`
    this.#key = part(names.key)
    this.#secret = part(names.secret)
    this.clusterId = authorityOf(this.certificate, join(root, names.certificate))
  }

  /** A certificate for a node on this machine, as PEM. Whoever may read the directory may take any name. */
  issue(node: string, publicKey: KeyObject): Promise<string> {
    const file = this.#file('nodes', node)
    if (readSecret(file)?.trim() !== keyHash(publicKey)) writeSecret(file, `${keyHash(publicKey)}\n`)
    return this.#sign(node, publicKey)
  }

  /** A token with which one node on another machine can fetch its certificate, once. */
  token(expiresMs: number): string {
    return makeToken(this.#secret, fingerprintOf(this.certificate), expiresMs)
  }

  /**
   * A certificate for a node on another machine, as PEM. Whoever lost the answer may ask again, with the same key.
   * @throws JoinRefusal
   */
  async redeem(text: string, node: string, publicKey: KeyObject): Promise<string> {
    const token = parseToken(text)
    if (token === undefined || !isSignedBy(token, this.#secret))
      throw new JoinRefusal('the token is not of this cluster, or was not copied whole')
    if (token.expiresMs <= Date.now())
      throw new JoinRefusal(`the token has expired, at ${new Date(token.expiresMs).toISOString()}`)
    const holder = `${node} ${keyHash(publicKey)}`
    this.#sweep()
    this.#checkName(node, publicKey)
    if (!this.#claim('used', token.number, `${token.expiresMs} ${holder}`, ([, ...by]) => by.join(' ') === holder))
      throw new JoinRefusal('the token has been used already: each is good for one node')
    this.#takeName(node, publicKey)
    return this.#sign(node, publicKey)
  }

  /** A fresh certificate for a node on another machine that has proven to be `node` by the one that it has. @throws JoinRefusal */
  async renew(node: string, publicKey: KeyObject): Promise<string> {
    this.#takeName(node, publicKey)
    return this.#sign(node, publicKey)
  }

  #sign(node: string, publicKey: KeyObject): Promise<string> {
    return issue({ certificate: this.certificate, key: this.#key }, this.clusterId, node, publicKey, Date.now())
  }

  #checkName(node: string, publicKey: KeyObject): void {
    const file = this.#file('nodes', node)
    const known = readSecret(file)?.trim()
    if (known !== undefined && known !== keyHash(publicKey))
      throw new JoinRefusal(
        `another node is called ${node}: choose another name, or, if that one is gone for good, remove ${file}`,
      )
  }

  #takeName(node: string, publicKey: KeyObject): void {
    this.#checkName(node, publicKey)
    this.#claim('nodes', node, keyHash(publicKey), ([hash]) => hash === keyHash(publicKey))
  }

  /** Leaves word in a file that nobody had before; or it says the same already. */
  #claim(folder: string, name: string, text: string, same: (fields: readonly string[]) => boolean): boolean {
    const file = this.#file(folder, name)
    if (claimFile(file, `${text}\n`)) return true
    return same((readSecret(file) ?? '').trim().split(' '))
  }

  /** Forgets used tokens that have expired: they are good for nothing. */
  #sweep(): void {
    for (const name of readdirSync(this.#folder('used')))
      if (Number((readSecret(this.#file('used', name)) ?? '').split(' ')[0]) < Date.now() - sweepMs)
        rmSync(this.#file('used', name), { force: true })
  }

  #file(folder: string, name: string): string {
    return join(this.#folder(folder), name)
  }

  #folder(name: string): string {
    const folder = join(this.#root, name)
    makeSecretFolder(folder)
    return folder
  }
}

/** A clock that is set back must not make a used token good again. */
const sweepMs = 86_400_000

/** The id of the cluster that a certificate is the authority of. @throws ClusterIdentityError */
export function authorityOf(pem: string, source: string): string {
  try {
    const certificate = new X509Certificate(pem)
    const whose = certified(certificate)
    if (certificate.ca && whose && whose.node === undefined) return whose.clusterId
  } catch {
    // No certificate at all.
  }
  throw new ClusterIdentityError(`${source} is not the authority of a cluster, or is damaged: restore it from a backup`)
}

/** SHA-256 of a certificate. */
export function fingerprintOf(pem: string): Buffer {
  return createHash('sha256').update(new X509Certificate(pem).raw).digest()
}

export function keyHash(publicKey: KeyObject): string {
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('hex')
}

/** A name and a public key as they came over the wire. @throws JoinRefusal */
export function parseApplicant(node: unknown, publicKey: unknown): { node: string; publicKey: KeyObject } {
  if (typeof node !== 'string' || !isNodeName(node)) throw new JoinRefusal('the name of the node cannot be used')
  try {
    if (typeof publicKey !== 'string' || publicKey.length > 500) throw new Error('no key')
    const key = createPublicKey({ key: Buffer.from(publicKey, 'base64'), type: 'spki', format: 'der' })
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return { node, publicKey: key }
  } catch {
    // No key at all.
  }
  throw new JoinRefusal('the public key of the node is no P-256 key')
}
