import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { join, resolve } from 'node:path'
import type { Log } from '../host.ts'
import { isNearEnd, isOver, newKey } from './certificates.ts'
import { authorityOf, type ClusterDirectory } from './cluster-directory.ts'
import { certified } from './cluster-names.ts'
import { fetchCertificate, JoinError } from './join-client.ts'
import { ClusterIdentityError, makeSecretFolder, readSecret, writeSecret } from './secret-files.ts'

/** Who a node is, and how it proves that. PEM texts. */
export interface NodeIdentity {
  readonly clusterId: string
  readonly node: string
  readonly certificate: string
  readonly key: string
  /** The authority's certificate. */
  readonly authority: string
}

export interface IdentityOptions {
  readonly node: string
  /** The identity of the cluster; undefined: it is on another machine. */
  readonly directory: ClusterDirectory | undefined
  readonly joinToken: string | undefined
  /** Nodes that may be asked for a certificate. */
  readonly join: readonly string[]
  /** Folder of the node's own files; undefined: it keeps nothing. */
  readonly data: string | undefined
  readonly log: Log
}

/**
 * The identity of a node: the one that it has, or a fresh one when that is near its end, or there is none. Its files are in its
 * data folder:
 *
 *   cluster/node-key.pem    made here, and never sent anywhere
 *   cluster/node.pem        what the authority has signed
 *   cluster/ca.pem          the authority's own certificate
 *
 * @param held the one that is in use: comes back when it is good for longer
 * @throws ClusterIdentityError, JoinError
 */
export async function openNodeIdentity(options: IdentityOptions, held?: NodeIdentity): Promise<NodeIdentity> {
  const { directory, node, data } = options
  const kept = held ?? (data === undefined ? undefined : readKept(data))
  if (kept && kept.node !== node)
    throw new ClusterIdentityError(`${data} is of node ${kept.node}: call it so, or name a data directory of its own`)
  if (kept && directory && kept.clusterId !== directory.clusterId)
    throw new ClusterIdentityError(
      `${data} is of another cluster (${kept.clusterId}): name a data directory of its own`,
    )
  const certificate = kept && new X509Certificate(kept.certificate)
  const nowMs = Date.now()
  if (kept && !isNearEnd(certificate!, nowMs)) return kept
  const good = kept && !isOver(certificate!, nowMs) ? kept : undefined
  try {
    const fresh = directory ? await issued(directory, node, kept?.key) : await fetched(options, kept?.key, good)
    if (data !== undefined) keep(data, fresh)
    return fresh
  } catch (fault) {
    if (!(fault instanceof JoinError) || !good) throw fault
    const until = certificate!.validTo
    options.log.warn({ err: fault.message, until }, 'the certificate of this node could not be renewed; trying again')
    return good
  }
}

async function issued(directory: ClusterDirectory, node: string, key = newKey()): Promise<NodeIdentity> {
  const { clusterId, certificate: authority } = directory
  const certificate = await directory.issue(node, createPublicKey(createPrivateKey(key)))
  return { clusterId, node, certificate, key, authority }
}

/** @param good what proves who we are, if anything does yet */
async function fetched(
  { joinToken, join, node, data }: IdentityOptions,
  known: string | undefined,
  good: NodeIdentity | undefined,
): Promise<NodeIdentity> {
  if (joinToken === undefined && !good)
    throw new ClusterIdentityError(
      `${data ?? 'this node'} has no certificate that is good: --cluster DIR, where the cluster was made, or --join-token TOKEN from there`,
    )
  // The same key each time: whoever lost the answer asks again with what it has asked with.
  const key = known ?? (data === undefined ? newKey() : keyIn(data))
  const proof = good ?? joinToken!
  const { certificate, authority } = await fetchCertificate({ join, node, key, proof })
  return { clusterId: authorityOf(authority, 'the answer'), node, certificate, key, authority }
}

const files = { key: 'node-key.pem', certificate: 'node.pem', authority: 'ca.pem' } as const

function folderOf(data: string): string {
  return join(resolve(data), 'cluster')
}

/** @throws ClusterIdentityError */
function readKept(data: string): NodeIdentity | undefined {
  const folder = folderOf(data)
  const key = readSecret(join(folder, files.key))
  const certificate = readSecret(join(folder, files.certificate))
  const authority = readSecret(join(folder, files.authority))
  if (key === undefined || certificate === undefined || authority === undefined) return undefined
  const clusterId = authorityOf(authority, join(folder, files.authority))
  try {
    const parsed = new X509Certificate(certificate)
    const whose = certified(parsed)
    const fits =
      parsed.checkPrivateKey(createPrivateKey(key)) && parsed.verify(new X509Certificate(authority).publicKey)
    if (fits && whose?.node !== undefined && whose.clusterId === clusterId)
      return { clusterId, node: whose.node, certificate, key, authority }
  } catch {
    // No certificate, or no key, at all.
  }
  throw new ClusterIdentityError(`${folder} is damaged: remove it, and start with --cluster DIR or --join-token TOKEN`)
}

function keep(data: string, { key, certificate, authority }: NodeIdentity): void {
  const folder = folderOf(data)
  makeSecretFolder(folder)
  writeSecret(join(folder, files.key), key)
  writeSecret(join(folder, files.authority), authority)
  writeSecret(join(folder, files.certificate), certificate)
}

/** The key of a data folder, which is made where there is none. */
function keyIn(data: string): string {
  const folder = folderOf(data)
  makeSecretFolder(folder)
  const file = join(folder, files.key)
  const found = readSecret(file)
  if (found !== undefined) return found
  const made = newKey()
  writeSecret(file, made)
  return made
}
