import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Disk } from '../host.ts'
import { DataFolderError, identityOf, isDamage } from './data-folder.ts'
import { NodeDisk } from './disk.ts'
import { readIndex, type ReadableIndex } from './lmdb-reader.ts'
import { FolderLock, LockedError } from './lock.ts'

/** A broker's data folder, while no broker has it. Nothing in it changes; a disk or a mount that is read-only will do. */
export interface ReadableFolder {
  readonly path: string
  /** Its writes end in a fault. */
  readonly disk: Disk
  readonly storeId: number
  readonly format: number
  /** Or what is wrong with it. */
  readonly index: ReadableIndex | Error
  /** @throws DataFolderError when a broker has begun to use the folder meanwhile: what was read is not of one moment */
  close(): Promise<void>
}

/**
 * Opens a data folder for reading. No lock is taken, as that would leave a trace: it is asked for now, and at the end.
 * @throws DataFolderError
 */
export async function readDataFolder(path: string): Promise<ReadableFolder> {
  const root = resolve(path)
  try {
    const identity = identityOf(root)
    if (identity === undefined) throw new DataFolderError('missing', `${root} holds no store; is the name right?`)
    await FolderLock.ask(join(root, 'lock'))
    const index = openIndex(join(root, 'index'))
    const close = async (): Promise<void> => {
      if (!(index instanceof Error)) await index.close()
      await FolderLock.ask(join(root, 'lock')).catch((error: unknown) => {
        throw reasonOf(root, error)
      })
    }
    return { path: root, disk: new NodeDisk(root, 'r'), storeId: identity.id, format: identity.format, index, close }
  } catch (error) {
    throw reasonOf(root, error)
  }
}

function openIndex(path: string): ReadableIndex | Error {
  try {
    // A first start that was cut short had no time to give it its name.
    return readIndex(!existsSync(path) && existsSync(`${path}.new`) ? `${path}.new` : path)
  } catch (error) {
    if (!isDamage(error)) throw error
    return error as Error
  }
}

function reasonOf(root: string, error: unknown): unknown {
  if (error instanceof LockedError) {
    const who = error.pid === undefined ? 'a broker' : `a broker (process ${error.pid})`
    return new DataFolderError('locked', `${root} is in use by ${who}; stop it first, or read a copy`, error)
  }
  if (error instanceof DataFolderError || (error as { code?: unknown }).code === undefined) return error
  return new DataFolderError('unusable', `${root} cannot be read: ${(error as Error).message}`, error)
}
