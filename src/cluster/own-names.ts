// What the cluster keeps in a node's store stands there as sessions, under client ids that no client can have: U+0000 is in no
// MQTT string.

/** Our own place: its epoch is our incarnation. */
export const selfName = '\0node'
/** … node / incarnation: what is on its way to a node, since that start of ours. */
export const outPrefix = '\0out/'
/** … node / incarnation: what has come from a node, since that start of it. */
export const inPrefix = '\0in/'
/** … node / part: what a node wants, as it is remembered over a restart. */
export const tablePrefix = '\0table/'
/** … client id: a session on its way to us. */
export const arrivingPrefix = '\0arriving/'

/** What a person reads of such a session; undefined for that of a client. */
export function ownText(clientId: string): string | undefined {
  if (!clientId.startsWith('\0')) return undefined
  if (clientId === selfName) return '(cluster: this node)'
  const told = ([prefix, text]: readonly [string, string]): string | undefined => {
    if (!clientId.startsWith(prefix)) return undefined
    const rest = clientId.slice(prefix.length)
    return `(cluster: ${text} ${prefix === arrivingPrefix ? rest : rest.slice(0, rest.lastIndexOf('/'))})`
  }
  for (const kind of kinds) {
    const text = told(kind)
    if (text !== undefined) return text
  }
  return `(cluster: ${clientId.slice(1)})`
}

const kinds = [
  [outPrefix, 'queue to node'],
  [inPrefix, 'received from node'],
  [tablePrefix, 'wishes of node'],
  [arrivingPrefix, 'arriving session'],
] as const
