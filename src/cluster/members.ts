import type { Clock, Random } from '../host.ts'
import type { RecordReader, RecordWriter } from '../store/writer.ts'
import { AwakeTime, Health } from './awareness.ts'
import { type Claim, Known, markOf, type Member, mostAccusers, readClaims, writeClaim } from './member.ts'
import type { NodeId, Part, Peers } from './peers.ts'
import { type Patience, Suspicion } from './suspicion.ts'
import { Rumours } from './rumours.ts'
import { FrameType } from './wire.ts'

export interface MembersSettings {
  /** How often we look at the clock; nothing is due more finely than that. */
  readonly tickMs: number
  /** A tick that is later than this: our process stood still. */
  readonly lateMs: number
  /** One member is probed in each of these. */
  readonly roundMs: number
  /** An ack has this long, before others are asked to ping. */
  readonly ackMs: number
  /** And so long in all. */
  readonly probeMs: number
  /** So many others are asked. */
  readonly helpers: number
  /** News that are not told yet go out so often, to `fanout` members. */
  readonly gossipMs: number
  readonly fanout: number
  /** News in one frame. */
  readonly rumours: number
  /** How often each is told: this, times log10 of the members. */
  readonly retellings: number
  readonly patience: Patience
  /** Upper end of our doubt in ourselves. */
  readonly doubt: number
  /** Lists that differ after so long without news are compared entry by entry. */
  readonly settleMs: number
  /** Entries of whole lists that we send, at most. */
  readonly listedPerSecond: number
  /** Members at most; more are not taken up. */
  readonly members: number
  /** How long nodes that left or were evicted are remembered. */
  readonly forgetSeconds: number
}

/**
 * A node that was killed is dead after 0.6 s, a silent one after 3.5 to 5.5 s; one that stands still for 2 s has a second left
 * to refute. At rest a node sends two pings and two acks a second.
 */
export const defaultMembersSettings: MembersSettings = {
  tickMs: 100,
  lateMs: 250,
  roundMs: 300,
  ackMs: 200,
  probeMs: 500,
  helpers: 3,
  gossipMs: 200,
  fanout: 3,
  rumours: 24,
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
  evicted?(node: NodeId): void
}

/** A ping that waits for its ack. */
interface Probe {
  readonly known: Known
  /** What it last said when we began. */
  readonly incarnation: number
  readonly refutation: number
  /** There was a link to ping by. */
  readonly sent: boolean
  readonly helpAtMs: number
  readonly endMs: number
  /** Others that were asked; −1: not yet. */
  asked: number
  /** Of these, those who answered that it does not answer. */
  nacks: number
}

/** Somebody asked us to ping. */
interface Errand {
  readonly origin: NodeId
  /** Its number of that probe. */
  readonly seq: number
  readonly target: NodeId
  /** When we tell that it does not answer. */
  readonly nackAtMs: number
  nacked: boolean
  /** Until then its ack is passed on all the same. */
  readonly endMs: number
}

/** What a frame holds beside the news. */
interface Content {
  /** An ack: the pinged node answers. */
  readonly answers?: boolean
  readonly about?: Known | undefined
  /** All that we know. */
  readonly whole?: boolean
}

const mostProbes = 16
const mostErrands = 1024
/** A list of no more entries is sent without a thought. */
const shortList = 32
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
 *   any frame:   number of the ping · we: incarnation, refutation · hash of our list · claims about members
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
  /** Everybody else, also those that are gone. */
  readonly #members = new Map<NodeId, Known>()
  /** Of these, those that are alive and not suspect, and those that are suspect. */
  #trusted = 0
  readonly #suspects = new Set<Known>()
  readonly #gone = new Set<Known>()
  /** The exclusive or of all marks: two nodes with the same list have the same. */
  #hash = 0
  #changedMs = 0
  readonly #rumours = new Rumours()

  readonly #linked: NodeId[] = []
  /** Linked, and their list is not compared with ours yet. */
  readonly #strangers = new Set<NodeId>()
  /** When our list last went to them. */
  readonly #listed = new Map<NodeId, number>()
  #listRoom: number

  #ring: Known[] = []
  #at = 0
  /** To be probed before the ring goes on. */
  readonly #soon = new Set<Known>()
  #seq = 0
  readonly #probes = new Map<number, Probe>()
  readonly #errands = new Map<number, Errand>()
  #roundMs = 0
  #gossipMs = 0

  constructor({ self, incarnation, address, clock, random, peers, settings = defaultMembersSettings }: MembersOptions) {
    this.#clock = clock
    this.#random = random
    this.#peers = peers
    this.#settings = settings
    this.#time = new AwakeTime(clock.now(), settings.tickMs, settings.lateMs)
    this.#health = new Health(settings.doubt)
    this.#listRoom = settings.listedPerSecond
    this.#me = new Known(self)
    this.#me.incarnation = incarnation
    this.#me.address = address
    this.#hash = this.#me.mark = markOf(this.#me)
    this.#stop = clock.every(settings.tickMs, () => this.#tick())
  }

  on(listener: MembersListener): void {
    this.#listeners.push(listener)
  }

  /** All that are known, beside ourselves and those that were evicted. */
  *all(): Iterable<Member> {
    for (const { node, address, incarnation, standing } of this.#members.values())
      if (standing !== 'evicted') yield { node, address, incarnation, state: standing }
  }

  /** Undefined: not known, or evicted. */
  state(node: NodeId): Member['state'] | undefined {
    const standing = this.#members.get(node)?.standing
    return standing === 'evicted' ? undefined : standing
  }

  /** Those that are alive or suspect, beside ourselves. */
  *alive(): Iterable<NodeId> {
    for (const known of this.#members.values()) if (known.up) yield known.node
  }

  /** Dialling found nobody there: its process is not running, unless it says otherwise at once. */
  refused(node: NodeId): void {
    const known = this.#members.get(node)
    if (!known?.up || this.#linked.includes(node)) return
    this.#accuse(known)
    known.suspicion?.refused(this.#time.nowMs)
    this.#soon.add(known)
  }

  /** Tells the others that we go, on purpose: we are not missed. */
  leave(): void {
    this.#end('left')
    for (const node of this.#linked) this.#say(node, FrameType.leaving, 0)
    this.stop()
  }

  /** Takes a node off the list, here and with everybody, until it comes with a higher incarnation. */
  evict(node: NodeId): void {
    const known = this.#members.get(node)
    if (known) this.#become(known, { ...known.claim(this.#clock.now()), standing: 'evicted', agoSeconds: 0 })
  }

  /** No more ticks. */
  stop(): void {
    this.#stop()
  }

  linked(node: NodeId): void {
    if (!this.#linked.includes(node)) this.#linked.push(node)
    this.#strangers.add(node)
    this.#introduce(node)
  }

  /** It may know nothing of us, and we may think wrong of it. */
  #introduce(node: NodeId): void {
    this.#say(node, FrameType.ping, ++this.#seq, { about: this.#me })
  }

  unlinked(node: NodeId): void {
    const at = this.#linked.indexOf(node)
    if (at >= 0) this.#linked.splice(at, 1)
    this.#strangers.delete(node)
    this.#listed.delete(node)
    const known = this.#members.get(node)
    if (known?.up) this.#soon.add(known)
  }

  frame(from: NodeId, type: number, reader: RecordReader): void {
    if (type < FrameType.ping || type > FrameType.leaving) return
    const seq = reader.varint()
    const incarnation = reader.varint()
    const refutation = reader.varint()
    const hash = reader.u32()
    const size = reader.varint()
    const answers = type === FrameType.ack && reader.u8() === 1
    const target = type === FrameType.pingRequest ? reader.text() : ''
    const whole = reader.u8() === 1
    const claims = readClaims(reader)
    this.#hear(
      { node: from, address: '', incarnation, refutation, standing: 'alive', by: [], agoSeconds: 0 },
      from,
      false,
    )
    for (const claim of claims) this.#hear(claim, from, whole)
    // Only now, as what it told may have made the lists equal.
    const lacks = this.#lacks(from, hash, size)
    if (type === FrameType.ping && seq > 0) this.#say(from, FrameType.ack, seq, { answers: true, whole: lacks })
    else if (lacks) this.#say(from, FrameType.ping, 0, { whole: true })
    if (type === FrameType.ack) this.#acked(from, seq, answers)
    if (type === FrameType.pingRequest) this.#run(from, seq, target)
  }

  // What we hear of others

  /** @param teller who says so; `whole`: as one entry of its list */
  #hear(claim: Claim, teller: NodeId, whole: boolean): void {
    if (claim.node === this.#me.node) return this.#accused(claim)
    const known = this.#members.get(claim.node)
    if (!known) return this.#meet(claim, whole || teller === claim.node)
    // The death of somebody who is alive for us is the teller's judgement, not ours.
    const said: Claim = claim.standing === 'dead' && known.up ? { ...claim, standing: 'suspect', by: [teller] } : claim
    const order = known.compare(said)
    if (order > 0) this.#become(known, said)
    else if (order === 0 && known.suspicion) this.#confirm(known, known.suspicion, said.by)
  }

  /** Somebody says something of us. */
  #accused(claim: Claim): void {
    const me = this.#me
    if (claim.incarnation !== me.incarnation || me.gone) return
    if (claim.standing === 'evicted') {
      this.#end('evicted')
      for (const listener of this.#listeners) listener.evicted?.(me.node)
    } else if ((claim.standing === 'suspect' || claim.standing === 'dead') && claim.refutation >= me.refutation) {
      me.refutation = claim.refutation + 1
      this.#health.worse()
      this.#rumours.add(me)
    }
  }

  /** We are no longer a part of the cluster, and say so to whoever asks. */
  #end(standing: 'left' | 'evicted'): void {
    this.#me.standing = standing
    this.#me.goneAtMs = this.#clock.now()
    this.#mark(this.#me)
  }

  /** A node that is new to us; `told`: most others will hear of it as we did. */
  #meet(claim: Claim, told: boolean): void {
    const { forgetSeconds, members } = this.#settings
    // Frames speak of their sender without an address: whoever it is, its list says more.
    if (claim.address === '' || claim.agoSeconds >= forgetSeconds || this.#members.size >= members) return
    const known = new Known(claim.node)
    known.standing = 'evicted'
    this.#members.set(claim.node, known)
    this.#gone.add(known)
    this.#become(known, claim)
    // Others get the same list, or a link from it, as we do: a few who tell it are enough.
    if (told && claim.standing === 'alive' && !this.#volunteers()) this.#rumours.delete(known)
    this.#ring.splice(this.#random.below(this.#ring.length + 1), 0, known)
  }

  /** Others who say the same make the time shorter that it has. */
  #confirm(known: Known, suspicion: Suspicion, by: Iterable<NodeId>): void {
    for (const accuser of by) if (suspicion.accusedBy(accuser)) this.#rumours.add(known)
  }

  /** We found for ourselves that it does not answer. */
  #accuse(known: Known): void {
    if (known.standing === 'alive') this.#become(known, { ...known.claim(0), standing: 'suspect', by: [this.#me.node] })
    else if (known.suspicion) this.#confirm(known, known.suspicion, [this.#me.node])
  }

  /** Takes over what `claim` says. */
  #become(known: Known, claim: Claim): void {
    const { up, gone, standing } = known
    const moved = claim.address !== '' && claim.address !== known.address
    if (standing === 'alive') this.#trusted--
    if (claim.standing === 'alive') this.#trusted++
    known.incarnation = claim.incarnation
    known.refutation = claim.refutation
    known.standing = claim.standing
    if (moved) known.address = claim.address
    this.#suspect(known, claim)
    this.#remember(known, claim)
    this.#mark(known)
    // A death is no news: each finds it out by itself.
    if (claim.standing === 'dead') this.#rumours.delete(known)
    else this.#rumours.add(known)

    for (const listener of this.#listeners) {
      if (!known.gone && (moved || gone)) listener.learned?.(known.node, known.address)
      if (known.up && !up) listener.alive?.(known.node)
      if (known.standing === 'evicted') listener.evicted?.(known.node)
      else if (!known.up && (up || (known.gone && !gone))) listener.dead?.(known.node, known.standing === 'left')
    }
  }

  #suspect(known: Known, claim: Claim): void {
    this.#suspects.delete(known)
    this.#soon.delete(known)
    known.suspicion = undefined
    if (claim.standing !== 'suspect') return
    this.#suspects.add(known)
    known.suspicion = new Suspicion(this.#time.nowMs)
    for (const accuser of claim.by) known.suspicion.accusedBy(accuser)
    // A few more look for themselves, which also tells the suspect.
    if (this.#volunteers()) this.#soon.add(known)
  }

  #volunteers(): boolean {
    return this.#random.below(this.#members.size) < volunteers
  }

  #remember(known: Known, claim: Claim): void {
    this.#gone.delete(known)
    if (!known.gone) return
    known.goneAtMs = this.#clock.now() - claim.agoSeconds * 1000
    this.#gone.add(known)
  }

  #mark(known: Known): void {
    const mark = markOf(known)
    if (mark === known.mark) return
    this.#hash = (this.#hash ^ known.mark ^ mark) >>> 0
    known.mark = mark
    this.#changedMs = this.#time.nowMs
  }

  // What is due

  #tick(): void {
    const { late, judge } = this.#time.pass(this.#clock.now())
    if (late) this.#health.worse()
    if (!judge) return
    const { nowMs } = this.#time
    this.#endProbes(nowMs)
    this.#endErrands(nowMs)
    this.#judge(nowMs)
    if (nowMs >= this.#roundMs) this.#nextRound(nowMs)
    for (const known of this.#soon) if (!this.#probe(known, nowMs)) break
    if (nowMs >= this.#gossipMs) this.#gossip(nowMs)
  }

  #judge(nowMs: number): void {
    const { patience } = this.#settings
    for (const known of this.#suspects)
      if (nowMs >= known.suspicion!.deadlineMs(patience, this.#trusted, this.#members.size + 1))
        this.#become(known, { ...known.claim(0), standing: 'dead' })
  }

  #nextRound(nowMs: number): void {
    this.#roundMs = nowMs + this.#settings.roundMs * this.#health.factor
    this.#forget()
    this.#meetAgain()
    for (let tries = this.#ring.length; tries > 0; tries--) {
      const known = this.#nextOfRing()
      if (known.up && !known.probed) return void this.#soon.add(known)
      // A death that was none, while the link stayed up: nobody but we would find out.
      if (known.standing === 'dead' && this.#say(known.node, FrameType.ping, ++this.#seq)) return
    }
  }

  /** The first words to some strangers may have been in vain. They take turns. */
  #meetAgain(): void {
    let left = Math.min(this.#settings.fanout, this.#strangers.size)
    for (const node of this.#strangers) {
      if (left-- === 0) break
      this.#strangers.delete(node)
      this.#strangers.add(node)
      this.#introduce(node)
    }
  }

  /** Every member once, then in another order: what is not probed for long was only unlucky twice. */
  #nextOfRing(): Known {
    if (this.#at >= this.#ring.length) this.#shuffle()
    return this.#ring[this.#at++]!
  }

  #shuffle(): void {
    const ring = (this.#ring = [...this.#members.values()])
    this.#at = 0
    for (let at = ring.length - 1; at > 0; at--) {
      const other = this.#random.below(at + 1)
      const known = ring[at]!
      ring[at] = ring[other]!
      ring[other] = known
    }
  }

  #forget(): void {
    const beforeMs = this.#clock.now() - this.#settings.forgetSeconds * 1000
    for (const known of this.#gone) {
      if (known.goneAtMs > beforeMs) continue
      this.#gone.delete(known)
      this.#rumours.delete(known)
      this.#members.delete(known.node)
    }
  }

  /** Tells what is new to a few members, whoever they are. */
  #gossip(nowMs: number): void {
    const { gossipMs, fanout, listedPerSecond } = this.#settings
    this.#gossipMs = nowMs + gossipMs
    this.#listRoom = Math.min(listedPerSecond, this.#listRoom + (listedPerSecond * gossipMs) / 1000)
    if (this.#rumours.size > 0) for (const node of this.#some(fanout)) this.#say(node, FrameType.ping, 0)
  }

  /** Up to `count` different nodes that we are linked to. */
  #some(count: number, besides?: NodeId): NodeId[] {
    const some: NodeId[] = []
    const { length } = this.#linked
    const from = length > 0 ? this.#random.below(length) : 0
    // From anywhere on, in steps that meet each of them: enough of chance, without a copy.
    const step = coprime(1 + this.#random.below(Math.max(1, length)), length)
    for (let at = 0; at < length && some.length < count; at++) {
      const node = this.#linked[(from + at * step) % length]!
      if (node !== besides) some.push(node)
    }
    return some
  }

  // Probes

  /** False when there are too many under way. */
  #probe(known: Known, nowMs: number): boolean {
    if (this.#probes.size >= mostProbes) return false
    this.#soon.delete(known)
    if (known.probed || !known.up) return true
    const { ackMs, probeMs } = this.#settings
    const { factor } = this.#health
    const { incarnation, refutation } = known
    const seq = ++this.#seq
    const sent = this.#say(known.node, FrameType.ping, seq)
    const helpAtMs = nowMs + (sent ? ackMs * factor : 0)
    const endMs = nowMs + probeMs * factor
    known.probed = true
    const probe: Probe = { known, incarnation, refutation, sent, helpAtMs, endMs, asked: -1, nacks: 0 }
    this.#probes.set(seq, probe)
    if (!sent) this.#askOthers(seq, probe)
    return true
  }

  #askOthers(seq: number, probe: Probe): void {
    const { known } = probe
    probe.asked = 0
    for (const node of this.#some(this.#settings.helpers, known.node)) {
      const writer = this.#begin(node, FrameType.pingRequest, seq)
      if (!writer) continue
      writer.text(known.node)
      // What it has to refute, it should hear, and its answer may be news to us.
      this.#close(node, writer, { about: known })
      probe.asked++
    }
  }

  #acked(from: NodeId, seq: number, answers: boolean): void {
    const errand = this.#errands.get(seq)
    if (errand && errand.target === from) {
      this.#errands.delete(seq)
      return this.#report(errand, true)
    }
    const probe = this.#probes.get(seq)
    if (!probe) return
    if (!answers) return void probe.nacks++
    this.#probes.delete(seq)
    probe.known.probed = false
    this.#health.better()
    if (probe.known.standing === 'suspect') this.#soon.add(probe.known)
  }

  #endProbes(nowMs: number): void {
    for (const [seq, probe] of this.#probes) {
      if (probe.asked < 0 && nowMs >= probe.helpAtMs) this.#askOthers(seq, probe)
      if (nowMs < probe.endMs) continue
      this.#probes.delete(seq)
      this.#failed(probe)
    }
  }

  #failed({ known, incarnation, refutation, sent, asked, nacks }: Probe): void {
    known.probed = false
    // Those whom we asked should at least have said that it does not answer.
    if (asked > 0 ? nacks < asked : sent) this.#health.worse()
    // It has spoken since.
    if (known.incarnation !== incarnation || known.refutation !== refutation) return
    this.#accuse(known)
    // As long as it is suspect it is told so, again and again: it has a right to answer.
    if (known.suspicion) this.#soon.add(known)
  }

  /** Pings for somebody else. */
  #run(origin: NodeId, seq: number, target: NodeId): void {
    const { ackMs, probeMs } = this.#settings
    const { nowMs } = this.#time
    // Our no has to be there before its probe ends.
    const errand: Errand = { origin, seq, target, nackAtMs: nowMs + ackMs / 2, nacked: false, endMs: nowMs + probeMs }
    const own = ++this.#seq
    if (this.#errands.size < mostErrands && this.#say(target, FrameType.ping, own)) this.#errands.set(own, errand)
    else this.#report(errand, false)
  }

  #endErrands(nowMs: number): void {
    for (const [seq, errand] of this.#errands) {
      // They are in order of time.
      if (nowMs < errand.nackAtMs) break
      if (!errand.nacked) this.#report(errand, false)
      errand.nacked = true
      if (nowMs >= errand.endMs) this.#errands.delete(seq)
    }
  }

  #report({ origin, seq, target }: Errand, answers: boolean): void {
    const known = this.#members.get(target)
    this.#say(origin, FrameType.ack, seq, { answers, about: known })
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
    writer.u32(this.#hash)
    writer.varint(this.#size)
    return writer
  }

  #close(to: NodeId, writer: RecordWriter, { about, whole = false }: Content): void {
    const { rumours, retellings } = this.#settings
    const times = Math.ceil(retellings * Math.log10(this.#members.size + 2))
    const claims = new Set(whole ? [this.#me, ...this.#members.values()] : this.#rumours.take(rumours, times))
    if (about) claims.add(about)
    const known = this.#members.get(to)
    // Whom we doubt, we tell so (Lifeguard: "buddy system").
    if (known && known.standing !== 'alive') claims.add(known)
    if (this.#me.gone) claims.add(this.#me)
    const nowMs = this.#clock.now()
    writer.u8(whole ? 1 : 0)
    writer.varint(claims.size)
    for (const claim of claims) writeClaim(writer, claim.claim(nowMs))
    this.#peers.end()
  }

  /** Entries in the hash. */
  get #size(): number {
    return this.#members.size - this.#gone.size + 1
  }

  /**
   * Should `node`, whose list has this hash and size, get the whole of ours? At once when it is new here and knows little, or
   * lists are short; else only what no news on their way explain.
   */
  #lacks(node: NodeId, hash: number, size: number): boolean {
    if (hash === this.#hash) {
      this.#strangers.delete(node)
      return false
    }
    const { nowMs } = this.#time
    const { roundMs, settleMs } = this.#settings
    const stranger = this.#strangers.has(node)
    const atOnce = stranger && (this.#size <= shortList || size * 2 <= this.#size)
    const quietMs = nowMs - Math.max(this.#changedMs, this.#listed.get(node) ?? -Infinity)
    if ((!atOnce && quietMs < (stranger ? roundMs : settleMs)) || this.#listRoom <= 0) return false
    this.#strangers.delete(node)
    this.#listRoom -= this.#members.size
    this.#listed.set(node, nowMs)
    return true
  }
}

/** The first number from `step` on that shares no divisor with `length`. */
function coprime(step: number, length: number): number {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))
  while (length > 1 && divisor(step, length) !== 1) step++
  return step
}
