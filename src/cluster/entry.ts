import type { RecordReader, RecordWriter } from '../store/writer.ts'
import { WireError } from './wire.ts'

/** What a node says it has of an owner: some 30 bytes in a frame. */
export interface Entry {
  /** A hash of the owner's name. */
  readonly name: number
  readonly incarnation: number
  /** 0: nothing of this incarnation, or not yet all of it. */
  readonly version: number
  /** The set hash of the table; zero: it has no keys. */
  readonly low: number
  readonly high: number
}

/** A state as its owner or a replica has it. */
interface Told {
  readonly name: number
  readonly incarnation: number
  readonly version: number
  readonly table: { readonly low: number; readonly high: number }
}

export function writeEntry(writer: RecordWriter, { name, incarnation, version, table }: Told): void {
  writer.varint(name)
  writer.varint(incarnation)
  writer.varint(version)
  writer.u32(table.low)
  writer.u32(table.high)
}

/** @throws WireError, CorruptRecordError */
export function readEntry(reader: RecordReader): Entry {
  return {
    name: reader.varint(),
    incarnation: readIncarnation(reader),
    version: reader.varint(),
    low: reader.u32() | 0,
    high: reader.u32() | 0,
  }
}

/** There is always a higher one, so that nobody can take a name for good. @throws WireError, CorruptRecordError */
export function readIncarnation(reader: RecordReader): number {
  const incarnation = reader.varint()
  if (incarnation === Number.MAX_SAFE_INTEGER) throw new WireError('an incarnation that nothing can follow')
  return incarnation
}
