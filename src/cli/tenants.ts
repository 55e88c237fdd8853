import type { Command } from 'commander'
import type { TenantFigures, TenantReport } from '../broker/tenant-figures.ts'
import { AdminClient, adminCommand, type AdminFlags } from './cluster/admin-client.ts'
import { type Column, rowsText, type ShowFlags } from './cluster/show.ts'
import { type Io, note } from './io.ts'
import { bytesText, countText, many } from './store/text.ts'

/** `godwit tenants`: what each tenant has on a node. */
export function tenantsCommand(io: Io): Command {
  return adminCommand('tenants', 'show what each tenant has on a node, and what its clients sent and were sent')
    .option('--json', 'as JSON')
    .option('--no-headers', 'without the names of the columns')
    .action(async (flags: AdminFlags & ShowFlags) => {
      const client = await AdminClient.of(flags, io.env)
      const answer = await client.get<TenantReport>('/v1/tenants')
      const { forgotten } = answer
      if (forgotten > 0)
        note(io, `${many(forgotten, 'tenant')} had nothing here any more, and no figures are left of them`)
      io.stdout.write(flags.json ? `${JSON.stringify(answer)}\n` : rowsText(answer.tenants, columns, flags, io))
    })
}

const counted = (head: string, plain: (row: TenantFigures) => number, shown = countText): Column<TenantFigures> => ({
  ...{ head, plain, right: true },
  shown: (row) => shown(plain(row)),
})

const columns: readonly Column<TenantFigures>[] = [
  { head: 'TENANT', plain: ({ tenant }) => tenant },
  counted('CLIENTS', ({ connections }) => connections),
  counted('SESSIONS', ({ sessions }) => sessions),
  counted('SUBSCRIPTIONS', ({ subscriptions }) => subscriptions),
  counted('RETAINED', ({ retainedMessages }) => retainedMessages),
  counted('RETAINED BYTES', ({ retainedBytes }) => retainedBytes, bytesText),
  counted('IN', ({ messagesIn }) => messagesIn),
  counted('OUT', ({ messagesOut }) => messagesOut),
  counted('BYTES IN', ({ bytesIn }) => bytesIn, bytesText),
  counted('BYTES OUT', ({ bytesOut }) => bytesOut, bytesText),
  counted('REFUSED', ({ refused }) => refused),
]
