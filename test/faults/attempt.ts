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
  #broker: TracedBroker | undefined

  constructor() {
    writeFileSync(this.#config, config)
  }

  /** Starts a broker on a folder that is not there. @returns its exit code; undefined when it lived, and was ended */
  async create(fault: Fault): Promise<number | string | undefined> {
    rmSync(this.data, { recursive: true, force: true })
    const broker = (this.#broker = new TracedBroker(this.data, this.#config, fault))
    const port = await broker.port()
    await broker.close()
    return port === undefined ? broker.program.code : undefined
  }

  /** Paths as a fault names them. @see Fault */
  paths(where: 'anywhere' | 'index' | 'segments'): Pick<Fault, 'paths'> {
    if (where === 'anywhere') return {}
    return {
      paths: where === 'index' ? [join(this.data, 'index/data.mdb')] : [1, 2, 3, 4].map((at) => this.#segment(at)),
    }
  }

  /** Makes the store that every attempt begins with: the broker dies when it begins its log. */
  async prepare(): Promise<void> {
    const fault = { call: 'openat', effect: 'signal=SIGKILL', when: '1', paths: [this.#segment(1)] }
    const broker = (this.#broker = new TracedBroker(this.data, this.#config, fault))
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
    const broker = (this.#broker = new TracedBroker(this.data, this.#config, fault))
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

  async close(): Promise<void> {
    await this.#broker?.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Where file `number` of the log is, from 1. */
  #segment(number: number): string {
    return join(this.data, 'log', `${(number * 1_048_576).toString(16).padStart(16, '0')}.seg`)
  }

  get #args(): string[] {
    return ['--listen', 'tcp://127.0.0.1:0', '--data', this.data, '--config', this.#config]
  }
}

/** Attempts side by side, each in a folder of its own: two are about what one processor waits for. */
export class Lanes {
  readonly #lanes = [new Attempts(), new Attempts()]

  async prepare(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.prepare()))
  }

  /**
   * Calls `attempt` with 1, 2, 3 … until it says that the fault did not come.
   * @returns how often it came
   */
  async each(attempt: (attempts: Attempts, count: number) => Promise<boolean>): Promise<number> {
    let next = 1
    let missed = Infinity
    const run = async (lane: Attempts): Promise<void> => {
      while (missed === Infinity) {
        const count = next++
        if (!(await attempt(lane, count))) missed = Math.min(missed, count)
      }
    }
    await Promise.all(this.#lanes.map(run))
    return missed - 1
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()))
  }
}
