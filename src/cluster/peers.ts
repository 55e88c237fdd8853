import type { RecordReader, RecordWriter } from '../store/writer.ts'
import type { FrameType } from './wire.ts'

/** Name of a node, as `--node` gives it and its certificate proves it. */
export type NodeId = string

/** The other nodes, as the parts of the cluster reach them. `Links` implements it; simulations have their own. */
export interface Peers {
  readonly self: NodeId
  /** Nodes that a link is up to, in the order in which they came. */
  linked(): Iterable<NodeId>
  /** The wire version that was agreed on; 0 without a link. */
  version(to: NodeId): number
  /**
   * Begins a frame to `to`: write its fields, then call `end`; nothing else may begin before. It leaves at the end of the turn,
   * behind what was sent before it. Undefined without a link: then nothing is sent, and `end` must not be called.
   */
  begin(to: NodeId, type: FrameType): RecordWriter | undefined
  end(): void
  /** The peer takes no more messages for now: its credit is used up. Other frames may go all the same. */
  congested(to: NodeId): boolean
}

/** One part of the cluster (members, gossip, forwarding …): gets the frames of its high nibble. */
export interface Part {
  /** Its high nibble: 0x10, 0x20 … */
  readonly family: number
  /** @throws WireError, CorruptRecordError when the frame is malformed: the link is closed. The reader is valid during the call. */
  frame(from: NodeId, type: number, reader: RecordReader): void
  /** A link is up; nothing of an earlier one comes any more. */
  linked?(node: NodeId): void
  unlinked?(node: NodeId): void
  /** The peer takes messages again. */
  roomy?(node: NodeId): void
}
