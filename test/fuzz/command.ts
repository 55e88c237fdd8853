import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { campaign, type Found } from './campaign.ts'
import { Growth } from './growth.ts'
import { corpusFolder, foundFolder } from './scenes.ts'
import { printScript, type Script } from './script.ts'

/** Where the command writes: `notes` is for what is no result. */
export interface Screen {
  result(text: string): void
  note(text: string): void
}

const help = `npm run fuzz -- [options]

Mutates real sequences of packets, of several clients, and runs them on brokers in this process: nothing may throw, hang,
leak or answer wrongly, and an honest pair of clients beside them must notice nothing. What breaks a broker is
minimised and written to ${foundFolder}, where it is tested from then on.

  --frames N   packets that a broker reads (2000000)
  --seed N     for the same ones again (by the clock)
  --grow       writes to ${corpusFolder} what goes where the first 100,000 frames did not, minimised
  --help       show this

Exit codes: 0 nothing was found, 1 something was, or a step took more than 20 ms, or memory grew by 20 MB, 2 the options are wrong.
`

const mostMs = 20
const mostGrowthBytes = 20_000_000

/** `npm run fuzz`. @returns its exit code */
export async function command(args: readonly string[], screen: Screen): Promise<number> {
  const options = read(args)
  if (typeof options === 'string') {
    screen.note(`error: ${options}\n`)
    return 2
  }
  if (options.help) {
    screen.result(help)
    return 0
  }
  const { frames, seed, grow } = options
  screen.note(`seed ${seed}, ${frames} frames\n`)
  const startMs = performance.now()
  let told = 0
  const corpus = new Growth()
  const outcome = await campaign({
    frames,
    seed,
    progress(done) {
      if (done < told + frames / 10) return
      told = done
      screen.note(`  ${done} frames, ${mebibytes(process.memoryUsage.rss())} resident\n`)
    },
    ...(grow && { fresh: (fresh, frames) => corpus.add(fresh, frames) }),
  })
  const seconds = (performance.now() - startMs) / 1000
  const { slowest } = outcome
  screen.result(
    [
      `frames    ${outcome.frames} in ${outcome.scripts} scripts, ${seconds.toFixed(1)} s, ${Math.round(outcome.frames / seconds)} a second`,
      `features  ${outcome.features} combinations of version, packet, state and outcome`,
      `slowest   ${slowest.ms.toFixed(1)} ms for a step, at its best of ${slowest.tries}`,
      `memory    RSS ${growth(outcome.rssGrowthBytes)}, heap ${growth(outcome.heapGrowthBytes)}, from the second tenth of the way to the last`,
      '',
    ].join('\n'),
  )
  const grown = await corpus.scripts()
  if (grown.length > 0) {
    const about = `# npm run fuzz -- --frames ${frames} --seed ${seed} --grow\n`
    writeFileSync(join(corpusFolder, `seed-${seed}.txt`), about + grown.map(printScript).join('\n'))
  }
  if (grow) screen.result(`corpus    ${grown.length} scripts more\n`)
  if (!outcome.found) return slowest.ms > mostMs || outcome.rssGrowthBytes > mostGrowthBytes ? 1 : 0
  screen.result(`\n${describe(outcome.found)}\nkept as ${keep(describe(outcome.found), outcome.found.script)}\n`)
  return 1
}

function describe({ finding, habits, script }: Found): string {
  return `${finding.message}\non a broker that is ${habits.name}:\n${printScript(script)}`
}

/** Writes what was found under a name that its bytes give it. */
function keep(about: string, script: Script): string {
  const text = printScript(script)
  const file = join(foundFolder, `${createHash('sha256').update(text).digest('hex').slice(0, 12)}.txt`)
  writeFileSync(file, `# ${about.split('\n', 2).join('; ')}\n${text}`)
  return file
}

function read(args: readonly string[]): { frames: number; seed: number; grow: boolean; help: boolean } | string {
  try {
    const { values } = parseArgs({ args: [...args], options: flags })
    const frames = Number(values.frames)
    const seed = Number(values.seed ?? Date.now() % 1_000_000_000)
    if (!Number.isInteger(frames) || frames < 1)
      return `--frames: must be a whole number from 1, not "${values.frames}"`
    if (!Number.isInteger(seed)) return `--seed: must be a whole number, not "${values.seed}"`
    return { frames, seed, grow: values.grow, help: values.help }
  } catch (fault) {
    return (fault as Error).message
  }
}

const flags = {
  frames: { type: 'string', default: '2000000' },
  seed: { type: 'string' },
  grow: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

function mebibytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`
}

function growth(bytes: number): string {
  return `${bytes < 0 ? '−' : '+'}${mebibytes(Math.abs(bytes))}`
}
