import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { FolderLock, LockedError } from './lock.ts'

// How somebody on this machine finds a running node and proves that they may tell it what to do: two files in its data folder.
//
//   admin         where its admin listener is, while it runs: http://127.0.0.1:18083
//   admin-token   the bearer token, for the owner's eyes alone (0600)

/** Where the token stands unless the configuration names another file. */
export function tokenFileOf(data: string): string {
  return join(resolve(data), 'admin-token')
}

/** A token file that cannot be used. The message names it and says what to do. */
export class AdminTokenError extends Error {
  override readonly name = 'AdminTokenError'
}

/** The token of a file, which is made where there is none. @throws AdminTokenError */
export function openToken(file: string): string {
  try {
    return readToken(file)
  } catch (fault) {
    if ((fault as { cause?: NodeJS.ErrnoException }).cause?.code !== 'ENOENT') throw fault
  }
  const token = randomBytes(32).toString('base64url')
  try {
    write(file, `${token}\n`, true)
  } catch (fault) {
    throw new AdminTokenError(`cannot write the admin token to ${file}: ${(fault as Error).message}`, { cause: fault })
  }
  return token
}

/** @throws AdminTokenError; its cause is the system's error when the file cannot be read */
export function readToken(file: string): string {
  let text: string
  let mode: number
  try {
    text = readFileSync(file, 'utf8')
    mode = statSync(file).mode
  } catch (fault) {
    throw new AdminTokenError(`cannot read the admin token ${file}: ${(fault as Error).message}`, { cause: fault })
  }
  if (process.platform !== 'win32' && (mode & 0o077) !== 0)
    throw new AdminTokenError(
      `${file} holds the admin token, and others on this machine may open it: delete it, and the next start makes another`,
    )
  const token = text.trim()
  // Of a header, without anything that would need quotes.
  if (!/^[\w.~+/=-]{32,1024}$/.test(token))
    throw new AdminTokenError(`${file} holds no admin token: delete it, and the next start makes one`)
  return token
}

/**
 * Leaves word of where the admin listener is.
 * @throws the system's error; what an earlier process has left is gone then, so nobody is led astray
 */
export function announceAdmin(data: string, url: string): void {
  withdrawAdmin(data)
  // It is of use while the process lives, so it need not outlive a power cut.
  write(join(resolve(data), 'admin'), `${url}\n`, false)
}

/** Takes the word away again. */
export function withdrawAdmin(data: string): void {
  rmSync(join(resolve(data), 'admin'), { force: true })
}

/**
 * Where the admin listener of the node is that has this data folder; undefined: none has. The word of one that was killed counts
 * for nothing: somebody else may have its port by now, and would be shown the token.
 */
export async function announcedAdmin(data: string): Promise<string | undefined> {
  try {
    await FolderLock.ask(join(resolve(data), 'lock'))
    return undefined
  } catch (fault) {
    if (!(fault instanceof LockedError)) throw fault
  }
  try {
    return readFileSync(join(resolve(data), 'admin'), 'utf8').trim()
  } catch (fault) {
    if ((fault as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fault
  }
}

// Whole or not at all, and never open to others, not even for a moment.
function write(file: string, text: string, flush: boolean): void {
  const draft = `${file}.new`
  rmSync(draft, { force: true })
  try {
    writeFileSync(draft, text, { mode: 0o600, flag: 'wx', flush })
    renameSync(draft, file)
  } catch (fault) {
    rmSync(draft, { force: true })
    throw fault
  }
}
