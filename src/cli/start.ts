import { Command } from 'commander'
import type { Logger } from 'pino'
import type { Config } from '../config/config.ts'
import { addressUrl } from '../config/listener.ts'
import type { Flags } from '../config/overrides.ts'
import { ConfigError } from '../config/problem.ts'
import { logLevels } from '../config/log-level.ts'
import type { Log } from '../host.ts'
import type { RunningNode } from '../node.ts'
import { memoryThere } from '../platform/memory.ts'
import { dataFault } from './data-fault.ts'
import { gathered } from './flags.ts'
import { CliError, Exit, type Io, type Signal } from './io.ts'
import { readTextFile } from './read-file.ts'
import { startScreen } from './screen.ts'
import { shellWord } from './terminal.ts'

/** `godwit start`: runs a node until a signal ends it. */
export function startCommand(io: Io): Command {
  return new Command('start')
    .description('run a broker')
    .helpOption('--help', 'show this')
    .option(
      '--listen <url>',
      'tcp://, tls://, ws:// or wss://host:port; may be repeated, and replaces all others',
      gathered,
    )
    .option('--data <directory>', 'where everything is kept that must outlive the process')
    .option('--durability <class>', 'what an acknowledgement waits for, where nothing else is set: fsync, os, memory')
    .option('--config <file>', 'configuration file (YAML)')
    .option('--cluster <directory>', 'take part in the cluster that godwit cluster init has made there')
    .option('--node <name>', 'our name in it: our own, and the same at each start')
    .option('--cluster-listen <host:port>', 'where links of other nodes come in')
    .option('--cluster-advertise <host:port>', 'where other nodes dial us, if not there')
    .option('--join <host:port>', 'a node of the cluster; may be repeated', gathered)
    .option('--join-token <token>', 'of godwit cluster token, for a machine that has no such directory')
    .option('--admin <host:port>', 'where godwit cluster finds us, or off')
    .option('--log-level <level>', logLevels.join(', '))
    .option('--allow-public', 'let other machines connect, although nobody has to say who they are')
    .addHelpText('after', startHelp)
    .action((flags: Flags) => start(flags, io))
}

const startHelp = `
Without flags: tcp://127.0.0.1:1883 and ws://127.0.0.1:8083/mqtt.
Flags win over the environment, and that over the file: GODWIT_LISTEN (with commas), GODWIT_DATA, GODWIT_CONFIG,
GODWIT_LOG_LEVEL, GODWIT_ALLOW_PUBLIC, GODWIT_DURABILITY, GODWIT_OVERFLOW, and GODWIT_LIMITS_PACKET_BYTES for
limits.packetBytes.
SIGTERM and SIGINT send the clients away and end it; a second one ends it at once. SIGHUP reads the configuration again.`

async function start(flags: Flags, io: Io): Promise<void> {
  // A broker and its configuration take a tenth of a second to load, which other commands need not wait for.
  const [{ loadConfig }, { createLog }, { startNode }] = await Promise.all([
    import('../config/config.ts'),
    import('./log.ts'),
    import('../node.ts'),
  ])
  const memory = memoryThere()
  const read = (): Config => loadConfig({ flags, env: io.env, readFile: readTextFile, memory })
  const config = read()
  const log = createLog(config.logLevel, io.stderr)
  const node = await startNode(config, log).catch((fault: unknown) => {
    throw dataFault(config.data, fault) ?? identityFault(fault) ?? listenFault(fault, config, io.invocation)
  })
  const stopped = untilSignal(io, log)
  const again = oneByOne(() => reload(read, node, log))
  const offReload = io.onSignal('SIGHUP', () => void again())
  const urls = node.listeners.map(({ url }) => url)
  const { admin, cluster } = node
  const certificate = config.listeners.find(({ tls }) => tls)?.tls?.cert.file
  const { invocation } = io
  const logIns = config.auth !== undefined
  const rules = config.permissions !== undefined || config.auth?.acl !== undefined
  io.stdout.write(startScreen({ urls, data: node.data, admin, cluster, certificate, logIns, rules, invocation }))
  await Promise.race([stopped.first, node.failed, node.left])
  const unkept = await node.drain().then(
    () => undefined,
    (fault: unknown) => fault,
  )
  log.info({}, 'stopped')
  // Not sooner: without a handler the signal would end the process in the middle.
  offReload()
  stopped.off()
  // On the way out, too.
  const failed = await Promise.race([node.failed, Promise.resolve()])
  if (failed) throw new CliError(Exit.failure, `the disk has failed: ${failed.message}`)
  if (unkept !== undefined) throw new CliError(Exit.failure, `not everything could be kept: ${textOf(unkept)}`)
}

function textOf(fault: unknown): string {
  return fault instanceof Error ? fault.message : String(fault)
}

/** Two SIGINTs within this time are one Ctrl-C: npm passes it on, although the terminal has told us already. */
const echoMs = 500

// The first signal asks, the second one insists.
function untilSignal(io: Io, log: Log): { readonly first: Promise<void>; off(): void } {
  let asked: { readonly signal: Signal; readonly atMs: number } | undefined
  let offs: (() => void)[] = []
  const first = new Promise<void>((resolve) => {
    const stop = (signal: Signal): void => {
      const atMs = performance.now()
      if (asked?.signal === 'SIGINT' && signal === 'SIGINT' && atMs - asked.atMs < echoMs) return
      if (asked) return io.exit(signal === 'SIGINT' ? Exit.interrupted : Exit.failure)
      asked = { signal, atMs }
      log.info({ signal }, 'sending the clients away; once more to stop at once')
      resolve()
    }
    offs = [io.onSignal('SIGINT', () => stop('SIGINT')), io.onSignal('SIGTERM', () => stop('SIGTERM'))]
  })
  return { first, off: () => offs.forEach((off) => off()) }
}

/** Never two at a time, of which the earlier one could end last: of those asked for meanwhile, one is enough. */
function oneByOne(work: () => Promise<void>): () => Promise<void> {
  let asked = 0
  let done = 0
  return async () => {
    if (++asked > done + 1) return
    while (done < asked) {
      const these = asked
      await work()
      done = these
    }
  }
}

async function reload(read: () => Config, node: RunningNode, log: Logger): Promise<void> {
  try {
    const next = read()
    await node.reload(next)
    log.level = next.logLevel
    log.info({}, 'the configuration has been read again')
  } catch (fault) {
    const problems = fault instanceof ConfigError ? fault.message.split('\n') : [(fault as Error).message]
    log.error({ problems }, 'the new configuration is wrong; the old one stays')
  }
}

/** Secrets and certificates, by their names, as `dataFault` has it. */
function identityFault(fault: unknown): CliError | undefined {
  const { name, message } = fault as Error
  if (name === 'AdminTokenError' || name === 'ClusterIdentityError' || name === 'AuditError')
    return new CliError(Exit.data, message)
  return name === 'JoinError' ? new CliError(Exit.refused, message) : undefined
}

const listenCauses = new Map([
  ['EACCES', 'ports below 1024 need the right to bind them: choose a higher one'],
  ['EADDRNOTAVAIL', 'this machine has no such address'],
  ['ENOTFOUND', 'no such host'],
  ['EAI_AGAIN', 'the name server does not answer'],
])

/** Turns what `startNode` throws about a listener into one line that says what to do. */
function listenFault(fault: unknown, config: Config, invocation: string): unknown {
  const { url, code, cause } = fault as { url?: string; code?: string; cause?: unknown }
  if (url === undefined) return fault
  const known = listenCauses.get(code ?? '')
  const flag = url.startsWith('http:') ? '--admin' : url.startsWith('cluster:') ? '--cluster-listen' : undefined
  if (code === 'EADDRINUSE' && flag !== undefined)
    return new CliError(
      Exit.failure,
      `cannot listen on ${url}: another program has this port; choose another with ${flag} HOST:PORT`,
    )
  const why = code === 'EADDRINUSE' ? portTaken(url, config, invocation) : (known ?? (cause as Error).message)
  const isFile = (cause as Error).name === 'TlsFileError'
  return new CliError(isFile ? Exit.data : Exit.failure, `cannot listen on ${url}: ${why}`)
}

function portTaken(url: string, { listeners, allowPublic }: Config, invocation: string): string {
  const words = 'another program has this port. Stop it, or choose another port'
  // A command line cannot name certificates.
  if (listeners.some(({ tls }) => tls)) return words
  const used = new Set(listeners.map(({ port }) => port))
  const others = listeners.map((listener) => {
    let { port } = listener
    if (listener.url === url) while (used.has(port)) port = (port % 65_535) + 1
    return ` --listen ${shellWord(addressUrl({ ...listener, port }))}`
  })
  return `${words}: ${invocation} start${others.join('')}${allowPublic ? ' --allow-public' : ''}`
}
