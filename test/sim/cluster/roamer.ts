import type { NodeId } from '../../../src/cluster/peers.ts'
import { idOf } from '../publication.ts'
import { type Received, Wire, type WireEars } from '../wire.ts'
import type { Came, Interval, Life, Sent, SentWish } from './chronicle.ts'
import type { Town } from './town.ts'

export interface RoamerOptions {
  readonly id: string
  readonly version: 4 | 5
  /** 0: its session ends with its connection; `lasting`: never while the world lasts. */
  readonly expirySeconds: number
}

export const lasting = 100_000

export interface EnterWish {
  readonly clean: boolean
  readonly will?: SentWish & { readonly delaySeconds: number }
}

interface Flight {
  readonly packetId: number
  readonly sent: Sent
  released: boolean
}

interface Request {
  readonly cmd: 'suback' | 'unsuback'
  readonly intervals: readonly Interval[]
  readonly sentMs: number
  readonly witnesses: Witnesses
}

/** Who could hear of a change at a node, and how often the links to them had broken. */
type Witnesses = ReadonlyMap<NodeId, number>

/** A connection that was, from whose end on its session and its will had so much time. */
interface Former {
  readonly wire: Wire
  /** With a delay, and not taken back. */
  readonly will: Sent | undefined
  readonly willDelayMs: number
}

const windowMessages = 20
/** By then all nodes have heard of a session that has begun. */
const rumourMs = 200
/** What is to happen after a time happens within so much more. */
const tardyMs = 2500

/** A correct client that goes from node to node: what it does is up to others, how it does it is the standard's. */
export class Roamer implements WireEars {
  life: Life
  wire: Wire | undefined
  /** Where it is, or has tried to be. */
  node: NodeId = ''
  /** Times that it was not let in. */
  refusals = 0
  /** Its session is known to the cluster. */
  #known = false
  /** Its session is no part of any later one [MQTT-3.1.2-6]. */
  #passes = false
  #attempts = 0
  #wantsClean = false
  #leaving = false
  /** A CONNECT that wants a clean start is under way; one was given up. */
  #cleans = false
  #mayBeCleaned = false
  /** A CONNECT was given up: it may begin a session later than one that came after it, at another node. */
  #mayHaveBegun = false
  #will: Sent | undefined
  #willDelayMs = 0
  #former: Former | undefined
  #enteredMs = 0
  /** When it was let in last. */
  #letInMs = -Infinity
  #witnesses: Witnesses = new Map()
  readonly #flights = new Map<number, Flight>()
  readonly #unreleased = new Map<number, Sent | undefined>()
  readonly #requests = new Map<number, Request>()
  #lastId = 0
  #lastRequest = 100

  constructor(
    readonly options: RoamerOptions,
    readonly town: Town,
  ) {
    this.life = town.chronicle.life(this, this.isLasting)
  }

  get isLasting(): boolean {
    return this.options.expirySeconds === lasting
  }

  get online(): boolean {
    return this.wire?.accepted === true && !this.wire.deaf
  }

  get settled(): boolean {
    return this.online && this.#flights.size === 0 && this.#requests.size === 0
  }

  /** It waits for CONNACK. */
  get isEntering(): boolean {
    return this.wire !== undefined && !this.wire.deaf && !this.wire.accepted
  }

  // ── deeds ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Connects to a node, which must be up. @param ghostly the connection at hand is forgotten, and lives on */
  enter(node: NodeId, { clean, will }: EnterWish, ghostly = false): void {
    const { town, options } = this
    const { id, version, expirySeconds } = options
    if (this.wire?.accepted) this.#formerly(this.wire)
    this.abandon(ghostly)
    this.#wantsClean ||= clean || expirySeconds === 0
    this.#mayBeCleaned ||= this.#cleans
    this.#leaving = false
    this.#attempts++
    this.node = node
    this.#enteredMs = town.time.now()
    const wire = (this.wire = new Wire(version, this))
    town.dial(wire, id, node)
    this.#requests.clear()
    if (this.#wantsClean || this.#passes) this.#begin()
    this.#passes = false
    this.#cleans ||= this.#wantsClean
    // A CONNECT that was given up may come late, and end what began after it.
    this.life.shaky ||= this.#mayBeCleaned
    this.#will = will && town.chronicle.publication(this, will, true)
    this.#willDelayMs = version === 5 ? (will?.delaySeconds ?? 0) * 1000 : 0
    if (this.#will) this.#addressed(this.#will)
    this.#witnesses = this.#whoHears()
    wire.send({
      cmd: 'connect',
      clientId: id,
      protocolId: 'MQTT',
      protocolVersion: version,
      clean: this.#wantsClean,
      keepalive: 0,
      ...(version === 5 && { properties: { sessionExpiryInterval: expirySeconds } }),
      ...(will && {
        will: {
          ...{ topic: will.topic, qos: will.qos, retain: will.retain, payload: this.#will!.payload },
          ...(version === 5 && { properties: { willDelayInterval: will.delaySeconds } }),
        },
      }),
    })
  }

  publish(wish: SentWish): void {
    const { wire } = this
    if (!this.online || (wish.qos > 0 && this.#flights.size >= windowMessages)) return
    const sent = this.town.chronicle.publication(this, wish)
    if (wish.qos === 0) return this.#send(wire!, sent, 0, false)
    do this.#lastId = (this.#lastId % 40) + 1
    while (this.#flights.has(this.#lastId))
    this.#flights.set(this.#lastId, { packetId: this.#lastId, sent, released: false })
    this.#send(wire!, sent, this.#lastId, false)
  }

  subscribe(name: string, qos: 0 | 1 | 2, bringsRetained: boolean): void {
    if (!this.online) return
    const { life, node, town } = this
    this.#leaves(name)
    const [, group, filter] = /^\$share\/([^/]+)\/(.+)$/.exec(name) ?? []
    const interval: Interval = {
      ...{ life, name, filter: filter ?? name, group, qos, home: node, informed: new Set<NodeId>() },
      ...{ maybeFrom: town.time.seq, certainFrom: Infinity, certainTo: Infinity },
    }
    life.intervals.push(interval)
    town.tell(`${this.options.id} asks for ${name}, QoS ${qos}`)
    const messageId = this.#request('suback', [interval])
    const v5 = this.options.version === 5
    this.wire!.send({
      cmd: 'subscribe',
      messageId,
      subscriptions: [{ topic: name, qos, ...(v5 && { nl: false, rap: true, rh: bringsRetained ? 0 : 2 }) }],
    })
  }

  unsubscribe(name: string): void {
    if (!this.online) return
    this.town.tell(`${this.options.id} wants ${name} no more`)
    this.#leaves(name)
    this.wire!.send({ cmd: 'unsubscribe', messageId: this.#request('unsuback', []), unsubscriptions: [name] })
  }

  disconnect(endsSession = false): void {
    const { wire } = this
    if (!wire || wire.deaf) return
    this.#leaving = true
    const ends = endsSession && this.options.version === 5
    wire.send({ cmd: 'disconnect', ...(ends && { reasonCode: 0, properties: { sessionExpiryInterval: 0 } }) })
    wire.deaf = true
    wire.link.finish()
    this.#down()
    if (ends) this.#over()
  }

  /** Leaves the connection at hand, if there is one: it breaks, or nobody is told, or it goes on without anybody there. */
  abandon(ghostly = false): void {
    const { wire, town } = this
    if (!wire || wire.isClosed) return
    if (!wire.deaf) this.#leaving = false
    if (!wire.accepted) this.#mayHaveBegun = true
    const wasOpen = !wire.deaf
    wire.deaf = true
    if (ghostly) town.time.after(town.dice.between(0, 3000), () => wire.link.cut(false, true), true)
    else if (this.#cleans || !wire.accepted || town.dice.chance(0.6))
      wire.link.cut(town.dice.chance(0.5), town.dice.chance(0.5))
    else wire.link.vanish()
    if (wasOpen) this.#down()
  }

  /** A session began at a node: if that one could not know of what there was, there are two now. */
  began(node: NodeId): void {
    const { life } = this
    if (life.intervals.length > 0 && !life.intervals.some(({ informed }) => informed.has(node))) life.shaky = true
  }

  /** Its session is lost with the disk that it was on. */
  bereft(): void {
    const { life } = this
    this.#begin()
    this.life.before = life
    // There may be an older one of a race or a partition.
    this.life.shaky = life.shaky
    this.#known = false
    this.#mayHaveBegun = true
  }

  /** A node has given up the one where the session is: it has forgotten what it knew of it. */
  forgets(node: NodeId, home: NodeId): void {
    for (const interval of this.life.intervals) if (interval.home === home) interval.informed.delete(node)
  }

  /** Its node has fallen. */
  fell(node: NodeId): void {
    if (this.node !== node || !this.wire || this.wire.deaf) return
    this.wire.deaf = true
    this.#down()
  }

  // ── what comes ─────────────────────────────────────────────────────────────────────────────────────────────────

  packet(wire: Wire, packet: Received): void {
    switch (packet.cmd) {
      case 'connack':
        return this.#answered(wire, packet)
      case 'publish':
        return this.#came(wire, packet)
      case 'pubrel': {
        this.#unreleased.delete(packet.messageId)
        return wire.send({ cmd: 'pubcomp', messageId: packet.messageId })
      }
      case 'puback':
      case 'pubrec':
        return this.#acked(wire, packet)
      case 'pubcomp': {
        if (this.#flights.get(packet.messageId)?.released !== true) return this.blame('unknown ack', 'PUBCOMP')
        return void this.#flights.delete(packet.messageId)
      }
      case 'suback':
      case 'unsuback':
        return this.#subscribed(packet)
      case 'disconnect': {
        if (packet.reasonCode === 0x8e || packet.reasonCode === 0x9d) return
        return this.blame('sent away', `DISCONNECT 0x${packet.reasonCode?.toString(16)} to ${this.options.id}`)
      }
      default:
        return this.blame('unexpected', packet.cmd)
    }
  }

  closed(wire: Wire): void {
    if (this.#leaving && wire === this.wire && wire.link.isRead && this.#will) this.#will.isWithdrawn = true
    const wasOpen = !wire.deaf
    wire.deaf = true
    if (wire === this.wire && wasOpen) this.#down()
  }

  blame(rule: string, what: string): never {
    return this.town.blame(rule, `${what} (${this.options.id} at ${this.node})`)
  }

  #answered(wire: Wire, packet: Received): void {
    const code = this.options.version === 5 ? packet.reasonCode : packet.returnCode
    if (code !== 0) {
      const expected = this.options.version === 5 ? code === 0x88 || code === 0x8e || code === 0x9d : code === 3
      if (!expected) return this.blame('CONNACK', `code ${code}`)
      this.refusals++
      wire.deaf = true
      return wire.link.cut(true, true)
    }
    wire.accepted = wire.link.established = true
    const present = packet.sessionPresent === true
    this.#owned()
    this.town.tell(
      `${this.options.id} is at ${this.node}${present ? ', with its session' : ''} (life ${this.life.number})`,
    )
    if (this.#wantsClean && present) this.blame('MQTT-3.2.2-2', 'a session is present after a clean start')
    if (!this.#wantsClean && !present) this.#missed()
    if (present && !this.#known && this.#attempts === 1 && !this.#mayHaveBegun)
      this.blame('MQTT-3.2.2-2', 'a session is present for a new client')
    this.life.homes.add(this.node)
    const informed = this.#stillHear(this.#witnesses)
    // Somebody who was not there, or has begun it just now, may have an earlier one, which a clean start has not ended.
    const isAlone = informed.size < this.town.nodes.length
    if (!present && isAlone && (this.#known || this.#attempts > 1)) this.life.shaky = true
    const nowMs = this.town.time.now()
    if (this.#wantsClean && (isAlone || nowMs - this.#letInMs < rumourMs)) this.#mayHaveBegun = true
    this.#letInMs = nowMs
    if (present && this.#attempts > 1 && this.town.mayBeginAfresh) this.life.shaky = true
    // The one it had may have expired, and a CONNECT that was given up has begun this one.
    if (present && this.#attempts > 1 && this.#mayHaveExpired()) this.life.shaky = true
    if (this.#former && this.#attempts === 1) this.#inTime(this.#former, present)
    this.#former = undefined
    this.#passes = this.#isBrief
    this.#known = !this.#passes
    this.#cleans = false
    this.#wantsClean = false
    this.#attempts = 0
    for (const interval of this.life.intervals) {
      if (interval.home === this.node) continue
      interval.home = this.node
      interval.informed = informed
    }
    if (!present) return
    for (const { packetId, sent, released } of this.#flights.values()) {
      if (!released) this.#send(wire, sent, packetId, true)
      else {
        wire.owes('pubcomp', packetId)
        wire.send({ cmd: 'pubrel', messageId: packetId })
      }
    }
  }

  #formerly(wire: Wire): void {
    const isDelayed = this.#willDelayMs > 0 && !this.#leaving
    const will = isDelayed ? this.#will : undefined
    this.#former = { wire, will, willDelayMs: this.#willDelayMs }
  }

  /** A session ends in time, and a delayed will fires in time, or not at all [MQTT-3.1.3-9]. */
  #inTime({ wire, will, willDelayMs }: Former, present: boolean): void {
    const { town, options, life } = this
    // Who stood still, was cut off or fell may have noticed late that the connection was over.
    const nowMs = town.time.now()
    const { brokenSeq, brokenMs, overMs } = wire.link
    if (town.stoodStill(brokenMs, nowMs) || town.crashSeq >= brokenSeq || this.#mayHaveBegun) return
    const awayMs = this.#enteredMs - overMs
    const { expirySeconds, version } = options
    if (present && version === 5 && awayMs > expirySeconds * 1000 + tardyMs)
      this.blame('session expired', `it was there ${Math.round(awayMs)} ms after its connection`)
    if (will === undefined) return
    if (present && nowMs - overMs < willDelayMs - 10) will.isWithdrawn = true
    else if (awayMs > willDelayMs + tardyMs && life.lasting) will.isDue = true
  }

  /** Was it away for longer than its session lasts? How long, nobody knows who has never been let in. */
  #mayHaveExpired(): boolean {
    const { expirySeconds, version } = this.options
    if (this.isLasting || version !== 5) return false
    const former = this.#former
    return former === undefined || this.town.time.now() - former.wire.link.brokenMs >= expirySeconds * 1000
  }

  /** Each epoch of a session has one owner. */
  #owned(): void {
    const { node, town, options } = this
    const epoch = town.machine(node).broker.sessions.get(options.id)?.epoch
    const other = epoch === undefined ? undefined : town.chronicle.accepted(options.id, epoch, node)
    if (other !== undefined) this.blame('two owners', `${other} had let it in with epoch ${epoch} before`)
  }

  /** It counted on a session, and has a new one. */
  #missed(): void {
    const { life, town } = this
    if (!this.#known) {
      // An earlier CONNECT may have begun one elsewhere.
      if (this.#attempts > 1) life.shaky = true
      return
    }
    const sure = life.lasting && !life.shaky && life.intervals.some(({ informed }) => informed.has(this.node))
    if (sure && !town.mayBeginAfresh) this.blame('session lost', `life ${life.number}`)
    this.#begin()
    life.heir = this.life
    this.life.shaky = true
  }

  #came(wire: Wire, packet: Received): void {
    const { town, life } = this
    const { messageId, qos, topic, payload } = packet
    const sent = payload.length === 0 ? undefined : town.chronicle.find(idOf(payload))
    if (payload.length > 0 && (!sent?.payload.equals(payload) || sent.topic !== topic))
      this.blame('payload', `${payload.length} bytes on ${topic} that nobody sent`)
    const repeated = qos === 2 && this.#unreleased.has(messageId)
    if (repeated && this.#unreleased.get(messageId) !== sent)
      this.blame('packet id in use', `${messageId}, ${sent?.id}`)
    const { retain, dup } = packet
    const came: Came = { sent, topic, qos, retain, dup, repeated, seq: town.time.seq, ms: town.time.now() }
    life.came.push(came)
    town.tell(`${this.options.id} gets ${sent?.id} on ${topic}, QoS ${qos}${dup ? ', again' : ''}`)
    if (qos === 1) wire.send({ cmd: 'puback', messageId })
    if (qos === 2) {
      this.#unreleased.set(messageId, sent)
      wire.send({ cmd: 'pubrec', messageId })
    }
  }

  #acked(wire: Wire, packet: Received): void {
    const { messageId } = packet
    const flight = this.#flights.get(messageId)
    if (!flight || flight.released || flight.sent.qos !== (packet.cmd === 'puback' ? 1 : 2))
      return this.blame('unknown ack', `${packet.cmd} ${messageId}`)
    const { sent } = flight
    if (sent.ackedSeq === Infinity) sent.ackedSeq = this.town.time.seq
    this.town.tell(`${this.options.id} has the word for ${sent.id}: ${packet.reasonCode ?? 0}`)
    const isRefused = (packet.reasonCode ?? 0) >= 0x80
    if (isRefused) sent.refused = true
    if (packet.cmd === 'puback' || isRefused) return void this.#flights.delete(messageId)
    flight.released = true
    wire.owes('pubcomp', messageId)
    wire.send({ cmd: 'pubrel', messageId })
  }

  #subscribed(packet: Received): void {
    const request = this.#requests.get(packet.messageId)
    if (request?.cmd !== packet.cmd) return this.blame('unknown ack', packet.cmd)
    this.#requests.delete(packet.messageId)
    const { time, barrierMs } = this.town
    const inTime = time.now() - request.sentMs < barrierMs
    this.town.tell(`${this.options.id} has ${packet.cmd}${inTime ? '' : ', late'}`)
    for (const interval of request.intervals) {
      interval.certainFrom = time.seq
      interval.informed = inTime ? this.#stillHear(request.witnesses) : new Set([this.node])
    }
  }

  // ── what it knows ──────────────────────────────────────────────────────────────────────────────────────────────

  #whoHears(): Witnesses {
    const { town, node } = this
    const heard = [...town.live(node)].filter((other) => !town.city.apart(node, other))
    return new Map(heard.map((other) => [other, town.city.flaps(node, other)]))
  }

  #stillHear(before: Witnesses): Set<NodeId> {
    const now = this.#whoHears()
    const all = [...before].filter(([other, flaps]) => now.get(other) === flaps)
    return new Set([this.node, ...all.map(([other]) => other)])
  }

  #send(wire: Wire, sent: Sent, packetId: number, dup: boolean): void {
    const { topic, qos, retain, payload, expirySeconds } = sent
    this.#addressed(sent)
    sent.lastMs = this.town.time.now()
    if (packetId > 0) wire.owes(qos === 1 ? 'puback' : 'pubrec', packetId)
    wire.send({
      ...{ cmd: 'publish', topic, qos, retain, dup, payload },
      ...(packetId > 0 && { messageId: packetId }),
      ...(expirySeconds !== undefined && { properties: { messageExpiryInterval: expirySeconds } }),
    })
  }

  /** It is about to be sent here: who must get it? */
  #addressed(sent: Sent): void {
    const must = this.town.mustReach(sent, this.node)
    this.town.tell(
      `${this.options.id} sends ${sent.id} (QoS ${sent.qos}, ${sent.topic}) to ${this.node}; for ${must.map(({ life, name }) => `${life.roamer.options.id} ${name}`).join()}`,
    )
    sent.must = sent.sends === 0 ? must : sent.must.filter((interval) => must.includes(interval))
    sent.sends++
    sent.nodes.add(this.node)
  }

  #leaves(name: string): void {
    for (const interval of this.life.intervals)
      if (interval.name === name && interval.certainTo === Infinity) interval.certainTo = this.town.time.seq
  }

  #request(cmd: 'suback' | 'unsuback', intervals: readonly Interval[]): number {
    do this.#lastRequest = this.#lastRequest === 160 ? 101 : this.#lastRequest + 1
    while (this.#requests.has(this.#lastRequest))
    const witnesses = this.#whoHears()
    this.#requests.set(this.#lastRequest, { cmd, intervals, sentMs: this.town.time.now(), witnesses })
    this.wire!.owes(cmd, this.#lastRequest)
    return this.#lastRequest
  }

  #begin(): void {
    this.#over()
    this.life = this.town.chronicle.life(this, this.isLasting && !this.#isBrief)
  }

  /** Its session ends with its connection; a clean one of MQTT 3.1.1 always does. */
  get #isBrief(): boolean {
    const { expirySeconds, version } = this.options
    return expirySeconds === 0 || (version === 4 && this.#wantsClean)
  }

  #over(): void {
    this.life.alive = false
    for (const interval of this.life.intervals) interval.certainTo = Math.min(interval.certainTo, this.town.time.seq)
    this.#flights.clear()
    this.#unreleased.clear()
  }

  #down(): void {
    const { wire } = this
    // Without a goodbye the will fires [MQTT-3.1.2-8].
    if (this.#will && wire?.accepted && !this.#leaving && this.#willDelayMs === 0) this.#will.isDue = true
  }
}
