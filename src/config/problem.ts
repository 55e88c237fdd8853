/** One thing that is wrong with the configuration, and where a person finds it. */
export interface Problem {
  /** The file, or the flag (`--listen`) or variable (`GODWIT_LISTEN`) that the value came from. */
  readonly source: string
  /** In the file, counted from 1. */
  readonly line?: number
  readonly column?: number
  /** Path of the key: `listeners.0.url`. */
  readonly key?: string
  readonly message: string
}

/** Everything that is wrong with the configuration, not just the first thing. `message` is what a person reads. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  constructor(readonly problems: readonly Problem[]) {
    super(problems.map(problemText).join('\n'))
  }
}

/** `godwit.yaml:3:1: listners: unknown key, did you mean "listeners"?` */
function problemText(problem: Problem): string {
  const place = problem.line === undefined ? '' : `:${problem.line}:${problem.column ?? 1}`
  const key = problem.key ? `${problem.key}: ` : ''
  return `${problem.source}${place}: ${key}${problem.message}`
}

/** Shows a bad value inside a message: quoted, on one line, and cut when it is long. */
export function shown(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}
