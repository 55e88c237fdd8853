import {
  close,
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsync,
  ftruncateSync,
  mkdirSync,
  open,
  openSync,
  read,
  readdirSync,
  readSync,
  renameSync,
  statfsSync,
  unlinkSync,
  writev,
} from 'node:fs'
import { join } from 'node:path'
import type { Disk, DiskFault, DiskFile } from '../host.ts'

/** A folder of the file system. What is made in it is for its owner's eyes only. */
export class NodeDisk implements Disk {
  readonly #root: string
  readonly #mode: 'r' | 'r+'

  /**
   * @param root which is there
   * @param mode of files that are there; with 'r' their writes end in a fault
   */
  constructor(root: string, mode: 'r' | 'r+' = 'r+') {
    this.#root = root
    this.#mode = mode
  }

  list(folder: string): string[] {
    try {
      const entries = readdirSync(join(this.#root, folder), { withFileTypes: true })
      return entries.flatMap((entry) => (entry.isFile() ? [entry.name] : [])).sort()
    } catch (error) {
      if ((error as DiskFault).code === 'ENOENT') return []
      throw error
    }
  }

  makeFolder(folder: string): void {
    mkdirSync(join(this.#root, folder), { recursive: true, mode: 0o700 })
  }

  open(name: string, create: boolean): DiskFile {
    const descriptor = openSync(join(this.#root, name), create ? 'wx+' : this.#mode, 0o600)
    try {
      return new NodeFile(descriptor, fstatSync(descriptor).size)
    } catch (error) {
      closeSync(descriptor)
      throw error
    }
  }

  remove(name: string): void {
    unlinkSync(join(this.#root, name))
  }

  rename(from: string, to: string): void {
    renameSync(join(this.#root, from), join(this.#root, to))
  }

  syncFolder(folder: string, done: (fault: DiskFault | undefined) => void): void {
    open(join(this.#root, folder), 'r', (fault, descriptor) => {
      if (fault) return done(faultOf(fault))
      fsync(descriptor, (fault) => close(descriptor, (closing) => done(faultOf(fault ?? closing ?? null))))
    })
  }

  freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#root)
    return bavail * bsize
  }
}

class NodeFile implements DiskFile {
  size: number
  readonly #descriptor: number
  /** Calls that the system has not answered yet. */
  #pending = 0
  #closed = false

  constructor(descriptor: number, size: number) {
    this.#descriptor = descriptor
    this.size = size
  }

  write(pieces: readonly Uint8Array[], position: number, done: (fault: DiskFault | undefined) => void): void {
    this.#begin()
    let left = pieces
    const next = () => writev(this.#descriptor, left, position, wrote)
    // The system may take a part only: just before the disk is full, and above 2 GiB.
    const wrote = (fault: NodeJS.ErrnoException | null, count: number) => {
      if (!fault) {
        position += count
        this.size = Math.max(this.size, position)
        left = behind(left, count)
        if (left.length > 0 && count > 0) return next()
      }
      this.#end()
      done(faultOf(fault) ?? (left.length > 0 ? tookNothing() : undefined))
    }
    next()
  }

  sync(done: (fault: DiskFault | undefined) => void): void {
    this.#begin()
    fdatasync(this.#descriptor, (fault) => {
      this.#end()
      done(faultOf(fault))
    })
  }

  read(into: Uint8Array, position: number, done: (fault: DiskFault | undefined, count: number) => void): void {
    this.#begin()
    let from = 0
    const next = () => read(this.#descriptor, into, from, into.length - from, position + from, got)
    const got = (fault: NodeJS.ErrnoException | null, count: number) => {
      if (!fault) {
        from += count
        if (from < into.length && count > 0) return next()
      }
      this.#end()
      done(faultOf(fault), from)
    }
    next()
  }

  readNow(into: Uint8Array, position: number): number {
    this.#assertOpen()
    let from = 0
    while (from < into.length) {
      const count = readSync(this.#descriptor, into, from, into.length - from, position + from)
      if (count === 0) break
      from += count
    }
    return from
  }

  truncate(size: number): void {
    this.#assertOpen()
    ftruncateSync(this.#descriptor, size)
    fdatasyncSync(this.#descriptor)
    this.size = size
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#pending === 0) this.#close()
  }

  #begin(): void {
    this.#assertOpen()
    this.#pending++
  }

  // The number of a closed descriptor is given to the next file: a call that is still under way would write into that.
  #end(): void {
    if (--this.#pending === 0 && this.#closed) this.#close()
  }

  // Not here and now: the last one to close a file that was removed frees all its pages, 10 ms for a segment of the log.
  #close(): void {
    close(this.#descriptor, () => undefined)
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error('the file is closed')
  }
}

// Node declares the code as one that may be there and undefined; it never is.
function faultOf(error: NodeJS.ErrnoException | null): DiskFault | undefined {
  return error === null ? undefined : (error as DiskFault)
}

/** What `pieces` hold behind their first `count` bytes. */
function behind(pieces: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let whole = 0
  while (whole < pieces.length && pieces[whole]!.length <= count) count -= pieces[whole++]!.length
  if (whole === pieces.length) return []
  return [pieces[whole]!.subarray(count), ...pieces.slice(whole + 1)]
}

function tookNothing(): DiskFault {
  return Object.assign(new Error('the system took nothing of a write'), { code: 'EIO' })
}
