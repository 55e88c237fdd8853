import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SeededRandom } from '../support/random.ts'
import { Broker, BrokerError } from './broker.ts'
import { check, type Verdict } from './checker.ts'
import { Fleet } from './fleet.ts'
import { History } from './history.ts'

export interface Plan {
  /** The words before `start`. */
  readonly broker: readonly string[]
  readonly cycles: number
  /** The longest time from ready to kill. */
  readonly seconds: number
  /** Messages a second, at most. */
  readonly rate: number
  /** So long nothing may come while something is owed; what delayed wills take, at least. */
  readonly patienceSeconds: number
  readonly seed: number
  /** The broker's folder. */
  readonly data: string
}

export interface Outcome extends Verdict {
  readonly kills: number
  /** From start to listening, after each kill. */
  readonly readyMs: readonly number[]
  readonly refused: number
  readonly dropped: number
}

/** Limits that nobody reaches: what a full queue drops is no broken promise. */
const config = 'limits: { queueMessages: 100000000, queueBytes: 1099511627776, sysSeconds: 0 }\nlogLevel: warn\n'
const pollMs = 20
const quietMs = 200
const firstPromiseMs = 30_000

/**
 * Kills a broker `cycles` times under load, lets everybody get what is theirs, and checks it.
 * @throws BrokerError when it does not start at all
 */
export async function prove(plan: Plan, progress: (cycle: number) => void): Promise<Outcome> {
  // Apart from the broker's folder, which is its own.
  const folder = mkdtempSync(join(tmpdir(), 'godwit-prove-'))
  const configFile = join(folder, 'prove.yaml')
  writeFileSync(configFile, config)
  const broker = new Broker(plan.broker, plan.data, configFile)
  const leaveNothing = (): void => {
    broker.killNow()
    rmSync(folder, { recursive: true, force: true })
  }
  process.on('exit', leaveNothing)
  const history = new History()
  const fleet = new Fleet(history, plan.seed, plan.rate)
  const readyMs: number[] = []
  try {
    await broker.start()
    await new Run(plan, broker, fleet, history, readyMs, progress).toTheEnd()
  } finally {
    fleet.end()
    await broker.kill()
    leaveNothing()
    process.off('exit', leaveNothing)
  }
  const { findings, acknowledged, wills, delivered, duplicates } = check(history)
  const { refused, dropped } = history
  const kills = readyMs.length
  return { findings, acknowledged, wills, delivered, duplicates, kills, readyMs, refused, dropped }
}

class Run {
  readonly #plan: Plan
  readonly #broker: Broker
  readonly #fleet: Fleet
  readonly #history: History
  readonly #readyMs: number[]
  readonly #progress: (cycle: number) => void
  #givenUp = 0

  constructor(
    plan: Plan,
    broker: Broker,
    fleet: Fleet,
    history: History,
    readyMs: number[],
    progress: (cycle: number) => void,
  ) {
    this.#plan = plan
    this.#broker = broker
    this.#fleet = fleet
    this.#history = history
    this.#readyMs = readyMs
    this.#progress = progress
  }

  async toTheEnd(): Promise<void> {
    const { cycles, seconds, seed } = this.#plan
    const fleet = this.#fleet
    const random = new SeededRandom(~seed)
    const leastMs = seconds * 125
    fleet.brokerIsUp(this.#broker.port)
    fleet.begin()
    try {
      await this.#untilPromised()
      for (let cycle = 1; cycle <= cycles; cycle++) {
        await this.#liveFor(leastMs + random.below(seconds * 1000 - leastMs))
        await this.#killAndStart()
        this.#progress(cycle)
      }
      fleet.settle()
      await this.#drain()
      // Once more at rest: nothing that was acknowledged may come again with QoS 2.
      await this.#killAndStart()
      await this.#drain()
      fleet.readAll()
      fleet.probe()
      await this.#drain()
      fleet.ping()
      await this.#drain()
      fleet.endReading()
    } catch (fault) {
      // The first start was fine: that it does not come back is what we are looking for.
      if (!(fault instanceof BrokerError)) throw fault
      this.#history.incident('misbehaved', `the broker did not come back: ${fault.message}`)
    }
  }

  /** Waits until there is something of each kind to be lost, however slow the machine is. */
  async #untilPromised(): Promise<void> {
    const begunMs = performance.now()
    while (!this.#fleet.isPromised && performance.now() - begunMs < firstPromiseMs) await sleep(pollMs)
    if (!this.#fleet.isPromised) this.#history.incident('misbehaved', 'nothing was acknowledged')
  }

  /** Lets the load run; the broker should live so long. */
  async #liveFor(ms: number): Promise<void> {
    const fault = await Promise.race([this.#broker.ended, sleep(ms)])
    if (fault !== undefined) this.#history.incident('misbehaved', `the broker died by itself: ${fault}`)
  }

  async #killAndStart(): Promise<void> {
    this.#fleet.brokerIsDown()
    await this.#broker.kill()
    this.#readyMs.push(await this.#broker.start())
    this.#fleet.brokerIsUp(this.#broker.port)
  }

  /** Waits until everybody has everything, or nothing has come for too long: what is owed then, nobody waits for again. */
  async #drain(): Promise<void> {
    const fleet = this.#fleet
    const { patienceSeconds } = this.#plan
    let heard = -1
    let owed = Infinity
    let lastMs = performance.now()
    while (owed > this.#givenUp && performance.now() - lastMs < patienceSeconds * 1000) {
      await sleep(pollMs)
      if (fleet.heard !== heard) {
        heard = fleet.heard
        owed = Infinity
        lastMs = performance.now()
      } else if (owed === Infinity && fleet.isIdle && performance.now() - lastMs > quietMs) {
        owed = this.#owed()
        // To look through a long history takes seconds, in which nobody reads what comes.
        lastMs = performance.now()
      }
    }
    if (owed === Infinity)
      this.#history.incident('misbehaved', `${patienceSeconds} s without an answer: ${fleet.waiting}`)
    else this.#givenUp = Math.max(owed, this.#givenUp)
  }

  #owed(): number {
    const { findings } = check(this.#history)
    return findings.filter(({ kind }) => owedKinds.has(kind)).length + this.#fleet.unread
  }
}

/** What time may still mend. */
const owedKinds: ReadonlySet<string> = new Set(['lost', 'will lost', 'subscription vanished'])

function sleep(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, ms, undefined))
}
