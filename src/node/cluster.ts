import { ClusterNode } from '../cluster/cluster.ts'
import type { ClusterConfig } from '../config/cluster.ts'
import { hostPortText } from '../config/host-port.ts'
import type { Host } from '../host.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import { ClusterDirectory } from '../platform/cluster-directory.ts'
import { openNodeIdentity } from '../platform/node-identity.ts'
import { TlsNet } from '../platform/tls-net.ts'
import type { RecoveredSession, Store } from '../store/port.ts'
import { ListenError } from './listen-error.ts'

export interface OpenCluster {
  readonly node: ClusterNode
  readonly clusterId: string
  /** Where other nodes dial us. */
  readonly address: string
  /** Dials the others. Done when clients may come: it is known what the others want, or nobody answers. */
  start(): Promise<void>
  close(): Promise<void>
}

export interface ClusterHost {
  readonly host: Host
  /** Folder of the node's own files; undefined: it keeps nothing. */
  readonly data: string | undefined
  readonly store: Store
  readonly recovered: { readonly sessions: readonly RecoveredSession[] }
  readonly topics: TopicTable
}

/** How often it is looked whether the certificate is near its end: it is made weeks before. */
const renewMs = 12 * 3_600_000

/**
 * Opens the cluster port, under the identity that the node has or gets. Whoever calls this makes the broker, and restores it, in
 * the same turn: other nodes may come from now on.
 * @throws ClusterIdentityError, JoinError, ListenError
 */
export async function openCluster(config: ClusterConfig, context: ClusterHost): Promise<OpenCluster> {
  const { joinToken, join, listen, settings, clientAddress } = config
  const { host, data, store, recovered, topics } = context
  const { log } = host
  const directory = config.directory === undefined ? undefined : new ClusterDirectory(config.directory)
  const identityOptions = { node: config.node, directory, joinToken, join, data, log }
  let identity = await openNodeIdentity(identityOptions)
  const net = new TlsNet({ identity, directory, log })
  const port = await net
    .listen(listen, (stream, peer) => node.accept(stream, peer))
    .catch((fault: unknown) => {
      throw new ListenError(`cluster://${hostPortText(listen)}`, fault)
    })
  const { clusterId } = identity
  const address = config.advertise ?? hostPortText({ host: listen.host, port })
  const node: ClusterNode = new ClusterNode({
    ...{ node: config.node, clusterId, address, join, settings },
    ...{ host, net, store, recovered, topics },
    ...(clientAddress !== undefined && { clientAddress }),
  })
  // A process may outlive the certificate that it was started with.
  const stopRenewing = host.clock.every(renewMs, () => {
    void openNodeIdentity(identityOptions, identity).then(
      (fresh) => {
        if (fresh !== identity) net.renew(fresh)
        identity = fresh
      },
      (err: unknown) => log.error({ err }, 'the certificate of this node could not be renewed'),
    )
  })
  return {
    node,
    clusterId,
    address,
    start() {
      node.start()
      return new Promise((resolve) => node.whenReady(resolve))
    },
    async close() {
      stopRenewing()
      node.stop()
      await net.close()
    },
  }
}
