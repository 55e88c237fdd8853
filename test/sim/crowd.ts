import type { Client } from './client.ts'
import type { ClientOptions } from './connecting.ts'
import type { Dice } from './dice.ts'
import type { Wish } from './history.ts'
import type { Link } from './link.ts'
import type { Fall } from './machine.ts'
import type { FilterWish } from './subscriber.ts'
import type { World } from './world.ts'

/** What a crowd may do. */
export interface Habits {
  readonly clients: number
  /** What each client does on average, in all. */
  readonly deeds: number
  /** How likely it is that something breaks, against everything else that a client does. */
  readonly trouble: number
  /** Shared subscriptions; then no filter but theirs matches their topics. */
  readonly shares: boolean
  readonly denies: boolean
  /** How often the broker falls. */
  readonly falls: number
}

const topics = ['t/a', 't/b', 't/a/x', 't/b/x', 'u']
const filters = ['t/a', 't/+', 't/#', 't/+/x', 't/a/#', 'u']
/** These match the shared topics too. */
const wideFilters = ['#', '+/a', '+/+', '+/a/#']
const sharedTopics = ['s/a', 's/b']
const sharedFilters = ['$share/g/s/#', '$share/g/s/+', '$share/h/s/a']
const deniedTopics = ['deny/a', '$SYS/mine']

/** Clients that do what clients do, as the dice say, until the world is at peace. */
export class Crowd {
  readonly #world: World
  readonly #dice: Dice
  readonly #habits: Habits
  #peace = false

  constructor(world: World, habits: Habits) {
    this.#world = world
    this.#habits = habits
    this.#dice = world.dice.fork(5)
    world.onLink = (link) => this.#planFault(link)
    for (let number = 0; number < habits.clients; number++) this.#start(this.#newClient(`c${number}`))
  }

  /** Runs until everybody has done enough; then nothing breaks any more, and everybody comes back. */
  live(): void {
    const world = this.#world
    const { deeds, falls } = this.#habits
    const spanMs = (deeds * 60) / (falls + 1)
    for (let left = falls; left > 0; left--) {
      world.run(this.#dice.between(0, 2 * spanMs))
      this.#fall()
    }
    world.run(spanMs)
    this.#peace = true
    world.weather.hiccup = 0
    for (const link of world.links) link.unstall()
    for (const client of world.clients) {
      if (client.robbed) continue
      client.onClosed = () => world.time.after(this.#dice.between(0, 20), () => client.connect({ clean: false }))
      if (!client.online) client.onClosed()
    }
    world.settle()
    if (falls > 0 && this.#dice.chance(0.3)) this.#fallAtRest()
    for (const client of world.clients)
      if (!client.robbed && !client.online) world.blame('rest', `${client.options.id} is not online`)
  }

  /** Everybody leaves, in one way or another. */
  leave(): void {
    for (const client of this.#world.clients) client.onClosed = () => {}
    if (this.#habits.falls > 0 && this.#dice.chance(0.2)) return this.#fall()
    if (this.#dice.chance(0.2)) return this.#world.drain()
    for (const client of this.#world.clients) {
      if (!client.online) continue
      if (this.#dice.chance(0.5)) client.disconnect()
      else client.wire!.link.cut(true, true)
    }
  }

  /** A message of each QoS to each topic, now that all is quiet: nobody has a reason to miss it. */
  callOut(): void {
    const everyTopic = this.#habits.shares ? [...topics, ...sharedTopics] : topics
    const online = this.#world.clients.filter((client) => client.online)
    for (const topic of everyTopic)
      for (const qos of [0, 1, 2] as const)
        this.#dice.pick(online).publish({ ...plainWish, topic, qos, payloadBytes: 20 })
    this.#world.settle()
  }

  #newClient(id: string, robs = false): Client {
    const dice = this.#dice
    const version = robs ? 5 : dice.pick([3, 4, 4, 5, 5, 5, 5] as const)
    const persistent = dice.chance(0.6)
    const longest = this.#world.limits.sessionExpirySeconds
    const expirySeconds = !persistent ? 0 : version < 5 || dice.chance(0.8) ? longest : 1
    const v5: Partial<ClientOptions> = {
      receiveMaximum: dice.pick([1, 2, 10, 65_535]),
      maximumPacketBytes: dice.chance(0.1) ? 2000 : Infinity,
      topicAliasMaximum: dice.pick([0, 0, 2, 10]),
      moodiness: dice.chance(0.1) ? 0.1 : 0,
    }
    return this.#world.client({
      id,
      version,
      expirySeconds,
      keepAliveSeconds: dice.chance(0.5) ? 20 : 0,
      slownessMs: dice.pick([0, 0, 2, 50]),
      ...(version === 5 && v5),
    })
  }

  #start(client: Client): void {
    this.#world.time.after(this.#dice.between(0, 20), () => {
      this.#connect(client)
      this.#live(client)
    })
  }

  #live(client: Client): void {
    if (this.#peace || client.robbed) return
    this.#world.time.after(this.#dice.between(0, 120), () => {
      if (this.#peace) return
      this.#act(client)
      this.#live(client)
    })
  }

  #act(client: Client): void {
    const dice = this.#dice
    if (client.wire && !client.online && !client.wire.isClosed && !client.wire.deaf && dice.chance(0.7)) return
    if (!client.online) return dice.chance(0.7) ? this.#connect(client) : undefined
    const { trouble } = this.#habits
    dice.weighted<() => void>([
      [60, () => this.#publish(client)],
      [20, () => this.#subscribe(client)],
      [6, () => client.unsubscribe([dice.pick(this.#filters)])],
      [trouble, () => client.disconnect({ withWill: dice.chance(0.2), endsSession: dice.chance(0.1) })],
      [trouble, () => client.wire!.link.cut(dice.chance(0.5), dice.chance(0.5))],
      [trouble, () => this.#connect(client)],
      [trouble, () => client.vanish()],
      [trouble, () => client.hangUp()],
      [trouble * 2, () => client.wire!.link.stall(dice.between(0, 800))],
      [trouble, () => this.#rob(client)],
      [trouble >> 1, () => this.#stopBroker()],
    ])()
  }

  /** The broker falls, stays down for a while, and rises again. */
  #fall(how = this.#dice.pick<Fall>(['kill', 'power', 'power'])): void {
    const world = this.#world
    const dice = this.#dice
    world.fall(how)
    world.run(dice.pick([0, 20, 200, 1000]))
    // Nobody does anything for minutes: what has a time limit may be over then.
    if (dice.chance(0.15)) world.time.stall(dice.pick([5_000, 90_000, 200_000]))
    world.rise()
  }

  /** Long after everything was acknowledged: nothing of that comes back, unless it was only written, and not synced. */
  #fallAtRest(): void {
    const world = this.#world
    const how = this.#dice.pick<Fall>(['kill', 'power'])
    world.run(10_000)
    const before = world.clients.map(({ epoch }) => [epoch, epoch.deliveries.length] as const)
    this.#fall(how)
    world.settle()
    if (how === 'power') return
    for (const [{ deliveries, client }, count] of before)
      for (const { publication, topic } of deliveries.slice(count))
        if (!publication?.isWill)
          world.blame('settled', `${publication?.id} on ${topic} came back to ${client.options.id}`)
  }

  /** Another client takes the client id, and starts clean; the one that is robbed goes on until it is sent away. */
  #rob(client: Client): void {
    client.loseId()
    const robber = this.#newClient(client.options.id, true)
    this.#connect(robber, true)
    this.#live(robber)
    this.#lingers(client)
  }

  /** The process stands still for a while, and nobody may notice more than that. */
  #stopBroker(): void {
    const { process, time } = this.#world
    if (process.isStopped) return
    process.stop()
    time.after(this.#dice.pick([50, 500, 3000]), () => process.resume(this.#dice.chance(0.5)))
  }

  #lingers(client: Client): void {
    if (!client.online || this.#peace) return
    this.#publish(client)
    this.#world.time.after(this.#dice.between(0, 20), () => this.#lingers(client))
  }

  #connect(client: Client, clean = this.#dice.chance(0.05)): void {
    const dice = this.#dice
    const will = dice.chance(0.3) ? { ...this.#wish(), isWill: true, delaySeconds: dice.pick([0, 0, 1, 3]) } : undefined
    // A client whose will is forbidden is not let in.
    if (will && deniedTopics.includes(will.topic)) will.topic = 'u'
    const inHaste = dice.chance(0.3) ? () => (this.#subscribe(client), this.#publish(client)) : undefined
    client.connect({
      clean,
      ...(will && {
        will: { ...will, payloadBytes: 1 + (will.payloadBytes % 60_000), expirySeconds: -1, contentType: '' },
      }),
      ...(inHaste && { inHaste }),
    })
  }

  #publish(client: Client): void {
    const burst = this.#dice.chance(0.1) ? 2 + this.#dice.below(12) : 1
    for (let i = 0; i < burst; i++) client.publish(this.#wish())
  }

  #wish(): { -readonly [K in keyof Wish]: Wish[K] } {
    const dice = this.#dice
    const choices = [...topics, ...(this.#habits.shares ? sharedTopics : [])]
    const retain = dice.chance(0.15)
    return {
      ...plainWish,
      topic: this.#habits.denies && dice.chance(0.1) ? dice.pick(deniedTopics) : dice.pick(choices),
      qos: dice.pick([0, 1, 1, 2, 2]),
      retain,
      payloadBytes: retain && dice.chance(0.3) ? 0 : dice.chance(0.04) ? dice.pick([3000, 5000, 70_000]) : 1,
      expirySeconds: dice.chance(0.1) ? dice.pick([1, 2, 60]) : -1,
      contentType: dice.chance(0.2) ? 'text/plain' : '',
    }
  }

  get #filters(): readonly string[] {
    return this.#habits.shares ? [...filters, ...sharedFilters, ...sharedFilters] : [...filters, ...wideFilters]
  }

  #subscribe(client: Client): void {
    const dice = this.#dice
    const wishes = new Map<string, FilterWish>()
    for (let i = dice.chance(0.8) ? 1 : 3; i > 0; i--) {
      const name = dice.pick(this.#filters)
      const noLocal = !name.startsWith('$share') && dice.chance(0.2)
      const retainHandling = dice.pick([0, 0, 1, 2] as const)
      const qos = dice.pick([0, 1, 1, 2, 2] as const)
      wishes.set(name, { name, qos, noLocal, retainAsPublished: dice.chance(0.3), retainHandling })
    }
    client.subscribe([...wishes.values()], dice.chance(0.4) ? 1 + dice.below(200) : 0)
  }

  #planFault(link: Link): void {
    if (this.#peace || this.#habits.trouble === 0) return
    const dice = this.#dice
    const fault = dice.weighted<(() => void) | undefined>([
      [70, undefined],
      [10, () => link.cut(dice.chance(0.5), dice.chance(0.5))],
      [10, () => link.stall(dice.between(0, 1500))],
    ])
    if (fault) this.#world.time.after(dice.between(0, 1000), () => (this.#peace ? undefined : fault()))
  }
}

const plainWish: Wish = {
  topic: '',
  qos: 0,
  retain: false,
  payloadBytes: 1,
  isWill: false,
  expirySeconds: -1,
  contentType: '',
}
