import { pingFrame } from './frames.ts'
import type { Sender } from './sender.ts'
import type { Tally } from './tally.ts'

/** Messages that one publisher may write in one turn of the event loop: brokers read 64 KiB at a time. */
const perTurn = 500

/**
 * Publishes `messages` from each sender, as fast as windows and sockets let it.
 * QoS 0 has no acknowledgements: there the window of all publishers together bounds what was not delivered yet, so
 * that the figure is what the broker delivers and not what it buffers.
 */
export class Pump {
  readonly #left: number[]
  #scheduled = false
  #first = 0

  constructor(
    readonly senders: readonly Sender[],
    messages: number,
    /** How many subscribers get each message. */
    readonly deliveries: number,
    readonly tally: Tally,
  ) {
    this.#left = senders.map(() => messages)
  }

  /** A window may have opened, or a socket drained. @param sender whose acknowledgements came */
  readonly wake = (sender?: Sender): void => {
    if (sender && sender.batch.qos > 0) return void this.#some(sender)

    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#scheduled = false
    let room = this.#room()
    const count = this.senders.length
    for (let i = 0; i < count && room > 0; i++) {
      const at = (this.#first + i) % count
      room -= this.#some(this.senders[at]!, room)
    }
    this.#first = (this.#first + 1) % count
  }

  /** @returns how many messages it wrote. */
  #some(sender: Sender, room = Number.POSITIVE_INFINITY): number {
    const left = this.#left[sender.index]!
    if (left === 0) return 0
    const written = sender.send(Math.min(left, perTurn, room))
    this.#left[sender.index] = left - written
    // Where nobody subscribes, the answer to a ping shows that the broker has read everything before it.
    if (written === left && this.deliveries === 0) sender.wire.write(pingFrame)
    return written
  }

  #room(): number {
    const { deliveries, tally, senders } = this
    const { batch, window } = senders[0]!
    if (batch.qos > 0 || deliveries === 0) return Number.POSITIVE_INFINITY
    return window * senders.length - (tally.sent - Math.floor(tally.received / deliveries))
  }
}

/**
 * Publishes at a rate, whether or not the broker keeps up: a message carries the time at which it was due, so that
 * waiting for a slow broker counts as latency. It spins: a timer would be a millisecond late.
 */
export class Pacer {
  #sent = 0
  #running = false

  constructor(
    readonly senders: readonly Sender[],
    readonly messages: number,
    readonly perSecond: number,
    readonly nowUs: () => number,
  ) {}

  readonly wake = (): void => {
    if (this.#running) return
    this.#running = true
    const startUs = this.nowUs()
    const intervalUs = 1e6 / this.perSecond
    const turn = (): void => {
      const nowUs = this.nowUs()
      for (let dueUs; this.#sent < this.messages; this.#sent++) {
        dueUs = startUs + this.#sent * intervalUs
        if (dueUs > nowUs || this.senders[this.#sent % this.senders.length]!.send(1, dueUs) === 0) break
      }
      if (this.#running) setImmediate(turn)
    }
    turn()
  }

  stop(): void {
    this.#running = false
  }
}
