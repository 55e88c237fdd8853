import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command, Option } from 'commander'
import { faultText } from '../config/files.ts'
import { causeOf } from './client/fault.ts'
import { Publisher } from './client/publisher.ts'
import { clientFlags, clientSettings, quietly, type ClientFlags } from './client/settings.ts'
import { decimal, qos, topicName, usage, whole } from './flags.ts'
import { lineBatches, wholeInput } from './input.ts'
import { CliError, Exit, interruption, note, type Io } from './io.ts'

interface PubFlags extends ClientFlags {
  readonly topic?: string
  readonly message?: string
  readonly file?: string
  readonly stdinLine?: true
  readonly stdinFile?: true
  readonly nullMessage?: true
  readonly retain?: true
  readonly maxInflight: number
  readonly repeat?: number
  readonly repeatDelay?: number
}

/** `godwit pub`: publishes to any broker, with mosquitto_pub's flags. */
export function pubCommand(io: Io): Command {
  const command = new Command('pub')
    .description('publish messages, with the flags of mosquitto_pub')
    .helpOption('--help', 'show this')
    .usage('-t TOPIC {-m TEXT | -f FILE | -l | -s | -n} [flags]')
    .optionsGroup('Message:')
    .option('-t, --topic <topic>', 'topic to publish to', topicName)
  const sources = [
    new Option('-m, --message <text>', 'payload: this text'),
    new Option('-f, --file <file>', 'payload: a whole file'),
    new Option('-l, --stdin-line', 'payload: each line of stdin is a message'),
    new Option('-s, --stdin-file', 'payload: all of stdin'),
    new Option('-n, --null-message', 'payload: none'),
  ]
  for (const source of sources) {
    const others = sources.filter((other) => other !== source)
    command.addOption(source.conflicts(others.map((other) => other.attributeName())))
  }
  command
    .option('-q, --qos <qos>', 'QoS: 0, 1 or 2', qos, 0)
    .option('-r, --retain', 'keep the message for later subscribers')
    // Mosquitto closes the connection of a 3.x client that has more QoS 2 messages on the way than this.
    .option('-M, --max-inflight <count>', 'messages on the way at once (QoS 1 and 2)', whole(1, 65_535), 20)
    .addOption(
      new Option('--repeat <count>', 'publish so many times').argParser(whole(1, 4_294_967_295)).conflicts('stdinLine'),
    )
    .option('--repeat-delay <seconds>', 'wait in between', decimal(0, 86_400))
  return clientFlags(command)
    .addHelpText('after', '\nThe exit code is 0 when every message was sent (QoS 0) or acknowledged (QoS 1 and 2).')
    .action((flags: PubFlags) => quietly(flags, io, (ownIo) => publish(flags, ownIo)))
}

async function publish(flags: PubFlags, io: Io): Promise<void> {
  const settings = clientSettings(flags, 'pub', ['connect', 'publish', 'will', 'disconnect'])
  const topic = flags.topic ?? (settings.endpoint.topic === undefined ? undefined : urlTopic(settings.endpoint.topic))
  if (topic === undefined) throw usage('where to? -t TOPIC')
  const payload = await singlePayload(flags, io)

  // mqtt.js takes a tenth of a second to load, which other commands need not wait for.
  const { Link } = await import('./client/link.ts')
  const link = new Link(settings, io, undefined, false)
  const interrupted = interruption(io)
  const over = new AbortController()
  let publisher: Publisher | undefined
  let failed = true
  let cut: Error | undefined
  try {
    await Promise.race([interrupted.asked, link.ready])
    const { retain = false, maxInflight } = flags
    const publication = { topic, qos: flags.qos, retain, properties: settings.properties.publish }
    publisher = new Publisher(link.client, publication, maxInflight)
    const sent = payload ? sendRepeatedly(publisher, payload, flags, over.signal) : sendLines(publisher, io)
    sent.catch(() => {})
    await Promise.race([interrupted.asked, link.lost, sent])
    failed = false
  } catch (fault) {
    const how = flags.qos === 0 ? 'sent' : 'acknowledged'
    if (flags.stdinLine && publisher) note(io, `${publisher.done} messages were ${how} before this:`)
    throw fault
  } finally {
    interrupted.stop()
    over.abort()
    // Whatever still comes on stdin has nowhere to go, and must not keep us.
    if (flags.stdinLine) io.stdin.destroy()
    cut = await link.close(failed)
  }
  // Without acknowledgements, a reset is the only sign that we were thrown out, for instance for a packet too large.
  if (cut && flags.qos === 0) {
    throw new CliError(Exit.failure, `the broker closed before it had read everything: ${causeOf(cut)}`)
  }
}

/** Undefined: the payloads are the lines of stdin. */
async function singlePayload(flags: PubFlags, io: Io): Promise<Buffer | undefined> {
  if (flags.message !== undefined) return Buffer.from(flags.message)
  if (flags.nullMessage) return Buffer.alloc(0)
  if (flags.stdinFile) return wholeInput(io.stdin)
  if (flags.stdinLine) return undefined
  if (flags.file === undefined)
    throw usage('what? -m TEXT, -f FILE, -l (lines of stdin), -s (all of stdin) or -n (nothing)')
  try {
    return readFileSync(flags.file)
  } catch (fault) {
    throw new CliError(Exit.failure, `cannot read ${flags.file}: ${faultText(fault)}`)
  }
}

async function sendRepeatedly(
  publisher: Publisher,
  payload: Buffer,
  flags: PubFlags,
  over: AbortSignal,
): Promise<void> {
  const { repeat = 1, repeatDelay = 0 } = flags
  for (let count = 0; count < repeat; count++) {
    if (count > 0 && repeatDelay > 0) await sleep(repeatDelay * 1000, undefined, { signal: over })
    await publisher.send(payload)
  }
  await publisher.finished()
}

async function sendLines(publisher: Publisher, io: Io): Promise<void> {
  for await (const lines of lineBatches(io.stdin)) {
    for (const line of lines) {
      const full = publisher.send(line)
      if (full) await full
    }
  }
  await publisher.finished()
}

function urlTopic(topic: string): string {
  try {
    return topicName(topic)
  } catch (fault) {
    throw usage(`-L: ${(fault as Error).message}`)
  }
}
