import type { FileUser } from '../../access/users-file.ts'
import type { PasswordHash } from '../../access/password-hash.ts'
import { type Column, rowsText, type ShowFlags } from '../cluster/show.ts'
import type { Io } from '../io.ts'
import type { FileFlags } from '../users.ts'
import { fileOf, readUsers } from './file.ts'

/** Version of the JSON's fields. */
const schemaVersion = 1

/** `godwit users ls`. */
export function list(flags: FileFlags & ShowFlags, io: Io): void {
  const users = [...readUsers(fileOf(flags, io))].map(rowOf)
  if (flags.json) return void io.stdout.write(`${JSON.stringify({ schemaVersion, users })}\n`)
  io.stdout.write(rowsText(users, columns, flags, io))
}

type Row = ReturnType<typeof rowOf>

function rowOf([name, { password, scram, tenant, groups = [] }]: readonly [string, FileUser]) {
  return { name, password: kindOf(password), scram: scram !== undefined, tenant: tenant ?? null, groups }
}

/** What `$6$` and `$7$` of Mosquitto are. */
const mosquittoKinds = new Map([
  ['6', 'sha512'],
  ['7', 'pbkdf2-sha512'],
])

function kindOf(password: PasswordHash | undefined): string | null {
  const kind = password?.text.split('$')[1]
  return kind === undefined ? null : (mosquittoKinds.get(kind) ?? kind)
}

const columns: readonly Column<Row>[] = [
  { head: 'USER', plain: ({ name }) => name },
  { head: 'PASSWORD', plain: ({ password }) => password ?? '-' },
  { head: 'SCRAM', plain: ({ scram }) => scram, shown: ({ scram }) => (scram ? 'yes' : 'no') },
  { head: 'TENANT', plain: ({ tenant }) => tenant ?? '-' },
  { head: 'GROUPS', plain: ({ groups }) => groups.join(' ') || '-' },
]
