import { Command } from 'commander'
import { whole } from './flags.ts'
import { CliError, Exit, type Io } from './io.ts'

/** `godwit store`: what is in a broker's data directory, while no broker uses it. */
export function storeCommand(io: Io): Command {
  return new Command('store')
    .description('look into a data directory that no broker uses')
    .helpOption('--help', 'show this')
    .helpCommand(false)
    .addCommand(verifyCommand(io))
    .addCommand(listCommand(io))
}

const help = `
Nothing in the directory changes. It ends with 0, with 1 when something is damaged, and with 3 when the directory is not
one of godwit, was written by a newer version, or is in use by a broker.`

function verifyCommand(io: Io): Command {
  return new Command('verify')
    .description('read all of it, and say what is damaged')
    .helpOption('--help', 'show this')
    .argument('<directory>', 'as given to godwit start --data')
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (directory: string, { json }: { json?: true }) => {
      // The store and LMDB take their time to load, which other commands need not wait for.
      const { verify } = await import('./store/verify.ts')
      ended(await verify(directory, json ?? false, io))
    })
}

export interface ListFlags {
  readonly sessions?: true
  readonly retained?: true
  readonly limit?: number
  readonly json?: true
}

function listCommand(io: Io): Command {
  return new Command('ls')
    .description('show its sessions and retained messages')
    .helpOption('--help', 'show this')
    .argument('<directory>', 'as given to godwit start --data')
    .option('--sessions', 'the sessions; this is what it shows if nothing is named')
    .option('--retained', 'the retained messages')
    .option('--limit <number>', 'show so many of each; 100 if not given, all with --json', whole(0, 4_294_967_295))
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (directory: string, flags: ListFlags) => {
      const { list } = await import('./store/list.ts')
      ended(await list(directory, flags, io))
    })
}

/** Damage is no failure of the command: it has been told, and only the exit code is left to say so. */
function ended(sound: boolean): void {
  if (!sound) throw new CliError(Exit.failure, '')
}
