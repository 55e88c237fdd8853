import mqttPacket, { type Packet } from 'mqtt-packet'
import type { Identity } from '../../src/access/identity.ts'
import { actions, compileRules, type Rule } from '../../src/access/rules.ts'
import { Broker } from '../../src/broker/broker.ts'
import { defaultLimits } from '../../src/broker/limits.ts'
import type { TenantBook } from '../../src/broker/tenants.ts'
import { alone } from '../../src/cluster/alone.ts'
import type { Clock, Stream } from '../../src/host.ts'
import type { Connection } from '../../src/mqtt/connection.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import type { Session } from '../../src/sessions/session.ts'
import { openDiskStore } from '../../src/store/disk-store.ts'
import { StillClock } from '../fuzz/still-clock.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { SeededRandom } from '../support/random.ts'

// Two tenants and those who belong to none, on one broker; beside it three brokers that know nothing of tenants, one for each.
// Whatever a client sends goes to its place on the one and on its own: what comes back must be the same, byte for byte. So
// nothing crosses, and everything that stays inside arrives.

/** What differs: the seed plays it again. */
export class Crossing extends Error {}

const groups = ['north', 'south', undefined] as const
type Group = (typeof groups)[number]

const unlimited = { messages: Infinity, bytes: Infinity }
const book: TenantBook = {
  named: new Map(),
  others: { connections: Infinity, sessions: Infinity, subscriptions: Infinity, retained: unlimited, rates: {} },
}

/** Plays so many worlds. @returns packets that were compared. @throws Crossing at the first that differs */
export async function play(seed: number, worlds: number): Promise<number> {
  let packets = 0
  for (let at = seed; at < seed + worlds; at++) packets += await new World(at).play()
  return packets
}

/** The clock as one process has it: nothing of that runs when the process is over. */
class ProcessClock implements Clock {
  isOver = false
  readonly #clock: StillClock

  constructor(clock: StillClock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  wall(): number {
    return this.#clock.wall()
  }

  every(periodMs: number, tick: () => void): () => void {
    return this.#clock.every(periodMs, () => this.#run(tick))
  }

  readonly endOfTurn = (run: () => void): void => this.#clock.endOfTurn(() => this.#run(run))

  #run(run: () => void): void {
    if (!this.isOver) run()
  }
}

/** A broker on a disk of its own that outlives it. */
class Machine {
  readonly clock = new StillClock()
  process: ProcessClock
  broker!: Broker
  readonly #dice: Dice
  readonly #tenants: boolean
  readonly #separate: boolean
  readonly #failed: (what: string) => void
  #disk: SimDisk
  #index: MemoryIndex

  constructor(seed: number, tenants: boolean, separate: boolean, failed: (what: string) => void) {
    this.#dice = new Dice(seed)
    this.#tenants = tenants
    this.#separate = separate
    this.#failed = failed
    const process = (this.process = new ProcessClock(this.clock))
    this.#disk = new SimDisk(this.#dice, process.endOfTurn)
    this.#index = new MemoryIndex(process.endOfTurn)
  }

  start(rules: readonly Rule[] | undefined): void {
    const topics = new TopicTable()
    const error = (fields: object, message: string) =>
      this.#failed(`${message}: ${String((fields as { err?: unknown }).err)}`)
    const log = { debug() {}, info() {}, warn() {}, error }
    const { store, recovered } = openDiskStore({
      ...{ disk: this.#disk, index: this.#index, clock: this.process, log, storeId: 7, topics },
      ...{ reserveBytes: 0, segmentBytes: 32_768, checkpointBytes: 8192, cacheBytes: 32_768 },
    })
    const authenticate = ({
      username,
      password,
    }: {
      username: string | undefined
      password: Uint8Array | undefined
    }) => {
      const tenant = password && Buffer.from(password).toString()
      const identity: Identity = { user: username!, source: 'users', ...(this.#tenants && tenant && { tenant }) }
      return Promise.resolve({ identity })
    }
    const logIns = { chain: { authenticate }, scram: undefined, separate: this.#separate }
    this.broker = new Broker({
      host: { clock: this.process, random: new SeededRandom(5), log },
      // In the one broker all of them are; what they have together must not decide.
      limits: { ...defaultLimits, sysSeconds: 0, queueMessages: 20, inflightMessages: 5, subscriptionsPerSession: 6 },
      ...{ store, topics, cluster: alone, hooks: {}, observer: {}, version: 'tenants', heapBytes: () => 0 },
      access: { logIns, audit: undefined },
      rulebook: rulebook(rules),
      tenants: book,
    })
    this.broker.restore(recovered)
  }

  /** The process dies, and another one goes on with what is on the disk. */
  restart(rules: readonly Rule[] | undefined): void {
    this.broker.stop()
    this.process.isOver = true
    const { endOfTurn } = (this.process = new ProcessClock(this.clock))
    this.#disk = this.#disk.kill(this.#dice, endOfTurn)
    this.#index = this.#index.crash(this.#dice, endOfTurn)
    this.start(rules)
  }
}

function rulebook(rules: readonly Rule[] | undefined) {
  return { policies: rules ? [compileRules(rules)] : [], named: (user: string) => ({ user }) }
}

/** One end of a client: its stream to one of the two brokers. */
class End implements Stream {
  readonly remote = '192.0.2.1:1'
  readonly connection: Connection<Session>
  readonly came: Buffer[] = []
  ended = false

  readonly #clock: Clock

  constructor({ broker, process }: Machine) {
    this.#clock = process
    this.connection = broker.accept(this)
  }

  write(bytes: Uint8Array, written: () => void): void {
    this.came.push(Buffer.from(bytes))
    this.#clock.endOfTurn(written)
  }

  pause(): void {}

  end(): void {
    this.ended = true
  }

  destroy(): void {
    this.ended = true
  }

  take(): Buffer {
    return Buffer.concat(this.came.splice(0))
  }
}

/** A client, at both ends. */
class Twin {
  ends: readonly [shared: End, own: End] | undefined = undefined
  version: 3 | 4 | 5 = 5
  lazy = false
  nextId = 0
  /** What its parser has read and it has not answered. */
  readonly replies: Packet[] = []
  parser = mqttPacket.parser()

  constructor(
    readonly group: Group,
    readonly id: string,
    readonly user: string,
  ) {}

  get name(): string {
    return `${this.id} of ${this.group ?? 'none'}`
  }

  send(packet: Packet): void {
    this.bytes(mqttPacket.generate(packet, { protocolVersion: this.version }))
  }

  bytes(bytes: Uint8Array): void {
    for (const end of this.ends ?? []) if (!end.ended) end.connection.data(Buffer.from(bytes))
  }

  leave(): void {
    const ends = this.ends
    this.ends = undefined
    this.replies.length = 0
    for (const end of ends ?? []) end.connection.closed(new Error('gone'))
  }

  packet(packet: Packet): void {
    const messageId = packet.messageId ?? 0
    if (packet.cmd === 'publish' && packet.qos > 0 && !this.lazy)
      this.replies.push({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId })
    if (packet.cmd === 'pubrel') this.replies.push({ cmd: 'pubcomp', messageId })
    if (packet.cmd === 'pubrec' && (packet.reasonCode ?? 0) < 0x80) this.replies.push({ cmd: 'pubrel', messageId })
  }
}

const topics = ['a', 'a/b', 'a/b/c', 'b', '/a', 'a/', 'north/a', 'dev/x', 'dev/y', 'ü/b', '__proto__']
const filters = ['#', '+', 'a/#', '+/b', 'a/+/c', 'a', '/+', 'a/b', '+/+', 'north/#', 'dev/x', 'ü/+', '__proto__']
/** What is refused to everybody, or is nothing that a client may write. */
const bad = [
  '$share/g',
  '$share/+/a',
  'a#',
  'a/#/b',
  '',
  '$share/g/a#',
  'a+',
  '$tenant/north/#',
  '$tenant/#',
  '$tenant',
]

class World {
  readonly #random: SeededRandom
  readonly #seed: number
  readonly #shared: Machine
  readonly #own: ReadonlyMap<Group, Machine>
  readonly #twins: readonly Twin[]
  #rules: readonly Rule[] | undefined
  #serial = 0
  #packets = 0
  #last = 'nothing'

  constructor(seed: number) {
    this.#seed = seed
    const random = (this.#random = new SeededRandom(seed))
    const separate = random.once(2)
    const failed = (what: string) => this.#crossed(`a fault of ours: ${what}`)
    this.#shared = new Machine(seed, true, separate, failed)
    this.#own = new Map(groups.map((group) => [group, new Machine(seed, false, separate, failed)]))
    this.#rules = this.#anyRules()
    for (const machine of this.#machines()) machine.start(this.#rules)
    // The same ids, the same users, in all of them.
    this.#twins = groups.flatMap((group) =>
      [
        ['x', 'ann'],
        ['x', 'bob'],
        ['y', 'ann'],
        ['z', 'eve'],
      ].map(([id, user]) => new Twin(group, id!, user!)),
    )
  }

  async play(): Promise<number> {
    for (let round = 0; round < 3; round++) {
      for (let step = 0; step < 90; step++) await this.#step()
      if (this.#random.once(2)) await this.#restart()
      else this.#reload()
      this.#count()
    }
    for (const machine of this.#machines()) machine.broker.stop()
    return this.#packets
  }

  async #step(): Promise<void> {
    const random = this.#random
    const twin = random.pick(this.#twins)
    if (twin.ends === undefined) return this.#connect(twin)
    const dice = random.below(24)
    if (dice === 0) await this.#connect(twin)
    else if (dice === 1) this.#leave(twin)
    else if (dice === 2) await this.#pass(random.pick([1000, 4000, 30_000]))
    else if (dice < 8) this.#subscribe(twin)
    else if (dice === 8) this.#unsubscribe(twin)
    else this.#publish(twin)
    await this.#settle()
  }

  async #connect(twin: Twin): Promise<void> {
    const random = this.#random
    // As a second client that takes the first one's place, or as one that comes back.
    const before = twin.ends
    twin.version = random.pick([3, 4, 5, 5] as const)
    twin.lazy = random.once(3)
    const clean = random.once(4)
    const v5 = twin.version === 5
    this.#last = `${twin.name} connects, v${twin.version}`
    const parser = (twin.parser = mqttPacket.parser({ protocolVersion: twin.version }))
    parser.on('packet', (packet) => twin.packet(packet))
    twin.replies.length = 0
    twin.ends = [new End(this.#shared), new End(this.#own.get(twin.group)!)]
    const will = random.once(2)
      ? {
          will: {
            topic: random.pick([...topics, ...topics, '$SYS/x', '$tenant/north/a']),
            payload: Buffer.from(`will ${++this.#serial}`),
            qos: random.below(3) as 0 | 1 | 2,
            retain: random.once(3),
            ...(v5 && { properties: { willDelayInterval: random.pick([0, 0, 3]) } }),
          },
        }
      : {}
    twin.send({
      cmd: 'connect',
      protocolId: twin.version === 3 ? 'MQIsdp' : 'MQTT',
      protocolVersion: twin.version,
      clean,
      clientId: twin.id,
      keepalive: 0,
      username: twin.user,
      password: Buffer.from(twin.group ?? ''),
      ...will,
      ...(v5 && {
        properties: {
          sessionExpiryInterval: random.pick([0, 20, 3600]),
          topicAliasMaximum: random.pick([0, 0, 2]),
          requestResponseInformation: random.once(2),
          ...(random.once(4) && { maximumPacketSize: 60 }),
          receiveMaximum: random.pick([1, 3, 100]),
        },
      }),
    })
    await this.#settle()
    if (before) this.#compareEnds(twin, before)
    for (const end of before ?? []) end.connection.closed()
    if (twin.ends?.some((end) => end.ended)) twin.leave()
    await this.#settle()
  }

  #leave(twin: Twin): void {
    const how = this.#random.below(3)
    this.#last = `${twin.name} leaves (${how})`
    if (how > 0) twin.send({ cmd: 'disconnect', ...(twin.version === 5 && how === 2 && { reasonCode: 4 }) })
    this.#compareEnds(twin, twin.ends!)
    twin.leave()
  }

  #publish(twin: Twin): void {
    const random = this.#random
    const qos = random.below(3) as 0 | 1 | 2
    const v5 = twin.version === 5
    const alias = v5 && random.once(3) ? 1 + random.below(3) : 0
    const topic = alias > 0 && random.once(2) ? '' : random.pick(topics)
    const retain = random.once(3)
    const payload = retain && random.once(4) ? '' : `${++this.#serial}${'.'.repeat(random.pick([0, 0, 40, 5000]))}`
    this.#last = `${twin.name} publishes ${topic || `alias ${alias}`}${retain ? ' retained' : ''} q${qos}`
    twin.nextId = (twin.nextId % 1000) + 1
    twin.send({
      ...{ cmd: 'publish', topic, payload, qos, retain, dup: false, messageId: twin.nextId },
      ...(v5 && {
        properties: {
          ...(alias > 0 && { topicAlias: alias }),
          ...(random.once(5) && { messageExpiryInterval: random.pick([2, 100]) }),
          ...(random.once(5) && { responseTopic: random.pick(topics) }),
        },
      }),
    })
  }

  #subscribe(twin: Twin): void {
    const random = this.#random
    const wishes = Array.from({ length: 1 + random.below(3) }, () => {
      const filter = random.once(12) ? random.pick(bad) : random.pick(filters)
      const shared = random.once(4) && filter !== '' && !filter.startsWith('$share')
      return { filter: shared ? `$share/${random.pick(['g', 'h'])}/${filter}` : filter, shared }
    })
    this.#last = `${twin.name} subscribes to ${wishes.map(({ filter }) => filter).join(' ')}`
    twin.send({
      cmd: 'subscribe',
      messageId: 2000,
      subscriptions: wishes.map(({ filter, shared }) => ({
        topic: filter,
        qos: random.below(3) as 0 | 1 | 2,
        ...(twin.version === 5 && {
          nl: !shared && random.once(3),
          rap: random.once(2),
          rh: random.below(3) as 0 | 1 | 2,
        }),
      })),
      ...(twin.version === 5 && random.once(3) && { properties: { subscriptionIdentifier: 1 + random.below(300) } }),
    })
  }

  #unsubscribe(twin: Twin): void {
    const filter = this.#random.pick([...filters, ...bad.filter((text) => text !== ''), '$share/g/a'])
    this.#last = `${twin.name} unsubscribes from ${filter}`
    twin.send({ cmd: 'unsubscribe', messageId: 2001, unsubscriptions: [filter] })
  }

  async #pass(ms: number): Promise<void> {
    this.#last = `${ms} ms pass`
    const clocks = [...this.#machines()].map(({ clock }) => clock.pass(ms))
    while (clocks.map((clock) => clock.next().done).includes(false)) await this.#settle()
  }

  /** All lose their connections, and the brokers what is not on their disks: which is nothing, as nothing is under way. */
  async #restart(): Promise<void> {
    // With one will in each of them: in which order they find several, only their disks know.
    const last = groups.map((group) => this.#random.pick(this.#twins.filter((twin) => twin.group === group)))
    for (const twin of this.#twins) if (twin.ends && !last.includes(twin)) twin.send({ cmd: 'disconnect' })
    await this.#pass(5000)
    this.#last = 'the brokers start again'
    for (const twin of this.#twins) {
      twin.ends = undefined
      twin.replies.length = 0
    }
    for (const machine of this.#machines()) machine.restart(this.#rules)
    // Since when clients were gone is known as well as the last record says: sooner or later, what was due to happen has.
    await this.#pass(40_000)
  }

  #reload(): void {
    this.#rules = this.#anyRules()
    for (const { broker } of this.#machines()) broker.permit(rulebook(this.#rules))
  }

  // ── what must be the same ─────────────────────────────────────────────────────────────────────────────────────────

  async #settle(): Promise<void> {
    for (let more = true; more;) {
      await this.#rest()
      more = false
      for (const twin of this.#twins) if (twin.ends && this.#compareEnds(twin, twin.ends)) more = true
    }
  }

  /** Until no broker has anything to do: one may take a turn more than another. */
  async #rest(): Promise<void> {
    for (let busy = true; busy;) {
      await Promise.resolve()
      await Promise.resolve()
      busy = false
      for (const { clock } of this.#machines()) while (clock.endTurn()) busy = true
    }
  }

  /** True when something has come. */
  #compareEnds(twin: Twin, ends: NonNullable<Twin['ends']>): boolean {
    const [shared, own] = ends.map((end) => end.take())
    const [there, here] = [sorted(shared!), sorted(own!)]
    if (!there.equals(here)) {
      const [got, should] = texts(there, here)
      this.#crossed(`${twin.name} got ${got}, and ${should} where it is on its own`)
    }
    if (ends[0].ended !== ends[1].ended) this.#crossed(`${twin.name} was sent away by one of the two`)
    if (shared!.length === 0) return false
    this.#packets++
    if (twin.ends === ends) twin.parser.parse(shared!)
    for (const reply of twin.replies.splice(0)) if (twin.ends === ends) twin.send(reply)
    if (ends[0].ended && twin.ends === ends) twin.leave()
    return true
  }

  /** What the one counts of a tenant, its own broker counts of all. */
  #count(): void {
    const { broker } = this.#shared
    for (const group of groups) {
      if (group === undefined) continue
      const own = this.#own.get(group)!.broker
      const tenant = broker.tenants.get(group)
      const { messages, bytes } = broker.retained.volume(tenant.root.text)
      const counted = {
        ...{
          sessions: tenant.sessions,
          connections: tenant.connections,
          subscriptions: tenant.subscriptions,
          messages,
        },
        bytes: bytes - messages * tenant.root.bytes.length,
      }
      const is = {
        ...{
          sessions: own.sessions.size,
          connections: own.sessions.online,
          subscriptions: [...own.sessions.values()].reduce((sum, { subscriptions }) => sum + subscriptions.size, 0),
        },
        ...{ messages: own.retained.size, bytes: own.retained.bytes },
      }
      if (JSON.stringify(counted) !== JSON.stringify(is))
        this.#crossed(`${group} has ${JSON.stringify(is)}, counted are ${JSON.stringify(counted)}`)
    }
    for (const { broker } of this.#machines()) {
      const { published, unmatched, matched, refused, copies, delivered, lostTotal } = broker.ledger
      if (published !== unmatched + matched + refused || copies !== delivered + lostTotal + broker.pending)
        this.#crossed('a ledger does not balance')
    }
  }

  #crossed(what: string): never {
    throw new Crossing(`seed ${this.#seed}, after ${this.#last}: ${what}, by ${JSON.stringify(this.#rules)}`)
  }

  *#machines(): Generator<Machine, void, void> {
    yield this.#shared
    yield* this.#own.values()
  }

  #anyRules(): readonly Rule[] | undefined {
    const random = this.#random
    if (random.once(2)) return undefined
    const rules = Array.from({ length: 1 + random.below(3) }, (): Rule => ({
      effect: random.once(2) ? 'deny' : 'allow',
      who: random.pick<Rule['who']>([{ everybody: true }, { users: ['ann'] }, { clientIds: ['x'] }]),
      actions: actions.filter(() => random.once(2)),
      topics: [random.pick([...filters, 'dev/%c', 'dev/%u/#'])],
    }))
    return [...rules, { effect: 'allow', who: { everybody: true }, actions, topics: ['#'] }]
  }
}

/**
 * What came, by kind of packet: what waits for a disk may come a little sooner or later than what does not. Messages of QoS 1
 * and 2 are one kind, and so is each other packet.
 */
function sorted(bytes: Buffer): Buffer {
  const kinds = new Map<number, Buffer[]>()
  for (let at = 0; at < bytes.length;) {
    let length = 0
    let body = at + 1
    for (let scale = 1; ; scale *= 128) {
      length += (bytes[body]! & 127) * scale
      if (bytes[body++]! < 128) break
    }
    const first = bytes[at]!
    const kind = first >> 4 === 3 ? (first & 6 ? 3.5 : 3) : first >> 4
    kinds.set(kind, [...(kinds.get(kind) ?? []), bytes.subarray(at, body + length)])
    at = body + length
  }
  return Buffer.concat([...kinds].sort(([a], [b]) => a - b).flatMap(([, frames]) => frames))
}

/** Where they begin to differ. */
function texts(one: Buffer, other: Buffer): readonly [string, string] {
  let at = 0
  while (one[at] === other[at]) at++
  const text = (bytes: Buffer) => JSON.stringify(bytes.subarray(Math.max(0, at - 20), at + 60).toString('latin1'))
  return [text(one), text(other)]
}
