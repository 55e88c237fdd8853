import { isName } from './identity.ts'
import { parseHash } from './password-hash.ts'
import type { PasswordUser } from './passwords.ts'

/** Something that is wrong in a file that a person wrote. */
export interface LineFault {
  readonly line: number
  readonly column?: number
  readonly message: string
}

/**
 * Reads a `password_file` of Mosquitto: `name:hash` a line, `#` for comments, blanks at either end of a line and of a name do
 * not count. Mosquitto leaves out a line that it cannot use; here it is a fault, as its user could not log in.
 */
export function parseMosquittoPasswords(text: string, faults: LineFault[]): ReadonlyMap<string, PasswordUser> {
  const users = new Map<string, PasswordUser>()
  for (const [at, whole] of text.split('\n').entries()) {
    if (whole.startsWith('#') || whole.trim() === '') continue
    const user = parseLine(whole)
    if (typeof user === 'string') faults.push({ line: at + 1, message: user })
    else if (users.has(user.name)) faults.push({ line: at + 1, message: `"${user.name}" stands further up already` })
    else users.set(user.name, { password: user.password })
  }
  return users
}

function parseLine(whole: string): (PasswordUser & { readonly name: string }) | string {
  const colon = whole.indexOf(':')
  // Without showing the line: what stands there may be a password.
  if (colon < 0) return 'no ":" between a name and a hash'
  const name = whole.slice(0, colon).trim()
  if (!isName(name)) return 'no name before ":", or one that MQTT does not allow'
  const password = parseHash(whole.slice(colon + 1).trim())
  return typeof password === 'string' ? `what "${name}" has ${password}` : { name, password }
}
