import { CorruptRecordError, type RecordReader, RecordWriter } from '../store/writer.ts'
import type { NodeId } from './peers.ts'
import { WireError } from './wire.ts'

/** What two nodes tell each other before anything else. */
export interface Greeting {
  /** Which cluster; others are not spoken to. */
  readonly clusterId: string
  /** Wire versions that it speaks. */
  readonly oldest: number
  readonly newest: number
  /** What it can do beyond its wire version. */
  readonly features: readonly string[]
  readonly node: NodeId
  /** Grows with each start of the node. */
  readonly incarnation: number
  /** Where it is dialled. */
  readonly address: string
  /** Bytes of `publish` frames that may be on their way to it before it has said that it handled them. */
  readonly creditBytes: number
}

/** Longest greeting that is read. */
export const greetingBytes = 4096

/** No frame of any type begins like this, and no other protocol. */
const magic = 0x7469_77d6

const mostFeatures = 64

/** A greeting, behind its length. */
export function writeGreeting(greeting: Greeting): Uint8Array {
  const writer = new RecordWriter()
  writer.u32(0)
  writer.u32(magic)
  writer.text(greeting.clusterId)
  writer.varint(greeting.oldest)
  writer.varint(greeting.newest)
  writer.varint(greeting.features.length)
  for (const feature of greeting.features) writer.text(feature)
  writer.text(greeting.node)
  writer.varint(greeting.incarnation)
  writer.text(greeting.address)
  writer.varint(greeting.creditBytes)
  writer.buffer.writeUInt32LE(writer.at - 4, 0)
  return writer.view()
}

/** Reads what follows a greeting's length; what a newer version has added behind it is passed over. @throws WireError */
export function readGreeting(reader: RecordReader): Greeting {
  try {
    if (reader.u32() !== magic) throw new WireError('no greeting of a node')
    const clusterId = reader.text()
    const oldest = reader.varint()
    const newest = reader.varint()
    if (oldest > newest) throw new WireError(`a greeting with wire versions ${oldest} to ${newest}`)
    const count = reader.varint()
    if (count > mostFeatures) throw new WireError(`a greeting with ${count} features`)
    const features = Array.from({ length: count }, () => reader.text())
    const node = reader.text()
    const incarnation = reader.varint()
    const address = reader.text()
    const creditBytes = reader.varint()
    if (creditBytes === 0) throw new WireError('a greeting that gives no credit')
    return { clusterId, oldest, newest, features, node, incarnation, address, creditBytes }
  } catch (fault) {
    throw fault instanceof CorruptRecordError ? new WireError('a greeting that is cut short') : fault
  }
}
