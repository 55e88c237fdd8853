import type { DiskFile } from '../host.ts'
import { frameCount, frameHead, frameLength, isFrame } from './frames.ts'
import type { Lsn } from './port.ts'

/** The bytes of the segment that begins at `first`, in [from, to), as far as its file has them. Blocks. @throws DiskFault */
export function bytesAt(file: DiskFile, first: Lsn, from: Lsn, to: Lsn): Buffer {
  const start = Math.max(0, from - first)
  const bytes = Buffer.allocUnsafeSlow(Math.max(0, Math.min(to - first, file.size) - start))
  return bytes.length === 0 ? bytes : bytes.subarray(0, file.readNow(bytes, start))
}

/** How many records stood in [from, to), if the heads of its frames still lead from one to the next; `bytes` begin at `from`. */
export function recordsIn(bytes: Buffer, from: Lsn, to: Lsn): number | undefined {
  let count = 0
  let at = 0
  while (at + frameHead <= bytes.length && isFrame(bytes, at, from + at) && frameLength(bytes, at) >= frameHead) {
    count += frameCount(bytes, at)
    at += frameLength(bytes, at)
  }
  return from + at === to ? count : undefined
}
