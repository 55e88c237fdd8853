import { describe, expect, test } from 'vitest'
import { FrameType } from '../../src/cluster/wire.ts'
import { type Habits, Town } from './forwarding-kit.ts'

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => String(from + i))
const ways: readonly Habits[] = [
  { stores: 'disk', wire: 2 },
  { stores: 'disk', wire: 1 },
  { stores: 'memory', wire: 2 },
]

describe.each(ways)('on $stores, wire version $wire', (habits) => {
  test.each([0, 1, 2] as const)('QoS %i reaches the subscribers of other nodes, once each and in order', (qos) => {
    const town = new Town(['a', 'b', 'c'], habits)
    const subscribers = ['a', 'b', 'b', 'c'].map((node, i) => {
      const client = town.client(node, `s${i}`)
      town.subscribe(client, i % 2 ? 't/+' : 't/#')
      return client
    })
    const publisher = town.client('a', 'p')
    for (const text of numbers(50)) publisher.publish(`t/${Number(text) % 3}`, text, qos)
    town.run(1000)
    for (const { came } of subscribers) {
      expect(came.map(({ text }) => text)).toEqual(numbers(50))
      expect(new Set(came.map((message) => message.qos))).toEqual(new Set([qos]))
    }
    if (qos > 0) expect(publisher.acked.map(({ reason }) => reason)).toEqual(numbers(50).map(() => 0))
    town.audit()
  })

  test('who wants it nowhere is told so, and a subscriber elsewhere counts', () => {
    const town = new Town(['a', 'b'], habits)
    const publisher = town.client('a', 'p')
    const first = publisher.publish('t', 'nobody')
    town.until(() => publisher.hasAck(first))
    town.subscribe(town.client('b', 's'), 't')
    const second = publisher.publish('t', 'somebody')
    town.until(() => publisher.hasAck(second))
    expect(publisher.acked.map(({ reason }) => reason)).toEqual([0x10, 0])
    town.audit()
  })

  test('a link that breaks in the middle of a burst loses nothing and makes nothing twice', () => {
    const town = new Town(['a', 'b'], habits)
    const keeper = town.keeper('b', 's', 't')
    const publisher = town.client('a', 'p')
    for (const qos of [1, 2] as const)
      for (const text of numbers(100)) {
        publisher.publish('t', `${qos}-${text}`, qos)
        if (Number(text) % 30 !== 29) continue
        town.run(1.5)
        town.cut('a', 'b')
        town.run(20)
        town.link('a', 'b')
      }
    town.run(1000)
    for (const qos of [1, 2])
      expect(keeper.texts.filter((text) => text.startsWith(`${qos}-`))).toEqual(numbers(100).map((n) => `${qos}-${n}`))
    expect(publisher.acked.length).toBe(200)
    town.audit()
  })

  test.each([
    [1, 70_000, 0],
    [1, 70_000, 3],
    [2, 40_000, 0],
  ] as const)('QoS %i: %i messages, more than there are ids, where nothing else is written', (qos, count, before) => {
    const town = new Town(['a', 'b'], habits)
    const subscriber = town.client('b', 's')
    town.subscribe(subscriber, 't')
    town.publish(town.client('a', 'p'), 't', numbers(before), 2)
    const burst = qos === 2 ? 200 : 5000
    for (let sent = 0; sent < count; sent += burst) {
      const publisher = town.client('a', `p${sent}`)
      for (let i = 0; i < burst; i++) publisher.publish('t', '', qos)
      const due = before + sent + burst
      town.until(() => subscriber.came.length === due)
    }
    town.audit()
  })

  test('expiry, properties, retain as published: all of a message comes along', () => {
    const town = new Town(['a', 'b'], habits)
    const subscriber = town.client('b', 's')
    town.subscribe(subscriber, '#')
    const publisher = town.client('a', 'p')
    publisher.publish('ü/€', 'x', 1, { retain: true, expiry: 100 })
    publisher.publish('ü/€', '', 0, { retain: true })
    publisher.publish('late', 'y', 1, { expiry: 0 })
    town.run(100)
    expect(subscriber.came.map(({ topic, text, retain }) => [topic, text, retain])).toEqual([
      ['ü/€', 'x', true],
      ['ü/€', '', true],
    ])
    town.audit()
  })

  test('a node that is away: what waits for it comes when it is back, once and in order; its clients of the moment lose theirs', () => {
    const town = new Town(['a', 'b'], habits)
    const keeper = town.keeper('b', 's', 't')
    const momentary = town.client('b', 'm')
    town.subscribe(momentary, 'u')
    const publisher = town.client('a', 'p')
    town.publish(publisher, 't', numbers(10))
    town.cut('a', 'b')
    // At first it may be back at once: acknowledgements wait.
    const waits = publisher.publish('t', '10')
    town.run(1000)
    expect(publisher.hasAck(waits)).toBe(false)
    town.run(1500)
    expect(publisher.hasAck(waits)).toBe(true)
    town.publish(publisher, 't', numbers(5, 11), 1)
    town.publish(publisher, 't', numbers(5, 16), 2)
    town.publish(publisher, 'u', ['lost'])
    town.link('a', 'b')
    town.run(100)
    town.publish(publisher, 't', numbers(5, 21))
    town.publish(publisher, 'u', ['kept'])
    town.run(1000)
    expect(keeper.texts).toEqual(numbers(26))
    expect(momentary.texts).toEqual(['kept'])
    expect(town.node('a').forwarding.to('b').storing).toBe(false)
    town.audit()
  })

  test('over the bound of what waits for a node, a publish is refused before anybody gets it', () => {
    const town = new Town(['a', 'b'], { ...habits, handoffMessages: 5 })
    const keeper = town.keeper('b', 's', 't')
    const here = town.client('a', 'h')
    town.subscribe(here, 't')
    town.cut('a', 'b')
    town.run(2500)
    const publisher = town.client('a', 'p')
    const old = town.client('a', 'o', { version: 4 })
    town.publish(publisher, 't', numbers(7))
    expect(publisher.acked.map(({ reason }) => reason)).toEqual([0, 0, 0, 0, 0, 0x97, 0x97])
    old.publish('t', 'old')
    publisher.publish('t', 'QoS 0', 0)
    town.run(10)
    expect(old.state).toBe('closed')
    expect(here.texts).toEqual([...numbers(5), 'QoS 0'])
    expect(town.node('a').forwarding.to('b').refused).toBe(3)
    town.link('a', 'b')
    town.run(100)
    town.publish(publisher, 't', ['again'])
    expect(keeper.texts).toEqual([...numbers(5), 'again'])
    town.audit()
  })

  test('a node that is given up: what waits for it is counted, and nobody waits for it', () => {
    const town = new Town(['a', 'b'], habits)
    town.keeper('b', 's', 't')
    town.cut('a', 'b')
    const publisher = town.client('a', 'p')
    const waits = publisher.publish('t', 'x')
    town.run(10)
    expect(publisher.hasAck(waits)).toBe(false)
    const { forwarding } = town.node('a')
    forwarding.evict('b')
    town.run(100)
    expect(publisher.hasAck(waits)).toBe(true)
    expect(forwarding.evicted).toBe(1)
    expect(forwarding.ledger.lost['session-ended']).toBe(1)
  })

  test('a peer that takes no more: QoS 0 is dropped and counted, QoS 1 waits, and its publishers with it', () => {
    const town = new Town(['a', 'b'], habits)
    const keeper = town.keeper('b', 's', 't')
    const publisher = town.client('a', 'p')
    town.node('a').links.get('b')!.congested = true
    const big = 'x'.repeat(1_000_000)
    for (const text of numbers(8)) publisher.publish('t', text + big)
    publisher.publish('t', 'QoS 0', 0)
    town.run(500)
    // The rest has not been read.
    const { ledger, forwarding } = town.node('a').broker && { ...town.node('a').broker, ...town.node('a') }
    expect(ledger.published).toBeLessThan(8)
    expect(keeper.came).toEqual([])
    town.node('a').links.get('b')!.congested = false
    forwarding.roomy('b')
    town.run(1000)
    // What is QoS 0 may pass.
    expect(keeper.texts.filter((text) => text !== 'QoS 0').map((text) => text[0])).toEqual(numbers(8))
    town.audit()
  })
})

test('QoS 0 to a peer that takes no more is dropped and counted', () => {
  const town = new Town(['a', 'b'])
  town.subscribe(town.client('b', 's'), 't')
  town.node('a').links.get('b')!.congested = true
  town.client('a', 'p').publish('t', 'x', 0)
  town.run(10)
  expect(town.node('a').forwarding.to('b').droppedQos0).toBe(1)
})

describe('an acknowledgement means what it says', () => {
  test('PUBACK and PUBREC wait for the durable word of the node with a persistent session', () => {
    const town = new Town(['a', 'b'], { syncMs: 100 })
    town.keeper('b', 's', 't')
    const publisher = town.client('a', 'p')
    const [one, two] = [publisher.publish('t', 'x', 1), publisher.publish('t', 'x', 2)]
    town.run(80)
    expect(publisher.acked).toEqual([])
    town.run(600)
    expect(publisher.acked.map(({ id }) => id)).toEqual([one, two])
    town.audit()
  })

  test('nobody waits for a node whose subscribers are of the moment', () => {
    const town = new Town(['a', 'b'])
    town.subscribe(town.client('b', 's'), 't')
    const publisher = town.client('a', 'p')
    town.node('a').links.get('b')!.congested = true
    town.publish(publisher, 't', ['x'])
    town.audit()
  })

  test('one publisher that waits for a node holds up nobody else', () => {
    const town = new Town(['a', 'b'], { syncMs: 50 })
    town.keeper('b', 's', 't')
    town.subscribe(town.client('a', 'h'), 'u')
    const [waits, goes] = [town.client('a', 'p'), town.client('a', 'q')]
    town.cut('a', 'b')
    const id = waits.publish('t', 'x')
    town.publish(goes, 'u', numbers(5))
    expect(waits.hasAck(id)).toBe(false)
    town.until(() => waits.hasAck(id), 3000)
    town.audit()
  })

  test.each(['kill', 'power'] as const)(
    'the receiver falls (%s): what was acknowledged is there, and what was not comes again',
    (how) => {
      const town = new Town(['a', 'b'])
      town.keeper('b', 's', 't').disconnect()
      const publisher = town.client('a', 'p')
      town.run(10)
      for (const text of numbers(60)) publisher.publish('t', text, Number(text) % 2 ? 2 : 1)
      town.run(2.7)
      town.fall('b', how)
      town.run(50)
      expect(publisher.acked.length).toBe(60)
      town.publish(publisher, 't', numbers(20, 60), 1)
      town.publish(publisher, 't', numbers(20, 80), 2)
      town.rise('b')
      const keeper = town.client('b', 's', { clean: false, expirySeconds: 1000 })
      town.run(1000)
      const firsts = [...new Set(keeper.texts.filter((text) => Number(text) % 2 === 1 || Number(text) >= 80))]
      expect(firsts).toEqual(numbers(100).filter((text) => Number(text) % 2 === 1 || Number(text) >= 80))
      expect(new Set(keeper.texts)).toEqual(new Set(numbers(100)))
      // Exactly once, whoever falls.
      const exact = keeper.texts.filter((text) => (Number(text) < 60 && Number(text) % 2 === 1) || Number(text) >= 80)
      expect(exact.length).toBe(new Set(exact).size)
      // Written down before it came back, and so not twice either.
      const kept = keeper.texts.filter((text) => Number(text) >= 60)
      expect(kept).toEqual(numbers(40, 60))
      town.audit()
    },
  )

  test.each(['kill', 'power'] as const)('the origin falls (%s): QoS 2 reaches everybody once', (how) => {
    const town = new Town(['a', 'b'])
    const keeper = town.keeper('b', 's', 't')
    let publisher = town.client('a', 'p', { clean: false, expirySeconds: 1000 })
    for (const text of numbers(40)) publisher.publish('t', text, 2)
    town.run(3.2)
    town.fall('a', how)
    const acked = publisher.acked.length
    town.run(10)
    town.rise('a')
    town.run(1000)
    // All that the publisher has an answer for has arrived, and nothing twice.
    expect(keeper.texts.length).toBe(new Set(keeper.texts).size)
    expect(keeper.texts).toEqual(numbers(keeper.texts.length))
    expect(keeper.texts.length).toBeGreaterThanOrEqual(acked)
    publisher = town.client('a', 'p', { clean: false, expirySeconds: 1000 })
    town.publish(publisher, 't', ['after'])
    expect(keeper.texts.at(-1)).toBe('after')
    expect([...town.node('a').forwarding.nodes()].map(({ messages }) => messages)).toEqual([0])
    town.audit()
  })

  test('the origin falls while it holds messages for a node that is away: they come, once and in order', () => {
    const town = new Town(['a', 'b', 'c'])
    town.keeper('b', 's', 't').disconnect()
    const publisher = town.client('a', 'p')
    // Some are in memory when the link breaks, and later ones are written before them.
    town.node('a').links.get('b')!.congested = true
    for (const text of numbers(700)) publisher.publish('t', text, 1)
    town.run(5)
    town.fall('b')
    publisher.publish('t', '700', 2)
    town.until(() => publisher.acked.length === 701)
    for (let round = 0; round < 2; round++) {
      town.fall('a', 'power')
      town.run(10)
      town.rise('a')
    }
    const next = town.client('a', 'p')
    // Its interest is known from its own table again when it is back; until then from nobody.
    town.rise('b')
    const keeper = town.client('b', 's', { clean: false, expirySeconds: 1000 })
    town.run(2000)
    town.publish(next, 't', ['new'])
    town.run(100)
    expect(keeper.texts).toEqual([...numbers(701), 'new'])
    town.audit()
  })
})

describe('shared subscriptions', () => {
  test('members here come first, else nodes take turns by their weight', () => {
    const town = new Town(['a', 'b', 'c'])
    const [b, c] = [town.client('b', 'b1'), town.client('b', 'b2')]
    const far = [b, c, town.client('c', 'c1')]
    for (const member of far) town.subscribe(member, '$share/g/t')
    const publisher = town.client('a', 'p')
    town.publish(publisher, 't', numbers(30))
    town.run(10)
    expect(far.map(({ came }) => came.length)).toEqual([10, 10, 10])
    const near = town.client('a', 'a1')
    town.subscribe(near, '$share/g/t')
    town.publish(publisher, 't', numbers(30))
    expect(near.came.length).toBe(30)
    expect(far.map(({ came }) => came.length)).toEqual([10, 10, 10])
    town.audit()
  })

  test('sessions in groups and in none: one frame for a node, one copy for each', () => {
    const town = new Town(['a', 'b'])
    const clients = ['plain', 'g', 'g', 'h'].map((name, i) => [town.client('b', `s${i}`), name] as const)
    for (const [client, name] of clients) town.subscribe(client, name === 'plain' ? 't' : `$share/${name}/t`)
    const link = town.node('a').links.get('b')!
    const send = link.send.bind(link)
    let frames = 0
    link.send = (from, type, bytes) => {
      if (type === FrameType.publish && from.name === 'a') frames++
      send(from, type, bytes)
    }
    town.publish(town.client('a', 'p'), 't', numbers(4))
    town.run(10)
    expect(frames).toBe(4)
    expect(clients.map(([client]) => client.came.length)).toEqual([4, 2, 2, 4])
    town.audit()
  })

  test.each([1, 2] as const)('QoS %i: a node that has no member left gives it back, and another gets it', (qos) => {
    const town = new Town(['a', 'b', 'c'])
    const [left, right] = [town.client('b', 'l'), town.client('c', 'r')]
    for (const client of [left, right]) town.subscribe(client, '$share/g/t')
    const publisher = town.client('a', 'p')
    // The others do not know yet.
    left.unsubscribe('$share/g/t')
    for (const text of numbers(10)) publisher.publish('t', text, qos)
    town.until(() => publisher.acked.length === 10)
    town.run(100)
    expect([...right.texts].sort()).toEqual(numbers(10))
    right.unsubscribe('$share/g/t')
    publisher.publish('t', 'lost', qos)
    town.run(100)
    expect(town.node('a').forwarding.unserved).toBe(1)
    town.audit()
  })

  test('what waits for a member that ends goes to one on another node', () => {
    const town = new Town(['a', 'b'])
    const near = town.client('a', 'n', { acks: false })
    town.subscribe(near, '$share/g/t')
    town.publish(town.client('a', 'p'), 't', numbers(3))
    const far = town.client('b', 'f')
    town.subscribe(far, '$share/g/t')
    near.drop()
    town.run(100)
    expect(far.texts).toEqual(numbers(3))
    town.audit()
  })

  test('a node with the only waiting session is away: the message waits; one with members of the moment loses its turn', () => {
    const town = new Town(['a', 'b', 'c'])
    town.keeper('b', 'k', '$share/g/t').disconnect()
    const momentary = town.client('c', 'm')
    town.subscribe(momentary, '$share/g/t')
    const publisher = town.client('a', 'p')
    town.cut('a', 'b')
    town.cut('a', 'c')
    town.run(2500)
    town.publish(publisher, 't', numbers(4))
    town.link('a', 'b')
    town.link('a', 'c')
    town.run(200)
    const keeper = town.client('b', 'k', { clean: false, expirySeconds: 1000 })
    town.run(100)
    expect(keeper.texts).toEqual(numbers(4))
    expect(momentary.texts).toEqual([])
    town.audit()
  })
})
