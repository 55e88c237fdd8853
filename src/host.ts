// What the broker asks of the outside world. `src/platform` answers with Node; `test/sim` with a seeded world.

/** Bytes as they come from, and go to, a socket. Never changed once handed over. */
export type Bytes = Uint8Array

export interface Clock {
  /** Monotonic milliseconds: keep alive, expiry, delays. Never jumps with the wall clock. */
  now(): number
  /** Unix time in milliseconds: for logs and `$SYS`, and for what has passed while no process ran. Others may set it. */
  wall(): number
  /** Calls `tick` about every `periodMs` until the returned function is called. */
  every(periodMs: number, tick: () => void): () => void
  /** Calls `run` once, after everything that this turn of the event loop has read: the moment to flush. */
  endOfTurn(run: () => void): void
}

export interface Random {
  /** `count` unpredictable bytes. */
  bytes(count: number): Bytes
  /** A uniform integer in [0, below). */
  below(below: number): number
}

/** A client's certificate, as Node's `tls` shows it. */
export interface PeerCertificate {
  readonly subject?: Readonly<Record<string, string | readonly string[] | undefined>>
  /** `DNS:a.example, URI:urn:b`. */
  readonly subjectaltname?: string
  readonly valid_from: string
  readonly valid_to: string
  /** TLS has checked the chain, the time and the revocation lists, and found nothing wrong. */
  readonly authorized: boolean
}

/** One peer's byte stream, as the core uses it. */
export interface Stream {
  /** Address and port of the peer, for logs and permission. */
  readonly remote: string
  /** What it came by: tcp, tls, ws, wss. */
  readonly protocol?: string
  /** What TLS asked the peer for, and checked; undefined when it has shown none. Read when it is needed, as it is not free. */
  readonly certificate?: PeerCertificate | undefined
  /** When the peer came, by the host's clock; undefined: just now. */
  readonly openedMs?: number | undefined
  /** The peer has sent CONNECT: the bounds for strangers hold for it no longer. */
  identified?(): void
  /**
   * Queues `bytes`; `written` runs once they have left for the kernel (or the stream is gone), so the page can be reused. Never before this has returned:
   * more may be written then, and a message may be half written now.
   */
  write(bytes: Bytes, written: () => void): void
  /** Stops (`true`) or resumes (`false`) reading. Bytes already handed over are not taken back. */
  pause(paused: boolean): void
  /** Sends what is queued, then closes. Safe to call twice. */
  end(): void
  /** Closes at once, dropping what is queued. */
  destroy(): void
}

/** What a stream tells the core. After `closed` nothing more comes. */
export interface StreamEvents {
  data(chunk: Bytes): void
  /** `fault` is undefined when the peer closed in order. */
  closed(fault?: Error): void
}

/** Opens streams to other nodes. Both ends have proven who they are before either hears of a stream. */
export interface Net {
  /**
   * Dials `address` (host and port). Exactly one of the two is called, later or at once.
   * @param opened gets the stream, and the name that the peer's certificate proves
   * @param failed nobody is there (`ECONNREFUSED`), nobody answers in time, or it could not prove who it is
   */
  dial(
    address: string,
    opened: (stream: Stream, node: string) => StreamEvents,
    failed: (fault: Error & { readonly code?: string }) => void,
  ): void
}

/** A structured log; `pino` fits. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Everything that a node needs from its host. */
export interface Host {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** What the process holds of the machine's memory. */
export interface MemoryGauge {
  /** Costs some microseconds. */
  read(): {
    /** What the system would have to end the process for: not what it can take back when it needs it. */
    readonly residentBytes: number
    /** Of these, what is in use, or garbage; the rest is what the allocator keeps to use again. */
    readonly usefulBytes: number
    /** Of the engine's heap, of what that may grow to. */
    readonly heapShare: number
  }
  /** Collects garbage; blocks for as long as that takes. */
  collect(): void
}

/** An error of the disk, with the system's code (`ENOSPC`, `EIO` …). */
export interface DiskFault extends Error {
  readonly code?: string
}

/**
 * One folder on a disk. Names are relative to it, with `/` between folders. What has no callback blocks, and is for
 * opening, rolling over and closing only; the rest never blocks the loop. All of it throws a DiskFault.
 */
export interface Disk {
  /** Names of the files in `folder`, in order; none when it does not exist. */
  list(folder: string): string[]
  /** Makes `folder` if it is not there. */
  makeFolder(folder: string): void
  /** Opens a file for reading and writing. `create`: makes it, and it must not be there yet. */
  open(name: string, create: boolean): DiskFile
  remove(name: string): void
  rename(from: string, to: string): void
  /** Makes the names in `folder` durable: files that were made, renamed or removed. '' is the folder itself. */
  syncFolder(folder: string, done: (fault: DiskFault | undefined) => void): void
  /** Bytes that can still be written. */
  freeBytes(): number
}

export interface DiskFile {
  /** Bytes in the file, when it was opened or as far as was written since. */
  readonly size: number
  /**
   * Writes `pieces`, one behind the other, at `position`: all of it or a fault; nothing is durable before `sync`. The pieces
   * must not change until it is done.
   */
  write(pieces: readonly Uint8Array[], position: number, done: (fault: DiskFault | undefined) => void): void
  /** Makes everything written before this call durable (fdatasync). */
  sync(done: (fault: DiskFault | undefined) => void): void
  /** Reads up to `into.length` bytes from `position`; fewer only at the end of the file. */
  read(into: Uint8Array, position: number, done: (fault: DiskFault | undefined, count: number) => void): void
  /** The same, and blocks. */
  readNow(into: Uint8Array, position: number): number
  /** Cuts the file, and makes that durable. Blocks. */
  truncate(size: number): void
  close(): void
}

/** An ordered map on disk that changes in whole transactions. */
export interface Index {
  /** Everything in it, ordered by key. */
  entries(): Iterable<readonly [key: string, value: Uint8Array]>
  /** Applies all of it or nothing, and is durable before `done`. A value of undefined removes the key. One at a time. */
  commit(
    changes: readonly (readonly [key: string, value: Uint8Array | undefined])[],
    done: (fault: DiskFault | undefined) => void,
  ): void
  close(): Promise<void>
}

/** A hash of a password that is to be computed: slow on purpose. */
export type PasswordWork =
  | {
      readonly kind: 'argon2id'
      readonly password: Bytes
      readonly salt: Bytes
      readonly memoryKiB: number
      readonly passes: number
      readonly lanes: number
      readonly bytes: number
    }
  | {
      readonly kind: 'pbkdf2'
      readonly digest: 'sha256' | 'sha512'
      readonly password: Bytes
      readonly salt: Bytes
      readonly iterations: number
      readonly bytes: number
    }
  /** SHA-512 of the password and the salt behind it. */
  | { readonly kind: 'sha512'; readonly password: Bytes; readonly salt: Bytes }

/** Computes hashes of passwords beside the event loop, so many at a time and no more. */
export interface PasswordHasher {
  /** Rejects with a BusyError when too many wait already. */
  hash(work: PasswordWork): Promise<Bytes>
}

/** Thrown instead of making somebody wait in a queue that is full. */
export class BusyError extends Error {
  override readonly name = 'BusyError'
}

/** The quick part of cryptography. */
export interface Digests {
  sha256(data: Bytes): Bytes
  hmacSha256(key: Bytes, data: Bytes): Bytes
  /** Compares without telling by its time where they differ; false when they are not of one length. */
  same(a: Bytes, b: Bytes): boolean
}

/** Somebody who answers questions over HTTP. */
export interface HttpService {
  /** Sends JSON and gives what comes back. Rejects when it is not there in time, or too large. */
  post(json: string): Promise<{ readonly status: number; readonly body: Bytes }>
}
