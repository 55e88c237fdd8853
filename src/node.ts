import { ConnectionRates } from './access/connection-rates.ts'
import type { Hooks } from './access/hooks.ts'
import { aloneControl } from './admin/alone.ts'
import { type AdminOptions, openAdmin, type OpenAdmin } from './admin/listener.ts'
import { clusterControl } from './admin/cluster-control.ts'
import { Broker } from './broker/broker.ts'
import { DurabilityRules } from './broker/durability.ts'
import type { Observer } from './broker/observer.ts'
import type { Keeping } from './broker/publishing.ts'
import { alone } from './cluster/alone.ts'
import type { AdminConfig } from './config/admin.ts'
import type { ClusterConfig } from './config/cluster.ts'
import type { Config } from './config/config.ts'
import { hostPortText } from './config/host-port.ts'
import { addressUrl, type Listener } from './config/listener.ts'
import { welcomesOrigin } from './config/origins.ts'
import type { DiskFault, Host, Log, Stream, StreamEvents } from './host.ts'
import { TopicTable } from './mqtt/topic.ts'
import { NodeAccess, type OpenHasher } from './node/access.ts'
import type { ClusterHost, OpenCluster } from './node/cluster.ts'
import { ListenError } from './node/listen-error.ts'
import { rulebookOf } from './node/rulebook.ts'
import { openStore } from './node/store.ts'
import { nodeHost } from './platform/host.ts'
import { nodeMemory } from './platform/memory.ts'
import { PasswordPool } from './platform/password-pool.ts'
import { type ListenSettings, type OpenListener, openListener } from './platform/listener.ts'
import { Lobby } from './platform/lobby.ts'
import { collectGarbage, heapBytes, mostSockets } from './platform/process.ts'
import { Proxies } from './platform/proxies.ts'
import { TlsContexts } from './platform/tls.ts'
import { Places } from './store/places.ts'
import { version } from './version.ts'

export { ListenError }

export interface RunningNode {
  readonly listeners: readonly { readonly url: string }[]
  readonly broker: Broker
  /** URL of the admin listener; undefined: there is none. */
  readonly admin: string | undefined
  /** Undefined: it is alone. */
  readonly cluster:
    { readonly node: string; readonly address: string; readonly directory: string | undefined } | undefined
  /** Where it keeps what outlives the process; undefined: nowhere. */
  readonly data: string | undefined
  /** Resolves when the disk has failed: nothing is promised any more, nobody is served, and the process had better end. */
  readonly failed: Promise<DiskFault>
  /** Resolves when it has left its cluster for good, and had better end. */
  readonly left: Promise<void>
  /** Clients with an accepted CONNECT. */
  readonly clients: number
  /** Applies what can change while running: limits and TLS certificates. @throws and keeps all as it was on an error. */
  reload(config: Config): Promise<void>
  /** Takes nobody new, sends everybody away (v5: 0x8B), and ends when they are gone, or after `graceMs`. */
  drain(graceMs?: number): Promise<void>
  /** Ends at once. */
  close(): Promise<void>
}

/** So many are read back that what is left over of it is worth a pause, before anybody is served. */
const manySessions = 10_000

/**
 * Joins the rooms into one running node.
 * @throws DataFolderError when the data folder cannot be used, ClusterIdentityError or JoinError when there is no certificate for
 * the cluster, ListenError when a listener cannot be opened; nothing runs then
 */
export async function startNode(
  config: Config,
  log: Log,
  hooks: Hooks = {},
  observer: Observer = {},
  hasher: OpenHasher = new PasswordPool(),
): Promise<RunningNode> {
  const host = nodeHost(log)
  const topics = new TopicTable(host.random.below(0x1_0000_0000))
  const places = new Places()
  const { store, recovered, closeStore, failed } = await openStore(config, host, topics, places)
  // A cluster looks for its own first; alone, nobody has all sessions twice.
  const sessions = config.cluster ? [...recovered.sessions] : []
  const data = config.store && config.data
  const cluster =
    config.cluster &&
    (await openCluster(config.cluster, { host, data, store, topics, recovered: { sessions } }).catch(
      async (fault: unknown) => {
        await closeStore()
        throw fault
      },
    ))
  let door: NodeAccess
  try {
    door = new NodeAccess(config, host, hasher, data)
  } catch (fault) {
    await cluster?.close()
    await closeStore()
    throw fault
  }
  const arrivals = new ConnectionRates(config.connectionRates)
  const lobby = new Lobby({ clock: host.clock, log, arrivals, limits: config.limits, most: mostSockets() })
  const broker = new Broker({
    host,
    limits: config.limits,
    keeping: keepingOf(config),
    rates: config.rates,
    tenants: config.tenants,
    memory: config.memory && { ...config.memory, gauge: nodeMemory() },
    store,
    topics,
    places,
    cluster: cluster?.node ?? alone,
    access: door.access,
    hooks,
    rulebook: rulebookOf(config, hooks),
    observer,
    version,
    heapBytes,
    connectionsRefused: () => Object.values(lobby.refused).reduce((sum, count) => sum + count, 0),
  })
  broker.restore(cluster ? { ...recovered, sessions } : recovered)
  if (broker.sessions.size >= manySessions) collectGarbage()
  const streams = new Set<Stream>()
  let emptied: (() => void) | undefined

  const accept = (stream: Stream, { durability, allowAnonymous }: Listener): StreamEvents => {
    streams.add(stream)
    const client = broker.accept(stream, durability, allowAnonymous)
    return {
      data: (chunk) => client.data(chunk),
      closed: (fault) => {
        streams.delete(stream)
        client.closed(fault)
        if (streams.size === 0) emptied?.()
      },
    }
  }

  const listen = async (listener: Listener) =>
    openListener({
      ...listener,
      settings: await settingsOf(listener, host),
      messageBytes: config.limits.packetBytes + 1024,
      lobby,
      log,
      accept: (stream) => accept(stream, listener),
    })
  const open: { listener: Listener; url: string; server: OpenListener }[] = []
  const closeListeners = async () => {
    const closed = open.splice(0).map(({ server }) => server.close())
    lobby.close()
    await Promise.all(closed)
  }
  const empty = async (mostMs: number) => {
    if (streams.size === 0) return
    await new Promise<void>((resolve) => {
      const stopWaiting = host.clock.every(mostMs, () => emptied?.())
      emptied = () => {
        stopWaiting()
        resolve()
      }
    })
  }
  let admin: OpenAdmin | undefined
  let leave = () => {}
  const left = new Promise<void>((resolve) => (leave = resolve))
  const finish = async () => {
    for (const stream of streams) stream.destroy()
    // What it means for a session that its client is gone is kept, too.
    await empty(1000)
    await cluster?.close()
    broker.stop()
    await door.close()
    await admin?.close()
    await closeStore()
  }
  try {
    await cluster?.start()
    for (const listener of config.listeners) {
      const server = await listen(listener).catch((fault: unknown) => {
        throw new ListenError(listener.url, fault)
      })
      open.push({ listener, url: addressUrl({ ...listener, port: server.port }), server })
    }
    const { sessions } = broker
    const control = cluster
      ? clusterControl({ cluster: cluster.node, clusterId: cluster.clusterId, sessions, left: () => leave() })
      : aloneControl({
          incarnation: host.clock.wall(),
          clients: () => sessions.online,
          sessions: () => sessions.size,
        })
    if (config.admin)
      admin = await openAdminListener(config.admin, {
        data,
        control,
        tenants: () => broker.tenantFigures(),
        refusals: () => ({
          connections: lobby.refused,
          rates: arrivals.refused,
          logIns: broker.logIns,
          reasons: Object.fromEntries(broker.ledger.refusals),
        }),
        audited: (...change) => door.administered(...change),
        log,
      })
  } catch (fault) {
    await Promise.all([closeListeners(), finish()])
    throw fault
  }

  let drained: Promise<void> | undefined
  const drain = async (graceMs: number) => {
    const closing = closeListeners()
    broker.drain()
    await empty(graceMs)
    await finish()
    await closing
  }
  void failed.then((fault) => {
    log.error({ err: fault }, 'the disk has failed: nothing can be promised any more, everybody is sent away')
    void closeListeners()
    for (const stream of streams) stream.destroy()
  })

  return {
    listeners: open.map(({ url }) => ({ url })),
    broker,
    admin: admin?.url,
    cluster: config.cluster &&
      cluster && { node: config.cluster.node, address: cluster.address, directory: config.cluster.directory },
    data,
    failed,
    left,
    get clients() {
      return broker.sessions.online
    },
    async reload(next) {
      // Certificates, peers and origins can change under a running listener; a new set of listeners needs a restart, and says so.
      const wanted = next.listeners.map(({ url }) => url).join(' ')
      if (wanted !== config.listeners.map(({ url }) => url).join(' '))
        log.warn({ wanted }, 'listeners have changed; that takes effect at the next start')
      // Files that cannot be used throw before anything has changed.
      const fresh = await Promise.all(
        open.map(async ({ listener, server }) => {
          const same = next.listeners.find(({ url }) => url === listener.url)
          return { server, settings: same && (await settingsOf(same, host)) }
        }),
      )
      for (const { server, settings } of fresh) if (settings) server.change(settings)
      arrivals.relimit(next.connectionRates, host.clock.now())
      lobby.limits = next.limits
      if (next.data !== config.data || JSON.stringify(next.store) !== JSON.stringify(config.store))
        log.warn({ data: next.data, store: next.store }, 'the store has changed; that takes effect at the next start')
      if (JSON.stringify([next.cluster, next.admin]) !== JSON.stringify([config.cluster, config.admin]))
        log.warn({}, 'the cluster or the admin listener has changed; that takes effect at the next start')
      // First: whoever belongs to a tenant that is gone must go, too.
      broker.relimit(next.limits, keepingOf(next), next.rates, next.memory?.limitBytes, next.tenants)
      const sendAway = broker.review(door.reload(next))
      broker.permit(rulebookOf(next, hooks))
      sendAway()
    },
    drain: (graceMs = 5000) => (drained ??= drain(graceMs)),
    async close() {
      const closing = closeListeners()
      await finish()
      await closing
    },
  }
}

/** A broker alone loads nothing of it. @throws ClusterIdentityError, JoinError, ListenError */
async function openCluster(config: ClusterConfig, context: ClusterHost): Promise<OpenCluster> {
  return (await import('./node/cluster.ts')).openCluster(config, context)
}

/** @throws ListenError, AdminTokenError */
async function openAdminListener(
  config: AdminConfig,
  rest: Pick<AdminOptions, 'data' | 'control' | 'tenants' | 'refusals' | 'audited' | 'log'>,
): Promise<OpenAdmin> {
  try {
    return await openAdmin({ ...config, ...rest })
  } catch (fault) {
    const system =
      (fault as { syscall?: string }).syscall === 'listen' || (fault as { code?: string }).code === 'ENOTFOUND'
    throw system ? new ListenError(`http://${hostPortText(config)}`, fault) : fault
  }
}

function keepingOf({ durability, durabilityByTopic, overflow }: Config): Keeping {
  return { durability, rules: new DurabilityRules(durabilityByTopic), overflow }
}

/** @throws TlsFileError */
async function settingsOf(listener: Listener, { clock, log }: Host): Promise<ListenSettings> {
  const tls = listener.tls && (await TlsContexts.open(listener.tls, clock.wall()))
  for (const worry of tls?.worries ?? []) log.error({ url: listener.url }, worry)
  return {
    tls,
    proxies: new Proxies(listener.proxy ?? []),
    isWelcome: (origin, host) => welcomesOrigin(listener, origin, host),
  }
}
