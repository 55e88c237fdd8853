import type { Message } from '../mqtt/message.ts'

/** A place in the order of all changes. What has a number at or below `durableLsn` survives a crash. */
export type Lsn = number

/** A session, as the store names it. */
export interface StoredSession {
  readonly clientId: string
  readonly expirySeconds: number
}

/**
 * Where what was promised is kept. Each call takes one change and says at which lsn it will be durable; a promise to a
 * client waits until `durableLsn` has reached it.
 */
export interface Store {
  readonly durableLsn: Lsn
  /** Called each time that `durableLsn` has grown. */
  onDurable(listener: () => void): void
  /**
   * A message for these persistent sessions, and the change of the retained message and of the publisher's QoS 2 state
   * that goes with it: all or nothing. `recipients` is the caller's scratch: it is not kept.
   */
  message(
    message: Message,
    recipients: readonly StoredSession[],
    publisher: StoredSession | undefined,
    packetId: number,
  ): Lsn
  /** PUBREL from a client: its QoS 2 id is free. */
  released(session: StoredSession, packetId: number): Lsn
  /** A session began, was taken up or changed its expiry. */
  session(session: StoredSession): Lsn
  sessionEnded(session: StoredSession): Lsn
  subscribed(session: StoredSession, filter: string): Lsn
  unsubscribed(session: StoredSession, filter: string): Lsn
  close(): Promise<void>
}
