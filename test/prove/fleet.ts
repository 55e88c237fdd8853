import { SeededRandom } from '../support/random.ts'
import { Client, type ClientOptions } from './client.ts'
import { type History, type Publication, type Qos } from './history.ts'

const tickMs = 5
const window = 20
const areas = ['a', 'b', 'c', 'd'] as const
const loadTopics = areas.flatMap((area) => [`prove/${area}/0`, `prove/${area}/1`])
const retainedTopics = [1, 2].flatMap((qos) => [0, 1, 2].map((lane) => `prove/kept/${qos}/${lane}`))
const stoppedTopic = 'prove/will/stopped'
const longDelaySeconds = 5
/** A client that is back so soon has surely stopped its will. */
const surelyBackMs = 2500

interface Member {
  readonly client: Client
  /** When it comes back, by the ticks' clock; Infinity: not before it is told. */
  backMs: number
}

interface Mortal extends Member {
  readonly will: Publication
}

interface Reader {
  readonly client: Client
  /** Retained topics of which it has been told. */
  readonly heard: Set<string>
  askedAt: number
}

interface PublisherMember extends Member {
  readonly topics: readonly string[]
}

/**
 * Everybody who talks to the broker, and what they do.
 *
 *   4 publishers   QoS 1 and 2, and hold their PUBRELs back now and then
 *   2 keepers      set and clear retained messages
 *   4 steady       subscribers that are online, but for a crash now and then; all see wills
 *   2 away         are offline for whole cycles
 *   2 fickle       subscribe and unsubscribe
 *   wills          come with a will, once, and die with the broker, before it, or stop their will in time
 *   readers        ask anew for everything retained
 */
export class Fleet {
  readonly #history: History
  readonly #random: SeededRandom
  readonly #perTick: number
  readonly #name: string
  readonly #publishers: PublisherMember[] = []
  readonly #keepers: PublisherMember[] = []
  readonly #steady: Member[] = []
  readonly #away: Member[] = []
  readonly #fickle: Member[] = []
  readonly #mortals = new Set<Mortal>()
  #reader: Reader | undefined
  #port = 0
  #isLoading = true
  #made = 0
  #timer: NodeJS.Timeout | undefined

  /** @param rate messages a second, at most */
  constructor(history: History, seed: number, rate: number) {
    this.#history = history
    this.#random = new SeededRandom(seed)
    this.#perTick = (rate * tickMs) / 1000
    this.#name = `prove-${seed}`
    for (let at = 0; at < 4; at++) this.#publishers.push(this.#publisher('publisher', at, topicsOf(at)))
    for (const qos of [1, 2])
      this.#keepers.push(
        this.#publisher(
          'keeper',
          qos,
          retainedTopics.filter((topic) => topic.startsWith(`prove/kept/${qos}/`)),
        ),
      )
    for (let at = 0; at < 4; at++)
      this.#steady.push(this.#subscriber('steady', at, ['prove/a/+', 'prove/b/#', 'prove/will/#']))
    for (let at = 0; at < 2; at++) this.#away.push(this.#subscriber('away', at, ['prove/+/0', 'prove/kept/#']))
    for (let at = 0; at < 2; at++) this.#fickle.push(this.#subscriber('fickle', at, ['prove/c/+']))
  }

  /** Begins to tick. */
  begin(): void {
    this.#timer = setInterval(() => this.#tick(), tickMs)
  }

  /** Lets go of everything. */
  end(): void {
    clearInterval(this.#timer)
    this.#reader?.client.crash()
    for (const { client } of this.#everybody()) client.crash()
  }

  /** The broker listens; whoever has nothing else to do connects. */
  brokerIsUp(port: number): void {
    this.#port = port
    if (!this.#isLoading) return
    for (const member of this.#away) member.backMs = this.#random.once(3) ? this.#soonMs() : Infinity
    this.#read()
    for (let count = 0; count < 3; count++) this.#mortal()
  }

  /** It is going to be killed: from now on nobody wonders why a connection ends. */
  brokerIsDown(): void {
    this.#port = 0
    for (const { client } of this.#mortals) client.crash()
    this.#mortals.clear()
  }

  /** No more load: everybody comes, stays, acknowledges and waits. */
  settle(): void {
    this.#isLoading = false
    for (const member of this.#members()) {
      member.backMs = 0
      this.#hold(member.client, false)
    }
  }

  /** Packets that have come: while it grows, things go on. */
  get heard(): number {
    let heard = this.#reader?.client.heard ?? 0
    for (const { client } of this.#everybody()) heard += client.heard
    return heard
  }

  /** Is everybody here, and has been answered? */
  get isIdle(): boolean {
    return this.#members().every(({ client }) => client.isIdle)
  }

  /** Has each who stays been granted what it subscribes to, and has a message been acknowledged, and a retained one? */
  get isPromised(): boolean {
    const granted = this.#steady.every(({ client }) =>
      client.record.subscriptions.some(({ grantedAt }) => grantedAt < Infinity),
    )
    const acked = (retained: boolean): boolean =>
      this.#history.publications.some(
        ({ kind, retain, bytes, ackedAt }) =>
          kind === 'message' && retain === retained && bytes > 0 && ackedAt < Infinity,
      )
    return granted && acked(false) && acked(true)
  }

  /** Who is waiting for what, in words. */
  get waiting(): string {
    const busy = this.#members().filter(({ client }) => !client.isIdle)
    return busy.map(({ client }) => `${client.options.id} ${client.isOnline ? 'waits' : 'is offline'}`).join(', ')
  }

  /** Publishes something to every topic that somebody subscribes to. */
  probe(): void {
    const { client } = this.#publishers[0]!
    for (const topic of [...loadTopics, 'prove/will/probe', 'prove/kept/probe'])
      client.publisher.publish(this.#publication(client, topic, 2, { kind: 'probe' }))
  }

  /** What the broker has on its way to anybody has come when all are idle again. */
  ping(): void {
    for (const { client } of this.#members()) client.ping()
  }

  /** Asks for everything retained, and waits for it (`unread`) until `endReading`. */
  readAll(): void {
    this.#read()
  }

  /** Retained topics that have something, of which the reader has not heard. */
  get unread(): number {
    if (this.#isLoading || !this.#reader) return 0
    const newest = new Map<string, Publication>()
    for (const publication of this.#history.publications)
      if (publication.retain && publication.ackedAt < Infinity) newest.set(publication.topic, publication)
    let unread = 0
    for (const [topic, { bytes }] of newest) if (bytes > 0 && !this.#reader.heard.has(topic)) unread++
    return unread
  }

  /** What the reader has not heard is not retained. */
  endReading(): void {
    const { askedAt, heard } = this.#reader!
    const heardAt = this.#history.now()
    for (const topic of retainedTopics)
      if (!heard.has(topic)) this.#history.readings.push({ topic, number: undefined, askedAt, heardAt })
  }

  #tick(): void {
    const random = this.#random
    if (this.#port === 0) return
    const nowMs = performance.now()
    for (const member of this.#everybody())
      if (member.client.isOffline && member.backMs <= nowMs) member.client.connect(this.#port)
    if (!this.#isLoading) return
    for (const { client, topics } of this.#publishers) this.#load(client, topics)
    for (const { client, topics } of this.#keepers) this.#keep(client, topics)
    for (const { client } of this.#fickle) if (random.once(40)) this.#changeMind(client)
    for (const member of this.#members()) {
      if (random.once(40)) this.#hold(member.client, random.once(2))
      if (member.client.isOffline || !random.once(600)) continue
      if (random.once(3)) member.client.leave()
      else member.client.crash()
      member.backMs = this.#soonMs()
    }
    for (const member of this.#mortals) if (member.client.isOnline && random.once(60)) this.#die(member)
  }

  #load(client: Client, topics: readonly string[]): void {
    if (!client.isOnline) return
    const random = this.#random
    for (let left = random.below(Math.ceil(this.#perTick / 2) + 1); left > 0; left--) {
      if (client.publisher.size >= window) return
      const bytes = random.once(50) ? 8192 : 10 + random.below(300)
      const qos = random.once(2) ? 1 : 2
      client.publisher.publish(this.#publication(client, random.pick(topics), qos, { bytes }))
    }
  }

  #keep(client: Client, topics: readonly string[]): void {
    if (!client.isOnline || client.publisher.size >= window || !this.#random.once(4)) return
    const topic = this.#random.pick(topics)
    const qos = topic.startsWith('prove/kept/1/') ? 1 : 2
    const bytes = this.#random.once(8) ? 0 : 40
    client.publisher.publish(this.#publication(client, topic, qos, { bytes, retain: true }))
  }

  #changeMind(client: Client): void {
    if (!client.isOnline || client.isAsking) return
    const filter = `prove/d/${this.#random.below(2)}`
    const subscription = client.subscriptionTo(filter)
    if (subscription) client.unsubscribe(subscription)
    else client.subscribe(filter, 2)
  }

  #hold(client: Client, holds: boolean): void {
    client.publisher.hold(holds)
    client.receiver.hold(holds)
  }

  /** A client with a will comes. */
  #mortal(): void {
    const random = this.#random
    const client = this.#client({ id: `${this.#name}-mortal-${this.#made++}`, version: random.once(2) ? 4 : 5 })
    const stops = client.options.version === 5 && random.once(3)
    const topic = stops ? stoppedTopic : 'prove/will/due'
    const will = this.#publication(client, topic, random.once(2) ? 1 : 2, { kind: 'will' })
    this.#mortals.add({ client, will, backMs: Infinity })
    client.connect(this.#port, { publication: will, delaySeconds: stops ? longDelaySeconds : random.below(2) })
  }

  #die(mortal: Mortal): void {
    const { client, will } = mortal
    client.crash()
    if (will.topic !== stoppedTopic) return void this.#mortals.delete(mortal)
    // It comes back to stop its will. If it does not hear that it has, nobody knows.
    will.ackedAt = Infinity
    const diedMs = performance.now()
    client.onAccepted = () => {
      client.onAccepted = undefined
      will.withdrawn = performance.now() - diedMs < surelyBackMs
      this.#mortals.delete(mortal)
      client.leave()
    }
    client.connect(this.#port)
  }

  /** Somebody new asks for everything retained, and notes what comes. */
  #read(): void {
    this.#reader?.client.crash()
    const client = this.#client({ id: `${this.#name}-reader-${this.#made++}`, version: 5, passing: true })
    const reader: Reader = { client, heard: new Set(), askedAt: Infinity }
    client.onAccepted = () => {
      reader.askedAt = this.#history.now()
      client.subscribe('prove/kept/#', 1)
    }
    client.onRetained = (topic, number) => {
      reader.heard.add(topic)
      this.#history.readings.push({ topic, number, askedAt: reader.askedAt, heardAt: this.#history.now() })
    }
    client.connect(this.#port)
    this.#reader = reader
  }

  #publisher(role: string, at: number, topics: readonly string[]): PublisherMember {
    const client = this.#client({ id: `${this.#name}-${role}-${at}`, version: at % 2 === 0 ? 5 : 4 })
    return { client, topics, backMs: 0 }
  }

  #subscriber(role: string, at: number, filters: readonly string[]): Member {
    const id = `${this.#name}-${role}-${at}`
    const client = this.#client({ id, version: at % 2 === 0 ? 5 : 4, receiveMaximum: at < 2 ? 10 : 1000 })
    this.#history.subscribers.push(client.record)
    client.onAccepted = () => {
      client.onAccepted = undefined
      // Every second one, of each role, wants QoS 1 at most; of the steady ones one.
      for (const filter of filters) client.subscribe(filter, at === 1 ? 1 : 2)
    }
    return { client, backMs: 0 }
  }

  #client(options: ClientOptions): Client {
    const client = new Client(options, this.#history)
    client.onCut = () => {
      if (this.#port !== 0) this.#history.incident('misbehaved', `the broker closed the connection of ${options.id}`)
    }
    return client
  }

  #publication(
    client: Client,
    topic: string,
    qos: Qos,
    more: Partial<Pick<Publication, 'bytes' | 'retain' | 'kind'>>,
  ): Publication {
    return this.#history.publication({ publisher: client.options.id, topic, qos, bytes: 20, ...more })
  }

  #soonMs(): number {
    return performance.now() + 10 + this.#random.below(100)
  }

  /** Those who are there from the beginning to the end. */
  #members(): Member[] {
    return [...this.#publishers, ...this.#keepers, ...this.#steady, ...this.#away, ...this.#fickle]
  }

  #everybody(): Member[] {
    return [...this.#members(), ...this.#mortals]
  }
}

/** Each publisher has four of the eight topics. */
function topicsOf(at: number): string[] {
  return loadTopics.filter((_, topic) => topic % 2 === at % 2)
}
