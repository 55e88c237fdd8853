import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { type FileHandle, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** A file with secrets that cannot be read or changed. The message names it, and says what to do. */
export class OwnedFileError extends Error {
  override readonly name = 'OwnedFileError'
}

/** Reads a file that is for its owner's eyes alone. @throws as `node:fs` does, and OwnedFileError when others may read it */
export function readOwned(file: string): string {
  const descriptor = openSync(file, 'r')
  try {
    if (isOpenToOthers(fstatSync(descriptor).mode))
      throw new OwnedFileError(`others on this machine may open ${file}: chmod 600 ${file}`)
    return readFileSync(descriptor, 'utf8')
  } finally {
    closeSync(descriptor)
  }
}

/** Who leaves a draft for longer than this has died over it. */
const patienceMs = 10_000

/**
 * Changes such a file: whole or not at all, durably, and never open to others, not even for a moment. The draft beside it is
 * the lock, so that of two who change it at a time none takes away what the other has written.
 * @param change gets the text, undefined when there is no file; gives the new one, or undefined to leave it
 * @throws OwnedFileError, and what `change` throws: nothing has changed then
 */
export async function changeOwned(
  file: string,
  change: (text: string | undefined) => string | undefined,
): Promise<void> {
  // A link stays one.
  const real = await realpath(file).catch(orMissing(file))
  const draft = `${real}.new`
  const handle = await claim(draft)
  try {
    const before = await readFile(real, 'utf8').catch((fault: unknown) => {
      if ((fault as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw fault
    })
    const after = change(before)
    if (after === undefined || after === before) return await dropped(handle, draft)
    if (before !== undefined) await keepOwner(handle, real)
    await handle.writeFile(after)
    await handle.sync()
    await handle.close()
    await rename(draft, real)
  } catch (fault) {
    await dropped(handle, draft)
    throw isSystem(fault) ? new OwnedFileError(`cannot change ${file}: ${fault.message}`, { cause: fault }) : fault
  }
  // From here on the draft's name is free for the next.
  await syncFolder(dirname(real))
}

function orMissing(file: string): (fault: unknown) => string {
  return (fault) => {
    const { code, message } = fault as NodeJS.ErrnoException
    if (code === 'ENOENT') return file
    throw new OwnedFileError(`cannot change ${file}: ${message}`, { cause: fault })
  }
}

async function claim(draft: string): Promise<FileHandle> {
  try {
    return await open(draft, 'wx', 0o600)
  } catch (fault) {
    const { code, message } = fault as NodeJS.ErrnoException
    if (code !== 'EEXIST') throw new OwnedFileError(`cannot write ${draft}: ${message}`, { cause: fault })
  }
  const { mtimeMs } = await stat(draft).catch(() => ({ mtimeMs: Date.now() }))
  if (Date.now() - mtimeMs < patienceMs)
    throw new OwnedFileError(`somebody else is writing ${draft}: try again in some seconds`)
  await rm(draft, { force: true })
  return open(draft, 'wx', 0o600).catch((fault: Error) => {
    throw new OwnedFileError(`cannot write ${draft}: ${fault.message}`, { cause: fault })
  })
}

/** The broker's user must be able to read it, whoever adds a user. */
async function keepOwner(handle: FileHandle, file: string): Promise<void> {
  const [now, then] = await Promise.all([handle.stat(), stat(file)])
  if (now.uid !== then.uid || now.gid !== then.gid) await handle.chown(then.uid, then.gid)
}

async function dropped(handle: FileHandle, draft: string): Promise<void> {
  await handle.close().catch(() => {})
  await rm(draft, { force: true })
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  await folder.sync().finally(() => folder.close())
}

function isOpenToOthers(mode: number): boolean {
  return process.platform !== 'win32' && (mode & 0o077) !== 0
}

function isSystem(fault: unknown): fault is NodeJS.ErrnoException {
  return (fault as NodeJS.ErrnoException).syscall !== undefined
}
