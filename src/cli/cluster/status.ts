import type { Command } from 'commander'
import type { ClusterStatus } from '../../admin/control.ts'
import type { NodeStatus } from '../../cluster/cluster.ts'
import type { Io } from '../io.ts'
import { bytesText, countText, many } from '../store/text.ts'
import { inert } from '../terminal.ts'
import { AdminClient, adminCommand, type AdminFlags } from './admin-client.ts'
import { type Column, rowsText, type ShowFlags } from './show.ts'

/** `godwit cluster status`: who is there, and what waits for whom. */
export function statusCommand(io: Io): Command {
  return adminCommand('status', 'show the nodes as one of them sees them, and what waits for each')
    .option('--json', 'as JSON')
    .option('--no-headers', 'without the names of the columns')
    .action(async (flags: AdminFlags & ShowFlags) => {
      const client = await AdminClient.of(flags, io.env)
      const status = await client.get<ClusterStatus>('/v1/cluster')
      if (flags.json) return void io.stdout.write(`${JSON.stringify(status)}\n`)
      if (io.stdout.isTTY) io.stdout.write(summary(status))
      io.stdout.write(rowsText(status.nodes, columns, flags, io))
    })
}

function summary({
  clusterId,
  state,
  clients,
  sessions,
  evicted,
  unserved,
  lost: { offline = 0 },
}: ClusterStatus): string {
  const who = clusterId === undefined ? 'a node alone' : `cluster ${inert(clusterId)}`
  const losses = [
    ...(evicted > 0 ? [`${many(evicted, 'message')} given up with nodes that are gone`] : []),
    ...(unserved > 0 ? [`${many(unserved, 'message')} for groups without a member`] : []),
    ...(offline > 0 ? [`${many(offline, 'message')} for clients of nodes that were away`] : []),
  ]
  const lost = losses.length > 0 ? `lost since the start: ${losses.join(', ')}\n` : ''
  const gone = state === 'evicted' ? 'the other nodes have given this one up: start it again\n' : ''
  return `${who}, ${inert(state)}; here ${many(clients, 'client')}, ${many(sessions, 'session')}\n${gone}${lost}\n`
}

const columns: readonly Column<NodeStatus>[] = [
  { head: 'NODE', plain: ({ node }) => node },
  { head: 'STATE', plain: ({ state, draining }) => (draining && state !== 'dead' ? 'draining' : state) },
  { head: 'ADDRESS', plain: ({ address }) => address },
  { head: 'INCARNATION', plain: ({ incarnation }) => incarnation, right: true },
  // The wire version.
  { head: 'LINK', plain: ({ version }) => version, shown: ({ version }) => (version === 0 ? '-' : `v${version}`) },
  {
    head: 'WAITING',
    plain: ({ queueMessages }) => queueMessages,
    shown: ({ queueMessages }) => countText(queueMessages),
    right: true,
  },
  {
    head: 'BYTES',
    plain: ({ queueBytes }) => queueBytes,
    shown: ({ queueBytes }) => bytesText(queueBytes),
    right: true,
  },
  { head: 'HANDOFF', plain: ({ handoff }) => handoff, shown: ({ handoff }) => (handoff ? 'yes' : 'no') },
  {
    head: 'DROPPED',
    plain: ({ droppedQos0 }) => droppedQos0,
    shown: ({ droppedQos0 }) => countText(droppedQos0),
    right: true,
  },
  { head: 'REFUSED', plain: ({ refused }) => refused, shown: ({ refused }) => countText(refused), right: true },
]
