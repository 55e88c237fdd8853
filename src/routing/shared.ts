import type { Topic, TopicFilter } from '../mqtt/topic.ts'
import { Copy, type Delivery, type Grant, type Member, packGrant } from './delivery.ts'

/** Members looked at before settling for the best of them. */
const sample = 8

/**
 * The members of one shared subscription `$share/group/filter`: each message goes to one of them [MQTT-4.8.2-4].
 *
 *   members  m0 m1 m2 m3 m4 m5 m6 m7 m8 m9          each pick starts one member further
 *                  └── 8 looked at ──┘              than the one before chose
 */
export class SharedGroup<S extends Member> {
  readonly #members: Delivery<S>[] = []
  readonly #places = new Map<S, number>()
  /** As a client writes it. */
  readonly name: string
  #start = 0

  constructor(
    readonly group: string,
    readonly filter: TopicFilter,
  ) {
    this.name = `$share/${group}/${filter}`
  }

  get members(): number {
    return this.#members.length
  }

  /** Adds `subscriber`, or gives it another grant; true when it was a member already. */
  join(subscriber: S, grant: Grant): boolean {
    // No-local on a shared subscription is refused before it comes here [MQTT-3.8.3-4].
    const member = new Copy<S>(subscriber, this).add(packGrant({ ...grant, noLocal: false }))
    const place = this.#places.get(subscriber)
    this.#members[place ?? this.#members.length] = member
    if (place === undefined) this.#places.set(subscriber, this.#members.length - 1)
    return place !== undefined
  }

  /** True when it was a member. The last member takes its place. */
  leave(subscriber: S): boolean {
    const place = this.#places.get(subscriber)
    if (place === undefined) return false
    const last = this.#members.pop()!
    if (last.subscriber !== subscriber) {
      this.#members[place] = last
      this.#places.set(last.subscriber, place)
    }
    this.#places.delete(subscriber)
    return true
  }

  /** Who would get the next message. */
  peek(topic: Topic): Delivery<S> | undefined {
    const start = this.#start
    const member = this.pick(topic)
    this.#start = start
    return member
  }

  /**
   * Who gets the next message: of the online members among the next eight the one with the most room, else the next
   * online member, else, as each has a session that queues, the offline member with the most room. Never `except`, nor
   * who may not receive it. Members with equal room take turns. Undefined when nobody is left.
   */
  pick(topic: Topic, except?: S): Delivery<S> | undefined {
    const members = this.#members
    const count = members.length
    let best = -1
    let bestRoom = 0
    let bestOnline = false
    for (let seen = 0, at = this.#start; seen < count; seen++, at++) {
      if (at >= count) at = 0
      if (bestOnline && seen >= sample) break
      const { subscriber } = members[at]!
      const { online, room } = subscriber
      if (subscriber === except || (bestOnline && !online)) continue
      if (best >= 0 && online === bestOnline && room <= bestRoom) continue
      if (!subscriber.mayReceive(topic)) continue
      best = at
      bestRoom = room
      bestOnline = online
    }
    if (best < 0) return undefined
    this.#start = best + 1
    return members[best]
  }
}
