import type { Came, Interval, Life, Sent } from './chronicle.ts'
import { isShared, matches } from './chronicle.ts'
import { lasting } from './roamer.ts'
import type { Town } from './town.ts'

/** Expiry counts in seconds, and begins anew on each way, which takes some time. */
const slackMs = 3000

/** Judges what the clients of a town have seen, once all nodes are back and nothing is under way. */
export class Checker {
  readonly #town: Town

  constructor(town: Town) {
    this.#town = town
  }

  check(): void {
    const { lives, sent } = this.#town.chronicle
    for (const life of lives) {
      this.#explained(life)
      if (life.shaky) continue
      this.#once(life)
      this.#inOrder(life)
    }
    for (const publication of sent) {
      if (isShared(publication.topic)) this.#reachedGroups(publication)
      else this.#reached(publication)
    }
    this.#retainedRight()
  }

  /** Nobody gets what he did not ask for, or what was taken back. */
  #explained(life: Life): void {
    for (const { sent, topic, seq, ms, dup } of life.came) {
      if (sent?.isWithdrawn) this.#blame('MQTT-3.14.4-3', `a will that was taken back came: ${about(life, sent)}`)
      // What stands still on its way does not know of the time.
      if (sent?.expirySeconds !== undefined && !dup)
        if (ms > sent.lastMs + sent.expirySeconds * 1000 + slackMs && !this.#town.stoodStill(sent.lastMs, ms))
          this.#blame('expired', `${about(life, sent)} came ${Math.round(ms - sent.lastMs)} ms after it was sent`)
      const asked = (one: Life) =>
        one.intervals.some(({ filter, maybeFrom }) => maybeFrom <= seq && matches(filter, topic))
      const others = life.roamer.town.chronicle.lives.filter(({ roamer }) => roamer === life.roamer)
      if (!asked(life) && !(life.shaky && others.some(asked)) && !isLate(life.before, sent))
        this.#blame('not subscribed', `something on ${topic} came to ${nameOf(life)}`)
    }
  }

  /** QoS 2 comes once; QoS 1 comes twice only where its publisher has sent it twice, or somebody fell. */
  #once(life: Life): void {
    const copies = new Map<Sent, Came[]>()
    for (const came of life.came) {
      if (came.sent === undefined || came.retain || came.repeated || isShared(came.topic)) continue
      const known = copies.get(came.sent)
      if (known) known.push(came)
      else copies.set(came.sent, [came])
    }
    for (const [sent, all] of copies) {
      const exact = all.filter(({ qos }) => qos === 2).length
      // Whoever has two sessions that know nothing of each other says it to both.
      const { losses } = this.#town
      const isTwofold =
        (sent.life.shaky && sent.sends > 1) || !this.#town.survives(sent) || losses.broughtBack.has(sent)
      if (exact > 1 && !isTwofold) this.#blame('exactly once', `${about(life, sent)} came ${exact} times`)
      const fresh = all.filter(({ dup, qos }) => !dup && qos === 1).length
      if (this.#town.falls === 0 && !isTwofold && fresh > (sent.qos === 1 ? sent.sends : 1))
        this.#blame('MQTT-3.3.1-1', `${about(life, sent)} came ${fresh} times without DUP`)
    }
  }

  /** First deliveries of what a publisher has sent to one topic, by one node. */
  #inOrder(life: Life): void {
    const last = new Map<string, Sent>()
    const seen = new Set<Sent>()
    for (const { sent, qos, retain, topic } of life.came) {
      if (sent === undefined || sent.isWill || retain || isShared(topic) || seen.has(sent)) continue
      seen.add(sent)
      if (sent.sends > 1 || qos === 0) continue
      const lane = `${sent.life.number} ${topic} ${[...sent.nodes].join()} ${sent.qos} ${qos}`
      const before = last.get(lane)
      if (before && before.number > sent.number && !this.#tookTwoWays(life, sent, before))
        this.#blame('order', `${about(life, sent)} came behind ${before.id}`)
      last.set(lane, sent)
    }
  }

  /** The session moved while nothing passed: what waited for its old node comes when that one can be reached, behind what came straight. */
  #tookTwoWays({ homes }: Life, earlier: Sent, later: Sent): boolean {
    return homes.size > 1 && this.#town.stoodStill(earlier.sentMs, later.sentMs)
  }

  #reached(sent: Sent): void {
    if (!this.#isPromised(sent)) return
    for (const interval of sent.must) {
      if (!holds(interval)) continue
      if (cameTo(interval.life, sent) || this.#town.losses.had(sent, interval.life)) continue
      const what = sent.isWill ? 'will lost' : `QoS ${sent.qos} lost`
      this.#blame(what, `${about(interval.life, sent)}, in spite of ${interval.name}`)
    }
  }

  #reachedGroups(sent: Sent): void {
    if (sent.isEmpty) return
    const { lives } = this.#town.chronicle
    const got = lives.filter(({ came }) => came.some((copy) => copy.sent === sent))
    const groups = new Set(sent.must.filter(holds).map(({ group }) => group))
    for (const group of this.#isPromised(sent) ? groups : []) {
      const isMember = ({ intervals }: Life) => intervals.some((interval) => interval.group === group)
      const some = got.some(({ roamer }) => lives.some((life) => life.roamer === roamer && isMember(life)))
      if (!some && !this.#town.losses.hadOf(sent, group!))
        this.#blame('group missed', `${sent.id} on ${sent.topic} came to nobody of ${group}`)
    }
    if (sent.qos < 2) return
    for (const group of ['g', 'h']) {
      const members = got.filter(({ shaky, intervals }) => !shaky && intervals.every((one) => one.group === group))
      const copies = members.flatMap(({ came }) => came.filter((copy) => copy.sent === sent && !copy.repeated))
      const exact = copies.filter(({ qos }) => qos === 2).length
      if (exact > 1 && members.every(({ alive }) => alive))
        this.#blame('group twice', `${sent.id} on ${sent.topic} came ${exact} times to ${group}`)
    }
  }

  #isPromised(sent: Sent): boolean {
    if (sent.isEmpty || sent.refused || !this.#town.survives(sent)) return false
    if (sent.expirySeconds !== undefined && sent.expirySeconds < lasting) return false
    return sent.isWill
      ? sent.isDue && !sent.isWithdrawn && !this.#town.losses.wills.has(sent)
      : sent.ackedSeq < Infinity
  }

  /** What is retained in the end is nothing that was surely replaced. */
  #retainedRight(): void {
    const { chronicle, hasSkew, losses, present } = this.#town
    if (hasSkew) return
    const [node] = present
    const { retained } = this.#town.machine(node!).broker
    const sets = chronicle.sent.filter(({ retain, refused }) => retain && !refused)
    for (const topic of new Set(sets.map((sent) => sent.topic))) {
      const here = retained.get(topic)
      const payload = here && Buffer.from(here.payload())
      const alike = (sent: Sent) => (payload === undefined ? sent.isEmpty : sent.payload.equals(payload))
      const all = sets.filter((sent) => sent.topic === topic)
      const candidates = all.filter(alike)
      const newer = all.filter(
        (sent) =>
          !alike(sent) &&
          sent.ackedSeq < Infinity &&
          !sent.isWill &&
          this.#town.survives(sent) &&
          !losses.retained.has(sent) &&
          !(sent.isEmpty && candidates.some((candidate) => losses.broughtBack.has(candidate))),
      )
      const isReplaced = (sent: Sent, by: Sent) =>
        sent.sends === 1 && !sent.isWill && by.sentSeq > sent.ackedSeq && by.sentMs > sent.sentMs + 5
      const why = newer.find((by) => candidates.every((sent) => isReplaced(sent, by)))
      if (why) this.#blame('stale retained', `${why.id} on ${topic} was replaced by what came before it`)
    }
  }

  #blame(rule: string, what: string): never {
    return this.#town.blame(rule, what)
  }
}

/** What waits for a node that is away is for those who still want it when it is back. */
function holds({ life, certainTo }: Interval): boolean {
  if (certainTo !== Infinity || life.shaky) return false
  return life.alive || life.heir !== undefined
}

/** To this session, or to what took its place. */
function cameTo(life: Life, sent: Sent): boolean {
  for (let one: Life | undefined = life; one; one = one.heir) {
    if (one.came.some((copy) => copy.sent === sent)) return true
    // Its client has ended it.
    if (!one.alive && one.heir === undefined) return true
  }
  return false
}

/** Is it from the time of a session that was lost? */
function isLate(lost: Life | undefined, sent: Sent | undefined): boolean {
  if (lost === undefined || sent === undefined) return false
  const { sentSeq, topic } = sent
  const wanted = lost.intervals.some(
    ({ filter, maybeFrom, certainTo }) => maybeFrom <= sentSeq && sentSeq <= certainTo && matches(filter, topic),
  )
  return wanted || isLate(lost.before, sent)
}

function nameOf({ roamer, number }: Life): string {
  return `${roamer.options.id} (life ${number})`
}

function about(life: Life, { id, qos, topic, nodes, isWill }: Sent): string {
  return `${isWill ? 'will ' : ''}${id} (QoS ${qos}, ${topic}, from ${[...nodes].join()}) to ${nameOf(life)}`
}
