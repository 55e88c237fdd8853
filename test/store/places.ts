import { Entry, type Lsn, type QueueView } from '../../src/store/port.ts'

/** What stands in a queue, place by place. */
export function placesOf(queue: QueueView): { seq: number; entry: number; lsn: Lsn; expiry: number }[] {
  return Array.from({ length: queue.next - queue.head }, (_, at) => {
    const seq = queue.head + at
    return { seq, entry: queue.entryOf(seq), lsn: queue.lsnOf(seq), expiry: queue.expiryOf(seq) }
  })
}

export function aliveIn(queue: QueueView): ReturnType<typeof placesOf> {
  return placesOf(queue).filter(({ entry }) => (entry & Entry.stateBits) !== Entry.gone)
}
