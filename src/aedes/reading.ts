import type { Message } from '../mqtt/message.ts'
import type { Store } from '../store/port.ts'
import type { Item } from './queue.ts'
import type { KeptSession } from './sessions.ts'

/** The message of an item: from memory, or from the disk without blocking; undefined when it is damaged. */
export async function readMessage(store: Store, session: KeptSession, item: Item): Promise<Message | undefined> {
  const { number } = session
  const { lsn, seq } = item
  const copy = store.read(lsn, number, seq)
  if (copy) return copy.message
  const found = await new Promise<boolean>((resolve) => store.fetch(lsn, resolve))
  // It may stand elsewhere by now.
  if (!found && item.lsn === lsn) return undefined
  return (store.read(item.lsn, number, seq) ?? store.readNow(item.lsn, number, seq))?.message
}
