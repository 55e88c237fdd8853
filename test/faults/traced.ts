import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { main, Program, screen } from '../support/program.ts'

/** What strace does to a system call. */
export interface Fault {
  readonly call: string
  /** As strace writes it: `signal=SIGKILL`, `error=EIO`, `delay_enter=500000`. */
  readonly effect: string
  /** The how-manieth of its kind in its thread: `7`, or `7+` for all from there on. */
  readonly when: string
  /** Only calls on these; else all of that kind. Absolute. */
  readonly paths?: readonly string[]
}

/** What changes a disk, and what makes that durable. */
const calls = 'mkdir,write,pwrite64,writev,pwritev,fdatasync,fsync,ftruncate,rename,unlink'

/**
 * `godwit start` as a real process under strace, with system calls that fail. Everything that it does to its disk while it
 * serves is done by one thread (UV_THREADPOOL_SIZE=1), as strace counts calls by thread.
 */
export class TracedBroker {
  readonly program: Program
  /** Resolves when it is gone, for whatever reason. */
  readonly ended: Promise<void>
  readonly #traces = mkdtempSync(join(tmpdir(), 'godwit-trace-'))
  readonly #called: string

  constructor(data: string, config: string, fault: Fault) {
    const { call, effect, when, paths = [] } = fault
    this.#called = `${call}(`
    const words = [
      ...['-ff', '-y', '-s', '0', '-o', join(this.#traces, 'thread'), ...paths.flatMap((path) => ['-P', path])],
      ...['-e', `trace=${paths.length > 0 ? call : calls}`, '-e', `inject=${call}:${effect}:when=${when}`],
    ]
    const start = ['start', '--listen', 'tcp://127.0.0.1:0', '--data', data, '--config', config]
    this.program = new Program('strace', [...words, process.execPath, main, ...start], {
      env: { UV_THREADPOOL_SIZE: '1' },
      group: true,
    })
    this.ended = this.program.code.then(() => undefined)
  }

  /** The port it listens on; undefined when it has ended before. */
  async port(): Promise<number | undefined> {
    return Promise.race([screen(this.program).then(({ port }) => port), this.ended.then(() => undefined)])
  }

  /** How the thread that was hit went on, a call a line, from the one that failed; none: nothing was hit. */
  since(): string[] {
    for (const name of readdirSync(this.#traces)) {
      const lines = readFileSync(join(this.#traces, name), 'utf8').split('\n')
      const at = lines.findIndex((line) => line.endsWith('(INJECTED)') && line.startsWith(this.#called))
      if (at >= 0) return lines.slice(at)
    }
    return []
  }

  /** Bytes of each file of the log, by name, that were synced before the call that failed. */
  synced(): Map<string, number> {
    const synced = new Map<string, number>()
    const written = new Map<string, number>()
    for (const name of readdirSync(this.#traces)) {
      const lines = readFileSync(join(this.#traces, name), 'utf8').split('\n')
      for (const line of lines) {
        const [, call, file, position, result] =
          /^(pwrite64|fdatasync)\(\d+<(.+\.seg)>(?:, ""[.]*, \d+, (\d+))?\) = (\d+)/.exec(line) ?? []
        if (file === undefined) continue
        const segment = basename(file)
        if (call === 'fdatasync') synced.set(segment, written.get(segment) ?? 0)
        else written.set(segment, Math.max(written.get(segment) ?? 0, Number(position) + Number(result)))
      }
    }
    return synced
  }

  /** Ends it if it still runs, and forgets its traces. */
  async close(): Promise<void> {
    await this.program.kill()
    rmSync(this.#traces, { recursive: true, force: true })
  }
}
