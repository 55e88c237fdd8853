import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BrokerError } from './broker.ts'
import { help, type Options, readOptions, UsageError } from './options.ts'
import { report } from './report.ts'
import { prove } from './run.ts'

/** Where the command writes: `notes` is for what is no result. */
export interface Screen {
  result(text: string): void
  note(text: string): void
}

/** `npm run prove`. @returns its exit code: 0 every promise was kept, 1 one was broken, 2 it could not be tried */
export async function command(args: readonly string[], screen: Screen): Promise<number> {
  try {
    const options = readOptions(args)
    if (options) return await run(options, screen)
    screen.result(help)
    return 0
  } catch (fault) {
    if (!(fault instanceof UsageError) && !(fault instanceof BrokerError)) throw fault
    screen.note(`error: ${fault.message}\n`)
    return 2
  }
}

async function run({ data, keep, ...plan }: Options, screen: Screen): Promise<number> {
  if (data !== undefined && !isEmpty(data)) throw new UsageError(`--data: ${data} is not empty`)
  const folder = data ?? mkdtempSync(join(tmpdir(), 'godwit-prove-data-'))
  let keeps = keep || data !== undefined
  const tidy = (): void => {
    if (!keeps) rmSync(folder, { recursive: true, force: true })
  }
  process.on('exit', tidy)
  try {
    screen.note(`seed ${plan.seed}, ${plan.cycles} cycles\n`)
    const every = Math.ceil(plan.cycles / 10)
    const outcome = await prove({ ...plan, data: folder }, (cycle) => {
      if (cycle % every === 0) screen.note(`  killed ${cycle} times\n`)
    })
    screen.result(report(outcome))
    const isKept = outcome.findings.length === 0
    if (!isKept) keeps = true
    if (keeps) screen.note(`The broker's folder is kept: ${folder}\n`)
    return isKept ? 0 : 1
  } finally {
    process.off('exit', tidy)
    tidy()
  }
}

/** Is there nothing in this folder? One that is not there is empty. @throws UsageError when it is no folder */
function isEmpty(folder: string): boolean {
  try {
    return readdirSync(folder).length === 0
  } catch (fault) {
    if ((fault as { code?: string }).code === 'ENOENT') return true
    throw new UsageError(`--data: ${(fault as Error).message}`)
  }
}
