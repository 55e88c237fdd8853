import { describe, expect, test } from 'vitest'
import type { Client } from './client.ts'
import { slowHooks } from './hooks.ts'
import { calmWorld, came, enter, filter, subscribe, timeUntil, wish } from './kit.ts'
import { Wire } from './wire.ts'
import type { World } from './world.ts'

// What depends on time, on a clock that jumps from event to event.

const day = 24 * 3600 * 1000
/** The wheel's ticks come every 100 ms, a little late, and a deadline is met at the second one at the latest. */
const tickMs = 220

describe('silence', () => {
  test.each([
    [1, 1500],
    [10, 15_000],
    [60, 90_000],
  ])('a client with a keep alive of %d s that says nothing is gone after %d ms', (keepAliveSeconds, silenceMs) => {
    const world = calmWorld()
    const client = enter(world, world.client({ id: 'a', version: 4, keepAliveSeconds }))
    const { link } = client.wire!
    client.vanish()
    world.run(silenceMs - 10 - (world.time.now() - link.lastDataMs), () => link.isRead)
    expect(link.isRead).toBe(false)
    timeUntil(world, 1000, () => link.isRead)
    const silentMs = world.time.now() - link.lastDataMs
    expect(silentMs).toBeGreaterThanOrEqual(silenceMs)
    expect(silentMs).toBeLessThan(silenceMs + tickMs)
  })

  test('a client that pings stays', () => {
    const world = calmWorld()
    const client = enter(world, world.client({ id: 'a', keepAliveSeconds: 5 }))
    world.run(10 * 60_000)
    expect(client.online).toBe(true)
  })

  test('one who opens a connection and says nothing is gone after 10 s', () => {
    const world = calmWorld()
    const wire = new Wire(4, { packet() {}, closed() {}, blame: (rule, what) => world.blame(rule, what) })
    world.dial(wire, 'mute')
    wire.link.vanish()
    const silentMs = timeUntil(world, 11_000, () => wire.link.isRead)
    expect(silentMs).toBeGreaterThanOrEqual(10_000)
    expect(silentMs).toBeLessThan(10_000 + tickMs)
    expect(world.broker.connections).toBe(0)
  })

  test('a client that waits for a hook is not silent', () => {
    const world = calmWorld({ hooks: ({ time }) => slowHooks(time, 4000) })
    const client = enter(world, world.client({ id: 'a', keepAliveSeconds: 1 }))
    for (let i = 0; i < 3; i++) {
      client.publish(wish('t'))
      world.run(4500)
    }
    expect(client.online).toBe(true)
    expect(client.flights.size).toBe(0)
  })

  test.each([true, false])(
    'nobody who pinged is sent away when the process stood still for 60 s (ticks first: %s)',
    (ticksFirst) => {
      for (let seed = 0; seed < 20; seed++) {
        const world = calmWorld({ seed })
        const clients = [1, 5, 10, 30].map((keepAliveSeconds) =>
          enter(world, world.client({ id: `k${keepAliveSeconds}`, keepAliveSeconds, expirySeconds: 600 })),
        )
        for (const client of clients) subscribe(world, client, filter('#'))
        world.run(seed * 333)
        // Something is on its way to everybody, so that the watch for stalled sockets has something to see.
        clients[0]!.publish(wish('t', { payloadBytes: 50_000 }))
        world.run(2)
        world.process.stop()
        world.run(60_000)
        world.process.resume(ticksFirst)
        world.run(40_000)
        for (const client of clients) expect(client.online, client.options.id).toBe(true)
        for (const client of clients) expect(came(client, 't')).toHaveLength(1)
      }
    },
  )
})

describe('wills', () => {
  const will = { ...wish('will', { isWill: true, qos: 1 }), delaySeconds: 5 }

  function leaveWith(expirySeconds: number): { world: World; watcher: Client; client: Client; left: () => number } {
    const world = calmWorld()
    const watcher = enter(world, world.client({ id: 'watcher' }))
    subscribe(world, watcher, filter('will'))
    const client = enter(world, world.client({ id: 'a', expirySeconds }), { will })
    const { link } = client.wire!
    link.cut(false, false)
    timeUntil(world, 1000, () => link.isRead)
    const leftMs = world.time.now()
    return { world, watcher, client, left: () => world.time.now() - leftMs }
  }

  test.each([
    ['its delay', 60, 5000],
    ['the end of its session, when that comes first', 3, 3000],
    ['no time, when the session ends with the connection', 0, 0],
  ])('a will fires after %s', (_what, expirySeconds, delayMs) => {
    const { world, watcher, left } = leaveWith(expirySeconds)
    timeUntil(world, 10_000, () => came(watcher, 'will').length > 0)
    expect(left()).toBeGreaterThanOrEqual(delayMs)
    expect(left()).toBeLessThan(delayMs + tickMs + 10)
  })

  test('a client that is back in time keeps its will from firing', () => {
    const { world, watcher, client } = leaveWith(60)
    world.run(4500)
    enter(world, client)
    world.run(60_000)
    expect(came(watcher, 'will')).toHaveLength(0)
  })
})

describe('sessions', () => {
  test('a session of 3.1.1 ends after 7 days, with what it was owed', () => {
    const world = calmWorld()
    const client = enter(world, world.client({ id: 'a', version: 4, expirySeconds: 7 * 24 * 3600 }))
    subscribe(world, client, filter('t'))
    client.disconnect()
    world.run(1000)
    const sender = enter(world, world.client({ id: 'sender' }))
    sender.publish(wish('t'))
    world.run(1000)
    sender.disconnect()
    world.time.lazy = 9
    world.run(7 * day - 10_000)
    expect(world.broker.sessions.size).toBe(1)
    expect(world.broker.pending).toBe(1)
    world.run(12_000)
    expect(world.broker.sessions.size).toBe(0)
    expect(world.broker.ledger.lost['session-ended']).toBe(1)
    world.empty()
  })

  test('time to live is counted down while a message waits', () => {
    const world = calmWorld()
    const client = enter(world, world.client({ id: 'a', expirySeconds: 600 }))
    subscribe(world, client, filter('t'))
    client.disconnect()
    world.run(1000)
    const sender = enter(world, world.client({ id: 'sender' }))
    sender.publish(wish('t', { expirySeconds: 60 }))
    sender.publish(wish('t', { expirySeconds: 30 }))
    world.run(40_500)
    enter(world, client)
    world.settle()
    expect(came(client, 't').map(({ expirySeconds }) => expirySeconds)).toEqual([20])
    expect(world.broker.ledger.lost.expired).toBe(1)
  })
})

describe('slow readers', () => {
  test('one whose socket takes nothing is gone after 30 s, and the others notice nothing', () => {
    const world = calmWorld()
    const stalled = enter(world, world.client({ id: 'stalled', expirySeconds: 600 }))
    const other = enter(world, world.client({ id: 'other' }))
    const sender = enter(world, world.client({ id: 'sender' }))
    for (const client of [stalled, other]) subscribe(world, client, filter('t'))
    const { link } = stalled.wire!
    stalled.vanish()
    world.run(1000)
    const startMs = world.time.now()
    for (let sent = 1; !link.isRead && sent < 1000; sent++) {
      sender.publish(wish('t', { payloadBytes: 1000 }))
      world.run(100)
      expect(came(other, 't')).toHaveLength(sent)
    }
    const tookMs = world.time.now() - startMs
    expect(tookMs).toBeGreaterThan(30_000)
    // It is looked at every 15 s.
    expect(tookMs).toBeLessThan(46_000)
    world.run(5000)
    expect(world.probe.lentBytes).toBe(0)
    // What it was owed is kept.
    enter(world, stalled)
    world.settle()
    expect(came(stalled, 't').length).toBe(came(other, 't').length)
  })

  test('50,000 retained messages reach a slow reader at its pace, in bounded memory', () => {
    const world = calmWorld({ weather: { burstBytes: 3000 } })
    const count = 50_000
    for (let i = 0; i < count; i++)
      world.broker.inject({ topic: `r/${i}`, payload: Buffer.from(`r${i}.`), qos: i % 2 === 0 ? 0 : 1, retain: true })
    const reader = enter(world, world.client({ id: 'reader', receiveMaximum: 20, slownessMs: 2 }))
    const { output } = world.broker.sessions.get('reader')!.connection!
    let most = 0
    let got = 0
    reader.receiver.publish = (wire, packet) => {
      got++
      if (packet.qos === 1) wire.send({ cmd: 'puback', messageId: packet.messageId })
    }
    reader.subscribe([filter('#')], 0)
    const done = () => {
      if (output.waitingBytes > most) most = output.waitingBytes
      return got === count
    }
    expect(world.run(600_000, done)).toBe(true)
    // A quarter of what a client may be behind, and the page at hand.
    expect(most).toBeLessThan(world.limits.unsentBytes / 4 + 64 * 1024)
    expect(world.broker.ledger.lostTotal).toBe(0)
  })

  /** Publishes `count` messages as fast as the broker takes them, and gives how long that took. */
  function pour(world: World, sender: Client, count: number): number {
    let sent = 0
    return timeUntil(world, 60_000, () => {
      while (sent < count && sender.flights.size < sender.window) {
        sender.publish(wish('t'))
        sent++
      }
      return sent === count && sender.flights.size === 0
    })
  }

  test('a burst for one that is slow but moving is late, and not lost', () => {
    const world = calmWorld({ limits: { queueMessages: 50 } })
    const reader = enter(world, world.client({ id: 'reader', receiveMaximum: 10, slownessMs: 2 }))
    subscribe(world, reader, filter('t'))
    pour(world, enter(world, world.client({ id: 'sender' })), 1000)
    world.settle()
    expect(world.broker.ledger.lostTotal).toBe(0)
    expect(came(reader, 't')).toHaveLength(1000)
  })

  test('one that stands still costs its publishers one short pause', () => {
    const world = calmWorld({ limits: { queueMessages: 50 } })
    const stalled = enter(world, world.client({ id: 'stalled', receiveMaximum: 10 }))
    const reader = enter(world, world.client({ id: 'reader' }))
    for (const client of [stalled, reader]) subscribe(world, client, filter('t'))
    stalled.wire!.link.stall(20_000)
    const tookMs = pour(world, enter(world, world.client({ id: 'sender' })), 1000)
    expect(tookMs).toBeGreaterThan(900)
    expect(tookMs).toBeLessThan(2500)
    world.settle()
    expect(came(reader, 't')).toHaveLength(1000)
    expect(world.broker.ledger.lost['queue-full']).toBeGreaterThan(900)
  })
})
