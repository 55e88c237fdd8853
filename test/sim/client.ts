import { type ClientOptions, connectPacket, type ConnectWish } from './connecting.ts'
import type { Dice } from './dice.ts'
import { Flights } from './flights.ts'
import type { Epoch, History, Wish } from './history.ts'
import type { Link } from './link.ts'
import type { Publication } from './publication.ts'
import { Receiver } from './receiver.ts'
import type { Records } from './records.ts'
import { type FilterWish, Subscriber } from './subscriber.ts'
import type { Time } from './time.ts'
import { type Received, Wire, type WireEars } from './wire.ts'

/** What a client lives in. */
export interface ClientParts {
  readonly time: Time
  readonly dice: Dice
  readonly history: History
  readonly records: Records
  /** Opens a connection to the broker, and gives the wire its link. */
  readonly dial: (wire: Wire, clientId: string) => void
  /** Is there a broker to connect to? */
  readonly isUp: () => boolean
  /** Does the broker send everybody away? */
  readonly isDraining: () => boolean
  /** Says that the broker has broken a rule; the world ends here. */
  readonly blame: (rule: string, what: string) => never
}

/** After so long beyond its expiry a session must be gone: two ticks of the wheel, a late clock, and some air. */
const expirySlackMs = 3000

/** A correct MQTT client: what it does is up to others, how it does it is the standard's. */
export class Client implements WireEars {
  readonly options: ClientOptions
  readonly flights: Flights
  readonly receiver: Receiver
  readonly subscriber: Subscriber
  epoch: Epoch
  wire: Wire | undefined = undefined
  /** Another client has taken its client id: it does not come back. */
  robbed = false
  /** The will of the connection at hand. */
  will: Publication | undefined = undefined
  /** Called when its connection has closed. */
  onClosed: () => void = () => {}
  /** QoS 1 and 2 messages that the broker takes unacknowledged. */
  window = 0
  readonly #parts: ClientParts
  #wantsClean = false
  #leaving = false
  #delaysWill = false
  /** Its last DISCONNECT asked for the end of the session; and the broker has read that. */
  #endsSession = false
  #hasEnded = false
  /** What had been recorded when CONNECT went out. */
  #since = 0
  /** CONNECTs since the last CONNACK. */
  #attempts = 0
  /** It had a CONNACK, so there was a session. */
  #known = false
  /** Since when the broker may have counted the session as offline; Infinity while that cannot be. */
  #offlineMs = Infinity
  /** Those before the one at hand. */
  readonly #links: Link[] = []
  #stopPings: (() => void) | undefined = undefined

  constructor(options: ClientOptions, parts: ClientParts) {
    this.options = options
    this.#parts = parts
    this.flights = new Flights(parts, options.id, options.version)
    this.receiver = new Receiver(parts, options)
    this.subscriber = new Subscriber(parts, options.id, options.version)
    this.epoch = parts.history.epoch(this, options.expirySeconds > 0)
  }

  get online(): boolean {
    return this.wire?.accepted === true && !this.wire.deaf && !this.wire.link.isFinished
  }

  /** Nothing of it is under way. */
  get settled(): boolean {
    return this.flights.size === 0 && this.subscriber.size === 0 && !this.receiver.busy
  }

  connect({ clean, will, inHaste }: ConnectWish): void {
    const { id, version, expirySeconds } = this.options
    this.vanish()
    // A clean session of 3.x ends with its connection, so one that persists never starts clean.
    this.#wantsClean ||= expirySeconds === 0 || (clean && version === 5)
    if (!this.#parts.isUp()) return void this.#parts.time.after(10, () => this.onClosed())
    this.#leaving = false
    if (this.wire) this.#links.push(this.wire.link)
    this.#attempts++
    const wire = (this.wire = new Wire(version, this))
    // What the broker takes it says with CONNACK; until then the client is careful.
    this.window = 2
    this.#parts.dial(wire, id)
    this.receiver.restart()
    this.subscriber.restart()
    if (this.#wantsClean || (!this.epoch.persistent && this.options.expirySeconds > 0)) this.#newEpoch()
    this.will = will && this.#parts.history.publication(this, will)
    this.#delaysWill = version === 5 && will !== undefined && will.delaySeconds > 0
    this.#since = this.#parts.records.mark
    wire.send(connectPacket(this.options, this.#wantsClean, will, this.will?.payload))
    if (this.#wantsClean) inHaste?.()
  }

  /** Publishes, if the broker's window has room. */
  publish(wish: Wish): void {
    if (!this.wire || (wish.qos > 0 && this.flights.size >= this.window)) return
    this.flights.publish(this.wire, this.#parts.history.publication(this, wish))
  }

  subscribe(wishes: readonly FilterWish[], subscriptionId: number): void {
    if (this.wire && this.subscriber.size < 10) this.subscriber.subscribe(this.wire, this.epoch, wishes, subscriptionId)
  }

  unsubscribe(names: readonly string[]): void {
    if (this.wire && this.subscriber.size < 10) this.subscriber.unsubscribe(this.wire, this.epoch, names)
  }

  /** Says goodbye. The will is taken back, unless `withWill`; the session goes on, unless `endsSession` (v5). */
  disconnect({ withWill = false, endsSession = false } = {}): void {
    const wire = this.wire
    if (!wire || wire.deaf) return
    const v5 = this.options.version === 5
    // 3.x has no way to say goodbye and leave the will in force.
    this.#leaving = !withWill || !v5
    this.#endsSession = endsSession && v5
    wire.link.break()
    wire.send({
      cmd: 'disconnect',
      ...(v5 && { reasonCode: withWill ? 4 : 0, ...(endsSession && { properties: { sessionExpiryInterval: 0 } }) }),
    })
    wire.deaf = true
    wire.link.finish()
    this.#down()
  }

  /** Another client takes its client id, and its session ends sooner or later. */
  loseId(): void {
    this.robbed = true
    this.epoch.alive = false
    for (const interval of this.epoch.intervals) interval.certainTo = Math.min(interval.certainTo, this.#parts.time.seq)
  }

  /** Ends its half of the connection without a word, and still listens. */
  hangUp(): void {
    this.wire?.link.finish()
    this.#down()
  }

  /**
   * The broker has fallen. What nobody was told is on disk it may have forgotten: a goodbye, too.
   * @param lost what it may have forgotten, as `Records` names it
   * @param sinceMs since when it may believe, once it is back, that the client is gone
   */
  brokerFell(lost: ReadonlySet<string>, sinceMs: number): void {
    const { id } = this.options
    this.#offlineMs = Math.min(this.#offlineMs, sinceMs)
    if (!lost.has(`session ${id}`) && !lost.has(`ended ${id}`)) return
    this.#hasEnded = false
    for (const publication of this.#parts.history.publications)
      if (publication.by === this) publication.isWithdrawn = false
  }

  /** Leaves the connection lying there: the broker learns nothing. */
  vanish(): void {
    const wire = this.wire
    if (!wire || wire.isClosed) return
    if (!wire.deaf) this.#leaving = false
    wire.deaf = true
    wire.link.vanish()
    this.#down()
  }

  // ── what comes ─────────────────────────────────────────────────────────────────────────────────────────────────

  packet(wire: Wire, packet: Received): void {
    switch (packet.cmd) {
      case 'connack':
        return this.#accepted(wire, packet)
      case 'publish':
        return this.receiver.publish(wire, packet, this.epoch)
      case 'pubrel':
        return this.receiver.pubrel(wire, packet)
      case 'puback':
        return this.flights.puback(wire, packet)
      case 'pubrec':
        return this.flights.pubrec(wire, packet)
      case 'pubcomp':
        return this.flights.pubcomp(wire, packet, this.epoch.persistent)
      case 'suback':
      case 'unsuback':
        return this.subscriber.answered(wire, this.epoch, packet)
      case 'pingresp':
        return
      case 'disconnect':
        if (this.robbed && packet.reasonCode === 0x8e) return
        if (this.#parts.isDraining() && packet.reasonCode === 0x8b) return
        return this.blame('sent away', `DISCONNECT 0x${packet.reasonCode?.toString(16)} to ${this.options.id}`)
      default:
        return this.blame('unexpected', `${packet.cmd} to ${this.options.id}`)
    }
  }

  closed(wire: Wire): void {
    const { wasCut, isFinished, isRead } = wire.link
    if (wire === this.wire && !wasCut && !this.robbed) {
      if (this.#leaving && isRead && this.will) this.will.isWithdrawn = true
      if (this.#endsSession && isRead) this.#hasEnded = true
      if (!isFinished && !this.#parts.isDraining())
        this.blame('closed', `the broker closed the connection of ${this.options.id}`)
    }
    wire.deaf = true
    if (wire !== this.wire) return
    this.#down()
    this.onClosed()
  }

  blame(rule: string, what: string): never {
    return this.#parts.blame(rule, what)
  }

  #accepted(wire: Wire, packet: Received): void {
    const { blame, records, time } = this.#parts
    const { id, version, expirySeconds } = this.options
    if (wire.accepted) blame('MQTT-3.2.0-2', `a second CONNACK to ${id}`)
    const code = version === 5 ? packet.reasonCode : packet.returnCode
    if (code !== 0) blame('CONNACK', `${code} to ${id}`)
    wire.accepted = wire.link.established = true
    if (this.epoch.persistent) {
      const lsn = records.changeLsn(`session ${id}`, this.#since)
      if (lsn === undefined || lsn >= wire.stamp.durable) blame('ack before durable', `CONNACK to ${id}`)
    }
    // MQTT 3.1 cannot say it: its clients go by what they know.
    const mayBeOver = this.#endsSession || time.now() - this.#offlineMs >= expirySeconds * 1000
    const present = version === 3 ? this.#known && !this.#wantsClean && !mayBeOver : packet.sessionPresent === true
    // A session may have run out, and a CONNECT whose answer was lost may have begun another one: better start clean.
    const mayBeNew = (this.#attempts > 1 || this.#hasGhost) && mayBeOver
    if (present && this.#known && mayBeNew) {
      this.#wantsClean = true
      return this.connect({ clean: true })
    }
    this.#checkPresent(present, wire.stamp.ms)
    if (!present) {
      if (!this.#wantsClean) this.#newEpoch()
      for (const epoch of this.#parts.history.epochs)
        if (epoch.client.options.id === id && epoch !== this.epoch && epoch.endSeq === Infinity) epoch.endSeq = time.seq
    }
    this.#wantsClean = expirySeconds === 0
    this.#known = this.epoch.persistent || expirySeconds === 0
    this.#attempts = 0
    this.#endsSession = this.#hasEnded = false
    wire.aliasMaximum = (packet.properties?.topicAliasMaximum as number | undefined) ?? 0
    this.#offlineMs = Infinity
    this.window = Math.min(20, (packet.properties?.receiveMaximum as number | undefined) ?? 20)
    if (present) this.flights.resume(wire)
    this.#stopPings = this.#pings(wire)
  }

  /** Has a CONNECT of its past, that a hook held up, outlived the connection before this one? */
  get #hasGhost(): boolean {
    const lastMs = this.#links.at(-1)?.overMs ?? Infinity
    return this.#links.slice(0, -1).some(({ overMs }) => overMs > lastMs)
  }

  /** Was the session where it should be? [MQTT-3.2.2-2, -3] */
  #checkPresent(present: boolean, saidMs: number): void {
    const { blame, time } = this.#parts
    const { id, expirySeconds } = this.options
    if (this.#wantsClean) {
      if (present) blame('MQTT-3.2.2-2', `a session present for ${id}, which wanted a clean start`)
      return
    }
    if (!this.#known) {
      if (present && this.#attempts === 1) blame('MQTT-3.2.2-2', `a session present for ${id}, which is new`)
      return
    }
    if (present && this.#hasEnded) blame('session kept', `${id} had asked for its end`)
    if (this.#endsSession) return
    const nowMs = time.now()
    if (!present && nowMs - this.#offlineMs < expirySeconds * 1000)
      blame('session lost', `${id} was offline for ${nowMs - this.#offlineMs} ms of ${expirySeconds} s`)
    const surelyMs = saidMs - (this.#links.at(-1)?.overMs ?? Infinity)
    if (present && surelyMs > expirySeconds * 1000 + expirySlackMs)
      blame('session kept', `${id} was offline for ${surelyMs} ms of ${expirySeconds} s`)
  }

  /** The session starts anew: what was in flight is nobody's any more. */
  #newEpoch(): void {
    this.epoch.alive = false
    const { version, expirySeconds } = this.options
    // A clean session of 3.x ends with its connection.
    this.epoch = this.#parts.history.epoch(this, expirySeconds > 0 && (version === 5 || !this.#wantsClean))
    this.flights.drop()
    this.receiver.drop()
  }

  #down(): void {
    this.#stopPings?.()
    // Without a goodbye the will fires, once the broker sees that the connection is gone [MQTT-3.1.2-8].
    if (this.will && this.wire?.accepted && !this.#leaving && !this.#delaysWill) this.will.isDue = true
    this.#offlineMs = Math.min(this.#offlineMs, this.wire?.link.brokenMs ?? Infinity)
  }

  #pings(wire: Wire): () => void {
    const { keepAliveSeconds } = this.options
    if (keepAliveSeconds === 0) return () => {}
    return this.#parts.time.every(keepAliveSeconds * 500, () => wire.send({ cmd: 'pingreq' }))
  }
}
