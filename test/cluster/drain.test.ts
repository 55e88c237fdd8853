import { describe, expect, test } from 'vitest'
import type { Drained } from '../../src/cluster/drain.ts'
import { City } from './cluster-kit.ts'

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => String(from + i))
const lasting = { clean: false, expirySeconds: 10_000 }

/** Empties a node; gives what it has told in the end. */
function drain(city: City, name: string, rate = 1000): { told: Drained | undefined } {
  const result: { told: Drained | undefined } = { told: undefined }
  expect(city.node(name).drain(rate, (drained) => (result.told = drained))).toBe(true)
  return result
}

const owners = (city: City, id: string) =>
  [...city.machines.values()].filter(({ broker, isUp }) => isUp && broker.sessions.get(id)).map(({ name }) => name)

describe('clients', () => {
  test('are sent away at the rate, to the nodes that are there, in turn', () => {
    const city = new City(['a', 'b', 'c'])
    const clients = numbers(20).map((id) => city.client('a', id, { ...lasting, version: id === '7' ? 4 : 5 }))
    drain(city, 'a', 5)
    city.run(1050)
    const away = clients.filter(({ state }) => state === 'closed').length
    expect(away).toBeGreaterThanOrEqual(4)
    expect(away).toBeLessThanOrEqual(6)
    city.until(() => clients.every(({ state }) => state === 'closed'))
    const told = clients.filter(({ id }) => id !== '7')
    expect(new Set(told.map(({ reason }) => reason))).toEqual(new Set([0x9d]))
    expect(new Set(told.map(({ reference }) => reference))).toEqual(new Set(['b.example:1883', 'c.example:1883']))
    city.audit()
  })

  test('that come are refused, and told where to go', () => {
    const city = new City(['a', 'b'])
    drain(city, 'a')
    const [five, three] = [city.dial('a', 'x', lasting), city.dial('a', 'y', { version: 4 })]
    city.run(100)
    expect([five.state, five.reason, five.reference]).toEqual(['closed', 0x9d, 'b.example:1883'])
    expect([three.state, three.reason]).toEqual(['closed', 3])
    expect(city.node('b').status()[1]).toMatchObject({ node: 'a', draining: true })
  })

  test('take their sessions along', () => {
    const city = new City(['a', 'b'])
    const first = city.keeper('a', 's', 't')
    const result = drain(city, 'a')
    city.until(() => first.state === 'closed')
    const second = city.client('b', 's', lasting)
    expect(second.present).toBe(true)
    city.until(() => result.told !== undefined)
    expect(result.told).toMatchObject({ done: true, remaining: 0, waiting: [] })
    city.audit()
  })
})

describe('sessions', () => {
  test('drop where they come to what expires in their queues, also when nobody connects', () => {
    const city = new City(['a', 'b'])
    city.keeper('a', 's', 't').disconnect()
    const publisher = city.client('b', 'p')
    for (const expiry of [30, 20, 40]) publisher.publish('t', 'short', 2, { expiry })
    publisher.publish('t', 'long', 2)
    city.run(1000)
    const result = drain(city, 'a')
    city.until(() => result.told !== undefined)
    const { broker } = city.machine('b')
    expect(broker.pending).toBe(4)
    city.run(60_000)
    expect([broker.pending, broker.ledger.lost.expired]).toEqual([1, 3])
    city.audit()
  })

  test('go to the other nodes, with all that they have', () => {
    const city = new City(['a', 'b', 'c'])
    for (const id of numbers(30)) city.keeper('a', id, `t/${id}`).disconnect()
    const half = city.client('a', 'half', { ...lasting, acks: false })
    city.subscribe(half, 'half')
    const publisher = city.client('b', 'p')
    city.publish(publisher, 'half', ['one', 'two'], 2)
    city.until(() => half.came.length === 2)
    half.drop()
    for (const id of numbers(30)) city.publish(publisher, `t/${id}`, numbers(5), 2)
    const result = drain(city, 'a')
    for (const id of numbers(30)) publisher.publish(`t/${id}`, 'late', 1)
    city.until(() => result.told !== undefined, 20_000)
    expect(result.told).toEqual({ done: true, moved: 31, remaining: 0, waiting: [] })
    const at = numbers(30).flatMap((id) => owners(city, id))
    expect(new Set(at)).toEqual(new Set(['b', 'c']))
    city.node('a').leave()
    city.fall('a')
    for (const id of numbers(30)) {
      const client = city.client('b', id, lasting)
      city.until(() => client.came.length >= 6)
      expect([client.present, client.texts]).toEqual([true, [...numbers(5), 'late']])
    }
    const back = city.client('c', 'half', lasting)
    city.until(() => back.came.length === 2)
    expect(back.came.map(({ text, dup }) => [text, dup])).toEqual([
      ['one', true],
      ['two', true],
    ])
    city.audit()
  })

  test('keep their time: they end where they are then, and the will fires once', () => {
    const city = new City(['a', 'b', 'c'])
    const watcher = city.client('c', 'watcher')
    city.subscribe(watcher, 'will')
    const will = { topic: 'will', payload: 'gone', delaySeconds: 30 }
    city.client('a', 's', { clean: false, expirySeconds: 60, will }).drop()
    city.run(20_000)
    const result = drain(city, 'a')
    city.until(() => result.told !== undefined)
    city.node('a').leave()
    city.fall('a')
    expect([owners(city, 's').length, watcher.texts]).toEqual([1, []])
    city.run(12_000)
    expect(watcher.texts).toEqual(['gone'])
    city.run(30_000)
    expect([owners(city, 's'), watcher.texts]).toEqual([[], ['gone']])
    city.audit()
  })

  test('go on to the node that is left, as one of two falls in the middle', () => {
    const city = new City(['a', 'b', 'c'])
    for (const id of numbers(100)) city.keeper('a', id, 't').disconnect()
    city.publish(city.client('b', 'p'), 't', ['x'], 2)
    const result = drain(city, 'a')
    city.run(150)
    city.fall('c')
    city.until(() => result.told !== undefined, 60_000)
    expect(result.told).toMatchObject({ done: true, remaining: 0 })
    city.rise('c')
    city.run(5000)
    for (const id of numbers(100)) expect([id, owners(city, id).length]).toEqual([id, 1])
  })
})

test('one that has left brings nothing back that others have, however soon its process is killed', () => {
  for (let atMs = 0; atMs < 100; atMs += 10) {
    const city = new City(['a', 'b'], { joinsAll: true })
    const client = city.keeper('b', 's', 't')
    const publisher = city.client('a', 'p')
    const result = drain(city, 'a', 0.1)
    city.run(atMs)
    for (const text of numbers(5)) publisher.publish('t', text, 2)
    city.until(() => client.texts.length === 5)
    publisher.drop()
    city.until(() => result.told !== undefined)
    expect(result.told).toMatchObject({ done: true })
    city.node('a').leave()
    city.fall('a')
    city.run(1000)
    city.rise('a')
    city.run(5000)
    expect({ atMs, texts: client.texts }).toEqual({ atMs, texts: numbers(5) })
  }
})

describe('what cannot go', () => {
  test('nobody is there to take anything', () => {
    const city = new City(['a', 'b'])
    city.fall('b')
    city.until(() => [...city.node('a').live()].length === 0)
    expect(city.node('a').drain(100, () => {})).toBe(false)
    expect(city.node('a').draining).toBe(false)
  })

  test('a queue for a node that is away: the node stays, and says so; when that is back, it can go', () => {
    const city = new City(['a', 'b', 'c'])
    city.keeper('c', 's', 't').disconnect()
    city.fall('c')
    city.until(() => city.node('a').members.state('c') === 'dead')
    city.publish(city.client('a', 'p'), 't', numbers(3))
    const first = drain(city, 'a')
    city.until(() => first.told !== undefined)
    expect(first.told).toEqual({ done: false, moved: 0, remaining: 0, waiting: [{ node: 'c', messages: 3 }] })
    city.rise('c')
    city.run(3000)
    const second = drain(city, 'a')
    city.until(() => second.told !== undefined)
    expect(second.told).toMatchObject({ done: true })
    const client = city.client('b', 's', lasting)
    city.until(() => client.came.length === 3)
    expect(client.texts).toEqual(numbers(3))
  })

  test('the last other node falls: the sessions stay, and that is said', () => {
    const city = new City(['a', 'b'])
    for (const id of numbers(10)) city.keeper('a', id, 't').disconnect()
    const result = drain(city, 'a')
    city.fall('b')
    city.until(() => result.told !== undefined, 60_000)
    expect(result.told).toMatchObject({ done: false, moved: 0, remaining: 10 })
  })
})
