import { Command, Option } from 'commander'
import { parseFilter } from '../mqtt/topic.ts'
import { parseFormat, type Format } from './client/format.ts'
import { Inbox } from './client/inbox.ts'
import type { Link as LinkType } from './client/link.ts'
import { createPrinter } from './client/printer.ts'
import { clientFlags, clientSettings, quietly, type ClientFlags, type ClientSettings } from './client/settings.ts'
import { subscribeTo } from './client/subscribe.ts'
import { decimal, qos, reading, usage, whole } from './flags.ts'
import { CliError, Exit, interruption, note, type Io } from './io.ts'

interface SubFlags extends ClientFlags {
  readonly topic?: readonly string[]
  readonly filterOut?: readonly string[]
  readonly unsubscribe?: readonly string[]
  readonly count?: number
  readonly wait?: number
  readonly format?: Format
  readonly json?: true
  readonly verbose?: true
  readonly newline: boolean
  readonly stale: boolean
  readonly retainedOnly?: true
  readonly removeRetained?: true
  readonly retainAsPublished?: true
  readonly exitAfterSubscribe?: true
  readonly randomFilter?: number
}

/** `godwit sub`: shows the messages of any broker, with mosquitto_sub's flags. */
export function subCommand(io: Io): Command {
  const filters = (text: string, before?: readonly string[]): readonly string[] => {
    reading(parseFilter)(text)
    return [...(before ?? []), text]
  }
  const command = new Command('sub')
    .description('show messages, with the flags of mosquitto_sub')
    .helpOption('--help', 'show this')
    .usage('-t FILTER [flags]')
    .optionsGroup('Messages:')
    .option('-t, --topic <filter>', 'topic filter to subscribe to; may be repeated', filters)
    .option('-T, --filter-out <filter>', 'do not show these topics; may be repeated', filters)
    .option('-U, --unsubscribe <filter>', 'unsubscribe, for a session kept with -c; may be repeated', filters)
    .option('-q, --qos <qos>', 'QoS to ask for: 0, 1 or 2', qos, 0)
    .option('-R, --no-stale', 'do not show retained messages')
    .option('--retained-only', 'show only retained messages, and leave at the first other one')
    .option('--remove-retained', 'clear each retained message that arrives')
    .option('--retain-as-published', 'show the retain flag as it was sent (mqttv5)')
    .option('--random-filter <percent>', 'show only so many of the messages', decimal(0, 100))
    .optionsGroup('Output:')
    .option('-v, --verbose', 'the topic in front of the payload')
    .addOption(
      new Option('-F, --format <format>', 'like %t %p, see below').argParser(reading(parseFormat)).conflicts('verbose'),
    )
    .addOption(new Option('--json', 'a JSON object on each line').conflicts(['format', 'verbose']))
    .option('-N, --no-newline', 'no newline after each message')
    .optionsGroup('End:')
    .option('-C, --count <count>', 'leave after so many messages', whole(1, 4_294_967_295))
    .option('-W, --wait <seconds>', 'leave after so long, with exit code 27', decimal(0.001, 2_000_000))
    .option('-E, --exit-after-subscribe', 'leave as soon as the broker has answered')
  return clientFlags(command)
    .addHelpText('after', formatHelp)
    .action((flags: SubFlags) => quietly(flags, io, (ownIo) => subscribe(flags, ownIo)))
}

const formatHelp = `
Format: %t topic, %p payload, %x and %X in hexadecimal, %l its bytes, %q QoS, %r retain flag, %m packet id,
  %I and %U time of arrival, @Y @m @d @H @M @S @N parts of it, %j and %J JSON with the payload as text or as JSON,
  %A %C %D %E %F %P %R %S properties (mqttv5), %% \\n \\t \\0. Widths as in printf: %-20t, %5l.

On a terminal, control characters in messages are shown as \\u001b; a pipe gets the bytes as they came.`

async function subscribe(flags: SubFlags, io: Io): Promise<void> {
  const settings = clientSettings(flags, 'sub', ['connect', 'subscribe', 'unsubscribe', 'will', 'disconnect'])
  const fromUrl = settings.endpoint.topic
  const filters = [...new Set([...(flags.topic ?? []), ...(fromUrl === undefined ? [] : [fromUrl])])]
  if (filters.length === 0 && !flags.unsubscribe) throw usage('to what? -t FILTER')
  if (flags.retainAsPublished && settings.version !== 5) throw usage('--retain-as-published needs -V mqttv5')

  // mqtt.js takes a tenth of a second to load, which other commands need not wait for.
  const { Link } = await import('./client/link.ts')
  const inbox = createInbox(flags, io, (topic) => link.client.publishAsync(topic, '', { qos: 1, retain: true }))
  const link = new Link(settings, io, inbox.receive, true)
  const interrupted = interruption(io)
  let timer: NodeJS.Timeout | undefined
  let hurry = true
  const timeout = new Promise<never>((_resolve, reject) => {
    const late = (): void => reject(new CliError(Exit.timeout, 'timed out'))
    if (flags.wait !== undefined) timer = setTimeout(late, flags.wait * 1000)
  })
  try {
    const ends = [interrupted.asked, timeout, inbox.closed]
    await Promise.race([...ends, link.ready])
    const session = converse(link, settings, filters, flags, io).then((stay) => (stay ? inbox.full : undefined))
    session.catch(() => {})
    await Promise.race([...ends, link.lost, inbox.full, session])
    await Promise.race([...ends, link.lost, Promise.allSettled(inbox.clearing)])
    hurry = false
  } finally {
    clearTimeout(timer)
    interrupted.stop()
    await link.close(hurry)
  }
}

/** Subscribes and unsubscribes. @returns whether there is anything to wait for. */
async function converse(
  { client }: LinkType,
  { properties, version }: ClientSettings,
  filters: readonly string[],
  flags: SubFlags,
  io: Io,
): Promise<boolean> {
  const { subscribe, unsubscribe } = properties
  if (filters.length > 0) {
    const retainFlag = version === 5 && flags.retainAsPublished ? { rap: true } : {}
    const options = { qos: flags.qos, ...retainFlag, ...(subscribe && { properties: subscribe }) }
    await subscribeTo(client, filters, options, io)
  }
  if (flags.unsubscribe) {
    await client.unsubscribeAsync([...flags.unsubscribe], unsubscribe ? { properties: unsubscribe } : {})
  }
  return filters.length > 0 && !flags.exitAfterSubscribe
}

function createInbox(flags: SubFlags, io: Io, clear: (topic: string) => Promise<unknown>): Inbox {
  const shape = {
    json: flags.json ?? false,
    format: flags.format,
    verbose: flags.verbose ?? false,
    bare: !flags.newline,
    terminal: io.stdout.isTTY ?? false,
  }
  const print = createPrinter(shape, (text) => note(io, text))
  const settings = {
    filterOut: flags.filterOut ?? [],
    stale: flags.stale,
    retainedOnly: flags.retainedOnly ?? false,
    removeRetained: flags.removeRetained ?? false,
    share: flags.randomFilter ?? 100,
    count: flags.count ?? Infinity,
  }
  return new Inbox(settings, print, clear, io.stdout)
}
