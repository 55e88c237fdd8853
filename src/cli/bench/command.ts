import { Command, type CommanderError, InvalidArgumentError, Option } from 'commander'
import type { Host, Outcome } from './bench.ts'
import type { QoS, Version } from './frames.ts'
import { runConnect, runSubscribe } from './idle.ts'
import { type ConnectOptions, faultOf, modes, type PublishOptions, type SubscribeOptions } from './options.ts'
import { exitCodeOf, render, type ReportOptions } from './report.ts'
import { runPublish } from './run.ts'
import { tcpDial } from './socket.ts'

const usageExit = 2
const mostClients = 1_000_000
const most = Number.MAX_SAFE_INTEGER

const host: Host = {
  dial: tcpDial,
  nowUs: () => performance.now() * 1000,
  cpuUs: () => {
    const { user, system } = process.cpuUsage()
    return user + system
  },
}

/** `godwit bench`: a load generator for any MQTT broker. */
export function benchCommand(): Command {
  return new Command('bench')
    .description('measure a broker: how many messages, how fast, and whether any is lost')
    .exitOverride(leave)
    .addCommand(pubCommand())
    .addCommand(subCommand())
    .addCommand(connCommand())
    .addCommand(latencyCommand())
}

function pubCommand(): Command {
  const command = publishing(verb('pub', 'publish as fast as the broker takes it, and count what arrives'))
    .option('-C, --count <n>', 'messages in all', whole(1, most), 1_000_000)
    .option('--warmup <n>', 'messages before those that are measured', whole(0, most), 0)
    .option('--window <n>', 'messages on their way, a publisher', whole(1, 65_535), 1000)
    .option('-q, --qos <qos>', 'QoS to publish with', qosLevel, 0)
  return command.action((given: Given) => publish('pub', command, given))
}

function latencyCommand(): Command {
  const command = publishing(verb('latency', 'publish at a steady rate, and measure how long messages take'))
    .option('--rate <n>', 'messages a second in all', whole(1, 10_000_000), 1000)
    .option('--seconds <s>', 'how long', positive, 10)
    .option('--warmup-seconds <s>', 'how long before that, not measured', notNegative, 1)
    .option('--window <n>', 'messages on their way, a publisher', whole(1, 65_535), 65_535)
    .option('-q, --qos <qos>', 'QoS to publish with', qosLevel, 1)
  return command.action((given: Given) => {
    const [rate, seconds, warmup] = [Number(given.rate), Number(given.seconds), Number(given.warmupSeconds)]
    const timeout = Number(given.timeout) + seconds + warmup
    const count = Math.max(1, Math.round(rate * seconds))
    return publish('latency', command, { ...given, rate, count, warmup: Math.round(rate * warmup), timeout })
  })
}

function subCommand(): Command {
  const command = verb('sub', 'subscribe only, and count what comes')
    .option('-t, --filter <filter>', 'topic filter', '#')
    .option('-S, --subscribers <n>', 'clients', whole(1, mostClients), 1)
    .option('--seconds <s>', 'how long', positive, 10)
    .option('-C, --count <n>', 'end at so many messages instead', whole(1, most))
    .option('-q, --qos <qos>', 'QoS to subscribe with', qosLevel, 0)
  return command.action((given: Given) =>
    conclude('sub', command, runSubscribe(given as unknown as SubscribeOptions, host)),
  )
}

function connCommand(): Command {
  const command = verb('conn', 'connect idle clients, hold them, and count those that drop')
    .option('-n, --connections <n>', 'clients', whole(1, mostClients), 1000)
    .option('--hold <s>', 'how long to hold them', notNegative, 5)
  return command.action((given: Given) =>
    conclude('conn', command, runConnect(given as unknown as ConnectOptions, host)),
  )
}

function leave(error: CommanderError): never {
  process.exit(error.exitCode === 0 ? 0 : usageExit)
}

type Given = Record<string, unknown>

/** A verb with the options that all have; as with Mosquitto's clients, -h is the host. */
function verb(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .helpOption('--help', 'show this')
    .option('-h, --host <host>', 'of the broker', '127.0.0.1')
    .option('-p, --port <port>', 'of the broker', whole(1, 65_535), 1883)
    .option('-V, --mqtt-version <version>', '4 (3.1.1) or 5', protocolVersion, 4 as Version)
    .option('-u, --username <name>', 'to log in with')
    .option('-P, --password <password>', 'to log in with')
    .option('--prefix <text>', 'what client ids and topics start with', 'bench')
    .option('--at-once <n>', 'clients connecting at the same time', whole(1, 10_000), 200)
    .option('--timeout <s>', 'give up after this long, not counting --seconds and --hold', positive, 60)
    .option('--json', 'one line of JSON')
    .option('--quiet', 'no notes on stderr')
    .option('--no-headers', 'no header line in a pipe')
    .exitOverride(leave)
}

function publishing(command: Command): Command {
  return command
    .addOption(new Option('--mode <mode>', 'who subscribes to whom').choices(modes).default('pairs'))
    .option('-n, --publishers <n>', 'publishing clients', whole(1, mostClients), 1)
    .option(
      '-S, --subscribers <n>',
      'subscribing clients (default: pairs one a publisher, others 1)',
      whole(0, mostClients),
    )
    .option('--sub-qos <qos>', 'QoS to subscribe with (default: as published)', qosLevel)
    .option('--size <bytes>', 'payload', whole(0, 100_000_000), 64)
    .option('--order', 'number the messages, and check their order')
    .option('--settle <s>', 'call it lost when nothing moved for this long', positive, 3)
}

function publish(name: string, command: Command, given: Given): Promise<void> {
  const { mode, publishers, qos } = given
  const options = {
    ...given,
    subscribers: given.subscribers ?? (mode === 'pairs' ? publishers : 1),
    subQos: given.subQos ?? qos,
  } as unknown as PublishOptions
  const fault = faultOf(options)
  if (fault !== undefined) command.error(`error: ${fault}`, { exitCode: usageExit })
  return conclude(name, command, runPublish(options, host))
}

async function conclude(name: string, command: Command, running: Promise<Outcome>): Promise<void> {
  const options: ReportOptions = command.opts()
  const outcome = await running
  process.stdout.write(render(name, outcome, options, process.stdout.isTTY))
  if (!options.quiet) for (const problem of outcome.problems) process.stderr.write(`godwit bench: ${problem}\n`)
  process.exitCode = exitCodeOf(outcome)
}

function qosLevel(text: string): QoS {
  if (text === '0' || text === '1' || text === '2') return Number(text) as QoS
  throw new InvalidArgumentError('It is 0, 1 or 2.')
}

function protocolVersion(text: string): Version {
  if (text === '5' || text === 'mqttv5') return 5
  if (text === '4' || text === '311' || text === 'mqttv311') return 4
  throw new InvalidArgumentError('It is 4, 311 or 5.')
}

function whole(from: number, to: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (Number.isInteger(value) && value >= from && value <= to) return value
    throw new InvalidArgumentError(
      to === most ? `It is a whole number from ${from}.` : `It is a whole number from ${from} to ${to}.`,
    )
  }
}

function positive(text: string): number {
  const value = notNegative(text)
  if (value > 0) return value
  throw new InvalidArgumentError('It is a number above 0.')
}

function notNegative(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (value >= 0 && value <= 1e6) return value
  throw new InvalidArgumentError('It is a number of seconds, from 0.')
}
