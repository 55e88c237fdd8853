import type { Chain, LogIn } from '../../src/access/chain.ts'
import type { Credentials, Identity } from '../../src/access/identity.ts'
import { Broker } from '../../src/broker/broker.ts'
import type { Cluster } from '../../src/broker/cluster-port.ts'
import { defaultLimits } from '../../src/broker/limits.ts'
import { alone } from '../../src/cluster/alone.ts'
import { ClusterNode, defaultClusterSettings } from '../../src/cluster/cluster.ts'
import type { NodeId } from '../../src/cluster/peers.ts'
import type { Log, Stream, StreamEvents } from '../../src/host.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { openDiskStore } from '../../src/store/disk-store.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import type { Recovered, Store } from '../../src/store/port.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { Process } from '../sim/process.ts'
import { End } from './cluster-end.ts'
import type { City, LogLine } from './cluster-kit.ts'

const handshakeMs = 5000

/** Answers at once: nothing else here waits for a promise. */
/** A user of a tenant is one with an "@". */
function identityOf(user: string): Identity {
  const [, tenant] = user.split('@')
  return { user, source: 'users', ...(tenant !== undefined && { tenant }) }
}

const everybody = {
  authenticate: ({ username: user }: Credentials) => ({
    then: (answer: (logIn: LogIn) => void) =>
      answer(user === undefined ? { denied: 'nobody', by: undefined } : { identity: identityOf(user) }),
  }),
} as unknown as Chain

const unlimited = { connections: Infinity, sessions: Infinity, subscriptions: Infinity, rates: {} }
const tenants = { named: new Map(), others: { ...unlimited, retained: { messages: Infinity, bytes: Infinity } } }

/** One node of a city, and what it runs on. */
export class Machine {
  process: Process
  broker!: Broker
  cluster!: ClusterNode
  store!: Store
  isUp = false
  ready = false
  readonly log: LogLine[] = []
  readonly address: string
  #disk: SimDisk
  #index: MemoryIndex
  readonly #skewMs: number

  constructor(
    readonly name: NodeId,
    readonly city: City,
    readonly join: readonly NodeId[],
  ) {
    this.address = `${name}:7001`
    this.#skewMs =
      city.options.skewMs === undefined ? 0 : city.dice.fork(name.charCodeAt(0)).between(0, city.options.skewMs)
    this.process = new Process(city.time, 0, this.#skewMs)
    this.#disk = new SimDisk(city.dice.fork(name.charCodeAt(0)), this.#later())
    this.#index = new MemoryIndex(this.#later())
  }

  start(): void {
    const { options, dice } = this.city
    const topics = new TopicTable()
    const { store, ...opened } = options.stores === 'memory' ? memory() : this.#open(topics)
    const recovered = { ...opened.recovered, sessions: [...opened.recovered.sessions] }
    this.store = store
    const random = dice.fork(1000 + this.city.starts++)
    const host = { clock: this.process, random, log: this.#log() }
    const wire = options.wireOf?.(this.name) ?? options.wire
    this.cluster = new ClusterNode({
      node: this.name,
      clusterId: 'city',
      address: this.address,
      join: this.join.map((name) => `${name}:7001`),
      ...{ host, store, recovered, topics },
      net: { dial: (address, opened, failed) => this.#dial(address, opened, failed) },
      settings: { ...defaultClusterSettings, ...options.settings },
      clientAddress: `${this.name}.example:1883`,
      ...(wire && { wire }),
      ...(options.creditBytes !== undefined && { limits: { creditBytes: options.creditBytes } }),
    })
    this.broker = this.#broker(this.cluster, store, topics)
    this.broker.restore(recovered)
    this.isUp = true
    this.ready = false
    this.cluster.start()
    this.cluster.whenReady(() => (this.ready = true))
  }

  /** As a node that knows of no cluster. */
  startAlone(): void {
    const topics = new TopicTable()
    const { store, recovered } = this.#open(topics)
    this.broker = this.#broker(alone, store, topics)
    this.broker.restore(recovered)
  }

  #broker(cluster: Cluster, store: Store, topics: TopicTable): Broker {
    const { options, dice } = this.city
    return new Broker({
      ...{ store, topics, cluster },
      host: { clock: this.process, random: dice.fork(2000 + this.city.starts), log: this.#log() },
      limits: { ...defaultLimits, sysSeconds: 0, ...options.limits },
      ...(options.keeping && { keeping: options.keeping }),
      ...(options.logIns && {
        access: { logIns: { chain: everybody, scram: undefined, separate: false }, audit: undefined },
        tenants,
      }),
      hooks: {},
      observer: {},
      version: 'test',
      heapBytes: () => 0,
    })
  }

  fall(how: 'kill' | 'power'): void {
    const { time, dice } = this.city
    this.isUp = false
    this.process.kill()
    // Its monotonic clock begins anew.
    this.process = new Process(time, time.now() - 5, this.#skewMs)
    const later = this.#later()
    this.#disk = how === 'power' ? this.#disk.crash(dice, later) : this.#disk.kill(dice, later)
    this.#index = this.#index.crash(dice, later)
  }

  /** While it is down: what a start would find on its disk. */
  inspect(look: (found: Recovered, store: Store) => void): void {
    const { recovered, store } = this.#open(new TopicTable())
    look(recovered, store)
    this.fall('kill')
  }

  /** Its folder is empty, as a new machine's is. */
  replaceDisk(): void {
    this.#disk = new SimDisk(this.city.dice.fork(this.name.charCodeAt(0)), this.#later())
    this.#index = new MemoryIndex(this.#later())
  }

  #dial(
    address: string,
    opened: (stream: Stream, node: string) => StreamEvents,
    failed: (fault: Error & { code?: string }) => void,
  ): void {
    const { city, process } = this
    const to = [...city.machines.values()].find((machine) => machine.address === address)
    const fail = (code: string) =>
      process.enter(() => failed(Object.assign(new Error('nobody is there, or answers'), { code })))
    city.time.after(city.latencyMs() * 2, () => {
      if (to === undefined || city.apart(this.name, to.name)) return city.time.after(1000, () => fail('ETIMEDOUT'))
      if (!to.isUp) return fail('ECONNREFUSED')
      let isOver = false
      const giveUp = city.time.after(handshakeMs, () => {
        isOver = true
        fail('ETIMEDOUT')
      })
      // Both must do something for it: one whose process stands still does not.
      to.process.enter(() => {
        giveUp()
        if (isOver || this.process !== process) return
        const [near, far] = [new End(to.name, this, process, city), new End(this.name, to, to.process, city)]
        near.other = far
        far.other = near
        city.ends.push(near, far)
        far.events = to.cluster.accept(far, this.name)
        near.process.enter(() => (near.events = opened(near, to.name)))
      })
    })
  }

  #log(): Log {
    const at = (level: string) => (fields: object, message: string) => {
      const line = { level, message, fields }
      this.log.push(line)
      this.city.options.logged?.(line, this)
    }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }

  #later(): (run: () => void) => void {
    const { city, process } = this
    return (run) => void city.time.after(city.syncMs(), () => process.enter(run))
  }

  #open(topics: TopicTable): { store: Store; recovered: Recovered } {
    return openDiskStore({
      disk: this.#disk,
      index: this.#index,
      clock: this.process,
      log: this.#log(),
      storeId: this.name.charCodeAt(0),
      topics,
      reserveBytes: 0,
      segmentBytes: 256 * 1024,
      checkpointBytes: 64 * 1024,
      ...this.city.options.keeps,
    })
  }
}

function memory(): { store: Store; recovered: Recovered } {
  return { store: new MemoryStore(), recovered: { sessions: [], retained: [] } }
}
