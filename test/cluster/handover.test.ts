import { describe, expect, test } from 'vitest'
import { City, type CityOptions } from './cluster-kit.ts'

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => String(from + i))
const lasting = { clean: false, expirySeconds: 10_000 }
const stores: readonly CityOptions[] = [{ stores: 'disk' }, { stores: 'memory' }]

describe.each(stores)('a session moves with its client, %o', (options) => {
  test('subscriptions and queue, from node to node, and nothing is there twice', () => {
    const city = new City(['a', 'b', 'c'], options)
    const first = city.keeper('a', 's', 't/#')
    const publishers = ['a', 'b', 'c'].map((node) => city.client(node, `p${node}`))
    city.publish(publishers[0]!, 't/1', ['online'])
    city.until(() => first.came.length === 1)
    first.disconnect()
    for (const text of numbers(20)) city.publish(publishers[Number(text) % 3]!, 't/x', [text], text < '5' ? 2 : 1)
    const second = city.client('b', 's', lasting)
    expect(second.present).toBe(true)
    city.until(() => second.came.length === 20)
    expect(second.texts).toEqual(numbers(20))
    city.run(50)
    expect(city.machine('a').broker.sessions.get('s')).toBeUndefined()
    for (const publisher of publishers) city.publish(publisher, 't/y', ['later'])
    city.run(100)
    expect(second.texts.slice(20)).toEqual(['later', 'later', 'later'])
    const third = city.client('c', 's', lasting)
    expect([third.present, second.state, second.reason]).toEqual([true, 'closed', 0x8e])
    for (const publisher of publishers) city.publish(publisher, 't/z', ['last'])
    city.run(100)
    expect(third.texts).toEqual(['last', 'last', 'last'])
    city.audit()
  })

  test('what is in flight goes again, marked as such', () => {
    const city = new City(['a', 'b'], options)
    const first = city.client('a', 's', { ...lasting, acks: false })
    city.subscribe(first, 't')
    const publisher = city.client('b', 'p')
    city.publish(publisher, 't', ['one'], 1)
    city.publish(publisher, 't', ['two'], 2)
    city.until(() => first.came.length === 2)
    const second = city.client('b', 's', lasting)
    city.until(() => second.came.length === 2)
    expect(second.came.map(({ text, qos, dup }) => [text, qos, dup])).toEqual([
      ['one', 1, true],
      ['two', 2, true],
    ])
    city.audit()
  })

  test('a queue of 10,000, in order, while more is published everywhere', () => {
    const city = new City(['a', 'b', 'c'], { ...options, limits: { queueMessages: 50_000 } })
    city.keeper('a', 's', 't').disconnect()
    const publishers = ['a', 'b', 'c'].map((node) => city.client(node, `p${node}`))
    for (const text of numbers(10_000)) {
      publishers[0]!.publish('t', text, 1)
      if (Number(text) % 500 === 0) city.run(20)
    }
    city.until(() => publishers[0]!.acked.length === 10_000)
    const startMs = city.time.now()
    const second = city.dial('b', 's', lasting)
    for (let i = 0; i < 30; i++) {
      for (const publisher of publishers) publisher.publish('t', `${publisher.id}${i}`, 2)
      city.run(1)
    }
    city.until(() => second.state === 'connected')
    expect(city.time.now() - startMs).toBeLessThan(1000)
    for (let i = 30; i < 60; i++) {
      for (const publisher of publishers) publisher.publish('t', `${publisher.id}${i}`, 2)
      city.run(1)
    }
    city.until(() => second.came.length >= 10_180)
    city.run(500)
    expect(second.came.length).toBe(10_180)
    expect(second.texts.filter((text) => !text.startsWith('p'))).toEqual(numbers(10_000))
    for (const { id } of publishers)
      expect(second.texts.filter((text) => text.startsWith(id))).toEqual(numbers(60).map((text) => id + text))
    city.audit()
  }, 60_000)

  test('a clean start ends the session that was elsewhere', () => {
    const city = new City(['a', 'b'], options)
    const first = city.keeper('a', 's', 't')
    const second = city.client('b', 's', { clean: true, expirySeconds: 1000 })
    expect([second.present, first.state]).toEqual([false, 'closed'])
    const publisher = city.client('a', 'p')
    city.publish(publisher, 't', ['x'])
    expect(publisher.acked).toEqual([{ id: 1, reason: 0x10 }])
    expect(city.machine('a').broker.sessions.get('s')).toBeUndefined()
    city.audit()
  })

  test('a session that ends with its connection does so when its client turns up elsewhere', () => {
    const city = new City(['a', 'b'], options)
    const first = city.client('a', 's')
    city.subscribe(first, 't')
    const second = city.client('b', 's', { clean: false, expirySeconds: 0 })
    expect([second.present, first.reason]).toEqual([false, 0x8e])
    city.audit()
  })

  test('one client at two nodes at once: one of them has it', () => {
    const city = new City(['a', 'b', 'c'], options)
    city.keeper('a', 's', 't').disconnect()
    city.publish(city.client('c', 'p'), 't', numbers(5))
    const both = [city.dial('b', 's', lasting), city.dial('c', 's', lasting)]
    city.run(3000)
    expect(both.filter(({ state }) => state === 'connected').length).toBe(1)
    city.run(1000)
    expect(both.flatMap(({ texts }) => texts).filter((text, at, all) => all.indexOf(text) === at)).toEqual(numbers(5))
    const owners = ['a', 'b', 'c'].filter((node) => city.machine(node).broker.sessions.get('s'))
    expect(owners.length).toBe(1)
    city.audit()
  })

  test('a new client at two nodes at once: one of them has it', () => {
    const city = new City(['a', 'b'], options)
    const both = [city.dial('a', 's', lasting), city.dial('b', 's', lasting)]
    city.run(3000)
    expect(both.filter(({ state }) => state === 'connected').length).toBe(1)
    expect(['a', 'b'].filter((node) => city.machine(node).broker.sessions.get('s')).length).toBe(1)
    city.audit()
  })

  test('a will that waits is told to nobody when its client turns up elsewhere in time, and else once', () => {
    const city = new City(['a', 'b', 'c'], options)
    const watcher = city.client('c', 'watcher')
    city.subscribe(watcher, 'will')
    const wish = { ...lasting, will: { topic: 'will', payload: 'gone', delaySeconds: 30 } }
    city.client('a', 's', wish).drop()
    city.run(5000)
    const back = city.client('b', 's', wish)
    city.run(100_000)
    expect([back.present, watcher.texts]).toEqual([true, []])
    back.drop()
    city.run(100_000)
    expect(watcher.texts).toEqual(['gone'])
    // Without a delay, a will is told when its connection is taken over.
    const third = city.client('a', 's', { ...lasting, will: { topic: 'will', payload: 'taken over' } })
    city.client('b', 's', lasting)
    city.run(1000)
    expect([third.reason, watcher.texts]).toEqual([0x8e, ['gone', 'taken over']])
    city.audit()
  })

  test('shared subscriptions go along', () => {
    const city = new City(['a', 'b', 'c'], options)
    city.keeper('a', 's', '$share/g/t').disconnect()
    const publisher = city.client('c', 'p')
    city.publish(publisher, 't', numbers(5))
    const second = city.dial('b', 's', lasting)
    for (const text of numbers(20, 5)) {
      publisher.publish('t', text, 1)
      city.run(1)
    }
    city.until(() => second.came.length >= 25)
    city.run(100)
    expect([...second.texts].sort()).toEqual(numbers(25).sort())
    city.audit()
  })
})

test('a node starts again, and all its clients go to another as soon as it is there: none waits long for its session', () => {
  const city = new City(['a', 'b', 'c'])
  const ids = numbers(200)
  for (const id of ids) city.keeper('a', id, `t/${id}`).disconnect()
  const publisher = city.client('b', 'p')
  for (const id of ids) city.publish(publisher, `t/${id}`, [id], 2)
  city.fall('a')
  city.run(1000)
  city.rise('a')
  city.until(() => city.machine('a').ready && [...city.node('b').live()].includes('a'))
  const startMs = city.time.now()
  const clients = ids.map((id) => city.dial('b', id, lasting))
  city.until(() => clients.every(({ state }) => state === 'connected'))
  // Only so many move at once; no one of them waits for a clock.
  expect(city.time.now() - startMs).toBeLessThan(150)
  city.run(1000)
  expect(clients.flatMap(({ texts }) => texts)).toEqual(ids)
  city.audit()
})

describe('the owner is away', () => {
  test('wait: refused until it is back', () => {
    const city = new City(['a', 'b'])
    city.keeper('a', 's', 't').disconnect()
    city.publish(city.client('b', 'p'), 't', ['x'])
    city.run(1000)
    city.fall('a')
    city.run(5000)
    const refused = city.dial('b', 's', lasting)
    city.until(() => refused.state === 'closed')
    expect(refused.reason).toBe(0x88)
    expect(city.machine('b').log).toContainEqual({
      level: 'warn',
      message: 'the session is on node a, which cannot be reached',
      fields: { client: 's', remote: 's', reason: 'serverUnavailable' },
    })
    // Somebody who wants nothing of before need not wait for it.
    expect(city.client('b', 'other', lasting).present).toBe(false)
    city.rise('a')
    city.run(5000)
    const client = city.client('b', 's', lasting)
    city.until(() => client.came.length === 1)
    expect(client.present).toBe(true)
    city.audit()
  })

  test('fresh: a new session, and what waited is merged into it later', () => {
    const city = new City(['a', 'b', 'c'], { settings: { absentOwner: 'fresh' } })
    city.keeper('a', 's', 't').disconnect()
    const publisher = city.client('b', 'p')
    city.publish(publisher, 't', numbers(5))
    city.run(1000)
    city.fall('a')
    city.run(5000)
    const client = city.client('b', 's', lasting)
    expect(client.present).toBe(false)
    city.subscribe(client, 't')
    city.publish(publisher, 't', ['new'])
    city.rise('a')
    city.run(8000)
    expect(client.texts[0]).toBe('new')
    expect(client.texts.slice(1)).toEqual(expect.arrayContaining(numbers(5)))
    expect(city.machine('a').broker.sessions.get('s')).toBeUndefined()
    city.audit()
  })
})

describe('sessions of one client that begin apart', () => {
  test('new on both sides, and one of them moves on: nothing is lost', () => {
    const city = new City(['a', 'b', 'c'])
    city.part(['a'], ['b', 'c'])
    city.until(() => city.node('a').members.state('b') === 'dead' && city.node('b').members.state('a') === 'dead')
    city.keeper('a', 's', 't').disconnect()
    city.publish(city.client('a', 'pa'), 't', numbers(5), 2)
    city.keeper('b', 's', 't').disconnect()
    city.client('c', 's', lasting).disconnect()
    city.publish(city.client('b', 'pb'), 't', numbers(5, 5), 2)
    city.heal()
    city.run(10_000)
    const client = city.client('c', 's', lasting)
    city.run(1000)
    expect([...client.texts].sort()).toEqual(numbers(10))
    city.audit()
  })

  test('a clean start ends the session of a node that is away, and its will fires', () => {
    const city = new City(['a', 'b', 'c'])
    const will = { topic: 'will', payload: 'gone', delaySeconds: 1000 }
    const watcher = city.keeper('b', 'watcher', 'will')
    const first = city.client('a', 's', { ...lasting, will })
    city.subscribe(first, 't')
    first.drop()
    const publisher = city.client('b', 'p')
    city.publish(publisher, 't', ['old'])
    city.run(500)
    city.fall('a')
    city.run(5000)
    const second = city.client('b', 's', { clean: true, expirySeconds: 1000 })
    city.subscribe(second, 't')
    second.disconnect()
    city.publish(publisher, 't', ['new'])
    // The one that began with it moves on, and has ended the old one all the same.
    const third = city.client('c', 's', lasting)
    city.until(() => third.came.length === 1)
    city.rise('a')
    city.run(10_000)
    expect([third.texts, watcher.texts]).toEqual([['new'], ['gone']])
    expect(city.machine('a').broker.sessions.get('s')).toBeUndefined()
    city.audit()
  })

  test('a clean start ends what a session that began afresh was still to get', () => {
    const city = new City(['a', 'b', 'c'], { settings: { absentOwner: 'fresh' } })
    city.keeper('a', 's', 't').disconnect()
    city.publish(city.client('b', 'p'), 't', ['old'])
    city.run(500)
    city.fall('a')
    city.run(5000)
    city.keeper('b', 's', 't').disconnect()
    const second = city.client('c', 's', { clean: true, expirySeconds: 1000 })
    city.subscribe(second, 't')
    city.rise('a')
    city.run(10_000)
    expect(second.texts).toEqual([])
    city.audit()
  })

  test('a clean start here, what moved on there meanwhile: merged', () => {
    const city = new City(['a', 'b', 'c', 'd'])
    city.keeper('a', 's', 't').disconnect()
    city.run(500)
    city.part(['a', 'c'], ['b', 'd'])
    city.until(() => city.node('a').members.state('b') === 'dead' && city.node('b').members.state('c') === 'dead')
    const clean = city.client('b', 's', { clean: true, expirySeconds: 1000 })
    city.subscribe(clean, 't')
    clean.disconnect()
    city.publish(city.client('d', 'pd'), 't', ['there'], 2)
    for (const node of ['c', 'a', 'c']) city.client(node, 's', lasting).disconnect()
    city.publish(city.client('c', 'pc'), 't', ['here'], 2)
    city.heal()
    city.run(10_000)
    const client = city.client('d', 's', lasting)
    city.run(1000)
    expect([...client.texts].sort()).toEqual(['here', 'there'])
  })
})

/** Both sides fall at every moment of a handover: what was acknowledged comes all the same. */
describe.each(['a', 'b'])('%s falls during the handover', (victim) => {
  test.each(['kill', 'power'] as const)(
    'by %s, at every moment',
    (how) => {
      for (let atMs = 0; atMs < 40; atMs++) {
        const city = new City(['a', 'b', 'c'], {}, 7 + atMs)
        city.keeper('a', 's', 't').disconnect()
        const publisher = city.client('c', 'p')
        city.publish(publisher, 't', numbers(20), 2)
        city.dial('b', 's', { ...lasting, acks: false })
        city.run(atMs)
        city.fall(victim, how)
        city.run(500)
        city.rise(victim)
        city.run(4000)
        let client = city.dial('c', 's', lasting)
        city.run(1000)
        for (let tries = 0; tries < 20 && client.state !== 'connected'; tries++) {
          client = city.dial('c', 's', lasting)
          city.run(1000)
        }
        city.run(500)
        expect({ atMs, present: client.present, texts: client.texts }).toEqual({
          atMs,
          present: true,
          texts: numbers(20),
        })
        const owners = ['a', 'b', 'c'].filter((node) => city.machine(node).broker.sessions.get('s'))
        expect({ atMs, owners }).toEqual({ atMs, owners: ['c'] })
        city.audit()
      }
    },
    120_000,
  )
})
