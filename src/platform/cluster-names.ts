import type { X509Certificate } from 'node:crypto'

// How a certificate says whose it is, in its subject's alternative names:
//
//   authority   URI godwit://<cluster id>
//   node        URI godwit://<cluster id>/node/<node>, and DNS <node>

/** Of a node: a label of a host name. */
const nodeShape = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const clusterShape = /^[0-9a-f]{8,64}$/

export function isNodeName(text: string): boolean {
  return nodeShape.test(text)
}

export function authorityUri(clusterId: string): string {
  return `godwit://${clusterId}`
}

export function nodeUri(clusterId: string, node: string): string {
  return `godwit://${clusterId}/node/${node}`
}

/** Whose a certificate is; undefined: it is none of ours. Whoever signed it has to be checked apart from this. */
export function certified({
  subjectAltName,
}: X509Certificate): { readonly clusterId: string; readonly node: string | undefined } | undefined {
  // Our names need no quotes, and a name with quotes is none of ours.
  const uris = (subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'))
  if (uris.length !== 1) return undefined
  const [, clusterId, node] = /^URI:godwit:\/\/([^/]+)(?:\/node\/([^/]+))?$/.exec(uris[0]!) ?? []
  if (clusterId === undefined || !clusterShape.test(clusterId)) return undefined
  if (node !== undefined && !isNodeName(node)) return undefined
  return { clusterId, node }
}
