import { expect } from 'vitest'
import type { Log } from '../../src/host.ts'
import { Message } from '../../src/mqtt/message.ts'
import type { WillPacket } from '../../src/mqtt/packets.ts'
import { type QoS, TopicTable } from '../../src/mqtt/topic.ts'
import type { DiskStoreOptions } from '../../src/store/disk-options.ts'
import { type DiskStore, openDiskStore } from '../../src/store/disk-store.ts'
import { type Meta, metaKey, readMeta } from '../../src/store/image.ts'
import { CommitLog } from '../../src/store/log.ts'
import { Entry, type Lsn, type RecoveredSession, type SessionState, type StateSource } from '../../src/store/port.ts'
import { RecordType } from '../../src/store/records.ts'
import { RecordReader } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { Time } from '../sim/time.ts'
import { offsetMs, type Place, Queue } from './model-queue.ts'
import { aliveIn } from './places.ts'

class ModelSession implements SessionState {
  epoch = 1
  expirySeconds = Infinity
  username: string | undefined = undefined
  will: WillPacket | undefined = undefined
  endDueMs = Infinity
  willDueMs = Infinity
  online = true
  /** The store found it online after a crash, and took it for offline since the crash. */
  presumed: { endDueMs: number; willDueMs: number } | undefined = undefined
  subscriptions = new Map<string, number>()
  readonly ids = new Set<number>()
  readonly queue = new Queue()

  constructor(
    readonly number: number,
    readonly clientId: string,
  ) {}

  incoming(): Iterable<number> {
    return this.ids
  }
}

/** What a change does to the state, for as long as its record is there. */
interface Change {
  readonly lsn: Lsn
  apply(state: State): void
}

/** Sessions and retained messages, in the simplest way. */
class State {
  readonly sessions = new Map<number, ModelSession>()
  readonly retained = new Map<string, Message>()
}

export const silent: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

export type Options = Partial<Omit<DiskStoreOptions, 'disk' | 'index' | 'clock' | 'topics'>>

const storeId = 0x5eed
/** A tick, and a commit on a disk that takes some milliseconds. */
const noticedMs = 1100
const topicNames = ['a', 'b/c', 'd/e/f', 'ü', `long/${'x'.repeat(600)}`]

/** A store under a broker that does anything at any time; and what of it must be there after a crash. */
export class World implements StateSource {
  readonly dice: Dice
  time: Time
  readonly topics = new TopicTable()
  disk: SimDisk
  index: MemoryIndex
  store!: DiskStore
  recovered!: { readonly sessions: readonly RecoveredSession[]; readonly retained: readonly Message[] }
  state = new State()
  /** Every change since the beginning whose record is not known to be lost, in order. */
  changes: Change[] = []
  /** What came to its end, as `number/seq`: may come back, if nothing was synced since. */
  readonly settled = new Set<string>()
  readonly #options: Options
  /** When the wall clock was last set. */
  #setMs = -Infinity
  #messages = 0
  #epoch = 0

  constructor(seed: number, options: Options) {
    this.dice = new Dice(seed)
    this.time = new Time(this.dice.fork(1))
    this.#options = options
    this.disk = new SimDisk(this.dice.fork(2), this.later)
    this.index = new MemoryIndex(this.later)
    this.open()
  }

  readonly later = (run: () => void): void => {
    this.time.after(this.dice.chance(0.5) ? 0 : this.dice.between(0, 3), run)
  }

  open(): void {
    const { disk, index, time, topics } = this
    const opened = openDiskStore({
      ...{ disk, index, clock: time, topics, log: silent, storeId, reserveBytes: 0 },
      ...this.#options,
    })
    this.store = opened.store
    const { sessions, retained } = opened.recovered
    this.recovered = { sessions: [...sessions], retained }
    this.store.serve(this)
  }

  /** Opens it again after it was closed, for somebody else. */
  reopen(): void {
    this.disk = clone(this.disk, this.dice, this.later)
    this.index = this.index.crash(this.dice, this.later)
    this.open()
  }

  // What the store asks.

  session(number: number): SessionState | undefined {
    return this.state.sessions.get(number)
  }

  retained(topic: string): Message | undefined {
    return this.state.retained.get(topic)
  }

  moved(session: number, seq: number, lsn: Lsn): void {
    const place = this.state.sessions.get(session)?.queue.places.get(seq)
    if (place) place.lsn = lsn
  }

  // What a broker does.

  /** Something, at random. */
  act(): void {
    const sessions = [...this.state.sessions.values()]
    const session = sessions.length > 0 ? this.dice.pick(sessions) : undefined
    if (session === undefined) return this.begin()
    this.dice.weighted<() => void>([
      [sessions.length < 6 ? 8 : 1, () => this.begin()],
      [4, () => this.touch(session)],
      [1, () => this.end(session)],
      [5, () => this.subscribe(session)],
      [2, () => this.unsubscribe(session)],
      [30, () => this.publish()],
      [3, () => this.release(session)],
      [4, () => this.receive(session)],
      [25, () => this.settle(session)],
      [3, () => this.drain(session)],
      [1, () => void (session.queue.next += this.dice.pick([1, 3, 70_000]))],
      [10, () => this.run(this.dice.between(0, 20))],
      [1, () => this.run(1000)],
      [2, () => this.setClock()],
    ])()
  }

  begin(clientId = `c${this.dice.below(8)}`): void {
    for (const old of this.state.sessions.values())
      if (old.clientId === clientId) this.state.sessions.delete(old.number)
    const session = new ModelSession(this.store.number(), clientId)
    session.epoch = ++this.#epoch
    this.state.sessions.set(session.number, session)
    this.touch(session)
  }

  /** A client takes its session up, or leaves it. */
  touch(session: ModelSession): void {
    const { dice } = this
    const now = this.time.now()
    session.online = dice.chance(0.5)
    session.presumed = undefined
    if (session.online) session.epoch = ++this.#epoch
    session.expirySeconds = dice.pick([Infinity, 0, 5, 1000])
    session.username = dice.pick([undefined, 'me', ''])
    session.will = dice.chance(0.5) ? undefined : this.#will()
    session.endDueMs = session.online ? Infinity : now + session.expirySeconds * 1000
    session.willDueMs = session.online || !session.will ? Infinity : now + session.will.delaySeconds * 1000
    const { number, clientId, epoch, expirySeconds, username, will, online, endDueMs, willDueMs } = session
    this.#changed(this.store.session(session), (state) => {
      let same = state.sessions.get(number)
      if (same === undefined) {
        for (const old of state.sessions.values()) if (old.clientId === clientId) state.sessions.delete(old.number)
        state.sessions.set(number, (same = new ModelSession(number, clientId)))
      }
      Object.assign(same, { presumed: undefined, epoch, expirySeconds, username, will, online, endDueMs, willDueMs })
    })
  }

  end(session: ModelSession): void {
    for (const [seq, { lsn }] of session.queue.places) this.store.settled(session.number, session.queue.head, seq, lsn)
    this.state.sessions.delete(session.number)
    this.#changed(this.store.ended(session.number), (state) => void state.sessions.delete(session.number))
  }

  subscribe({ number, subscriptions }: ModelSession): void {
    const filter = `f/${this.dice.below(5)}/#`
    const grant = (this.dice.below(0x1000_0000) << 4) | this.dice.below(16)
    subscriptions.set(filter, grant)
    const lsn = this.store.subscribed(number, filter, grant)
    this.#changed(lsn, (state) => state.sessions.get(number)?.subscriptions.set(filter, grant))
  }

  unsubscribe({ number, subscriptions }: ModelSession): void {
    const filter = subscriptions.keys().next().value
    if (filter === undefined) return
    subscriptions.delete(filter)
    const lsn = this.store.unsubscribed(number, filter)
    this.#changed(lsn, (state) => state.sessions.get(number)?.subscriptions.delete(filter))
  }

  publish(recipients = this.dice.pick([0, 1, 1, 2, 10]), bytes = this.dice.pick([0, 5, 100, 3000])): Lsn {
    const { dice, store } = this
    const retain = dice.chance(0.3)
    const retains = retain && dice.chance(0.8)
    const payload = retain && dice.chance(0.3) ? '' : `${++this.#messages}:`.padEnd(bytes, '.')
    const topic = this.topics.named(dice.pick(topicNames))
    const expiresAtMs = dice.chance(0.3) ? this.time.now() + dice.between(1, 1e6) : Infinity
    const source = Buffer.from(payload)
    const properties = dice.chance(0.3) ? Uint8Array.of(1, 1) : undefined
    const publisher = dice.chance(0.5) ? { clientId: 'someone' } : undefined
    const qos = dice.below(3) as QoS
    const message = new Message(
      ...([topic, qos, retain, source, 0, source.length, properties, expiresAtMs, publisher, 5] as const),
    )
    if (retain && dice.chance(0.5))
      message.stamp = { ms: this.#messages, count: dice.below(3), node: dice.pick(['a', 'ü']) }
    const all = [...this.state.sessions.values()]
    const durability = dice.pick(['fsync', 'fsync', 'os'] as const)
    const expected = store.next
    const copies: { readonly session: ModelSession; readonly seq: number; readonly place: Place }[] = []
    for (let left = all.length > 0 ? recipients : 0; left > 0; left--) {
      const session = dice.pick(all)
      const seq = session.queue.next++
      const flags = dice.pick([0, Entry.qos2, Entry.retain, Entry.shared, Entry.qos2 | Entry.shared])
      const ids = dice.chance(0.3) ? [1, 200_000_000, dice.below(1000)] : undefined
      const shared = flags & Entry.shared ? '$share/g/a/#' : undefined
      const entry = (message.bytes << Entry.bytesShift) | Entry.waiting | flags
      const place = { lsn: expected, entry, payload, topic: topic.name, expiresAtMs, ids, shared }
      session.queue.places.set(seq, place)
      store.recipient(message, session.number, seq, flags, ids, shared)
      copies.push({ session, seq, place: { ...place } })
    }
    const sender = dice.chance(0.3) && all.length > 0 ? dice.pick(all) : undefined
    const packetId = sender ? 1 + dice.below(65_535) : 0
    sender?.ids.add(packetId)
    if (retains) retain_(this.state, message)
    const lsn = store.message(message, retains, sender?.number ?? 0, packetId, durability)
    if (lsn !== 0) expect(lsn).toBe(expected)
    if (lsn !== 0)
      this.#changed(lsn, (state) => {
        for (const { session, seq, place } of copies) {
          const queue = state.sessions.get(session.number)?.queue
          queue?.places.set(seq, { ...place })
          if (queue) queue.next = Math.max(queue.next, seq + 1)
        }
        if (sender) state.sessions.get(sender.number)?.ids.add(packetId)
        if (retains) retain_(state, message)
      })
    return lsn
  }

  /** One message of 200 bytes for one session. */
  put(session: ModelSession): void {
    const { number, queue } = session
    const payload = `${++this.#messages}:`.padEnd(200, '.')
    const topic = this.topics.named('a')
    const message = new Message(topic, 1, false, Buffer.from(payload), 0, 200, undefined, Infinity, undefined, 5)
    const seq = queue.next++
    const entry = (message.bytes << Entry.bytesShift) | Entry.waiting
    this.store.recipient(message, number, seq, 0, undefined, undefined)
    const lsn = this.store.message(message, false, 0, 0, 'fsync')
    const place = { lsn, entry, payload, topic: 'a', expiresAtMs: Infinity, ids: undefined, shared: undefined }
    queue.places.set(seq, place)
    this.#changed(lsn, (state) => {
      const same = state.sessions.get(number)?.queue
      same?.places.set(seq, { ...place })
      if (same) same.next = Math.max(same.next, seq + 1)
    })
  }

  /** The last message of a queue comes to its end. */
  settleLast({ number, queue }: ModelSession): void {
    const [seq, place] = [...queue.places].at(-1)!
    queue.places.delete(seq)
    queue.trim()
    this.settled.add(`${number}/${seq}`)
    this.store.settled(number, queue.head, seq, place.lsn)
  }

  release({ number, ids }: ModelSession): void {
    const packetId = ids.values().next().value
    if (packetId === undefined) return
    ids.delete(packetId)
    this.#changed(
      this.store.released(number, packetId),
      (state) => void state.sessions.get(number)?.ids.delete(packetId),
    )
  }

  receive({ number, queue }: ModelSession): void {
    const [seq, place] = this.#some(queue)
    if (place === undefined || !(place.entry & Entry.qos2)) return
    place.entry = released(place.entry)
    this.#changed(this.store.received(number, seq), (state) => {
      const same = state.sessions.get(number)?.queue.places.get(seq)
      if (same) same.entry = released(same.entry)
    })
  }

  settle(session: ModelSession): void {
    const { number, queue } = session
    const [seq, place] = this.dice.chance(0.7)
      ? (queue.places.entries().next().value ?? [0, undefined])
      : this.#some(queue)
    if (place === undefined) return
    queue.places.delete(seq)
    queue.trim()
    this.settled.add(`${number}/${seq}`)
    this.store.settled(number, queue.head, seq, place.lsn)
  }

  /** Almost all of a queue comes to its end. */
  drain({ number, queue }: ModelSession): void {
    for (const [seq, { lsn }] of [...queue.places]) {
      if (this.dice.chance(0.1)) continue
      queue.places.delete(seq)
      queue.trim()
      this.settled.add(`${number}/${seq}`)
      this.store.settled(number, queue.head, seq, lsn)
    }
  }

  /** Somebody sets the wall clock: by seconds, a day, fifty years. */
  setClock(): void {
    this.time.setMs += this.dice.pick([2, 86_400, 50 * 31_557_600]) * this.dice.pick([1000, -1000])
    this.#setMs = this.time.now()
    // Nothing else happens in the same moment.
    this.time.stall(0.001)
  }

  /** Time goes on. */
  run(ms: number): void {
    const until = this.time.now() + ms
    while (this.time.nextMs <= until) this.time.step()
    this.time.stall(until - this.time.now())
  }

  /** Everything that was asked of the disk has happened. */
  rest(): void {
    for (let i = 0; i < 10_000 && this.time.busy; i++) this.time.step()
  }

  /** In order. Gives when the process was last heard of, by the store's time. */
  async close(): Promise<number> {
    const closed = this.store.close()
    let over = false
    void closed.finally(() => (over = true)).catch(() => {})
    // Promises have their turns in between.
    for (let i = 0; i < 10_000 && !over; i++) {
      this.time.step()
      await Promise.resolve()
    }
    await closed
    this.disk = clone(this.disk, this.dice, this.later)
    this.index = this.index.crash(this.dice)
    const { lastMs, aheadMs } = recordsOf(this.disk, this.index, this.#options)
    expectNear(aheadMs, this.time.setMs)
    this.#anew()
    return lastMs
  }

  /** The process ends, or the power is cut. Then opens the store again, and checks what came back. */
  fall(how: 'kill' | 'crash'): void {
    const { durable } = this.store
    const left = how === 'kill' ? this.disk.kill(this.dice) : this.disk.crash(this.dice)
    this.index = this.index.crash(this.dice, this.later)
    const { lsns, lastMs, aheadMs } = recordsOf(left, this.index, this.#options)
    // A second later it is written down that the clock was set. If that is lost, somebody sets it back meanwhile.
    if (this.time.now() - this.#setMs > noticedMs) expectNear(aheadMs, this.time.setMs)
    this.time.setMs = Math.round(aheadMs)
    this.disk = left
    this.#anew()
    this.changes = this.changes.filter(({ lsn }) => lsn < durable || lsns.has(lsn))
    this.state = new State()
    for (const change of this.changes) change.apply(this.state)
    this.open()
    this.check(lastMs)
  }

  /** Is everything there that must be, as it was? Then goes on with that. @param lastMs when the process was last heard of */
  check(lastMs: number, exact = false): void {
    const { state, recovered } = this
    const numbers = (list: Iterable<{ readonly number: number }>) => Array.from(list, ({ number }) => number).sort()
    expect(numbers(recovered.sessions)).toEqual(numbers(state.sessions.values()))
    for (const session of recovered.sessions)
      this.#checkSession(session, state.sessions.get(session.number)!, lastMs, exact)
    expect(recovered.retained.map(({ topic }) => topic.name).sort()).toEqual([...state.retained.keys()].sort())
    for (const message of recovered.retained) {
      const same = state.retained.get(message.topic.name)!
      expect(face(message)).toEqual(face(same))
      expectNear(message.expiresAtMs, same.expiresAtMs)
    }
  }

  /** Another process: nothing of the last one goes on. */
  #anew(): void {
    const nowMs = this.time.now() + this.dice.pick([1, 100, 1e6])
    const { setMs } = this.time
    this.time = new Time(this.dice)
    this.time.setMs = setMs
    this.time.stall(nowMs - this.time.now())
  }

  #checkSession(session: RecoveredSession, same: ModelSession, lastMs: number, exact: boolean): void {
    const { number, clientId, epoch, expirySeconds, username, will, endDueMs, willDueMs } = session
    const subscriptions = new Map(session.subscriptions)
    expect({ clientId, epoch, expirySeconds, username, subscriptions, will: will && plain(will) }).toEqual({
      clientId: same.clientId,
      epoch: same.epoch,
      expirySeconds: same.expirySeconds,
      username: same.username,
      subscriptions: same.subscriptions,
      will: same.will && plain(same.will),
    })
    expect(new Set(session.incoming)).toEqual(same.ids)
    const diedMs = lastMs - offsetMs
    if (same.online) {
      same.presumed = { endDueMs: diedMs + expirySeconds * 1000, willDueMs: Infinity }
      if (will) same.presumed.willDueMs = diedMs + Math.min(will.delaySeconds, expirySeconds) * 1000
    }
    if (same.presumed === undefined) {
      expectNear(endDueMs, same.endDueMs)
      expectNear(willDueMs, same.willDueMs)
    } else {
      // The store has written down that it is offline since then; if that is lost, it is presumed once more.
      if (endDueMs !== diedMs + expirySeconds * 1000) expectNear(endDueMs, same.presumed.endDueMs)
      const presumed = { endDueMs, willDueMs, online: false, presumed: { endDueMs, willDueMs } }
      this.changes.push({ lsn: 0, apply: (state) => void Object.assign(state.sessions.get(number) ?? {}, presumed) })
      Object.assign(same, presumed)
    }
    const { head, next } = session.queue
    // What was kept in memory only has left no trace.
    expect(next).toBeGreaterThanOrEqual(Math.max(0, ...Array.from(same.queue.places.keys(), (seq) => seq + 1)))
    const alive = new Set<number>()
    for (const { seq, entry, lsn, expiry } of aliveIn(session.queue)) {
      alive.add(seq)
      const place = same.queue.places.get(seq)
      expect(place, `message ${seq} of ${number} comes from nowhere`).toBeDefined()
      expect(entry).toBe(place!.entry)
      place!.lsn = lsn
      expect(expiry).toBe(same.queue.expiryOf(seq))
      this.#checkCopy(number, seq, place!)
    }
    if (next > head) expect(alive.has(head)).toBe(true)
    for (const seq of same.queue.places.keys()) {
      if (alive.has(seq)) {
        if (this.settled.delete(`${number}/${seq}`)) expect(exact, `${seq} of ${number} came back`).toBe(false)
        continue
      }
      expect(this.settled.has(`${number}/${seq}`), `message ${seq} of ${number} is lost`).toBe(true)
      same.queue.places.delete(seq)
    }
    same.queue.head = head
    same.queue.next = next
  }

  #checkCopy(number: number, seq: number, place: Place): void {
    const copy = this.store.readNow(place.lsn, number, seq)
    expect(copy, `message ${seq} of ${number} cannot be read`).toBeDefined()
    const { message, subscriptionIds, shared } = copy!
    expect(Buffer.from(message.payload()).toString()).toBe(place.payload)
    expect(message.topic.name).toBe(place.topic)
    expect({ subscriptionIds, shared }).toEqual({ subscriptionIds: place.ids, shared: place.shared })
    expectNear(message.expiresAtMs, place.expiresAtMs)
  }

  #changed(lsn: Lsn, apply: (state: State) => void): void {
    this.changes.push({ lsn, apply })
  }

  #some(queue: Queue): [number, Place | undefined] {
    const all = [...queue.places]
    return all.length > 0 ? this.dice.pick(all) : [0, undefined]
  }

  #will(): WillPacket {
    const { dice } = this
    return {
      topic: 'will',
      payload: dice.bytes(dice.below(20)),
      qos: dice.below(3) as QoS,
      retain: dice.chance(0.5),
      delaySeconds: dice.pick([0, 3, 4_294_967_295]),
      expirySeconds: dice.pick([-1, 0, 60]),
      properties: dice.pick([undefined, Uint8Array.of(1, 0)]),
    }
  }
}

function released(entry: number): number {
  return (entry & ~Entry.stateBits) | Entry.released
}

function retain_({ retained }: State, message: Message): void {
  if (message.payloadLength === 0 && message.stamp === undefined) retained.delete(message.topic.name)
  else retained.set(message.topic.name, message)
}

function plain(will: WillPacket): object {
  return { ...will, payload: [...will.payload], properties: will.properties && [...will.properties] }
}

function face(message: Message): object {
  return {
    qos: message.qos,
    retain: message.retain,
    stamp: message.stamp,
    payload: Buffer.from(message.payload()).toString(),
    properties: message.properties && [...message.properties],
    publisher: (message.publisher as { clientId: string } | undefined)?.clientId,
  }
}

/** Equal but for what a sum of times loses. */
function expectNear(a: number, b: number): void {
  if (a !== b) expect(Math.abs(a - b)).toBeLessThan(0.01)
}

/** Another disk with the same files. */
export function clone(disk: SimDisk, dice: Dice, later: (run: () => void) => void): SimDisk {
  const copy = new SimDisk(dice, later)
  for (const name of disk.list('log')) copy.put(`log/${name}`, disk.contentOf(`log/${name}`)!)
  return copy
}

/** What a start on this disk would find. */
interface Left {
  readonly lsns: Set<Lsn>
  /** When somebody last said something, by the store's time, and by how much the wall clock was ahead then. */
  readonly lastMs: number
  readonly aheadMs: number
}

function recordsOf(disk: SimDisk, index: MemoryIndex, options: Options): Left {
  const lsns = new Set<Lsn>()
  let meta: Meta | undefined
  for (const [key, value] of index.entries())
    if (key === metaKey) meta = readMeta(new RecordReader().over(value, 0, value.length))
  let { atMs: lastMs, aheadMs } = meta ?? { atMs: 0, aheadMs: 0 }
  const time = new Time(new Dice(0))
  const copy = clone(disk, new Dice(0), () => {})
  CommitLog.open({ ...options, disk: copy, clock: time, time, log: silent, storeId }, 0, 0, {
    record: (lsn, type, bytes, start, end, atMs) => {
      lsns.add(lsn)
      lastMs = Math.max(lastMs, atMs)
      if (type === RecordType.clock && atMs > (meta?.atMs ?? 0))
        aheadMs = new RecordReader().over(bytes, start, end).f64()
    },
    damaged: () => {},
  })
  return { lsns, lastMs, aheadMs }
}
