import type { Command } from 'commander'
import type { LeftBehind } from '../../admin/control.ts'
import { confirm } from '../confirm.ts'
import { type Io, note } from '../io.ts'
import { many } from '../store/text.ts'
import { inert } from '../terminal.ts'
import { AdminClient, adminCommand, type AdminFlags, AdminRefusal } from './admin-client.ts'

const help = `
The others forget the node, and it ends. Sessions that are still on it are served by nobody until it is started again, and
what it has written down for nodes that are away may reach nobody: drain hands over first. To stop a node for a while, end
its process: the others keep its share for it.`

interface Left {
  readonly lost: LeftBehind
}

/** `godwit cluster leave`: a node goes for good. */
export function leaveCommand(io: Io): Command {
  return adminCommand('leave', 'take a node out of the cluster, at once')
    .option('--yes', 'do not ask, although sessions stay behind')
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (flags: AdminFlags & { yes?: true; json?: true }) => {
      const client = await AdminClient.of(flags, io.env)
      const leave = (force: boolean) => client.post<Left>('/v1/cluster/leave', { force })
      const answer = await leave(flags.yes ?? false).catch(async (fault: unknown) => {
        if (!(fault instanceof AdminRefusal) || fault.error !== 'would-lose') throw fault
        await confirm(io, `${fault.message}. Leave all the same?`, false)
        return leave(true)
      })
      if (flags.json) return void io.stdout.write(`${JSON.stringify(answer)}\n`)
      const { sessions, messages, waiting } = answer.lost
      note(io, 'the node has left, and ends')
      if (sessions > 0) note(io, `${many(sessions, 'session')} with ${many(messages, 'message')} stay behind`)
      for (const { node, messages } of waiting) note(io, `${many(messages, 'message')} for ${inert(node)} stay behind`)
    })
}
