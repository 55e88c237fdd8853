import { Client, type ClientEvents, type ClientRole } from './client.ts'
import type { Login } from './frames.ts'
import type { Dial } from './socket.ts'
import type { Tally } from './tally.ts'
import type { Ending, Watch } from './watch.ts'

/** How long one connection may take while others make no progress either. */
const connectSettleSeconds = 10

/** The clients of a run: connects them, and counts those that are refused or leave. */
export class Fleet implements ClientEvents {
  /** Those that stay; the ones that leave may be many, and are forgotten. */
  readonly #clients: Client[] = []
  connected = 0
  refused = 0
  dropped = 0
  /** How connecting ended. */
  ending: Ending = 'done'
  /** Why clients were lost, and how many for each reason. */
  readonly reasons = new Map<string, number>()
  moved: (client: Client) => void = () => {}
  #dialed = 0
  #dialNext: () => void = () => {}

  constructor(
    readonly login: Login,
    readonly dial: Dial,
    readonly tally: Tally,
    readonly watch: Watch,
  ) {}

  /**
   * Connects `count` more, `atOnce` at a time, and waits until each is ready, has left if that is its role, or is refused.
   * @param dial how: default as all
   */
  async connect(
    count: number,
    atOnce: number,
    role: (index: number) => ClientRole,
    dial = this.dial,
  ): Promise<Client[]> {
    const first = this.#dialed
    const clients: Client[] = []
    const settledBefore = this.connected + this.refused
    const settled = (): number => this.connected + this.refused - settledBefore
    const dialed = (): number => this.#dialed - first
    // When the first one is refused, the others would be too.
    const hopeless = (): boolean => this.refused > 0 && this.connected === 0
    this.#dialNext = () => {
      while (dialed() < count && dialed() - settled() < atOnce && !hopeless()) this.#open(role(dialed()), clients, dial)
    }
    this.#dialNext()
    const isDone = (): boolean => settled() === dialed() && (dialed() === count || hopeless())
    const ending = await this.watch.until(isDone, settled, connectSettleSeconds)
    this.#dialNext = () => {}
    if (ending !== 'done') {
      this.ending = ending
      this.#count('no answer to CONNECT or SUBSCRIBE in time', count - settled())
    }
    return clients
  }

  end(): void {
    for (const client of this.#clients) client.end()
  }

  ready(_client: Client): void {
    this.connected++
    this.#dialNext()
    this.watch.poke()
  }

  left(client: Client): void {
    this.ready(client)
  }

  lost(client: Client, why: string): void {
    if (client.phase === 'ready') this.dropped++
    else this.refused++
    this.#count(why, 1)
    this.#dialNext()
    this.watch.poke()
  }

  #count(why: string, times: number): void {
    this.reasons.set(why, (this.reasons.get(why) ?? 0) + times)
  }

  #open(role: ClientRole, clients: Client[], dial: Dial): void {
    dial(this.#dialed++, (wire) => {
      const client = new Client(role, this.login, wire, this.tally, this, this.watch.nowUs)
      clients.push(client)
      if (!role.leaves) this.#clients.push(client)
      return client
    })
  }
}
