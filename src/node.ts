import type { Hooks } from './access/hooks.ts'
import { Broker } from './broker/broker.ts'
import { DurabilityRules } from './broker/durability.ts'
import type { Observer } from './broker/observer.ts'
import type { Keeping } from './broker/publishing.ts'
import { alone } from './cluster/alone.ts'
import type { Config } from './config/config.ts'
import { addressUrl, type Listener } from './config/listener.ts'
import type { DiskFault, Host, Log, Stream, StreamEvents } from './host.ts'
import { TopicTable } from './mqtt/topic.ts'
import { checksum } from './platform/checksum.ts'
import { openDataFolder } from './platform/data-folder.ts'
import { nodeHost } from './platform/host.ts'
import { type Certificates, checkCertificates, type OpenListener, openListener } from './platform/listener.ts'
import { collectGarbage, heapBytes } from './platform/process.ts'
import { openDiskStore } from './store/disk-store.ts'
import { MemoryStore } from './store/memory.ts'
import { Places } from './store/places.ts'
import type { Recovered, Store } from './store/port.ts'
import { version } from './version.ts'

export interface RunningNode {
  readonly listeners: readonly { readonly url: string }[]
  readonly broker: Broker
  /** Where it keeps what outlives the process; undefined: nowhere. */
  readonly data: string | undefined
  /** Resolves when the disk has failed: nothing is promised any more, nobody is served, and the process had better end. */
  readonly failed: Promise<DiskFault>
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
 * @throws DataFolderError when the data folder cannot be used, ListenError when a listener cannot be opened; nothing runs then
 */
export async function startNode(
  config: Config,
  log: Log,
  hooks: Hooks = {},
  observer: Observer = {},
): Promise<RunningNode> {
  const host = nodeHost(log)
  const topics = new TopicTable(host.random.below(0x1_0000_0000))
  const places = new Places()
  const { store, recovered, closeStore, failed } = await openStore(config, host, topics, places)
  const broker = new Broker({
    host,
    limits: config.limits,
    keeping: keepingOf(config),
    store,
    topics,
    places,
    cluster: alone,
    hooks,
    observer,
    version,
    heapBytes,
  })
  broker.restore(recovered)
  if (broker.sessions.size >= manySessions) collectGarbage()
  const streams = new Set<Stream>()
  let emptied: (() => void) | undefined

  const accept = (stream: Stream, { durability }: Listener): StreamEvents => {
    streams.add(stream)
    const client = broker.accept(stream, durability)
    return {
      data: (chunk) => client.data(chunk),
      closed: (fault) => {
        streams.delete(stream)
        client.closed(fault)
        if (streams.size === 0) emptied?.()
      },
    }
  }

  const open: { listener: Listener; url: string; server: OpenListener }[] = []
  const closeListeners = async () => {
    await Promise.all(open.splice(0).map(({ server }) => server.close()))
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
  const finish = async () => {
    for (const stream of streams) stream.destroy()
    // What it means for a session that its client is gone is kept, too.
    await empty(1000)
    broker.stop()
    await closeStore()
  }
  try {
    for (const listener of config.listeners) {
      const server = await openListener({
        ...listener,
        certificates: certificatesOf(listener),
        messageBytes: config.limits.packetBytes + 1024,
        handshakeSeconds: config.limits.connectSeconds,
        log,
        accept: (stream) => accept(stream, listener),
      }).catch((fault: unknown) => {
        throw new ListenError(listener.url, fault)
      })
      open.push({ listener, url: addressUrl({ ...listener, port: server.port }), server })
    }
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
    data: config.store && config.data,
    failed,
    get clients() {
      return broker.sessions.online
    },
    reload(next) {
      // Only certificates can change under a running listener; a new set of listeners needs a restart, and says so.
      const wanted = next.listeners.map(({ url }) => url).join(' ')
      if (wanted !== config.listeners.map(({ url }) => url).join(' '))
        log.warn({ wanted }, 'listeners have changed; that takes effect at the next start')
      const fresh = open.flatMap(({ listener, server }) => {
        const same = next.listeners.find(({ url }) => url === listener.url)
        const certificates = same && certificatesOf(same)
        return certificates ? [{ server, certificates }] : []
      })
      // Those that cannot be used throw before anything has changed.
      for (const { certificates } of fresh) checkCertificates(certificates)
      for (const { server, certificates } of fresh) server.setCertificates(certificates)
      if (next.data !== config.data || JSON.stringify(next.store) !== JSON.stringify(config.store))
        log.warn({ data: next.data, store: next.store }, 'the store has changed; that takes effect at the next start')
      broker.relimit(next.limits, keepingOf(next))
      return Promise.resolve()
    },
    drain: (graceMs = 5000) => (drained ??= drain(graceMs)),
    async close() {
      const closing = closeListeners()
      await finish()
      await closing
    },
  }
}

interface OpenStore {
  readonly store: Store
  readonly recovered: Recovered
  readonly failed: Promise<DiskFault>
  readonly closeStore: () => Promise<void>
}

/** Opens what the configuration names. @throws DataFolderError */
async function openStore(
  { data, store: settings, durability }: Config,
  host: Host,
  topics: TopicTable,
  places: Places,
): Promise<OpenStore> {
  if (settings === undefined) {
    const store = new MemoryStore()
    const recovered = { sessions: [], retained: [] }
    return { store, recovered, failed: new Promise(() => {}), closeStore: () => store.close() }
  }
  const folder = await openDataFolder(data, true)
  try {
    const { disk, index, storeId } = folder
    const { clock, log } = host
    const opened = openDiskStore({
      ...settings,
      disk,
      index,
      clock,
      log,
      storeId,
      topics,
      places,
      checksum,
      durability,
    })
    const { store, recovered } = opened
    return {
      store,
      recovered,
      failed: new Promise((resolve) => store.onFailure(resolve)),
      closeStore: () => store.close().finally(() => folder.close()),
    }
  } catch (fault) {
    await folder.close()
    throw fault
  }
}

function keepingOf({ durability, durabilityByTopic, overflow }: Config): Keeping {
  return { durability, rules: new DurabilityRules(durabilityByTopic), overflow }
}

/** A listener that could not be opened. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
  readonly code: string | undefined
  constructor(
    readonly url: string,
    cause: unknown,
  ) {
    super(`cannot listen on ${url}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.code = (cause as { code?: string }).code
  }
}

function certificatesOf({ tls }: Listener): Certificates | undefined {
  if (!tls) return undefined
  const { cert, key, ca, requestCert } = tls
  return { cert: cert.pem, key: key.pem, ...(ca && { ca: ca.pem }), requestCert }
}
