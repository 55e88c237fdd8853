import { describe, expect, test } from 'vitest'
import { Message } from '../../src/mqtt/message.ts'
import { Topic } from '../../src/mqtt/topic.ts'
import type { Client } from './client.ts'
import { slowHooks } from './hooks.ts'
import { calmWorld, came, enter, filter, subscribe, wish } from './kit.ts'
import type { World } from './world.ts'

// Bugs that seeds have found, each in the smallest world that shows it. Where no line expects anything, the clients do:
// `Wire` blames what comes before CONNACK and acknowledgements out of order, `World` what is not given back.

test('what a client sends right behind CONNECT is read once CONNACK is out', () => {
  const world = calmWorld({ syncMs: 100 })
  const client = world.client({ id: 'a', expirySeconds: 60 })
  client.connect({
    clean: true,
    inHaste: () => {
      client.subscribe([filter('t')], 0)
      client.publish(wish('t'))
    },
  })
  world.settle()
  expect(came(client, 't')).toHaveLength(1)
})

test('nothing goes out before CONNACK, which waits for the disk', () => {
  const world = calmWorld({ syncMs: 300 })
  const client = enter(world, world.client({ id: 'a', expirySeconds: 60 }))
  subscribe(world, client, filter('t', { qos: 2 }))
  client.disconnect()
  const sender = enter(world, world.client({ id: 'sender' }))
  client.connect({ clean: false })
  for (let i = 0; i < 30; i++) {
    for (const qos of [0, 1, 2] as const) sender.publish(wish('t', { qos }))
    world.run(10)
  }
  world.settle()
  expect(client.online).toBe(true)
})

test('a PUBREC that is sent again does not overtake the PUBACK of what came before', () => {
  for (let seed = 0; seed < 10; seed++) {
    const world = calmWorld({ seed, syncMs: 100 })
    const client = enter(world, world.client({ id: 'a', version: 4, expirySeconds: 60 }))
    subscribe(world, client, filter('t'))
    client.publish(wish('t', { qos: 1 }))
    client.publish(wish('t', { qos: 2 }))
    world.run(10)
    client.wire!.link.cut(false, true)
    world.run(200)
    enter(world, client)
    world.settle()
  }
})

test('a refusal does not overtake the PUBACK of what came before', () => {
  const world = calmWorld({ syncMs: 100 })
  const client = enter(world, world.client({ id: 'a', expirySeconds: 60 }))
  subscribe(world, client, filter('t'))
  client.publish(wish('t'))
  client.publish(wish('$SYS/t'))
  world.settle()
})

describe('a SUBACK waits for the disk', () => {
  // What happens between the subscription and its SUBACK, whose sync takes a second at most.
  function subscribing(): { world: World; sender: Client; client: Client } {
    const world = calmWorld({ seed: 3, syncMs: 1000 })
    const sender = enter(world, world.client({ id: 'sender' }))
    sender.publish(wish('t/old', { retain: true }))
    const client = enter(world, world.client({ id: 'a', expirySeconds: 60 }))
    client.subscribe([filter('t/#', { qos: 2 })], 0)
    world.run(5)
    expect(world.broker.tree.size).toBe(1)
    expect(client.subscriber.size).toBe(1)
    return { world, sender, client }
  }

  test('what is retained meanwhile comes once', () => {
    const { world, sender, client } = subscribing()
    sender.publish(wish('t/new', { retain: true, qos: 2 }))
    world.settle()
    expect(came(client, 't/new')).toHaveLength(1)
    expect(came(client, 't/new')[0]!.retain).toBe(false)
  })

  test('an UNSUBSCRIBE meanwhile stops what was retained', () => {
    const { world, client } = subscribing()
    client.unsubscribe(['t/#'])
    world.settle()
    expect(came(client, 't/old')).toHaveLength(0)
  })

  test('what was retained comes on the next connection when this one breaks', () => {
    const { world, client } = subscribing()
    client.wire!.link.cut(false, true)
    world.run(2000)
    enter(world, client)
    world.settle()
    expect(came(client, 't/old')).toHaveLength(1)
  })
})

test('a client that leaves while a hook thinks about it takes no page with it', () => {
  const world = calmWorld({ hooks: ({ time }) => slowHooks(time, 500) })
  const client = enter(world, world.client({ id: 'a' }))
  client.publish(wish('t'))
  client.publish(wish('t'))
  world.run(10)
  client.hangUp()
  world.run(2000)
  expect(world.probe.lentBytes).toBe(0)
  expect(world.broker.connections).toBe(0)
})

test('of two CONNECTs with one client id the later one stays, although the earlier one is decided later', () => {
  let delayMs = 500
  const world = calmWorld({
    hooks: ({ time }) => ({ authenticate: () => slowHooks(time, delayMs).authorizePublish!(nobody, nothing) }),
  })
  const early = world.client({ id: 'a', version: 4 })
  early.connect({ clean: true })
  world.run(20)
  early.loseId()
  delayMs = 0
  const late = enter(world, world.client({ id: 'a' }))
  // The early one is told, in the words of 3.1.1, that there is no place for it.
  early.wire!.deaf = true
  world.run(2000)
  expect(late.online).toBe(true)
  expect(world.broker.connections).toBe(1)
})

test('a clean start is not answered before the end of the old session is on disk', () => {
  for (let seed = 0; seed < 10; seed++) {
    const world = calmWorld({ seed, syncMs: 100 })
    enter(world, world.client({ id: 'a', version: 4, expirySeconds: 60 })).loseId()
    enter(world, world.client({ id: 'a', version: 4 })).loseId()
    world.fall('power')
    world.rise()
    enter(world, world.client({ id: 'a', version: 4, expirySeconds: 60 }))
  }
})

const nobody = { id: '', username: undefined, tenant: undefined, remote: '', version: 5 } as const
const nothing = { topic: '', payload: new Uint8Array(), qos: 0, retain: false, will: false } as const

test('time to live is never more than what was received, whatever the fractions of a millisecond', () => {
  for (let seed = 0; seed < 20; seed++) {
    const world = calmWorld({ seed })
    // Where a sum of milliseconds passes a power of two, it loses its last bit.
    world.time.stall(2 ** 21 - 2000 - world.time.now())
    const client = enter(world, world.client({ id: 'a' }))
    subscribe(world, client, filter('t'))
    client.publish(wish('t', { expirySeconds: 3 }))
    world.settle()
    expect(came(client, 't').map(({ expirySeconds }) => expirySeconds)).toEqual([3])
  }
})

test.each([
  [3000, 3],
  [2999.6, 3],
  [2000.4, 3],
  [0.4, 1],
  [0, 0],
  [-5, 0],
])('a message with %d ms left goes out with %d s', (leftMs, seconds) => {
  const topic = new Topic('t', Buffer.from('t'))
  const message = new Message(topic, 1, false, Buffer.alloc(0), 0, 0, undefined, 1000 + leftMs, undefined, 5)
  expect(message.expirySecondsLeft(1000)).toBe(seconds)
})
