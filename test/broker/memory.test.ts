import { describe, expect, test } from 'vitest'
import type { MemoryGauge } from '../../src/host.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { connectPacket } from '../support/raw.ts'
import { HandBroker } from '../support/hand.ts'

const limitBytes = 1_000_000

/** What the process is said to hold, and how often garbage was collected. */
class Gauge implements MemoryGauge {
  share = 0
  useful: number | undefined = undefined
  heapShare = 0
  collected = 0
  /** What a collection leaves. */
  live: number | undefined = undefined

  read() {
    return {
      residentBytes: this.share * limitBytes,
      usefulBytes: (this.useful ?? this.share) * limitBytes,
      heapShare: this.heapShare,
    }
  }

  collect() {
    this.collected++
    if (this.live !== undefined) this.share = this.live
  }
}

function world() {
  const gauge = new Gauge()
  const hand = new HandBroker({ memory: { gauge, limitBytes } })
  const at = (share: number) => {
    gauge.share = share
    hand.pass(100)
  }
  const steps = () => hand.log.map(({ message }) => message)
  return { gauge, hand, at, steps, ledger: hand.broker.ledger }
}

const told = [
  'short of memory: clients that are behind get no QoS 0',
  'short of memory: no new clients, subscriptions and retained topics',
  'short of memory: publishers are read a packet a second',
  'short of memory: clients that hold the most are disconnected',
]
const again = 'there is memory again'

test('steps begin at their marks, and end a twentieth below; each is told once', () => {
  const { at, steps, hand } = world()
  const seen: string[][] = []
  for (const share of [0.74, 0.75, 0.71, 0.81, 0.76, 0.74, 0.86, 0.91, 0.86, 0.84, 0.69, 0.76, 0.69]) {
    hand.log.length = 0
    at(share)
    seen.push(steps())
  }
  expect(seen).toEqual([
    [],
    [told[0]],
    [],
    [told[1]],
    [],
    [],
    [told[2]],
    [told[3]],
    [],
    [],
    [again],
    // Within a minute nobody is told again.
    [],
    [again],
  ])
  hand.pass(61_000)
  hand.log.length = 0
  at(0.8)
  expect(hand.log[0]).toMatchObject({ message: told[1], fields: { limitBytes, queuedBytes: 0, unsentBytes: 0 } })
})

test('what the allocator keeps to use again counts up to a tenth, and all of it at the brink', () => {
  const { at, gauge, hand, steps } = world()
  gauge.useful = 0.5
  at(0.94)
  expect(steps()).toEqual([])
  at(0.96)
  expect(steps()).toEqual([told[3]])
  hand.pass(100)
})

test('the engine’s own heap is a limit as well', () => {
  const { gauge, at, steps } = world()
  gauge.heapShare = 0.81
  at(0.1)
  expect(steps()).toEqual([told[1]])
})

test('garbage is collected before anybody goes, and not at every look', () => {
  const { gauge, hand, at, steps } = world()
  gauge.live = 0.3
  at(0.95)
  expect([gauge.collected, steps()]).toEqual([1, []])
  gauge.live = undefined
  gauge.share = 0.76
  hand.pass(3000)
  expect(gauge.collected).toBeLessThanOrEqual(1 + 3000 / 300)
})

test('unfinished packets have an eighth of the limit: whoever adds to more goes, whoever keeps little stays', () => {
  const { hand, ledger } = world()
  const begun = (id: string, bytes: number) =>
    hand.client(id).bytes(Buffer.concat([Buffer.from([0x30, 0xff, 0xff, 0x1f]), Buffer.alloc(bytes)]))
  const [one, two, small] = [begun('one', 70_000), begun('two', 70_000), begun('small', 1000)]
  expect([one.closed, two.closed, small.closed]).toEqual([false, true, false])
  expect(ledger.refusals.get('quotaExceeded')).toBe(1)
  // What is gone holds nothing.
  const three = begun('three', 40_000)
  expect([one.closed, three.closed]).toEqual([false, false])
  one.leave()
  expect(begun('four', 70_000).closed).toBe(false)
})

describe('what each step does', () => {
  test('1: whoever is behind gets no QoS 0; who reads gets it all', () => {
    const { hand, at, ledger } = world()
    const [slow, quick] = [hand.client('slow').subscribe('a'), hand.client('quick').subscribe('a')]
    slow.reads = false
    const from = hand.client('from')
    const send = () => {
      for (let i = 0; i < 100; i++) from.publish('a', Buffer.alloc(1000))
    }
    send()
    expect(ledger.lost.congested).toBe(0)
    at(0.76)
    send()
    // One while its publisher waits for it, as ever.
    hand.pass(1200)
    expect(ledger.lost.congested).toBe(99)
    expect(quick.taken().filter(({ cmd }) => cmd === 'publish')).toHaveLength(200)
    at(0.6)
    send()
    expect(ledger.lost.congested).toBe(99)
  })

  test('2: nobody new, no new filter, no new retained topic; what is there goes on', () => {
    const { hand, at, ledger } = world()
    const client = hand.client('here').subscribe('a', 1)
    client.publish('kept', 'one', { retain: true })
    at(0.81)
    for (const [version, wanted] of [
      [5, { reasonCode: Reason.serverBusy }],
      [4, { returnCode: 3 }],
    ] as const) {
      const late = hand.open(version).send(connectPacket(version, { clientId: 'late' }))
      expect(late.taken()).toMatchObject([{ cmd: 'connack', ...wanted }])
      expect(late.closed).toBe(true)
    }
    client.forget()
    expect(client.subscribe('b', 1).taken()).toMatchObject([{ cmd: 'suback', granted: [Reason.quotaExceeded] }])
    client.publish('kept', 'two', { retain: true })
    client.publish('new', 'x', { retain: true })
    expect(hand.broker.retained.get('kept')?.payload().toString()).toBe(Buffer.from('two').toString())
    expect(hand.broker.retained.get('new')).toBeUndefined()
    expect(ledger.notRetained).toBe(1)
    client.forget()
    client.publish('a', 'hello', { qos: 1, messageId: 1 })
    expect(client.taken()).toMatchObject([{ cmd: 'publish' }, { cmd: 'puback', reasonCode: 0 }])
    expect(Object.fromEntries(ledger.refusals)).toEqual({ serverBusy: 2, quotaExceeded: 1 })
    at(0.7)
    hand.client('late')
  })

  test('3: publishers are read a packet a second', () => {
    const { hand, at, ledger } = world()
    const publishers = Array.from({ length: 20 }, (_, at) => hand.client(`p${at}`))
    const frame = { cmd: 'publish', topic: 'a', payload: 'x', qos: 0, dup: false, retain: false } as const
    at(0.86)
    for (const publisher of publishers) publisher.send(...Array.from({ length: 50 }, () => frame))
    expect(ledger.published).toBe(20)
    hand.pass(5000)
    // Twenty that wait, a tenth of them in each tick, and fewer are left to wait: some more than five each.
    expect(ledger.published).toBeGreaterThanOrEqual(120)
    expect(ledger.published).toBeLessThanOrEqual(20 * 10)
    at(0.7)
    expect(ledger.published).toBe(1000)
  })

  test('4: those who hold the most go, as many as must, and nobody else', () => {
    const { hand, gauge, at, ledger } = world()
    const clients = [300, 110, 100, 50].map((kilobytes) => {
      const client = hand.client(`${kilobytes}`)
      client.subscribe(`to/${kilobytes}`)
      client.reads = false
      return { client, kilobytes }
    })
    const from = hand.client('from')
    for (const { kilobytes } of clients) from.publish(`to/${kilobytes}`, Buffer.alloc(kilobytes * 1000))
    // A packet that does not come to its end is held as well.
    const unfinished = hand.client('unfinished')
    unfinished.bytes(Buffer.concat([Buffer.from([0x30, 0xff, 0xff, 0x1f]), Buffer.alloc(120_000)]))
    // Too much by more than the two largest hold.
    gauge.live = 0.85 + 0.4
    at(1.35)
    const gone = () => clients.filter(({ client }) => client.closed).map(({ kilobytes }) => kilobytes)
    expect([gone(), unfinished.closed]).toEqual([[300], true])
    expect(ledger.refusals.get('quotaExceeded')).toBe(2)
    gauge.live = undefined
    at(0.5)
    hand.pass(2000)
    expect(gone()).toEqual([300])
    expect(from.closed).toBe(false)
  })
})
