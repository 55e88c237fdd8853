import type { Newcomer } from '../broker/cluster-port.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'

/** Whose a session must be; undefined: it does not matter. */
export type Owner = Newcomer['claimant']

/** Ends a frame with the user; left out where nobody has to log in. */
export function writeOwner(writer: RecordWriter, user: string | undefined): void {
  writer.u8(user === undefined ? 0 : 1)
  if (user !== undefined) writer.text(user)
}

export function readOwner(reader: RecordReader): Owner {
  if (reader.left === 0) return undefined
  return { user: reader.u8() === 1 ? reader.text() : undefined }
}

/** Is it another user's? One that nobody had to log in for is whoever's comes. */
export function isForeign({ username }: { readonly username: string | undefined }, owner: Owner): boolean {
  return owner !== undefined && username !== undefined && username !== owner.user
}
