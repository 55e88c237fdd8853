import { Broker } from '../../src/broker/broker.ts'
import type { Hooks } from '../../src/access/hooks.ts'
import { defaultLimits, type Limits } from '../../src/broker/limits.ts'
import { alone } from '../../src/cluster/alone.ts'
import type { Log } from '../../src/host.ts'
import type { DiskStore } from '../../src/store/disk-store.ts'
import { Client, type ClientParts } from './client.ts'
import type { ClientOptions } from './connecting.ts'
import { Dice } from './dice.ts'
import { History } from './history.ts'
import type { HookTime } from './hooks.ts'
import { Link, type Weather } from './link.ts'
import { type Fall, Machine, type StoreHabits } from './machine.ts'
import type { Probe } from './probe.ts'
import type { Process } from './process.ts'
import { idOf } from './publication.ts'
import { Records } from './records.ts'
import { Time } from './time.ts'
import type { Wire } from './wire.ts'

/** A rule that the broker broke. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

export interface WorldOptions {
  readonly seed: number
  readonly limits?: Partial<Limits>
  readonly hooks?: (world: { readonly time: HookTime }) => Hooks
  /** How long a call of the disk takes, at most; now and then one takes 20 times as long. */
  readonly syncMs?: number
  /** Sizes of the store; tiny by default, so that everything that it does happens often. */
  readonly keeps?: StoreHabits
  readonly weather?: Partial<Weather>
  /** Told of everything that crosses the network, for a replay. */
  readonly tell?: (line: string) => void
}

/** The store says that often that it is alive, a little late. */
const aliveMs = 12_000

const tiny: StoreHabits = { segmentBytes: 32_768, checkpointBytes: 8192, cacheBytes: 32_768 }

/** One loss that the broker admits. */
export interface AdmittedLoss {
  readonly reason: string
  readonly clientId: string
  readonly id: string
}

/**
 * A whole broker, its clients, network, disk and clock on one thread, all from one seed.
 *
 *   Client ── Wire ── Link ── Broker ── DiskStore ── SimDisk        every arrow is an event of `Time`
 */
export class World {
  readonly dice: Dice
  readonly time: Time
  readonly records = new Records()
  readonly history: History
  readonly weather: Weather
  readonly limits: Limits
  readonly clients: Client[] = []
  readonly links: Link[] = []
  readonly losses: AdmittedLoss[] = []
  /** Told of each new link, so that somebody may plan a fault for it. */
  onLink: (link: Link, client: string) => void = () => {}
  readonly #tell: ((line: string) => void) | undefined
  readonly #parts: ClientParts
  readonly #machine: Machine
  #hash = 0x811c9dc5
  #draining = false
  #rising = false
  /** The power has failed once. */
  #isTorn = false

  constructor({ seed, limits, hooks, syncMs = 5, keeps = tiny, weather, tell }: WorldOptions) {
    this.dice = new Dice(seed)
    this.#tell = tell
    this.weather = { latencyMs: 3, hiccup: 0, burstBytes: 65_536, ...weather }
    this.limits = { ...defaultLimits, sysSeconds: 0, ...limits }
    this.time = new Time(this.dice.fork(1))
    this.history = new History(this.time)
    const { time, records } = this
    const log = this.#log()
    this.#machine = new Machine({
      time,
      dice: this.dice.fork(2),
      records,
      syncMs,
      habits: keeps,
      log,
      broker: (process, store, topics) => {
        const broker = new Broker({
          host: { clock: process, random: this.dice.fork(3), log },
          limits: this.limits,
          store,
          topics,
          cluster: alone,
          hooks: hooks?.({ time: { after: (ms, run) => time.after(ms, () => process.enter(run)) } }) ?? {},
          observer: {},
          version: 'sim',
          heapBytes: () => 0,
        })
        broker.ledger.listener = (reason, clientId, message) => {
          const id = message === undefined ? '' : idOf(message.payload())
          this.losses.push({ reason, clientId, id })
          this.tell(`✗ ${reason} ${clientId} ${id}`)
        }
        return broker
      },
    })
    this.#parts = {
      time: this.time,
      dice: this.dice.fork(4),
      history: this.history,
      records,
      isUp: () => this.#machine.isUp,
      dial: (wire, clientId) => this.dial(wire, clientId),
      isDraining: () => this.#draining,
      blame: (rule, what) => this.blame(rule, what),
    }
  }

  get process(): Process {
    return this.#machine.process
  }

  get broker(): Broker {
    return this.#machine.broker
  }

  get probe(): Probe {
    return this.#machine.probe
  }

  /** The store under the broker. */
  get disk(): DiskStore {
    return this.#machine.disk
  }

  client(options: Partial<ClientOptions> & { readonly id: string }): Client {
    const defaults = {
      version: 5 as const,
      expirySeconds: 0,
      keepAliveSeconds: 0,
      receiveMaximum: 65_535,
      maximumPacketBytes: Infinity,
      topicAliasMaximum: 0,
      slownessMs: 0,
      moodiness: 0,
    }
    const client = new Client({ ...defaults, ...options }, this.#parts)
    this.clients.push(client)
    return client
  }

  /** Everything that has crossed the network, in one number. */
  get hash(): number {
    return this.#hash >>> 0
  }

  tell(line: string): void {
    this.#tell?.(`${this.time.now().toFixed(3)} #${this.time.seq} ${line}`)
  }

  blame(rule: string, what: string): never {
    throw new Violation(`${rule}: ${what} (event ${this.time.seq})`)
  }

  /** Runs events until `done`, or until `forMs` have passed; checks the broker's books after each. */
  run(forMs: number, done: () => boolean = () => false): boolean {
    const untilMs = this.time.now() + forMs
    while (!done()) {
      if (this.time.nextMs > untilMs) {
        this.time.stall(Math.max(0, untilMs - this.time.now()))
        return false
      }
      this.time.step()
      this.#balance()
    }
    return true
  }

  /** Runs until nothing is under way but the ticking of clocks. */
  settle(forMs = 60_000): void {
    const { broker, time, probe } = this
    const idle = () => !time.busy && broker.pending === 0 && probe.lentBytes === 0
    const rest = () => idle() && this.clients.every((client) => client.robbed || client.settled)
    if (!this.run(forMs, rest)) this.blame('rest', `the world did not come to rest: ${this.#unrest()}`)
  }

  /** The broker falls; nobody can connect until it rises. */
  fall(how: Fall): void {
    this.tell(`the broker falls: ${how}`)
    if (how === 'power') this.#isTorn = true
    this.history.falls.push({ seq: this.time.seq, ms: this.time.now() })
    const lost = this.#machine.fall(how)
    // It writes down that it is alive only now and then.
    const sinceMs = this.time.now() - aliveMs
    for (const client of this.clients) client.brokerFell(lost, sinceMs)
    for (const link of this.links) link.orphan(this.dice.chance(0.5))
  }

  /** Another broker starts where the last one fell. */
  rise(): void {
    this.tell('the broker rises')
    this.#rising = true
    this.#machine.start()
    this.#rising = false
  }

  /** The broker sends everybody away. */
  drain(): void {
    this.#draining = true
    this.broker.drain()
  }

  /** Everybody has left: lets all sessions run out, and checks that nothing of them is left. */
  empty(): void {
    const { broker, probe, time } = this
    time.lazy = 9
    this.run((this.limits.sessionExpirySeconds + 120) * 1000)
    const { sessions, tree, connections, ledger, pending } = broker
    const left = { connections, sessions: sessions.size, online: sessions.online, pending, subscriptions: tree.size }
    const trieNodes = tree.nodes - this.#machine.emptyNodes
    const held = this.disk.log.segments().reduce((sum, segment) => sum + segment.held, 0)
    const more = { trieNodes, lentBytes: probe.lentBytes, timers: probe.timers, heldRecords: held }
    for (const [what, count] of Object.entries({ ...left, ...more }))
      if (count !== 0) this.blame('leak', `${count} ${what} are left when everybody is gone`)
    if (ledger.copies !== ledger.delivered + ledger.lostTotal) this.blame('ledger', 'copies are left')
    broker.stop()
  }

  // published = matched + unmatched + refused, and copies = delivered + pending + lost: always.
  #balance(): void {
    if (!this.#machine.isUp) return
    const { ledger, pending } = this.broker
    const { published, matched, unmatched, refused, copies, delivered, lostTotal } = ledger
    if (published !== matched + unmatched + refused)
      this.blame('ledger', `published ${published} ≠ matched ${matched} + unmatched ${unmatched} + refused ${refused}`)
    if (copies !== delivered + pending + lostTotal)
      this.blame('ledger', `copies ${copies} ≠ delivered ${delivered} + pending ${pending} + lost ${lostTotal}`)
  }

  /** Opens a connection to the broker. */
  dial(wire: Wire, clientId: string): void {
    const number = this.links.length
    const link = new Link(`${clientId}:${number}`, {
      time: this.time,
      process: this.process,
      store: this.#machine.store,
      dice: this.dice.fork(100 + number),
      weather: this.weather,
      peer: wire,
      trace: (direction, name, bytes) => this.#trace(direction, name, bytes),
    })
    this.links.push(link)
    wire.link = link
    link.open(this.broker.accept(link))
    this.onLink(link, clientId)
  }

  #trace(direction: string, name: string, bytes: Uint8Array): void {
    let hash = this.#hash ^ this.time.seq
    for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
    this.#hash = hash
    if (this.#tell)
      this.tell(
        `${direction} ${name} ${Buffer.from(bytes)
          .toString('latin1')
          .replace(/[^ -~]/g, '·')}`,
      )
  }

  #log(): Log {
    const line = (level: string) => (_fields: object, message: string) => this.tell(`${level}: ${message}`)
    return {
      debug: line('debug'),
      info: line('info'),
      // The clients keep to the standard; only one that has vanished may be called silent.
      warn: (fields, message) => {
        this.tell(`warn: ${message}`)
        const { clause, remote } = fields as { clause?: string; remote?: string }
        if (remote === undefined) this.blame('warning', message)
        // One that comes back again and again, while its old connections lie there, looks like two.
        if (message.startsWith('two clients take one client id')) return
        const gone = this.links.find((link) => link.remote === remote)?.wasCut === true
        if (!gone) this.blame('blamed', `${clause} for ${remote}: ${message}`)
      },
      error: (fields, message) => {
        const { err } = fields as { err?: Error }
        // Of what nobody waited for some may be missing in front of some that is there.
        if (this.#rising && this.#isTorn) return this.tell(`error: ${message}`)
        this.blame('error log', `${message}: ${err?.stack ?? ''}`)
      },
    }
  }

  #unrest(): string {
    const clients = this.clients.filter((c) => !c.settled && !c.robbed)
    const waiting = clients.map((c) => `${c.options.id} (${c.flights.size} flights, ${c.subscriber.size} requests)`)
    return `${this.broker.pending} copies pending, ${this.probe.lentBytes} bytes of pages lent; ${waiting.join(', ')}`
  }
}
