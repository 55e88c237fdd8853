import { basename, relative } from 'node:path'
import type { Io } from './io.ts'
import { shellWord } from './terminal.ts'

/** The real process, for `main.ts`. */
export function processIo(): Io {
  // A reader that has seen enough, like `head`, is no failure of ours: whoever writes notices by itself.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  return {
    // Late: whoever does not ask for stdin must not open it.
    get stdin() {
      return process.stdin
    },
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    invocation: invocation(process.argv[1] ?? '', process.cwd(), process.env),
    onSignal(signal, run) {
      process.on(signal, run)
      return () => process.off(signal, run)
    },
    exit: (code) => process.exit(code),
  }
}

/** The words with which this person starts us: what works for them must work when they paste it. */
export function invocation(script: string, directory: string, env: Io['env']): string {
  const throughNpx = env['npm_command'] === 'exec' || /[/\\]node_modules[/\\]\.bin[/\\]/.test(script)
  if (throughNpx) return 'npx godwit'
  if (/^godwit(\.cmd)?$/.test(basename(script))) return 'godwit'
  const near = relative(directory, script)
  const path = near.startsWith('..') ? script : near
  return `node ${shellWord(path)}`
}
