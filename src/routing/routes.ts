import type { CachedRoute } from '../mqtt/topic.ts'
import { pairHash } from './hash-index.ts'
import type { Delivery, Match, Member } from './delivery.ts'
import type { Levels } from './levels.ts'
import type { Path } from './path.ts'
import type { SharedGroup } from './shared.ts'

const nobody: readonly never[] = []
/** A version that is older than every change. */
const forgotten = -1

/** A match remembered on its topic, and brought up to date in place. Its arrays never change. */
export class Route<S extends Member> implements Match<S> {
  version = forgotten
  deliveries: readonly Delivery<S>[] = nobody
  groups: readonly SharedGroup<S>[] = nobody
  /** Stands in the queue of `WideRoutes`. */
  queued = false
  /** The same topic's route in another tree. */
  next: CachedRoute | undefined = undefined

  constructor(readonly owner: object) {}
}

const stamps = 1 << 16
/** The stamp of filters without a literal level: they may touch any topic. */
const anywhere = 0

/**
 * Tells which routes a change of a subscription may touch. A change of a filter stamps one bucket with its version, and a
 * topic's route holds while no bucket that the topic watches has a newer stamp:
 *
 *   filter   a/b/c        stamps the bucket of the whole name
 *            a/+/c/#      stamps the bucket of its rarest literal level, with its position: (2, "c")
 *            #, +/+       stamps the bucket `anywhere`
 *   topic    a/x/c/d      watches `anywhere`, (0, "a"), (1, "x"), (2, "c"), (3, "d"), and the bucket of "a/x/c/d"
 *
 * A topic that a filter matches has each of its literal levels in the same place, so no change is missed, whichever
 * level the filter chose. The rarest one makes the fewest others look again: a fleet that subscribes to its own
 * `site/+/device/<n>/#` leaves the routes of all other devices alone. Two that share a bucket cost a match, no more.
 */
export class Changes {
  /** Counts changes; a route that carries it is up to date. */
  version = 0
  readonly #stamps = new Float64Array(stamps)

  /** A subscription to the filter in `path`, with its numbers of `levels`, came, went or changed. */
  add(path: Path, levels: Levels): void {
    let wild = path.open
    let whole = 0
    let bucket = anywhere
    let fewest = Infinity
    const literals = wild ? path.length - 1 : path.length
    for (let at = 0; at < literals; at++) {
      if (path.isPlus(at)) {
        wild = true
        continue
      }
      const hash = path.hashes[at]!
      whole = pairHash(whole, hash, at)
      const uses = levels.uses(path.levels[at]!)
      if (uses >= fewest) continue
      fewest = uses
      bucket = levelBucket(hash, at)
    }
    this.#stamps[wild ? bucket : wholeBucket(whole)] = ++this.version
  }

  /** Has any filter that matches the topic in `path` changed after `version`? Says yes when in doubt. */
  since(version: number, path: Path): boolean {
    if (this.#stamps[anywhere]! > version) return true
    let whole = 0
    for (let at = 0; at < path.length; at++) {
      const hash = path.hashes[at]!
      if (this.#stamps[levelBucket(hash, at)]! > version) return true
      whole = pairHash(whole, hash, at)
    }
    return this.#stamps[wholeBucket(whole)]! > version
  }
}

function levelBucket(hash: number, at: number): number {
  return pairHash(at, hash, 1) & (stamps - 1)
}

function wholeBucket(hash: number): number {
  return hash & (stamps - 1)
}

/** Routes to fewer are bounded by the number of topics that are remembered. */
const wide = 16

/** Bounds what routes to many subscribers hold in memory; the oldest are forgotten first. */
export class WideRoutes<S extends Member> {
  #queue: Route<S>[] = []
  #head = 0
  #entries = 0
  readonly #limit: number

  /** `limit`: subscribers and groups in all of them together. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Gives `route` its new recipients. */
  update(route: Route<S>, deliveries: readonly Delivery<S>[], groups: readonly SharedGroup<S>[]): void {
    if (route.queued) this.#entries -= entries(route)
    route.deliveries = deliveries
    route.groups = groups
    if (!route.queued && entries(route) < wide) return
    this.#entries += entries(route)
    if (!route.queued) this.#queue.push(route)
    route.queued = true
    while (this.#entries > this.#limit && this.#queue.length - this.#head > 1) this.#forgetOldest(route)
  }

  #forgetOldest(butNot: Route<S>): void {
    const oldest = this.#queue[this.#head++]!
    if (oldest === butNot) this.#queue.push(oldest)
    else {
      this.#entries -= entries(oldest)
      oldest.queued = false
      oldest.version = forgotten
      oldest.deliveries = nobody
      oldest.groups = nobody
    }
    if (this.#head < 1024 || this.#head * 2 < this.#queue.length) return
    this.#queue = this.#queue.slice(this.#head)
    this.#head = 0
  }
}

function entries<S extends Member>(route: Route<S>): number {
  return route.deliveries.length + route.groups.length
}
