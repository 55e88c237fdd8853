import type { Outcome } from './bench.ts'

export interface ReportOptions {
  readonly json?: boolean
  readonly quiet?: boolean
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

/** 0 ok · 1 something was lost or refused · 27 time is up */
export function exitCodeOf(outcome: Outcome): number {
  return outcome.ending === 'timeout' ? 27 : outcome.ok ? 0 : 1
}
