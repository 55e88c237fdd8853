import type { Bytes, Stream, StreamEvents } from '../../src/host.ts'
import { Lane } from '../sim/lane.ts'
import type { Process } from '../sim/process.ts'
import type { City } from './cluster-kit.ts'
import type { Machine } from './cluster-machine.ts'

/** What a socket takes before the other end has read any of it. */
const socketBytes = 256 * 1024

/**
 * One end of a connection between two nodes: in order, or broken. What is written while nothing passes this way arrives when
 * it does again.
 */
export class End implements Stream {
  other!: End
  events: StreamEvents | undefined
  over = false
  readonly #lane: Lane
  #stalled: (() => void)[] = []
  #unreadBytes = 0
  /** Told once the socket takes more. */
  #untaken: (() => void)[] = []

  constructor(
    readonly remote: string,
    readonly owner: Machine,
    readonly process: Process,
    readonly city: City,
  ) {
    this.#lane = new Lane(city.time)
  }

  write(bytes: Bytes, written: () => void): void {
    const copy = Buffer.from(bytes)
    this.city.crosses(this.owner.name, this.other.owner.name, copy)
    this.#unreadBytes += copy.length
    if (this.#unreadBytes <= socketBytes) this.#taken(written)
    else this.#untaken.push(written)
    this.#pass(() => {
      this.#unreadBytes -= copy.length
      if (this.#unreadBytes <= socketBytes) this.#takeAll()
      if (!this.other.over) this.other.events?.data(copy)
    })
  }

  pause(): void {}

  end(): void {
    this.#close()
  }

  destroy(): void {
    this.#close()
  }

  /** The process at this end is gone, or its network. */
  break(): void {
    this.over = true
    this.#pass(() => this.other.closed(new Error('broken')))
  }

  /** What is under way is lost, and both ends are told. */
  snap(): void {
    for (const end of [this, this.other] as End[]) {
      end.#lane.cut = true
      end.#stalled = []
      end.city.time.after(end.city.latencyMs(), () => end.process.enter(() => end.closed(new Error('broken'))))
    }
  }

  closed(fault?: Error): void {
    if (this.over) return
    this.over = true
    this.city.flapped(this.owner.name, this.other.owner.name)
    this.#takeAll()
    this.events?.closed(fault)
  }

  /** Something may pass again. */
  flow(): void {
    for (const run of this.#stalled.splice(0)) this.#pass(run)
  }

  #close(): void {
    if (this.over) return
    this.#pass(() => this.other.closed())
    this.city.time.after(0, () => this.process.enter(() => this.closed()))
  }

  #pass(run: () => void): void {
    const { city, owner, other } = this
    if (!city.passes(owner.name, other.owner.name)) return void this.#stalled.push(run)
    this.#lane.pass(city.latencyMs(), () => other.process.enter(run))
  }

  #taken(written: () => void): void {
    this.city.time.after(0, () => this.process.enter(written))
  }

  #takeAll(): void {
    for (const written of this.#untaken.splice(0)) this.#taken(written)
  }
}
