import type { DiskFile } from '../host.ts'
import {
  type FrameKey,
  frameHead,
  frameLength,
  frameMagic,
  isFrame,
  isWhole,
  readSegmentHead,
  segmentHead,
} from './frames.ts'
import type { Lsn } from './port.ts'

/** What a scan of a file comes across, in the order of the file. */
export interface ScanVisitor {
  /** The segment's head is whole. @param previous where the segment before it ended */
  head(previous: Lsn): void
  /** A whole frame at `buffer[at, at + length)`; the bytes never change. */
  frame(lsn: Lsn, buffer: Buffer, at: number, length: number): void
  /** No frame stands in [from, to), but one at `to`. */
  gap(from: Lsn, to: Lsn): void
}

/**
 * Reads the whole file of the segment that begins at `first`. Blocks.
 * @returns where its last whole frame ends, or its head; `first` when nothing in it is whole. What follows is no frame.
 * @throws LogFormatError, DiskFault
 */
export function scanSegment(file: DiskFile, first: Lsn, slotBytes: number, key: FrameKey, visitor: ScanVisitor): Lsn {
  const window = new Window(file)
  const previous = readSegmentHead(window.load(0, segmentHead), first, slotBytes, key)
  if (previous !== undefined) visitor.head(previous)
  let end = previous === undefined ? 0 : segmentHead
  for (let at = end; ;) {
    const length = wholeFrame(window, at, first + at, key)
    if (length > 0) {
      if (at > end) visitor.gap(first + end, first + at)
      visitor.frame(first + at, window.buffer, at - window.base, length)
      end = at += length
    } else {
      at = nextMagic(window, at + 1)
      if (at < 0) return first + end
    }
  }
}

/** A part of a file, in memory. */
class Window {
  readonly #file: DiskFile
  /** Where in the file it begins. */
  base = 0
  buffer: Buffer = Buffer.alloc(0)
  /** No byte of the file lies at or behind it. */
  readonly size: number

  constructor(file: DiskFile) {
    this.#file = file
    this.size = file.size
  }

  /** At least `count` bytes from `at`, or what there is, and then to the end of the window. */
  load(at: number, count: number): Buffer {
    const end = Math.min(at + count, this.size)
    if (at < this.base || end > this.base + this.buffer.length) {
      // A new buffer each time: who was shown a frame may keep it.
      const into = Buffer.allocUnsafeSlow(Math.max(0, Math.min(Math.max(count, pieceBytes), this.size - at)))
      this.buffer = into.subarray(0, this.#file.readNow(into, at))
      this.base = at
    }
    return this.buffer.subarray(at - this.base)
  }
}

const pieceBytes = 4 * 1024 * 1024

/** Length of the whole frame of `lsn` at `at`; 0 when there is none. */
function wholeFrame(window: Window, at: number, lsn: Lsn, key: FrameKey): number {
  const head = window.load(at, frameHead)
  if (head.length < frameHead || !isFrame(head, 0, lsn)) return 0
  const length = frameLength(head, 0)
  if (at + length > window.size) return 0
  const frame = window.load(at, length)
  return frame.length >= length && isWhole(frame, 0, length, key) ? length : 0
}

/** Where the next frame may begin, from `at` on; -1: nowhere. */
function nextMagic(window: Window, at: number): number {
  while (at + frameHead <= window.size) {
    const bytes = window.load(at, frameHead)
    const found = bytes.indexOf(frameMagic)
    if (found >= 0) return at + found
    if (bytes.length < frameMagic.length) return -1
    at += bytes.length - frameMagic.length + 1
  }
  return -1
}
