import type { Store } from '../store/port.ts'
import { type AedesPacket, packetOf } from './packet.ts'
import type { Item } from './queue.ts'
import type { KeptSession } from './sessions.ts'

/** The packet of an item: from memory, or from the disk without blocking; undefined when it is damaged. */
export async function readPacket(store: Store, session: KeptSession, item: Item): Promise<AedesPacket | undefined> {
  const { number } = session
  const { lsn, seq } = item
  let copy = store.read(lsn, number, seq)
  if (!copy) {
    const found = await new Promise<boolean>((resolve) => store.fetch(lsn, resolve))
    // It may stand elsewhere by now.
    if (!found && item.lsn === lsn) return undefined
    copy = store.read(item.lsn, number, seq) ?? store.readNow(item.lsn, number, seq)
  }
  return copy && packetOf(copy.message)
}
