import { close, closeSync, openSync, write, writeSync } from 'node:fs'
import type { Log } from '../host.ts'

/** What may wait for the disk. */
const mostBytes = 4 * 1024 * 1024

/** A file that lines are appended to, which nobody waits for. What the disk does not take stays, as far as there is room. */
export class AuditFile {
  readonly #path: string
  readonly #log: Log
  #descriptor: number
  #lines: string[] = []
  /** What is being written, or could not be. */
  #batch: Buffer = Buffer.alloc(0)
  #bytes = 0
  #writing = false
  #failed = false
  #closed = false
  #idle: (() => void) | undefined
  /** Closed as soon as what is on its way has been written. */
  #old: number | undefined

  /** For its owner's eyes alone, if it is made here. @throws as `node:fs` does */
  constructor(path: string, log: Log) {
    this.#path = path
    this.#log = log
    this.#descriptor = openAudit(path)
  }

  write(line: string): boolean {
    const bytes = Buffer.byteLength(line)
    if (this.#closed || this.#bytes + bytes > mostBytes) return false
    this.#bytes += bytes
    this.#lines.push(line)
    this.#next()
    return true
  }

  /** Somebody has moved the file away (logrotate): the next line goes to a new one. @throws as `node:fs` does */
  reopen(): void {
    const fresh = openAudit(this.#path)
    if (this.#old === undefined && this.#writing) this.#old = this.#descriptor
    else close(this.#descriptor, () => {})
    this.#descriptor = fresh
    this.#next()
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#writing) await new Promise<void>((resolve) => (this.#idle = resolve))
    const rest = Buffer.concat([this.#batch, Buffer.from(this.#lines.join(''))])
    try {
      for (let at = 0; at < rest.length;) at += writeSync(this.#descriptor, rest, at)
    } catch (err) {
      this.#tell(err as Error)
    }
    closeSync(this.#descriptor)
  }

  #next(): void {
    if (this.#writing) return
    if (this.#batch.length === 0) {
      if (this.#lines.length === 0) return
      this.#batch = Buffer.from(this.#lines.splice(0).join(''))
    }
    this.#writing = true
    write(this.#descriptor, this.#batch, (fault, written) => {
      this.#writing = false
      if (this.#old !== undefined) close(this.#old, () => {})
      this.#old = undefined
      if (fault) this.#tell(fault)
      else {
        this.#failed = false
        this.#bytes -= written
        this.#batch = this.#batch.subarray(written)
      }
      if (this.#idle) this.#idle()
      // What a fault has left is tried again with the next line.
      else if (!fault) this.#next()
    })
  }

  #tell(err: Error): void {
    if (this.#failed) return
    this.#failed = true
    this.#log.error({ err: err.message, file: this.#path }, 'the audit log cannot be written')
  }
}

function openAudit(path: string): number {
  return openSync(path, 'a', 0o600)
}
