import type { TopicTable } from '../mqtt/topic.ts'
import type { Lsn, Store } from '../store/port.ts'
import { type AedesPacket, messageOf, packetOf, queuedPacket } from './packet.ts'
import type { Item } from './queue.ts'
import { readPacket } from './reading.ts'
import { NoSuchPacketError } from './outgoing.ts'
import { entryOf, flagsOf, type KeptSession, type Sessions } from './sessions.ts'

/** QoS 2 packets that came from clients and are not released. Packet and id go into one record. */
export class Incoming {
  readonly #store: Store
  readonly #sessions: Sessions
  readonly #topics: TopicTable
  /** Sessions of the last process whose packets were not asked for yet: their ids stand in the packets. */
  readonly #unread = new Set<KeptSession>()

  constructor(store: Store, sessions: Sessions, topics: TopicTable) {
    this.#store = store
    this.#sessions = sessions
    this.#topics = topics
  }

  restore(inFlight: KeptSession): void {
    if (inFlight.queue.size > 0) this.#unread.add(inFlight)
  }

  /** Gives the place of the record. @throws RangeError for an id that MQTT has not, MqttError when the topic is none */
  store(clientId: string, packet: AedesPacket): Lsn {
    const { messageId = 0 } = packet
    if (!Number.isInteger(messageId) || messageId < 1 || messageId > 0xffff)
      throw new RangeError(`${messageId} is no packet id`)
    const message = messageOf({ ...queuedPacket(packet), messageId }, false, this.#topics)
    const session = this.#sessions.takeInFlight(clientId)
    this.#readIds(session)
    const { queue, number, arrived } = session
    const before = queue.withId(messageId)
    const at = this.#store.next
    const item = queue.push(at, entryOf(message))
    this.#store.recipient(message, number, item.seq, flagsOf(message), undefined, undefined)
    const lsn = this.#store.message(message, false, number, messageId, 'fsync')
    arrived.add(messageId)
    if (before) this.#sessions.settle(session, before)
    queue.assign(item, messageId)
    return (session.changed = lsn)
  }

  /** Where a packet stands. @throws NoSuchPacketError */
  placeOf(clientId: string, messageId: number | undefined): Lsn {
    return this.#find(clientId, messageId).item.lsn
  }

  /** The packet. @throws NoSuchPacketError */
  async get(clientId: string, messageId: number | undefined): Promise<AedesPacket> {
    const { session, item } = this.#find(clientId, messageId)
    const packet = await readPacket(this.#store, session, item)
    if (packet === undefined) throw new NoSuchPacketError()
    return packet
  }

  /** Gives the place behind which its id may be used anew. @throws NoSuchPacketError */
  release(clientId: string, messageId: number | undefined): Lsn {
    const { session, item } = this.#find(clientId, messageId)
    return this.#release(session, item)
  }

  /** Releases all. */
  clean(clientId: string): Lsn {
    const session = this.#sessions.inFlightOf(clientId)
    if (session === undefined) return 0
    this.#readIds(session)
    for (const item of [...session.queue.items()]) this.#release(session, item)
    this.#sessions.endIfEmpty(session)
    return session.changed
  }

  #release(session: KeptSession, item: Item): Lsn {
    session.arrived.delete(item.messageId!)
    session.changed = this.#store.released(session.number, item.messageId!)
    this.#sessions.settle(session, item)
    return session.changed
  }

  #find(clientId: string, messageId: number | undefined): { session: KeptSession; item: Item } {
    const session = this.#sessions.inFlightOf(clientId)
    if (session) this.#readIds(session)
    const item = messageId === undefined ? undefined : session?.queue.withId(messageId)
    if (!session || !item) throw new NoSuchPacketError()
    return { session, item }
  }

  /** Reads the ids of what the last process has left. Blocks, and once: a client has few packets in flight. */
  #readIds(session: KeptSession): void {
    if (!this.#unread.delete(session)) return
    const { queue, number, arrived } = session
    for (const item of [...queue.items()]) {
      const copy = this.#store.readNow(item.lsn, number, item.seq)
      const messageId = copy && packetOf(copy.message).messageId
      // Released, and the note that it has come to its end was lost; or damaged.
      if (messageId === undefined || !arrived.has(messageId)) this.#sessions.settle(session, item)
      else {
        const before = queue.withId(messageId)
        if (before) this.#sessions.settle(session, before)
        queue.assign(item, messageId)
      }
    }
    for (const messageId of arrived) {
      if (queue.withId(messageId)) continue
      arrived.delete(messageId)
      this.#store.released(number, messageId)
    }
  }
}
