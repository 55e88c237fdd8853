import type { Random } from '../host.ts'
import type { Health } from './awareness.ts'
import type { Known } from './member.ts'
import type { NodeId } from './peers.ts'
import type { Roster } from './roster.ts'

export interface ProbingSettings {
  /** An ack has this long, before others are asked to ping. */
  readonly ackMs: number
  /** And so long in all. */
  readonly probeMs: number
  /** So many others are asked. */
  readonly helpers: number
  /** A node that has come may take so long to be linked to. */
  readonly linkMs: number
}

/** What probes lead to. */
export interface ProbingEffects {
  linked(node: NodeId): boolean
  /** False without a link. */
  ping(to: NodeId, seq: number): boolean
  /** Asks `helper` to ping. False without a link. */
  ask(helper: NodeId, seq: number, target: Known): boolean
  /** Tells who asked us whether `target` answers. */
  report(to: NodeId, seq: number, target: NodeId, answers: boolean): void
  /** Up to `count` nodes that can be asked. */
  some(count: number, besides: NodeId): Iterable<NodeId>
  /** It did not answer. */
  accuse(known: Known): void
}

/** A ping that waits for its ack. */
interface Probe {
  readonly known: Known
  /** What it last said when we began. */
  readonly incarnation: number
  readonly refutation: number
  /** There was a link to ping by. */
  readonly sent: boolean
  readonly helpAtMs: number
  readonly endMs: number
  /** Others that were asked; −1: not yet. */
  asked: number
  /** Of these, those who said that it does not answer. */
  nacks: number
}

/** Somebody asked us to ping. */
interface Errand {
  readonly origin: NodeId
  /** Its number of that probe. */
  readonly seq: number
  readonly target: NodeId
  /** When we tell that it does not answer. */
  readonly nackAtMs: number
  nacked: boolean
  /** Until then its ack is passed on all the same. */
  readonly endMs: number
}

const mostProbes = 16
const mostErrands = 1024

/** Pings, in what order, and what becomes of them; and those that we send for others. */
export class Probing {
  readonly #roster: Roster
  readonly #random: Random
  readonly #health: Health
  readonly #settings: ProbingSettings
  readonly #effects: ProbingEffects
  #ring: Known[] = []
  #at = 0
  /** To be probed before the ring goes on. */
  readonly #soon = new Set<Known>()
  #seq = 0
  readonly #probes = new Map<number, Probe>()
  /** By the numbers of our pings, in order of time. */
  readonly #errands = new Map<number, Errand>()

  constructor(roster: Roster, random: Random, health: Health, settings: ProbingSettings, effects: ProbingEffects) {
    this.#roster = roster
    this.#random = random
    this.#health = health
    this.#settings = settings
    this.#effects = effects
  }

  /** A new member: it gets its turn like all others. */
  add(known: Known): void {
    this.#ring.splice(this.#random.below(this.#ring.length + 1), 0, known)
  }

  /** Probes it with the next tick. */
  soon(known: Known): void {
    this.#soon.add(known)
  }

  /** It is no longer of interest why it was to be probed soon. */
  later(known: Known): void {
    this.#soon.delete(known)
  }

  /** A number for a ping of which nothing more is expected than that it is answered. */
  next(): number {
    return ++this.#seq
  }

  /** It is time for the next of the ring. */
  round(nowMs: number): void {
    for (let tries = this.#ring.length; tries > 0; tries--) {
      const known = this.#nextOfRing()
      if (known.up && !known.probed && !this.#expected(known, nowMs)) return void this.#soon.add(known)
      // A death that was none, while the link stayed up: nobody but we would find out.
      if (known.standing === 'dead' && this.#effects.ping(known.node, this.next())) return
    }
  }

  /** Ends what is over, and begins what is due. */
  tick(nowMs: number): void {
    this.#endProbes(nowMs)
    this.#endErrands(nowMs)
    for (const known of this.#soon) {
      if (this.#probes.size >= mostProbes) break
      this.#soon.delete(known)
      if (known.up && !known.probed) this.#probe(known, nowMs)
    }
  }

  acked(from: NodeId, seq: number, answers: boolean): void {
    const errand = this.#errands.get(seq)
    if (errand?.target === from) {
      this.#errands.delete(seq)
      return this.#effects.report(errand.origin, errand.seq, from, true)
    }
    const probe = this.#probes.get(seq)
    if (!probe) return
    if (!answers) return void probe.nacks++
    this.#probes.delete(seq)
    probe.known.probed = false
    this.#health.better()
    // It has not heard of it yet, or we not of its answer.
    if (probe.known.suspicion) this.#soon.add(probe.known)
  }

  /** Pings for somebody else. */
  run(origin: NodeId, seq: number, target: NodeId, nowMs: number): void {
    const { ackMs, probeMs } = this.#settings
    const own = this.next()
    if (this.#errands.size >= mostErrands || !this.#effects.ping(target, own))
      return this.#effects.report(origin, seq, target, false)
    // Our no has to be there before its probe ends.
    this.#errands.set(own, { origin, seq, target, nackAtMs: nowMs + ackMs / 2, nacked: false, endMs: nowMs + probeMs })
  }

  /** It has just come; those whom we could ask have no link to it either. */
  #expected(known: Known, nowMs: number): boolean {
    return nowMs - known.upMs < this.#settings.linkMs && !this.#effects.linked(known.node)
  }

  /** Every member once, then in another order: who waits long for its turn was only unlucky twice. */
  #nextOfRing(): Known {
    if (this.#at >= this.#ring.length) this.#shuffle()
    return this.#ring[this.#at++]!
  }

  #shuffle(): void {
    const ring = (this.#ring = [...this.#roster.all()])
    this.#at = 0
    for (let at = ring.length - 1; at > 0; at--) {
      const other = this.#random.below(at + 1)
      const known = ring[at]!
      ring[at] = ring[other]!
      ring[other] = known
    }
  }

  #probe(known: Known, nowMs: number): void {
    const { ackMs, probeMs } = this.#settings
    const { factor } = this.#health
    const { incarnation, refutation } = known
    const seq = this.next()
    const sent = this.#effects.ping(known.node, seq)
    const helpAtMs = nowMs + (sent ? ackMs * factor : 0)
    const endMs = nowMs + probeMs * factor
    known.probed = true
    const probe: Probe = { known, incarnation, refutation, sent, helpAtMs, endMs, asked: -1, nacks: 0 }
    this.#probes.set(seq, probe)
    if (!sent) this.#askOthers(seq, probe)
  }

  #askOthers(seq: number, probe: Probe): void {
    const { known } = probe
    probe.asked = 0
    for (const node of this.#effects.some(this.#settings.helpers, known.node))
      if (this.#effects.ask(node, seq, known)) probe.asked++
  }

  #endProbes(nowMs: number): void {
    for (const [seq, probe] of this.#probes) {
      if (probe.asked < 0 && nowMs >= probe.helpAtMs) this.#askOthers(seq, probe)
      if (nowMs < probe.endMs) continue
      this.#probes.delete(seq)
      this.#failed(probe)
    }
  }

  #failed({ known, incarnation, refutation, sent, asked, nacks }: Probe): void {
    known.probed = false
    // Those whom we asked should at least have said that it does not answer.
    if (asked > 0 ? nacks < asked : sent) this.#health.worse()
    // It has spoken since.
    if (known.incarnation !== incarnation || known.refutation !== refutation) return
    this.#effects.accuse(known)
    // As long as it is suspect it is told so, again and again: it has a right to answer.
    if (known.suspicion) this.#soon.add(known)
  }

  #endErrands(nowMs: number): void {
    for (const [seq, errand] of this.#errands) {
      if (nowMs < errand.nackAtMs) break
      if (!errand.nacked) this.#effects.report(errand.origin, errand.seq, errand.target, false)
      errand.nacked = true
      if (nowMs >= errand.endMs) this.#errands.delete(seq)
    }
  }
}
