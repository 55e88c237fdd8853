import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { BusyError, type Bytes, type PasswordHasher, type PasswordWork } from '../host.ts'

export interface PasswordPoolOptions {
  /** Hashes at the same time; default: one for every two processors. */
  readonly threads?: number
  /** How many more may wait; default: 256. */
  readonly waiting?: number
  /** The script of a thread; default: the one beside this file, as it is built. */
  readonly script?: URL
}

interface Job {
  readonly work: PasswordWork
  readonly resolve: (hash: Bytes) => void
  readonly reject: (fault: Error) => void
}

/**
 * Hashes of passwords on threads of their own: one takes as long as a thousand messages, and on libuv's threads it would
 * stand before an fsync.
 *
 *   hash ─▶ queue, bounded ─▶ an idle thread, or a new one ─▶ hash ─▶ the next
 */
export class PasswordPool implements PasswordHasher {
  readonly #threads: number
  readonly #mostWaiting: number
  readonly #script: URL
  readonly #idle: Worker[] = []
  readonly #busy = new Map<Worker, Job>()
  #queue: Job[] = []
  #refused = 0
  #closed = false

  constructor(options: PasswordPoolOptions = {}) {
    this.#threads = options.threads ?? Math.max(1, availableParallelism() >> 1)
    this.#mostWaiting = options.waiting ?? 256
    this.#script = options.script ?? new URL('./password-worker.js', import.meta.url)
  }

  /** Hashes that were refused because too many waited. */
  get refused(): number {
    return this.#refused
  }

  hash(work: PasswordWork): Promise<Bytes> {
    if (this.#closed) return Promise.reject(new Error('the pool is closed'))
    if (this.#busy.size >= this.#threads && this.#queue.length >= this.#mostWaiting) {
      this.#refused++
      return Promise.reject(new BusyError('too many passwords are being checked'))
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ work, resolve, reject })
      this.#next()
    })
  }

  /** Ends the threads; what has not been computed by then is rejected. */
  async close(): Promise<void> {
    this.#closed = true
    const left = [...this.#busy.values(), ...this.#queue]
    const workers = [...this.#busy.keys(), ...this.#idle]
    this.#queue = []
    this.#busy.clear()
    this.#idle.length = 0
    for (const { reject } of left) reject(new Error('the pool is closed'))
    await Promise.all(workers.map((worker) => worker.terminate()))
  }

  #next(): void {
    if (this.#queue.length === 0) return
    const worker = this.#idle.pop() ?? (this.#busy.size < this.#threads ? this.#start() : undefined)
    if (!worker) return
    const job = this.#queue.shift()!
    this.#busy.set(worker, job)
    // An idle thread does not keep the process; one that works does.
    worker.ref()
    worker.postMessage(job.work)
  }

  #start(): Worker {
    const worker = new Worker(this.#script, { execArgv: [] })
    let fault = new Error('the thread that checked the password has ended')
    worker.on('message', (answer: { readonly hash: Bytes } | { readonly fault: string }) => {
      const job = this.#busy.get(worker)
      if (!job) return
      this.#busy.delete(worker)
      this.#idle.push(worker)
      worker.unref()
      if ('hash' in answer) job.resolve(answer.hash)
      else job.reject(new Error(answer.fault))
      this.#next()
    })
    worker.on('error', (thrown) => (fault = thrown instanceof Error ? thrown : new Error(String(thrown))))
    worker.on('exit', () => {
      const job = this.#busy.get(worker)
      this.#busy.delete(worker)
      const at = this.#idle.indexOf(worker)
      if (at >= 0) this.#idle.splice(at, 1)
      job?.reject(fault)
      this.#next()
    })
    return worker
  }
}
