import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config/problem.ts'
import { version } from '../version.ts'
import { aclCommand } from './acl.ts'
import { benchCommand } from './bench/command.ts'
import { clusterCommand } from './cluster.ts'
import { CliError, Exit, note, type Io } from './io.ts'
import { pubCommand } from './pub.ts'
import { startCommand } from './start.ts'
import { storeCommand } from './store.ts'
import { subCommand } from './sub.ts'
import { tenantsCommand } from './tenants.ts'
import { usersCommand } from './users.ts'
import { versionCommand } from './version.ts'

/**
 * Runs one command line, without `node` and the script. @returns the exit code.
 */
export async function run(args: readonly string[], io: Io): Promise<Exit> {
  try {
    await program(io).parseAsync(args, { from: 'user' })
    return Exit.ok
  } catch (fault) {
    return told(fault, io)
  }
}

function program(io: Io): Command {
  const root = new Command('godwit')
    .description('An MQTT broker for IoT fleets: an acknowledgement is a fact.')
    .helpOption('--help', 'show this; after a command: its flags')
    .helpCommand('help [command]', 'show the flags of a command')
    .version(version, '--version', 'show the version')
    .enablePositionalOptions()
    .addCommand(startCommand(io))
    .addCommand(pubCommand(io))
    .addCommand(subCommand(io))
    .addCommand(clusterCommand(io))
    .addCommand(aclCommand(io))
    .addCommand(storeCommand(io))
    .addCommand(usersCommand(io))
    .addCommand(tenantsCommand(io))
    .addCommand(benchCommand(io))
    .addCommand(versionCommand(io))
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
