import { Command } from 'commander'
import { initCluster } from '../../platform/cluster-directory.ts'
import { type Io, note } from '../io.ts'
import { shellWord } from '../terminal.ts'
import { sound } from './identity-fault.ts'

const help = `
The directory holds the authority that says who is a node of the cluster: whoever can read it can be any node. Nodes on this
machine are started with it; one on another machine gets a token (godwit cluster token), and the directory stays here.`

/** `godwit cluster init`: makes the identity of a new cluster. */
export function initCommand(io: Io): Command {
  return new Command('init')
    .description('make a cluster: an authority for its nodes, and a secret for tokens')
    .helpOption('--help', 'show this')
    .argument('<directory>', 'a new one')
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (directory: string, { json }: { json?: true }) => {
      const clusterId = await sound(() => initCluster(directory))
      if (json) return void io.stdout.write(`${JSON.stringify({ schemaVersion: 1, clusterId, directory })}\n`)
      const word = shellWord(directory)
      note(io, `cluster ${clusterId} is in ${directory}; keep it to yourself. Its first node:`)
      note(io, `  ${io.invocation} start --cluster ${word} --node a --cluster-listen 127.0.0.1:7001 --data ./a`)
    })
}
