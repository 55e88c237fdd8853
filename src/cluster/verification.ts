import type { Clock } from '../host.ts'
import type { NodeId, Peers } from './peers.ts'

/** What a node has of all owners, compared with what we have. */
export interface Verdict {
  readonly node: NodeId
  /** It has told all. */
  answered: boolean
  /** Owners whose table is the same there. */
  equal: number
  /** Owners of whom it has an older or a newer state: that is on its way, as a rule. */
  readonly older: NodeId[]
  readonly newer: NodeId[]
  /** The same version with other contents: that must never be. */
  readonly different: NodeId[]
}

interface Round {
  readonly verdicts: ReadonlyMap<NodeId, Verdict>
  readonly untilMs: number
  readonly then: (verdicts: Verdict[]) => void
}

const mostMs = 2000

/** Asks all linked nodes for what they have, and waits for their answers. */
export class Verifications {
  readonly #clock: Clock
  readonly #peers: Peers
  readonly #ask: (node: NodeId, round: number) => void
  readonly #rounds = new Map<number, Round>()
  #last = 0

  constructor(clock: Clock, peers: Peers, ask: (node: NodeId, round: number) => void) {
    this.#clock = clock
    this.#peers = peers
    this.#ask = ask
  }

  begin(then: (verdicts: Verdict[]) => void): void {
    const verdicts = new Map<NodeId, Verdict>()
    for (const node of this.#peers.linked())
      verdicts.set(node, { node, answered: false, equal: 0, older: [], newer: [], different: [] })
    const round = ++this.#last
    this.#rounds.set(round, { verdicts, untilMs: this.#clock.now() + mostMs, then })
    for (const node of verdicts.keys()) this.#ask(node, round)
    this.#endIf(round, this.#complete(round))
  }

  /** Where the answer of `node` in this round goes. */
  verdict(node: NodeId, round: number): Verdict | undefined {
    return this.#rounds.get(round)?.verdicts.get(node)
  }

  answered(node: NodeId, round: number): void {
    const verdict = this.verdict(node, round)
    if (verdict === undefined) return
    verdict.answered = true
    this.#endIf(round, this.#complete(round))
  }

  tick(): void {
    const nowMs = this.#clock.now()
    for (const [round, { untilMs }] of this.#rounds) this.#endIf(round, nowMs >= untilMs)
  }

  #complete(round: number): boolean {
    for (const { answered } of this.#rounds.get(round)!.verdicts.values()) if (!answered) return false
    return true
  }

  #endIf(round: number, ended: boolean): void {
    const { verdicts, then } = this.#rounds.get(round)!
    if (!ended) return
    this.#rounds.delete(round)
    then([...verdicts.values()])
  }
}
