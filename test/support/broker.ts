import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, expect } from 'vitest'
import { defaultConnectionRates } from '../../src/access/connection-rates.ts'
import type { Hooks } from '../../src/access/hooks.ts'
import type { Observer } from '../../src/broker/observer.ts'
import { defaultLimits, type Limits } from '../../src/broker/limits.ts'
import { noTenants } from '../../src/broker/tenants.ts'
import type { Config } from '../../src/config/config.ts'
import type { Listener, TlsSettings } from '../../src/config/listener.ts'
import { defaultStore } from '../../src/config/store.ts'
import type { Log, PasswordHasher } from '../../src/host.ts'
import type { OpenHasher } from '../../src/node/access.ts'
import { type RunningNode, startNode } from '../../src/node.ts'
import { PasswordPool } from '../../src/platform/password-pool.ts'
import { root } from './program.ts'

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: Record<string, unknown>
  readonly message: string
}

export interface TestBroker {
  readonly node: RunningNode
  /** Port of the TCP listener. */
  readonly port: number
  /** URL of the WebSocket listener. */
  readonly ws: string
  /** URLs of the TLS listeners; empty when the test gave no `tls`. */
  readonly tls: string
  readonly wss: string
  /** By which it was started. */
  readonly config: Config
  /** Everything that was logged. */
  readonly log: readonly LogLine[]
  /** Reads the configuration again: the same one, with other certificates, or other parts. */
  reload(tls?: TlsSettings, parts?: Partial<Config>): Promise<void>
}

const running = new Set<RunningNode>()
const folders = new Set<string>()
afterEach(async () => {
  const nodes = [...running]
  running.clear()
  await Promise.all(nodes.map((node) => node.close()))
  for (const folder of folders) rmSync(folder, { recursive: true })
  folders.clear()
  for (const { broker } of nodes) expectBalance(broker)
})

/** Whatever a test did: no message and no copy of one vanishes uncounted. */
function expectBalance({ ledger, pending }: RunningNode['broker']): void {
  const { published, unmatched, matched, refused, copies, delivered, lostTotal } = ledger
  expect({ published, copies }).toEqual({
    published: unmatched + matched + refused,
    copies: delivered + pending + lostTotal,
  })
}

export interface TestBrokerOptions {
  readonly limits?: Partial<Limits>
  readonly hooks?: Hooks
  readonly observer?: Observer
  readonly tls?: TlsSettings
  /** A folder to keep things in; the class of durability is fsync then, unless `config` says otherwise. */
  readonly data?: string
  /** Of every listener. */
  readonly listener?: Partial<Pick<Listener, 'host' | 'proxy' | 'origins'>>
  readonly config?: Partial<Omit<Config, 'listeners' | 'data' | 'store' | 'limits' | 'logLevel'>>
  /** Do the listeners take anonymous clients although others must log in? */
  readonly allowAnonymous?: boolean
  /** Instead of threads that compute hashes. */
  readonly hasher?: PasswordHasher
}

/** `TEST_STORE=disk`: every broker keeps what it is told on disk, so that all tests run on the disk store as well. */
const onDisk = process.env['TEST_STORE'] === 'disk'

/** A real broker on free ports of loopback: TCP and WebSocket, with `tls` over TLS too; closed when the test ends. */
export async function startBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const data = options.data ?? (onDisk ? temporaryFolder() : undefined)
  const durability = options.config?.durability ?? (data === undefined ? 'memory' : 'fsync')
  const listener = {
    host: '127.0.0.1',
    port: 0,
    allowAnonymous: options.allowAnonymous ?? false,
    durability,
    ...options.listener,
  } as const
  const lines: LogLine[] = []
  const at =
    (level: LogLine['level']) =>
    (fields: object, message: string): void =>
      void lines.push({ level, fields: fields as Record<string, unknown>, message })
  const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  const config = (tls: TlsSettings | undefined, parts?: Partial<Config>): Config => ({
    listeners: [
      { ...listener, transport: 'tcp', path: '', url: 'tcp://127.0.0.1:0' },
      { ...listener, transport: 'ws', path: '/mqtt', url: 'ws://127.0.0.1:0/mqtt' },
      ...(tls
        ? ([
            { ...listener, tls, transport: 'tls', path: '', url: 'tls://127.0.0.1:0' },
            { ...listener, tls, transport: 'wss', path: '/mqtt', url: 'wss://127.0.0.1:0/mqtt' },
          ] as const)
        : []),
    ],
    data: data ?? '',
    store: data === undefined ? undefined : defaultStore,
    durability,
    durabilityByTopic: [],
    auth: undefined,
    audit: undefined,
    permissions: undefined,
    rates: undefined,
    tenants: noTenants,
    memory: undefined,
    connectionRates: defaultConnectionRates,
    overflow: 'drop-newest',
    logLevel: 'debug',
    // No $SYS unless a test wants it: it would arrive between what the test waits for.
    limits: { ...defaultLimits, sysSeconds: 0, ...options.limits },
    allowPublic: false,
    cluster: undefined,
    admin: undefined,
    ...options.config,
    ...parts,
  })
  const first = config(options.tls)
  const hasher: OpenHasher = options.hasher
    ? { hash: (work) => options.hasher!.hash(work), close: () => Promise.resolve() }
    : new PasswordPool({ script: pathToFileURL(join(root, 'dist/platform/password-worker.js')) })
  const node = await startNode(first, log, options.hooks, options.observer, hasher)
  running.add(node)
  const [tcp = '', ws = '', tls = '', wss = ''] = node.listeners.map(({ url }) => url)
  return {
    node,
    port: Number(new URL(tcp).port),
    ws,
    tls,
    wss,
    config: first,
    log: lines,
    reload: (next, parts) => node.reload(config(next ?? options.tls, parts)),
  }
}

/** A folder that is gone when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-test-'))
  folders.add(folder)
  return folder
}
