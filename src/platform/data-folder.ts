import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { Disk, Index } from '../host.ts'
import { NodeDisk } from './disk.ts'
import { indexFile, openIndex } from './lmdb.ts'
import { DamagedIndexError } from './lmdb-file.ts'
import { FolderLock, LockedError } from './lock.ts'

/** The format of the folder that this version writes, and the newest that it reads: see `format` of the store's index. */
const dataFormat = 3

/** What makes a folder ours. */
export interface Identity {
  readonly format: number
  /** 32 bits that no other folder has. */
  readonly id: number
}

/** Everything of one broker that outlives it, held for this process alone. */
export interface DataFolder {
  readonly disk: Disk
  readonly index: Index
  /** 32 bits that no other folder has: what was copied from elsewhere is known by it. */
  readonly storeId: number
  /** Closes the index and lets others in. Files of the disk are closed by who opened them. */
  close(): Promise<void>
}

/** Why a folder cannot be used: `missing` only when it may not be made. */
export type DataFolderReason = 'missing' | 'foreign' | 'newer' | 'damaged' | 'locked' | 'unusable'

/** A folder that we cannot, or must not, use. The message names it, and says what to do. */
export class DataFolderError extends Error {
  override readonly name = 'DataFolderError'
  constructor(
    readonly reason: DataFolderReason,
    message: string,
    cause?: unknown,
  ) {
    super(message, { cause })
  }
}

/**
 * Opens a broker's data folder:
 *
 *   store.json   the format and the store's id; its name on the disk is what makes the folder ours
 *   lock/        who holds it
 *   log/         the commit log, and quarantine/, by the store
 *   index/       LMDB
 *
 * @param create makes it where nothing is, or an empty folder
 * @throws DataFolderError
 */
export async function openDataFolder(path: string, create: boolean): Promise<DataFolder> {
  const root = resolve(path)
  try {
    return await open(root, create)
  } catch (error) {
    if (error instanceof DataFolderError) throw error
    if (error instanceof LockedError) {
      const who = error.pid === undefined ? 'another broker' : `another broker (process ${error.pid})`
      throw new DataFolderError(
        'locked',
        `${root} is in use by ${who}; stop it, or give this one a folder of its own`,
        error,
      )
    }
    // Ours, not the system's.
    if ((error as { code?: unknown }).code === undefined) throw error
    throw new DataFolderError('unusable', `${root} cannot be used: ${(error as Error).message}`, error)
  }
}

async function open(root: string, create: boolean): Promise<DataFolder> {
  // A folder that is not ours stays as it is: no lock is left in it.
  const isNew = identityOf(root) === undefined
  if (isNew && !create) throw new DataFolderError('missing', `${root} holds no store; is the name right?`)
  if (isNew) makeDurably(root)
  const lock = await FolderLock.take(join(root, 'lock'), randomBytes(8).toString('hex'))
  try {
    // Once more, for somebody may have been here before the lock.
    const found = identityOf(root)
    const storeId = found?.id ?? (await makeStore(root))
    const disk = new NodeDisk(root)
    const index = openIndexOf(root, disk)
    // Before anything is written that an older version would misread.
    if (found && found.format < dataFormat) writeIdentity(root, storeId)
    return {
      disk,
      index,
      storeId,
      close: () => index.close().finally(() => lock.release()),
    }
  } catch (error) {
    lock.release()
    throw error
  }
}

const identityName = 'store.json'

/** What may stand in a folder that is not a store yet: from a start that was cut short, or from the file system. */
const harmless = new Set(['lock', 'index.new', `${identityName}.new`, 'lost+found'])

/** Undefined where no store is, but one may be made. Changes nothing. @throws DataFolderError */
export function identityOf(root: string): Identity | undefined {
  const names = namesIn(root)
  if (names.includes(identityName)) return parseIdentity(root, readFileSync(join(root, identityName), 'utf8'))
  const strange = names.find((name) => !harmless.has(name))
  if (strange === undefined) return undefined
  throw new DataFolderError(
    'foreign',
    `${root} is not a store of godwit: it holds "${strange}" and no ${identityName}; name an empty folder, or a new one`,
  )
}

function namesIn(root: string): string[] {
  try {
    return readdirSync(root)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function parseIdentity(root: string, text: string): Identity {
  const { store, format, id } = fieldsOf(text)
  // Before anything else, for a newer version may write anything else.
  if (store === 'godwit' && typeof format === 'number' && format > dataFormat)
    throw new DataFolderError(
      'newer',
      `${root} was written by a newer version (format ${format}; this one reads up to ${dataFormat}); use that version`,
    )
  const known = store === 'godwit' && typeof format === 'number' && format >= 1 && format === Math.floor(format)
  if (!known || typeof id !== 'number' || id !== id >>> 0)
    throw new DataFolderError(
      'damaged',
      `${join(root, identityName)} is damaged, or not by godwit; restore it from a backup`,
    )
  return { format, id }
}

function fieldsOf(text: string): { readonly [name in 'store' | 'format' | 'id']?: unknown } {
  try {
    return Object(JSON.parse(text)) as object
  } catch {
    return {}
  }
}

/**
 * Makes the folder ours, in an order that a power cut may stop anywhere: an index that is whole, the identity, and then the
 * index gets its name. Gives the new id.
 */
async function makeStore(root: string): Promise<number> {
  const index = join(root, 'index.new')
  rmSync(index, { recursive: true, force: true })
  mkdirSync(index, { mode: 0o700 })
  await openIndex(index, () => Infinity).close()
  sync(join(index, indexFile))
  sync(index)
  const id = randomBytes(4).readUInt32LE()
  writeIdentity(root, id)
  return id
}

/** Whole or not at all, and durable. */
function writeIdentity(root: string, id: number): void {
  const draft = join(root, `${identityName}.new`)
  writeFileSync(draft, `${JSON.stringify({ store: 'godwit', format: dataFormat, id })}\n`, { mode: 0o600, flush: true })
  renameSync(draft, join(root, identityName))
  sync(root)
}

function openIndexOf(root: string, disk: Disk): Index {
  const path = join(root, 'index')
  if (!existsSync(path) && existsSync(`${path}.new`)) {
    renameSync(`${path}.new`, path)
    sync(root)
  }
  try {
    // LMDB would make another one, empty: everything up to the last checkpoint would be gone without a word.
    if (!existsSync(join(path, indexFile))) throw new DamagedIndexError(`it has no ${indexFile}`)
    return openIndex(path, () => disk.freeBytes())
  } catch (error) {
    if (!isDamage(error)) throw error
    const why = `the index ${path} is damaged: ${(error as Error).message}`
    throw new DataFolderError('damaged', `${why}; restore the whole folder from a backup`, error)
  }
}

/** LMDB's own numbers are below zero and say that the file is not what it wrote; the system's are about the disk. */
export function isDamage(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return error instanceof DamagedIndexError || (typeof code === 'number' && code < 0)
}

/** Makes a folder and those above it that are missing, with names that survive a power cut. */
function makeDurably(root: string): void {
  const first = mkdirSync(root, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let at = root; at.length >= first.length; at = dirname(at)) sync(dirname(at))
}

/** Makes a file, or the names in a folder, durable. */
function sync(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
