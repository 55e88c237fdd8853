import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A disk of its own, in memory, that is soon full. */
export class SmallDisk {
  readonly folder = mkdtempSync(join(tmpdir(), 'godwit-disk-'))
  readonly #ballast = join(this.folder, 'ballast')
  readonly #onExit = (): void => this.close()

  /** @throws when it cannot be mounted */
  constructor(mebibytes: number) {
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', this.folder])
    if (status !== 0) {
      rmdirSync(this.folder)
      throw new Error(`mount: ${String(stderr)}`)
    }
    process.on('exit', this.#onExit)
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder)
    return bavail * bsize
  }

  /** Takes all room but so much. */
  fill(leaveBytes: number): void {
    // Others write, too: as much as there is.
    for (let left = this.freeBytes - leaveBytes; left > 0; left = this.freeBytes - leaveBytes) {
      try {
        writeFileSync(this.#ballast, Buffer.alloc(Math.min(left, 65_536)), { flag: 'a' })
      } catch (fault) {
        if ((fault as NodeJS.ErrnoException).code !== 'ENOSPC') throw fault
        return
      }
    }
  }

  /** Gives the room back. */
  empty(): void {
    rmSync(this.#ballast, { force: true })
  }

  /** Whoever has files on it must have ended. */
  close(): void {
    process.off('exit', this.#onExit)
    // At once even if it is busy, and later for good.
    spawnSync('umount', ['--lazy', this.folder])
    rmdirSync(this.folder)
  }
}
