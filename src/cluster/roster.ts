import { type Claim, Known, markOf } from './member.ts'
import type { NodeId } from './peers.ts'
import { Suspicion } from './suspicion.ts'

/** Who is known, beside ourselves, and the hashes by which two nodes see that they know the same. */
export class Roster {
  readonly #members = new Map<NodeId, Known>()
  readonly #me: Known
  /** Of all: those that are suspect, and those that left or were evicted. */
  readonly suspects = new Set<Known>()
  readonly #gone = new Set<Known>()
  /** Those that are alive, and not suspect. */
  trusted = 0
  /** The exclusive or of all marks, ours among them: who belongs to the cluster. */
  hash: number
  /** The same of those that we hold for dead. */
  deaths = 0
  /** When either last changed. */
  changedMs = 0

  constructor(me: Known) {
    this.#me = me
    this.hash = me.mark = markOf(me)
  }

  get(node: NodeId): Known | undefined {
    return this.#members.get(node)
  }

  /** All, also those that are gone. */
  all(): IterableIterator<Known> {
    return this.#members.values()
  }

  /** So many, also those that are gone. */
  get size(): number {
    return this.#members.size
  }

  /** Those that the hash is of. */
  get hashed(): number {
    return this.#members.size - this.#gone.size + 1
  }

  /** A node of which nothing is known yet, as if it had gone. */
  add(node: NodeId): Known {
    const known = new Known(node)
    known.standing = 'evicted'
    this.#members.set(node, known)
    this.#gone.add(known)
    return known
  }

  /** Takes over what `claim` says of `known`, at `awakeMs` of our time and `clockMs` of the clock. */
  take(known: Known, claim: Claim, awakeMs: number, clockMs: number): void {
    if (!known.up || claim.incarnation > known.incarnation) known.upMs = awakeMs
    if (known.standing === 'alive') this.trusted--
    if (claim.standing === 'alive') this.trusted++
    known.incarnation = claim.incarnation
    known.refutation = claim.refutation
    known.standing = claim.standing
    if (claim.address !== '') known.address = claim.address
    this.#suspect(known, claim, awakeMs)
    this.#gone.delete(known)
    if (known.gone) {
      known.goneAtMs = clockMs - claim.agoSeconds * 1000
      this.#gone.add(known)
    }
    this.#mark(known, awakeMs)
  }

  /** We are no longer a part of the cluster. */
  end(standing: 'left' | 'evicted', clockMs: number): void {
    this.#me.standing = standing
    this.#me.goneAtMs = clockMs
    this.#mark(this.#me, this.changedMs)
  }

  /** Forgets those that were gone before `clockMs`. */
  forget(clockMs: number): void {
    for (const known of this.#gone) {
      if (known.goneAtMs > clockMs) continue
      this.#gone.delete(known)
      this.#members.delete(known.node)
    }
  }

  #suspect(known: Known, claim: Claim, awakeMs: number): void {
    this.suspects.delete(known)
    known.suspicion = undefined
    if (claim.standing !== 'suspect') return
    this.suspects.add(known)
    known.suspicion = new Suspicion(awakeMs)
    for (const accuser of claim.by) known.suspicion.accusedBy(accuser)
  }

  #mark(known: Known, awakeMs: number): void {
    const mark = markOf(known)
    const deathMark = known.standing === 'dead' ? mark : 0
    if (mark === known.mark && deathMark === known.deathMark) return
    this.hash = (this.hash ^ known.mark ^ mark) >>> 0
    this.deaths = (this.deaths ^ known.deathMark ^ deathMark) >>> 0
    known.mark = mark
    known.deathMark = deathMark
    this.changedMs = awakeMs
  }
}
