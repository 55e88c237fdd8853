import type { RecordReader, RecordWriter } from '../store/writer.ts'

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

export function readEntry(reader: RecordReader): Entry {
  return {
    name: reader.varint(),
    incarnation: reader.varint(),
    version: reader.varint(),
    low: reader.u32() | 0,
    high: reader.u32() | 0,
  }
}
