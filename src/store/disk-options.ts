import type { Clock, Disk, Index, Log } from '../host.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import type { Checksum } from './crc.ts'
import type { Places } from './places.ts'
import type { Durability } from './port.ts'

export interface DiskStoreOptions {
  readonly disk: Disk
  readonly index: Index
  readonly clock: Clock
  readonly log: Log
  /** 32 bits that no other store has. */
  readonly storeId: number
  readonly topics: TopicTable
  /** Where queues are put together. Default: its own. */
  readonly places?: Places
  /** Size of a file of the log. Default 64 MiB. */
  readonly segmentBytes?: number
  /** Log that is written before the index follows: what a start replays at most. Default 64 MiB. */
  readonly checkpointBytes?: number
  /** Memory for messages that were read again. */
  readonly cacheBytes?: number
  /** Log that may wait to be written before `behind` is true. */
  readonly batchBytes?: number
  /** Disk that stays free: below it the store counts as full. Default 32 MiB. */
  readonly reserveBytes?: number
  /** Old messages are copied forward at this rate at most. Default 8 MiB. */
  readonly collectBytesPerSecond?: number
  readonly checksum?: Checksum
  /** What a change that is no message waits for. Default 'fsync'. */
  readonly durability?: Durability
}

/** What a store can tell of itself. */
export interface StoreFigures {
  readonly segments: number
  readonly logBytes: number
  /** Bytes of the log that are still needed, as far as references tell. */
  readonly liveBytes: number
  readonly sessions: number
  /** Since the start: */
  readonly checkpoints: number
  readonly droppedBytes: number
  readonly copiedBytes: number
  /** Damaged stretches of the log, found at the start or since. */
  readonly quarantined: number
  readonly lostCopies: number
}
