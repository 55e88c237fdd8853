import type { Hooks } from './access/hooks.ts'
import type { Limits } from './broker/limits.ts'
import type { Observer } from './broker/observer.ts'
import { loadConfig } from './config/config.ts'
import type { Log } from './host.ts'
import type { QoS } from './mqtt/topic.ts'
import { startNode } from './node.ts'
import { memoryThere } from './platform/memory.ts'
import { readText } from './platform/files.ts'

export { Denied } from './access/hooks.ts'
export type {
  ClientInfo,
  ExchangeAnswer,
  ExchangeStep,
  Hooks,
  PublishRequest,
  SubscribeRequest,
} from './access/hooks.ts'
export { defaultLimits, type Limits } from './broker/limits.ts'
export { ConfigError } from './config/problem.ts'
export type { Log } from './host.ts'
export { Reason } from './mqtt/reason.ts'
export type { QoS } from './mqtt/topic.ts'
export { ListenError } from './node.ts'
export { version } from './version.ts'

export interface BrokerOptions extends Hooks {
  /** `tcp://`, `tls://`, `ws://` or `wss://host:port`; default: loopback, TCP 1883 and WebSocket 8083. */
  readonly listen?: string | readonly string[]
  /** Folder of what must outlive the process. Without it, and without `config`, everything is in memory only. */
  readonly data?: string
  /** A configuration file (YAML); `listen`, `limits` and `allowPublic` win over it. */
  readonly config?: string
  readonly limits?: Partial<Limits>
  /** Let other machines connect although there is no `authenticate`. */
  readonly allowPublic?: boolean
  /** Where the broker says what happens; `pino()` fits. Default: nowhere. */
  readonly log?: Log
}

/** What a broker tells, by the name of the event. */
export interface BrokerEvents {
  /** A client was welcomed. */
  connected: {
    readonly id: string
    readonly username: string | undefined
    readonly tenant: string | undefined
    readonly remote: string
  }
  disconnected: { readonly id: string; readonly reason: string }
  subscribed: { readonly id: string; readonly filter: string; readonly qos: QoS }
  unsubscribed: { readonly id: string; readonly filter: string }
  /** A client's message was accepted. */
  published: {
    readonly id: string
    readonly topic: string
    readonly payload: Uint8Array
    readonly qos: QoS
    readonly retain: boolean
  }
  /** A message did not reach this client, and why. */
  lost: { readonly id: string; readonly topic: string; readonly reason: string }
}

export interface PublishOptions {
  readonly topic: string
  readonly payload: string | Uint8Array
  /** Default 0. */
  readonly qos?: QoS
  readonly retain?: boolean
}

export interface GodwitBroker {
  /** Where it listens, with the real ports. */
  readonly listeners: readonly { readonly url: string }[]
  /** Clients that are connected. */
  readonly clients: number
  /** Publishes as the broker itself: no permission is asked. @throws MqttError for a bad topic. */
  publish(message: PublishOptions): void
  /** Calls `listener` on each such event; gives a function that stops that. */
  on<Name extends keyof BrokerEvents>(name: Name, listener: (event: BrokerEvents[Name]) => void): () => void
  /** Takes nobody new, sends everybody away in order, and ends. */
  close(): Promise<void>
}

/**
 * Starts a broker in this process.
 *
 *     const broker = await createBroker({ listen: 'tcp://127.0.0.1:1883' })
 *
 * @throws ConfigError when an option is wrong, ListenError when a listener cannot be opened; nothing runs then
 */
export async function createBroker(options: BrokerOptions = {}): Promise<GodwitBroker> {
  const { listen, data, config: file, limits, log = silent } = options
  const config = loadConfig({
    flags: {
      ...(listen !== undefined && { listen: typeof listen === 'string' ? [listen] : listen }),
      config: file,
      data,
      durability: data === undefined && file === undefined ? 'memory' : undefined,
      allowPublic: options.allowPublic ?? (options.authenticate ? true : undefined),
    },
    env: {},
    readFile: readText,
    memory: memoryThere(),
    adminByDefault: false,
  })
  const events = new Events(log)
  const node = await startNode({ ...config, limits: { ...config.limits, ...limits } }, log, options, events.observer)
  return {
    listeners: node.listeners,
    get clients() {
      return node.clients
    },
    publish: ({ topic, payload, qos = 0, retain = false }) =>
      node.broker.inject({ topic, payload: typeof payload === 'string' ? Buffer.from(payload) : payload, qos, retain }),
    on: (name, listener) => events.on(name, listener),
    close: () => node.drain(),
  }
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** Listeners by event. The broker is told of the first one only, so an event that nobody wants costs nothing. */
class Events {
  readonly observer: Observer = {}
  readonly #log: Log
  readonly #listeners = new Map<keyof BrokerEvents, Set<(event: never) => void>>()

  constructor(log: Log) {
    this.#log = log
  }

  on<Name extends keyof BrokerEvents>(name: Name, listener: (event: BrokerEvents[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners.add(listener))
    Object.assign(this.observer, { [name]: this.#tellers[name] })
    return () => void listeners.delete(listener)
  }

  #tell<Name extends keyof BrokerEvents>(name: Name, event: BrokerEvents[Name]): void {
    for (const listener of this.#listeners.get(name) ?? [])
      try {
        listener(event as never)
      } catch (err) {
        this.#log.error({ err, event: name }, 'a listener threw')
      }
  }

  readonly #tellers: Required<Observer> = {
    connected: (client) => this.#tell('connected', client),
    disconnected: (client) => this.#tell('disconnected', client),
    subscribed: (id, filter, qos) => this.#tell('subscribed', { id, filter, qos }),
    unsubscribed: (id, filter) => this.#tell('unsubscribed', { id, filter }),
    published: (message, id) => {
      const { qos, retain, topic } = message
      this.#tell('published', { id, topic: topic.name, payload: message.payload(), qos, retain })
    },
    lost: (reason, id, topic) => this.#tell('lost', { id, topic, reason }),
  }
}
