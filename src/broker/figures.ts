import type { Connection } from '../mqtt/connection.ts'
import type { Message } from '../mqtt/message.ts'
import { Traffic } from '../mqtt/output.ts'
import type { RetainedStore } from '../retain/retained.ts'
import type { SubscriptionTree } from '../routing/tree.ts'
import type { Ledger } from '../sessions/ledger.ts'
import type { Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Held, MemoryGuard } from './memory.ts'
import type { SysFigures } from './sys.ts'
import type { Tenants } from './tenants.ts'

export interface FigureParts {
  readonly sessions: Sessions
  readonly ledger: Ledger
  readonly retained: RetainedStore<Message>
  readonly tree: SubscriptionTree<Session>
  readonly memory: MemoryGuard
  readonly tenants: Tenants
  /** Of all who belong to none. */
  readonly traffic: Traffic
  readonly clients: () => Iterable<Connection<Session>>
  readonly version: string
  readonly heapBytes: () => number
  readonly connectionsRefused: () => number
  readonly logInsDenied: () => number
  /** When the broker began; monotonic milliseconds. */
  readonly nowMs: number
}

/** What one costs, about. */
const bytesOfSession = 1000
const bytesOfSubscription = 300

/** The broker in figures, for `$SYS` and the log. */
export class Figures {
  readonly #parts: FigureParts
  #mostOnline = 0

  constructor(parts: FigureParts) {
    this.#parts = parts
  }

  /** A client has come. */
  online(): void {
    const { online } = this.#parts.sessions
    if (online > this.#mostOnline) this.#mostOnline = online
  }

  /** What is held for clients. A look at each of them. */
  held(): Held {
    const { sessions, retained, tree, clients } = this.#parts
    let unsentBytes = 0
    let unreadBytes = 0
    for (const client of clients()) {
      unsentBytes += client.output.waitingBytes
      unreadBytes += client.unreadBytes
    }
    const sessionBytes = sessions.size * bytesOfSession + tree.size * bytesOfSubscription
    return {
      queuedBytes: sessions.queued.bytes,
      retainedBytes: retained.bytes,
      unsentBytes,
      unreadBytes,
      sessionBytes,
    }
  }

  read(nowMs: number): SysFigures {
    const { sessions, ledger, retained, tree, memory, version, heapBytes } = this.#parts
    const traffic = new Traffic()
    traffic.add(this.#parts.traffic)
    this.#parts.tenants.addTraffic(traffic)
    const { lostTotal } = ledger
    return {
      version,
      uptimeSeconds: (nowMs - this.#parts.nowMs) / 1000,
      clientsConnected: sessions.online,
      clientsDisconnected: sessions.size - sessions.online,
      clientsTotal: sessions.size,
      clientsMaximum: this.#mostOnline,
      clientsExpired: sessions.expired,
      clientsTakenOver: sessions.takenOver,
      messagesReceived: traffic.packetsIn,
      messagesSent: traffic.packetsOut,
      publishReceived: ledger.published,
      publishSent: ledger.delivered,
      publishDropped: lostTotal + ledger.refused,
      bytesReceived: traffic.bytesIn,
      bytesSent: traffic.bytesOut,
      retainedMessages: retained.size,
      retainedBytes: retained.bytes,
      storedMessages: ledger.copies - ledger.delivered - lostTotal,
      subscriptions: tree.size,
      heapBytes: heapBytes(),
      publishSlowed: ledger.slowed,
      publishOverRate: ledger.overRate,
      memoryStep: memory.step,
      memoryRefused: memory.refused,
      memoryDisconnected: memory.disconnected,
      connectionsRefused: this.#parts.connectionsRefused(),
      logInsDenied: this.#parts.logInsDenied(),
      held: this.held(),
    }
  }
}
