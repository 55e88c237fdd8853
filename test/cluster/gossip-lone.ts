import { Gossip, type GossipSettings } from '../../src/cluster/gossip.ts'
import type { NodeId, Peers } from '../../src/cluster/peers.ts'
import type { FrameType } from '../../src/cluster/wire.ts'
import type { Clock } from '../../src/host.ts'
import { RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'

/** What a gossip gives to a peer. */
export interface Sent {
  readonly to: NodeId
  readonly bytes: Buffer
}

/**
 * One `Gossip`, and the test in place of all else: it hands in frames, ends turns, and says what time it is. Whom it names as a
 * peer is linked.
 */
export class Lone {
  readonly gossip: Gossip
  readonly peers: Set<NodeId>
  readonly sent: Sent[] = []
  readonly taken: number[] = []
  /** Keys that its listener heard of, in all. */
  changes = 0
  readonly #ends: (() => void)[] = []
  readonly #ticks = new Set<() => void>()
  readonly #writer = new RecordWriter(1024)

  /** @param now the clock */
  constructor(self: NodeId, peers: readonly NodeId[], settings: Partial<GossipSettings> = {}, now = () => 0) {
    this.peers = new Set(peers)
    const clock: Clock = {
      now,
      wall: now,
      every: (_periodMs, tick) => {
        this.#ticks.add(tick)
        return () => void this.#ticks.delete(tick)
      },
      endOfTurn: (run) => void this.#ends.push(run),
    }
    const random = new Dice(1)
    this.gossip = new Gossip({ self, incarnation: 5, clock, random, peers: this.#links(self), key: 'mesh', settings })
    this.gossip.on({
      changed: () => void this.changes++,
      taken: (incarnation) => this.taken.push(incarnation),
    })
  }

  /** A frame comes. */
  frame(from: NodeId, bytes: Uint8Array): void {
    this.gossip.frame(from, bytes[0]!, new RecordReader().over(bytes, 1, bytes.length))
  }

  /** The turn ends, and no other begins before its work is done. Is there more? */
  endTurn(): boolean {
    for (const end of this.#ends.splice(0)) end()
    return this.#ends.length > 0
  }

  tick(): void {
    for (const tick of this.#ticks) tick()
  }

  #links(self: NodeId): Peers {
    let to: NodeId = ''
    return {
      self,
      linked: () => this.peers,
      version: (node) => (this.peers.has(node) ? 2 : 0),
      congested: () => false,
      begin: (node: NodeId, type: FrameType) => {
        if (!this.peers.has(node)) return undefined
        to = node
        this.#writer.clear()
        this.#writer.u8(type)
        return this.#writer
      },
      end: () => void this.sent.push({ to, bytes: Buffer.from(this.#writer.view()) }),
    }
  }
}

/** A frame from its fields: numbers are varints, texts have their length before them, `Raw` stands as it is. */
export function frameOf(type: FrameType, ...fields: readonly (number | string | Raw)[]): Buffer {
  const writer = new RecordWriter()
  writer.u8(type)
  for (const field of fields)
    if (typeof field === 'number') writer.varint(field)
    else if (typeof field === 'string') writer.text(field)
    else writer.bytes(field.bytes, 0, field.bytes.length)
  return Buffer.from(writer.view())
}

class Raw {
  readonly bytes: Buffer

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
}

/** The eight bytes of a set hash. */
export const hashOf = (low = 0, high = 0) => {
  const bytes = Buffer.alloc(8)
  bytes.writeInt32LE(low, 0)
  bytes.writeInt32LE(high, 4)
  return new Raw(bytes)
}
