// What the broker asks of the outside world. `src/platform` answers with Node; `test/sim` with a seeded world.

/** Bytes as they come from, and go to, a socket. Never changed once handed over. */
export type Bytes = Uint8Array

export interface Clock {
  /** Monotonic milliseconds: keep alive, expiry, delays. Never jumps with the wall clock. */
  now(): number
  /** Unix time in milliseconds, for logs and `$SYS` only. */
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

/** One peer's byte stream, as the core uses it. */
export interface Stream {
  /** Address and port of the peer, for logs and permission. */
  readonly remote: string
  /** Queues `bytes`; `written` runs once they have left for the kernel (or the stream is gone), so the page can be reused. */
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
