import type { Disk, DiskFault, DiskFile, Log } from '../host.ts'
import type { Lsn } from './port.ts'

const folder = 'quarantine'

/** Keeps what could not be read, for somebody to look at: a file a stretch of the log. */
export class Quarantine {
  readonly #disk: Disk
  readonly #log: Log
  #saving = 0
  #idle: (() => void) | undefined

  constructor(disk: Disk, log: Log) {
    this.#disk = disk
    this.#log = log
  }

  /**
   * Saves what stood in [from, to), in the background.
   * @returns the name of the file; '' when there was nothing to save, or it could not be saved
   */
  save(from: Lsn, to: Lsn, bytes: Buffer): string {
    if (bytes.length === 0) return ''
    const own = `${hex(from)}-${hex(to)}.bin`
    const name = `${folder}/${own}`
    let file: DiskFile
    try {
      // Found before, and perhaps not saved to the end.
      if (this.#disk.list(folder).includes(own)) this.#disk.remove(name)
      this.#disk.makeFolder(folder)
      file = this.#disk.open(name, true)
    } catch (fault) {
      this.#log.error({ fault, name }, 'damaged bytes of the log could not be saved')
      return ''
    }
    this.#saving++
    const done = (fault: DiskFault | undefined) => {
      if (fault) this.#log.error({ fault, name }, 'damaged bytes of the log could not be saved')
      file.close()
      if (--this.#saving === 0) this.#idle?.()
    }
    file.write([bytes], 0, (fault) => {
      if (fault) done(fault)
      else file.sync(done)
    })
    return name
  }

  /** Calls `then` when nothing is being saved: now, or later. */
  whenIdle(then: () => void): void {
    if (this.#saving === 0) then()
    else this.#idle = then
  }
}

function hex(lsn: Lsn): string {
  return lsn.toString(16).padStart(16, '0')
}
