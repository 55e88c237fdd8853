import type { Io } from '../io.ts'
import { table } from '../store/text.ts'
import { inert } from '../terminal.ts'

/** How a command shows what it has found. */
export interface ShowFlags {
  readonly json?: true
  /** Commander's name for `--no-headers`. */
  readonly headers: boolean
}

export interface Column<Row> {
  readonly head: string
  /** For programs: the value itself. */
  readonly plain: (row: Row) => string | number | boolean
  /** For people, where that is something else. */
  readonly shown?: (row: Row) => string
  /** Numbers stand to the right. */
  readonly right?: true
}

/** A table on a terminal; in a pipe a line for each row, with tabs. */
export function rowsText<Row>(rows: readonly Row[], columns: readonly Column<Row>[], flags: ShowFlags, io: Io): string {
  const heads = columns.map(({ head }) => head)
  if (io.stdout.isTTY) {
    const cells = rows.map((row) => columns.map(({ plain, shown }) => inert(String((shown ?? plain)(row)))))
    const right = new Set(columns.flatMap((column, at) => (column.right ? [at] : [])))
    return table(flags.headers ? [heads, ...cells] : cells, right)
  }
  const lines = rows.map((row) => columns.map(({ plain }) => inert(String(plain(row)))))
  return (flags.headers ? [heads, ...lines] : lines).map((line) => `${line.join('\t')}\n`).join('')
}
