import type { Checksum } from './crc.ts'
import type { Lsn } from './port.ts'

// How bytes stand in the log; numbers are little-endian.
//
//   segment  = head · frame · frame · …          one file, named by the address of its first byte
//   head     = magic 4 · crc 4 · version 4 · store id 4 · first f64 · previous f64 · slot bytes 4 · 0 4
//   frame    = magic 4 · crc 4 · length 4 · count 4 · lsn f64 · ms f64 · flags 4 · record · record · …
//   record   = length 4 · offset from its frame 4 · type 1 · content
//
// Its ms are the store's time when it was sealed (`store-time.ts`; to format 2 the wall clock's).
//
// A crc covers what stands behind it. That of a frame begins with the store's id, so that a frame of another store, left
// over on the disk, is no frame; and a frame says where it belongs, so that neither is an old one of ours.

export const segmentHead = 40
export const frameHead = 36
export const recordHead = 9

const version = 1
const segmentMagic = 0x4c57_47f5
// 0xf5 begins no UTF-8 character: text is never searched twice.
export const frameMagic = Buffer.from([0xf5, 0x47, 0x57, 0x46])
const frameMagicNumber = frameMagic.readUInt32LE(0)

/** What tells our frames from any others. */
export interface FrameKey {
  readonly storeId: number
  readonly checksum: Checksum
}

/** The files are whole, but not for us: of another store, a later version, or with segments of another size. */
export class LogFormatError extends Error {
  override readonly name = 'LogFormatError'
}

/** Writes the head of a segment at the beginning of `buffer`. @param previous where the segment before it ended */
export function writeSegmentHead(buffer: Buffer, first: Lsn, previous: Lsn, slotBytes: number, key: FrameKey): void {
  buffer.writeUInt32LE(segmentMagic, 0)
  buffer.writeUInt32LE(version, 8)
  buffer.writeUInt32LE(key.storeId, 12)
  buffer.writeDoubleLE(first, 16)
  buffer.writeDoubleLE(previous, 24)
  buffer.writeUInt32LE(slotBytes, 32)
  buffer.writeUInt32LE(0, 36)
  buffer.writeUInt32LE(key.checksum(buffer, 8, segmentHead, 0), 4)
}

/**
 * Reads the head of the segment that should begin at `first`. Gives where the segment before it ended; undefined when
 * the head is damaged.
 * @throws LogFormatError when it is whole, but not for us
 */
export function readSegmentHead(buffer: Buffer, first: Lsn, slotBytes: number, key: FrameKey): Lsn | undefined {
  if (buffer.length < segmentHead || buffer.readUInt32LE(0) !== segmentMagic) return undefined
  if (buffer.readUInt32LE(4) !== key.checksum(buffer, 8, segmentHead, 0)) return undefined
  const theirs = buffer.readUInt32LE(8)
  if (theirs !== version) throw new LogFormatError(`a segment has version ${theirs}; this program knows ${version}`)
  if (buffer.readUInt32LE(12) !== key.storeId) throw new LogFormatError('a segment belongs to another store')
  const bytes = buffer.readUInt32LE(32)
  if (bytes !== slotBytes)
    throw new LogFormatError(
      `the log has segments of ${bytes} bytes, not ${slotBytes}: set store.segmentBytes back to ${bytes}`,
    )
  return buffer.readDoubleLE(16) === first ? buffer.readDoubleLE(24) : undefined
}

/** How large the segments of the log are whose one begins `buffer`; undefined when its head is damaged. */
export function readSlotBytes(buffer: Buffer, key: FrameKey): number | undefined {
  const whole = buffer.length >= segmentHead && buffer.readUInt32LE(4) === key.checksum(buffer, 8, segmentHead, 0)
  return whole && buffer.readUInt32LE(0) === segmentMagic ? buffer.readUInt32LE(32) : undefined
}

/** Begins a frame at `at`: enough for a reader to know it. */
export function beginFrame(buffer: Buffer, at: number, lsn: Lsn): void {
  buffer.writeUInt32LE(frameMagicNumber, at)
  buffer.writeDoubleLE(lsn, at + 16)
}

/** Completes the frame at `at`, which ends at `end`. */
export function sealFrame(buffer: Buffer, at: number, end: number, count: number, atMs: number, key: FrameKey): void {
  buffer.writeUInt32LE(end - at, at + 8)
  buffer.writeUInt32LE(count, at + 12)
  buffer.writeDoubleLE(atMs, at + 24)
  buffer.writeUInt32LE(0, at + 32)
  buffer.writeUInt32LE(key.checksum(buffer, at + 8, end, key.storeId), at + 4)
}

/** Does the head of the frame of `lsn` stand at `at`? Nothing else of it is known yet. */
export function isFrame(buffer: Buffer, at: number, lsn: Lsn): boolean {
  return buffer.readUInt32LE(at) === frameMagicNumber && buffer.readDoubleLE(at + 16) === lsn
}

/** Length of the frame at `at`, as its head says. */
export function frameLength(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at + 8)
}

export function frameCount(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at + 12)
}

export function frameMs(buffer: Buffer, at: number): number {
  return buffer.readDoubleLE(at + 24)
}

/** Is the frame at `at` as it was written? All its `length` bytes must be there. */
export function isWhole(buffer: Buffer, at: number, length: number, key: FrameKey): boolean {
  const end = at + length
  if (length < frameHead || buffer.readUInt32LE(at + 4) !== key.checksum(buffer, at + 8, end, key.storeId)) return false
  // 32 bits are wrong once in four billion times: then at least no record reaches out of its frame.
  let record = at + frameHead
  let count = 0
  for (; end - record >= recordHead; count++) {
    const step = buffer.readUInt32LE(record)
    if (step < recordHead || buffer.readUInt32LE(record + 4) !== record - at) return false
    record += step
  }
  return record === end && count === frameCount(buffer, at)
}
