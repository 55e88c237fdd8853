import { hashPassword } from '../../access/password-hash.ts'
import { makeVerifier } from '../../access/scram.ts'
import { isTenantName, tenantNameRule } from '../../mqtt/tenant-name.ts'
import { digests } from '../../platform/digests.ts'
import { random } from '../../platform/host.ts'
import { blockingHasher } from '../../platform/password-work.ts'
import { confirm } from '../confirm.ts'
import { usage } from '../flags.ts'
import { CliError, Exit, type Io, note } from '../io.ts'
import { inert } from '../terminal.ts'
import type { AddFlags, FileFlags } from '../users.ts'
import { changeUsers, checkName, fileOf, notThere, readUsers } from './file.ts'
import { newPassword } from './password.ts'

/** No broker watches the file: what is half edited must not count. */
export const atReload = ' (a running broker reads the file at SIGHUP)'

/** `godwit users add NAME`. */
export async function add(name: string, flags: AddFlags, io: Io): Promise<void> {
  const file = fileOf(flags, io)
  const { tenant, group: groups } = flags
  checkName(name)
  if (tenant !== undefined && !isTenantName(tenant))
    throw usage(`no tenant can be named "${inert(tenant)}": ${tenantNameRule}`)
  groups?.forEach((group) => checkName(group, 'group'))
  // Before a person has typed a password twice for nothing; and again when it is written.
  if (readUsers(file, true).has(name)) throw isThere(name, file)
  const secrets = await secretsOf(await newPassword(flags, io), flags.scram ?? false)
  await changeUsers(file, (users) => {
    if (users.users.has(name)) throw isThere(name, file)
    users.set(name, { ...secrets, ...(tenant !== undefined && { tenant }), ...(groups && { groups }) })
  })
  note(io, `${inert(name)} may log in${atReload}`)
}

/** `godwit users passwd NAME`. */
export async function passwd(name: string, flags: AddFlags, io: Io): Promise<void> {
  const file = fileOf(flags, io)
  const user = readUsers(file).get(name)
  if (!user) throw notThere(name, file)
  // What is there for SCRAM opens with the old password: it goes with it.
  const scram = flags.scram ?? user.scram !== undefined
  const secrets = await secretsOf(await newPassword(flags, io), scram)
  await changeUsers(file, (users) => {
    if (!users.users.has(name)) throw notThere(name, file)
    users.set(name, { scram: null, ...secrets })
  })
  note(io, `${inert(name)} has another password${atReload}`)
}

/** `godwit users rm NAME`. */
export async function remove(name: string, flags: FileFlags & { readonly yes?: true }, io: Io): Promise<void> {
  const file = fileOf(flags, io)
  if (!readUsers(file).has(name)) throw notThere(name, file)
  await confirm(io, `Remove ${inert(name)} from ${file}?`, flags.yes ?? false)
  await changeUsers(file, (users) => {
    if (!users.users.has(name)) throw notThere(name, file)
    users.remove(name)
  })
  note(io, `${inert(name)} is gone${atReload}`)
}

async function secretsOf(password: string, scram: boolean): Promise<{ password: string; scram?: string }> {
  const hash = await hashPassword(blockingHasher, random, Buffer.from(password))
  if (!scram) return { password: hash }
  const verifier = await makeVerifier(blockingHasher, digests, random, password)
  if (verifier === undefined) throw usage('SCRAM does not allow some character of this password')
  return { password: hash, scram: verifier }
}

function isThere(name: string, file: string): CliError {
  return new CliError(Exit.refused, `${inert(name)} is in ${file} already: godwit users passwd gives another password`)
}
