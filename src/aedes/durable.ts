import type { DiskFault } from '../host.ts'
import type { DiskStore } from '../store/disk-store.ts'
import type { Lsn } from '../store/port.ts'

/** The disk takes nothing more. */
export class DiskFullError extends Error {
  override readonly name = 'DiskFullError'
  readonly code = 'ENOSPC'
}

/** The persistence is not open: not set up yet, destroyed, or its disk has failed (`cause`). */
export class NotOpenError extends Error {
  override readonly name = 'NotOpenError'
}

interface Wait {
  readonly lsn: Lsn
  resolve(): void
  reject(why: Error): void
}

/** Promises that are kept once the store has a place on disk. */
export class Durable {
  readonly #store: DiskStore
  /** In order of their lsns: one need not stand behind those before it, but leaves no sooner than they. */
  readonly #waits: Wait[] = []
  #last: Lsn = 0
  #why: Error | undefined = undefined

  constructor(store: DiskStore) {
    this.#store = store
    store.onProgress(() => this.#release())
    store.onFailure((fault: DiskFault) => this.end(new NotOpenError('the disk has failed', { cause: fault })))
  }

  /**
   * Resolves when the record at `lsn` (0: there is none) survives a power cut.
   * @throws NotOpenError when it will not be known any more
   */
  until(lsn: Lsn): Promise<void> {
    if (lsn === 0 || lsn < this.#store.durable) return Promise.resolve()
    if (this.#why) return Promise.reject(this.#why)
    if (lsn > this.#last) this.#last = lsn
    return new Promise((resolve, reject) => this.#waits.push({ lsn: this.#last, resolve, reject }))
  }

  /** @throws NotOpenError, DiskFullError when nothing new can be kept */
  assertRoom(): void {
    if (this.#why) throw this.#why
    if (this.#store.full) throw new DiskFullError('the disk is full')
  }

  /** Rejects what still waits, and what comes. */
  end(why: Error): void {
    this.#why ??= why
    for (const wait of this.#waits.splice(0)) wait.reject(this.#why)
  }

  #release(): void {
    const { durable } = this.#store
    let count = 0
    while (count < this.#waits.length && this.#waits[count]!.lsn < durable) count++
    for (const wait of this.#waits.splice(0, count)) wait.resolve()
  }
}
