import { type ClusterSettings, defaultClusterSettings } from '../cluster/cluster.ts'
import type { ParsedFile, Place } from './file.ts'
import { besideFile } from './files.ts'
import { type HostPort, hostPortText } from './host-port.ts'
import { clusterFlags, type Overrides, variableOf } from './overrides.ts'
import type { Problem } from './problem.ts'
import type { ClusterKey } from './schema.ts'

/** How this node takes part in a cluster. */
export interface ClusterConfig {
  /** The cluster's identity, as `godwit cluster init` made it; undefined: this node has its certificate, or a token for one. */
  readonly directory: string | undefined
  readonly joinToken: string | undefined
  /** Our name in it. */
  readonly node: string
  /** Where links of other nodes come in. Port 0: any free one. */
  readonly listen: HostPort
  /** Where other nodes dial us; undefined: where we listen. */
  readonly advertise: string | undefined
  /** Nodes to begin with; the rest is learned from them. */
  readonly join: readonly string[]
  /** Where clients that others send away may go on, as MQTT's server reference has it. */
  readonly clientAddress: string | undefined
  readonly settings: ClusterSettings
}

/** @returns undefined when nothing is said of a cluster. What is wrong goes to `problems`. */
export function clusterOf(
  flags: Overrides['cluster'],
  env: Overrides['cluster'],
  file: ParsedFile | undefined,
  problems: Problem[],
): ClusterConfig | undefined {
  const inFile = file?.values.cluster
  const said = { ...inFile, ...env, ...flags }
  const first = (Object.keys(said) as ClusterKey[])[0]
  if (first === undefined && inFile === undefined) return undefined
  const where = (key: ClusterKey): Place => {
    if (flags[key] !== undefined) return { source: clusterFlags[key] ?? key }
    if (env[key] !== undefined) return { source: variableOf('cluster', key) }
    return file!.where(inFile?.[key] === undefined ? ['cluster'] : ['cluster', key])
  }
  const needs = (key: ClusterKey, message: string): void => {
    problems.push({ ...where(first ?? key), message })
  }

  const { directory, joinToken, node, listen, advertise, join = [], clientAddress, ...numbers } = said
  if (node === undefined) needs('node', 'this node needs a name: --node NAME, GODWIT_CLUSTER_NODE or cluster.node')
  if (listen === undefined)
    needs(
      'listen',
      'this node needs an address for the others: --cluster-listen HOST:PORT, GODWIT_CLUSTER_LISTEN or cluster.listen',
    )
  if (joinToken !== undefined && directory !== undefined)
    problems.push({
      ...where('joinToken'),
      message: "a token is for a machine without the cluster's directory: leave one of them out",
    })
  if (joinToken !== undefined && join.length === 0)
    problems.push({
      ...where('joinToken'),
      message: 'whom to show the token to: --join HOST:PORT, GODWIT_CLUSTER_JOIN or cluster.join',
    })
  if (listen && advertise === undefined && (listen.host === '0.0.0.0' || listen.host === '::'))
    problems.push({
      ...where('listen'),
      message: `nobody can dial ${hostPortText(listen)}: say where the others reach this node: --cluster-advertise HOST:PORT, GODWIT_CLUSTER_ADVERTISE or cluster.advertise`,
    })
  if (node === undefined || listen === undefined) return undefined
  const beside = file && directory !== undefined && (flags.directory ?? env.directory) === undefined
  return {
    directory: beside ? besideFile(file.source, directory) : directory,
    joinToken,
    node,
    listen,
    advertise: advertise && hostPortText(advertise),
    join: join.map(hostPortText),
    clientAddress: clientAddress && hostPortText(clientAddress),
    settings: { ...defaultClusterSettings, ...(numbers as Partial<ClusterSettings>) },
  }
}
