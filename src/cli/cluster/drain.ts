import type { Command } from 'commander'
import type { ClusterStatus, DrainReport } from '../../admin/control.ts'
import { decimal } from '../flags.ts'
import { CliError, Exit, interruption, type Io, note } from '../io.ts'
import { many } from '../store/text.ts'
import { inert } from '../terminal.ts'
import { AdminClient, adminCommand, type AdminFlags } from './admin-client.ts'

const help = `
The node takes nobody new, sends its clients to other nodes (MQTT 5: 0x9D with a server reference), hands their sessions
over, leaves the cluster, and ends. What cannot go over is said, and then the node stays. When somebody interrupts this
command, the node goes on all the same.`

/** `godwit cluster drain`: empties a node, and takes it out of the cluster. */
export function drainCommand(io: Io): Command {
  return adminCommand('drain', 'hand over all that a node has, and take it out of the cluster')
    .option('--rate <clients>', 'clients that are sent away in a second; 100 if not given', decimal(0.1, 1_000_000))
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (flags: AdminFlags & { rate?: number; json?: true }) => {
      const client = await AdminClient.of(flags, io.env)
      const body = { clientsPerSecond: flags.rate ?? 100 }
      const drained = client.post<DrainReport>('/v1/cluster/drain', body, Infinity)
      const watch = progress(client, io)
      const interrupted = interruption(io)
      let answer: DrainReport
      try {
        answer = await Promise.race([drained, interrupted.asked])
      } finally {
        interrupted.stop()
        watch()
      }
      const { moved, remaining, waiting } = answer
      if (flags.json) io.stdout.write(`${JSON.stringify(answer)}\n`)
      else note(io, `${many(moved, 'session')} handed over`)
      if (remaining > 0)
        throw new CliError(
          Exit.failure,
          `${many(remaining, 'session')} could not be handed over: the node still has them, and has not left; ask again, or see its log`,
        )
      if (waiting.length > 0)
        throw new CliError(
          Exit.failure,
          `${waiting.map(({ node, messages }) => `${many(messages, 'message')} for ${inert(node)}`).join(', ')} could not go over, as it cannot be reached: the node has not left, and takes no clients; ask again when it is back, or evict it first`,
        )
      if (!flags.json) note(io, 'the node has left, and ends')
    })
}

/** Shows what is left to do: in place on a terminal, else a line every 5 s. Gives the function that ends it. */
function progress(client: AdminClient, { stderr }: Io): () => void {
  let ended = false
  let asking = false
  let drawn = false
  const look = async (): Promise<void> => {
    if (asking) return
    asking = true
    // It may end at any moment; the drain's own answer says how.
    const status = await client.get<ClusterStatus>('/v1/cluster').catch(() => undefined)
    asking = false
    if (ended || !status) return
    const text = `draining: ${many(status.clients, 'client')}, ${many(status.sessions, 'session')} to go`
    drawn = true
    stderr.write(stderr.isTTY ? `\r\u001b[K${text}` : `${text}\n`)
  }
  const timer = setInterval(() => void look(), stderr.isTTY ? 500 : 5000)
  return () => {
    ended = true
    clearInterval(timer)
    if (drawn && stderr.isTTY) stderr.write('\r\u001b[K')
  }
}
