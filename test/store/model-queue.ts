import { Entry, type Lsn, type QueueView } from '../../src/store/port.ts'
import { dropSeconds } from '../../src/store/store-time.ts'

/** From the monotonic to the store's time: in the model all processes have the same. */
export const offsetMs = 1_700_000_000_000

/** A copy of a message in a queue of the model. */
export interface Place {
  lsn: Lsn
  entry: number
  readonly payload: string
  readonly topic: string
  readonly expiresAtMs: number
  readonly ids: readonly number[] | undefined
  readonly shared: string | undefined
}

/** What a queue should hold, as a map. */
export class Queue implements QueueView {
  head = 0
  next = 0
  readonly places = new Map<number, Place>()

  lsnOf(seq: number): Lsn {
    return this.places.get(seq)?.lsn ?? 0
  }

  entryOf(seq: number): number {
    return this.places.get(seq)?.entry ?? Entry.gone
  }

  expiryOf(seq: number): number {
    const at = this.places.get(seq)?.expiresAtMs ?? Infinity
    return dropSeconds(at + offsetMs)
  }

  trim(): void {
    while (this.head < this.next && !this.places.has(this.head)) this.head++
  }
}
