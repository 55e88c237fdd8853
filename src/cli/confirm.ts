import { usage } from './flags.ts'
import { CliError, Exit, interruption, type Io } from './io.ts'

/**
 * Asks a person before something is lost, unless they have said yes already.
 * @throws CliError when they do not want it, or when nobody is there who could be asked
 */
export async function confirm(io: Io, question: string, yes: boolean): Promise<void> {
  if (yes) return
  const { stdin, stderr } = io
  if (!stdin.isTTY || !stderr.isTTY) throw usage(`${question} There is nobody to ask here: --yes does it`)
  stderr.write(`${question} [y/N] `)
  const interrupted = interruption(io)
  try {
    const answer = await Promise.race([line(stdin), interrupted.asked])
    if (!/^y(es)?$/i.test(answer.trim())) throw new CliError(Exit.refused, 'nothing was done')
  } finally {
    interrupted.stop()
  }
}

function line(stdin: Io['stdin']): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const end = (): void => {
      stdin.off('data', take).off('end', end).pause()
      resolve(text)
    }
    const take = (chunk: Buffer | string): void => {
      text += String(chunk)
      if (text.includes('\n') || text.length > 100) end()
    }
    stdin.on('data', take).once('end', end)
  })
}
