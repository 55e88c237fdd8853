import { expect } from 'vitest'
import type { AedesPacket, AedesPubrel } from '../../src/aedes/packet.ts'
import { AedesPersistence } from '../../src/aedes/persistence.ts'
import type { Log } from '../../src/host.ts'
import { type DiskStore, openDiskStore } from '../../src/store/disk-store.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { Time } from '../sim/time.ts'

type Value = string | number | undefined

/** What a name has been given, in order, and how much of that was answered: a crash may take the rest. */
interface Fact {
  values: Value[]
  answered: number
}

/** A packet on its way to a client. */
interface Sent {
  readonly packet: AedesPacket & { readonly payload: string; readonly qos: 1 | 2 }
  stored: boolean
  cleared: boolean
  id: number | undefined
  idStored: boolean
  released: boolean
  releaseStored: boolean
}

const silent: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const clients = ['a', 'ab', '\0in-flight\0a'].map((id) => ({ id }))
const topics = ['x', 'x/+', 'y/#']
const names = ['x', 'x/1', `long/${'z'.repeat(600)}`]

/** A persistence on a disk that forgets, under something that asks anything of it; and what must be there after a crash. */
export class AedesWorld {
  readonly dice: Dice
  persistence!: AedesPersistence
  store!: DiskStore
  #time: Time
  disk: SimDisk
  #index: MemoryIndex
  #lives = 0
  #counter = 0
  #facts = new Map<string, Fact>()
  #sent = new Map<string, Sent[]>()
  readonly #segmentBytes: number

  constructor(seed: number) {
    this.dice = new Dice(seed)
    this.#segmentBytes = 4096 << (seed % 3)
    this.#time = new Time(this.dice.fork(1))
    this.disk = new SimDisk(this.dice.fork(2), this.#later)
    this.#index = new MemoryIndex(this.#later)
    for (const { id } of clients) this.#sent.set(id, [])
  }

  async open(): Promise<void> {
    this.persistence = new AedesPersistence((topics) => {
      const { store, recovered } = openDiskStore({
        ...{ disk: this.disk, index: this.#index, clock: this.#time, topics, log: silent, storeId: 7 },
        ...{
          segmentBytes: this.#segmentBytes,
          checkpointBytes: 3000,
          cacheBytes: 16_384,
          reserveBytes: 0,
          collectBytesPerSecond: 1e6,
        },
      })
      this.store = store
      return Promise.resolve({ store, recovered, close: () => Promise.resolve() })
    })
    await this.persistence.setup({ id: `broker ${this.#lives++}` })
  }

  /** Lets the world go on until `promise` has its answer. */
  async answer<T>(promise: Promise<T>): Promise<T> {
    let over = false
    const ended = promise.finally(() => (over = true))
    ended.catch(() => {})
    for (let steps = 0; !over; steps++) {
      if (steps > 20_000) throw new Error('no answer')
      await turn()
      this.#time.step()
    }
    return ended
  }

  async goOn(steps: number): Promise<void> {
    for (let left = steps; left > 0; left--) {
      await turn()
      this.#time.step()
    }
  }

  act(): void {
    const { dice, persistence } = this
    const client = dice.pick(clients)
    const value = `v${++this.#counter}`
    const qos = dice.pick([1, 2] as const)
    switch (dice.below(10)) {
      case 0: {
        const topic = dice.pick(topics)
        return this.#told([`sub ${client.id} ${topic}`], qos, persistence.addSubscriptions(client, [{ topic, qos }]))
      }
      case 1: {
        const topic = dice.pick(topics)
        const removed = persistence.removeSubscriptions(client, [topic])
        return this.#told([`sub ${client.id} ${topic}`], undefined, removed)
      }
      case 2: {
        const all = topics.map((topic) => `sub ${client.id} ${topic}`)
        return this.#told(all, undefined, persistence.cleanSubscriptions(client))
      }
      case 3: {
        const topic = dice.pick(names)
        const payload = dice.chance(0.3) ? '' : value
        const stored = persistence.storeRetained({ cmd: 'publish', topic, payload, qos, retain: true })
        return this.#told([`retained ${topic}`], payload === '' ? undefined : payload, stored)
      }
      case 4:
        if (dice.chance(0.5)) return this.#told([`will ${client.id}`], undefined, persistence.delWill(client))
        return this.#told([`will ${client.id}`], value, persistence.putWill(client, { topic: 'w', payload: value }))
      case 5:
      case 6:
        return this.#receive(client, value)
      case 7:
        return this.#enqueue(value, qos)
      default:
        return this.#deliver(client)
    }
  }

  /** The process ends, or the power is cut, and everything opens anew. */
  async fall(how: 'kill' | 'crash' | 'close'): Promise<void> {
    const { dice } = this
    if (how === 'close') await this.answer(this.persistence.destroy())
    this.disk = how === 'crash' ? this.disk.crash(dice) : this.disk.kill(dice)
    this.#index = this.#index.crash(dice, this.#later)
    const nowMs = this.#time.now()
    this.#time = new Time(dice)
    this.#time.stall(Math.max(0, nowMs - this.#time.now()))
    // Whatever was not answered may have happened or not; what comes late is of another life.
    const facts = this.#facts
    const sent = this.#sent
    this.#facts = new Map<string, Fact>()
    this.#sent = new Map<string, Sent[]>()
    await this.open()
    await this.#checkFacts(facts)
    for (const client of clients) this.#sent.set(client.id, await this.#checkSent(client, sent.get(client.id)!))
  }

  readonly #later = (run: () => void): void => {
    this.#time.after(this.dice.chance(0.5) ? 0 : this.dice.between(0, 3), run)
  }

  #told(keys: readonly string[], value: Value, done: Promise<unknown>): void {
    for (const key of keys) {
      const fact = this.#facts.get(key) ?? { values: [undefined], answered: 0 }
      this.#facts.set(key, fact)
      const at = fact.values.push(value) - 1
      done.then(
        () => (fact.answered = Math.max(fact.answered, at)),
        () => {},
      )
    }
  }

  #receive(client: { id: string }, value: string): void {
    const { dice, persistence } = this
    const messageId = dice.pick([1, 2, 3])
    const key = `incoming ${client.id} ${messageId}`
    const { values } = this.#facts.get(key) ?? { values: [undefined] }
    if (dice.chance(0.1)) {
      const all = [1, 2, 3].map((id) => `incoming ${client.id} ${id}`)
      return this.#told(all, undefined, persistence.cleanIncoming(client))
    }
    if (values.at(-1) !== undefined && dice.chance(0.7))
      return this.#told([key], undefined, persistence.incomingDelPacket(client, { messageId }))
    const packet = { cmd: 'publish', topic: 'x/1', payload: value, qos: 2 as const, messageId }
    this.#told([key], value, persistence.incomingStorePacket(client, packet))
  }

  #enqueue(payload: string, qos: 1 | 2): void {
    const { dice, persistence } = this
    const to = clients.filter(() => dice.chance(0.6))
    const origin = { brokerId: persistence.broker!.id, brokerCounter: ++this.#counter }
    const packet = { cmd: 'publish', topic: 'x/1', payload, qos, retain: false, dup: false, ...origin }
    const added = to.map(({ id }) => {
      const sent = { packet, stored: false, cleared: false, id: undefined, idStored: false }
      const whole = { ...sent, released: false, releaseStored: false }
      this.#sent.get(id)!.push(whole)
      return whole
    })
    persistence
      .outgoingEnqueueCombi(
        [...to, ...to].map(({ id }) => ({ clientId: id })),
        packet,
      )
      .then(
        () => added.forEach((sent) => (sent.stored = true)),
        () => {},
      )
  }

  /** Takes a step with one of the packets for a client. */
  #deliver(client: { id: string }): void {
    const { dice, persistence } = this
    const list = this.#sent.get(client.id)!.filter(({ stored, cleared }) => stored && !cleared)
    if (list.length === 0) return
    const sent = list[Math.min(dice.below(3), list.length - 1)]!
    const { packet } = sent
    if (sent.id === undefined) {
      const messageId = (sent.id = 1 + (++this.#counter % 65_535))
      persistence.outgoingUpdate(client, { ...packet, messageId }).then(
        () => (sent.idStored = true),
        (why: unknown) => expect.fail(String(why)),
      )
    } else if (packet.qos === 2 && !sent.released) {
      if (!sent.idStored) return
      sent.released = true
      persistence.outgoingUpdate(client, { cmd: 'pubrel', messageId: sent.id }).then(
        () => (sent.releaseStored = true),
        (why: unknown) => expect.fail(String(why)),
      )
    } else if (sent.idStored) {
      sent.cleared = true
      void persistence.outgoingClearMessageId(client, { ...packet, messageId: sent.id })
    }
  }

  async #checkFacts(facts: ReadonlyMap<string, Fact>): Promise<void> {
    const found = await this.#found()
    for (const [key, { values, answered }] of facts) {
      const possible = values.slice(answered)
      expect(possible, key).toContain(found.get(key))
    }
    for (const [key, value] of found) {
      expect(facts.has(key), key).toBe(true)
      this.#facts.set(key, { values: [value], answered: 0 })
    }
  }

  async #found(): Promise<Map<string, Value>> {
    const { persistence } = this
    const found = new Map<string, Value>()
    for (const client of clients) {
      const subscriptions = await persistence.subscriptionsByClient(client)
      for (const { topic, qos } of subscriptions) found.set(`sub ${client.id} ${topic}`, qos)
      const will = await persistence.getWill(client)
      if (will) found.set(`will ${client.id}`, String(will.payload))
      for (const messageId of [1, 2, 3]) {
        const packet = await this.answer(persistence.incomingGetPacket(client, { messageId })).catch(() => undefined)
        if (packet) found.set(`incoming ${client.id} ${messageId}`, String(packet.payload))
      }
    }
    for (const packet of await this.read<AedesPacket>(persistence.createRetainedStream('#')))
      found.set(`retained ${packet.topic}`, String(packet.payload))
    return found
  }

  async #checkSent(client: { id: string }, sent: readonly Sent[]): Promise<Sent[]> {
    const left = await this.read<AedesPacket | AedesPubrel>(this.persistence.outgoingStream(client))
    const kept: Sent[] = []
    let at = 0
    for (const was of sent) {
      const here = left[at]
      const { payload, qos } = was.packet
      const isRelease = here?.cmd === 'pubrel' && was.released && here.messageId === was.id
      const isIt = isRelease || (here?.cmd === 'publish' && here.payload === payload)
      if (!isIt) {
        expect(was.stored && !was.cleared, `${payload} for ${client.id} is gone`).toBe(false)
        continue
      }
      at++
      if (!was.cleared) expect(isRelease || !was.releaseStored, `${payload} was released`).toBe(true)
      if (qos === 1) expect(here.messageId).toBe(undefined)
      // Until the client has let go of the id, the message goes out by no other.
      else if (was.idStored && !was.cleared) expect(here.messageId, payload).toBe(was.id)
      else expect([undefined, was.id]).toContain(here.messageId)
      const id = here.messageId
      const state = { id, idStored: id !== undefined, released: isRelease, releaseStored: isRelease }
      kept.push({ ...was, ...state, stored: true, cleared: false })
    }
    expect(left.slice(at), `nobody sent this to ${client.id}`).toEqual([])
    return kept
  }

  /** Everything that comes. */
  read<T>(stream: AsyncIterable<unknown>): Promise<T[]> {
    const all = async () => {
      const items: T[] = []
      for await (const item of stream) items.push(item as T)
      return items
    }
    return this.answer(all())
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
