import type { Disk, DiskFile } from '../host.ts'
import { LogFormatError } from './frames.ts'
import type { Lsn } from './port.ts'

/** One file of the log. */
export interface SegmentInfo {
  readonly first: Lsn
  readonly end: Lsn
  /** Records that somebody still needs. */
  readonly held: number
  /** Records that anybody has needed since the log was opened. */
  readonly holds: number
}

export class Segment implements SegmentInfo {
  readonly first: Lsn
  readonly name: string
  end: Lsn
  held = 0
  holds = 0
  file: DiskFile | undefined
  /** Who is using `file`: it must stay open. */
  users = 0
  /** Unlinked: `file` closes with its last user. */
  dropped = false
  /** All of it has been looked at for damage. */
  examined = false

  constructor(first: Lsn, end: Lsn) {
    this.first = first
    this.end = end
    this.name = `${logFolder}/${first.toString(16).padStart(16, '0')}.seg`
  }
}

export const logFolder = 'log'
const ending = '.seg'
const mostOpen = 32

/**
 * The files of the log. The address space is cut into slots of one size. A record begins in the slot of its file, so that
 * its address alone says where it is; only the last record of a file, if it is a giant, may end beyond the slot, and then
 * the slots that it covers have no file of their own.
 *
 *   slot 1         slot 2         slot 3         slot 4
 *   [file 1      ] [file 2 ············ giant ] [file 4
 */
export class Segments {
  readonly slotBytes: number
  readonly #disk: Disk
  readonly #bySlot = new Map<number, Segment>()
  readonly #open: Segment[] = []
  #last: Segment | undefined

  /** Looks up the files that are there. @throws LogFormatError, DiskFault */
  constructor(disk: Disk, slotBytes: number) {
    this.#disk = disk
    this.slotBytes = slotBytes
    for (const name of disk.list(logFolder)) {
      const first = name.length === 16 + ending.length && name.endsWith(ending) ? Number(`0x${name.slice(0, 16)}`) : NaN
      if (!Number.isSafeInteger(first) || first <= 0) continue
      if (first % slotBytes !== 0)
        throw new LogFormatError(`${name} begins where no segment of ${slotBytes} bytes does`)
      const file = disk.open(`${logFolder}/${name}`, false)
      this.add(first, first + file.size)
      file.close()
    }
  }

  /** All files, in the order of their addresses. */
  all(): Segment[] {
    return [...this.#bySlot.values()].sort((a, b) => a.first - b.first)
  }

  /** The file that a record at `lsn` would stand in. */
  of(lsn: Lsn): Segment | undefined {
    const last = this.#last
    if (last && lsn >= last.first && lsn < last.first + this.slotBytes) return last
    const segment = this.#bySlot.get(Math.floor(lsn / this.slotBytes))
    if (segment) this.#last = segment
    return segment
  }

  /** Where the first slot begins that lies at or behind `lsn`. Never 0: no record stands there. */
  slotFrom(lsn: Lsn): Lsn {
    return Math.max(1, Math.ceil(lsn / this.slotBytes)) * this.slotBytes
  }

  /** Where the slot of `lsn` begins. */
  slotStart(lsn: Lsn): Lsn {
    return Math.floor(lsn / this.slotBytes) * this.slotBytes
  }

  /** Where no further frame begins in the slot of `lsn`: so near to its end that a large record would not fit. */
  fullAt(lsn: Lsn): Lsn {
    return this.slotStart(lsn) + this.slotBytes * (15 / 16)
  }

  /** Makes room for a segment in the map; its file is made by `create`. */
  add(first: Lsn, end: Lsn): Segment {
    const segment = new Segment(first, end)
    this.#bySlot.set(first / this.slotBytes, segment)
    return segment
  }

  /** Makes the file of `segment`, and keeps it open. Blocks. @throws DiskFault */
  create(segment: Segment): DiskFile {
    this.#disk.makeFolder(logFolder)
    const file = this.#disk.open(segment.name, true)
    this.#opened(segment, file)
    return file
  }

  /** The open file of `segment`, for a user who gives it back by `release`. May block. @throws DiskFault */
  use(segment: Segment): DiskFile {
    const file = segment.file ?? this.#disk.open(segment.name, false)
    segment.users++
    if (!segment.file) this.#opened(segment, file)
    return file
  }

  release(segment: Segment): void {
    if (--segment.users === 0 && segment.dropped) this.#close(segment)
  }

  /** Unlinks the file of `segment`. @throws DiskFault */
  remove(segment: Segment): void {
    this.#disk.remove(segment.name)
    segment.dropped = true
    this.#bySlot.delete(segment.first / this.slotBytes)
    if (this.#last === segment) this.#last = undefined
    if (segment.users === 0) this.#close(segment)
  }

  close(): void {
    for (const segment of [...this.#open]) this.#close(segment)
  }

  #opened(segment: Segment, file: DiskFile): void {
    segment.file = file
    this.#open.push(segment)
    if (this.#open.length <= mostOpen) return
    const idle = this.#open.find(({ users }) => users === 0)
    if (idle && idle !== segment) this.#close(idle)
  }

  #close(segment: Segment): void {
    const at = this.#open.indexOf(segment)
    if (at < 0) return
    this.#open.splice(at, 1)
    segment.file?.close()
    segment.file = undefined
  }
}
