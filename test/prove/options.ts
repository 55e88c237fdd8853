import { parseArgs } from 'node:util'
import type { Plan } from './run.ts'

export interface Options extends Omit<Plan, 'data'> {
  readonly data: string | undefined
  readonly keep: boolean
}

/** What was asked for is not possible; the message says why. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export const help = `npm run prove -- [options]

Kills a real broker (kill -9) again and again under mixed QoS 1 and 2 load, with clients that crash, stay away and come
back, starts it again on the same folder, and checks at the end that every promise was kept: nothing that was
acknowledged is lost, nothing of QoS 2 comes twice, everything comes in order, and sessions, subscriptions, retained
messages, wills and QoS 2 packet ids are still there.

  --cycles N         how often the broker is killed (50)
  --seconds S        the longest time from ready to kill (0.8); the shortest is an eighth of it
  --rate N           messages a second, at most (2000)
  --patience S       how long to wait for what is owed (10); a delayed will takes 5
  --seed N           for the same choices again, though never at the same moments
  --data DIR         the broker's folder: empty, or not there; by default a temporary one
  --keep             keep the temporary folder. It is kept anyway when a promise was broken
  --broker COMMAND   words that come before "start --listen URL --data DIR --config FILE" ("node dist/main.js")
  --help             show this

Exit codes: 0 every promise was kept, 1 one was broken, 2 it could not be tried.
`

/** @returns undefined when help was asked for. @throws UsageError */
export function readOptions(args: readonly string[]): Options | undefined {
  const values = parsed(args)
  if (values.help) return undefined
  return {
    broker: values.broker === '' ? [process.execPath, 'dist/main.js'] : values.broker.trim().split(/\s+/),
    cycles: number('--cycles', values.cycles, 1, 1_000_000, true),
    seconds: number('--seconds', values.seconds, 0.01, 3600, false),
    rate: number('--rate', values.rate, 1, 100_000, true),
    patienceSeconds: number('--patience', values.patience, 0.1, 3600, false),
    seed: number('--seed', values.seed ?? String(Date.now() % 1_000_000_000), 0, 999_999_999, true),
    data: values.data,
    keep: values.keep,
  }
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags }).values
  } catch (fault) {
    throw new UsageError((fault as Error).message)
  }
}

const flags = {
  broker: { type: 'string', default: '' },
  cycles: { type: 'string', default: '50' },
  seconds: { type: 'string', default: '0.8' },
  rate: { type: 'string', default: '2000' },
  patience: { type: 'string', default: '10' },
  seed: { type: 'string' },
  data: { type: 'string' },
  keep: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

function number(name: string, text: string, least: number, most: number, isWhole: boolean): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value
  throw new UsageError(
    `${name}: must be a ${isWhole ? 'whole number' : 'number'} from ${least} to ${most}, not "${text}"`,
  )
}
