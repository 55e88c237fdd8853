import type { WillPacket } from '../mqtt/packets.ts'
import type { Session } from '../sessions/session.ts'
import { readGrant, readWill, writeSubscription, writeWill } from '../store/records.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import type { NodeId } from './peers.ts'

/** The last message of a node that has come, by the node's own numbers. */
export type Heard = readonly [node: NodeId, serial: number]

/** Messages of a node that have come, one by one, by the node's own numbers. */
export type Seen = readonly [node: NodeId, serials: readonly number[]]

/**
 * Told when all that a node had sent has come for good; false when its link broke before.
 * @param serial of the last message that was published there when it was asked; 0: an earlier release does not say it
 */
export type Fenced = (fenced: boolean, serial: number) => void

/**
 * What a node is asked to bring to its end: all that it had sent when it was asked, or also what it goes on sending for a while, as
 * it counts only later that nobody here wants it (`Withdrawals`).
 */
export type Extent = 'sent' | 'withdrawn'

/** What the giving node says of a session, before its queue. */
export interface Given {
  readonly epoch: number
  readonly expirySeconds: number
  readonly username: string | undefined
  readonly subscriptions: readonly (readonly [filter: string, grant: number])[]
  /** QoS 2 packet ids that the client has sent and not released. */
  readonly incoming: readonly number[]
  /** Of its queue: where that ends, and what may have been sent. */
  readonly next: number
  readonly perhapsSent: number
  /** Time that is left until it ends, and until its will fires; Infinity: never. */
  readonly endLeftMs: number
  readonly willLeftMs: number
  readonly will: WillPacket | undefined
  /** Up to which message of each node it had got everything. */
  readonly heard: readonly Heard[]
  /** Behind which message of each node it had got everything, as far as that is known: nobody had to be missed since. */
  readonly since: readonly Heard[]
  /** What it had got while something straggled. */
  readonly seen: readonly Seen[]
}

/** Its clocks go on where it comes to: what is sent is the time that is left. */
export function writeGiven(
  writer: RecordWriter,
  session: Session,
  heard: Iterable<Heard>,
  since: Iterable<Heard>,
  seen: Iterable<Seen>,
  nowMs: number,
): void {
  const { outbox, subscriptions, username, will } = session
  writer.varint(session.epoch)
  writer.f64(session.expirySeconds)
  writer.u8(username === undefined ? 0 : 1)
  if (username !== undefined) writer.text(username)
  writer.varint(subscriptions.size)
  for (const [filter, grant] of subscriptions) writeSubscription(writer, filter, grant)
  const incoming = [...session.incoming()]
  writer.varint(incoming.length)
  for (const packetId of incoming) writer.varint(packetId)
  writer.varint(outbox?.next ?? 0)
  writer.varint(outbox?.perhapsSent ?? 0)
  writer.f64(session.endDueMs - nowMs)
  writer.f64(session.willDueMs - nowMs)
  writer.u8(will ? 1 : 0)
  if (will) writeWill(writer, will)
  // Its client may have confirmed these, so that they are in no queue, and they may come to the new owner only now.
  writeHeard(writer, [...heard])
  writeHeard(writer, [...since])
  writeSeen(writer, [...seen])
}

function writeHeard(writer: RecordWriter, all: readonly Heard[]): void {
  writer.varint(all.length)
  for (const [node, serial] of all) {
    writer.text(node)
    writer.varint(serial)
  }
}

function readHeard(reader: RecordReader): Heard[] {
  return reader.list(() => [reader.text(), reader.varint()] as const)
}

/** Each number as what lies between it and the one before. */
function writeSeen(writer: RecordWriter, all: readonly Seen[]): void {
  writer.varint(all.length)
  for (const [node, serials] of all) {
    writer.text(node)
    writer.varint(serials.length)
    let before = 0
    for (const serial of [...serials].sort((a, b) => a - b)) {
      writer.varint(serial - before)
      before = serial
    }
  }
}

function readSeen(reader: RecordReader): Seen[] {
  return reader.list(() => {
    const node = reader.text()
    let before = 0
    return [node, reader.list(() => (before += reader.varint()))] as const
  })
}

/** @throws CorruptRecordError */
export function readGiven(reader: RecordReader): Given {
  return {
    epoch: reader.varint(),
    expirySeconds: reader.f64(),
    username: reader.u8() === 1 ? reader.text() : undefined,
    subscriptions: reader.list(() => [reader.text(), readGrant(reader)] as const),
    incoming: reader.list(() => reader.varint()),
    next: reader.varint(),
    perhapsSent: reader.varint(),
    endLeftMs: reader.f64(),
    willLeftMs: reader.f64(),
    will: reader.u8() === 1 ? readWill(reader) : undefined,
    heard: readHeard(reader),
    // An earlier release does not say these.
    since: reader.left > 0 ? readHeard(reader) : [],
    seen: reader.left > 0 ? readSeen(reader) : [],
  }
}
