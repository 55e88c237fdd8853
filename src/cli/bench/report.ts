import { Exit, type Screen } from '../io.ts'
import type { Outcome } from './bench.ts'

export interface ReportOptions {
  readonly json?: boolean
  readonly headers: boolean
}

/** Version of the JSON line's fields. */
const schemaVersion = 1

/** What goes to stdout: a line of JSON, a table for a terminal, or tab-separated for a pipe. */
export function render(verb: string, outcome: Outcome, options: ReportOptions, terminal: boolean): string {
  const { figures, ok, ending } = outcome
  if (options.json) return `${JSON.stringify({ schemaVersion, bench: verb, ok, ending, ...figures })}\n`
  const rows = Object.entries(figures)
  if (!terminal) {
    const lines = rows.map(([name, value]) => `${name}\t${value}`)
    return [...(options.headers ? ['figure\tvalue'] : []), ...lines, ''].join('\n')
  }
  const width = Math.max(...rows.map(([name]) => name.length))
  const texts = rows.map(([, value]) => (typeof value === 'number' ? value.toLocaleString('en-US') : value))
  const valueWidth = Math.max(...texts.map((text) => text.length))
  return rows.map(([name], i) => `${name.padEnd(width)}  ${texts[i]!.padStart(valueWidth)}\n`).join('')
}

/** Ok, failure when something was lost or refused, timeout when time was up. */
export function exitOf(outcome: Outcome): Exit {
  return outcome.ending === 'timeout' ? Exit.timeout : outcome.ok ? Exit.ok : Exit.failure
}

/** Shows how a run is doing: twice a second on a terminal, otherwise a line every 5 seconds. */
export function showProgress(stderr: Screen): { begin: (status: () => string) => void; end: () => void } {
  const terminal = stderr.isTTY ?? false
  let timer: NodeJS.Timeout | undefined
  let shown = false
  return {
    begin: (status) => {
      const show = (): void => {
        stderr.write(terminal ? `\r\x1b[K${status()}` : `${status()}\n`)
        shown = terminal
      }
      timer = setInterval(show, terminal ? 500 : 5000)
    },
    end: () => {
      clearInterval(timer)
      if (shown) stderr.write('\r\x1b[K')
    },
  }
}
