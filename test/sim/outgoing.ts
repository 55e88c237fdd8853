import type { Bytes } from '../../src/host.ts'
import type { Dice } from './dice.ts'
import { Lane } from './lane.ts'
import type { Process } from './process.ts'
import type { Time } from './time.ts'

interface Write {
  readonly bytes: Bytes
  taken: number
  readonly written: () => void
}

/**
 * What the broker has handed to a socket. The kernel takes some bytes at a time, unless the peer takes none.
 *
 * Bytes are copied only when they are taken, so a page that is used again too early is seen.
 */
export class Outgoing {
  readonly #time: Time
  readonly #process: Process
  readonly #dice: Dice
  readonly #callbacks: Lane
  readonly #effects: { most(): number; taken(chunk: Buffer): void; emptied(): void }
  readonly #queue: Write[] = []
  #stalledUntilMs = 0
  #taking = false
  #over = false

  /** `most`: bytes that are taken at once; `emptied`: nothing is left to take. */
  constructor(
    parts: { time: Time; process: Process; dice: Dice },
    effects: { most(): number; taken(chunk: Buffer): void; emptied(): void },
  ) {
    this.#time = parts.time
    this.#process = parts.process
    this.#dice = parts.dice
    this.#callbacks = new Lane(parts.time)
    this.#effects = effects
  }

  write(bytes: Bytes, written: () => void): void {
    if (this.#over) return this.#callBack(0, written)
    this.#queue.push({ bytes, taken: 0, written })
    this.take()
  }

  /** For so long nothing is taken. */
  stall(ms: number): void {
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, this.#time.now() + ms)
    if (ms < Infinity) this.#time.after(ms, () => this.take())
  }

  unstall(): void {
    this.#stalledUntilMs = 0
    this.take()
  }

  /** The socket is gone: what was not taken is lost, and its pages are free. */
  drop(): void {
    this.#over = true
    for (const { written } of this.#queue.splice(0)) this.#callBack(this.#dice.between(0, 1), written)
  }

  /** Takes what there is, soon. */
  take(): void {
    if (this.#taking || this.#over) return
    this.#taking = true
    this.#time.after(this.#dice.chance(0.7) ? 0 : this.#dice.between(0, 3), () => {
      this.#taking = false
      if (this.#over || this.#time.now() < this.#stalledUntilMs) return
      if (this.#queue.length > 0) this.#takeSome(1 + this.#dice.below(this.#effects.most()))
      if (this.#queue.length > 0) this.take()
      else this.#effects.emptied()
    })
  }

  #takeSome(bytes: number): void {
    const taken: Uint8Array[] = []
    for (let write = this.#queue[0]; write && bytes > 0; write = this.#queue[0]) {
      const end = Math.min(write.bytes.length, write.taken + bytes)
      taken.push(write.bytes.slice(write.taken, end))
      bytes -= end - write.taken
      write.taken = end
      if (end < write.bytes.length) break
      this.#queue.shift()
      this.#callBack(this.#dice.chance(0.8) ? 0 : this.#dice.between(0, 2), write.written)
    }
    this.#effects.taken(Buffer.concat(taken))
  }

  #callBack(delayMs: number, written: () => void): void {
    this.#callbacks.pass(delayMs, () => this.#process.enter(written))
  }
}
