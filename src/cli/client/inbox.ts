import { once } from 'node:events'
import { parseFilter } from '../../mqtt/topic.ts'
import type { Screen } from '../io.ts'
import type { Receive } from './link.ts'
import type { Printer } from './printer.ts'

export interface InboxSettings {
  readonly filterOut: readonly string[]
  /** Show retained messages? */
  readonly stale: boolean
  readonly retainedOnly: boolean
  readonly removeRetained: boolean
  /** Percentage of messages to show. */
  readonly share: number
  /** Messages to show before it is full. */
  readonly count: number
}

/** Decides what is shown of what arrives, writes it, and lets no more arrive than stdout takes. */
export class Inbox {
  /** Done when enough has been shown. Nothing is taken after that, so that a session keeps it for the next time. */
  readonly full: Promise<void>
  /** Done when nobody reads our stdout any more. */
  readonly closed: Promise<void>
  /** Retained messages that are being cleared. */
  readonly clearing = new Set<Promise<unknown>>()
  readonly #settings: InboxSettings
  readonly #filtersOut: readonly string[]
  readonly #print: Printer
  readonly #clear: (topic: string) => Promise<unknown>
  readonly #stdout: Screen
  #left: number
  #over = false
  #end!: () => void

  constructor(settings: InboxSettings, print: Printer, clear: (topic: string) => Promise<unknown>, stdout: Screen) {
    this.#settings = settings
    this.#filtersOut = settings.filterOut.map((text) => parseFilter(text).filter)
    this.#left = settings.count
    this.#print = print
    this.#clear = clear
    this.#stdout = stdout
    this.full = new Promise((resolve) => (this.#end = resolve))
    this.closed = new Promise((resolve) => stdout.once('error', () => resolve()).once('close', () => resolve()))
  }

  readonly receive: Receive = (topic, packet) => {
    if (this.#over) return false
    const { stale, retainedOnly, removeRetained, share } = this.#settings
    if (retainedOnly && !packet.retain) {
      this.#finish()
      return false
    }
    if (this.#filtersOut.some((filter) => topicMatches(filter, topic))) return true
    if (removeRetained && packet.retain) this.#track(this.#clear(topic))
    if (packet.retain && !stale) return true
    if (share < 100 && Math.random() * 100 >= share) return true
    const text = this.#print({ topic, payload: Buffer.from(packet.payload as Buffer), packet, at: new Date() })
    if (text.length === 0 || this.#stdout.write(text)) return this.#shown()
    return once(this.#stdout, 'drain').then(() => this.#shown())
  }

  #shown(): true {
    if (--this.#left === 0) this.#finish()
    return true
  }

  #finish(): void {
    this.#over = true
    // Not before this message has been acknowledged.
    setImmediate(this.#end)
  }

  #track(work: Promise<unknown>): void {
    this.clearing.add(work)
    const done = (): unknown => this.clearing.delete(work)
    work.then(done, done)
  }
}

/** Does a topic match a filter (MQTT 5.0, 4.7)? */
export function topicMatches(filter: string, topic: string): boolean {
  const levels = topic.split('/')
  const wanted = filter.split('/')
  // MQTT-4.7.2-1: no wildcard in front matches a topic of the server's own.
  if (topic.startsWith('$') && (wanted[0] === '#' || wanted[0] === '+')) return false
  for (const [depth, level] of wanted.entries()) {
    if (level === '#') return true
    if (depth >= levels.length || (level !== '+' && level !== levels[depth])) return false
  }
  return wanted.length === levels.length
}
