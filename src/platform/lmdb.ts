import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { getSystemErrorName } from 'node:util'
import { open, type RootDatabase } from 'lmdb'
import type { DiskFault, Index } from '../host.ts'
import { checkIndexFile } from './lmdb-file.ts'

/** LMDB's file in the folder of an index. */
export const indexFile = 'data.mdb'

/** Longest key, in bytes of UTF-8. */
const mostKeyBytes = 1978

/** Below this a disk counts as full. A commit that fills it leaves less. */
const fullBytes = 1 << 20

/**
 * An index in LMDB, in the folder `path`, which is made if it is not there. Keys are ordered by their bytes in UTF-8.
 *
 * @param freeBytes room on its disk
 * @throws DamagedIndexError when LMDB would not survive it, or the system's error
 */
export function openIndex(path: string, freeBytes: () => number): Index {
  const file = join(path, indexFile)
  if (existsSync(file)) checkIndexFile(file)
  return new LmdbIndex(
    open<Buffer, Buffer>({
      ...ownerOnly,
      path,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      // With it a commit says that it is done before its sync is.
      overlappingSync: false,
      // With it lmdb makes a promise for each turn that nobody hears of: a fault would end the process.
      eventTurnBatching: false,
    }),
    freeBytes,
  )
}

/** For new files; lmdb knows this option, and its types do not. */
const ownerOnly: object = { permissionsMode: 0o600 }

class LmdbIndex implements Index {
  readonly #database: RootDatabase<Buffer, Buffer>
  readonly #freeBytes: () => number
  #committing: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(database: RootDatabase<Buffer, Buffer>, freeBytes: () => number) {
    this.#database = database
    this.#freeBytes = freeBytes
  }

  *entries(): Generator<readonly [key: string, value: Uint8Array]> {
    for (const { key, value } of this.#database.getRange({})) yield [key.toString(), value]
  }

  commit(
    changes: readonly (readonly [key: string, value: Uint8Array | undefined])[],
    done: (fault: DiskFault | undefined) => void,
  ): void {
    if (this.#committing || this.#closing) throw new Error('one commit at a time, of an index that is open')
    // Before the first change, for lmdb would commit those in front of the one that throws.
    const keys = changes.map(([key]) => keyBytes(key))
    const promise = this.#database.batch(() => {
      for (const [at, [, value]] of changes.entries()) {
        if (value) void this.#database.put(keys[at]!, value as Buffer)
        else void this.#database.remove(keys[at]!)
      }
    })
    const told = promise.then(
      () => undefined,
      (error: unknown) => this.#faultOf(error),
    )
    this.#committing = new Promise((resolve) => {
      const ended = (fault: DiskFault | undefined) => {
        this.#committing = undefined
        resolve()
        done(fault)
      }
      // Out of the promise: what `done` throws is nobody's rejection.
      void told.then((fault) => setImmediate(ended, fault))
    })
  }

  close(): Promise<void> {
    this.#closing ??= Promise.resolve(this.#committing).then(() => this.#database.close())
    return this.#closing
  }

  /** lmdb tells the reason in a promise of its own, as a number. */
  async #faultOf(error: unknown): Promise<DiskFault> {
    const reason = await Promise.resolve((error as { commitError?: Promise<never> }).commitError).catch(
      (reason: unknown) => reason as { code?: unknown; message: string },
    )
    const name = typeof reason?.code === 'number' ? codeName(reason.code) : undefined
    // LMDB calls a write that was cut short EIO, whatever cut it.
    const code = name === 'EIO' && this.#freeBytes() < fullBytes ? 'ENOSPC' : name
    const message = `the index could not be written: ${reason?.message ?? String(error)}`
    return Object.assign(new Error(message, { cause: error }), code !== undefined && { code })
  }
}

function keyBytes(key: string): Buffer {
  const bytes = Buffer.from(key)
  if (bytes.length === 0 || bytes.length > mostKeyBytes) throw new RangeError(`a key of ${bytes.length} bytes`)
  return bytes
}

/** The system's numbers are positive; LMDB's own are below -30,000 and have no name here. */
function codeName(code: number): string {
  return code > 0 ? getSystemErrorName(-code) : `MDB ${code}`
}
