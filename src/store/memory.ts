import type { Lsn, Store } from './port.ts'

/** Keeps nothing beyond the sessions' own memory: every change is as durable as it will ever be, at once. */
export class MemoryStore implements Store {
  readonly durableLsn: Lsn = 0

  onDurable(): void {}

  message(): Lsn {
    return 0
  }

  released(): Lsn {
    return 0
  }

  session(): Lsn {
    return 0
  }

  sessionEnded(): Lsn {
    return 0
  }

  subscribed(): Lsn {
    return 0
  }

  unsubscribed(): Lsn {
    return 0
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
