import { connect, type MqttClient } from 'mqtt'

// Durable load on several nodes at once, and whether every promise was kept.
//
//   a publisher for each node and QoS ─▶ load/<publisher> ─▶ a session for each node, which wants load/#

const outstanding = 20
const patienceMs = 60_000

/** Where clients connect. */
export interface Door {
  readonly name: string
  readonly url: string
}

class Publisher {
  readonly acknowledged: number[] = []
  readonly #client: MqttClient
  #next = 0
  #unanswered = 0
  #over = false
  #idle: (() => void) | undefined

  constructor(
    readonly id: string,
    url: string,
    readonly qos: 1 | 2,
    readonly changed: () => void,
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
    this.#client.end(true)
  }

  #publish(): void {
    const sequence = this.#next++
    this.#unanswered++
    this.#client.publish(`load/${this.id}`, String(sequence), { qos: this.qos }, (fault) => {
      this.#unanswered--
      // A refusal is an answer, too: nobody was promised anything.
      if (!fault) this.acknowledged.push(sequence)
      this.changed()
      if (!this.#over) this.#publish()
      else if (this.#unanswered === 0) this.#idle?.()
    })
  }
}

class Subscriber {
  /** By publisher: every sequence number as it came. */
  readonly received = new Map<string, number[]>()
  readonly client: MqttClient

  constructor(
    readonly id: string,
    url: string,
    readonly changed: () => void,
  ) {
    this.client = connect(url, { ...calm, clientId: id, clean: false, properties: { sessionExpiryInterval: 3600 } })
    this.client.on('error', () => {})
    this.client.on('message', (topic, payload) => {
      const publisher = topic.slice('load/'.length)
      const list = this.received.get(publisher)
      if (list) list.push(Number(payload.toString()))
      else this.received.set(publisher, [Number(payload.toString())])
      changed()
    })
  }
}

const calm = { protocolVersion: 5, reconnectPeriod: 200, connectTimeout: 5000, reconnectOnConnackError: true } as const

export class Load {
  #publishers: readonly Publisher[] = []
  readonly #subscribers: readonly Subscriber[]
  #changed: () => void = () => {}

  private constructor(doors: readonly Door[]) {
    this.#subscribers = doors.map(({ name, url }) => new Subscriber(`sub-${name}`, url, () => this.#changed()))
  }

  /** Subscribes everywhere, then begins. */
  static async begin(doors: readonly Door[]): Promise<Load> {
    const load = new Load(doors)
    await Promise.all(load.#subscribers.map(({ client }) => client.subscribeAsync('load/#', { qos: 2 })))
    load.#publishers = doors.flatMap(({ name, url }) =>
      ([1, 2] as const).map((qos) => new Publisher(`pub-${name}-${qos}`, url, qos, () => load.#changed())),
    )
    return load
  }

  get acknowledged(): number {
    return this.#publishers.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0)
  }

  /** Done when so many more have been acknowledged. */
  async more(count: number): Promise<void> {
    const goal = this.acknowledged + count
    await this.#until(
      () => this.acknowledged >= goal,
      () => `${this.acknowledged} of ${goal} acknowledged`,
    )
  }

  /** Ends the load, waits for what is owed, and gives what went wrong: nothing, if every promise was kept. */
  async verdict(): Promise<string[]> {
    await Promise.all(this.#publishers.map((publisher) => publisher.stop()))
    const missing = () => this.#findings(true)
    await this.#until(
      () => missing().length === 0,
      () => missing().join('\n'),
    ).catch(() => {})
    const findings = [...missing(), ...this.#findings(false)]
    await Promise.all(this.#subscribers.map(({ client }) => client.endAsync()))
    return findings
  }

  kill(): void {
    for (const publisher of this.#publishers) publisher.kill()
    for (const { client } of this.#subscribers) client.end(true)
  }

  #findings(missing: boolean): string[] {
    const findings: string[] = []
    for (const subscriber of this.#subscribers)
      for (const { id, qos, acknowledged } of this.#publishers) {
        const received = subscriber.received.get(id) ?? []
        const once = new Set(received)
        const who = `${id} to ${subscriber.id}`
        if (missing) {
          const lost = acknowledged.filter((sequence) => !once.has(sequence))
          if (lost.length > 0)
            findings.push(`${who}: ${lost.length} of ${acknowledged.length} missing, first ${lost[0]}`)
          continue
        }
        if (qos === 2 && received.length > once.size)
          findings.push(`${who}: ${received.length - once.size} came twice with QoS 2`)
        const first = [...once]
        const late = first.findIndex((sequence, at) => at > 0 && sequence < first[at - 1]!)
        if (late > 0) findings.push(`${who}: ${first[late]} came behind ${first[late - 1]}`)
      }
    return findings
  }

  async #until(done: () => boolean, what: () => string): Promise<void> {
    if (done()) return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`it took too long: ${what()}`)), patienceMs)
      this.#changed = () => {
        if (!done()) return
        clearTimeout(timer)
        this.#changed = () => {}
        resolve()
      }
    })
  }
}
