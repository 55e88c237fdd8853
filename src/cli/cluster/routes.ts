import { setTimeout as wait } from 'node:timers/promises'
import { Argument, type Command } from 'commander'
import type { Table, Verified } from '../../admin/control.ts'
import { CliError, Exit, type Io, note } from '../io.ts'
import { countText, many } from '../store/text.ts'
import { inert } from '../terminal.ts'
import { AdminClient, adminCommand, type AdminFlags } from './admin-client.ts'
import { type Column, rowsText, type ShowFlags } from './show.ts'

const help = `
verify asks every node that this one has a link to for the hashes of its tables, and compares. It ends with 1 when tables
differ that should be the same, or when a living node does not answer.`

interface Routes {
  readonly tables: readonly Table[]
  readonly verified?: Verified
}

/** `godwit cluster routes [verify]`: the tables of who wants what. */
export function routesCommand(io: Io): Command {
  return adminCommand('routes', 'show the tables of who wants what, and whether all nodes have the same')
    .addArgument(new Argument('[verify]', 'compare them with those of the other nodes').choices(['verify']))
    .option('--json', 'as JSON')
    .option('--no-headers', 'without the names of the columns')
    .addHelpText('after', help)
    .action(async (verify: string | undefined, flags: AdminFlags & ShowFlags) => {
      const client = await AdminClient.of(flags, io.env)
      const routes = verify === undefined ? await client.get<Routes>('/v1/cluster/routes') : await verified(client)
      io.stdout.write(flags.json ? `${JSON.stringify(routes)}\n` : rowsText(routes.tables, columns, flags, io))
      if (routes.verified) judge(routes.verified, io)
    })
}

/** What is only on its way has arrived after some of these. */
const looks = 10
const pauseMs = 500

async function verified(client: AdminClient): Promise<Routes> {
  for (let look = 1; ; look++) {
    const routes = await client.get<Routes>('/v1/cluster/routes?verify')
    const { differences = [] } = routes.verified ?? {}
    if (look === looks || !differences.some(({ behind }) => behind)) return routes
    await wait(pauseMs)
  }
}

/** @throws CliError when the tables are not what they should be */
function judge({ asked, silent, differences }: Verified, io: Io): void {
  for (const { owner, peer, behind } of differences) {
    const how = behind ? 'has not caught up' : 'has other entries under the same version'
    note(io, `the table of ${inert(owner)}: ${inert(peer)} ${how}`)
  }
  for (const node of silent) note(io, `${inert(node)} does not answer`)
  if (differences.length > 0) throw new CliError(Exit.failure, `${many(differences.length, 'table')} differ`)
  if (silent.length > 0) throw new CliError(Exit.failure, `${many(silent.length, 'node')} could not be asked`)
  note(io, `all tables are the same on this node and ${many(asked.length, 'other')}`)
}

const columns: readonly Column<Table>[] = [
  { head: 'NODE', plain: ({ node }) => node },
  { head: 'INCARNATION', plain: ({ incarnation }) => incarnation, right: true },
  { head: 'VERSION', plain: ({ version }) => version, right: true },
  { head: 'ENTRIES', plain: ({ entries }) => entries, shown: ({ entries }) => countText(entries), right: true },
  { head: 'HASH', plain: ({ hash }) => hash },
]
