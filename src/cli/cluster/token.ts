import { Command } from 'commander'
import { ClusterDirectory } from '../../platform/cluster-directory.ts'
import { reading, usage } from '../flags.ts'
import { type Io, note } from '../io.ts'
import { sound } from './identity-fault.ts'

const help = `
The token goes to stdout. Whoever has it can become a node of the cluster, once, until it expires. On the other machine:
  godwit start --join-token TOKEN --join HOST:PORT --node NAME --cluster-listen HOST:PORT --data DIR
where --join names a node that was started with this directory.`

interface TokenFlags {
  readonly cluster?: string
  readonly expires?: number
  readonly json?: true
}

/** `godwit cluster token`: lets one node on another machine join. */
export function tokenCommand(io: Io): Command {
  return new Command('token')
    .description('a token with which one node on another machine joins')
    .helpOption('--help', 'show this')
    .option('--cluster <directory>', 'of the cluster; default: GODWIT_CLUSTER_DIRECTORY')
    .option('--expires <time>', 'how long it is good: 90s, 10m, 1h, 7d; 1h if not given', reading(parseSeconds))
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async ({ cluster, expires = 3600, json }: TokenFlags) => {
      const path = cluster ?? io.env['GODWIT_CLUSTER_DIRECTORY']
      if (!path) throw usage('which cluster? --cluster DIR, as godwit cluster init has made it')
      const expiresMs = Date.now() + expires * 1000
      const token = await sound(() => new ClusterDirectory(path).token(expiresMs))
      const expiresAt = new Date(expiresMs).toISOString()
      if (json) return void io.stdout.write(`${JSON.stringify({ schemaVersion: 1, token, expiresAt })}\n`)
      io.stdout.write(`${token}\n`)
      note(io, `good for one node, until ${expiresAt}`)
    })
}

const units = new Map([
  ['s', 1],
  ['m', 60],
  ['h', 3600],
  ['d', 86_400],
])
const mostSeconds = 30 * 86_400

/** Reads `90s`, `10m`, `1h`, `7d`. @throws Error */
function parseSeconds(text: string): number {
  const unit = units.get(text.slice(-1))
  const seconds = Number(text.slice(0, -1)) * (unit ?? NaN)
  if (!/^[0-9]{1,8}.$/.test(text) || !Number.isFinite(seconds) || seconds < 1 || seconds > mostSeconds)
    throw new Error('It is a time like 90s, 10m, 1h or 7d, up to 30d')
  return seconds
}
