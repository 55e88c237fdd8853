import type { Lsn, Store, StoredCopy } from './port.ts'

/** Keeps nothing beyond the sessions' own memory: every change is as durable as it will ever be, at once. */
export class MemoryStore implements Store {
  readonly offsetMs = 0
  readonly next: Lsn = 0
  readonly durable: Lsn = Infinity
  readonly written: Lsn = Infinity
  readonly full = false
  readonly behind = false

  onProgress(_listener: () => void): void {}

  serve(): void {}

  number(): number {
    return 0
  }

  session(): Lsn {
    return 0
  }

  ended(): Lsn {
    return 0
  }

  subscribed(): Lsn {
    return 0
  }

  unsubscribed(): Lsn {
    return 0
  }

  recipient(): void {}

  message(): Lsn {
    return 0
  }

  released(): Lsn {
    return 0
  }

  received(): Lsn {
    return 0
  }

  settled(): void {}

  read(): StoredCopy | undefined {
    return undefined
  }

  fetch(_lsn: Lsn, then: (found: boolean) => void): void {
    then(false)
  }

  readNow(): StoredCopy | undefined {
    return undefined
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
