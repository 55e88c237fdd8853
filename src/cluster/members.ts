import type { Clock, Random } from '../host.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import { AwakeTime, Health } from './awareness.ts'
import { Listing, type ListingSettings } from './listing.ts'
import { type Claim, Known, type Member, mostAccusers, readClaims, writeClaim } from './member.ts'
import type { NodeId, Part, Peers } from './peers.ts'
import { Probing, type ProbingSettings } from './probing.ts'
import { Roster } from './roster.ts'
import { Rumours } from './rumours.ts'
import type { Patience } from './suspicion.ts'
import { FrameType } from './wire.ts'

export interface MembersSettings extends ProbingSettings, ListingSettings {
  /** How often we look at the clock; nothing is due more finely than that. */
  readonly tickMs: number
  /** A tick that is later than this: our process stood still. */
  readonly lateMs: number
  /** One member is probed in each of these. */
  readonly roundMs: number
  /** News that are not told often enough yet go out in each of these, to `fanout` members. */
  readonly gossipMs: number
  readonly fanout: number
  /** News in one frame. */
  readonly rumours: number
  /** How often each is told: this, times log10 of the members. */
  readonly retellings: number
  readonly patience: Patience
  /** Upper end of our doubt in ourselves. */
  readonly doubt: number
  /** Members at most; more are not taken up. */
  readonly members: number
  /** How long nodes that left or were evicted are remembered. */
  readonly forgetSeconds: number
}

/**
 * With up to ten nodes: one that was killed is dead after 0.6 s, a silent one after 3.5 to 5.2 s; one that stands still for 2 s
 * has a second left to refute. At rest a node sends 6.7 frames of some 20 bytes a second, in a cluster of any size.
 */
export const defaultMembersSettings: MembersSettings = {
  tickMs: 100,
  lateMs: 250,
  roundMs: 300,
  ackMs: 200,
  probeMs: 500,
  helpers: 3,
  linkMs: 3000,
  gossipMs: 200,
  fanout: 3,
  rumours: 64,
  retellings: 4,
  patience: { leastMs: 3000, mostMs: 6000, confirmations: mostAccusers - 1, refusedMs: 500 },
  doubt: 8,
  settleMs: 5000,
  listedPerSecond: 20_000,
  members: 10_000,
  forgetSeconds: 7 * 86_400,
}

export interface MembersOptions {
  readonly self: NodeId
  /** Greater at each start of ours. */
  readonly incarnation: number
  /** Where others dial us. */
  readonly address: string
  readonly clock: Clock
  readonly random: Random
  readonly peers: Peers
  readonly settings?: MembersSettings
}

export interface MembersListener {
  /** It counts as alive: it is new, or is back. */
  alive?(node: NodeId): void
  /** It does no longer. `left`: it said so, and will not be back with this incarnation. */
  dead?(node: NodeId, left: boolean): void
  /** A node, or a new address of it, to be dialled. */
  learned?(node: NodeId, address: string): void
  /** Somebody has given it up. It may be ourselves, who were away: then only a start with a new incarnation brings us back. */
  evicted?(node: NodeId, incarnation: number): void
}

/** What a frame holds beside the news. */
interface Content {
  /** An ack: the pinged node answers. */
  readonly answers?: boolean
  readonly about?: Known | undefined
  /** All that we know. */
  readonly whole?: boolean
}

/** Of all members, about so many do what not all have to. */
const volunteers = 10

/**
 * Who is alive: SWIM, with Lifeguard's doubt in oneself.
 *
 *   every 300 ms the next member of a shuffled ring:   ping ─▶ ack
 *                      no ack, or no link:             pingRequest ─▶ three others ─▶ ping ─▶ ack, or "it does not answer"
 *                      nothing:                        suspect ─▶ (refuted) alive
 *                                                              └▶ (time is up, for each of us by itself) dead
 *
 *   any frame:   number of the ping · we: incarnation, refutation · hashes of our list · claims about members
 *
 * What a node says of itself, by its (incarnation, refutation), outdoes what others say of it. A death is what we think; nobody
 * takes it from us but as one more accusation. The dead stay on the list and are dialled: a link makes a ping with what we
 * think of them, and they refute it.
 */
export class Members implements Part {
  readonly family = 0x10
  readonly #clock: Clock
  readonly #random: Random
  readonly #peers: Peers
  readonly #settings: MembersSettings
  readonly #time: AwakeTime
  readonly #health: Health
  readonly #stop: () => void
  readonly #listeners: MembersListener[] = []

  readonly #me: Known
  readonly #roster: Roster
  readonly #probing: Probing
  readonly #listing: Listing
  readonly #rumours = new Rumours()
  readonly #linked = new Set<NodeId>()
  /** The same: one of them by its number. */
  readonly #links: NodeId[] = []
  #roundMs = 0
  #gossipMs = 0

  constructor({ self, incarnation, address, clock, random, peers, settings = defaultMembersSettings }: MembersOptions) {
    this.#clock = clock
    this.#random = random
    this.#peers = peers
    this.#settings = settings
    this.#time = new AwakeTime(clock.now(), settings.tickMs, settings.lateMs)
    this.#health = new Health(settings.doubt)
    this.#me = new Known(self)
    this.#me.incarnation = incarnation
    this.#me.address = address
    this.#roster = new Roster(this.#me)
    this.#listing = new Listing(this.#roster, settings)
    this.#probing = new Probing(this.#roster, random, this.#health, settings, {
      linked: (node) => this.#linked.has(node),
      ping: (to, seq) => this.#say(to, FrameType.ping, seq),
      ask: (helper, seq, target) => this.#ask(helper, seq, target),
      report: (to, seq, target, answers) =>
        this.#say(to, FrameType.ack, seq, { answers, about: this.#roster.get(target) }),
      some: (count, besides) => this.#some(count, besides),
      accuse: (known) => this.#accuse(known),
    })
    this.#stop = clock.every(settings.tickMs, () => this.#tick())
  }

  on(listener: MembersListener): void {
    this.#listeners.push(listener)
  }

  /** All that are known, beside ourselves and those that were evicted. */
  *all(): Iterable<Member> {
    for (const { node, address, incarnation, standing } of this.#roster.all())
      if (standing !== 'evicted') yield { node, address, incarnation, state: standing }
  }

  /** Undefined: not known, or evicted. */
  state(node: NodeId): Member['state'] | undefined {
    const standing = this.#roster.get(node)?.standing
    return standing === 'evicted' ? undefined : standing
  }

  /** Was the node given up? It may not have heard of it, or have given us up as well. */
  isEvicted(node: NodeId): boolean {
    return this.#roster.get(node)?.standing === 'evicted'
  }

  /** Has the cluster given us up? Then only a start with a new incarnation brings us back. */
  get evicted(): boolean {
    return this.#me.standing === 'evicted'
  }

  /** Those that are alive or suspect, beside ourselves. */
  *alive(): Iterable<NodeId> {
    for (const known of this.#roster.all()) if (known.up) yield known.node
  }

  /** Dialling found nobody there: its process is not running, unless it says otherwise at once. */
  refused(node: NodeId): void {
    const known = this.#roster.get(node)
    if (!known?.up || this.#linked.has(node)) return
    this.#accuse(known)
    known.suspicion?.refused(this.#time.nowMs)
    this.#probing.soon(known)
  }

  /** Tells the others that we go, on purpose: we are not missed. */
  leave(): void {
    this.#roster.end('left', this.#clock.now())
    for (const node of this.#linked) this.#say(node, FrameType.leaving, 0)
    this.stop()
  }

  /** Takes a node off the list, here and with everybody, until it comes with a higher incarnation. */
  evict(node: NodeId): void {
    const known = this.#roster.get(node)
    if (known) this.#become(known, { ...known.claim(this.#clock.now()), standing: 'evicted', agoSeconds: 0 })
  }

  /** No more ticks. */
  stop(): void {
    this.#stop()
  }

  linked(node: NodeId): void {
    if (!this.#linked.has(node)) this.#links.push(node)
    this.#linked.add(node)
    this.#listing.linked(node)
    this.#introduce(node)
  }

  /** It may know nothing of us, and we may think wrong of it. */
  #introduce(node: NodeId): void {
    this.#say(node, FrameType.ping, this.#probing.next(), { about: this.#me })
  }

  unlinked(node: NodeId): void {
    if (this.#linked.delete(node)) this.#links.splice(this.#links.indexOf(node), 1)
    this.#listing.unlinked(node)
    const known = this.#roster.get(node)
    if (known?.up) this.#probing.soon(known)
  }

  frame(from: NodeId, type: number, reader: RecordReader): void {
    if (type < FrameType.ping || type > FrameType.leaving) return
    const seq = reader.varint()
    const incarnation = reader.varint()
    const refutation = reader.varint()
    const digest = { hash: reader.u32(), deaths: reader.u32(), size: reader.varint() }
    const answers = type === FrameType.ack && reader.u8() === 1
    const target = type === FrameType.pingRequest ? reader.text() : ''
    const whole = reader.u8() === 1
    const claims = readClaims(reader)
    this.#hear(
      { node: from, address: '', incarnation, refutation, standing: 'alive', by: [], agoSeconds: 0 },
      from,
      false,
    )
    // What a node says that is no longer a part of the cluster concerns only itself.
    const gone = this.#roster.get(from)?.gone
    for (const claim of claims) if (!gone || claim.node === from) this.#hear(claim, from, whole)
    // Only now, as what it told may have made the lists equal.
    const lacks = this.#listing.lacks(from, digest, this.#time.nowMs, this.#settings.roundMs)
    if (type === FrameType.ping && seq > 0) this.#say(from, FrameType.ack, seq, { answers: true, whole: lacks })
    else if (lacks) this.#say(from, FrameType.ping, 0, { whole: true })
    if (type === FrameType.ack) this.#probing.acked(from, seq, answers)
    if (type === FrameType.pingRequest) this.#probing.run(from, seq, target, this.#time.nowMs)
  }

  // What we hear of others

  /** @param teller who says so; `whole`: as one entry of its list */
  #hear(claim: Claim, teller: NodeId, whole: boolean): void {
    if (claim.node === this.#me.node) return this.#accused(claim)
    const known = this.#roster.get(claim.node)
    if (!known) return this.#meet(claim, whole || teller === claim.node)
    // The death of somebody who is alive for us is the teller's judgement, not ours.
    const said: Claim = claim.standing === 'dead' && known.up ? { ...claim, standing: 'suspect', by: [teller] } : claim
    const order = known.compare(said)
    if (order > 0) this.#become(known, said)
    else if (order === 0) this.#confirm(known, said.by)
  }

  /** Somebody says something of us. */
  #accused(claim: Claim): void {
    const me = this.#me
    if (claim.incarnation !== me.incarnation || me.gone) return
    if (claim.standing === 'evicted') {
      this.#roster.end('evicted', this.#clock.now())
      for (const listener of this.#listeners) listener.evicted?.(me.node, me.incarnation)
    } else if ((claim.standing === 'suspect' || claim.standing === 'dead') && claim.refutation >= me.refutation) {
      me.refutation = claim.refutation + 1
      this.#health.worse()
      this.#rumours.add(me)
    }
  }

  /** A node that is new to us; `told`: most others will hear of it as we did. */
  #meet(claim: Claim, told: boolean): void {
    const { forgetSeconds, members } = this.#settings
    // Frames speak of their sender without an address: whoever it is, its list says more.
    if (claim.address === '' || claim.agoSeconds >= forgetSeconds || this.#roster.size >= members) return
    const known = this.#roster.add(claim.node)
    this.#become(known, claim)
    // Others get the same list, or a link from it, as we do: a few who tell it are enough.
    if (told && claim.standing === 'alive' && !this.#volunteers()) this.#rumours.delete(known)
    this.#probing.add(known)
  }

  /** Others who say the same make the time shorter that it has. */
  #confirm(known: Known, by: Iterable<NodeId>): void {
    for (const accuser of by) if (known.suspicion?.accusedBy(accuser)) this.#rumours.add(known)
  }

  /** We found for ourselves that it does not answer. */
  #accuse(known: Known): void {
    if (known.standing === 'alive') this.#become(known, { ...known.claim(0), standing: 'suspect', by: [this.#me.node] })
    else this.#confirm(known, [this.#me.node])
  }

  /** Takes over what `claim` says. */
  #become(known: Known, claim: Claim): void {
    const { up, gone, address } = known
    this.#roster.take(known, claim, this.#time.nowMs, this.#clock.now())
    // A death is no news: each finds it out by itself.
    if (claim.standing === 'dead') this.#rumours.delete(known)
    else this.#rumours.add(known)
    // A few look for themselves, which also tells the suspect.
    if (known.suspicion && this.#volunteers()) this.#probing.soon(known)
    else this.#probing.later(known)
    for (const listener of this.#listeners) {
      if (!known.gone && (gone || known.address !== address)) listener.learned?.(known.node, known.address)
      if (known.up && !up) listener.alive?.(known.node)
      if (known.standing === 'evicted') listener.evicted?.(known.node, known.incarnation)
      else if (!known.up && (up || (known.gone && !gone))) listener.dead?.(known.node, known.standing === 'left')
    }
  }

  #volunteers(): boolean {
    return this.#random.below(this.#roster.size) < volunteers
  }

  // What is due

  #tick(): void {
    const { late, judge } = this.#time.pass(this.#clock.now())
    if (late) this.#health.worse()
    if (!judge) return
    const { nowMs } = this.#time
    this.#judge(nowMs)
    if (nowMs >= this.#roundMs) this.#round(nowMs)
    this.#probing.tick(nowMs)
    if (nowMs >= this.#gossipMs) this.#gossip(nowMs)
  }

  #judge(nowMs: number): void {
    const { patience } = this.#settings
    const { suspects, trusted, size } = this.#roster
    for (const known of suspects) {
      const suspicion = known.suspicion!
      if (suspicion.look(nowMs, patience)) this.#probing.soon(known)
      if (nowMs >= suspicion.deadlineMs(patience, trusted, size + 1))
        this.#become(known, { ...known.claim(0), standing: 'dead' })
    }
  }

  #round(nowMs: number): void {
    const { roundMs, fanout, forgetSeconds } = this.#settings
    this.#roundMs = nowMs + roundMs * this.#health.factor
    this.#roster.forget(this.#clock.now() - forgetSeconds * 1000)
    for (const node of this.#listing.strangers(fanout)) this.#introduce(node)
    this.#probing.round(nowMs)
  }

  /** Tells what is new to a few members, whoever they are. */
  #gossip(nowMs: number): void {
    const { gossipMs, fanout } = this.#settings
    this.#gossipMs = nowMs + gossipMs
    this.#listing.pass(gossipMs)
    if (this.#rumours.size > 0) for (const node of this.#some(fanout)) this.#say(node, FrameType.ping, 0)
  }

  /** Up to `count` different nodes that we are linked to. */
  #some(count: number, besides?: NodeId): NodeId[] {
    const some: NodeId[] = []
    const { length } = this.#links
    const from = length > 0 ? this.#random.below(length) : 0
    // From anywhere on, in steps that meet each of them: enough of chance, without a copy.
    const step = coprime(1 + this.#random.below(Math.max(1, length)), length)
    for (let at = 0; at < length && some.length < count; at++) {
      const node = this.#links[(from + at * step) % length]!
      if (node !== besides) some.push(node)
    }
    return some
  }

  // Frames

  /** Sends a frame, and in it whatever is new. False without a link. */
  #say(to: NodeId, type: FrameType, seq: number, content: Content = {}): boolean {
    const writer = this.#begin(to, type, seq)
    if (!writer) return false
    if (type === FrameType.ack) writer.u8(content.answers ? 1 : 0)
    this.#close(to, writer, content)
    return true
  }

  #begin(to: NodeId, type: FrameType, seq: number): RecordWriter | undefined {
    const writer = this.#peers.begin(to, type)
    if (!writer) return undefined
    writer.varint(seq)
    writer.varint(this.#me.incarnation)
    writer.varint(this.#me.refutation)
    writer.u32(this.#roster.hash)
    writer.u32(this.#roster.deaths)
    writer.varint(this.#roster.hashed)
    return writer
  }

  #ask(helper: NodeId, seq: number, target: Known): boolean {
    const writer = this.#begin(helper, FrameType.pingRequest, seq)
    if (!writer) return false
    writer.text(target.node)
    // What it has to refute, it should hear.
    this.#close(helper, writer, { about: target })
    return true
  }

  #close(to: NodeId, writer: RecordWriter, { about, whole = false }: Content): void {
    const { rumours, retellings } = this.#settings
    const times = Math.ceil(retellings * Math.log10(this.#roster.size + 2))
    const claims = new Set(whole ? [this.#me, ...this.#roster.all()] : this.#rumours.take(rumours, times))
    if (about) claims.add(about)
    const known = this.#roster.get(to)
    // Whom we doubt, we tell so (Lifeguard: "buddy system").
    if (known && known.standing !== 'alive') claims.add(known)
    if (this.#me.gone) claims.add(this.#me)
    const nowMs = this.#clock.now()
    writer.u8(whole ? 1 : 0)
    writer.varint(claims.size)
    for (const claim of claims) writeClaim(writer, claim.claim(nowMs))
    this.#peers.end()
  }
}

/** The first number from `step` on that shares no divisor with `length`. */
function coprime(step: number, length: number): number {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))
  while (length > 1 && divisor(step, length) !== 1) step++
  return step
}
