import { Command } from 'commander'
import { drainCommand } from './cluster/drain.ts'
import { evictCommand } from './cluster/evict.ts'
import { initCommand } from './cluster/init.ts'
import { leaveCommand } from './cluster/leave.ts'
import { routesCommand } from './cluster/routes.ts'
import { statusCommand } from './cluster/status.ts'
import { tokenCommand } from './cluster/token.ts'
import type { Io } from './io.ts'

/** `godwit cluster`: makes a cluster, and talks to the nodes of one. */
export function clusterCommand(io: Io): Command {
  return new Command('cluster')
    .description('make a cluster, and talk to its nodes')
    .helpOption('--help', 'show this')
    .helpCommand(false)
    .addCommand(initCommand(io))
    .addCommand(tokenCommand(io))
    .addCommand(statusCommand(io))
    .addCommand(drainCommand(io))
    .addCommand(leaveCommand(io))
    .addCommand(evictCommand(io))
    .addCommand(routesCommand(io))
}
