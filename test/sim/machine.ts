import type { Broker } from '../../src/broker/broker.ts'
import type { Log } from '../../src/host.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import type { DiskStoreOptions } from '../../src/store/disk-options.ts'
import { type DiskStore, openDiskStore } from '../../src/store/disk-store.ts'
import type { Lsn } from '../../src/store/port.ts'
import type { Dice } from './dice.ts'
import { SimDisk } from './disk.ts'
import { MemoryIndex } from './index.ts'
import { Probe } from './probe.ts'
import { Process } from './process.ts'
import type { Records } from './records.ts'
import { WatchedStore } from './store.ts'
import type { Time } from './time.ts'

/** How a broker comes to its end: by kill -9, or with all the machine, whose disk forgets what was not synced. */
export type Fall = 'kill' | 'power'

export type StoreHabits = Pick<
  DiskStoreOptions,
  'segmentBytes' | 'checkpointBytes' | 'cacheBytes' | 'batchBytes' | 'collectBytesPerSecond' | 'checksum'
>

export interface MachineParts {
  readonly time: Time
  readonly dice: Dice
  readonly records: Records
  /** How long a call of the disk takes, at most; now and then one takes 20 times as long. */
  readonly syncMs: number
  readonly habits: StoreHabits
  readonly log: Log
  broker(process: Process, store: WatchedStore, topics: TopicTable): Broker
}

/**
 * The machine that the broker runs on. Its disk outlives processes.
 *
 *   start ─▶ Process · Broker ── WatchedStore ── DiskStore ─▶ SimDisk, MemoryIndex ─▶ fall ─▶ start …
 */
export class Machine {
  process!: Process
  probe!: Probe
  store!: WatchedStore
  disk!: DiskStore
  broker!: Broker
  isUp = false
  /** Trie nodes of a broker without sessions. */
  emptyNodes = 0
  readonly #parts: MachineParts
  /** What is below it is on the disk for good, whichever store has seen to it. */
  #durable: Lsn = 0
  #files: SimDisk
  #index: MemoryIndex
  #later!: (run: () => void) => void

  constructor(parts: MachineParts) {
    this.#parts = parts
    this.#begin(0)
    this.#files = new SimDisk(parts.dice.fork(1), this.#later)
    this.#index = new MemoryIndex(this.#later)
    this.start()
  }

  /** A broker starts on what the disk holds. */
  start(): void {
    const { records, habits, log } = this.#parts
    const topics = new TopicTable()
    const opened = openDiskStore({
      disk: this.#files,
      index: this.#index,
      clock: this.process,
      log,
      storeId: 0x5eed,
      topics,
      reserveBytes: 0,
      ...habits,
    })
    const { store, recovered } = opened
    this.disk = store
    // A store makes sure of what it has read.
    this.#durable = Math.max(this.#durable, store.written)
    const sessions = [...recovered.sessions]
    const known = sessions.map(({ number, clientId }) => [number, clientId] as const)
    this.store = new WatchedStore(store, records, known)
    this.probe = new Probe()
    this.broker = this.probe.watch(() => this.#parts.broker(this.process, this.store, topics))
    this.emptyNodes = this.broker.tree.nodes
    this.broker.restore({ ...recovered, sessions })
    this.isUp = true
  }

  /** The broker is gone, from one event to the next. Gives what it may have forgotten, as `Records` names it. */
  fall(how: Fall): ReadonlySet<string> {
    const { dice, records, time } = this.#parts
    this.isUp = false
    this.process.kill()
    this.#durable = Math.max(this.#durable, this.store.durable)
    const lost = records.fall(this.#durable)
    // Its monotonic clock dies with it: the next one shows something else.
    this.#begin(time.now() - dice.between(0, 1e6))
    this.#files = how === 'power' ? this.#files.crash(dice, this.#later) : this.#files.kill(dice, this.#later)
    if (how === 'power' && dice.chance(0.5)) this.#scribble()
    this.#index = this.#index.crash(dice, this.#later)
    return lost
  }

  /** What was being written when the power failed may be anything. */
  #scribble(): void {
    const { dice } = this.#parts
    const durable = this.#durable
    for (const { first, end } of this.disk.log.segments()) {
      const name = `log/${first.toString(16).padStart(16, '0')}.seg`
      const size = this.#files.contentOf(name)?.length ?? 0
      const from = Math.max(0, durable - first)
      if (end > durable && size > from) this.#files.damage(name, from + dice.below(size - from))
    }
  }

  #begin(sinceMs: number): void {
    const { time, dice, syncMs } = this.#parts
    const process = (this.process = new Process(time, sinceMs))
    this.#later = (run) => {
      const ms = dice.between(0, syncMs) * (dice.chance(0.02) ? 20 : 1)
      time.after(ms, () => process.enter(run))
    }
  }
}
