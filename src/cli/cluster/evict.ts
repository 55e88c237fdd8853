import type { Command } from 'commander'
import type { ClusterStatus, Evicted } from '../../admin/control.ts'
import { confirm } from '../confirm.ts'
import { CliError, Exit, type Io, note } from '../io.ts'
import { bytesText, many } from '../store/text.ts'
import { inert } from '../terminal.ts'
import { AdminClient, adminCommand, type AdminFlags } from './admin-client.ts'

const help = `
Say it to every node that something waits on: each has a queue of its own for the node that is gone.`

/** `godwit cluster evict NODE`: gives up what waits for a node that will not come back. */
export function evictCommand(io: Io): Command {
  return adminCommand('evict', 'give up what waits for a node that will not come back, and forget it')
    .argument('<node>', 'its name, as status shows it')
    .option('--yes', 'do not ask')
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (node: string, flags: AdminFlags & { yes?: true; json?: true }) => {
      const client = await AdminClient.of(flags, io.env)
      const { nodes } = await client.get<ClusterStatus>('/v1/cluster')
      const found = nodes.find((one) => one.node === node)
      const name = inert(node)
      if (!found) throw new CliError(Exit.notFound, `no node is named ${name}`)
      const { queueMessages, queueBytes, state } = found
      const queue = `${many(queueMessages, 'message')} (${bytesText(queueBytes)})`
      const question = `${name} is ${state}. Forget it, and lose the ${queue} that wait for it here?`
      await confirm(io, question, flags.yes ?? false)
      const answer = await client.post<{ node: string; lost: Evicted }>('/v1/cluster/evict', { node })
      if (flags.json) return void io.stdout.write(`${JSON.stringify(answer)}\n`)
      const { messages, bytes } = answer.lost
      note(io, `${name} is forgotten; ${many(messages, 'message')} (${bytesText(bytes)}) given up`)
      note(io, 'should it still run, cut off from here: start it again, for it may never be told')
    })
}
