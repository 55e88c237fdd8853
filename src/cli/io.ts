import { Writable, type Readable } from 'node:stream'

/** What a command may touch of the process, so that a test can stand in for it. */
export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean | undefined; setRawMode?(raw: boolean): unknown }
  /** Data. */
  readonly stdout: Screen
  /** Notes, progress and complaints. */
  readonly stderr: Screen
  readonly env: Readonly<Record<string, string | undefined>>
  /** How this person starts us, for examples to paste: `npx godwit`. */
  readonly invocation: string
  /** Calls `run` at every such signal, until the returned function is called. */
  onSignal(signal: Signal, run: () => void): () => void
  /** Ends the process at once: for a second Ctrl-C alone. */
  exit(code: Exit): void
}
export type Screen = Writable & { readonly isTTY?: boolean | undefined }
export type Signal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** Exit codes, the same for every command. */
export const Exit = {
  ok: 0,
  failure: 1,
  usage: 2,
  config: 3,
  /** The data directory cannot be used; its message tells it from `config`, for both are for a person to put right. */
  data: 3,
  notFound: 4,
  /** The broker answered, and the answer was no. */
  refused: 5,
  timeout: 27,
  interrupted: 130,
} as const
export type Exit = (typeof Exit)[keyof typeof Exit]

/** A failure that a person can do something about: its message is all that they see; an empty one shows nothing. */
export class CliError extends Error {
  override readonly name = 'CliError'
  constructor(
    readonly exit: Exit,
    message: string,
  ) {
    super(message)
  }
}

/** A line for people, on stderr. */
export function note(io: Io, text: string): void {
  io.stderr.write(`${text}\n`)
}

/** The same process, without notes. */
export function silenced(io: Io): Io {
  const nowhere: Screen = new Writable({ write: (_chunk, _encoding, done) => done() })
  return Object.create(io, { stderr: { value: nowhere } }) as Io
}

export interface Interruption {
  /** Rejects when somebody wants us gone. */
  readonly asked: Promise<never>
  stop(): void
}

/** Listens for Ctrl-C and SIGTERM until `stop`. */
export function interruption(io: Io): Interruption {
  let offs: (() => void)[] = []
  const asked = new Promise<never>((_resolve, reject) => {
    const interrupt = (): void => reject(new CliError(Exit.interrupted, ''))
    offs = [io.onSignal('SIGINT', interrupt), io.onSignal('SIGTERM', interrupt)]
  })
  asked.catch(() => {})
  return { asked, stop: () => offs.forEach((off) => off()) }
}
