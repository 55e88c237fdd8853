import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { open } from 'lmdb'
import type { Index } from '../host.ts'
import { indexFile } from './lmdb.ts'
import { checkIndexFile, DamagedIndexError } from './lmdb-file.ts'

/** An index that is only read. */
export type ReadableIndex = Pick<Index, 'entries' | 'close'>

/**
 * Reads the index in the folder `path`, which nobody may be writing to, and leaves the folder as it is: LMDB makes a lock
 * file beside what it reads, so it is shown a link.
 *
 * @throws DamagedIndexError when LMDB would not survive it, or the system's error
 */
export function readIndex(path: string): ReadableIndex {
  const file = join(resolve(path), indexFile)
  if (!existsSync(file)) throw new DamagedIndexError(`it has no ${indexFile}`)
  checkIndexFile(file)
  const link = mkdtempSync(join(tmpdir(), 'godwit-index-'))
  try {
    symlinkSync(file, join(link, indexFile))
    const database = open<Buffer, Buffer>({
      path: link,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      readOnly: true,
    })
    return {
      *entries() {
        for (const { key, value } of database.getRange({})) yield [key.toString(), value] as const
      },
      close: () => database.close(),
    }
  } finally {
    // It has them open, and asks for their names no more.
    rmSync(link, { recursive: true, force: true })
  }
}
