import { Command } from 'commander'
import { version } from '../version.ts'
import type { Io } from './io.ts'

/** `godwit version`: what to write into a bug report. */
export function versionCommand(io: Io): Command {
  return new Command('version')
    .description('show the version, of Node.js too')
    .helpOption('--help', 'show this')
    .option('--json', 'as JSON')
    .action(({ json }: { json?: true }) => {
      const { version: node, platform, arch } = process
      const record = { schemaVersion: 1, name: 'godwit', version, node: node.slice(1), platform, arch }
      io.stdout.write(
        json ? `${JSON.stringify(record)}\n` : `godwit ${version} (Node.js ${node}, ${platform} ${arch})\n`,
      )
    })
}
