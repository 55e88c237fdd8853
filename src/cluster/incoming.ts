import type { Arrival, BrokerSide } from '../broker/cluster-port.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import type { Durability, Lsn, RecoveredSession, Store } from '../store/port.ts'
import type { RecordReader } from '../store/writer.ts'
import { type Archive, OwnSession } from './archive.ts'
import { inPrefix } from './own-names.ts'
import type { NodeId, Peers } from './peers.ts'
import { PublishReader } from './publish-frame.ts'
import { epochMessages, idOf, packetIds } from './streams.ts'
import { FrameType, WireError } from './wire.ts'

/** What is taken from all nodes shares. */
export interface IncomingContext {
  readonly peers: Peers
  readonly archive: Archive
  readonly store: Store
  readonly topics: TopicTable
  readonly broker: BrokerSide
  now(): number
  soon(run: () => void): void
}

/**
 * One stream of another node, as we take it. What its origin keeps in its store may come again after a crash of either
 * side, so the ids of what we have are remembered in the records of the messages, until the origin's head has passed them.
 */
class InStream extends OwnSession {
  /** How often the origin's head had gone on by so many messages, so that an id names one message only. */
  override epoch = 0
  /** All up to here has been taken. */
  applied = -1
  /** Acknowledged up to here on this link. */
  told = -1
  /** May be acknowledged up to here. */
  ready = -1
  readonly #kept = new Map<number, number>()
  /** Groups that had no member here, by the place of the message: what was said of that on a link that broke may be lost. */
  readonly #unserved = new Map<number, string[]>()
  /** Ids that were read back; what they are in the stream is known once its origin has named its head. */
  #recovered: readonly number[]
  /** Taken, and not durable yet: places, and the lsn that each waits for. */
  readonly #waiting: { seq: number; readonly lsn: Lsn; readonly durability: Durability }[] = []
  #first = 0
  readonly #store: Store

  constructor(
    readonly origin: NodeId,
    readonly id: number,
    number: number,
    store: Store,
    recovered: Pick<RecoveredSession, 'incoming' | 'epoch'>,
  ) {
    super(number, `${inPrefix}${origin}/${id}`)
    this.epoch = recovered.epoch
    this.#store = store
    this.#recovered = recovered.incoming
  }

  override *incoming(): Iterable<number> {
    yield* this.#recovered
    yield* this.#kept.keys()
  }

  /** A new link, on which nothing below `head` will come. */
  begin(head: number): void {
    if (this.#recovered.length > 0) {
      const base = this.epoch * epochMessages
      const places = this.#recovered.map((id) => ({ id, seq: base + ((id - idOf(base) + packetIds) % packetIds) }))
      for (const { id, seq } of places.sort((a, b) => a.seq - b.seq)) this.#kept.set(id, seq)
      this.#recovered = []
    }
    this.told = -1
    this.passed(head)
  }

  /** The origin will never again send anything below `head`. */
  passed(head: number): void {
    for (const [id, seq] of this.#kept) {
      if (seq >= head) break
      this.#kept.delete(id)
      this.#store.released(this.number, id)
    }
    if (this.#unserved.size > 0) for (const seq of this.#unserved.keys()) if (seq < head) this.#unserved.delete(seq)
    const epoch = Math.floor(head / epochMessages)
    if (epoch <= this.epoch || this.number === 0) return
    this.epoch = epoch
    this.#store.session(this)
  }

  has(seq: number): boolean {
    return seq <= this.applied || this.#kept.get(idOf(seq)) === seq
  }

  /** Nobody here is in a group that message `seq` was for. */
  misses(seq: number, group: string): void {
    const known = this.#unserved.get(seq)
    if (known) known.push(group)
    else this.#unserved.set(seq, [group])
  }

  missed(seq: number): readonly string[] {
    return this.#unserved.get(seq) ?? noGroups
  }

  /** Taken, in a record at `lsn`; 0: there was nothing to keep. */
  taken(seq: number, kept: boolean, lsn: Lsn, durability: Durability): void {
    this.applied = seq
    if (kept && this.number !== 0) this.#kept.set(idOf(seq), seq)
    const last = this.#waiting[this.#waiting.length - 1]
    if (lsn === 0 && last !== undefined) last.seq = seq
    else if (lsn === 0) this.ready = seq
    else this.#waiting.push({ seq, lsn, durability })
  }

  /** The store has come further. */
  advance(): void {
    const { durable, written } = this.#store
    for (let next = this.#waiting[this.#first]; next !== undefined; next = this.#waiting[this.#first]) {
      if (next.lsn >= (next.durability === 'fsync' ? durable : written)) break
      this.ready = next.seq
      this.#first++
    }
    if (this.#first === this.#waiting.length) this.#waiting.length = 0
    else if (this.#first >= 1024) this.#waiting.splice(0, this.#first)
    else return
    this.#first = 0
  }
}

const noGroups: readonly string[] = []
const nothing: Pick<RecoveredSession, 'incoming' | 'epoch'> = { incoming: [], epoch: 0 }

/**
 * What one other node sends, and our word that it is kept.
 *
 *   publish ─▶ have we it? ─▶ deliver … ─▶ store ─▶ durable ─▶ acknowledged, once a turn
 */
export class Incoming {
  readonly node: NodeId
  readonly #context: IncomingContext
  /** By what the origin calls them. */
  readonly #streams = new Map<number, InStream>()
  /** In the order in which this link's `streams` frame named them. */
  #listed: InStream[] = []
  /** The newest message of QoS 1 or 2 that was published there and has come, by its number. */
  lastSerial = 0
  #reader: PublishReader | undefined = undefined
  #holds = 0
  #tells = false
  /** As the publisher of what comes: somebody here is behind, and asks it to slow down. */
  readonly connection = {
    hold: () => {
      this.#holds++
    },
    release: () => {
      if (--this.#holds === 0) this.#tell()
    },
  }

  constructor(node: NodeId, context: IncomingContext) {
    this.node = node
    this.#context = context
  }

  restore(id: number, recovered: RecoveredSession): void {
    this.#add(id, recovered.number, recovered)
  }

  linkUp(): void {
    const { peers, topics } = this.#context
    this.#reader = new PublishReader(this.node, this, peers.version(this.node), topics)
    this.#listed = []
  }

  /** The list of the origin's streams that hold something, and the one of this start of it. @throws WireError */
  streams(reader: RecordReader): void {
    this.#listed = []
    const open = new Set<number>()
    for (let left = reader.varint(); left > 0; left--) {
      const id = reader.varint()
      const head = reader.varint()
      const stream = this.#streams.get(id) ?? this.#add(id)
      stream.begin(head)
      this.#listed.push(stream)
      open.add(id)
    }
    for (const stream of this.#streams.values()) if (!open.has(stream.id)) this.#end(stream)
    // What the origin was told on an earlier link may be lost.
    this.#tellSoon()
  }

  /** @throws WireError, CorruptRecordError */
  publish(frame: RecordReader): void {
    const { broker } = this.#context
    const reader = this.#reader!
    reader.read(frame, this.#context.now())
    const { message, durability, plain, groups } = reader
    const arrival: Arrival = { message, durability, plain, groups, sender: 0, packetId: 0 }
    if (message.qos === 0) return void broker.arrive(arrival, ignored)
    const { seq, kept } = reader
    const stream = this.#listed[reader.stream]
    if (stream === undefined) throw new WireError('a message of a stream that was never named')
    stream.passed(reader.past)
    if (!stream.has(seq)) {
      const unserved = (group: string) => {
        stream.misses(seq, group)
        this.#unserved(reader.stream, seq, group)
      }
      const sender = kept ? stream.number : 0
      const lsn = broker.arrive(sender === 0 ? arrival : { ...arrival, sender, packetId: idOf(seq) }, unserved)
      stream.taken(seq, kept, lsn, durability)
      if (message.serial > this.lastSerial) this.lastSerial = message.serial
    } else {
      for (const group of stream.missed(seq)) this.#unserved(reader.stream, seq, group)
      if (seq > stream.applied) stream.taken(seq, false, 0, durability)
    }
    this.#tellSoon()
  }

  /** The store has come further. */
  progress(): void {
    for (const stream of this.#listed) stream.advance()
    this.#tell()
  }

  /** The node is gone for good. */
  end(): void {
    for (const stream of this.#streams.values()) this.#end(stream)
    this.#listed = []
  }

  #add(id: number, number?: number, recovered = nothing): InStream {
    const { store, archive } = this.#context
    const stream = new InStream(this.node, id, number ?? store.number(), store, recovered)
    this.#streams.set(id, stream)
    archive.add(stream)
    if (number === undefined && stream.number !== 0) store.session(stream)
    return stream
  }

  #end(stream: InStream): void {
    const { store, archive } = this.#context
    this.#streams.delete(stream.id)
    archive.remove(stream)
    store.ended(stream.number)
  }

  #unserved(index: number, seq: number, group: string): void {
    const { peers } = this.#context
    const writer = peers.begin(this.node, FrameType.unserved)
    if (writer === undefined) return
    writer.varint(index)
    writer.varint(seq)
    writer.text(group)
    peers.end()
  }

  #tellSoon(): void {
    if (this.#tells) return
    this.#tells = true
    this.#context.soon(() => {
      this.#tells = false
      this.#tell()
    })
  }

  /** Tells how far all is durable. Not while somebody here is behind: the origin's window closes, and its publishers wait. */
  #tell(): void {
    if (this.#holds > 0) return
    const { peers } = this.#context
    this.#listed.forEach((stream, index) => {
      if (stream.ready <= stream.told) return
      const writer = peers.begin(this.node, FrameType.acknowledged)
      if (writer === undefined) return
      writer.varint(index)
      writer.varint(stream.ready)
      peers.end()
      stream.told = stream.ready
    })
  }
}

function ignored(): void {}
