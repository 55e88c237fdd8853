import { connect, type MqttClient } from 'mqtt'

// Durable load on several nodes at once, and whether every promise was kept.
//
//   a publisher for each node and QoS ─▶ load/<publisher> ─▶ a session for each node, which wants load/#

const outstanding = 3
const patienceMs = 45_000

/** Where clients connect. */
export interface Door {
  readonly name: string
  readonly url: string
}

/** What one session has had of one publisher. */
class Received {
  readonly once = new Set<number>()
  twice = 0
  /** The first that came behind a later one. */
  late: string | undefined = undefined
  #last = -1

  add(sequence: number): void {
    if (this.once.has(sequence)) {
      this.twice++
      return
    }
    this.once.add(sequence)
    if (sequence < this.#last) this.late ??= `${sequence} came behind ${this.#last}`
    this.#last = sequence
  }
}

class Publisher {
  readonly acknowledged = new Set<number>()
  readonly #client: MqttClient
  #next = 0
  #unanswered = 0
  #over = false
  #idle: (() => void) | undefined

  constructor(
    readonly id: string,
    url: string,
    readonly qos: 1 | 2,
    readonly acknowledging: (publisher: Publisher, sequence: number) => void,
  ) {
    this.#client = connect(url, { ...calm, clientId: id, clean: false, properties: { sessionExpiryInterval: 3600 } })
    // It comes back by itself.
    this.#client.on('error', () => {})
    for (let at = 0; at < outstanding; at++) this.#publish()
  }

  /** Publishes nothing more; done when all that it has published is answered. */
  async stop(): Promise<void> {
    this.#over = true
    if (this.#unanswered > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    await this.#client.endAsync()
  }

  kill(): void {
    // First of all: what is answered with its end must not be followed by the next one.
    this.#over = true
    this.#client.end(true)
  }

  get state(): string {
    return `${this.id}: ${this.acknowledged.size} acknowledged, ${this.#unanswered} not, ${this.#client.connected ? 'connected' : 'away'}`
  }

  #publish(): void {
    const sequence = this.#next++
    this.#unanswered++
    this.#client.publish(`load/${this.id}`, String(sequence), { qos: this.qos }, (fault) => {
      this.#unanswered--
      // A refusal is an answer, too: nobody was promised anything.
      if (!fault) {
        this.acknowledged.add(sequence)
        this.acknowledging(this, sequence)
      }
      if (this.#over) {
        if (this.#unanswered === 0) this.#idle?.()
        // Not within the callback: mqtt.js tells of a fault while it walks the list that the next one would go into.
      } else if (fault)
        setImmediate(() => {
          if (!this.#over) this.#publish()
        })
      else this.#publish()
    })
  }
}

class Subscriber {
  readonly client: MqttClient
  readonly #received = new Map<string, Received>()

  constructor(
    readonly id: string,
    url: string,
    /** It came for the first time. */
    readonly came: (publisher: string, sequence: number) => void,
  ) {
    this.client = connect(url, { ...calm, clientId: id, clean: false, properties: { sessionExpiryInterval: 3600 } })
    this.client.on('error', () => {})
    this.client.on('message', (topic, payload) => {
      const [publisher, sequence] = [topic.slice('load/'.length), Number(payload.toString())]
      const received = this.of(publisher)
      const known = received.once.has(sequence)
      received.add(sequence)
      if (!known) came(publisher, sequence)
    })
  }

  of(publisher: string): Received {
    let received = this.#received.get(publisher)
    if (!received) this.#received.set(publisher, (received = new Received()))
    return received
  }
}

const calm = { protocolVersion: 5, reconnectPeriod: 200, connectTimeout: 5000, reconnectOnConnackError: true } as const

export class Load {
  #publishers: readonly Publisher[] = []
  readonly #subscribers: readonly Subscriber[]
  #acknowledged = 0
  /** Acknowledged messages that a session has not had yet. */
  #owed = 0
  #changed: () => void = () => {}

  private constructor(doors: readonly Door[]) {
    this.#subscribers = doors.map(
      ({ name, url }) => new Subscriber(`sub-${name}`, url, (publisher, sequence) => this.#came(publisher, sequence)),
    )
  }

  /** Subscribes everywhere, then begins. */
  static async begin(doors: readonly Door[]): Promise<Load> {
    const load = new Load(doors)
    await Promise.all(load.#subscribers.map(({ client }) => client.subscribeAsync('load/#', { qos: 2 })))
    load.#publishers = doors.flatMap(({ name, url }) =>
      ([1, 2] as const).map(
        (qos) =>
          new Publisher(`pub-${name}-${qos}`, url, qos, (publisher, sequence) => load.#promised(publisher, sequence)),
      ),
    )
    return load
  }

  /** How many clients it has, each with a session. */
  get clients(): number {
    return this.#publishers.length + this.#subscribers.length
  }

  /** Done when so many more have been acknowledged. */
  async more(count: number): Promise<void> {
    const goal = this.#acknowledged + count
    await this.#until(
      () => this.#acknowledged >= goal,
      () => this.#publishers.map(({ state }) => state).join('\n'),
    )
  }

  /** Ends the load, waits for what is owed, and gives what went wrong: nothing, if every promise was kept. */
  async verdict(): Promise<string[]> {
    const stopped = Promise.all(this.#publishers.map((publisher) => publisher.stop()))
    await soon(stopped, () => this.#publishers.map(({ state }) => state).join('\n'))
    await this.#until(
      () => this.#owed === 0,
      () => `${this.#owed} are owed`,
    ).catch(() => {})
    await Promise.all(this.#subscribers.map(({ client }) => client.endAsync()))
    return this.#subscribers.flatMap((subscriber) =>
      this.#publishers.flatMap((publisher) => findings(publisher, subscriber)),
    )
  }

  kill(): void {
    for (const publisher of this.#publishers) publisher.kill()
    for (const { client } of this.#subscribers) client.end(true)
  }

  #promised({ id }: Publisher, sequence: number): void {
    this.#acknowledged++
    for (const subscriber of this.#subscribers) if (!subscriber.of(id).once.has(sequence)) this.#owed++
    this.#changed()
  }

  #came(publisher: string, sequence: number): void {
    if (!this.#publishers.find(({ id }) => id === publisher)?.acknowledged.has(sequence)) return
    this.#owed--
    this.#changed()
  }

  async #until(done: () => boolean, what: () => string): Promise<void> {
    if (done()) return
    const reached = new Promise<void>((resolve) => {
      this.#changed = () => {
        if (!done()) return
        this.#changed = () => {}
        resolve()
      }
    })
    await soon(reached, what)
  }
}

function findings({ id, qos, acknowledged }: Publisher, subscriber: Subscriber): string[] {
  const { once, twice, late } = subscriber.of(id)
  const lost = [...acknowledged].filter((sequence) => !once.has(sequence))
  return [
    ...(lost.length > 0 ? [`${lost.length} of ${acknowledged.size} missing: ${ranges(lost)}`] : []),
    ...(qos === 2 && twice > 0 ? [`${twice} came twice with QoS 2`] : []),
    ...(late === undefined ? [] : [late]),
  ].map((finding) => `${id} to ${subscriber.id}: ${finding}`)
}

/** Numbers that rise, told by the stretches that they make up. */
function ranges(numbers: readonly number[]): string {
  const stretches: [number, number][] = []
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = stretches.at(-1)
    if (last?.[1] === number - 1) last[1] = number
    else stretches.push([number, number])
  }
  const told = stretches.slice(0, 8).map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`))
  return (
    told.join(' ') + (stretches.length > told.length ? ` and ${stretches.length - told.length} stretches more` : '')
  )
}

/** @throws when it takes longer than a cluster may take for anything */
async function soon(done: Promise<unknown>, what: () => string): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took too long:\n${what()}`)), patienceMs)
  })
  try {
    await Promise.race([done, late])
  } finally {
    clearTimeout(timer)
  }
}
