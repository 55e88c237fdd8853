import { closeSync, mkdirSync, openSync, readdirSync, renameSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'

/**
 * Holds a folder for one process, until it lets go or dies, however it dies: a Unix socket in the folder that listens. The
 * kernel closes it with its process, where a file with a process id is left over, and in a container the next process has
 * that id again.
 *
 *   <pid>-<random>.new    bound, perhaps not listening yet
 *   <pid>-<random>.lock   listens, or its process is gone: no name comes twice, so it never listens again
 *
 * Whoever comes shows its own socket first and then looks for others: of two at the same moment one at least sees the
 * other. Both may, and then neither gets the folder.
 */
export class FolderLock {
  readonly #server: Server
  readonly #path: string

  private constructor(server: Server, path: string) {
    this.#server = server
    this.#path = path
  }

  /**
   * @param folder where the sockets are kept, made if it is not there
   * @param unique a part of a name that nobody had before
   * @throws LockedError when another process holds it, or the system's error
   */
  static async take(folder: string, unique: string): Promise<FolderLock> {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const name = `${process.pid}-${unique}`
    const path = join(folder, `${name}.lock`)
    const server = await listen(folder, `${name}.new`)
    const lock = new FolderLock(server, path)
    try {
      renameSync(join(folder, `${name}.new`), path)
      const others = readdirSync(folder).filter((other) => other !== `${name}.lock`)
      for (const other of others)
        if (other.endsWith('.lock') && (await answers(folder, other))) throw new LockedError(parseInt(other))
      for (const other of others) unlinkIfThere(join(folder, other))
      return lock
    } catch (error) {
      lock.release()
      // The one that holds it has swept our name away.
      throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? new LockedError(undefined) : error
    }
  }

  /** Who holds it? Leaves no trace. @throws LockedError when another process does, or the system's error */
  static async ask(folder: string): Promise<void> {
    for (const name of namesIn(folder))
      if (name.endsWith('.lock') && (await answers(folder, name))) throw new LockedError(parseInt(name))
  }

  /** Lets go. Safe to call twice. */
  release(): void {
    unlinkIfThere(this.#path)
    this.#server.close()
  }
}

/** Another process has it. */
export class LockedError extends Error {
  override readonly name = 'LockedError'
  constructor(readonly pid: number | undefined) {
    super(pid === undefined ? 'locked' : `locked by process ${pid}`)
  }
}

function listen(folder: string, name: string): Promise<Server> {
  // Node takes the name of a listening socket away when it closes it; ours has another name by then.
  const server = createServer((socket) => socket.destroy()).unref()
  return withAddress(
    folder,
    name,
    (address) =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        // Later errors (no descriptors left) are about those who ask; the backlog answers them.
        server.listen(address, () => resolve(server.off('error', reject).on('error', () => undefined)))
      }),
  )
}

/** Does somebody listen? What is no clear no is a yes: a full backlog, a socket of another user. */
function answers(folder: string, name: string): Promise<boolean> {
  return withAddress(
    folder,
    name,
    (address) =>
      new Promise((resolve) => {
        const socket = connect(address)
        socket.once('connect', () => {
          socket.destroy()
          resolve(true)
        })
        socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'))
      }),
  )
}

// The kernel takes no longer address than 107 bytes (macOS: 103); the folder's descriptor makes it short on Linux.
async function withAddress<T>(folder: string, name: string, use: (address: string) => Promise<T>): Promise<T> {
  const path = join(folder, name)
  if (Buffer.byteLength(path) <= 103) return use(path)
  if (process.platform !== 'linux')
    throw Object.assign(new Error(`the name ${path} is too long for a socket`), { code: 'ENAMETOOLONG' })
  const descriptor = openSync(folder, 'r')
  try {
    return await use(`/proc/self/fd/${descriptor}/${name}`)
  } finally {
    closeSync(descriptor)
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
