import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config/problem.ts'
import { version } from '../version.ts'
import { CliError, Exit, note, type Io } from './io.ts'

/** In the order of the help. */
const commands = new Map<string, (io: Io) => Promise<Command>>([
  ['start', async (io) => (await import('./start.ts')).startCommand(io)],
  ['pub', async (io) => (await import('./pub.ts')).pubCommand(io)],
  ['sub', async (io) => (await import('./sub.ts')).subCommand(io)],
  ['cluster', async (io) => (await import('./cluster.ts')).clusterCommand(io)],
  ['acl', async (io) => (await import('./acl.ts')).aclCommand(io)],
  ['store', async (io) => (await import('./store.ts')).storeCommand(io)],
  ['users', async (io) => (await import('./users.ts')).usersCommand(io)],
  ['tenants', async (io) => (await import('./tenants.ts')).tenantsCommand(io)],
  ['bench', async (io) => (await import('./bench/command.ts')).benchCommand(io)],
  ['version', async (io) => (await import('./version.ts')).versionCommand(io)],
])

/**
 * Runs one command line, without `node` and the script. @returns the exit code.
 */
export async function run(args: readonly string[], io: Io): Promise<Exit> {
  try {
    await (await program(args, io)).parseAsync(args, { from: 'user' })
    return Exit.ok
  } catch (fault) {
    return told(fault, io)
  }
}

async function program(args: readonly string[], io: Io): Promise<Command> {
  // Loading takes its time: whoever names a command waits for that one only.
  const named = commands.get(args[0] ?? '')
  const makers = named ? [named] : args[0] === '--version' ? [] : [...commands.values()]
  const root = new Command('godwit')
    .description('An MQTT broker for IoT fleets: an acknowledgement is a fact.')
    .helpOption('--help', 'show this; after a command: its flags')
    .helpCommand('help [command]', 'show the flags of a command')
    .version(version, '--version', 'show the version')
    .enablePositionalOptions()
  for (const command of await Promise.all(makers.map((make) => make(io)))) root.addCommand(command)
  const style = (command: Command): void => {
    // Commander's own answers to a slip of the finger end the process with 1; ours do not end it.
    command.exitOverride().configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    command.commands.forEach(style)
  }
  style(root)
  return root
}

/** Tells a person what went wrong. @returns the exit code that says the same. */
function told(fault: unknown, io: Io): Exit {
  // Commander has written about it, and also ends a plain `--help` this way.
  if (fault instanceof CommanderError) return fault.exitCode === 0 ? Exit.ok : Exit.usage
  if (fault instanceof ConfigError) {
    note(io, fault.message)
    note(
      io,
      `error: ${fault.problems.length === 1 ? 'a mistake' : `${fault.problems.length} mistakes`} in the configuration`,
    )
    return Exit.config
  }
  if (fault instanceof CliError) {
    if (fault.message) note(io, `error: ${fault.message}`)
    return fault.exit
  }
  note(io, `error: this is a bug in godwit, please report it\n${(fault as Error).stack ?? String(fault)}`)
  return Exit.failure
}
