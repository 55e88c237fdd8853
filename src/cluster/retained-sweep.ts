import { clearing, type Tombstone } from '../retain/tombstones.ts'
import type { Agreements } from './agreements.ts'
import { bucketOf, type Buckets } from './buckets.ts'
import type { NodeId } from './peers.ts'
import type { RetainedFigures, RetainedOptions } from './retained-options.ts'

/** Tombstones that are looked at in a tick. */
const sweptTombstones = 5000

/** Retires tombstones that are old enough, and forgets those that nobody needs. */
export class Sweep {
  readonly #options: RetainedOptions
  readonly #buckets: Buckets
  readonly #agreements: Agreements
  readonly #figures: RetainedFigures
  /** The last one that was looked at. */
  #swept = ''

  constructor(options: RetainedOptions, buckets: Buckets, agreements: Agreements, figures: RetainedFigures) {
    this.#options = options
    this.#buckets = buckets
    this.#agreements = agreements
    this.#figures = figures
  }

  tick(): void {
    const { retained, members, store } = this.#options
    if (retained.tombstones === 0 || store.full) return
    const tombstones = retained.tombstonesBehind(this.#swept, sweptTombstones)
    this.#swept = tombstones.length < sweptTombstones ? '' : tombstones.at(-1)!.name
    const all = [...members()]
    for (const tombstone of tombstones) this.#consider(tombstone, all)
  }

  #consider(tombstone: Tombstone, members: readonly NodeId[]): void {
    const { clock, tombstoneSeconds } = this.#options
    const { name, stamp, expired, retiredAt } = tombstone
    if (retiredAt === 0) {
      if (expired || clock.wall() - stamp.ms >= tombstoneSeconds * 1000) this.#buckets.retire(tombstone)
      return
    }
    const bucket = bucketOf(name)
    if (members.every((node) => this.#agreements.since(node, bucket, retiredAt))) this.#collect(name)
  }

  #collect(name: string): void {
    const { retained, store, topics } = this.#options
    this.#figures.collected++
    retained.unbury(name)
    // Nobody waits for this; if it is lost the tombstone is back, and goes again.
    store.message(clearing(topics.named(name), undefined), true, 0, 0, 'os')
  }
}
