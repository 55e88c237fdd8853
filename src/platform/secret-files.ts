import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'

/** A file or folder of a cluster's identity that cannot be used. The message names it, and says what to do. */
export class ClusterIdentityError extends Error {
  override readonly name = 'ClusterIdentityError'
}

/** Undefined where there is none. @throws ClusterIdentityError when it cannot be read, or when others may read it */
export function readSecret(file: string): string | undefined {
  try {
    const text = readFileSync(file, 'utf8')
    if (process.platform !== 'win32' && (statSync(file).mode & 0o077) !== 0)
      throw new ClusterIdentityError(
        `${file} is a secret, and others on this machine may open it: chmod 600 if nobody has`,
      )
    return text
  } catch (fault) {
    if ((fault as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw isSystem(fault) ? cannot('read', file, fault) : fault
  }
}

/** Writes it whole or not at all, durably, and never open to others, not even for a moment. @throws ClusterIdentityError */
export function writeSecret(file: string, text: string): void {
  const draft = `${file}.new`
  try {
    rmSync(draft, { force: true })
    writeFileSync(draft, text, { mode: 0o600, flag: 'wx', flush: true })
    renameSync(draft, file)
    syncFolder(dirname(file))
  } catch (fault) {
    throw isSystem(fault) ? cannot('write', file, fault) : fault
  }
}

/** Makes it where nothing is; false when something is there already, written whole or not. @throws ClusterIdentityError */
export function claimFile(file: string, text: string): boolean {
  try {
    writeFileSync(file, text, { mode: 0o600, flag: 'wx', flush: true })
    syncFolder(dirname(file))
    return true
  } catch (fault) {
    if ((fault as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw isSystem(fault) ? cannot('write', file, fault) : fault
  }
}

/** @throws ClusterIdentityError */
export function makeSecretFolder(path: string): void {
  try {
    if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined) syncFolder(dirname(path))
  } catch (fault) {
    throw isSystem(fault) ? cannot('make', path, fault) : fault
  }
}

function syncFolder(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function isSystem(fault: unknown): fault is NodeJS.ErrnoException {
  return (fault as NodeJS.ErrnoException).syscall !== undefined
}

function cannot(verb: string, path: string, fault: Error): ClusterIdentityError {
  return new ClusterIdentityError(`cannot ${verb} ${path}: ${fault.message}`, { cause: fault })
}
