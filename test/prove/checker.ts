import { naiveMatches } from '../routing/naive.ts'
import type { Incident, Publication, Qos, Reading, Recorded, Subscriber, Subscription } from './history.ts'

/** What may be found, the worst first. None of it may be found. */
export const findingKinds = [
  'lost',
  'delivered twice',
  'out of order',
  'session vanished',
  'subscription vanished',
  'subscription came back',
  'retained went back',
  'QoS 2 id forgotten',
  'will lost',
  'will came after all',
  'damaged',
  'misbehaved',
] as const

export interface Finding {
  readonly kind: (typeof findingKinds)[number]
  readonly what: string
}

export interface Verdict {
  readonly findings: readonly Finding[]
  readonly acknowledged: Readonly<Record<Qos, number>>
  /** Wills that fell due. */
  readonly wills: number
  /** First copies, by the lower QoS of publisher and subscription. */
  readonly delivered: Readonly<Record<Qos, number>>
  /** More copies than one. With QoS 1 they are allowed; with QoS 2 each is a finding too. */
  readonly duplicates: Readonly<Record<Qos, number>>
}

/**
 * Holds what came against what was promised.
 *
 *                        sent ──── acked                     a publication
 *     asked ── granted                     leaving ── left   a subscription: it must bring this publication
 *                    asked ── granted                        it may
 *                                  asked ── granted          it must not
 */
export function check(history: Recorded): Verdict {
  const judge = new Judge(history)
  for (const subscriber of history.subscribers) judge.subscriber(subscriber)
  judge.readings(history.readings)
  judge.incidents(history.incidents)
  return judge
}

class Judge implements Verdict {
  readonly findings: Finding[] = []
  readonly acknowledged = { 1: 0, 2: 0 }
  readonly delivered = { 1: 0, 2: 0 }
  readonly duplicates = { 1: 0, 2: 0 }
  wills = 0
  readonly #publications: readonly Publication[]

  constructor({ publications }: Recorded) {
    this.#publications = publications
    for (const { kind, qos, ackedAt } of publications) {
      if (ackedAt === Infinity) continue
      if (kind === 'will') this.wills++
      else this.acknowledged[qos]++
    }
  }

  subscriber(subscriber: Subscriber): void {
    const counts = this.#countInOrder(subscriber)
    const byTopic = new Map<string, Subscription[]>()
    const missed = new Set<Subscription>()
    for (const publication of this.#publications) {
      const { topic } = publication
      let matching = byTopic.get(topic)
      if (!matching) {
        matching = subscriber.subscriptions.filter(({ filter }) => naiveMatches(filter, topic))
        byTopic.set(topic, matching)
      }
      const count = counts[publication.number]!
      if (count > 0) this.#came(subscriber, publication, matching, count)
      else this.#didNotCome(subscriber, publication, matching, missed)
    }
    for (const { filter } of missed) this.#find('subscription vanished', `of ${subscriber.id} to ${filter}`)
  }

  readings(readings: readonly Reading[]): void {
    const byTopic = new Map<string, Publication[]>()
    for (const publication of this.#publications) {
      if (!publication.retain) continue
      const known = byTopic.get(publication.topic)
      if (known) known.push(publication)
      else byTopic.set(publication.topic, [publication])
    }
    for (const { topic, number, askedAt, heardAt } of readings) {
      const all = byTopic.get(topic) ?? []
      const newest = all.findLast(({ ackedAt }) => ackedAt < askedAt)
      const stands = (candidate: Publication): boolean =>
        candidate.sentAt < heardAt && candidate.number >= (newest?.number ?? 0)
      const isRight =
        number === undefined
          ? newest === undefined || all.some((candidate) => candidate.bytes === 0 && stands(candidate))
          : all.some((candidate) => candidate.number === number && stands(candidate))
      if (isRight) continue
      const told = number === undefined ? 'nothing' : `m${number}`
      const due =
        newest === undefined ? 'nothing' : `m${newest.number}${newest.bytes === 0 ? ', which clears it,' : ''}`
      this.#find('retained went back', `${topic} gave ${told} after ${due} was acknowledged`)
    }
  }

  incidents(incidents: readonly Incident[]): void {
    for (const { kind, what } of incidents) this.#find(kind, what)
  }

  /**
   * Counts each message's copies; the first ones come in the publisher's order, for each topic and QoS [MQTT-4.6.0-5]. But for one that
   * was first sent before it was subscribed to: what comes of it was sent again, behind others.
   */
  #countInOrder({ id, received, subscriptions }: Subscriber): Uint32Array {
    const counts = new Uint32Array(this.#publications.length)
    const lanes = new Map<string, number>()
    for (const number of received) {
      if (counts[number]!++ > 0) continue
      const { publisher, topic, qos } = this.#publications[number]!
      const lane = `${publisher} ${topic} ${qos}`
      const last = lanes.get(lane) ?? -1
      if (number > last) lanes.set(lane, number)
      else if (subscriptions.some((one) => naiveMatches(one.filter, topic) && owes(one, this.#publications[number]!)))
        this.#find('out of order', `m${number} (${lane}) came to ${id} behind m${last}`)
    }
    return counts
  }

  #came(subscriber: Subscriber, publication: Publication, matching: readonly Subscription[], count: number): void {
    const possible = matching.filter(
      ({ askedAt, leftAt }) => askedAt < lastAt(publication) && publication.sentAt < leftAt,
    )
    if (publication.withdrawn) this.#find('will came after all', about(publication, subscriber))
    if (possible.length === 0) return this.#find('subscription came back', about(publication, subscriber))
    const lower = Math.min(publication.qos, ...possible.map(({ qos }) => qos)) as Qos
    this.delivered[lower]++
    this.duplicates[lower] += count - 1
    if (lower === 2 && count > 1) this.#find('delivered twice', `${about(publication, subscriber)}, ${count} times`)
  }

  #didNotCome(
    subscriber: Subscriber,
    publication: Publication,
    matching: readonly Subscription[],
    missed: Set<Subscription>,
  ): void {
    const { kind, ackedAt, bytes } = publication
    if (ackedAt === Infinity || bytes === 0) return
    const owing = matching.find((subscription) => owes(subscription, publication))
    if (!owing) return
    if (kind === 'probe') missed.add(owing)
    else this.#find(kind === 'will' ? 'will lost' : 'lost', about(publication, subscriber))
  }

  #find(kind: Finding['kind'], what: string): void {
    this.findings.push({ kind, what })
  }
}

/** Did a subscription that matches stand from before it was first sent until the broker had chosen whom it is for? */
function owes({ grantedAt, leavingAt }: Subscription, publication: Publication): boolean {
  return grantedAt < publication.sentAt && lastAt(publication) <= leavingAt
}

/** By then the broker has chosen whom it is for; a will may wait for its delay or for the broker. */
function lastAt({ kind, ackedAt }: Publication): number {
  return kind === 'will' ? Infinity : ackedAt
}

function about({ number, topic, qos, publisher }: Publication, { id }: Subscriber): string {
  return `m${number} (${topic}, QoS ${qos}) from ${publisher} to ${id}`
}
