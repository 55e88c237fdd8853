import { isName } from '../../access/identity.ts'
import type { LineFault } from '../../access/mosquitto-passwords.ts'
import { type FileUser, parseUsers, UsersText } from '../../access/users-file.ts'
import { usersFileOf } from '../../config/auth.ts'
import { parseFile } from '../../config/file.ts'
import { faultText } from '../../config/files.ts'
import { ConfigError, type Problem } from '../../config/problem.ts'
import { changeOwned, OwnedFileError, readOwned } from '../../platform/owned-file.ts'
import { usage } from '../flags.ts'
import { CliError, Exit, type Io } from '../io.ts'
import { readTextFile } from '../read-file.ts'
import { inert } from '../terminal.ts'
import type { FileFlags } from '../users.ts'

/** The file that a command is about: of a flag, then of the environment. @throws CliError when nobody has said which, ConfigError */
export function fileOf({ file, config }: FileFlags, { env }: Io): string {
  if (file !== undefined) return file
  if (config !== undefined) return configured(config)
  if (env['GODWIT_USERS_FILE']) return env['GODWIT_USERS_FILE']
  if (env['GODWIT_CONFIG']) return configured(env['GODWIT_CONFIG'])
  throw usage('which users file? --file FILE, or --config FILE of a broker that has one')
}

/** Of a configuration whose other files need not be there: a first user comes before a first start. */
function configured(config: string): string {
  let text: string
  try {
    text = readTextFile(config)
  } catch (fault) {
    throw new CliError(Exit.config, `cannot read ${config}: ${faultText(fault)}`)
  }
  const problems: Problem[] = []
  const parsed = parseFile(config, text, problems)
  if (!parsed) throw new ConfigError(problems)
  const file = usersFileOf(parsed)
  if (file === undefined) throw new CliError(Exit.config, `${config} names no users file: auth: { users: FILE }`)
  return file
}

/** Who is in it. @throws CliError, ConfigError */
export function readUsers(file: string, orNone = false): ReadonlyMap<string, FileUser> {
  let text: string
  try {
    text = readOwned(file)
  } catch (fault) {
    if (orNone && (fault as NodeJS.ErrnoException).code === 'ENOENT') return new Map()
    throw fault instanceof OwnedFileError
      ? new CliError(Exit.config, fault.message)
      : new CliError(Exit.config, `cannot read ${file}: ${faultText(fault)}`)
  }
  const faults: LineFault[] = []
  const users = parseUsers(text, faults)
  refuse(file, faults)
  return users
}

/** Changes it. @throws CliError, ConfigError: nothing has changed then */
export async function changeUsers(file: string, change: (users: UsersText) => void): Promise<void> {
  try {
    await changeOwned(file, (text) => {
      const faults: LineFault[] = []
      const users = new UsersText(text ?? '', faults)
      refuse(file, faults)
      change(users)
      return users.toString()
    })
  } catch (fault) {
    throw fault instanceof OwnedFileError ? new CliError(Exit.config, fault.message) : fault
  }
}

/** @throws ConfigError when there are any */
export function refuse(source: string, faults: readonly LineFault[]): void {
  if (faults.length > 0) throw new ConfigError(faults.map((fault) => ({ source, ...fault })))
}

/** @throws CliError when no user can have this name */
export function checkName(name: string, what = 'user'): void {
  if (!isName(name)) throw usage(`no ${what} can be named "${inert(name)}": 1 to 256 characters, none for control`)
}

export function notThere(name: string, file: string): CliError {
  return new CliError(Exit.notFound, `no user is named ${inert(name)} in ${file}`)
}
