import type { Packet } from 'mqtt-packet'
import type { History } from './history.ts'
import type { Received } from './client.ts'

/** Messages on their way from the broker to a client: the state of a correct receiver, which outlives connections. */
export class Receiver {
  readonly #history: History
  readonly #send: (packet: Packet) => void
  /** QoS 2 ids that have been received and not released. */
  readonly #unreleased = new Set<number>()
  readonly #answers: Packet[] = []
  #holds = false

  constructor(history: History, send: (packet: Packet) => void) {
    this.#history = history
    this.#send = send
  }

  /** While it holds, acknowledgements wait; then they leave in their order [MQTT-4.6.0-2 to -4]. */
  hold(holds: boolean): void {
    this.#holds = holds
    if (!holds) for (const answer of this.#answers.splice(0)) this.#send(answer)
  }

  /** A new connection: what was not acknowledged comes again. */
  resume(): void {
    this.#answers.length = 0
  }

  /** The session is new. */
  restart(): void {
    this.#answers.length = 0
    this.#unreleased.clear()
  }

  /** Acknowledges it. @returns false when it has come before and must be dropped [MQTT-4.3.3-10] */
  publish({ qos, messageId }: Received): boolean {
    if (qos === 0) return true
    this.#answer({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId })
    if (qos === 1) return true
    const isNew = !this.#unreleased.has(messageId)
    if (isNew) this.#unreleased.add(messageId)
    else this.#history.dropped++
    return isNew
  }

  pubrel({ messageId }: Received): void {
    this.#unreleased.delete(messageId)
    this.#answer({ cmd: 'pubcomp', messageId })
  }

  #answer(answer: Packet): void {
    if (this.#holds) this.#answers.push(answer)
    else this.#send(answer)
  }
}
