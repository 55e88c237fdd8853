import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import type { Broker } from '../../src/broker/broker.ts'
import { defaultLimits } from '../../src/broker/limits.ts'
import type { Stream } from '../../src/host.ts'
import { Bell } from '../support/bell.ts'
import { startBroker, temporaryFolder } from '../support/broker.ts'
import { HandBroker } from '../support/hand.ts'
import { connectPacket } from '../support/raw.ts'

setFlagsFromString('--expose_gc')
const collect = runInNewContext('gc') as () => void
const mebibyte = 2 ** 20

describe('abuse 23: a subscriber that stops reading', () => {
  for (const qos of [0, 1] as const)
    test(`QoS ${qos}: what it holds is bounded, others get everything, and it is disconnected in time`, () => {
      const hand = new HandBroker()
      const [deaf, well] = [hand.client('deaf').subscribe('a', qos), hand.client('well').subscribe('a', qos)]
      const from = hand.client('from')
      deaf.reads = false
      well.forget()
      const payload = Buffer.alloc(10_000)
      let sent = 0
      let arrived = 0
      const send = (count: number) => {
        for (let i = 0; i < count; i++, sent++) from.publish('a', payload, { qos, ...(qos > 0 && { messageId: 1 }) })
        from.forget()
        for (const packet of well.taken()) {
          if (packet.cmd !== 'publish') continue
          arrived++
          if (qos > 0) well.send({ cmd: 'puback', messageId: packet.messageId! })
        }
      }
      send(200)
      // Its publisher waits for it a second, once, and then no more.
      hand.pass(1200)
      let most = 0
      for (let i = 0; i < 27; i++) {
        send(100)
        most = Math.max(most, deaf.connection.heldBytes)
        hand.pass(1000)
      }
      expect(deaf.closed).toBe(false)
      expect(most).toBeLessThan(defaultLimits.unsentBytes + 2 * payload.length)
      hand.pass(20_000)
      send(0)
      expect(deaf.closed).toBe(true)
      expect(arrived).toBe(sent)
      const { ledger } = hand.broker
      expect(ledger.refusals.get('quotaExceeded')).toBe(1)
      if (qos === 0) expect(ledger.lost.congested).toBeGreaterThan(2000)
      else expect(hand.broker.sessions.queued.bytes).toBe(0)
    })

  // In full, in a process of its own: `npm run abuse -- --full --only slow`.
  const count = 20_000
  const bytes = 1024

  /** Somebody far behind, for whom no more than `most` bytes are held, and somebody who is not. */
  async function behind(data: string | undefined, queueBytes: number, most: number) {
    const limits = { queueMessages: count, queueBytes, inflightMessages: 4000, stallSeconds: 3600 }
    const { node } = await startBroker({ ...(data !== undefined && { data }), limits })
    const { broker } = node
    const [deaf, well, from] = ['deaf', 'well', 'from'].map((name) => new Client(broker, name))
    for (const client of [deaf!, well!]) client.subscribe('a')
    // What everybody needs is there before it is measured.
    await from!.publish('a', 1000, bytes)
    for (const client of [deaf!, well!]) await client.has(1000)
    const before = heldBytes()
    deaf!.reads = false
    await from!.publish('a', count, bytes)
    await well!.has(1000 + count)
    // The store may still be writing, and what is freed is given back beside us.
    await expect.poll(() => heldBytes() - before, { timeout: 20_000, interval: 200 }).toBeLessThan(most)
    const unsent = broker.sessions.get('deaf')!.connection!.heldBytes
    const queued = broker.sessions.queued.bytes
    deaf!.read()
    await deaf!.has(1000 + count - broker.ledger.lostTotal)
    return { unsent, queued, wrong: [deaf!.wrong, well!.wrong], ledger: broker.ledger }
  }

  test(`${count} × 1 KiB for it wait on disk: in memory is what its socket may hold, and nothing is lost`, async () => {
    const { unsent, queued, wrong, ledger } = await behind(temporaryFolder(), 2 * count * bytes, 8 * mebibyte)
    expect(unsent).toBeLessThan(defaultLimits.unsentBytes + 2 * bytes)
    expect(queued).toBeGreaterThan(0.9 * count * bytes)
    expect([...wrong, ledger.lostTotal]).toEqual([0, 0, 0])
  })

  test('without a disk it is `queueBytes` more, and what has no room is lost to it alone, and counted', async () => {
    const { unsent, queued, wrong, ledger } = await behind(undefined, 4 * mebibyte, 12 * mebibyte)
    expect(unsent).toBeLessThan(defaultLimits.unsentBytes + 2 * bytes)
    // What publishers had sent before they were slowed has its place, too.
    expect(queued).toBeLessThan(5 * mebibyte)
    expect([wrong[1], ledger.lostTotal - ledger.lost['queue-full']]).toEqual([0, 0])
    expect(ledger.lostTotal).toBeGreaterThan(0.5 * count)
  })
})

/** What this process holds and somebody can still reach. */
function heldBytes(): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** A client without a socket that forgets what it is sent: its number must be what comes next. */
class Client implements Stream {
  readonly remote = '192.0.2.1:1'
  reads = true
  wrong = 0
  readonly #connection: ReturnType<Broker['accept']>
  readonly #parser = mqttPacket.parser({ protocolVersion: 5 })
  readonly #unread: [bytes: Uint8Array, written: () => void][] = []
  readonly #bell = new Bell()
  #published = 0
  #acknowledged = 0
  #came = 0
  #answers: Packet[] = []

  constructor(broker: Broker, clientId: string) {
    this.#parser.on('packet', (packet) => this.#received(packet))
    this.#connection = broker.accept(this)
    const properties = { sessionExpiryInterval: 3600, receiveMaximum: 65_535 }
    this.#send([connectPacket(5, { clientId, clean: false, properties } satisfies Partial<IConnectPacket>)])
  }

  subscribe(topic: string): void {
    this.#send([{ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic, qos: 1 }] }])
  }

  /** So many more; done when all are acknowledged. */
  async publish(topic: string, count: number, bytes: number): Promise<void> {
    for (const end = this.#published + count; this.#published < end;) {
      const batch = Array.from({ length: Math.min(500, end - this.#published) }, (_, at): Packet => {
        const payload = Buffer.alloc(bytes)
        payload.writeUInt32BE(this.#published++)
        return { cmd: 'publish', topic, payload, qos: 1, messageId: 1 + at, dup: false, retain: false }
      })
      this.#send(batch)
      await this.#until(() => this.#acknowledged === this.#published)
    }
  }

  /** Has been sent so many messages. */
  has(count: number): Promise<void> {
    return this.#until(() => this.#came >= count)
  }

  /** Takes what has been lying there, and from now on what comes. */
  read(): void {
    this.reads = true
    setImmediate(() => this.#take())
  }

  write(bytes: Uint8Array, written: () => void): void {
    // Like a socket: never before `write` has returned.
    if (this.#unread.push([bytes, written]) === 1 && this.reads) setImmediate(() => this.#take())
  }

  pause(): void {}
  end(): void {}
  destroy(): void {}

  #take(): void {
    if (!this.reads) return
    for (const [bytes, written] of this.#unread.splice(0)) {
      this.#parser.parse(Buffer.from(bytes))
      written()
    }
  }

  #until(done: () => boolean): Promise<void> {
    return this.#bell.until(done, () => `${this.#came} came, ${this.#acknowledged} acknowledged`)
  }

  #received(packet: Packet): void {
    if (packet.cmd === 'puback') this.#acknowledged++
    if (packet.cmd === 'publish') {
      if ((packet.payload as Buffer).readUInt32BE() !== this.#came++) this.wrong++
      if (this.#answers.push({ cmd: 'puback', messageId: packet.messageId! }) === 1)
        setImmediate(() => this.#send(this.#answers.splice(0)))
    }
    this.#bell.ring()
  }

  #send(packets: readonly Packet[]): void {
    this.#connection.data(Buffer.concat(packets.map((packet) => mqttPacket.generate(packet, { protocolVersion: 5 }))))
  }
}
