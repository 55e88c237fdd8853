import type { OfflineStore } from '../../store/offline.ts'
import { filesIn, type Opened } from './open.ts'

/** What a store would come back with, in numbers. */
export interface StoreFigures {
  readonly sessions: number
  readonly queued: Volume
  readonly retained: Volume
}

export interface Volume {
  readonly messages: number
  /** As limits count them. */
  readonly bytes: number
}

export function figuresOf({ sessions, retained }: OfflineStore): StoreFigures {
  const all = [...sessions.values()]
  return {
    sessions: all.length,
    queued: { messages: sum(all, ({ queue }) => queue.messages), bytes: sum(all, ({ queue }) => queue.bytes) },
    retained: { messages: retained.size, bytes: sum([...retained.values()], ({ bytes }) => bytes) },
  }
}

export function indexFigures({ folder, store }: Opened): { bytes: number; entries: number } {
  const file = filesIn(folder, 'index').find(({ name }) => name.endsWith('/data.mdb'))
  return { bytes: file?.bytes ?? 0, entries: store.indexEntries }
}

export function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
