import { PassThrough, Writable } from 'node:stream'
import type { Exit, Io, Screen, Signal } from '../../src/cli/io.ts'
import { run } from '../../src/cli/program.ts'

/** What a stream has been given so far, and a promise for what is still to come. */
class Transcript {
  readonly screen: Screen
  #bytes = Buffer.alloc(0)
  #watchers = new Set<() => void>()

  constructor(isTTY: boolean) {
    const write = (chunk: Buffer, _encoding: string, done: () => void): void => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      for (const watch of this.#watchers) watch()
      done()
    }
    this.screen = Object.assign(new Writable({ write }), { isTTY })
  }

  get bytes(): Buffer {
    return this.#bytes
  }

  get text(): string {
    return this.#bytes.toString()
  }

  /** Done as soon as `text` has been written. */
  async until(text: string): Promise<void> {
    await new Promise<void>((resolve) => {
      const watch = (): void => {
        if (!this.text.includes(text)) return
        this.#watchers.delete(watch)
        resolve()
      }
      this.#watchers.add(watch)
      watch()
    })
  }
}

export interface Given {
  /** Text or bytes of stdin; left open if there are none. */
  readonly input?: string | Buffer
  /** Are stdin, stdout and stderr terminals? */
  readonly terminal?: boolean
  readonly env?: Record<string, string>
}

/** A command that runs in this process, with streams and signals of its own. */
export class Godwit {
  readonly stdin = new PassThrough()
  readonly out: Transcript
  readonly err: Transcript
  readonly code: Promise<Exit>
  /** What it asked `process.exit` to do. */
  exited: Exit | undefined
  /** Does its terminal keep keys from the screen? */
  raw = false
  #handlers: [Signal, () => void][] = []

  constructor(args: readonly string[], given: Given = {}) {
    const { input, terminal = false, env = {} } = given
    this.out = new Transcript(terminal)
    this.err = new Transcript(terminal)
    if (input !== undefined) this.stdin.end(input)
    const io: Io = {
      stdin: Object.assign(this.stdin, { isTTY: terminal, setRawMode: (raw: boolean) => (this.raw = raw) }),
      stdout: this.out.screen,
      stderr: this.err.screen,
      // In memory, unless a test says otherwise: it leaves no folder behind.
      env: { GODWIT_DURABILITY: 'memory', ...env },
      invocation: 'godwit',
      onSignal: (signal, handler) => {
        const entry: [Signal, () => void] = [signal, handler]
        this.#handlers.push(entry)
        return () => (this.#handlers = this.#handlers.filter((other) => other !== entry))
      },
      exit: (code) => (this.exited = code),
    }
    this.code = run(args, io)
  }

  signal(name: Signal): void {
    for (const [signal, handler] of [...this.#handlers]) if (signal === name) handler()
  }

  /** Signals that it still listens for: none, when it is over. */
  get listening(): number {
    return this.#handlers.length
  }
}

/** Runs a command to its end. */
export async function godwit(
  args: readonly string[],
  given?: Given,
): Promise<{ code: Exit; out: string; err: string }> {
  const command = new Godwit(args, given)
  const code = await command.code
  return { code, out: command.out.text, err: command.err.text }
}
