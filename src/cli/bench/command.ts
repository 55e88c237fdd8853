import { Command, InvalidArgumentError, Option } from 'commander'
import { decimal, qos, usage, whole } from '../flags.ts'
import { CliError, Exit, note, type Io, silenced } from '../io.ts'
import type { Host, Outcome } from './bench.ts'
import type { Version } from './frames.ts'
import { type CommonOptions, type ConnectOptions, faultOf, modes, type PublishOptions } from './options.ts'
import type { SubscribeOptions } from './options.ts'
import { exitOf, render, showProgress } from './report.ts'
import { tcpDial } from './socket.ts'

const mostClients = 1_000_000
const mostMessages = 1e12
const longestSeconds = 86_400

/** `godwit bench`: a load generator for any MQTT broker. What makes the load is loaded when it is wanted. */
export function benchCommand(io: Io): Command {
  return new Command('bench')
    .description('measure a broker: how many messages, how fast, and whether any is lost')
    .helpOption('--help', 'show this')
    .addCommand(pubCommand(io))
    .addCommand(subCommand(io))
    .addCommand(connCommand(io))
    .addCommand(latencyCommand(io))
}

function pubCommand(io: Io): Command {
  return publishing(verb('pub', 'publish as fast as the broker takes it, and count what arrives'))
    .option('-C, --count <n>', 'messages in all', whole(1, mostMessages), 1_000_000)
    .option('--warmup <n>', 'messages before those that are measured', whole(0, mostMessages), 0)
    .option('--window <n>', 'messages on their way, a publisher', whole(1, 65_535), 1000)
    .option('-q, --qos <qos>', 'QoS to publish with', qos, 0)
    .action((flags: PublishFlags) => publish('pub', io, flags))
}

function latencyCommand(io: Io): Command {
  return publishing(
    verb('latency', 'publish at a steady rate, and measure how long messages and their acknowledgements take'),
  )
    .option('--rate <n>', 'messages a second in all', whole(1, 10_000_000), 1000)
    .option('--seconds <s>', 'how long', decimal(0.001, longestSeconds), 10)
    .option('--warmup-seconds <s>', 'how long before that, not measured', decimal(0, longestSeconds), 1)
    .option('--window <n>', 'messages on their way, a publisher', whole(1, 65_535), 65_535)
    .option('-q, --qos <qos>', 'QoS to publish with', qos, 1)
    .action((flags: LatencyFlags) => {
      const { rate, seconds, warmupSeconds } = flags
      const count = Math.max(flags.publishers, Math.round(rate * seconds))
      const timeout = flags.timeout + seconds + warmupSeconds
      return publish('latency', io, { ...flags, count, timeout, warmup: Math.round(rate * warmupSeconds) })
    })
}

function subCommand(io: Io): Command {
  return verb('sub', 'subscribe only, and count what comes')
    .option('-t, --filter <filter>', 'topic filter', '#')
    .option('-S, --subscribers <n>', 'clients', whole(1, mostClients), 1)
    .option('--seconds <s>', 'how long', decimal(0.001, longestSeconds), 10)
    .option('-C, --count <n>', 'end at so many messages instead', whole(1, mostMessages))
    .option('-q, --qos <qos>', 'QoS to subscribe with', qos, 0)
    .option('--persistent', 'take up the sessions that `pub` left behind, and what they have queued; same --prefix')
    .action((options: SubscribeOptions) =>
      conclude('sub', io, options, async (host) => (await import('./idle.ts')).runSubscribe(options, host)),
    )
}

function connCommand(io: Io): Command {
  return verb('conn', 'connect idle clients, hold them, and count those that drop')
    .option('-n, --connections <n>', 'clients', whole(1, mostClients), 1000)
    .option('--hold <s>', 'how long to hold them', decimal(0, longestSeconds), 5)
    .action((options: ConnectOptions) =>
      conclude('conn', io, options, async (host) => (await import('./idle.ts')).runConnect(options, host)),
    )
}

/** A verb with the options that all have; as with Mosquitto's clients, -h is the host. */
function verb(name: string, description: string): Command {
  const version = new Option('-V, --protocol-version <version>', 'mqttv311 or mqttv5')
    .argParser(protocolVersion)
    .default(4 satisfies Version, 'mqttv311')
  return new Command(name)
    .description(description)
    .helpOption('--help', 'show this')
    .option('-h, --host <host>', 'name or address of the broker', '127.0.0.1')
    .option('-p, --port <port>', 'its port', whole(1, 65_535), 1883)
    .addOption(version)
    .option('-u, --username <name>', 'user name')
    .option('-P, --pw <password>', 'password; others on this machine can see it')
    .option('--prefix <text>', 'what client ids and topics start with', 'bench')
    .option('--at-once <n>', 'clients connecting at the same time', whole(1, 10_000), 200)
    .option(
      '--timeout <s>',
      'give up after so long, not counting --seconds and --hold',
      decimal(0.001, longestSeconds),
      60,
    )
    .option('--json', 'one line of JSON')
    .option('--quiet', 'no notes on stderr')
    .option('--no-headers', 'no header line in a pipe')
}

function publishing(command: Command): Command {
  const subscribers = 'subscribing clients (default: pairs one a publisher, others 1; pairs take any multiple)'
  return command
    .addOption(new Option('--mode <mode>', 'who subscribes to whom').choices(modes).default('pairs'))
    .option('-n, --publishers <n>', 'publishing clients', whole(1, mostClients), 1)
    .option('-S, --subscribers <n>', subscribers, whole(0, mostClients))
    .option('--sub-port <port>', 'port for the subscribers: of another node of a cluster', whole(1, 65_535))
    .option('--sub-qos <qos>', 'QoS to subscribe with (default: as published)', qos)
    .option('--size <bytes>', 'payload', whole(0, 100_000_000), 64)
    .option('--persistent', 'subscribers have persistent sessions')
    .option('--offline', 'so they have, and leave before anything is published: measures what is queued')
    .option('--order', 'number the messages, and check their order')
    .option('--settle <s>', 'call it lost when nothing moved for so long', decimal(0.001, longestSeconds), 3)
}

/** What the user leaves out follows from what they gave. */
type PublishFlags = Omit<PublishOptions, 'subscribers' | 'subQos'> &
  Partial<Pick<PublishOptions, 'subscribers' | 'subQos'>>
type LatencyFlags = PublishFlags & { readonly rate: number; readonly seconds: number; readonly warmupSeconds: number }

async function publish(name: string, io: Io, flags: PublishFlags): Promise<void> {
  const { mode, publishers, subscribers = mode === 'pairs' ? publishers : 1, subQos = flags.qos } = flags
  const options = { ...flags, subscribers, subQos }
  const fault = faultOf(options)
  if (fault !== undefined) throw usage(fault)
  await conclude(name, io, options, async (host) => (await import('./run.ts')).runPublish(options, host))
}

async function conclude(
  name: string,
  given: Io,
  options: CommonOptions,
  run: (host: Host) => Promise<Outcome>,
): Promise<void> {
  const io = options.quiet ? silenced(given) : given
  const progress = showProgress(io.stderr)
  const outcome = await run({
    dial: tcpDial,
    nowUs: () => performance.now() * 1000,
    cpuUs: () => {
      const { user, system } = process.cpuUsage()
      return user + system
    },
    begun: progress.begin,
  }).finally(progress.end)
  io.stdout.write(render(name, outcome, options, io.stdout.isTTY ?? false))
  for (const problem of outcome.problems) note(io, `godwit bench: ${problem}`)
  const exit = exitOf(outcome)
  if (exit !== Exit.ok) throw new CliError(exit, '')
}

function protocolVersion(text: string): Version {
  if (text === '5' || text === 'mqttv5') return 5
  if (text === '4' || text === '311' || text === 'mqttv311') return 4
  throw new InvalidArgumentError('It is mqttv311 or mqttv5.')
}
