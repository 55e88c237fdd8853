import type { TopicTable } from '../mqtt/topic.ts'
import { Entry, type Lsn, type Store } from '../store/port.ts'
import { type AedesPacket, type AedesPubrel, identityOf, messageOf, queuedPacket } from './packet.ts'
import type { Item } from './queue.ts'
import { readPacket } from './reading.ts'
import { entryOf, flagsOf, type KeptSession, type Sessions } from './sessions.ts'

/** Aedes asks for a packet that it has not stored, or that has come to its end. */
export class NoSuchPacketError extends Error {
  override readonly name = 'NoSuchPacketError'
  constructor() {
    super('no such packet')
  }
}

/**
 * The queues to clients, offline or in flight.
 *
 *   enqueue ─▶ waiting ── update: it has an id ─▶ sent ── update: PUBREL ─▶ released ── clear ─▶ gone
 *
 * The id of a QoS 1 message is known to this process only: after a restart the message goes out anew. That of a QoS 2
 * message is on disk before the message is sent, so that its client knows it again.
 */
export class Outgoing {
  readonly #store: Store
  readonly #sessions: Sessions
  readonly #topics: TopicTable

  constructor(store: Store, sessions: Sessions, topics: TopicTable) {
    this.#store = store
    this.#sessions = sessions
    this.#topics = topics
  }

  /** Gives a client's queue back the ids that are on disk. */
  restore(clientId: string, inFlight: KeptSession): void {
    const session = this.#sessions.of(clientId)
    for (const [name, id] of inFlight.subscriptions) {
      const item = session?.queue.get(Number(name))
      if (session && item) session.queue.assign(item, id)
      else this.#forgetId(inFlight, name)
    }
  }

  /** What was released and has no id any more was acknowledged: only the note of it was lost. */
  settleAcknowledged(session: KeptSession): void {
    const done = [...session.queue.items()].filter((item) => isReleased(item) && item.messageId === undefined)
    for (const item of done) this.#sessions.settle(session, item)
  }

  /** One record, whoever it is for. Gives its place. @throws MqttError when the topic is none */
  enqueue(clientIds: ReadonlySet<string>, packet: AedesPacket): Lsn {
    if (clientIds.size === 0) return 0
    const message = messageOf(queuedPacket(packet), false, this.#topics)
    const sessions = [...clientIds].map((clientId) => this.#sessions.take(clientId))
    const at = this.#store.next
    for (const { queue, number } of sessions) {
      const item = queue.push(at, entryOf(message))
      queue.identify(item, identityOf(packet))
      this.#store.recipient(message, number, item.seq, flagsOf(message), undefined, undefined)
    }
    return this.#store.message(message, false, 0, 0, 'fsync')
  }

  /** A packet goes out by this id, or a PUBREL instead of it. Gives the place of what must be on disk before. @throws NoSuchPacketError */
  async update(clientId: string, packet: AedesPacket | AedesPubrel): Promise<Lsn> {
    const session = this.#sessions.of(clientId)
    if (session === undefined) throw new NoSuchPacketError()
    if (packet.cmd === 'pubrel') return this.#release(session, packet.messageId)
    const item = await this.#find(session, identityOf(packet as AedesPacket))
    if (item === undefined) throw new NoSuchPacketError()
    const { messageId } = packet
    return messageId === undefined ? 0 : this.#assign(clientId, session, item, messageId)
  }

  /** The packet has come to its end: gives what it was, or its PUBREL. */
  async clear(clientId: string, packet: AedesPacket | AedesPubrel): Promise<AedesPacket | AedesPubrel | undefined> {
    const session = this.#sessions.of(clientId)
    if (session === undefined) return undefined
    const { queue } = session
    const { messageId } = packet
    const item =
      messageId === undefined ? queue.withIdentity(identityOf(packet as AedesPacket)) : queue.withId(messageId)
    if (item === undefined) return undefined
    queue.leave(item)
    const cleared = await this.#packet(session, item)
    const inFlight = this.#sessions.inFlightOf(clientId)
    this.#sessions.settle(session, item)
    if (inFlight) this.#forgetId(inFlight, String(item.seq))
    this.#sessions.endIfEmpty(session)
    return cleared
  }

  /** Everything for a client that is there from now on, in order. */
  async *packets(clientId: string): AsyncGenerator<AedesPacket | AedesPubrel, void, void> {
    const session = this.#sessions.of(clientId)
    if (session === undefined) return
    const { queue } = session
    const end = queue.next
    for (let seq = queue.head; seq < end; seq++) {
      const item = queue.get(seq)
      if (item === undefined || item.leaving) continue
      const packet = await this.#packet(session, item)
      if (item.leaving || queue.get(seq) !== item) continue
      if (packet) yield packet
      else this.#sessions.settle(session, item)
    }
  }

  /** By identity, also if it was not read since the start. */
  async #find(session: KeptSession, identity: string): Promise<Item | undefined> {
    const { queue } = session
    const known = queue.withIdentity(identity)
    if (known) return known
    for (const item of [...queue.items()]) {
      if (item.identity !== undefined || isReleased(item)) continue
      await this.#packet(session, item)
      if ((item.identity as string | undefined) === identity && !item.leaving) return item
    }
    return undefined
  }

  #assign(clientId: string, session: KeptSession, item: Item, messageId: number): Lsn {
    const isNew = item.messageId !== messageId
    if (isNew) session.queue.assign(item, messageId)
    if ((item.entry & Entry.qos2) === 0) return 0
    const inFlight = this.#sessions.takeInFlight(clientId)
    if (isNew) {
      const name = String(item.seq)
      inFlight.subscriptions.set(name, messageId)
      inFlight.changed = this.#store.subscribed(inFlight.number, name, messageId)
    }
    return inFlight.changed
  }

  #release(session: KeptSession, messageId: number | undefined): Lsn {
    const item = messageId === undefined ? undefined : session.queue.withId(messageId)
    if (item === undefined) throw new NoSuchPacketError()
    if (!isReleased(item)) {
      item.entry = (item.entry & ~Entry.stateBits) | Entry.released
      session.changed = this.#store.received(session.number, item.seq)
    }
    return session.changed
  }

  #forgetId(inFlight: KeptSession, name: string): void {
    if (inFlight.subscriptions.delete(name)) inFlight.changed = this.#store.unsubscribed(inFlight.number, name)
  }

  /** What goes out for an item; undefined when it is damaged. */
  async #packet(session: KeptSession, item: Item): Promise<AedesPacket | AedesPubrel | undefined> {
    if (isReleased(item)) return { cmd: 'pubrel', messageId: item.messageId! }
    const packet = await readPacket(this.#store, session, item)
    if (packet === undefined) return undefined
    if (!item.leaving) session.queue.identify(item, identityOf(packet))
    packet.messageId = item.messageId
    return packet
  }
}

function isReleased({ entry }: Item): boolean {
  return (entry & Entry.stateBits) === Entry.released
}
