import type { Random } from '../host.ts'

// The epoch of a session says which of two sessions of one client holds, and whether it has all that the other had. The
// higher one holds.
//
//   takeovers (28 bits) · birth (24 bits)
//
//   takeovers   one more each time that it has moved to another node, with all that it had, or that another has begun in its stead
//   birth       drawn when it began: sessions of one birth are one session, of which the later has all of the earlier
//
//   birth of a clean start   1 · its takeovers then (12 bits) · random (11 bits)
//   other births             0 · random (23 bits)
//
// A clean start has ended what it knew of: each session with fewer takeovers. Whatever else there is has begun, or has moved on,
// where it could not be seen; it is not lost, but merged.

const births = 2 ** 24
const cleanBit = 2 ** 23
const floors = 2 ** 12
const cleanRandom = 2 ** 11

/** A session where none is known. */
export function firstEpoch(random: Random): number {
  return births + random.below(cleanBit)
}

/** A session that begins without what the one of `epoch` has. */
export function freshEpoch(epoch: number, random: Random): number {
  return (takeovers(epoch) + 1) * births + random.below(cleanBit)
}

/** A session that begins with a clean start, and ends the one of `epoch`. */
export function cleanEpoch(epoch: number, random: Random): number {
  const count = takeovers(epoch) + 1
  return count * births + cleanBit + (count % floors) * cleanRandom + random.below(cleanRandom)
}

/** The session of `epoch`, on the next node. */
export function movedEpoch(epoch: number): number {
  return epoch + births
}

/** Has the session of `epoch` all that the one of `earlier` had? */
export function isLater(epoch: number, earlier: number): boolean {
  return epoch % births === earlier % births && epoch > earlier
}

/** Is the session of `earlier` over, by a clean start from which that of `epoch` came? */
export function hasEnded(epoch: number, earlier: number): boolean {
  const birth = epoch % births
  if (birth < cleanBit) return false
  const count = takeovers(epoch)
  const floor = Math.floor((birth - cleanBit) / cleanRandom)
  // The highest that is no more than there were takeovers since.
  const began = count - ((((count - floor) % floors) + floors) % floors)
  return takeovers(earlier) < began
}

function takeovers(epoch: number): number {
  return Math.floor(epoch / births)
}
