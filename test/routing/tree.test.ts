import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseFilter, type Topic, TopicTable } from '../../src/mqtt/topic.ts'
import type { Delivery, Grant, Member } from '../../src/routing/delivery.ts'
import { Seats } from '../../src/routing/seats.ts'
import { SubscriptionTree } from '../../src/routing/tree.ts'
import { filters, naiveMatches, topicNames } from './naive.ts'

interface Session extends Member {
  readonly name: string
}
const mayReceive = (): boolean => true
const sessions: Session[] = ['s0', 's1', 's2', 's3'].map((name) => ({ name, online: true, room: 1, mayReceive }))
const plain: Grant = { qos: 0, noLocal: false, retainAsPublished: false, subscriptionId: 0 }

/** What a delivery says, in an order that does not depend on the tree. */
function told(delivery: Delivery<Session> | undefined): object | undefined {
  if (delivery === undefined) return undefined
  const { subscriber, qos, retainAsPublished, subscriptionIds } = delivery
  return {
    to: subscriber.name,
    qos,
    retainAsPublished,
    ids: subscriptionIds && [...subscriptionIds].sort((a, b) => a - b),
  }
}

/** Subscriptions as a list, searched from end to end. */
class Naive {
  readonly held = new Map<
    string,
    { session: Session; text: string; filter: string; group: string | undefined; grant: Grant }
  >()

  subscribe(session: Session, text: string, grant: Grant): boolean {
    const key = `${session.name} ${text}`
    const replaced = this.held.has(key)
    this.held.set(key, { session, text, ...split(text), grant })
    return replaced
  }

  unsubscribe(session: Session, text: string): boolean {
    return this.held.delete(`${session.name} ${text}`)
  }

  deliveries(topic: string): object[] {
    return sessions.flatMap((session) => {
      const all = [...this.held.values()].filter(
        (held) => held.session === session && held.group === undefined && naiveMatches(held.filter, topic),
      )
      const own = all.filter(({ grant }) => !grant.noLocal)
      return all.length === 0
        ? []
        : [{ all: merge(session, all), own: own.length === 0 ? undefined : merge(session, own) }]
    })
  }

  groups(topic: string): string[] {
    const matching = [...this.held.values()].filter(
      ({ group, filter }) => group !== undefined && naiveMatches(filter, topic),
    )
    return matching.map(({ session, text }) => `${text} ${session.name}`).sort()
  }
}

function split(text: string): { filter: string; group: string | undefined } {
  const [share, group, ...filter] = text.split('/')
  return share === '$share' ? { filter: filter.join('/'), group } : { filter: text, group: undefined }
}

function merge(session: Session, held: readonly { grant: Grant }[]): object {
  const ids = held.map(({ grant }) => grant.subscriptionId).filter((id) => id > 0)
  return {
    to: session.name,
    qos: Math.max(...held.map(({ grant }) => grant.qos)),
    retainAsPublished: held.some(({ grant }) => grant.retainAsPublished),
    ids: ids.length === 0 ? undefined : ids.sort((a, b) => a - b),
  }
}

const grants: fc.Arbitrary<Grant> = fc.record({
  qos: fc.constantFrom(0, 1, 2),
  noLocal: fc.boolean(),
  retainAsPublished: fc.boolean(),
  subscriptionId: fc.constantFrom(0, 0, 1, 2, 268_435_455),
})
const someone = fc.constantFrom(...sessions)
const text = fc.oneof(
  { weight: 4, arbitrary: filters },
  fc.tuple(fc.constantFrom('g', 'h', 'a'), filters).map(([group, filter]) => `$share/${group}/${filter}`),
)
const step = fc.oneof(
  fc.record({ do: fc.constant('subscribe' as const), session: someone, text, grant: grants }),
  fc.record({ do: fc.constant('unsubscribe' as const), session: someone, text }),
  // Which of those that there are, so that most unsubscribes hit.
  fc.record({ do: fc.constant('drop' as const), which: fc.nat(30) }),
  fc.record({ do: fc.constant('match' as const), topic: topicNames }),
)

test('any sequence of subscribe, unsubscribe and match agrees with a list of subscriptions', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const table = new TopicTable()
      const interests = new Set<string>()
      const tree = new SubscriptionTree<Session>({
        interest: ({ name: session }, { filter, group }, present) => {
          const name = `${session} ${group === undefined ? filter : `$share/${group}/${filter}`}`
          // Told of each change once.
          expect(interests.has(name)).toBe(!present)
          if (present) interests.add(name)
          else interests.delete(name)
        },
      })
      // Routes of two trees stand on one topic.
      const twin = new SubscriptionTree<Session>()
      const naive = new Naive()
      const seen = new Set<Topic>()
      const check = (topic: Topic) => {
        const { deliveries, groups } = tree.match(topic)
        const got = deliveries.map((delivery) => ({ all: told(delivery), own: told(delivery.own) }))
        const expected = naive.deliveries(topic.name)
        expect(got.length).toBe(expected.length)
        expect(got).toEqual(expect.arrayContaining(expected))
        for (const delivery of deliveries) expect(delivery.own?.own).toBe(delivery.own)
        const members = groups.flatMap((group) =>
          sessions
            .filter((session) => naive.held.has(`${session.name} $share/${group.group}/${group.filter}`))
            .map((session) => `$share/${group.group}/${group.filter} ${session.name}`),
        )
        expect(members.sort()).toEqual(naive.groups(topic.name))
        for (const group of groups) expect(sessions).toContain(group.pick(topic)?.subscriber)
        const other = twin.match(topic)
        expect(other.deliveries.map((delivery) => ({ all: told(delivery), own: told(delivery.own) }))).toEqual(got)
        expect(other.groups.map(({ name }) => name)).toEqual(groups.map(({ name }) => name))
      }
      const remove = (session: Session, text: string) => {
        twin.unsubscribe(session, parseFilter(text))
        expect(tree.unsubscribe(session, parseFilter(text))).toBe(naive.unsubscribe(session, text))
      }
      for (const step of steps) {
        if (step.do === 'subscribe') {
          twin.subscribe(step.session, parseFilter(step.text), step.grant)
          expect(tree.subscribe(step.session, parseFilter(step.text), step.grant)).toBe(
            naive.subscribe(step.session, step.text, step.grant),
          )
        } else if (step.do === 'unsubscribe') remove(step.session, step.text)
        else if (step.do === 'drop') {
          const held = [...naive.held.values()][step.which]
          if (held) remove(held.session, held.text)
        } else seen.add(table.named(step.topic))
        // Every topic, after every change: a route that should have been forgotten shows at once.
        for (const topic of seen) check(topic)
        expect(tree.size).toBe(naive.held.size)
        expect([...interests].sort()).toEqual([...naive.held.keys()].sort())
      }
      for (const { session, text } of [...naive.held.values()]) remove(session, text)
      expect([tree.size, tree.nodes, tree.levels, interests.size]).toEqual([0, 0, 0, 0])
    }),
    { numRuns: 250 },
  )
})

test('a cached match is the same object until a subscription that touches it changes', () => {
  const tree = new SubscriptionTree<Session>()
  const [one, two] = sessions as [Session, Session]
  const topic = new TopicTable().named('site/1/temp')
  tree.subscribe(one, parseFilter('site/+/temp'), plain)
  const { deliveries } = tree.match(topic)
  tree.subscribe(two, parseFilter('site/+/level'), plain)
  tree.subscribe(one, parseFilter('site/+/temp'), { ...plain })
  expect(tree.match(topic).deliveries).toBe(deliveries)
  tree.subscribe(two, parseFilter('site/1/#'), plain)
  expect(new Set(tree.match(topic).deliveries.map(({ subscriber }) => subscriber))).toEqual(new Set([one, two]))
  expect(deliveries.length, 'an array that was handed out').toBe(1)
  tree.subscribe(two, parseFilter('site/1/#'), { ...plain, qos: 2 })
  expect(tree.match(topic).deliveries.find(({ subscriber }) => subscriber === two)?.qos).toBe(2)
})

test('a storm of subscribes under other topics leaves hot routes alone', () => {
  const tree = new SubscriptionTree<Session>()
  const [one, two] = sessions as [Session, Session]
  const table = new TopicTable()
  for (let i = 0; i < 100; i++) tree.subscribe(one, parseFilter(`site/+/device/${i}/#`), plain)
  const hot = Array.from({ length: 100 }, (_, i) => table.named(`site/7/device/${i}/temp`))
  const before = hot.map((topic) => tree.match(topic).deliveries)
  for (let i = 100; i < 400; i++) {
    tree.subscribe(two, parseFilter(`site/+/device/${i}/#`), plain)
    tree.subscribe(two, parseFilter(`site/7/device/${i}/temp`), plain)
  }
  const kept = hot.filter((topic, i) => tree.match(topic).deliveries === before[i]).length
  expect(kept).toBeGreaterThan(95)
})

test('two trees may route one topic, and a topic may change its tree', () => {
  const [one, two] = sessions as [Session, Session]
  const topic = new TopicTable().named('a')
  const trees = [new SubscriptionTree<Session>(), new SubscriptionTree<Session>()] as const
  trees[0].subscribe(one, parseFilter('a'), plain)
  trees[1].subscribe(two, parseFilter('a'), plain)
  for (let round = 0; round < 3; round++) {
    expect(trees[0].match(topic).deliveries[0]?.subscriber).toBe(one)
    expect(trees[1].match(topic).deliveries[0]?.subscriber).toBe(two)
  }
})

test('a thousand overlapping filters of one session are one delivery', () => {
  const tree = new SubscriptionTree<Session>()
  const [one] = sessions as [Session]
  for (let bits = 0; bits < 1024; bits++) {
    const filter = Array.from({ length: 10 }, (_, i) => (bits & (1 << i) ? '+' : 'a')).join('/')
    tree.subscribe(one, parseFilter(filter), { ...plain, subscriptionId: bits + 1 })
  }
  const { deliveries } = tree.match(new TopicTable().named('a/a/a/a/a/a/a/a/a/a'))
  expect(deliveries.length).toBe(1)
  expect(deliveries[0]?.subscriptionIds?.length).toBe(1024)
})

test('routes to very many are forgotten, oldest first, and found again', () => {
  const tree = new SubscriptionTree<Session>()
  const crowd = Array.from({ length: 20_000 }, (_, i) => ({ name: `c${i}`, online: true, room: 1, mayReceive }))
  for (const session of crowd) tree.subscribe(session, parseFilter('#'), plain)
  const table = new TopicTable()
  const topics = Array.from({ length: 60 }, (_, i) => table.named(`t/${i}`))
  const routes = topics.map((topic) => tree.match(topic))
  const held = routes.reduce((sum, route) => sum + route.deliveries.length, 0)
  expect(held).toBe(1_000_000)
  for (const topic of topics) expect(tree.match(topic).deliveries.length).toBe(20_000)
})

test('tables grow, shrink and reuse their room', () => {
  const tree = new SubscriptionTree<Session>()
  const [one] = sessions as [Session]
  const table = new TopicTable()
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 20_000; i++) tree.subscribe(one, parseFilter(`device-number-${i}/${i % 7}`), plain)
    for (let i = 0; i < 20_000; i += 97)
      expect(tree.match(table.named(`device-number-${i}/${i % 7}`)).deliveries.length).toBe(1)
    expect(tree.nodes).toBe(40_000)
    for (let i = 0; i < 20_000; i++)
      expect(tree.unsubscribe(one, parseFilter(`device-number-${i}/${i % 7}`))).toBe(true)
    expect(tree.nodes).toBe(0)
    expect(tree.bytes).toBeLessThan(200_000)
  }
})

test('a seat is given up with the last subscription, and given to the next subscriber', () => {
  const seats = new Seats<Session>()
  const [one, two] = sessions as [Session, Session]
  const seat = seats.take(one)
  expect(seats.take(one)).toBe(seat)
  seats.leave(seat)
  expect(seats.of(one)).toBe(seat)
  seats.leave(seat)
  expect([seats.of(one), seats.at(seat.number)]).toEqual([undefined, undefined])
  expect(seats.take(two).number).toBe(seat.number)
})
