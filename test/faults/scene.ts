import { check } from '../prove/checker.ts'
import { Client, type ClientOptions } from '../prove/client.ts'
import { History, type Publication, type Qos, type Recorded } from '../prove/history.ts'
import { Bell } from '../support/bell.ts'

/** The broker is gone. */
export class GoneError extends Error {
  override readonly name = 'GoneError'
}

export interface Sending {
  readonly bytes?: number
  readonly retain?: boolean
  readonly kind?: Publication['kind']
}

/** Clients of one broker after the other, what they were promised, and how to wait for what happens to them. */
export class Scene {
  readonly history = new History()
  readonly clients: Client[] = []
  readonly #bell = new Bell()
  port = 0
  #gone = false

  /** From now on this is the broker. @param ended resolves when it is gone: whoever waits then is told by a GoneError */
  meet(port: number, ended: Promise<unknown>): void {
    this.port = port
    this.#gone = false
    void ended.then(() => {
      if (this.port !== port) return
      this.#gone = true
      this.#bell.ring()
    })
  }

  /** Lets go of every connection. */
  end(): void {
    for (const client of this.clients) client.crash()
  }

  client(options: ClientOptions): Client {
    const client = new Client(options, this.history)
    client.onNews = () => this.#bell.ring()
    this.clients.push(client)
    return client
  }

  /** A client whose session is owed what it subscribes to. */
  subscriber(options: ClientOptions): Client {
    const client = this.client(options)
    this.history.subscribers.push(client.record)
    return client
  }

  async connect(...clients: readonly Client[]): Promise<void> {
    for (const client of clients) client.connect(this.port)
    await this.until(() => clients.every(({ isOnline }) => isOnline))
  }

  publication(client: Client, topic: string, qos: Qos, sending: Sending = {}): Publication {
    return this.history.publication({ publisher: client.options.id, topic, qos, bytes: 20, ...sending })
  }

  send(client: Client, topic: string, qos: Qos, sending?: Sending): Publication {
    const publication = this.publication(client, topic, qos, sending)
    client.publisher.publish(publication)
    return publication
  }

  /** Done when it is acknowledged to the end. */
  async publish(client: Client, topic: string, qos: Qos, sending?: Sending): Promise<void> {
    this.send(client, topic, qos, sending)
    await this.idle(client)
  }

  /** Done when they have had all their answers. */
  async idle(...clients: readonly Client[]): Promise<void> {
    await this.until(() => clients.every(({ isIdle }) => isIdle))
  }

  /** Asked at each packet that comes. @throws GoneError */
  async until(done: () => boolean): Promise<void> {
    await this.#bell.until(
      () => this.#gone || done(),
      () => `these wait: ${this.clients.flatMap((client) => (client.isIdle ? [] : [client.options.id])).join(', ')}`,
    )
    if (this.#gone) throw new GoneError('the broker has ended')
  }

  /** How much subscribers wait for that time may still bring. */
  owed(): number {
    return owedIn(this.history)
  }

  owedTo({ record }: Client): number {
    return owedIn({ ...this.history, subscribers: [record] })
  }
}

function owedIn(recorded: Recorded): number {
  return check(recorded).findings.filter(({ kind }) => kind === 'lost' || kind === 'will lost').length
}
