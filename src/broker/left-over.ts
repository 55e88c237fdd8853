import type { Lsn, RecoveredSession, SessionState } from '../store/port.ts'

/**
 * What a cluster keeps in our store, while this node is started without one: queues for other nodes above all. It is nobody's
 * here, and stays as it is until the node is a part of its cluster again.
 */
export class LeftOver {
  messages = 0
  readonly #sessions = new Map<number, RecoveredSession>()

  add(session: RecoveredSession): void {
    this.#sessions.set(session.number, session)
    this.messages += session.queue.next - session.queue.head
  }

  state(number: number): SessionState | undefined {
    const session = this.#sessions.get(number)
    return session && { ...session, incoming: () => session.incoming }
  }

  moved(number: number, seq: number, lsn: Lsn): void {
    this.#sessions.get(number)?.queue.moved(seq, lsn)
  }
}
