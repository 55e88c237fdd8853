import { afterEach } from 'vitest'
import type { Hooks } from '../../src/access/hooks.ts'
import type { Observer } from '../../src/broker/observer.ts'
import { defaultLimits, type Limits } from '../../src/broker/limits.ts'
import type { Log } from '../../src/host.ts'
import { type RunningNode, startNode } from '../../src/node.ts'

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
  /** Everything that was logged. */
  readonly log: readonly LogLine[]
}

const running = new Set<RunningNode>()
afterEach(async () => {
  const nodes = [...running]
  running.clear()
  await Promise.all(nodes.map((node) => node.close()))
})

/** A real broker on free ports of loopback, TCP and WebSocket; closed when the test ends. */
export async function startBroker(
  options: { limits?: Partial<Limits>; hooks?: Hooks; observer?: Observer } = {},
): Promise<TestBroker> {
  const lines: LogLine[] = []
  const at =
    (level: LogLine['level']) =>
    (fields: object, message: string): void =>
      void lines.push({ level, fields: fields as Record<string, unknown>, message })
  const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  const listener = { host: '127.0.0.1', port: 0, allowAnonymous: true }
  const node = await startNode(
    {
      listeners: [
        { ...listener, transport: 'tcp', path: '', url: 'tcp://127.0.0.1:0' },
        { ...listener, transport: 'ws', path: '/mqtt', url: 'ws://127.0.0.1:0/mqtt' },
      ],
      data: '',
      logLevel: 'debug',
      // No $SYS unless a test wants it: it would arrive between what the test waits for.
      limits: { ...defaultLimits, sysSeconds: 0, ...options.limits },
      allowPublic: false,
    },
    log,
    options.hooks,
    options.observer,
  )
  running.add(node)
  const [tcp, ws] = node.listeners as [{ url: string }, { url: string }]
  return { node, port: Number(new URL(tcp.url).port), ws: ws.url, log: lines }
}
