import { describe, expect, test } from 'vitest'
import { City, type CityOptions } from './cluster-kit.ts'

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => String(from + i))
const ways: readonly CityOptions[] = [{ stores: 'disk' }, { stores: 'memory' }, { wire: { oldest: 1, newest: 1 } }]

describe.each(ways)('a cluster of three, %o', (options) => {
  test('subscribe here, publish there: who has SUBACK misses nothing', () => {
    const city = new City(['a', 'b', 'c'], options)
    const publishers = ['a', 'b', 'c'].map((node) => city.client(node, `p${node}`))
    const subscriber = city.client('c', 's')
    for (const text of numbers(30)) {
      city.subscribe(subscriber, `t/${text}`)
      for (const publisher of publishers) publisher.publish(`t/${text}`, text, 1)
    }
    city.run(500)
    expect(subscriber.texts).toEqual(numbers(30).flatMap((text) => [text, text, text]))
    city.audit()
  })

  test('every QoS, groups and plain, from everywhere to everywhere', () => {
    const city = new City(['a', 'b', 'c'], options)
    const plain = ['a', 'b', 'c'].map((node) => city.client(node, `s${node}`))
    const members = ['b', 'c'].map((node) => city.client(node, `m${node}`))
    for (const client of plain) city.subscribe(client, 't/#')
    for (const client of members) city.subscribe(client, '$share/g/t/#')
    city.run(50)
    for (const node of ['a', 'b', 'c'])
      for (const qos of [0, 1, 2] as const)
        for (const text of numbers(10)) city.client(node, `p${node}${qos}`).publish('t', `${node}${qos}${text}`, qos)
    city.run(1000)
    for (const { came } of plain) expect(came.length).toBe(90)
    expect(members.map(({ came }) => came.length).reduce((a, b) => a + b)).toBe(90)
    city.audit()
  })

  test('retained messages reach every node, also one that joins later', () => {
    const city = new City(['a', 'b'], options)
    city.publish(city.client('a', 'p'), 'unretained', ['x'])
    const publisher = city.client('a', 'q')
    publisher.publish('r', 'first', 1, { retain: true })
    publisher.publish('r', 'last', 1, { retain: true })
    city.run(100)
    city.add('c')
    city.run(6000)
    for (const node of ['a', 'b', 'c']) {
      const client = city.client(node, `s${node}`)
      city.subscribe(client, '#')
      city.run(10)
      expect(client.came.map(({ text, retain }) => [text, retain])).toEqual([['last', true]])
    }
  })
})

test('a node falls: its share waits here, and comes once and in order when it is back', () => {
  const city = new City(['a', 'b', 'c'])
  city.keeper('b', 's', 't').disconnect()
  const other = city.keeper('c', 'o', 't')
  const publisher = city.client('a', 'p')
  city.publish(publisher, 't', numbers(10))
  city.fall('b')
  // Nobody is stopped for longer than it takes to see it.
  const startMs = city.time.now()
  city.publish(publisher, 't', ['10'])
  expect(city.time.now() - startMs).toBeLessThan(2500)
  city.publish(publisher, 't', numbers(50, 11))
  city.publish(publisher, 't', numbers(20, 61), 2)
  expect(
    city
      .node('a')
      .status()
      .find(({ node }) => node === 'b'),
  ).toMatchObject({ state: 'dead', queueMessages: 71, handoff: true })
  city.rise('b')
  city.until(
    () =>
      city
        .node('a')
        .status()
        .find(({ node }) => node === 'b')?.queueMessages === 0,
  )
  const keeper = city.client('b', 's', { clean: false, expirySeconds: 1000 })
  city.publish(publisher, 't', numbers(10, 81))
  city.run(200)
  expect(keeper.texts).toEqual(numbers(91))
  expect(other.texts).toEqual(numbers(91))
  city.audit()
})

test('a node that starts while another is away knows what to keep for that one', () => {
  const city = new City(['a', 'b'])
  city.keeper('b', 's', 't').disconnect()
  city.keeper('b', 'g', '$share/g/u').disconnect()
  city.keeper('b', 'x', 'ended').disconnect()
  city.subscribe(city.client('b', 'x', { clean: true }), 'gone')
  city.run(500)
  city.fall('b')
  city.fall('a')
  city.rise('a')
  city.until(() => city.machine('a').ready)
  const publisher = city.client('a', 'p')
  city.publish(publisher, 't', numbers(5))
  city.publish(publisher, 'u', numbers(5))
  city.publish(publisher, 'ended', ['x'])
  city.publish(publisher, 'gone', ['x'])
  expect(publisher.acked.map(({ reason }) => reason)).toEqual([...numbers(10).map(() => 0), 0x10, 0x10])
  city.rise('b')
  city.run(3000)
  for (const id of ['s', 'g']) {
    const keeper = city.client('b', id, { clean: false, expirySeconds: 1000 })
    city.run(100)
    expect(keeper.texts).toEqual(numbers(5))
  }
  city.audit()
})

test('SUBACK waits for a node that stands still, but not for longer than it may', () => {
  const city = new City(['a', 'b', 'c'])
  const client = city.client('a', 's')
  city.run(500)
  const tookMs = (filter: string) => {
    const startMs = city.time.now()
    city.subscribe(client, filter)
    return city.time.now() - startMs
  }
  expect(tookMs('t')).toBeLessThan(20)
  city.machine('c').process.stop()
  const slow = tookMs('u')
  expect(slow).toBeGreaterThanOrEqual(250)
  expect(slow).toBeLessThan(270)
  expect(city.node('a').gossip.counts.missed).toBe(1)
})

test('ten nodes, halved until both sides call the other one dead: two seconds after healing all tables are the same', () => {
  const names = [...'abcdefghij']
  const city = new City(names, { stores: 'memory' })
  const clients = names.map((name) => city.client(name, `s${name}`))
  city.part(names.slice(0, 5), names.slice(5))
  city.until(() => names.every((name) => [...city.node(name).live()].length === 4))
  for (const client of clients) for (const text of numbers(20)) client.subscribe(`${client.id}/${text}`)
  city.run(5000)
  const equal = (one: string, other: string) =>
    one === other || city.node(one).gossip.owner(other)?.hash === city.node(other).gossip.own.hash
  const allEqual = () => names.every((one) => names.every((other) => equal(one, other)))
  expect(allEqual()).toBe(false)
  city.heal()
  city.until(allEqual, 2000)
  city.until(() => names.every((name) => [...city.node(name).live()].length === 9), 2000)
})

test('a partition: both sides go on, and catch up when it is over', () => {
  const city = new City(['a', 'b', 'c', 'd'])
  const keepers = ['a', 'b', 'c', 'd'].map((node) => city.keeper(node, `s${node}`, 't'))
  city.part(['a', 'b'], ['c', 'd'])
  const [left, right] = [city.client('a', 'l'), city.client('c', 'r')]
  city.publish(
    left,
    't',
    numbers(20).map((text) => `l${text}`),
  )
  city.publish(
    right,
    't',
    numbers(20).map((text) => `r${text}`),
    2,
  )
  city.subscribe(city.client('b', 'new'), 'later')
  city.run(10_000)
  city.heal()
  city.run(10_000)
  for (const { texts } of keepers)
    for (const side of ['l', 'r'])
      expect(texts.filter((text) => text.startsWith(side))).toEqual(numbers(20).map((text) => side + text))
  city.audit()
})

test('a cut that is over before anybody is dead: what was under way goes on', () => {
  const city = new City(['a', 'b'])
  const keeper = city.keeper('b', 's', 't')
  const publisher = city.client('a', 'p')
  city.part(['a'], ['b'])
  const waits = publisher.publish('t', 'x')
  city.run(1000)
  expect(publisher.hasAck(waits)).toBe(false)
  city.heal()
  city.until(() => publisher.hasAck(waits), 100)
  expect(keeper.texts).toEqual(['x'])
  city.audit()
})

test.each(['kill', 'power'] as const)('a will that nobody has the word of is written down: %s', (how) => {
  const city = new City(['a', 'b'])
  city.keeper('b', 's', 't').disconnect()
  const client = city.client('a', 'w', { clean: false, expirySeconds: 1000, will: { topic: 't', payload: 'gone' } })
  city.part(['a'], ['b'])
  client.drop()
  // The session without its will is on disk; the other node has been waited for a moment only.
  city.run(300)
  city.breakLinks('a', 'b')
  city.fall('a', how)
  city.heal()
  city.rise('a')
  city.run(10_000)
  const keeper = city.client('b', 's', { clean: false, expirySeconds: 1000 })
  city.run(100)
  expect(keeper.texts).toEqual(['gone'])
  city.audit()
})

describe('a will that falls due at a start', () => {
  const will = { topic: 't', payload: 'gone' }

  test('waits until it is known who wants it, also of clients whose sessions nobody keeps', () => {
    const city = new City(['a', 'b'], { weather: { latencyMs: [90, 90], syncMs: [1, 1], hiccup: 0 } })
    const watcher = city.client('a', 'w')
    city.subscribe(watcher, 't', 1)
    city.client('b', 'x', { clean: false, expirySeconds: 1000, will })
    city.run(100)
    city.fall('b')
    city.run(4000)
    city.rise('b')
    city.until(() => watcher.texts.length > 0, 2000)
    city.run(6000)
    expect(watcher.texts).toEqual(['gone'])
  })

  test('waits some seconds at most', () => {
    const city = new City(['a', 'b'])
    city.keeper('b', 's', 't').disconnect()
    city.client('b', 'x', { clean: false, expirySeconds: 1000, will })
    city.run(100)
    city.fall('a')
    city.fall('b')
    city.rise('b')
    const keeper = city.client('b', 's', { clean: false, expirySeconds: 1000 })
    city.run(4500)
    expect(keeper.texts).toEqual([])
    city.until(() => keeper.texts.length > 0, 1500)
    expect(keeper.texts).toEqual(['gone'])
  })
})

test('a node is given up: what waits for it is gone, and it comes back as a new one', () => {
  const city = new City(['a', 'b', 'c'])
  city.keeper('b', 's', 't').disconnect()
  city.fall('b')
  city.run(3000)
  const publisher = city.client('a', 'p')
  city.publish(publisher, 't', numbers(3))
  expect(city.node('a').evict('b').messages).toBe(3)
  city.run(2000)
  for (const node of ['a', 'c'])
    expect(
      city
        .node(node)
        .status()
        .map(({ node }) => node),
    ).toEqual([node, node === 'a' ? 'c' : 'a'])
  city.publish(publisher, 't', ['nobody'])
  expect(publisher.acked.at(-1)?.reason).toBe(0x10)
  city.rise('b')
  city.until(() => [...city.node('a').live()].includes('b'))
  city.run(500)
  city.publish(publisher, 't', ['again'])
  const keeper = city.client('b', 's', { clean: false, expirySeconds: 1000 })
  city.run(100)
  expect(keeper.texts).toEqual(['again'])
  city.audit()
})

test('a node that was away already when this one started can be given up', () => {
  const city = new City(['a', 'b'])
  city.keeper('b', 's', 't').disconnect()
  city.run(500)
  city.fall('b')
  city.fall('a')
  city.rise('a')
  const b = () =>
    city
      .node('a')
      .status()
      .find(({ node }) => node === 'b')
  // Not before it has had the time to come.
  expect(b()).toMatchObject({ state: 'suspect', address: '-' })
  city.until(() => city.machine('a').ready)
  const publisher = city.client('a', 'p')
  city.publish(publisher, 't', numbers(3))
  expect(b()).toMatchObject({ state: 'dead', queueMessages: 3, handoff: true })
  expect(city.node('a').evict('b').messages).toBe(3)
  expect(b()).toBeUndefined()
  city.publish(publisher, 't', ['nobody'])
  expect(publisher.acked.at(-1)?.reason).toBe(0x10)
  const client = city.client('a', 's', { clean: false, expirySeconds: 1000 })
  expect(client.present).toBe(false)
})

test('what has come to its end before is not given up again', () => {
  const city = new City(['a', 'b'])
  city.keeper('b', 's', 't').disconnect()
  city.fall('b')
  city.run(3000)
  const publisher = city.client('a', 'p')
  city.publish(publisher, 't', ['first'])
  const shortLived = publisher.publish('t', 'short-lived', 1, { expiry: 1 })
  city.until(() => publisher.hasAck(shortLived))
  city.publish(publisher, 't', ['last'])
  city.run(3000)
  expect(city.node('a').evict('b').messages).toBe(2)
  expect(city.node('a').forwarding.evicted).toBe(2)
})

test('a node is given up, and its name is given to one with an empty folder', () => {
  const city = new City(['a', 'b', 'c'])
  city.keeper('b', 's', 't').disconnect()
  city.fall('b')
  city.run(3000)
  const publisher = city.client('a', 'p')
  city.publish(publisher, 't', numbers(3))
  city.node('a').evict('b')
  city.run(2000)
  city.machine('b').replaceDisk()
  city.rise('b')
  city.until(() => [...city.node('a').live()].includes('b'))
  city.run(500)
  // Nothing that the old one was is left: neither its session, nor what the others have told it.
  const keeper = city.client('b', 's', { clean: false, expirySeconds: 1000 })
  city.run(100)
  expect(keeper.present).toBe(false)
  keeper.subscribe('t')
  city.run(500)
  city.publish(publisher, 't', numbers(3))
  city.run(100)
  expect(keeper.texts).toEqual(numbers(3))
})

test('clients come when it is known what the others want', () => {
  const city = new City(['a', 'b'])
  city.keeper('b', 's', 't').disconnect()
  const joins = city.add('c')
  expect(joins.ready).toBe(false)
  city.until(() => joins.ready, 1000)
  const publisher = city.client('c', 'p')
  city.publish(publisher, 't', ['x'])
  expect(publisher.acked[0]?.reason).toBe(0)
  // Nobody is there: it serves all the same.
  city.fall('a')
  city.fall('b')
  city.fall('c')
  city.rise('c')
  expect(joins.ready).toBe(false)
  city.until(() => joins.ready, 5500)
})

test('a session that becomes persistent, or is no longer, is told', () => {
  const city = new City(['a', 'b'])
  const client = city.client('b', 's', { clean: true, expirySeconds: 0 })
  city.subscribe(client, 't')
  city.subscribe(client, '$share/g/t')
  city.run(100)
  const bits = () => ['ft', 'gg/t', 'pg/t'].map((key) => city.node('a').gossip.owner('b')?.get(key))
  expect(bits()).toEqual([1, 1, 0])
  client.drop()
  city.run(100)
  expect(bits()).toEqual([0, 0, 0])
  city.keeper('b', 's', 't').disconnect()
  city.run(100)
  expect(bits()).toEqual([3, 0, 0])
  city.client('b', 's', { clean: false, expirySeconds: 0 })
  city.run(100)
  expect(bits()).toEqual([1, 0, 0])
})

test('two that gave each other up while they were apart, and meet: each shows the other, and waits for nothing of it', () => {
  const city = new City(['a', 'b', 'c'], { joinsAll: true })
  city.part(['b'], ['a', 'c'])
  city.run(10_000)
  city.node('a').evict('b')
  city.node('b').evict('a')
  city.node('b').evict('c')
  city.run(1000)
  city.heal()
  city.run(10_000)
  const shown = (node: string) =>
    city
      .node(node)
      .status()
      .map((row) => `${row.node} ${row.state}`)
  expect([shown('a'), shown('b')]).toEqual([
    ['a self', 'b evicted', 'c alive'],
    ['b self', 'a evicted', 'c evicted'],
  ])
  const client = city.client('a', 's', { clean: false, expirySeconds: 1000 })
  const startMs = city.time.now()
  city.subscribe(client, 't')
  expect(city.time.now() - startMs).toBeLessThan(50)
  expect(city.client('c', 's', { clean: false, expirySeconds: 1000 }).present).toBe(true)
  // Started again, it is one of them.
  city.fall('b')
  city.rise('b')
  city.run(3000)
  expect(shown('a')).toEqual(['a self', 'b alive', 'c alive'])
})
