import mqttPacket, { type Packet } from 'mqtt-packet'
import type { Identity } from '../../src/access/identity.ts'
import { type Action, actions, compileRules, type Rule } from '../../src/access/rules.ts'
import { Broker } from '../../src/broker/broker.ts'
import { defaultLimits } from '../../src/broker/limits.ts'
import { alone } from '../../src/cluster/alone.ts'
import type { Stream } from '../../src/host.ts'
import type { Connection } from '../../src/mqtt/connection.ts'
import type { Session } from '../../src/sessions/session.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { oracleAllows, type OracleClient, oracleSubscribes } from '../access/oracle.ts'
import { StillClock } from '../fuzz/still-clock.ts'
import { naiveMatches } from '../routing/naive.ts'
import { SeededRandom } from '../support/random.ts'

// Random rules, clients, messages and reloads on a whole broker, on streams of ours. What each client is sent, and what waits
// for it, is held against a model that knows the oracle alone.

/** What is compared, and how often. */
export const kinds = ['publish', 'subscribe', 'will', 'live', 'retained', 'queued', 'in flight', 'shared'] as const
export type Kind = (typeof kinds)[number]
export type Cases = Record<Kind, number>

/** What differs: the seed plays it again. */
export class Leak extends Error {}

/** Plays worlds until `cases` answers have been compared. @throws Leak at the first that differs */
export async function play(seed: number, cases: number): Promise<Cases> {
  const counts = Object.fromEntries(kinds.map((kind) => [kind, 0])) as Cases
  for (let at = seed; total(counts) < cases; at++) await new World(at, counts).play()
  return counts
}

export function total(counts: Cases): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

const words = ['a', 'b', 'c', 'ann', '', '$SYS', '%c', '__proto__', 'ü']
const users = ['ann', 'bob', '+', '#', 'a/b', '$SYS', 'a', 'constructor']
const ids = ['pump', 'b', '+', '#', 'a/b', '%u', '$SYS', 'c']
const groupNames = ['ops', 'ann']

interface Will {
  readonly key: string
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly delaySeconds: number
}

/** A message that a session has not acknowledged. */
interface Owed {
  readonly key: string
  readonly topic: string
  readonly qos: number
  sent: boolean
}

class World {
  readonly #seed: number
  readonly #random: SeededRandom
  readonly #counts: Cases
  readonly #clock = new StillClock()
  readonly #broker: Broker
  readonly #guests: Guest[]
  readonly #topics: readonly string[]
  readonly #retained = new Map<string, { key: string; qos: number }>()
  #rules: readonly Rule[] | undefined
  #serial = 0

  constructor(seed: number, counts: Cases) {
    const random = (this.#random = new SeededRandom(seed))
    this.#seed = seed
    this.#counts = counts
    this.#rules = this.#anyRules()
    const free = [...ids]
    const freeUsers = [...users]
    this.#guests = Array.from({ length: 5 }, () => {
      const clientId = free.splice(random.below(free.length), 1)[0]!
      // A file says one thing of a user.
      const user = random.once(4) ? undefined : freeUsers.splice(random.below(freeUsers.length), 1)[0]
      const groups = user === undefined ? [] : groupNames.filter(() => random.once(3))
      const tokenRules = user !== undefined && random.once(6) ? [this.#rule(), this.#rule()] : undefined
      return new Guest({ user, groups, clientId, ...(tokenRules && { tokenRules }) }, this.#clock)
    })
    this.#topics = Array.from(
      { length: 8 },
      () => this.#filter(false).replace(/[+#]/g, () => random.pick(words)) || 'a',
    )
    const identities = new Map(this.#guests.map((guest) => [guest.who.clientId, guest.identity]))
    this.#broker = new Broker({
      host: { clock: this.#clock, random, log: { debug() {}, info() {}, warn() {}, error: this.#failed } },
      limits: { ...defaultLimits, sysSeconds: 0 },
      store: new MemoryStore(),
      cluster: alone,
      access: {
        logIns: {
          chain: { authenticate: ({ clientId }) => Promise.resolve({ identity: identities.get(clientId)! }) },
          scram: undefined,
          separate: false,
        },
        audit: undefined,
      },
      rulebook: this.#rulebook(),
      hooks: {},
      observer: {},
      version: 'matrix',
      heapBytes: () => 0,
    })
  }

  async play(): Promise<void> {
    for (const guest of this.#guests) await this.#connect(guest)
    for (let times = 0; times < 12; times++) this.#subscribe(this.#anyone())
    for (let round = 0; round < 4; round++) {
      for (let times = 0; times < 50; times++) {
        await this.#step()
        this.#balance()
      }
      this.#rules = this.#anyRules()
      this.#broker.permit(this.#rulebook())
    }
    this.#broker.stop()
  }

  async #step(): Promise<void> {
    const random = this.#random
    const guest = this.#anyone()
    if (!guest.online) return random.once(3) ? this.#connect(guest) : this.#pass()
    const dice = random.below(20)
    if (dice === 0) this.#drop(guest)
    else if (dice === 1) this.#subscribe(guest)
    else if (dice === 2) this.#unsubscribe(guest)
    else this.#publish(guest)
  }

  // ── what clients do, and what must come of it ─────────────────────────────────────────────────────────────────────

  #publish(guest: Guest): void {
    const random = this.#random
    const topic = random.pick(this.#topics)
    const qos = random.below(3) as 0 | 1 | 2
    const retain = random.once(4)
    const key = `m${++this.#serial}`
    const may =
      !reserved(topic) && this.#allows(guest, 'publish', topic) && (!retain || this.#allows(guest, 'retain', topic))
    const { refused } = this.#broker.ledger
    const answer = guest.publishes(() => this.#settle(), { topic, qos, retain, payload: key })
    this.#same(
      'publish',
      `${guest.name} publishes ${topic}${retain ? ' retained' : ''} q${qos}`,
      this.#broker.ledger.refused === refused,
      may,
    )
    if (qos > 0) this.#same('publish', `what ${guest.name} is told of ${topic}`, answer !== 0x87, may)
    if (may) this.#published(topic, qos, retain, key)
    this.#compare('live')
  }

  /** A message was accepted: who gets it? */
  #published(topic: string, qos: number, retain: boolean, key: string): void {
    if (retain) this.#retained.set(topic, { key, qos })
    const groups = new Map<string, Guest[]>()
    for (const guest of this.#guests) {
      let most = -1
      for (const [filter, granted] of guest.filters) {
        const [, group, rest] = /^\$share\/(.*?)\/(.*)$/.exec(filter) ?? []
        if (!naiveMatches(rest ?? filter, topic)) continue
        if (group === undefined) most = Math.max(most, granted)
        else groups.set(filter, [...(groups.get(filter) ?? []), guest])
      }
      if (most < 0) continue
      this.#counts.live++
      if (this.#allows(guest, 'receive', topic)) guest.isDue(key, topic, Math.min(qos, most))
    }
    const waits: (readonly Guest[])[] = []
    for (const [filter, members] of groups) {
      this.#counts.shared++
      const allowed = members.filter((guest) => this.#allows(guest, 'receive', topic))
      const online = allowed.filter((guest) => guest.online)
      const shared = `${key} by ${filter}`
      if (online.length === 0) {
        if (allowed.length > 0 && qos > 0) waits.push(allowed)
        continue
      }
      const one = online.filter((guest) => guest.got.includes(shared))
      if (one.length !== 1) this.#leak(`${shared} on ${topic}: one of ${names(online)}, not ${names(one)}`)
      one[0]!.isDue(shared, topic, qos)
    }
    const room = new Map(this.#guests.map((guest) => [guest, this.#pending(guest) - guest.owed.length]))
    const takers = assigned(waits, room)
    if (!takers) this.#leak(`${key} on ${topic} waits for one of ${waits.map(names).join(', and one of ')}`)
    for (const guest of takers) guest.isDue(`${key} by ?`, topic, qos)
  }

  #subscribe(guest: Guest): void {
    if (!guest.online) return
    const random = this.#random
    const filter = this.#filter(false)
    const shared = random.once(4)
    const qos = (shared ? 2 : random.below(3)) as 0 | 1 | 2
    const full = shared ? `$share/${random.pick(['g', 'h'])}/${filter}` : filter
    const code = guest.subscribes(() => this.#settle(), full, qos)
    const may = oracleSubscribes(this.#rules, guest.who, filter, shared)
    this.#same('subscribe', `${guest.name} subscribes to ${full}`, code === qos, may)
    if (code === qos) {
      guest.filters.set(full, qos)
      if (!shared)
        for (const [topic, kept] of this.#retained) {
          if (!naiveMatches(filter, topic)) continue
          this.#counts.retained++
          if (this.#allows(guest, 'receive', topic)) guest.isDue(kept.key, topic, Math.min(kept.qos, qos))
        }
    }
    this.#compare('retained')
  }

  #unsubscribe(guest: Guest): void {
    const [filter] = guest.filters.keys()
    if (filter === undefined) return
    guest.filters.delete(filter)
    guest.unsubscribes(() => this.#settle(), filter)
    this.#compare('live')
  }

  #drop(guest: Guest): void {
    const { refused } = this.#broker.ledger
    guest.drop()
    this.#settle()
    const { will } = guest
    if (will && will.delaySeconds > 0) return
    if (will) this.#fired(guest, will, this.#broker.ledger.refused === refused)
    this.#compare('will')
  }

  /** Time passes, and wills fall due. */
  #pass(): void {
    const waits = this.#guests.find(({ online, will }) => !online && will !== undefined)
    if (waits === undefined) return
    const { refused } = this.#broker.ledger
    for (const _ of this.#clock.pass(10_000)) this.#settle()
    this.#fired(waits, waits.will!, this.#broker.ledger.refused === refused)
    this.#compare('will')
  }

  #fired(guest: Guest, will: Will, fired: boolean): void {
    guest.will = undefined
    const may = this.#mayLeave(guest, will)
    this.#same('will', `the will of ${guest.name} on ${will.topic} fires`, fired, may)
    if (may) this.#published(will.topic, will.qos, will.retain, will.key)
  }

  async #connect(guest: Guest): Promise<void> {
    const random = this.#random
    const delayed = this.#guests.some(({ online, will }) => !online && will !== undefined)
    const will: Will | undefined = random.once(2)
      ? {
          key: `w${++this.#serial}`,
          topic: random.pick(this.#topics),
          qos: random.below(3) as 0 | 1 | 2,
          retain: random.once(3),
          delaySeconds:
            !delayed && random.once(2) && !this.#guests.some(({ will }) => (will?.delaySeconds ?? 0) > 0) ? 5 : 0,
        }
      : undefined
    guest.lazy = random.once(3)
    guest.open(this.#broker, will)
    this.#settle()
    await Promise.resolve()
    await Promise.resolve()
    this.#settle()
    const may = will === undefined || this.#mayLeave(guest, will)
    this.#same('will', `${guest.name} leaves a will on ${will?.topic}`, guest.connack === 0, may)
    if (!may) return guest.refused()
    guest.will = will
    guest.online = true
    let released = 0
    for (const { key, topic, qos, sent } of guest.owed.splice(0)) {
      this.#counts[sent ? 'in flight' : 'queued']++
      const may = this.#allows(guest, 'receive', topic)
      if (may) guest.isDue(key, topic, qos)
      // One that may not be sent again is released, and one that is acknowledged.
      if (qos === 2 && (may ? !guest.lazy : sent)) released++
    }
    if (guest.released !== released) this.#leak(`${guest.released} ids of ${guest.name} are released, not ${released}`)
    this.#compare('queued')
  }

  // ── the model's side ──────────────────────────────────────────────────────────────────────────────────────────────

  #allows({ who }: Guest, action: Action, topic: string): boolean {
    return oracleAllows(this.#rules, who, action, topic)
  }

  #mayLeave(guest: Guest, { topic, retain }: Will): boolean {
    const wanted: readonly Action[] = retain ? ['publish', 'will', 'retain'] : ['publish', 'will']
    return !reserved(topic) && wanted.every((action) => this.#allows(guest, action, topic))
  }

  /** What has come is what was due, and what waits is what is owed. */
  #compare(kind: Kind): void {
    for (const guest of this.#guests) {
      const due = guest.due.splice(0).sort()
      const known = (key: string): string => (due.includes(key) ? key : key.replace(/ by .*/, ' by ?'))
      const got = guest.got.splice(0).map(known).sort()
      if (got.join() !== due.join())
        this.#leak(`${kind}: ${guest.name} got ${got.join() || 'nothing'}, not ${due.join() || 'nothing'}`)
      const pending = this.#pending(guest)
      if (pending !== guest.owed.length)
        this.#leak(`${kind}: ${pending} wait for ${guest.name}, not ${guest.owed.length}`)
    }
  }

  #pending(guest: Guest): number {
    return this.#broker.sessions.get(guest.who.clientId)?.pending ?? 0
  }

  #same(kind: Kind, what: string, ours: boolean, theirs: boolean): void {
    this.#counts[kind]++
    if (ours !== theirs) this.#leak(`${what}: ${ours}`)
  }

  #leak(what: string): never {
    throw new Leak(`seed ${this.#seed}: ${what}, by ${JSON.stringify(this.#rules)}`)
  }

  #balance(): void {
    const { published, unmatched, matched, refused, copies, delivered, lostTotal } = this.#broker.ledger
    if (published !== unmatched + matched + refused || copies !== delivered + lostTotal + this.#broker.pending)
      this.#leak('the ledger does not balance')
  }

  #settle(): void {
    for (let moved = true; moved;) {
      moved = this.#clock.endTurn()
      for (const guest of this.#guests) if (guest.acknowledge()) moved = true
    }
  }

  readonly #failed = (fields: object, message: string): void =>
    this.#leak(`a fault of ours: ${message} ${String((fields as { err?: unknown }).err)}`)

  // ── chance ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #rulebook() {
    const known = new Map(this.#guests.map(({ identity }) => [identity.user, identity]))
    return {
      policies: this.#rules ? [compileRules(this.#rules)] : [],
      named: (user: string) => (known.get(user)?.source === 'jwt' ? undefined : known.get(user)),
    }
  }

  #anyone(): Guest {
    return this.#random.pick(this.#guests)
  }

  #anyRules(): readonly Rule[] | undefined {
    const random = this.#random
    if (random.once(8)) return undefined
    const rules = Array.from({ length: random.below(7) }, () => this.#rule())
    if (!random.once(4)) rules.push({ effect: 'allow', who: { everybody: true }, actions, topics: ['#'] })
    return rules
  }

  #rule(): Rule {
    const random = this.#random
    return {
      effect: random.once(2) ? 'deny' : 'allow',
      who: random.pick<() => Rule['who']>([
        () => ({ everybody: true }),
        () => ({ anonymous: true }),
        () => ({ users: [random.pick(users), 'ann'] }),
        () => ({ groups: [random.pick(groupNames)] }),
        () => ({ clientIds: [random.pick(ids)], users: ['bob'] }),
      ])(),
      actions: actions.filter(() => random.below(3) > 0),
      topics: Array.from({ length: 1 + random.below(2) }, () => this.#filter(true)),
    }
  }

  /** Short ones over few words, so that they meet. */
  #filter(holes: boolean): string {
    const random = this.#random
    const levels: string[] = []
    for (let at = random.below(3); at > 0; at--)
      levels.push(random.once(3) ? '+' : random.pick(holes ? ['%u', ...words] : words))
    if (levels.length === 0 || random.once(3)) levels.push('#')
    return levels.join('/') || '#'
  }
}

/** A client with a session that lasts, and what the model knows of it. */
class Guest implements Stream {
  readonly remote = '192.0.2.1:1'
  readonly filters = new Map<string, number>()
  /** What has come since somebody looked, and what should have. */
  readonly got: string[] = []
  readonly due: string[] = []
  readonly owed: Owed[] = []
  will: Will | undefined = undefined
  online = false
  /** It acknowledges nothing. */
  lazy = false
  connack = -1
  /** PUBRELs that came on this connection. */
  released = 0
  #connection: Connection<Session> | undefined = undefined
  #parser = mqttPacket.parser({ protocolVersion: 5 })
  #answers: Packet[] = []
  #replies: Packet[] = []

  readonly #clock: StillClock

  constructor(
    readonly who: OracleClient,
    clock: StillClock,
  ) {
    this.#clock = clock
  }

  get name(): string {
    return JSON.stringify(this.who.clientId)
  }

  get identity(): Identity {
    const { user = '', groups, tokenRules } = this.who
    if (tokenRules === undefined) return { user, groups, source: 'users' }
    return { user, groups, source: 'jwt', permissions: tokenRules as readonly Rule[] }
  }

  isDue(key: string, topic: string, qos: number): void {
    if (this.online) this.due.push(key)
    if (qos > 0 && (this.lazy || !this.online)) this.owed.push({ key, topic, qos, sent: this.online })
  }

  open(broker: Broker, will: Will | undefined): void {
    this.connack = -1
    this.released = 0
    this.#parser = mqttPacket.parser({ protocolVersion: 5 })
    this.#parser.on('packet', (packet) => this.#packet(packet))
    this.#connection = broker.accept(this, 'memory', true)
    const { user, clientId } = this.who
    this.#send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 5,
      clean: false,
      clientId,
      keepalive: 0,
      properties: { sessionExpiryInterval: 3600 },
      ...(user !== undefined && { username: user }),
      ...(will && {
        will: {
          topic: will.topic,
          payload: Buffer.from(will.key),
          qos: will.qos,
          retain: will.retain,
          properties: { willDelayInterval: will.delaySeconds },
        },
      }),
    })
  }

  refused(): void {
    const connection = this.#connection
    this.#connection = undefined
    connection?.closed()
  }

  drop(): void {
    this.online = false
    this.#replies = []
    const connection = this.#connection!
    this.#connection = undefined
    connection.closed(new Error('gone'))
  }

  /** Gives the reason code of what answers it. */
  publishes(settle: () => void, message: { topic: string; qos: 0 | 1 | 2; retain: boolean; payload: string }): number {
    this.#answers = []
    this.#send({ cmd: 'publish', messageId: 1, dup: false, ...message })
    settle()
    const [answer] = this.#answers as { reasonCode?: number }[]
    return answer?.reasonCode ?? 0
  }

  subscribes(settle: () => void, topic: string, qos: 0 | 1 | 2): number {
    this.#answers = []
    const subscriptions = [{ topic, qos, nl: false, rap: true, rh: 0 as const }]
    // What comes by a shared subscription says so.
    const id = topic.startsWith('$share/') ? { properties: { subscriptionIdentifier: idOf(topic) } } : {}
    this.#send({ cmd: 'subscribe', messageId: 2, subscriptions, ...id })
    settle()
    return (this.#answers[0] as unknown as { granted: number[] }).granted[0]!
  }

  unsubscribes(settle: () => void, filter: string): void {
    this.#send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: [filter] })
    settle()
  }

  /** Sends what answers what has come. False: nothing. */
  acknowledge(): boolean {
    if (this.#replies.length === 0) return false
    for (const reply of this.#replies.splice(0)) this.#send(reply)
    return true
  }

  write(bytes: Uint8Array, written: () => void): void {
    this.#parser.parse(Buffer.from(bytes))
    this.#clock.endOfTurn(written)
  }

  pause(): void {}
  end(): void {}
  destroy(): void {}

  #send(packet: Packet): void {
    this.#connection?.data(mqttPacket.generate(packet, { protocolVersion: 5 }))
  }

  #packet(packet: Packet): void {
    const messageId = packet.messageId ?? 0
    switch (packet.cmd) {
      case 'connack':
        return void (this.connack = packet.reasonCode!)
      case 'publish': {
        const { subscriptionIdentifier: id } = packet.properties ?? {}
        const by = id === undefined ? '' : ` by ${filterOf(Number(id))}`
        this.got.push(`${packet.payload.toString()}${by}`)
        if (packet.qos > 0 && !this.lazy) this.#replies.push({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId })
        return
      }
      case 'pubrel':
        this.released++
        return void this.#replies.push({ cmd: 'pubcomp', messageId })
      case 'pubrec':
        this.#answers.push(packet)
        if ((packet.reasonCode ?? 0) < 0x80) this.#replies.push({ cmd: 'pubrel', messageId })
        return
      case 'puback':
      case 'suback':
        return void this.#answers.push(packet)
      default:
    }
  }
}

/** One of each list, none of them more often than it has room; nobody sees which of them has what by which group. */
function assigned(lists: readonly (readonly Guest[])[], room: Map<Guest, number>): Guest[] | undefined {
  const [first, ...rest] = lists
  if (!first) return []
  for (const guest of first) {
    const left = room.get(guest)!
    if (left === 0) continue
    const others = assigned(rest, new Map(room).set(guest, left - 1))
    if (others) return [guest, ...others]
  }
  return undefined
}

const shared: string[] = []

function idOf(filter: string): number {
  if (!shared.includes(filter)) shared.push(filter)
  return shared.indexOf(filter) + 1
}

function filterOf(id: number): string {
  return shared[id - 1]!
}

function names(guests: readonly Guest[]): string {
  return guests.map(({ name }) => name).join(', ') || 'nobody'
}

function reserved(topic: string): boolean {
  return topic === '$SYS' || topic.startsWith('$SYS/')
}
