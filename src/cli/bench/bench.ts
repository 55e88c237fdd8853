import type { Client, ClientRole } from './client.ts'
import { Fleet } from './fleet.ts'
import { connectFrame } from './frames.ts'
import type { CommonOptions } from './options.ts'
import type { Address, Dial } from './socket.ts'
import { Tally } from './tally.ts'
import { type Ending, Watch } from './watch.ts'

export interface Host {
  readonly dial: (address: Address, flushed: () => void) => Dial
  readonly nowUs: () => number
  /** What this process has used of a CPU so far. */
  readonly cpuUs: () => number
  /** Called when a run begins, with what tells how it is doing. */
  readonly begun: (status: () => string) => void
}

export interface Outcome {
  readonly ending: Ending
  /** Nothing was lost, refused, dropped or out of order. */
  readonly ok: boolean
  readonly figures: Record<string, number | string>
  /** For the user, a line each. */
  readonly problems: string[]
}

/** What the three runs share: the fleet, its tally, and how an outcome is made of them. */
export class Bench {
  readonly tally = new Tally()
  readonly watch: Watch
  readonly fleet: Fleet
  readonly problems: string[] = []
  readonly #startUs: number
  readonly #keepAliveSeconds: number
  moved: (client?: Client) => void = () => {}

  constructor(
    readonly options: CommonOptions,
    readonly host: Host,
    timeoutSeconds: number,
  ) {
    this.#startUs = host.nowUs()
    this.#keepAliveSeconds = Math.min(65_535, Math.ceil(timeoutSeconds) * 2)
    this.watch = new Watch(host.nowUs, timeoutSeconds)
    const { protocolVersion, username, pw } = options
    const login = {
      version: protocolVersion,
      ...(username === undefined ? {} : { username }),
      ...(pw === undefined ? {} : { password: pw }),
    }
    this.fleet = new Fleet(login, this.dial(options.port), this.tally, this.watch)
    this.fleet.moved = (client) => this.moved(client)
    host.begun(() => `${this.fleet.connected} connected, ${this.tally.sent} sent, ${this.tally.received} received`)
  }

  /** To another port of the same host. */
  dial(port: number): Dial {
    return this.host.dial({ host: this.options.host, port }, (client?: Client) => this.moved(client))
  }

  role(name: string, persistent = false): ClientRole {
    const clientId = `${this.options.prefix}-${name}`
    return { connect: connectFrame(clientId, this.fleet.login, this.#keepAliveSeconds, persistent) }
  }

  /** Since the run began. */
  seconds(): number {
    return (this.host.nowUs() - this.#startUs) / 1e6
  }

  problem(count: number, what: string): void {
    if (count > 0) this.problems.push(`${count} ${what}`)
  }

  unconnected(): Outcome {
    const { connected, refused, ending } = this.fleet
    return this.outcome(ending, { connected, refused })
  }

  outcome(ending: Ending, figures: Outcome['figures']): Outcome {
    this.fleet.end()
    const { refused, dropped, reasons } = this.fleet
    this.problem(refused, 'clients were refused')
    this.problem(dropped, 'clients lost their connection')
    const ok = this.problems.length === 0 && reasons.size === 0
    for (const [why, times] of reasons) this.problems.push(times > 1 ? `${why} (${times} clients)` : why)
    if (ending === 'timeout') this.problems.push('time is up: --timeout allows more')
    if (ending === 'stalled') this.problems.push('nothing moved any more: --settle waits longer')
    return { ending, ok: ok && ending === 'done', figures, problems: this.problems }
  }
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
