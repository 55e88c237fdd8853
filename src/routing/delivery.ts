import type { CachedRoute, QoS, Topic } from '../mqtt/topic.ts'
import type { SharedGroup } from './shared.ts'

/** What routing asks of a session. */
export interface Member {
  readonly online: boolean
  /** Messages that it could take now. */
  readonly room: number
  /** May it be sent what is published there? */
  mayReceive(topic: Topic): boolean
}

/** The options of one subscription. */
export interface Grant {
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  /** 0 = none. */
  readonly subscriptionId: number
}

/** One copy for one subscriber: all its overlapping subscriptions merged [MQTT-3.3.4-2]. */
export interface Delivery<S> {
  readonly subscriber: S
  /** The highest of the overlapping. */
  readonly qos: QoS
  /** Any of them. */
  readonly retainAsPublished: boolean
  /** All of them that have one [MQTT-3.3.4-3]; undefined when none has. */
  readonly subscriptionIds: readonly number[] | undefined
  /**
   * What the subscriber gets of its own messages: the same without its no-local subscriptions [MQTT-3.8.3-3];
   * undefined when nothing is left. When none is no-local this is the delivery itself.
   */
  readonly own: Delivery<S> | undefined
  /** The shared group that picked this subscriber; another member can stand in. */
  readonly group: SharedGroup<S & Member> | undefined
}

/** Who gets a topic. */
export interface Match<S extends Member> extends CachedRoute {
  readonly deliveries: readonly Delivery<S>[]
  readonly groups: readonly SharedGroup<S>[]
}

// A grant in 32 bits:   subscription id (28: the standard's maximum) · retain as published · no local · QoS (2)
const noLocalBit = 4
const retainBit = 8
const idShift = 4

/** How many grants there are without a subscription id. */
export const plainGrants = 1 << idShift

export function packGrant(grant: Grant): number {
  const flags = (grant.noLocal ? noLocalBit : 0) | (grant.retainAsPublished ? retainBit : 0)
  return (grant.subscriptionId << idShift) | flags | grant.qos
}

export function unpackGrant(packed: number): Grant {
  return {
    qos: (packed & 3) as QoS,
    noLocal: (packed & noLocalBit) !== 0,
    retainAsPublished: (packed & retainBit) !== 0,
    subscriptionId: packed >>> idShift,
  }
}

export function isPlain(packed: number): boolean {
  return packed >>> idShift === 0
}

/** A delivery while it is put together; nobody changes it once it is in a match. */
export class Copy<S> implements Delivery<S> {
  qos: QoS = 0
  retainAsPublished = false
  subscriptionIds: number[] | undefined = undefined
  own: Copy<S> | undefined = this
  #started = false

  constructor(
    readonly subscriber: S,
    readonly group: SharedGroup<S & Member> | undefined = undefined,
  ) {}

  add(packed: number): this {
    if ((packed & noLocalBit) !== 0) {
      // From the first no-local subscription on, what the subscriber gets of its own is a thing apart.
      if (this.own === this) this.own = this.#started ? this.#clone() : undefined
    } else if (this.own !== this) this.own = (this.own ?? new Copy(this.subscriber)).add(packed)
    this.#started = true
    this.qos = Math.max(this.qos, packed & 3) as QoS
    if ((packed & retainBit) !== 0) this.retainAsPublished = true
    if (!isPlain(packed)) (this.subscriptionIds ??= []).push(packed >>> idShift)
    return this
  }

  #clone(): Copy<S> {
    const clone = new Copy(this.subscriber)
    clone.qos = this.qos
    clone.retainAsPublished = this.retainAsPublished
    clone.subscriptionIds = this.subscriptionIds?.slice()
    clone.#started = true
    return clone
  }
}
