import type { Clock } from '../host.ts'
import type { NodeId } from './peers.ts'

interface Wait {
  readonly nodes: readonly NodeId[]
  readonly version: number
  readonly untilMs: number
  readonly then: (confirmed: boolean) => void
}

const mostWaits = 100_000
const stepMs = 10

/** Those who wait until some nodes have our table as it was when they asked. */
export class Confirmations {
  /** Waits that ran out of time, or found no room. */
  missed = 0
  readonly #clock: Clock
  readonly #confirmed: (node: NodeId, version: number) => boolean
  #waits: Wait[] = []
  #stopTicking: (() => void) | undefined

  constructor(clock: Clock, confirmed: (node: NodeId, version: number) => boolean) {
    this.#clock = clock
    this.#confirmed = confirmed
  }

  add(nodes: readonly NodeId[], version: number, mostMs: number, then: (confirmed: boolean) => void): void {
    const wait = { nodes, version, untilMs: this.#clock.now() + mostMs, then }
    if (this.#settled(wait)) return then(true)
    if (mostMs <= 0 || this.#waits.length >= mostWaits) {
      this.missed++
      return then(false)
    }
    this.#waits.push(wait)
    this.#stopTicking ??= this.#clock.every(stepMs, () => this.#tick())
  }

  /** Somebody has confirmed something. */
  check(): void {
    if (this.#waits.length > 0) this.#end((wait) => this.#settled(wait), true)
  }

  stop(): void {
    this.#stopTicking?.()
    this.#stopTicking = undefined
  }

  #tick(): void {
    const nowMs = this.#clock.now()
    this.missed += this.#end((wait) => nowMs >= wait.untilMs, false)
    if (this.#waits.length === 0) this.stop()
  }

  #settled({ nodes, version }: Wait): boolean {
    return nodes.every((node) => this.#confirmed(node, version))
  }

  /** Ends those that `due` is true of; gives how many. Whoever is told may wait anew. */
  #end(due: (wait: Wait) => boolean, confirmed: boolean): number {
    const ended: Wait[] = []
    this.#waits = this.#waits.filter((wait) => !due(wait) || (ended.push(wait), false))
    for (const { then } of ended) then(confirmed)
    return ended.length
  }
}
