import type { Clock, Log } from '../../src/host.ts'
import { crc32 } from '../../src/store/crc.ts'
import { CommitLog, type LogOptions, type LogVisitor } from '../../src/store/log.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'

/** What is to happen in later turns, in order, and a clock that ticks when it is told to. */
export class Turns implements Clock {
  readonly #queue: (() => void)[] = []
  readonly #tickers = new Set<() => void>()

  readonly later = (run: () => void): void => {
    this.#queue.push(run)
  }

  endOfTurn(run: () => void): void {
    this.#queue.push(run)
  }

  every(_periodMs: number, tick: () => void): () => void {
    this.#tickers.add(tick)
    return () => this.#tickers.delete(tick)
  }

  now(): number {
    return 0
  }

  wall(): number {
    return 1_700_000_000_000
  }

  get ticking(): boolean {
    return this.#tickers.size > 0
  }

  /** A second goes by. */
  tick(): void {
    for (const tick of [...this.#tickers]) tick()
  }

  /** Runs up to `most` of what waits. */
  run(most = Infinity): void {
    for (let run; most > 0 && (run = this.#queue.shift()); most--) run()
  }
}

export const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** A record as a test thinks of it. */
export interface TestRecord {
  readonly lsn: number
  readonly type: number
  readonly content: Buffer
  readonly sync: boolean
}

export interface Damage {
  readonly from: number
  readonly to: number
  readonly file: string
  readonly records: number | undefined
}

export const segmentBytes = 64 * 1024

/** A log on a simulated disk, with all that it said. */
export class Bench {
  readonly turns: Turns
  readonly disk: SimDisk
  readonly log: CommitLog
  readonly replayed: TestRecord[] = []
  readonly damage: Damage[] = []
  readonly faults: Error[] = []

  constructor(
    disk?: SimDisk,
    options: Partial<LogOptions> & { readonly from?: number; readonly floor?: number; readonly turns?: Turns } = {},
  ) {
    const { from = 0, floor = 0, turns = new Turns(), ...rest } = options
    this.turns = turns
    this.disk = disk ?? new SimDisk(new Dice(1), turns.later)
    const visitor: LogVisitor = {
      record: (lsn, type, bytes, start, end) =>
        this.replayed.push({ lsn, type, content: Buffer.from(bytes.subarray(start, end)), sync: false }),
      damaged: (begin, to, file, records) => this.damage.push({ from: begin, to, file, records }),
    }
    const given = {
      disk: this.disk,
      clock: turns,
      time: turns,
      log: quiet,
      storeId: 0xcafe_f00d,
      segmentBytes,
      cacheBytes: 32 * 1024,
    }
    this.log = CommitLog.open({ ...given, ...rest }, from, floor, visitor)
    this.log.onFailure((fault) => this.faults.push(fault))
  }

  append(content: Uint8Array, sync = true, type = 1): TestRecord {
    this.log.begin(type).bytes(content, 0, content.length)
    return { lsn: this.log.end(sync), type, content: Buffer.from(content), sync }
  }

  /** The record at `lsn` as `found` has it. */
  found(lsn: number): TestRecord {
    const { type, bytes, start, end } = this.log.found
    return { lsn, type, content: Buffer.from(bytes.subarray(start, end)), sync: false }
  }
}

/** Content of a record, different each time. */
export function filler(size: number, dice: Dice): Buffer {
  return Buffer.alloc(size, dice.below(256)).fill(dice.below(256), size >> 1)
}

/** What a record says, to compare by. */
export function told({ lsn, type, content }: TestRecord): string {
  return `${lsn}: type ${type}, ${content.length} bytes, ${crc32(content, 0, content.length, 0)}`
}
