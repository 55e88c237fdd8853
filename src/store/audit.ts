import type { DiskFault } from '../host.ts'
import { TopicTable } from '../mqtt/topic.ts'
import { checkFilter, faultOf } from './entries.ts'
import { frameHead, recordHead } from './frames.ts'
import { MessageReader } from './message-record.ts'
import { type Damage, isAlive, type OfflineStore, stretch } from './offline.ts'
import type { Lsn, QueueView } from './port.ts'
import { readGrant, readHead, RecordType } from './records.ts'
import { scanSegment } from './scan.ts'
import { type Segment, Segments } from './segments.ts'
import { CorruptRecordError, RecordReader } from './writer.ts'

export interface SegmentFigures {
  readonly name: string
  readonly bytes: number
  frames: number
  records: number
}

export interface AuditReport {
  readonly segments: readonly SegmentFigures[]
  /** How many records of each type there are, by the type's name. */
  readonly records: ReadonlyMap<string, number>
  /** All of it: what an opening comes by, and what it does not look at. */
  readonly damage: readonly Damage[]
}

/** Reads every frame of a store's log, every field of its records, and whether queues find their messages. Blocks. */
export function audit(store: OfflineStore): AuditReport {
  return new Audit(store).run()
}

interface Found extends Damage {
  readonly from: Lsn
  readonly to: Lsn
  readonly copies: Map<string, number>
}

class Audit {
  readonly #store: OfflineStore
  readonly #segments: Segments
  readonly #figures: SegmentFigures[] = []
  readonly #records = new Map<string, number>()
  readonly #found: Found[] = []
  readonly #queues = new Map<number, Expected>()
  readonly #topics = new TopicTable()
  readonly #message = new MessageReader()
  readonly #reader = new RecordReader()

  constructor(store: OfflineStore) {
    this.#store = store
    this.#segments = new Segments(store.disk, store.slotBytes)
    for (const [number, { queue }] of store.sessions) this.#queues.set(number, new Expected(queue.places))
  }

  run(): AuditReport {
    const all = this.#segments.all()
    for (const [at, segment] of all.entries()) this.#scan(segment, all[at - 1])
    this.#segments.close()
    this.#missed()
    return { segments: this.#figures, records: this.#records, damage: [...this.#store.damage, ...this.#found] }
  }

  #scan(segment: Segment, before: Segment | undefined): void {
    const { name, first, end } = segment
    const figures = { name, bytes: end - first, frames: 0, records: 0 }
    this.#figures.push(figures)
    try {
      const file = this.#segments.use(segment)
      try {
        const visitor = {
          head: (previous: Lsn) => {
            // Whole files may have been collected in between; a file that ends early has not.
            if (before && previous > before.end && previous <= before.first + this.#store.slotBytes)
              this.#unread(before.end, previous, 'missing')
          },
          gap: (from: Lsn, to: Lsn) => this.#unread(from, to, 'not as it was written'),
          frame: (lsn: Lsn, buffer: Buffer, at: number, length: number) => {
            figures.frames++
            figures.records += this.#frame(lsn, buffer, at, length)
          },
        }
        const whole = scanSegment(file, first, this.#store.slotBytes, this.#store.key, visitor)
        this.#unread(whole, end, 'not as it was written')
      } finally {
        this.#segments.release(segment)
      }
    } catch (fault) {
      if ((fault as DiskFault).code === undefined) throw fault
      this.#damaged(first, end, `cannot be read: ${(fault as DiskFault).message}`)
    }
  }

  /** Nothing whole stands in [from, to): that is new below where an opening looks, and behind it told or torn. */
  #unread(from: Lsn, to: Lsn, what: string): void {
    if (to > from && to <= this.#store.replayFrom) this.#damaged(from, to, what)
  }

  #damaged(from: Lsn, to: Lsn, what: string): void {
    this.#found.push({ ...stretch(this.#segments, from, to), from, to, what, records: undefined, copies: new Map() })
  }

  /** Reads the records of a frame; gives how many. */
  #frame(lsn: Lsn, buffer: Buffer, at: number, length: number): number {
    let count = 0
    let next: number
    for (let record = at + frameHead; record < at + length; record = next, count++) {
      next = record + buffer.readUInt32LE(record)
      const end = next
      const type = buffer[record + recordHead - 1]!
      const address = lsn + record - at
      const name = names.get(type) ?? `type ${type}`
      this.#records.set(name, (this.#records.get(name) ?? 0) + 1)
      const fault = faultOf(() => this.#record(address, type, buffer, record + recordHead, end))
      if (fault !== undefined)
        this.#damaged(address, lsn + end - at, `a record (${name}) that makes no sense: ${fault}`)
    }
    return count
  }

  /** @throws CorruptRecordError, MqttError */
  #record(lsn: Lsn, type: number, bytes: Buffer, start: number, end: number): void {
    if (type === RecordType.message || type === RecordType.moved) return this.#copies(lsn, bytes, start, end)
    const reader = this.#reader.over(bytes, start, end)
    const read = fields.get(type)
    if (read === undefined) throw new CorruptRecordError('records of this type are not known')
    read(reader)
    if (reader.left > 0) throw new CorruptRecordError('it is longer than its fields')
  }

  #copies(lsn: Lsn, bytes: Buffer, start: number, end: number): void {
    const message = this.#message.over(bytes, start, end)
    message.topic(this.#topics)
    while (message.next()) this.#queues.get(message.session)?.see(lsn, message.seq, message.wide)
  }

  /** Every message has been seen: what do queues have that was not among them? */
  #missed(): void {
    const elsewhere = new Map<Segment | undefined, Found>()
    for (const [number, queue] of this.#queues) {
      const { clientId } = this.#store.sessions.get(number)!.head
      for (const lsn of queue.unseen()) {
        const { copies } = this.#found.find(({ from, to }) => lsn >= from && lsn < to) ?? this.#lost(lsn, elsewhere)
        copies.set(clientId, (copies.get(clientId) ?? 0) + 1)
      }
    }
    this.#found.push(...elsewhere.values())
  }

  /** A message is not at `lsn`, where nothing else is wrong. */
  #lost(lsn: Lsn, elsewhere: Map<Segment | undefined, Found>): Found {
    const segment = this.#segments.of(lsn)
    let found = elsewhere.get(segment)
    if (found) return found
    const place = segment?.name ?? stretch(this.#segments, lsn, lsn).place
    const what = segment ? 'queues have messages here that are not there' : 'missing, and queues have messages there'
    found = { place, from: lsn, to: lsn, what, records: undefined, copies: new Map<string, number>() }
    elsewhere.set(segment, found)
    return found
  }
}

/** A queue, and which of its messages were seen in the log. */
class Expected {
  readonly #queue: QueueView
  readonly #seen: Uint8Array

  constructor(queue: QueueView) {
    this.#queue = queue
    this.#seen = new Uint8Array(queue.next - queue.head)
  }

  /** The log has a message for it at `lsn`, with the lowest 16 bits of its number, or all of them when it is `wide`. */
  see(lsn: Lsn, seq: number, wide: boolean): void {
    const queue = this.#queue
    const { head, next } = queue
    for (let at = wide ? seq : head + ((seq - head) & 0xffff); at >= head && at < next; at += 0x1_0000)
      if (queue.lsnOf(at) === lsn) this.#seen[at - head] = 1
  }

  /** Where messages should stand that were not seen. */
  *unseen(): Generator<Lsn> {
    const queue = this.#queue
    for (let seq = queue.head; seq < queue.next; seq++)
      if (isAlive(queue.entryOf(seq)) && this.#seen[seq - queue.head] === 0) yield queue.lsnOf(seq)
  }
}

const names = new Map<number, string>(Object.entries(RecordType).map(([name, type]) => [type, name]))

/** How the fields of a record are read. Messages go by another way. */
const fields = new Map<number, (reader: RecordReader) => void>([
  [RecordType.arrived, numberAndId],
  [RecordType.released, numberAndId],
  [
    RecordType.received,
    (reader) => {
      reader.varint()
      reader.varint()
    },
  ],
  [RecordType.settled, settled],
  [RecordType.session, readHead],
  [RecordType.ended, (reader) => reader.varint()],
  [
    RecordType.subscribed,
    (reader) => {
      reader.varint()
      checkFilter(reader.text())
      readGrant(reader)
    },
  ],
  [
    RecordType.unsubscribed,
    (reader) => {
      reader.varint()
      reader.text()
    },
  ],
  [RecordType.alive, () => undefined],
  [RecordType.clock, (reader) => reader.f64()],
])

function numberAndId(reader: RecordReader): void {
  reader.varint()
  reader.u16()
}

function settled(reader: RecordReader): void {
  while (reader.left > 0) {
    reader.varint()
    reader.varint()
    for (let ranges = reader.varint(); ranges > 0; ranges--) {
      reader.varint()
      reader.varint()
    }
  }
}
