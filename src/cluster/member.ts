import type { RecordReader, RecordWriter } from '../store/writer.ts'
import type { NodeId } from './peers.ts'
import type { Suspicion } from './suspicion.ts'
import { WireError } from './wire.ts'

/** What we think of a node. `suspect` counts as alive, until it has had its time to answer. */
export type MemberState = 'alive' | 'suspect' | 'dead' | 'left'

/** Another node, as its process with this incarnation is known here. */
export interface Member {
  readonly node: NodeId
  /** Where to dial it. */
  readonly address: string
  readonly incarnation: number
  readonly state: MemberState
}

/** By their number on the wire. An evicted node is remembered, so that nobody's old news brings it back. */
const standings = ['alive', 'suspect', 'dead', 'left', 'evicted'] as const

export type Standing = (typeof standings)[number]

/** What one node says of another, or of itself. */
export interface Claim {
  readonly node: NodeId
  /** Empty: not said. */
  readonly address: string
  /** Which start of its process. */
  readonly incarnation: number
  /** How often that process has answered a suspicion by "I am here". Only it makes this number grow. */
  readonly refutation: number
  readonly standing: Standing
  /** Who suspects it, each by its own probes. */
  readonly by: readonly NodeId[]
  /** How long ago it left or was evicted. */
  readonly agoSeconds: number
}

/** More than these say nothing new. */
export const mostAccusers = 4

/** Smallest claim on the wire: two empty texts, two numbers and a standing. */
const claimBytes = 5

/** One other node: what is the newest that was heard of it. */
export class Known {
  readonly node: NodeId
  address = ''
  incarnation = 0
  refutation = 0
  standing: Standing = 'alive'
  /** While it is suspect. */
  suspicion: Suspicion | undefined
  /** Since when it counts as alive without a break. */
  upMs = 0
  /** A probe of it is under way. */
  probed = false
  /** When it left or was evicted. */
  goneAtMs = 0
  /** What it adds to the hash of the list, and to that of the deaths. */
  mark = 0
  deathMark = 0

  constructor(node: NodeId) {
    this.node = node
  }

  /** It counts as alive. */
  get up(): boolean {
    return this.standing === 'alive' || this.standing === 'suspect'
  }

  /** It is no longer a part of the cluster. */
  get gone(): boolean {
    return this.standing === 'left' || this.standing === 'evicted'
  }

  /**
   * Above 0: `claim` is newer than what we hold; 0: the same; below: older. A start of the process outdoes all before it; then
   * what is final; then what it said later itself; and of equal ones the worse, which it may refute.
   */
  compare(claim: Claim): number {
    return (
      claim.incarnation - this.incarnation ||
      finality(claim.standing) - finality(this.standing) ||
      claim.refutation - this.refutation ||
      standings.indexOf(claim.standing) - standings.indexOf(this.standing)
    )
  }

  claim(nowMs: number): Claim {
    const { node, address, incarnation, refutation, standing } = this
    const by = this.suspicion ? this.suspicion.accusers : nobody
    const agoSeconds = this.gone ? Math.floor((nowMs - this.goneAtMs) / 1000) : 0
    return { node, address, incarnation, refutation, standing, by, agoSeconds }
  }
}

const nobody: readonly NodeId[] = []

function finality(standing: Standing): number {
  return standing === 'evicted' ? 2 : standing === 'left' ? 1 : 0
}

/** What a node adds to the hash of a list, while it belongs to the cluster. */
export function markOf({ node, incarnation, gone }: Pick<Known, 'node' | 'incarnation' | 'gone'>): number {
  if (gone) return 0
  let mark = 0x811c9dc5
  for (let at = 0; at < node.length; at++) mark = Math.imul(mark ^ node.charCodeAt(at), 0x01000193)
  for (let rest = incarnation; rest > 0; rest = Math.floor(rest / 0x1_0000))
    mark = Math.imul(mark ^ (rest & 0xffff), 0x85ebca6b)
  mark = Math.imul(mark ^ (mark >>> 16), 0xc2b2ae35)
  return (mark ^ (mark >>> 13)) >>> 0
}

export function writeClaim(writer: RecordWriter, claim: Claim): void {
  writer.text(claim.node)
  writer.text(claim.address)
  writer.varint(claim.incarnation)
  writer.varint(claim.refutation)
  writer.u8(standings.indexOf(claim.standing))
  if (claim.standing === 'suspect') {
    writer.u8(claim.by.length)
    for (const accuser of claim.by) writer.text(accuser)
  } else if (finality(claim.standing) > 0) writer.varint(claim.agoSeconds)
}

/** Claims behind their number. @throws WireError, CorruptRecordError */
export function readClaims(reader: RecordReader): Claim[] {
  const count = reader.varint()
  if (count * claimBytes > reader.left) throw new WireError(`${count} claims in ${reader.left} bytes`)
  return Array.from({ length: count }, () => readClaim(reader))
}

function readClaim(reader: RecordReader): Claim {
  const node = reader.text()
  const address = reader.text()
  const incarnation = reader.varint()
  const refutation = reader.varint()
  const standing = standings[reader.u8()]
  if (standing === undefined) throw new WireError(`an unknown standing of member "${node}"`)
  const by = standing === 'suspect' ? Array.from({ length: reader.u8() }, () => reader.text()) : nobody
  const agoSeconds = finality(standing) > 0 ? reader.varint() : 0
  return { node, address, incarnation, refutation, standing, by, agoSeconds }
}
