import { readFileSync } from 'node:fs'
import { Option, type Command } from 'commander'
import type { IClientOptions } from 'mqtt'
import { faultText } from '../../config/files.ts'
import type { QoS } from '../../mqtt/topic.ts'
import { gathered, qos, reading, topicName, usage, whole } from '../flags.ts'
import { CliError, Exit, silenced, type Io } from '../io.ts'
import { defaultPort, parseEndpoint, type Endpoint } from './endpoint.ts'
import { parseProperties, type PropertyCommand, type PropertySets } from './properties.ts'

/** How to reach a broker and who to be there: what the flags of `pub` and `sub` have in common. */
export interface ClientSettings {
  readonly endpoint: Endpoint
  readonly version: 3 | 4 | 5
  readonly options: IClientOptions
  readonly properties: PropertySets
  readonly debug: boolean
}

/** The values of `clientFlags`, by commander's names. */
export interface ClientFlags {
  readonly host?: string
  readonly port?: number
  readonly url?: Endpoint
  readonly id?: string
  readonly idPrefix?: string
  readonly username?: string
  readonly pw?: string
  readonly pwFile?: string
  readonly protocolVersion?: 3 | 4 | 5
  readonly keepalive: number
  readonly qos: QoS
  readonly disableCleanSession?: true
  readonly sessionExpiryInterval?: number
  readonly property?: readonly string[]
  readonly willTopic?: string
  readonly willPayload?: string
  readonly willQos?: QoS
  readonly willRetain?: true
  readonly cafile?: string
  readonly cert?: string
  readonly key?: string
  readonly insecure?: true
  readonly debug?: true
  readonly quiet?: true
}

/** Adds the flags that say where the broker is and who we are there. They are mosquitto_pub's and mosquitto_sub's. */
export function clientFlags(command: Command): Command {
  return command
    .optionsGroup('Broker:')
    .addOption(new Option('-h, --host <host>', 'name or address (default: 127.0.0.1)').conflicts('url'))
    .addOption(
      new Option('-p, --port <port>', 'port (default: 1883, with TLS 8883)')
        .argParser(whole(1, 65_535))
        .conflicts('url'),
    )
    .option(
      '-L, --url <url>',
      'mqtt[s]://[user[:password]@]host[:port][/topic] or ws[s]://…[/path]',
      reading(parseEndpoint),
    )
    .option('--cafile <file>', 'authorities to trust (PEM); turns TLS on')
    .option('--cert <file>', 'our certificate (PEM)')
    .option('--key <file>', 'its private key (PEM)')
    .option('--insecure', 'do not check that the certificate names this host')
    .optionsGroup('Client:')
    .addOption(new Option('-i, --id <id>', 'client id (default: a random one)').conflicts('idPrefix'))
    .option('-I, --id-prefix <prefix>', 'client id: this and the process id')
    .option('-u, --username <name>', 'user name')
    .addOption(new Option('-P, --pw <password>', 'password; others on this machine can see it').conflicts('pwFile'))
    .option('--pw-file <file>', 'password: the first line of a file')
    .option(
      '-V, --protocol-version <version>',
      'mqttv31, mqttv311 or mqttv5 (default: mqttv311)',
      reading(protocolVersion),
    )
    .option('-k, --keepalive <seconds>', 'keep alive; 0 is none', whole(0, 65_535), 60)
    .option('-c, --disable-clean-session', 'keep the session of this client id')
    .option('-x, --session-expiry-interval <seconds>', 'keep it for so long after (mqttv5)', sessionExpiry)
    .option(
      '-D, --property <command name value...>',
      'a property (mqttv5): -D publish content-type text/plain',
      gathered,
    )
    .option('--will-topic <topic>', 'will: topic', topicName)
    .option('--will-payload <text>', 'will: payload')
    .option('--will-qos <qos>', 'will: QoS', qos)
    .option('--will-retain', 'will: retained')
    .option('-d, --debug', 'show each packet on stderr')
    .option('--quiet', 'no notes and no complaints; the exit code tells')
}

/**
 * Puts the flags together. `kind` becomes part of a client id of our own.
 * @throws CliError when they do not fit together, or name a file that cannot be read.
 */
export function clientSettings(flags: ClientFlags, kind: string, allowed: readonly PropertyCommand[]): ClientSettings {
  const properties = readProperties(flags.property ?? [], allowed)
  const version = flags.protocolVersion ?? (flags.property ? 5 : 4)
  if (version !== 5 && flags.property) throw usage('-D needs -V mqttv5')
  if (version !== 5 && flags.sessionExpiryInterval !== undefined) throw usage('-x needs -V mqttv5')
  if (flags.disableCleanSession && !flags.id) throw usage('-c needs -i: a session is found by its client id')
  const endpoint = flags.url ?? endpointOf(flags)
  const username = flags.username ?? endpoint.username
  const password = flags.pw ?? (flags.pwFile === undefined ? endpoint.password : firstLine(flags.pwFile))
  if (password !== undefined && username === undefined && version !== 5) throw usage('a password needs a user name: -u')
  const connect = { ...properties.connect }
  const expiry = flags.sessionExpiryInterval ?? (flags.disableCleanSession ? forever : undefined)
  if (expiry !== undefined) connect['sessionExpiryInterval'] ??= expiry
  const random = Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0')
  return {
    endpoint,
    version,
    properties,
    debug: flags.debug ?? false,
    options: {
      protocol: endpoint.protocol,
      host: endpoint.host,
      hostname: endpoint.host.includes(':') && endpoint.path ? `[${endpoint.host}]` : endpoint.host,
      port: endpoint.port,
      path: endpoint.path,
      // 23 characters at most: a 3.1 broker need not take more.
      clientId:
        flags.id ?? (flags.idPrefix === undefined ? `godwit-${kind}-${random}` : `${flags.idPrefix}${process.pid}`),
      clean: !flags.disableCleanSession,
      keepalive: flags.keepalive,
      protocolVersion: version,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(version === 5 && { properties: connect }),
      ...will(flags, properties),
      ...tls(flags, endpoint),
    },
  }
}

/** Runs a command, with `--quiet` in mind: no notes, and of a failure only the exit code. */
export async function quietly(flags: ClientFlags, io: Io, run: (io: Io) => Promise<void>): Promise<void> {
  if (!flags.quiet) return run(io)
  try {
    await run(silenced(io))
  } catch (fault) {
    // A slip in the flags is told all the same, as mosquitto_pub does.
    if (!(fault instanceof CliError) || fault.exit === Exit.usage) throw fault
    throw new CliError(fault.exit, '')
  }
}

const forever = 4_294_967_295

function protocolVersion(text: string): 3 | 4 | 5 {
  const version = versions.get(text.toLowerCase().replace(/^mqttv/, ''))
  if (version === undefined) throw new Error('It is mqttv31, mqttv311 or mqttv5')
  return version
}
const versions = new Map<string, 3 | 4 | 5>([
  ['31', 3],
  ['3.1', 3],
  ['311', 4],
  ['3.1.1', 4],
  ['5', 5],
  ['5.0', 5],
])

function sessionExpiry(text: string): number {
  return text === '-1' || text === '∞' ? forever : whole(0, forever)(text)
}

function endpointOf(flags: ClientFlags): Endpoint {
  const secure = flags.cafile !== undefined || flags.cert !== undefined || flags.port === 8883
  const protocol = secure ? 'mqtts' : 'mqtt'
  const host = (flags.host ?? '127.0.0.1').replace(/^\[(.*)\]$/, '$1')
  return { protocol, host, port: flags.port ?? defaultPort(protocol), path: '' }
}

function will(flags: ClientFlags, properties: PropertySets): Pick<IClientOptions, 'will'> {
  const { willTopic: topic, willPayload: payload = '', willQos = 0, willRetain: retain = false } = flags
  if (topic !== undefined) return { will: { topic, payload, qos: willQos, retain, properties: properties.will ?? {} } }
  if (flags.willPayload !== undefined || flags.willQos || retain || properties.will)
    throw usage('a will needs --will-topic')
  return {}
}

function tls(flags: ClientFlags, { protocol }: Endpoint): IClientOptions {
  const secure = protocol === 'mqtts' || protocol === 'wss'
  const { cafile, cert, key, insecure } = flags
  if (!secure) {
    if (cafile ?? cert ?? key ?? insecure) throw usage(`${protocol}:// does not use TLS: make it ${protocol}s://`)
    return {}
  }
  if ((cert === undefined) !== (key === undefined)) throw usage('--cert and --key go together')
  const settings = {
    ...(cafile !== undefined && { ca: read(cafile) }),
    ...(cert !== undefined && { cert: read(cert) }),
    ...(key !== undefined && { key: read(key) }),
    // The chain is still checked, as in mosquitto_pub.
    ...(insecure && { checkServerIdentity: () => undefined }),
  }
  // ws hands its options on to node:tls, which its types do not say.
  return { ...settings, wsOptions: settings as object }
}

function readProperties(words: readonly string[], allowed: readonly PropertyCommand[]): PropertySets {
  try {
    return parseProperties(words, allowed)
  } catch (fault) {
    throw usage(`-D: ${(fault as Error).message}`)
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (fault) {
    throw new CliError(Exit.failure, `cannot read ${file}: ${faultText(fault)}`)
  }
}

function firstLine(file: string): string {
  return read(file).split(/\r?\n/, 1)[0]!
}
