import { ownText } from '../../cluster/own-names.ts'
import { inert } from '../terminal.ts'

/** Bytes as a person reads them: `12.4 MiB`. */
export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10))
  return `${(bytes / 1024 ** power).toFixed(1)} ${['KiB', 'MiB', 'GiB', 'TiB'][power - 1]!}`
}

export function countText(count: number): string {
  return count.toLocaleString('en-US')
}

/** `1 message`, `2,000 messages`. */
export function many(count: number, one: string, more = `${one}s`): string {
  return `${countText(count)} ${count === 1 ? one : more}`
}

/** As JSON has a time; null when it is none: never, or not known. */
export function timeOf(wallMs: number): string | null {
  // What a date can be at most.
  return wallMs > 0 && wallMs <= 8.64e15 ? new Date(wallMs).toISOString() : null
}

/** Text of a stranger, harmless on a terminal and no longer than a column may be. */
export function cell(text: string): string {
  const harmless = inert(text)
  return harmless.length > mostCell ? `${harmless.slice(0, mostCell - 1)}…` : harmless
}

/** Whose a session is, for a person: a client id, or what the cluster keeps in it. */
export function ownerText(clientId: string): string {
  return ownText(clientId) ?? clientId
}

const mostCell = 40

/** Rows of a table, in columns that are as wide as they must be; those of numbers are named, and stand to the right. */
export function table(rows: readonly (readonly string[])[], right: ReadonlySet<number> = new Set()): string {
  const widths: number[] = []
  for (const row of rows) for (const [at, text] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, text.length)
  const line = (row: readonly string[]) =>
    row.map((text, at) => (right.has(at) ? text.padStart(widths[at]!) : text.padEnd(widths[at]!))).join('  ')
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('')
}
