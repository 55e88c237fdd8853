import type { Hooks } from './access/hooks.ts'
import { Broker } from './broker/broker.ts'
import type { Observer } from './broker/observer.ts'
import { alone } from './cluster/alone.ts'
import type { Config } from './config/config.ts'
import { addressUrl, type Listener } from './config/listener.ts'
import type { Log, Stream, StreamEvents } from './host.ts'
import { nodeHost } from './platform/host.ts'
import { type Certificates, checkCertificates, type OpenListener, openListener } from './platform/listener.ts'
import { heapBytes } from './platform/process.ts'
import { MemoryStore } from './store/memory.ts'
import { version } from './version.ts'

export interface RunningNode {
  readonly listeners: readonly { readonly url: string }[]
  readonly broker: Broker
  /** Clients with an accepted CONNECT. */
  readonly clients: number
  /** Applies what can change while running: limits and TLS certificates. @throws and keeps all as it was on an error. */
  reload(config: Config): Promise<void>
  /** Takes nobody new, sends everybody away (v5: 0x8B), and ends when they are gone, or after `graceMs`. */
  drain(graceMs?: number): Promise<void>
  /** Ends at once. */
  close(): Promise<void>
}

/** Joins the rooms into one running node. @throws a ListenError when a listener cannot be opened; nothing runs then. */
export async function startNode(
  config: Config,
  log: Log,
  hooks: Hooks = {},
  observer: Observer = {},
): Promise<RunningNode> {
  const store = new MemoryStore()
  const host = nodeHost(log)
  const broker = new Broker({ host, limits: config.limits, store, cluster: alone, hooks, observer, version, heapBytes })
  const streams = new Set<Stream>()
  let emptied: (() => void) | undefined

  const accept = (stream: Stream): StreamEvents => {
    streams.add(stream)
    const client = broker.accept(stream)
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
  const finish = async () => {
    for (const stream of streams) stream.destroy()
    broker.stop()
    await store.close()
  }
  try {
    for (const listener of config.listeners) {
      const server = await openListener({
        ...listener,
        certificates: certificatesOf(listener),
        messageBytes: config.limits.packetBytes + 1024,
        handshakeSeconds: config.limits.connectSeconds,
        log,
        accept,
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
    if (streams.size > 0)
      await new Promise<void>((resolve) => {
        const stopWaiting = host.clock.every(graceMs, () => emptied?.())
        emptied = () => {
          stopWaiting()
          resolve()
        }
      })
    await finish()
    await closing
  }

  return {
    listeners: open.map(({ url }) => ({ url })),
    broker,
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
      broker.relimit(next.limits)
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
