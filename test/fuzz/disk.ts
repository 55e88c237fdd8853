import type { Broker } from '../../src/broker/broker.ts'
import type { Clock, Log } from '../../src/host.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { type DiskStore, openDiskStore } from '../../src/store/disk-store.ts'
import type { Recovered } from '../../src/store/port.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { Finding } from './finding.ts'

/** Small, so that a script fills several. */
const sizes = { segmentBytes: 16_384, checkpointBytes: 8192, cacheBytes: 4096, reserveBytes: 0 }

/** A disk in memory whose calls end when they are told to. */
export class FuzzDisk {
  readonly #dice = new Dice(1)
  #calls: (() => void)[] = []
  readonly #later = (run: () => void) => void this.#calls.push(run)
  #files = new SimDisk(this.#dice, this.#later)
  #index = new MemoryIndex(this.#later)

  open(clock: Clock, log: Log): { store: DiskStore; recovered: Recovered; topics: TopicTable } {
    const topics = new TopicTable()
    const [disk, index] = [this.#files, this.#index]
    const opened = openDiskStore({ disk, index, clock, log, storeId: 7, topics, ...sizes })
    return { ...opened, topics }
  }

  /** What is under way comes to its end. False when that was nothing. */
  step(): boolean {
    const calls = this.#calls
    this.#calls = []
    for (const run of calls) run()
    return calls.length > 0
  }

  /** The process is gone; all that it had written is there. */
  kill(): void {
    this.#calls = []
    this.#files = this.#files.kill(this.#dice, this.#later)
    this.#index = this.#index.crash(this.#dice, this.#later)
  }
}

interface Kept {
  readonly persistent: boolean
  readonly subscriptions: string
  readonly pending: number
}

/** What of a broker must outlive its process, when nothing is under way. */
export class Snapshot {
  readonly #sessions: Map<string, Kept>
  /** Of topics whose message does not expire. */
  readonly #retained: Map<string, string>

  constructor({ sessions, retained }: Broker) {
    this.#sessions = new Map(
      [...sessions.values()]
        .filter(({ number }) => number !== 0)
        .map(({ clientId, persistent, subscriptions, pending }) => {
          return [clientId, { persistent, subscriptions: JSON.stringify([...subscriptions].sort()), pending }]
        }),
    )
    this.#retained = new Map(
      [...retained.all()]
        .filter(({ expiresAtMs }) => expiresAtMs === Infinity)
        .map((message) => [message.topic.name, Buffer.from(message.payload()).toString('hex')]),
    )
  }

  /** @throws Finding when the next process knows less, or of somebody who is gone */
  compare(next: Snapshot): void {
    for (const clientId of next.#sessions.keys())
      if (!this.#sessions.has(clientId)) throw new Finding('a restart', `session "${clientId}" had ended`)
    for (const [clientId, { persistent, subscriptions, pending }] of this.#sessions) {
      if (!persistent) continue
      const kept = next.#sessions.get(clientId)
      if (kept === undefined) throw new Finding('a restart', `session "${clientId}" is lost`)
      if (kept.subscriptions !== subscriptions)
        throw new Finding('a restart', `"${clientId}" had ${subscriptions}, has ${kept.subscriptions}`)
      // What was acknowledged last may come once more.
      if (kept.pending < pending)
        throw new Finding('a restart', `${pending} messages for "${clientId}", then ${kept.pending}`)
    }
    for (const [topic, payload] of this.#retained)
      if (next.#retained.get(topic) !== payload) throw new Finding('a restart', `what "${topic}" retained is lost`)
    for (const topic of next.#retained.keys())
      if (!this.#retained.has(topic)) throw new Finding('a restart', `"${topic}" had been cleared`)
  }
}
