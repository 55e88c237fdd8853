import { type ChildProcess, spawn } from 'node:child_process'

const startMs = 30_000

/** The broker did not come up. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
}

/** The broker under test: a real process, started and killed again and again on one folder and one port. */
export class Broker {
  /** 0 until the system has chosen one. */
  port = 0
  readonly #command: readonly string[]
  readonly #folder: string
  readonly #config: string
  #child: ChildProcess | undefined
  #ended: Promise<string> = Promise.resolve('')

  /** @param command the words before `start` */
  constructor(command: readonly string[], folder: string, config: string) {
    this.#command = command
    this.#folder = folder
    this.#config = config
  }

  /** Done with the reason when the process has ended, for whatever reason. */
  get ended(): Promise<string> {
    return this.#ended
  }

  /** @returns milliseconds until it said that it listens. @throws BrokerError */
  async start(): Promise<number> {
    const [program, ...words] = this.#command
    const listen = `tcp://127.0.0.1:${this.port}`
    const args = [...words, 'start', '--listen', listen, '--data', this.#folder, '--config', this.#config]
    const startedMs = performance.now()
    const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    let complaint = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-2000)))
    this.#ended = new Promise((resolve) => {
      child.once('error', (fault) => resolve(fault.message))
      child.once('close', (code, signal) => resolve(`it ended with ${signal ?? code}: ${complaint.trim()}`))
    })
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(resolve, startMs, `it did not say within ${startMs / 1000} s where it listens: ${complaint}`)
    })
    const listening = new Promise<number>((resolve) => {
      let shown = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        shown += text
        const port = /tcp:\/\/127\.0\.0\.1:(\d+)\s/.exec(shown)?.[1]
        if (port !== undefined) resolve(Number(port))
      })
    })
    const outcome = await Promise.race([listening, this.#ended, late])
    clearTimeout(timer)
    if (typeof outcome === 'string') throw new BrokerError(`${this.#command.join(' ')}: ${outcome}`)
    this.port = outcome
    return performance.now() - startedMs
  }

  /** kill -9; done when the process is gone. */
  async kill(): Promise<void> {
    this.killNow()
    await this.#ended
  }

  killNow(): void {
    this.#child?.kill('SIGKILL')
  }
}
