import { check, type Finding } from '../prove/checker.ts'
import { Client, type ClientOptions } from '../prove/client.ts'
import { History, type Publication, type Qos } from '../prove/history.ts'
import { Bell } from '../support/bell.ts'

/** Enough of these fill a segment of the smallest size, and bring a checkpoint. */
const bigBytes = 350_000
const keptTopics = ['kept/0', 'kept/1', 'kept/2'] as const

/** The broker is gone. */
class GoneError extends Error {
  override readonly name = 'GoneError'
}

/**
 * A short fixed story that leaves every kind of record on the disk, a second segment, and a checkpoint:
 *
 *   sender    publishes QoS 1 and 2, retained messages, and large ones
 *   holder    leaves a QoS 2 id between PUBREC and PUBREL
 *   away      is offline while its queue grows, then drains it
 *   steady    receives; crashes once with messages in flight
 *   fickle    unsubscribes
 *   mortal    dies with a will
 *
 * `run` may be cut short anywhere by the end of the broker. `aftermath` then says which promises were broken.
 */
export class Script {
  readonly #history = new History()
  readonly #bell = new Bell()
  readonly #clients: Client[] = []
  readonly #sender = this.#client({ id: 'sender', version: 5 })
  readonly #holder = this.#client({ id: 'holder', version: 5 })
  readonly #away = this.#subscriber({ id: 'away', version: 5, receiveMaximum: 4 })
  readonly #steady = this.#subscriber({ id: 'steady', version: 4 })
  readonly #fickle = this.#subscriber({ id: 'fickle', version: 4 })
  readonly #mortal = this.#client({ id: 'mortal', version: 4 })
  #port = 0
  #gone = false

  /** Messages whose acknowledgement has come. */
  get acknowledged(): number {
    return this.#history.publications.filter(({ ackedAt }) => ackedAt < Infinity).length
  }

  /** @param ended resolves when the broker is gone. @returns has all of the story been told? */
  async run(port: number, ended: Promise<void>): Promise<boolean> {
    this.#meet(port, ended)
    try {
      await this.#tell()
      return true
    } catch (fault) {
      if (fault instanceof GoneError) return false
      throw fault
    } finally {
      this.end()
    }
  }

  /** After a restart: everybody comes back and gets what is theirs. @returns what is wrong */
  async aftermath(port: number, ended: Promise<void>): Promise<readonly Finding[]> {
    this.#meet(port, ended)
    try {
      await this.#settle()
    } catch (fault) {
      this.#history.incident('misbehaved', `${(fault as Error).message}; busy: ${this.#busy()}`)
    }
    this.end()
    return check(this.#history).findings
  }

  /** Lets go of every connection. */
  end(): void {
    for (const client of this.#clients) client.crash()
  }

  async #tell(): Promise<void> {
    const [sender, holder, away, steady, fickle] = [this.#sender, this.#holder, this.#away, this.#steady, this.#fickle]
    await this.#connect(sender, holder, away, steady)
    away.subscribe('a/#', 2)
    steady.subscribe('a/+', 1)
    steady.subscribe('will/#', 2)
    await this.#idle(away, steady)
    away.subscribe('big/#', 1)
    await this.#idle(away)
    away.leave()

    await this.#publish(sender, 'a/x', 1)
    this.#send(sender, 'a/x', 2)
    this.#send(sender, keptTopics[0], 1, 20, true)
    await this.#publish(sender, keptTopics[1], 2, 20, true)
    holder.publisher.hold(true)
    const held = this.#send(holder, 'a/held', 2)
    await this.#until(() => held.ackedAt < Infinity)

    await this.#connect(fickle)
    fickle.subscribe('c/#', 1)
    await this.#idle(fickle)
    fickle.subscribe('d/#', 2)
    const given = fickle.subscriptionTo('c/#')!
    fickle.unsubscribe(given)
    await this.#idle(fickle)
    await this.#publish(sender, keptTopics[1], 1, 0, true)

    const will = this.#publication(this.#mortal, 'will/due', 2, 20, false, 'will')
    this.#mortal.connect(this.#port, { publication: will, delaySeconds: 0 })
    await this.#until(() => this.#mortal.isOnline)
    this.#mortal.crash()
    await this.#until(() => steady.record.received.includes(will.number))

    steady.receiver.hold(true)
    const flying = [1, 2, 1, 2].map((qos) => this.#send(sender, 'a/y', qos as Qos))
    await this.#idle(sender)
    await this.#until(() => flying.every(({ number }) => steady.record.received.includes(number)))
    steady.crash()
    steady.receiver.hold(false)
    await this.#connect(steady)

    for (let count = 0; count < 4; count++) await this.#publish(sender, 'big/x', 1, bigBytes)
    holder.publisher.hold(false)
    await this.#idle(holder)
    await this.#publish(sender, keptTopics[2], 2, bigBytes, true)
    await this.#connect(away)
    await this.#until(() => this.#owed() === 0)
    away.leave()
    await this.#publish(sender, 'a/z', 2)
    await this.#publish(sender, 'd/z', 1)
    await this.#idle(sender, holder, steady, fickle)
  }

  async #settle(): Promise<void> {
    const members = [this.#sender, this.#holder, this.#away, this.#steady, this.#fickle]
    for (const client of members) {
      client.publisher.hold(false)
      client.receiver.hold(false)
    }
    await this.#connect(...members)
    await this.#idle(...members)
    await this.#readKept()
    for (const topic of ['a/probe', 'big/probe', 'c/probe', 'd/probe', 'will/probe'])
      this.#sender.publisher.publish(this.#publication(this.#sender, topic, 2, 20, false, 'probe'))
    await this.#idle(...members)
    await this.#until(() => this.#owed() === 0)
    // What must not come has come as well.
    for (const client of members) client.ping()
    await this.#idle(...members)
  }

  /** Somebody new asks for everything retained. */
  async #readKept(): Promise<void> {
    const reader = this.#client({ id: 'reader', version: 5, passing: true })
    const { readings } = this.#history
    await this.#connect(reader)
    const askedAt = this.#history.now()
    const first = readings.length
    reader.onRetained = (topic, number) => readings.push({ topic, number, askedAt, heardAt: this.#history.now() })
    reader.subscribe('kept/#', 1)
    // Retained messages may come behind SUBACK, and these before the answer to a PINGREQ.
    await this.#idle(reader)
    reader.ping()
    await this.#idle(reader)
    const heard = new Set(readings.slice(first).map(({ topic }) => topic))
    for (const topic of keptTopics)
      if (!heard.has(topic)) readings.push({ topic, number: undefined, askedAt, heardAt: this.#history.now() })
  }

  #meet(port: number, ended: Promise<void>): void {
    this.#port = port
    this.#gone = false
    void ended.then(() => {
      if (this.#port !== port) return
      this.#gone = true
      this.#bell.ring()
    })
  }

  async #connect(...clients: readonly Client[]): Promise<void> {
    for (const client of clients) client.connect(this.#port)
    await this.#until(() => clients.every(({ isOnline }) => isOnline))
  }

  async #publish(client: Client, topic: string, qos: Qos, bytes = 20, retain = false): Promise<void> {
    this.#send(client, topic, qos, bytes, retain)
    await this.#idle(client)
  }

  #send(client: Client, topic: string, qos: Qos, bytes = 20, retain = false): Publication {
    const publication = this.#publication(client, topic, qos, bytes, retain, 'message')
    client.publisher.publish(publication)
    return publication
  }

  #publication(
    client: Client,
    topic: string,
    qos: Qos,
    bytes: number,
    retain: boolean,
    kind: Publication['kind'],
  ): Publication {
    return this.#history.publication({ publisher: client.options.id, topic, qos, bytes, retain, kind })
  }

  async #idle(...clients: readonly Client[]): Promise<void> {
    await this.#until(() => clients.every(({ isIdle }) => isIdle))
  }

  async #until(done: () => boolean): Promise<void> {
    await this.#bell.until(
      () => this.#gone || done(),
      () => this.#busy(),
    )
    if (this.#gone) throw new GoneError('the broker has ended')
  }

  /** What subscribers wait for that time may still bring. */
  #owed(): number {
    return check(this.#history).findings.filter(({ kind }) => kind === 'lost' || kind === 'will lost').length
  }

  #busy(): string {
    return this.#clients.flatMap((client) => (client.isIdle ? [] : [client.options.id])).join(', ')
  }

  #subscriber(options: ClientOptions): Client {
    const client = this.#client(options)
    this.#history.subscribers.push(client.record)
    return client
  }

  #client(options: ClientOptions): Client {
    const client = new Client(options, this.#history)
    client.onNews = () => this.#bell.ring()
    this.#clients.push(client)
    return client
  }
}
