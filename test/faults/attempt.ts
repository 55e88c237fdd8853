import { cpSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Finding } from '../prove/checker.ts'
import { startGodwit } from '../support/program.ts'
import { Script } from './script.ts'
import { type Fault, TracedBroker } from './traced.ts'

const config = `
logLevel: warn
limits: { sysSeconds: 0 }
store: { segmentBytes: 1048576, checkpointBytes: 1048576, reserveBytes: 1048576 }
`

export interface Attempt {
  /** Exit code or signal of the broker that was hit, or was not. */
  readonly code: number | string
  /** What it wrote on stderr. */
  readonly err: string
  /** Has the script come to its end? */
  readonly told: boolean
  /** How many messages were acknowledged before. */
  readonly acknowledged: number
  /** What the thread that was hit did from then on; none: the fault never came. */
  readonly since: readonly string[]
  /** What the next broker wrote on stderr. */
  readonly restart: string
  readonly findings: readonly Finding[]
}

/** Tells the short script to brokers that are hit by one fault each, and to the next ones on the same folder. */
export class Attempts {
  readonly #folder = realpathSync(mkdtempSync(join(tmpdir(), 'godwit-faults-')))
  readonly #config = join(this.#folder, 'godwit.yaml')
  /** A store that has just been made: from then on the disk is changed by one thread only. */
  readonly #empty = join(this.#folder, 'empty')
  /** Where the broker keeps what it is told. */
  readonly data = join(this.#folder, 'data')

  constructor() {
    writeFileSync(this.#config, config)
  }

  /** Where file `number` of the log is, from 1. */
  segment(number: number): string {
    return join(this.data, 'log', `${(number * 1_048_576).toString(16).padStart(16, '0')}.seg`)
  }

  get index(): string {
    return join(this.data, 'index/data.mdb')
  }

  /** Starts a broker on a folder that is not there. @returns its exit code; undefined when it lived, and was ended */
  async create(fault: Fault): Promise<number | string | undefined> {
    rmSync(this.data, { recursive: true, force: true })
    const broker = new TracedBroker(this.data, this.#config, fault)
    const port = await broker.port()
    await broker.close()
    return port === undefined ? broker.program.code : undefined
  }

  /** Makes the store that every attempt begins with: the broker dies when it begins its log. */
  async prepare(): Promise<void> {
    const fault = { call: 'openat', effect: 'signal=SIGKILL', when: '1', paths: [this.segment(1)] }
    const broker = new TracedBroker(this.data, this.#config, fault)
    const port = await broker.port()
    if (port !== undefined) await new Script().run(port, broker.ended)
    await broker.close()
    // A socket cannot be copied, and its process is gone.
    rmSync(join(this.data, 'lock'), { recursive: true })
    cpSync(this.data, this.#empty, { recursive: true })
  }

  /** Restarts a broker on what is left of the last one; it must come up. @returns what it wrote on stderr */
  async restart(): Promise<string> {
    const { program } = await startGodwit(this.#args)
    await program.kill()
    return program.err.text
  }

  /** @param between what happens to the folder between the two brokers */
  async run(fault: Fault, between?: (broker: TracedBroker) => void): Promise<Attempt> {
    rmSync(this.data, { recursive: true, force: true })
    cpSync(this.#empty, this.data, { recursive: true })
    const broker = new TracedBroker(this.data, this.#config, fault)
    const script = new Script()
    try {
      const port = await broker.port()
      const told = port !== undefined && (await script.run(port, broker.ended))
      if (told) broker.program.signal('SIGTERM')
      const { code, err } = await broker.program.ended()
      const since = broker.since()
      const { acknowledged } = script
      between?.(broker)
      const next = await startGodwit(this.#args)
      const findings = await script.aftermath(
        next.port,
        next.program.code.then(() => undefined),
      )
      await next.program.kill()
      return { code, err, told, acknowledged, since, restart: next.program.err.text, findings }
    } finally {
      script.end()
      await broker.close()
    }
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  get #args(): string[] {
    return ['--listen', 'tcp://127.0.0.1:0', '--data', this.data, '--config', this.#config]
  }
}
