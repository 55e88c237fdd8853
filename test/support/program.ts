import { type ChildProcess, spawn } from 'node:child_process'
import { createServer, type Socket } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach } from 'vitest'
import { Bell } from './bell.ts'

/** The root of the repository, where `dist` is. */
export const root = fileURLToPath(new URL('../../', import.meta.url))
export const main = join(root, 'dist/main.js')

const running = new Set<Program>()
const folders = new Set<string>()
afterEach(async () => {
  await Promise.all([...running].map((program) => program.kill()))
  for (const folder of folders) rmSync(folder, { recursive: true })
  folders.clear()
})

// A test run that is broken off leaves nothing behind either, however it ends: a shell that hears of each program's start and end
// reads the end of its input when we are gone, and kills what still runs.
const undertaking = `running=' '
while read -r what pid; do
  case $what in
    start) running="$running$pid " ;;
    end) running="\${running%% $pid *} \${running#* $pid }" ;;
  esac
done
for pid in $running; do kill -9 -- "$pid"; done 2>/dev/null`
let undertaker: Socket | undefined

function tell(what: 'start' | 'end', pid: number): void {
  if (!undertaker) {
    const shell = spawn('sh', ['-c', undertaking], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
    shell.unref()
    undertaker = shell.stdin as Socket
    undertaker.unref()
  }
  undertaker.write(`${what} ${pid}\n`)
}

/** A folder that is gone when the test ends. */
export function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'godwit test '))
  folders.add(folder)
  return folder
}

/** What a program has written so far. */
export class Transcript {
  #text = ''
  readonly #bell = new Bell()

  get text(): string {
    return this.#text
  }

  /** Done as soon as `text` has been written; then gives everything. */
  async until(text: string): Promise<string> {
    await this.#bell.until(
      () => this.#text.includes(text),
      () => `"${text}" in:\n${this.#text}`,
    )
    return this.#text
  }

  add(chunk: string): void {
    this.#text += chunk
    this.#bell.ring()
  }
}

export interface ProgramOptions {
  readonly cwd?: string
  readonly env?: Record<string, string>
  /** All of stdin; nothing if there is none. */
  readonly input?: string | Buffer
  /** A process group of its own, for one that starts others, like a shell. */
  readonly group?: boolean
}

/** A real process; it ends with the test. */
export class Program {
  readonly out = new Transcript()
  readonly err = new Transcript()
  /** Its exit code, or the signal that ended it. */
  readonly code: Promise<number | string>
  readonly #child: ChildProcess
  readonly #group: boolean

  constructor(command: string, args: readonly string[] = [], options: ProgramOptions = {}) {
    const { cwd = root, env = {}, input = '', group = false } = options
    // A broker keeps what it is told in a folder of its own, and not where it was started.
    const ours = { GODWIT_DATA: join(temporary(), 'data') }
    const child = spawn(command, args, { cwd, env: { ...plainEnvironment(), ...ours, ...env }, detached: group })
    this.#child = child
    this.#group = group
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => this.out.add(chunk))
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => this.err.add(chunk))
    // A program that is not interested in its stdin may be gone before all of it is written.
    child.stdin.on('error', () => {}).end(input)
    running.add(this)
    const subject = child.pid === undefined ? undefined : group ? -child.pid : child.pid
    if (subject !== undefined) tell('start', subject)
    this.code = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => {
        running.delete(this)
        if (subject !== undefined) tell('end', subject)
        resolve(code ?? signal!)
      })
    })
    this.code.catch(() => running.delete(this))
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Sends a signal: to all of its group if it has one, like Ctrl-C on a terminal. */
  signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child
    try {
      if (pid !== undefined) process.kill(this.#group ? -pid : pid, signal)
    } catch (fault) {
      // It has gone meanwhile.
      if ((fault as { code?: string }).code !== 'ESRCH') throw fault
    }
  }

  /** Ends it, and what its group has started. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.code.catch(() => {})
  }

  /** Its end, with all that it has written. */
  async ended(): Promise<{ code: number | string; out: string; err: string }> {
    const code = await this.code
    return { code, out: this.out.text, err: this.err.text }
  }
}

/** Runs a program to its end. */
export function run(
  command: string,
  args: readonly string[] = [],
  options: ProgramOptions = {},
): Promise<{ code: number | string; out: string; err: string }> {
  return new Program(command, args, options).ended()
}

/** `godwit …` as a real process. */
export function godwit(args: readonly string[], options?: ProgramOptions): Program {
  return new Program(process.execPath, [main, ...args], options)
}

export interface StartedProgram {
  readonly program: Program
  /** URLs of its listeners, with the real ports. */
  readonly urls: readonly string[]
  /** The port of the first one. */
  readonly port: number
}

/** `godwit start …` as a real process; by default on a free TCP port. */
export async function startGodwit(
  args: readonly string[] = ['--listen', 'tcp://127.0.0.1:0'],
  options?: ProgramOptions,
): Promise<StartedProgram> {
  const program = godwit(['start', ...args], options)
  return { program, ...(await screen(program)) }
}

/** Waits for the screen of `godwit start`, and reads its listeners. */
export async function screen(program: Program): Promise<{ urls: string[]; port: number }> {
  const ended = program.ended().then(({ code, err }) => {
    throw new Error(`it ended with ${code}: ${err}`)
  })
  ended.catch(() => {})
  const text = await Promise.race([program.out.until(' -m hi\n'), ended])
  const urls = [...text.matchAll(/^ {2}((?:tcp|tls|ws|wss):\/\/\S+)$/gm)].map(([, url]) => url!)
  return { urls, port: Number(new URL(urls[0]!).port) }
}

/**
 * A port that was free a moment ago, for programs that cannot choose one themselves. It is none of those that the system gives to whoever
 * dials, or listens at port 0: until the program is up, hundreds of other tests do that.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) =>
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)),
    )
    if (!isFree) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}

// What npm and vitest tell those whom they start is not what a person's shell has.
function plainEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env).filter(
    ([name, value]) => value !== undefined && !/^(npm_|VITEST|NODE_ENV|GODWIT_|INIT_CWD|FORCE_COLOR)/.test(name),
  )
  return Object.fromEntries(entries) as Record<string, string>
}
