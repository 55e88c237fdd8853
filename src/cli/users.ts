import { Command } from 'commander'
import { gathered } from './flags.ts'
import type { Io } from './io.ts'

/** `godwit users`: who may log in, in the users file of a broker. */
export function usersCommand(io: Io): Command {
  return new Command('users')
    .description('who may log in: the users file of a broker')
    .helpOption('--help', 'show this')
    .helpCommand(false)
    .addCommand(addCommand(io))
    .addCommand(passwdCommand(io))
    .addCommand(removeCommand(io))
    .addCommand(listCommand(io))
    .addCommand(importCommand(io))
}

/** Flags that say which file. */
export interface FileFlags {
  readonly file?: string
  readonly config?: string
}

export interface PasswordFlags {
  readonly passwordFile?: string
}

export interface AddFlags extends FileFlags, PasswordFlags {
  readonly tenant?: string
  readonly group?: readonly string[]
  readonly scram?: true
}

export interface ImportFlags extends FileFlags {
  readonly replace?: true
  readonly dryRun?: true
}

function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .helpOption('--help', 'show this')
    .option('--file <file>', 'the users file; default: GODWIT_USERS_FILE')
    .option('--config <file>', 'of a broker, which names its users file; default: GODWIT_CONFIG')
}

// What these commands do loads argon2 and YAML, which others need not wait for.

const passwordHelp = `
The password is asked for on a terminal, or is the line on stdin: nothing that other programs can see in the list of processes.
A broker reads its users file again at SIGHUP.`

function addCommand(io: Io): Command {
  return command('add', 'add a user; the file is made if it is not there')
    .argument('<name>')
    .option('--password-file <file>', 'the password is the line in this file')
    .option('--tenant <name>', 'the tenant that the user belongs to')
    .option('--group <name>', 'a group that the user is in; may be repeated', gathered)
    .option('--scram', 'let the user log in by SCRAM-SHA-256, too')
    .addHelpText('after', passwordHelp)
    .action(async (name: string, flags: AddFlags) => (await import('./users/change.ts')).add(name, flags, io))
}

function passwdCommand(io: Io): Command {
  return command('passwd', 'give a user another password')
    .argument('<name>')
    .option('--password-file <file>', 'the password is the line in this file')
    .option('--scram', 'let the user log in by SCRAM-SHA-256, too')
    .addHelpText('after', passwordHelp)
    .action(async (name: string, flags: AddFlags) => (await import('./users/change.ts')).passwd(name, flags, io))
}

function removeCommand(io: Io): Command {
  return command('rm', 'remove a user')
    .argument('<name>')
    .option('--yes', 'do not ask')
    .action(async (name: string, flags: FileFlags & { readonly yes?: true }) =>
      (await import('./users/change.ts')).remove(name, flags, io),
    )
}

function listCommand(io: Io): Command {
  return command('ls', 'show the users')
    .option('--json', 'as JSON')
    .option('--no-headers', 'without the names of the columns')
    .action(async (flags: FileFlags & { readonly json?: true; readonly headers: boolean }) =>
      (await import('./users/list.ts')).list(flags, io),
    )
}

const importHelp = `
Its hashes are taken as they are, and replaced by argon2id as each user logs in. A line that cannot be read, or a user who is
there already, and nothing is imported.`

function importCommand(io: Io): Command {
  return command('import', 'take over the users of a password_file of Mosquitto')
    .argument('<password-file>')
    .option('--replace', 'users who are there already get the password of the password_file')
    .option('--dry-run', 'only say what would be done')
    .addHelpText('after', importHelp)
    .action(async (from: string, flags: ImportFlags) =>
      (await import('./users/import.ts')).importUsers(from, flags, io),
    )
}
