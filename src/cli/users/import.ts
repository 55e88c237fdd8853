import { readFileSync } from 'node:fs'
import { type LineFault, parseMosquittoPasswords } from '../../access/mosquitto-passwords.ts'
import { faultText } from '../../config/files.ts'
import { CliError, Exit, type Io, note } from '../io.ts'
import { many } from '../store/text.ts'
import { inert } from '../terminal.ts'
import type { ImportFlags } from '../users.ts'
import { atReload } from './change.ts'
import { changeUsers, fileOf, readUsers, refuse } from './file.ts'

/** `godwit users import PASSWORD_FILE`: all of it, or nothing. */
export async function importUsers(from: string, flags: ImportFlags, io: Io): Promise<void> {
  const file = fileOf(flags, io)
  const found = foundIn(from)
  const check = (there: { has(name: string): boolean }): void => {
    const twice = [...found.keys()].filter((name) => there.has(name))
    if (twice.length === 0 || flags.replace) return
    const names = twice.slice(0, 5).map(inert).join(', ')
    throw new CliError(
      Exit.refused,
      `${many(twice.length, 'user')} of ${from} in ${file} already: ${names}${twice.length > 5 ? ' …' : ''}; --replace gives them the password of ${from}`,
    )
  }
  check(readUsers(file, true))
  if (flags.dryRun) return note(io, `would import ${many(found.size, 'user')} into ${file}`)
  await changeUsers(file, (users) => {
    check(users.users)
    for (const [name, { password }] of found) users.set(name, { password: password.text, scram: null })
  })
  note(io, `${many(found.size, 'user')} imported into ${file}${atReload}`)
}

function foundIn(from: string): ReturnType<typeof parseMosquittoPasswords> {
  let text: string
  try {
    text = readFileSync(from, 'utf8')
  } catch (fault) {
    throw new CliError(Exit.config, `cannot read ${from}: ${faultText(fault)}`)
  }
  const faults: LineFault[] = []
  const users = parseMosquittoPasswords(text, faults)
  refuse(from, faults)
  return users
}
