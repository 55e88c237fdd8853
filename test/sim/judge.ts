import { naiveMatches } from '../routing/naive.ts'
import type { Delivery, Epoch, Interval } from './history.ts'
import type { Publication } from './publication.ts'

const matches = new Map<string, boolean>()

function matchesTopic(filter: string, topic: string): boolean {
  const key = `${filter}\n${topic}`
  const known = matches.get(key)
  if (known !== undefined) return known
  const result = naiveMatches(filter, topic)
  matches.set(key, result)
  return result
}

export function isShared(topic: string): boolean {
  return topic.startsWith('s/')
}

/** Intervals of a session that may have brought a message as it was published, seen up to `seq`. */
export function possible(epoch: Epoch, publication: Publication, seq: number): Interval[] {
  const latest = Math.min(seq, publication.ackedSeq)
  if (publication.sentSeq > epoch.endSeq) return []
  return epoch.intervals.filter(
    (interval) =>
      interval.maybeFrom <= latest &&
      publication.sentSeq <= interval.maybeTo &&
      matchesTopic(interval.filter, publication.topic) &&
      !isOwn(epoch, interval, publication, true),
  )
}

/** Those that must have brought it: subscribed before it was sent, and still when its publisher had the answer. */
export function certain(epoch: Epoch, publication: Publication, seq: number): Interval[] {
  const latest = Math.min(seq, publication.ackedSeq)
  return epoch.intervals.filter(
    (interval) =>
      interval.certainFrom < publication.sentSeq &&
      (latest < interval.certainTo || interval.certainTo === Infinity) &&
      matchesTopic(interval.filter, publication.topic) &&
      !isOwn(epoch, interval, publication),
  )
}

/** Those that may have brought it as a retained message. */
export function feeding(epoch: Epoch, delivery: Delivery, all: readonly Publication[]): Interval[] {
  const { publication } = delivery
  if (!publication?.retain) return []
  return epoch.intervals.filter(
    (interval) =>
      interval.group === undefined &&
      interval.maybeFrom <= delivery.seq &&
      publication.sentSeq <= interval.maybeTo &&
      matchesTopic(interval.filter, publication.topic) &&
      !isOwn(epoch, interval, publication, true) &&
      asksRetained(epoch, interval) &&
      !all.some((later) => replaces(later, publication) && later.ackedSeq < interval.maybeFrom),
  )
}

/** What was surely retained when this subscription was made, and must have come with QoS 1 or 2 because of it. */
export function retainedFor(epoch: Epoch, interval: Interval, all: readonly Publication[]): Publication[] {
  const { group, qos, retainHandling, isNew, certainFrom, certainTo, maybeFrom, filter } = interval
  if (group !== undefined || qos === 0 || certainFrom === Infinity || certainTo < Infinity) return []
  if (retainHandling === 2 || (retainHandling === 1 && !isNew)) return []
  const sets = all.filter(({ retain, refused, isWithdrawn }) => retain && !refused && !isWithdrawn)
  return sets.filter(
    (set) =>
      set.id !== '' &&
      set.qos > 0 &&
      set.expirySeconds < 0 &&
      set.ackedSeq < maybeFrom &&
      matchesTopic(filter, set.topic) &&
      !isOwn(epoch, interval, set) &&
      sets.every((other) => other === set || other.topic !== set.topic || other.ackedSeq < set.sentSeq),
  )
}

/** Those of a shared group's member that may have got the message from a member whose session is over. */
export function movedTo(epoch: Epoch, publication: Publication, seq: number, epochs: readonly Epoch[]): Interval[] {
  const over = epochs.filter(({ alive }) => !alive).flatMap((ended) => possible(ended, publication, seq))
  return epoch.intervals.filter(
    ({ name, maybeFrom, maybeTo }) =>
      maybeFrom <= seq && publication.sentSeq <= maybeTo && over.some((interval) => interval.name === name),
  )
}

/** Was `publication` surely replaced, or cleared, once `later` was there? */
function replaces(later: Publication, publication: Publication): boolean {
  if (later.topic !== publication.topic || !later.retain || later.refused || later.isWill) return false
  if (later.sentSeq > publication.ackedSeq) return true
  // One that is sent twice may set it again.
  const once = publication.sends === 1 && !publication.isWill
  return once && later.by === publication.by && later.number > publication.number
}

/** Does retain handling let this SUBSCRIBE bring retained messages? */
function asksRetained(epoch: Epoch, interval: Interval): boolean {
  if (interval.retainHandling === 2) return false
  if (interval.retainHandling === 0) return true
  const { name, maybeFrom } = interval
  return !epoch.intervals.some(
    (known) => known.name === name && known.certainFrom < maybeFrom && known.certainTo === maybeFrom,
  )
}

/**
 * The client's own message, which a no-local subscription does not bring [MQTT-3.8.3-3]. The will of an earlier session
 * counts as own or not.
 */
function isOwn(epoch: Epoch, interval: Interval, publication: Publication, maybe = false): boolean {
  return interval.noLocal && publication.by.options.id === epoch.client.options.id && !(maybe && publication.isWill)
}
