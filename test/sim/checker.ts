import type { Delivery, Epoch, Interval } from './history.ts'
import { certain, feeding, isShared, movedTo, possible, retainedFor } from './judge.ts'
import type { Publication } from './publication.ts'
import type { World } from './world.ts'

/**
 * Judges a world that has come to rest, by what its clients have seen: nobody may have got what was not meant for it, and
 * everybody must have got what was. What the broker may have done between a request and its answer counts as 'maybe'.
 */
export class Checker {
  readonly #world: World
  /** From this publication on all was quiet: QoS 0 counts too. */
  readonly #quietFrom: number
  /** A hook takes its time over wills: a broker that falls meanwhile has forgotten them. */
  readonly #forgetsWills: boolean

  constructor(world: World, quietFrom: number, hooksAreSlow = false) {
    this.#world = world
    this.#quietFrom = quietFrom
    this.#forgetsWills = hooksAreSlow && world.history.falls.length > 0
  }

  check(): void {
    const { publications, epochs } = this.#world.history
    for (const epoch of epochs) {
      const copies = new Map<Publication, Delivery[]>()
      for (const delivery of epoch.deliveries) {
        this.#allowed(epoch, delivery)
        const { publication } = delivery
        if (!publication) continue
        const known = copies.get(publication)
        if (known) known.push(delivery)
        else copies.set(publication, [delivery])
      }
      for (const [publication, deliveries] of copies) this.#notTooMany(epoch, publication, deliveries)
      this.#inOrder(epoch)
      this.#neverStale(epoch)
      if (!epoch.alive) continue
      for (const publication of publications) this.#arrived(epoch, publication, copies.get(publication))
      for (const interval of epoch.intervals) this.#fed(epoch, interval)
    }
    for (const publication of publications) {
      if (isShared(publication.topic) && publication.id !== '') this.#shared(publication)
      this.#answer(publication)
    }
  }

  /** A delivery must have a subscription that explains it, flag by flag. */
  #allowed(epoch: Epoch, delivery: Delivery): void {
    const { publication } = delivery
    if (!publication) return this.#clearAllowed(epoch, delivery)
    const about = this.#about(epoch, publication)
    if (publication.refused) this.#blame('refused message delivered', about)
    if (publication.isWithdrawn) this.#blame('MQTT-3.14.4-3', `a will that was taken back was delivered: ${about}`)
    if (publication.topic !== delivery.topic) this.#blame('topic', `${about} came on ${delivery.topic}`)
    const live = this.#sources(epoch, publication, delivery.seq)
    const feeds = delivery.retain ? feeding(epoch, delivery, this.#world.history.publications) : []
    const sources = this.#retainRight(delivery, live, feeds, about)
    const most = Math.max(...sources.map(({ qos }) => Math.min(qos, publication.qos)))
    if (delivery.qos > most) this.#blame('MQTT-3.8.4-8', `${about} came with QoS ${delivery.qos}, ${most} at most`)
    if (!isShared(publication.topic)) this.#mergedRight(epoch, delivery, publication, sources, about)
    this.#propertiesRight(epoch, delivery, publication, about)
    // QoS 0 is never kept, so nothing of it is left when UNSUBACK goes out.
    if (delivery.qos === 0 && sources.every(({ maybeTo }) => maybeTo < delivery.seq))
      this.#blame('MQTT-3.10.4-3', `${about} came after UNSUBACK`)
  }

  /** Retain as published, or a retained message that a subscription brought [MQTT-3.3.1-8, -12, -13]. */
  #retainRight(delivery: Delivery, live: Interval[], feeds: Interval[], about: string): Interval[] {
    const { retain } = delivery.publication!
    const asPublished = live.filter(({ retainAsPublished }) => retainAsPublished)
    if (delivery.retain) {
      if (!retain) this.#blame('MQTT-3.3.1-13', `${about} came as retained`)
      const sources = [...feeds, ...(asPublished.length > 0 ? live : [])]
      if (sources.length > 0) return sources
      this.#blame('not subscribed', `${about} came as retained`)
    }
    if (live.length === 0) this.#blame('not subscribed', about)
    return live
  }

  /** One copy for all overlapping subscriptions: the highest QoS, all subscription ids [MQTT-3.3.4-2, -3]. */
  #mergedRight(epoch: Epoch, delivery: Delivery, publication: Publication, sources: Interval[], about: string): void {
    const ids = delivery.subscriptionIds
    const strange = ids.find((id) => !sources.some(({ subscriptionId }) => subscriptionId === id))
    if (strange !== undefined) this.#blame('MQTT-3.3.4-3', `${about} came with subscription id ${strange}`)
    if (delivery.retain) return
    for (const interval of certain(epoch, publication, delivery.seq)) {
      const { subscriptionId, qos, retainAsPublished } = interval
      if (subscriptionId > 0 && !ids.includes(subscriptionId))
        this.#blame('MQTT-3.3.4-3', `${about} came without subscription id ${subscriptionId}`)
      if (delivery.qos < Math.min(qos, publication.qos))
        this.#blame('MQTT-3.3.4-2', `${about} came with QoS ${delivery.qos} in spite of ${interval.name}`)
      if (publication.retain && retainAsPublished) this.#blame('MQTT-3.3.1-13', `${about} came as not retained`)
    }
  }

  #propertiesRight(epoch: Epoch, delivery: Delivery, publication: Publication, about: string): void {
    const both = epoch.client.options.version === 5 && publication.by.options.version === 5 && !publication.isWill
    if (delivery.contentType !== (both ? publication.contentType : ''))
      this.#blame('MQTT-3.3.2-20', `${about} came with content type "${delivery.contentType}"`)
    const { expirySeconds } = publication
    if (publication.by.options.version < 5 || expirySeconds < 0 || publication.isWill) {
      if (delivery.expirySeconds >= 0) this.#blame('MQTT-3.3.2-6', `${about} came with an expiry`)
      return
    }
    if (both && (delivery.expirySeconds > expirySeconds || delivery.expirySeconds < 0))
      this.#blame('MQTT-3.3.2-6', `${about} came with expiry ${delivery.expirySeconds} of ${expirySeconds}`)
    if (delivery.dup) return
    // It may have stood in a stalled socket's way for a while.
    const lateMs = delivery.leftMs - publication.ackedMs - expirySeconds * 1000
    if ((both && delivery.expirySeconds === 0) || lateMs > 5000)
      this.#blame('MQTT-3.3.2-5', `${about} came ${lateMs} ms after it had expired`)
  }

  /** The subscriptions that may have brought a message, as it was published or from a member of a group that has gone. */
  #sources(epoch: Epoch, publication: Publication, seq: number): Interval[] {
    const live = possible(epoch, publication, seq)
    return isShared(publication.topic)
      ? [...live, ...movedTo(epoch, publication, seq, this.#world.history.epochs)]
      : live
  }

  #clearAllowed(epoch: Epoch, { topic, seq }: Delivery): void {
    const { publications } = this.#world.history
    const clears = publications.filter((publication) => publication.id === '' && publication.topic === topic)
    if (!clears.some((clear) => this.#sources(epoch, clear, seq).length > 0))
      this.#blame('not subscribed', `an empty message on ${topic} came to ${epoch.client.options.id}`)
  }

  #notTooMany(epoch: Epoch, publication: Publication, deliveries: readonly Delivery[]): void {
    if (isShared(publication.topic)) return
    const about = this.#about(epoch, publication)
    const most = publication.qos === 1 || this.#isForgotten(publication) ? publication.sends : 1
    const last = deliveries[deliveries.length - 1]!
    const feeds = feeding(epoch, last, this.#world.history.publications)
    const asRetained = most + feeds.length
    // One subscription brings a message as it is published, or as what was retained before: never both.
    const sources = new Set([...possible(epoch, publication, last.seq), ...feeds])
    const fresh = deliveries.filter((delivery) => this.#isFresh(delivery, deliveries))
    if (sources.size === 1 && fresh.length > most) this.#blame('twice', `${about} came live and as retained`)
    for (const retain of [false, true]) {
      const alike = deliveries.filter((delivery) => delivery.retain === retain)
      const allowed = retain ? asRetained : most
      const fresh = alike.filter((delivery) => this.#isFresh(delivery, alike)).length
      if (fresh > allowed) this.#blame('MQTT-3.3.1-1', `${about} came ${fresh} times without DUP, ${allowed} at most`)
      const exact = alike.filter(({ qos, repeated, rejected }) => qos === 2 && !repeated && !rejected).length
      if (exact > (retain ? 1 + feeds.length : 1))
        this.#blame('exactly once', `${about} came ${exact} times with QoS 2`)
    }
  }

  /**
   * Does it claim to come for the first time? A broker that has fallen does not know how far its sessions had got: it
   * marks what was in flight, but a window whose acknowledgements are forgotten may have moved on.
   */
  #isFresh({ dup, repeated, qos, leftMs, publication }: Delivery, others: readonly Delivery[]): boolean {
    if (dup || repeated) return false
    const { falls } = this.#world.history
    // A will that has fired with QoS 0 has left no trace, and fires again.
    return (
      (qos === 0 && !publication?.isWill) ||
      !others.some((other) => falls.some(({ ms }) => other.leftMs <= ms && ms < leftMs))
    )
  }

  /** Was it sent, and not acknowledged, when a broker fell? What is not asked to come exactly once may have come before. */
  #isForgotten({ sentSeq, ackedSeq }: Publication): boolean {
    return this.#world.history.falls.some(({ seq }) => sentSeq <= seq && seq < ackedSeq)
  }

  /** A retained message never comes behind one that has replaced it: the last word on a topic is the newest. */
  #neverStale(epoch: Epoch): void {
    const newest = new Map<string, Publication>()
    const { falls } = this.#world.history
    for (const { publication, topic, qos, retain, dup, seq } of epoch.deliveries) {
      if (!publication?.retain || publication.sends > 1 || publication.isWill || dup || isShared(topic)) continue
      const lane = `${this.#world.clients.indexOf(publication.by)} ${topic} ${qos}`
      const before = newest.get(lane)
      // One that was not acknowledged before a fall is perhaps forgotten, and what stood before it holds again.
      const isForgotten = falls.some(
        (fall) => before && before.sentSeq <= fall.seq && fall.seq < Math.min(seq, before.ackedSeq),
      )
      if (before === undefined || isForgotten || before.number <= publication.number) newest.set(lane, publication)
      else if (retain) this.#blame('stale', `${this.#about(epoch, publication)} came behind m${before.number}`)
    }
  }

  /** First deliveries of a publisher's messages come in its order, for each topic and QoS [MQTT-4.6.0-5, -6]. */
  #inOrder(epoch: Epoch): void {
    const last = new Map<string, number>()
    const seen = new Set<Publication>()
    for (const { publication, qos, retain, topic, seq } of epoch.deliveries) {
      if (!publication || publication.isWill || isShared(topic) || seen.has(publication)) continue
      seen.add(publication)
      if (retain) continue
      // One that was sent twice may have missed the subscriber the first time.
      if (publication.sends > 1 && !this.#cameFirstTime(epoch, publication, qos, seq)) continue
      const lane = `${this.#world.clients.indexOf(publication.by)} ${topic} ${publication.qos} ${qos}`
      const before = last.get(lane) ?? -1
      if (publication.number < before)
        this.#blame('MQTT-4.6.0-5', `${this.#about(epoch, publication)} came behind m${before}`)
      last.set(lane, publication.number)
    }
  }

  #cameFirstTime(epoch: Epoch, publication: Publication, qos: number, seq: number): boolean {
    const lost = this.#world.losses.some(({ id }) => id === publication.id)
    return qos > 0 && !lost && certain(epoch, publication, seq).some((interval) => interval.qos >= qos)
  }

  /** What was acknowledged must have reached every session that surely wanted it. */
  #arrived(epoch: Epoch, publication: Publication, copies: readonly Delivery[] | undefined): void {
    const { id, topic, qos } = publication
    const isQuiet = publication.number >= this.#quietFrom
    if (id === '' || publication.refused || isShared(topic)) return
    if (publication.isWill ? !publication.isDue || this.#forgetsWills : publication.ackedSeq === Infinity && !isQuiet)
      return
    const intervals = certain(epoch, publication, Infinity)
    if (intervals.length === 0) return
    const granted = Math.min(qos, Math.max(...intervals.map((interval) => interval.qos)))
    const about = this.#about(epoch, publication)
    const clientId = epoch.client.options.id
    const recorded = !epoch.persistent || this.#world.records.recordedFor(id, clientId)
    if (granted > 0 && !publication.isWill && !recorded && !this.#excused(epoch, publication))
      this.#blame('not recorded', `${about} was acknowledged`)
    if (copies || (granted === 0 && !isQuiet)) return
    const lost = publication.isWill ? 'will lost' : granted > 0 ? `QoS ${granted} lost` : 'QoS 0 lost in quiet'
    if (!this.#excused(epoch, publication)) this.#blame(lost, about)
  }

  /** A subscription must have brought what was retained when it was made [MQTT-3.3.1-9, -10]. */
  #fed(epoch: Epoch, interval: Interval): void {
    // What a broker has not handed out when it falls, it does not know of afterwards.
    if (this.#world.history.falls.some(({ seq }) => interval.maybeFrom <= seq)) return
    for (const publication of retainedFor(epoch, interval, this.#world.history.publications)) {
      const came = epoch.deliveries.some(
        (delivery) => delivery.publication === publication && delivery.seq >= interval.maybeFrom,
      )
      const full = this.#world.losses.some(({ id, reason }) => id === publication.id && reason === 'retained-full')
      if (!came && !full && !this.#excused(epoch, publication))
        this.#blame('retained message lost', `${this.#about(epoch, publication)}, in spite of ${interval.name}`)
    }
  }

  /** Does the broker admit the loss, and is its reason good? */
  #excused(epoch: Epoch, publication: Publication): boolean {
    const { losses, limits } = this.#world
    const { client } = epoch
    return losses.some(({ reason, clientId, id }) => {
      // What is on disk only is not read again to be named.
      const isNamed = id === publication.id || (id === '' && reason === 'expired')
      if (!isNamed || clientId !== client.options.id) return false
      if (reason === 'queue-full') return limits.queueMessages < 1000
      if (reason === 'expired') return publication.expirySeconds >= 0
      return reason === 'too-large' && publication.payload.length + 100 > client.options.maximumPacketBytes
    })
  }

  /** One member of each group gets it [MQTT-4.8.2-4]; another one only when the first one's session is over. */
  #shared(publication: Publication): void {
    const { epochs } = this.#world.history
    const groups = new Map<string, { members: Epoch[]; sure: boolean; qos: number }>()
    const deliveries: Delivery[] = []
    for (const epoch of epochs) {
      const sure = epoch.alive ? certain(epoch, publication, Infinity) : []
      for (const interval of possible(epoch, publication, Infinity)) {
        const group = groups.get(interval.name) ?? { members: [], sure: false, qos: 2 }
        groups.set(interval.name, group)
        group.members.push(epoch)
        group.qos = Math.min(group.qos, interval.qos, publication.qos)
        if (sure.includes(interval)) group.sure = true
      }
      deliveries.push(...epoch.deliveries.filter((delivery) => delivery.publication === publication))
    }
    const about = `m${publication.number} on ${publication.topic}`
    const ended = [...groups.values()].flatMap(({ members }) => members.filter(({ alive }) => !alive)).length
    const sends = publication.qos === 1 || this.#isForgotten(publication) ? publication.sends : 1
    const fresh = deliveries.filter((delivery) => this.#isFresh(delivery, deliveries)).length
    if (fresh > (groups.size + ended) * sends)
      this.#blame('MQTT-4.8.2-4', `${about} came ${fresh} times for ${groups.size} groups`)
    const exact = deliveries.filter(({ qos, repeated, rejected }) => qos === 2 && !repeated && !rejected).length
    if (exact > groups.size * sends) this.#blame('exactly once', `${about} came ${exact} times with QoS 2`)
    const isQuiet = publication.number >= this.#quietFrom
    if (publication.ackedSeq === Infinity && !isQuiet) return
    const owed = [...groups.values()].filter(
      ({ members, sure, qos }) => sure && (qos > 0 || isQuiet) && members.every(({ alive }) => alive),
    )
    const mayExpire = publication.expirySeconds >= 0
    const excused = this.#world.losses.some(
      ({ id, reason }) => id === publication.id || (mayExpire && id === '' && reason === 'expired'),
    )
    const least = isQuiet ? owed.length : Math.min(1, owed.length)
    if (deliveries.length < least && !excused)
      this.#blame('shared message lost', `${about} came ${deliveries.length} times for ${least} groups`)
  }

  /** "No matching subscribers" must be true. */
  #answer(publication: Publication): void {
    if (publication.ackedReason !== 0x10) return
    for (const epoch of this.#world.history.epochs)
      if (epoch.alive && certain(epoch, publication, Infinity).length > 0)
        this.#blame('MQTT-3.4.2-1', `"no matching subscribers" for ${this.#about(epoch, publication)}`)
  }

  #about(epoch: Epoch, { number, topic, qos, by }: Publication): string {
    return `m${number} (${topic}, QoS ${qos}) from ${by.options.id} to ${epoch.client.options.id}`
  }

  #blame(rule: string, what: string): never {
    this.#world.blame(rule, what)
  }
}
