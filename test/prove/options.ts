import { parseArgs } from 'node:util'

export interface Options {
  readonly broker: readonly string[]
  readonly cycles: number
  readonly seconds: number
  readonly rate: number
  readonly seed: number
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
  --rate N           messages a second, about (2000)
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
  const words = values.broker?.trim().split(/\s+/)
  if (words?.[0] === '') throw new UsageError('--broker needs a command')
  return {
    broker: words ?? [process.execPath, 'dist/main.js'],
    cycles: number('--cycles', values.cycles ?? '50', 1, 1_000_000, true),
    seconds: number('--seconds', values.seconds ?? '0.8', 0.01, 3600, false),
    rate: number('--rate', values.rate ?? '2000', 1, 100_000, true),
    seed: number('--seed', values.seed ?? String(Date.now() % 1_000_000_000), 0, 999_999_999, true),
    data: values.data,
    keep: values.keep ?? false,
  }
}

function parsed(args: readonly string[]): Partial<Record<(typeof texts)[number], string>> & {
  keep?: boolean
  help?: boolean
} {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...(Object.fromEntries(texts.map((name) => [name, { type: 'string' }])) as Record<
          (typeof texts)[number],
          { type: 'string' }
        >),
        keep: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (fault) {
    throw new UsageError((fault as Error).message)
  }
}

const texts = ['broker', 'cycles', 'seconds', 'rate', 'seed', 'data'] as const

function number(name: string, text: string, least: number, most: number, isWhole: boolean): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value
  throw new UsageError(
    `${name}: must be a ${isWhole ? 'whole number' : 'number'} from ${least} to ${most}, not "${text}"`,
  )
}
