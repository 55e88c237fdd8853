const mebibyte = 1024 * 1024

/** How the store on disk works. Bounds are in `schema.ts`. */
export interface StoreConfig {
  /** Size of a file of the log: what a collection frees at a time. */
  readonly segmentBytes: number
  /** Log that is written before the index follows: what a start replays at most. */
  readonly checkpointBytes: number
  /** Memory for messages of queues that were read again. */
  readonly cacheBytes: number
  /** Disk that stays free: below it the store counts as full. */
  readonly reserveBytes: number
  /** Messages of old, mostly dead segments are copied forward at this rate at most. */
  readonly collectBytesPerSecond: number
}

export const defaultStore: StoreConfig = {
  segmentBytes: 64 * mebibyte,
  checkpointBytes: 64 * mebibyte,
  cacheBytes: 16 * mebibyte,
  reserveBytes: 32 * mebibyte,
  collectBytesPerSecond: 8 * mebibyte,
}
