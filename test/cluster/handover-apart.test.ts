import { describe, expect, test } from 'vitest'
import { City, type CityOptions } from './cluster-kit.ts'

// Messages that were written down for a session that is somewhere else now, and sessions that are merged: each comes once.

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => String(from + i))
const lasting = { clean: false, expirySeconds: 10_000 }
const weather: CityOptions['weather'] = { latencyMs: [0.5, 3], syncMs: [1, 5], hiccup: 0 }
const fresh: CityOptions = { settings: { absentOwner: 'fresh' } }
const sorted = (texts: readonly string[]) => [...texts].sort((a, b) => Number(a) - Number(b))

function apart(city: City, a: string, b: string): void {
  city.part([a], [b])
  city.until(() => !city.node(a).links.version(b) && !city.node(b).links.version(a))
  city.run(3000)
}

describe('a queue for a node from which the session has moved', () => {
  test.each(['a', 'c'])('begun afresh at %s, while its node was away', (where) => {
    const city = new City(['a', 'b', 'c'], fresh)
    city.keeper('b', 's', 't').disconnect()
    const publisher = city.client('a', 'p')
    city.publish(publisher, 't', numbers(5), 2)
    city.run(500)
    city.fall('b')
    city.run(5000)
    city.publish(publisher, 't', numbers(300, 5), 2)
    const client = city.keeper(where, 's', 't')
    city.publish(publisher, 't', numbers(5, 305), 2)
    city.rise('b')
    for (const text of numbers(50, 310)) {
      publisher.publish('t', text, 2)
      city.run(2)
    }
    city.run(10_000)
    expect(sorted(client.texts)).toEqual(numbers(360))
    city.audit()
  })

  test('taken to a third node, while the publisher could not reach the one it was on', () => {
    const city = new City(['a', 'b', 'c'])
    city.keeper('b', 's', 't').disconnect()
    const publisher = city.client('a', 'p')
    apart(city, 'a', 'b')
    city.publish(publisher, 't', numbers(5), 2)
    const client = city.client('c', 's', lasting)
    city.publish(publisher, 't', numbers(5, 5), 2)
    city.heal()
    city.run(10_000)
    expect(sorted(client.texts)).toEqual(numbers(10))
    city.audit()
  })

  test.each(['kill', 'power'] as const)('and that one falls meanwhile, by %s', (how) => {
    const city = new City(['a', 'b', 'c', 'd'])
    city.keeper('b', 's', 't').disconnect()
    const publisher = city.client('a', 'p')
    apart(city, 'a', 'b')
    city.publish(publisher, 't', numbers(5), 2)
    city.client('c', 's', { ...lasting, acks: false }).disconnect()
    city.publish(publisher, 't', numbers(5, 5), 2)
    city.fall('b', how)
    city.run(500)
    city.rise('b')
    city.run(3000)
    const client = city.client('d', 's', lasting)
    city.heal()
    city.run(10_000)
    expect(sorted(client.texts)).toEqual(numbers(10))
    city.audit()
  })

  test('and it comes back before the publisher does', () => {
    const city = new City(['a', 'b', 'c'])
    city.keeper('b', 's', 't').disconnect()
    const publisher = city.client('a', 'p')
    apart(city, 'a', 'b')
    city.publish(publisher, 't', numbers(5), 2)
    city.client('c', 's', { ...lasting, acks: false }).disconnect()
    city.publish(publisher, 't', numbers(5, 5), 2)
    const client = city.client('b', 's', lasting)
    city.heal()
    city.run(10_000)
    expect(sorted(client.texts)).toEqual(numbers(10))
    city.audit()
  })
})

describe('a session that moves twice, while something straggles where it was first', () => {
  /** It goes from node to node, and confirms all that comes. Gives what came to it, on each of them. */
  const nomad = (city: City, first = 'd') => {
    const clients = [city.keeper(first, 's', 't')]
    return {
      goes: (node: string) => {
        clients.at(-1)!.drop()
        clients.push(city.client(node, 's', lasting))
        city.run(500)
      },
      texts: () => clients.flatMap(({ texts }) => texts),
    }
  }

  test('what came to it straight is not passed on to it, also where nothing of that publisher had come before', () => {
    const city = new City(['a', 'b', 'c', 'd', 'e'])
    const session = nomad(city)
    city.keeper('d', 'other', 't').disconnect()
    const publisher = city.client('c', 'p')
    city.fall('e')
    city.run(3000)
    session.goes('b')
    city.fall('d')
    city.publish(publisher, 't', numbers(5), 2)
    city.run(500)
    session.goes('a')
    city.rise('d')
    city.rise('e')
    city.run(20_000)
    expect(session.texts()).toEqual(numbers(5))
    city.audit()
  })

  test.each([
    ['of its publisher had come to the second node', ['d']],
    ['had come to it', ['b', 'd']],
  ])('what was written down for its first node comes to it, also where something %s before', (_, nodes) => {
    const city = new City(['a', 'b', 'c', 'd'])
    const session = nomad(city, nodes[0])
    city.keeper('b', 'other', 'u')
    const publisher = city.client('c', 'p')
    city.publish(publisher, 'u', ['before'], 2)
    for (const node of nodes.slice(1)) session.goes(node)
    apart(city, 'c', 'd')
    city.publish(publisher, 't', numbers(5), 2)
    session.goes('b')
    city.publish(publisher, 't', numbers(5, 5), 2)
    city.run(500)
    session.goes('a')
    city.heal()
    city.run(20_000)
    expect(sorted(session.texts())).toEqual(numbers(10))
    city.audit()
  })

  test('what came to it both ways, from a publisher whose node was away when it moved, is known where it goes next', () => {
    const city = new City(['a', 'b', 'c', 'd'])
    const session = nomad(city)
    const publisher = city.client('c', 'p')
    city.part(['c'], ['a', 'b', 'd'])
    city.run(10_000)
    session.goes('b')
    city.run(1000)
    city.heal()
    city.part(['b'], ['d'])
    const sent = numbers(600)
    for (const text of sent) {
      publisher.publish('t', text, 2)
      city.run(5)
    }
    session.goes('a')
    city.heal()
    city.run(20_000)
    expect(sorted(session.texts())).toEqual(sent)
    city.audit()
  })
})

describe('a session that has moved while the node of its publisher was cut off', () => {
  // Whoever was cut off hears from the one node that nobody is there any more, and from the other that somebody is: in any order.
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('misses nothing of what is published as soon as it is back, seed %i', (seed) => {
    const city = new City(['a', 'b', 'c', 'd'], {}, seed)
    const before = city.keeper('d', 's', 't')
    const publisher = city.client('c', 'p')
    city.part(['c'], ['a', 'b', 'd'])
    city.run(10_000)
    before.drop()
    const client = city.client('b', 's', lasting)
    city.run(500)
    city.heal()
    for (const text of numbers(200)) {
      publisher.publish('t', text, 2)
      city.run(5)
    }
    city.run(10_000)
    expect(before.texts).toEqual([])
    expect(sorted(client.texts)).toEqual(numbers(200))
    city.audit()
  })

  test.each([1, 2, 3, 4])('nor when only its new node and that one do not hear each other, seed %i', (seed) => {
    const city = new City(['a', 'b', 'c', 'd'], {}, seed)
    const before = city.keeper('d', 's', 't')
    const publisher = city.client('c', 'p')
    apart(city, 'b', 'c')
    city.run(10_000)
    before.drop()
    const client = city.dial('b', 's', lasting)
    for (const text of numbers(600)) {
      publisher.publish('t', text, 2)
      city.run(1)
    }
    city.heal()
    city.run(10_000)
    expect(before.texts).toEqual([])
    expect(sorted(client.texts)).toEqual(numbers(600))
    city.audit()
  })

  test.each([
    [1, 37],
    [3, 39],
  ])('nor when the node that it was on falls then, seed %i, after %i ms', (seed, atMs) => {
    const city = new City(['a', 'b', 'c', 'd'], { weather }, seed)
    const before = city.keeper('d', 's', 't')
    const publisher = city.client('c', 'p')
    apart(city, 'b', 'c')
    city.run(2000)
    before.drop()
    const client = city.dial('b', 's', lasting)
    for (const text of numbers(100)) {
      if (text === String(atMs)) city.fall('d')
      publisher.publish('t', text, 2)
      city.run(1)
    }
    city.run(500)
    city.rise('d')
    city.run(4000)
    city.heal()
    city.run(10_000)
    const last = client.state === 'connected' ? client : city.client('b', 's', lasting)
    city.run(1000)
    expect(sorted(last.texts)).toEqual(numbers(100))
    city.audit()
  })
})

test.each([2, 4])(
  'the link between its old node and that of its publisher breaks while a session moves: nothing is lost, or comes twice, seed %i',
  (seed) => {
    for (let atMs = 8; atMs < 40; atMs++) {
      const city = new City(['a', 'b', 'c', 'd'], { weather }, seed)
      const before = city.keeper('d', 's', 't')
      const publisher = city.client('c', 'p')
      city.keeper('d', 'other', 't').disconnect()
      city.run(5000)
      before.drop()
      const client = city.dial('b', 's', lasting)
      for (const text of numbers(120)) {
        if (text === String(atMs)) city.breakLinks('c', 'd')
        publisher.publish('t', text, 2)
        city.run(1)
      }
      city.run(10_000)
      expect({ atMs, texts: sorted(client.texts) }).toEqual({ atMs, texts: numbers(120) })
    }
  },
  60_000,
)

test("the publisher's node loses its power as soon as it has heard of a move, and comes back cut off: it still knows of it", () => {
  for (let atMs = 8; atMs < 30; atMs += 2) {
    const city = new City(['a', 'b', 'c', 'd'], { weather: { latencyMs: [1, 1], syncMs: [1, 15], hiccup: 0 } }, 1)
    const before = city.keeper('d', 's', 't')
    city.run(5000)
    before.drop()
    const client = city.dial('b', 's', lasting)
    city.run(atMs)
    city.fall('c', 'power')
    city.run(2000)
    city.part(['c'], ['a', 'b', 'd'])
    city.rise('c')
    city.until(() => city.machine('c').ready)
    city.publish(city.client('c', 'p'), 't', numbers(2), 2)
    city.run(500)
    city.heal()
    city.run(15_000)
    const last = client.state === 'connected' ? client : city.client('b', 's', lasting)
    city.run(1000)
    expect({ atMs, texts: last.texts }).toEqual({ atMs, texts: numbers(2) })
  }
})

describe('two sessions of one client are merged', () => {
  const merging = (seed = 7) => {
    const city = new City(['a', 'b', 'c'], fresh, seed)
    city.keeper('b', 's', 't').disconnect()
    city.publish(city.client('a', 'p'), 't', numbers(20), 2)
    city.run(500)
    city.fall('b')
    city.run(5000)
    const client = city.keeper('c', 's', 't')
    city.rise('b')
    city.until(() => city.node('b').links.version('c') > 0)
    return { city, client }
  }

  test('the link breaks at every moment', () => {
    for (let atMs = 0; atMs < 30; atMs++) {
      const { city, client } = merging()
      city.run(atMs)
      city.breakLinks('b', 'c')
      city.run(15_000)
      expect({ atMs, texts: client.texts }).toEqual({ atMs, texts: numbers(20) })
      expect(city.machine('b').broker.sessions.get('s')).toBeUndefined()
      city.audit()
    }
  }, 60_000)

  describe.each(['b', 'c'])('%s falls', (victim) => {
    test.each(['kill', 'power'] as const)(
      'by %s, at every moment',
      (how) => {
        for (let atMs = 0; atMs < 30; atMs++) {
          const { city } = merging(7 + atMs)
          const keeper = city.machine('c').broker.sessions.get('s')!
          keeper.connection?.close(0x98)
          city.run(atMs)
          city.fall(victim, how)
          city.run(500)
          city.rise(victim)
          city.run(15_000)
          const client = city.client('a', 's', lasting)
          city.run(1000)
          // What was delivered before is not asked for here.
          expect({ atMs, twice: client.texts.length - new Set(client.texts).size }).toEqual({ atMs, twice: 0 })
          expect(city.machine('b').broker.sessions.get('s')).toBeUndefined()
        }
      },
      60_000,
    )
  })
})

test.each([
  [1, 'kill'],
  [1, 'part'],
  [2, 'kill'],
  [2, 'part'],
] as const)(
  'members of the moment, QoS %i, and the node of some is gone (%s): others get what it had not',
  (qos, how) => {
    for (let atMs = 0; atMs < 4; atMs += 0.5) {
      const city = new City(['a', 'b', 'c'], {}, 7 + 2 * atMs)
      const members = ['b', 'c'].map((node) => city.client(node, `m${node}`))
      for (const member of members) city.subscribe(member, '$share/g/t')
      const publisher = city.client('a', 'p')
      city.run(500)
      for (const text of numbers(20)) publisher.publish('t', text, qos)
      city.run(atMs)
      if (how === 'kill') city.fall('b')
      else city.part(['b'], ['a', 'c'])
      city.until(() => publisher.acked.length === 20)
      city.run(5000)
      const texts = () => members.flatMap((member) => member.texts)
      const missing = () => numbers(20).filter((text) => !texts().includes(text))
      // With QoS 2 it is not known whether they were delivered there: that node has to say so.
      if (qos === 1) expect({ atMs, missing: missing() }).toEqual({ atMs, missing: [] })
      if (how === 'kill') city.rise('b')
      else city.heal()
      city.run(10_000)
      expect({ atMs, missing: missing() }).toEqual({ atMs, missing: [] })
      for (const { texts } of members) expect(new Set(texts).size).toBe(texts.length)
      expect(city.node('a').forwarding.unserved).toBe(0)
      city.audit()
    }
  },
)

test('what comes by a shared subscription while its session moves is for somebody', () => {
  for (let atMs = 0; atMs < 30; atMs++) {
    const city = new City(['a', 'b', 'c'], {}, 7 + atMs)
    city.keeper('a', 's', '$share/g/t').disconnect()
    const publishers = ['a', 'b', 'c'].map((node) => city.client(node, `p${node}`))
    city.run(300)
    const client = city.dial('b', 's', lasting)
    for (let i = 0; i < 30; i++) {
      for (const publisher of publishers) publisher.publish('t', `${publisher.id}${i}`, 2)
      city.run(1)
      if (i === atMs) city.breakLinks('a', 'b')
    }
    city.until(() => client.state !== 'new')
    city.run(10_000)
    const last = client.state === 'connected' ? client : city.client('b', 's', lasting)
    city.run(1000)
    const came = [...client.texts, ...(last === client ? [] : last.texts)]
    expect({ atMs, count: new Set(came).size, twice: came.length - new Set(came).size }).toEqual({
      atMs,
      count: 90,
      twice: 0,
    })
    city.audit()
  }
}, 60_000)
