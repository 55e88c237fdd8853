// What goes over a link between two nodes, once both know who the other is.
//
//   length (u32, of what follows) · greeting      first, once, both ways: see `greeting.ts`
//   length (u32, of what follows) · type (u8) · body      then frames: `welcome` first, or `goodbye`
//
// Only who has been welcomed by the other may send more: so a peer that is refused never counts as linked, on either side.
// Numbers stand as in records of the store (`RecordWriter`): little-endian, varints LEB128, texts behind their length.
// A frame of an unknown type, and what stands behind the fields that a reader knows, is passed over: that is how a newer
// version adds to them.

/** Wire versions that this release speaks. Two nodes use the newest that both do; without one there is no link. */
export const wireVersions = { oldest: 1, newest: 2 } as const

/** A frame says which part of the cluster it is for by its high nibble. */
export const FrameType = {
  // links
  credit: 0x01,
  welcome: 0x02,
  goodbye: 0x03,
  // members
  ping: 0x10,
  ack: 0x11,
  pingRequest: 0x12,
  leaving: 0x13,
  // gossip
  operations: 0x20,
  digest: 0x21,
  wanted: 0x22,
  snapshot: 0x23,
  applied: 0x24,
  // forwarding
  streams: 0x30,
  publish: 0x31,
  acknowledged: 0x32,
  unserved: 0x33,
  fence: 0x35,
  fenced: 0x36,
  // retained
  retained: 0x40,
  retainedDigest: 0x41,
  retainedBucket: 0x42,
  retainedWanted: 0x43,
  retainedApplied: 0x44,
  // sessions
  take: 0x50,
  offer: 0x51,
  given: 0x52,
  entry: 0x53,
  complete: 0x54,
  taken: 0x55,
  refused: 0x56,
  progress: 0x57,
  invite: 0x58,
} as const

export type FrameType = (typeof FrameType)[keyof typeof FrameType]

/** A peer sent what no frame of its type looks like. Its link is closed. */
export class WireError extends Error {
  override readonly name = 'WireError'
}
