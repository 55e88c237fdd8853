import { TopicTable } from '../mqtt/topic.ts'
import { readable } from '../platform/readable.ts'
import type { DiskStore } from '../store/disk-store.ts'
import type { Recovered } from '../store/port.ts'
import { Durable, NotOpenError } from './durable.ts'
import { Kept } from './kept.ts'
import type { AedesPacket, AedesPubrel } from './packet.ts'
import type { AedesSubscription } from './subscriptions.ts'

/** What of a client of Aedes counts here. */
export interface AedesClient {
  readonly id: string
}

/** What of a broker counts here. */
export interface AedesBroker {
  readonly id: string
}

/** A store that is open, and what it holds. */
export interface OpenedStore {
  readonly store: DiskStore
  readonly recovered: Recovered
  /** Lets go of what the store stands on, when that is closed. */
  readonly close: () => Promise<void>
}

interface Opened {
  readonly kept: Kept
  readonly durable: Durable
  readonly store: DiskStore
  readonly close: () => Promise<void>
}

type Stream = ReturnType<typeof readable>

/**
 * The store as Aedes 1 asks for it: the promises of `aedes-persistence` 11. One that changes something resolves when that
 * survives a power cut. It rejects with a DiskFullError while the disk takes nothing new, and with a NotOpenError when the
 * disk has failed, or the persistence is not open. For callbacks, wrap it in the CallBackPersistence of that package.
 */
export class AedesPersistence {
  readonly #open: (topics: TopicTable) => Promise<OpenedStore>
  #broker: AedesBroker | undefined = undefined
  #opened: Opened | undefined = undefined
  #isSetUp = false
  #isDestroyed = false

  constructor(open: (topics: TopicTable) => Promise<OpenedStore>) {
    this.#open = open
  }

  get broker(): AedesBroker | undefined {
    return this.#broker
  }

  /** Opens the store; Aedes does this. @throws what opening it throws */
  async setup(broker: AedesBroker): Promise<void> {
    if (this.#isSetUp) throw new NotOpenError('a persistence is set up once')
    this.#isSetUp = true
    this.#broker = broker
    const topics = new TopicTable()
    const { store, recovered, close } = await this.#open(topics)
    this.#opened = { store, close, durable: new Durable(store), kept: new Kept(store, recovered, topics) }
  }

  /** Writes everything down and lets go of the store. Aedes does not do this: call it when the broker is closed. */
  async destroy(): Promise<void> {
    if (this.#isDestroyed) throw new NotOpenError('destroyed twice')
    this.#isDestroyed = true
    const opened = this.#opened
    this.#opened = undefined
    if (opened === undefined) return
    try {
      await opened.store.close().finally(() => opened.close())
    } finally {
      opened.durable.end(new NotOpenError('the persistence is destroyed'))
    }
  }

  async storeRetained(packet: AedesPacket): Promise<void> {
    const { kept, durable } = this.#adding()
    await durable.until(kept.retain(packet))
  }

  createRetainedStream(pattern: string): Stream {
    return this.createRetainedStreamCombi([pattern])
  }

  createRetainedStreamCombi(patterns: readonly string[]): Stream {
    return readable(this.#there.kept.retainedBy(patterns))
  }

  async addSubscriptions(client: AedesClient, subscriptions: readonly AedesSubscription[]): Promise<void> {
    const { kept, durable } = this.#adding()
    await durable.until(kept.subscriptions.add(client.id, subscriptions))
  }

  async removeSubscriptions(client: AedesClient, topics: readonly string[]): Promise<void> {
    const { kept, durable } = this.#there
    await durable.until(kept.subscriptions.remove(client.id, topics))
  }

  subscriptionsByClient(client: AedesClient): Promise<AedesSubscription[]> {
    return this.#look((kept) => kept.subscriptions.ofClient(client.id))
  }

  subscriptionsByTopic(topic: string): Promise<(AedesSubscription & { readonly clientId: string })[]> {
    return this.#look((kept) => kept.subscriptions.matching(topic))
  }

  async cleanSubscriptions(client: AedesClient): Promise<void> {
    const { kept, durable } = this.#there
    await durable.until(kept.subscriptions.clean(client.id))
  }

  countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    return this.#look((kept) => kept.subscriptions.count())
  }

  /** Ids of the clients that have subscribed to exactly this filter. */
  getClientList(topic: string): Stream {
    return readable(this.#there.kept.subscriptions.clientsOf(topic))
  }

  outgoingEnqueue(subscription: { readonly clientId: string }, packet: AedesPacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet)
  }

  /** A client gets one copy, by however many of its subscriptions. */
  async outgoingEnqueueCombi(
    subscriptions: readonly { readonly clientId: string }[],
    packet: AedesPacket,
  ): Promise<void> {
    if (subscriptions.length === 0) return
    const { kept, durable } = this.#adding()
    await durable.until(kept.outgoing.enqueue(new Set(subscriptions.map(({ clientId }) => clientId)), packet))
  }

  async outgoingUpdate(client: AedesClient, packet: AedesPacket | AedesPubrel): Promise<void> {
    const { kept, durable } = this.#there
    await durable.until(await kept.outgoing.update(client.id, packet))
  }

  /** Does not wait for the disk: after a power cut the client may get the packet again, as QoS 1 and PUBREL allow. */
  async outgoingClearMessageId(
    client: AedesClient,
    packet: AedesPacket | AedesPubrel,
  ): Promise<AedesPacket | AedesPubrel | undefined> {
    return this.#there.kept.outgoing.clear(client.id, packet)
  }

  outgoingStream(client: AedesClient): Stream {
    return readable(this.#there.kept.outgoing.packets(client.id))
  }

  async incomingStorePacket(client: AedesClient, packet: AedesPacket): Promise<void> {
    const { kept, durable } = this.#adding()
    await durable.until(kept.incoming.store(client.id, packet))
  }

  /** @throws NoSuchPacketError */
  async incomingGetPacket(client: AedesClient, { messageId }: Pick<AedesPacket, 'messageId'>): Promise<AedesPacket> {
    const { kept, durable } = this.#there
    // Whoever finds it answers with PUBREC.
    await durable.until(kept.incoming.placeOf(client.id, messageId))
    return kept.incoming.get(client.id, messageId)
  }

  /** @throws NoSuchPacketError */
  async incomingDelPacket(client: AedesClient, { messageId }: Pick<AedesPacket, 'messageId'>): Promise<void> {
    const { kept, durable } = this.#there
    await durable.until(kept.incoming.release(client.id, messageId))
  }

  async cleanIncoming(client: AedesClient): Promise<void> {
    const { kept, durable } = this.#there
    await durable.until(kept.incoming.clean(client.id))
  }

  /** Writes into the packet whose it is, as Aedes expects. */
  async putWill(client: AedesClient, packet: AedesPacket): Promise<void> {
    const { kept, durable } = this.#adding()
    Object.assign(packet, { brokerId: this.#broker!.id, clientId: client.id })
    await durable.until(kept.putWill(client.id, packet))
  }

  getWill(client: AedesClient): Promise<AedesPacket | undefined> {
    return this.#look((kept) => kept.will(client.id))
  }

  async delWill(client: AedesClient): Promise<AedesPacket | undefined> {
    const { kept, durable } = this.#there
    const will = kept.will(client.id)
    await durable.until(kept.deleteWill(client.id))
    return will
  }

  /** Wills whose broker is not among `brokers`. */
  streamWill(brokers: { readonly [id: string]: unknown } = {}): Stream {
    return readable(orphans(this.#there.kept.wills(), brokers))
  }

  /** What is in memory, as a promise: it rejects when the persistence is not open. */
  #look<T>(look: (kept: Kept) => T): Promise<T> {
    return new Promise((resolve) => resolve(look(this.#there.kept)))
  }

  get #there(): Opened {
    if (this.#opened === undefined) throw new NotOpenError('the persistence is not open')
    return this.#opened
  }

  /** @throws DiskFullError when nothing new can be kept, NotOpenError */
  #adding(): Opened {
    const opened = this.#there
    opened.durable.assertRoom()
    return opened
  }
}

function* orphans(wills: Iterable<AedesPacket>, brokers: { readonly [id: string]: unknown }): Generator<AedesPacket> {
  for (const will of wills) if (will.brokerId === undefined || !brokers[will.brokerId]) yield will
}
