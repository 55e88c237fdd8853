import type { ParsedFilter, Topic } from '../mqtt/topic.ts'
import { Copy, type Grant, type Match, type Member, packGrant } from './delivery.ts'
import { Filters } from './filters.ts'
import { Lists } from './lists.ts'
import { type HashKey, Path } from './path.ts'
import { Changes, Route, WideRoutes } from './routes.ts'
import { type Seat, Seats } from './seats.ts'
import { SharedGroup } from './shared.ts'

/** About 8 MiB, as deliveries are shared; 100 MiB when each subscription carries an id of its own. */
const wideRouteEntries = 1_000_000

export interface TreeOptions<S> {
  /** Called for each subscription that has come or gone; not for one that was replaced. */
  readonly interest?: (subscriber: S, filter: ParsedFilter, present: boolean) => void
  /** Secret of the hash tables; a node draws it from its random source. */
  readonly hashKey?: HashKey
}

/**
 * Who subscribes to what, and who gets a topic.
 *
 *   filter ──▶ `Filters`: trie of levels ──▶ `Lists`: its subscriptions ──▶ `Seats`: subscribers, or `SharedGroup`
 *   topic  ──▶ `Route` on the topic, up to date (`Changes`)? that one, else walk the trie and merge
 *
 * Nothing here recurses, and no table grows in one stroke, so neither a deep topic nor the millionth subscription stalls.
 */
export class SubscriptionTree<S extends Member> {
  readonly #filters: Filters
  readonly #lists: Lists
  readonly #seats = new Seats<S>()
  readonly #groups: (SharedGroup<S> | undefined)[] = []
  readonly #freeGroups: number[] = []
  readonly #changes = new Changes()
  readonly #wideRoutes = new WideRoutes<S>(wideRouteEntries)
  readonly #interest: TreeOptions<S>['interest']
  readonly #path: Path
  readonly #groupPath: Path
  readonly #found: number[] = []
  #matches = 0
  #size = 0

  constructor(options: TreeOptions<S> = {}) {
    const key = options.hashKey ?? [0x243f6a88, 0x13198a2e]
    this.#filters = new Filters(key)
    this.#lists = new Lists(key[0])
    this.#path = new Path(key)
    this.#groupPath = new Path(key)
    this.#interest = options.interest
  }

  /** Subscriptions. */
  get size(): number {
    return this.#size
  }

  /** Nodes of the trie. */
  get nodes(): number {
    return this.#filters.nodes
  }

  /** Levels and group names that differ. */
  get levels(): number {
    return this.#filters.levels.size
  }

  /** Memory of the tables. */
  get bytes(): number {
    return this.#filters.bytes + this.#lists.bytes
  }

  /** True when it replaced the subscriber's subscription to the same filter [MQTT-3.8.4-3]. */
  subscribe(subscriber: S, parsed: ParsedFilter, grant: Grant): boolean {
    const { filter, group } = parsed
    const number = this.#filters.enter(this.#path.readText(filter))
    const isNew =
      group === undefined
        ? this.#add(number, subscriber, packGrant(grant))
        : this.#join(number, filter, group, subscriber, grant)
    if (isNew) {
      this.#size++
      this.#interest?.(subscriber, parsed, true)
    }
    return !isNew
  }

  /** True when there was such a subscription. */
  unsubscribe(subscriber: S, parsed: ParsedFilter): boolean {
    const { filter, group } = parsed
    const number = this.#filters.find(this.#path.readText(filter))
    if (number === 0) return false
    const removed = group === undefined ? this.#remove(number, subscriber) : this.#leave(number, group, subscriber)
    if (removed) {
      this.#size--
      this.#interest?.(subscriber, parsed, false)
    }
    return removed
  }

  /** The members of a shared subscription; undefined when it has none. */
  group({ filter, group }: ParsedFilter): SharedGroup<S> | undefined {
    if (group === undefined) return undefined
    const number = this.#filters.find(this.#path.readText(filter))
    const name = number === 0 ? 0 : this.#filters.levels.find(this.#groupPath.readText(group), 0)
    const entry = name === 0 ? 0 : this.#entry(number, -name)
    return entry === 0 ? undefined : this.#groups[this.#lists.grant(entry)]
  }

  /**
   * Who gets a message on `topic`. The answer is kept on the topic and holds until a subscription that touches it
   * changes. Then its arrays are replaced, not changed, so one that is being walked stays as it was. Of several trees
   * that ask for a topic, the first one finds its answer at once, the next one behind it.
   */
  match(topic: Topic): Match<S> {
    const route = topic.route as Route<S> | undefined
    if (route !== undefined && route.version === this.#changes.version && route.owner === this) return route
    return this.#refresh(topic, route)
  }

  #refresh(topic: Topic, cached: Route<S> | undefined): Route<S> {
    let route = cached
    while (route !== undefined && route.owner !== this) route = route.next as Route<S> | undefined
    if (route?.version === this.#changes.version) return route
    const path = this.#path.read(topic.bytes)
    if (route === undefined) {
      route = new Route<S>(this)
      if (cached === undefined) topic.route = route
      else {
        route.next = cached.next
        cached.next = route
      }
    } else if (!this.#changes.since(route.version, path)) {
      route.version = this.#changes.version
      return route
    }
    this.#fill(route, this.#filters.collect(path, this.#found))
    route.version = this.#changes.version
    return route
  }

  /** Merges the first `count` lists that were found into the route's deliveries. */
  #fill(route: Route<S>, count: number): void {
    const deliveries: Copy<S>[] = []
    const groups: SharedGroup<S>[] = []
    const match = ++this.#matches
    for (let i = 0; i < count; i++)
      for (let entry = this.#found[i]!; entry !== 0; entry = this.#lists.after(entry)) {
        const who = this.#lists.who(entry)
        if (who >= 0) merge(deliveries, this.#seats.at(who), this.#lists.grant(entry), match)
        else groups.push(this.#groups[this.#lists.grant(entry)]!)
      }
    // A slice is as long as it must be; an array that has grown by `push` holds room for 16 more.
    this.#wideRoutes.update(route, deliveries.slice(), groups.slice())
  }

  #add(number: number, subscriber: S, grant: number): boolean {
    const known = this.#seats.of(subscriber)
    const entry = known === undefined ? 0 : this.#entry(number, known.number)
    if (entry !== 0) {
      // A client that comes back subscribes anew to what it has: nothing has changed, and no route is stale.
      if (this.#lists.grant(entry) !== grant) {
        this.#lists.setGrant(entry, grant)
        this.#changed()
      }
      return false
    }
    this.#put(number, this.#seats.take(subscriber).number, grant)
    return true
  }

  #remove(number: number, subscriber: S): boolean {
    const seat = this.#seats.of(subscriber)
    const entry = seat === undefined ? 0 : this.#entry(number, seat.number)
    if (seat === undefined || entry === 0) return false
    this.#drop(number, entry)
    this.#seats.leave(seat)
    return true
  }

  #join(number: number, filter: ParsedFilter['filter'], group: string, subscriber: S, grant: Grant): boolean {
    const { levels } = this.#filters
    const name = levels.find(this.#groupPath.readText(group), 0)
    const entry = name === 0 ? 0 : this.#entry(number, -name)
    // Routes hold the group itself, so its members come and go without touching them.
    if (entry !== 0) return !this.#groups[this.#lists.grant(entry)]!.join(subscriber, grant)
    const shared = new SharedGroup<S>(group, filter)
    shared.join(subscriber, grant)
    const place = this.#freeGroups.pop() ?? this.#groups.length
    this.#groups[place] = shared
    const newName = levels.intern(this.#groupPath, 0)
    levels.hold(newName)
    this.#put(number, -newName, place)
    return true
  }

  #leave(number: number, group: string, subscriber: S): boolean {
    const { levels } = this.#filters
    const name = levels.find(this.#groupPath.readText(group), 0)
    const entry = name === 0 ? 0 : this.#entry(number, -name)
    if (entry === 0) return false
    const place = this.#lists.grant(entry)
    const shared = this.#groups[place]!
    if (!shared.leave(subscriber)) return false
    if (shared.members > 0) return true
    this.#groups[place] = undefined
    this.#freeGroups.push(place)
    this.#drop(number, entry)
    levels.release(name)
    return true
  }

  /** The entry of a seat or group in the list of filter `number`; 0 when there is none. */
  #entry(number: number, who: number): number {
    return this.#lists.find(this.#filters.head(number), number, who)
  }

  /** Adds an entry to the list of the filter in `#path`. */
  #put(number: number, who: number, grant: number): void {
    this.#filters.setHead(number, this.#lists.add(this.#filters.head(number), number, who, grant))
    this.#filters.hold(this.#path)
    this.#changed()
  }

  /** Removes an entry from the list of the filter in `#path`. */
  #drop(number: number, entry: number): void {
    this.#filters.setHead(number, this.#lists.remove(this.#filters.head(number), entry))
    this.#changed()
    this.#filters.release(this.#path)
    this.#filters.prune(number)
  }

  /** The filter in `#path` has changed. */
  #changed(): void {
    this.#changes.add(this.#path, this.#filters.levels)
  }
}

/** Adds a subscription that matches to the subscriber's delivery, or its first delivery to the list. */
function merge<S extends Member>(deliveries: Copy<S>[], seat: Seat<S>, grant: number, match: number): void {
  if (seat.match !== match) {
    seat.match = match
    seat.place = deliveries.length
    seat.grant = grant
    seat.merged = false
    deliveries.push(seat.delivery(grant))
  } else if (seat.merged) deliveries[seat.place]!.add(grant)
  else {
    seat.merged = true
    deliveries[seat.place] = new Copy(seat.subscriber).add(seat.grant).add(grant)
  }
}
