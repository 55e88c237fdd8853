import type { Held } from './memory.ts'

/** What `$SYS` tells, read when it is told. */
export interface SysFigures {
  readonly version: string
  readonly uptimeSeconds: number
  readonly clientsConnected: number
  readonly clientsDisconnected: number
  readonly clientsTotal: number
  readonly clientsMaximum: number
  readonly clientsExpired: number
  readonly clientsTakenOver: number
  readonly messagesReceived: number
  readonly messagesSent: number
  readonly publishReceived: number
  readonly publishSent: number
  readonly publishDropped: number
  readonly publishSlowed: number
  readonly publishOverRate: number
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly retainedMessages: number
  readonly retainedBytes: number
  readonly storedMessages: number
  readonly subscriptions: number
  readonly heapBytes: number
  readonly memoryStep: number
  readonly memoryRefused: number
  readonly memoryDisconnected: number
  readonly connectionsRefused: number
  readonly logInsDenied: number
  readonly held: Held
}

type Row = readonly [topic: string, value: (figures: SysFigures) => string | number]

// Mosquitto's names, so that dashboards and monitors that know them work unchanged.
const rows: readonly Row[] = [
  ['version', (f) => `godwit version ${f.version}`],
  ['uptime', (f) => `${Math.floor(f.uptimeSeconds)} seconds`],
  ['clients/total', (f) => f.clientsTotal],
  ['clients/connected', (f) => f.clientsConnected],
  ['clients/active', (f) => f.clientsConnected],
  ['clients/disconnected', (f) => f.clientsDisconnected],
  ['clients/inactive', (f) => f.clientsDisconnected],
  ['clients/maximum', (f) => f.clientsMaximum],
  ['clients/expired', (f) => f.clientsExpired],
  ['messages/received', (f) => f.messagesReceived],
  ['messages/sent', (f) => f.messagesSent],
  ['messages/stored', (f) => f.storedMessages],
  ['store/messages/count', (f) => f.storedMessages],
  ['store/messages/bytes', (f) => f.retainedBytes],
  ['publish/messages/received', (f) => f.publishReceived],
  ['publish/messages/sent', (f) => f.publishSent],
  ['publish/messages/dropped', (f) => f.publishDropped],
  ['bytes/received', (f) => f.bytesReceived],
  ['bytes/sent', (f) => f.bytesSent],
  ['retained messages/count', (f) => f.retainedMessages],
  ['subscriptions/count', (f) => f.subscriptions],
  ['heap/current', (f) => f.heapBytes],
  // Our own.
  ['clients/taken over', (f) => f.clientsTakenOver],
  ['publish/slowed', (f) => f.publishSlowed],
  ['publish/messages/over rate', (f) => f.publishOverRate],
  ['memory/step', (f) => f.memoryStep],
  ['memory/clients refused', (f) => f.memoryRefused],
  ['memory/clients disconnected', (f) => f.memoryDisconnected],
  ['connections/refused', (f) => f.connectionsRefused],
  ['log-ins/denied', (f) => f.logInsDenied],
  ['memory/queued', (f) => f.held.queuedBytes],
  ['memory/retained', (f) => f.held.retainedBytes],
  ['memory/unsent', (f) => f.held.unsentBytes],
  ['memory/unread', (f) => f.held.unreadBytes],
  ['memory/sessions', (f) => f.held.sessionBytes],
]

// Load averages: exponentially decayed rates a minute, over 1, 5 and 15 minutes, as Mosquitto computes them.
const loads: readonly Row[] = [
  ['load/messages/received', (f) => f.messagesReceived],
  ['load/messages/sent', (f) => f.messagesSent],
  ['load/publish/received', (f) => f.publishReceived],
  ['load/publish/sent', (f) => f.publishSent],
  ['load/publish/dropped', (f) => f.publishDropped],
  ['load/bytes/received', (f) => f.bytesReceived],
  ['load/bytes/sent', (f) => f.bytesSent],
]
const windows: readonly (readonly [name: string, minutes: number])[] = [
  ['1min', 1],
  ['5min', 5],
  ['15min', 15],
]

/** The `$SYS/broker/…` topics. Only what has changed since the last time is told. */
export class SysTopics {
  readonly #publish: (topic: string, payload: string) => void
  readonly #told = new Map<string, string>()
  readonly #averages = new Map<string, number>()
  readonly #totals = new Map<string, number>()
  #lastSeconds: number | undefined = undefined

  constructor(publish: (topic: string, payload: string) => void) {
    this.#publish = publish
  }

  tell(figures: SysFigures): void {
    for (const [topic, value] of rows) this.#say(topic, String(value(figures)))
    const seconds = this.#lastSeconds === undefined ? 0 : figures.uptimeSeconds - this.#lastSeconds
    this.#lastSeconds = figures.uptimeSeconds
    for (const [topic, value] of loads) {
      const total = Number(value(figures))
      const perMinute = seconds > 0 ? ((total - (this.#totals.get(topic) ?? 0)) * 60) / seconds : 0
      this.#totals.set(topic, total)
      for (const [name, minutes] of windows) {
        const key = `${topic}/${name}`
        const decay = Math.exp(-seconds / (60 * minutes))
        const average = perMinute + decay * ((this.#averages.get(key) ?? 0) - perMinute)
        this.#averages.set(key, average)
        this.#say(key, average.toFixed(2))
      }
    }
  }

  #say(topic: string, payload: string): void {
    if (this.#told.get(topic) === payload) return
    this.#told.set(topic, payload)
    this.#publish(`$SYS/broker/${topic}`, payload)
  }
}
