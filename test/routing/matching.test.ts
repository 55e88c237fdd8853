import { expect, test } from 'vitest'
import { parseFilter, TopicTable } from '../../src/mqtt/topic.ts'
import type { Grant } from '../../src/routing/delivery.ts'
import { SubscriptionTree } from '../../src/routing/tree.ts'
import { naiveMatches } from './naive.ts'

const grant: Grant = { qos: 0, noLocal: false, retainAsPublished: false, subscriptionId: 0 }
const topics = new TopicTable()

// MQTT 5.0, section 4.7: its own examples first, then the corners.
const rules = [
  ['sport/tennis/player1/#', 'sport/tennis/player1', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
  ['sport/#', 'sport', true],
  ['#', 'sport/tennis', true],
  ['#', '/', true],
  ['sport/tennis/+', 'sport/tennis/player1', true],
  ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
  ['sport/+', 'sport', false],
  ['sport/+', 'sport/', true],
  ['+', 'sport', true],
  ['+/tennis/#', 'sport/tennis', true],
  ['+/+', '/finance', true],
  ['/+', '/finance', true],
  ['+', '/finance', false],
  ['#', '$SYS/broker', false],
  ['+/monitor/Clients', '$SYS/monitor/Clients', false],
  ['$SYS/#', '$SYS/monitor/Clients', true],
  ['$SYS/#', '$SYS', true],
  ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
  ['+', '$', false],
  ['+/$x', 'a/$x', true],
  ['a/#', 'a/$x', true],
  ['ACCOUNTS', 'Accounts', false],
  ['a', 'a/', false],
  ['a/', 'a', false],
  ['a//b', 'a//b', true],
  ['a//b', 'a/b', false],
  ['a/+/b', 'a//b', true],
  ['+/+/+', '//', true],
  ['/#', '/', true],
  ['/#', 'a', false],
  ['a b', 'a b', true],
  // U+00E9 and "e" with U+0301 look the same; nothing is normalised.
  ['caf\u00e9', 'cafe\u0301', false],
  ['__proto__/+', '__proto__/x', true],
  ['constructor', 'constructor', true],
  ['+/+', '__proto__/constructor', true],
] as const

for (const [filter, name, expected] of rules)
  test(`"${filter}" ${expected ? 'matches' : 'does not match'} "${name}"`, () => {
    const tree = new SubscriptionTree()
    const session = { online: true, room: 1, mayReceive: () => true }
    tree.subscribe(session, parseFilter(filter), grant)
    tree.subscribe(session, parseFilter(`$share/g/${filter}`), grant)
    const match = tree.match(topics.named(name))
    expect(match.deliveries.map((delivery) => delivery.subscriber)).toEqual(expected ? [session] : [])
    expect(match.groups.length).toBe(expected ? 1 : 0)
    expect(naiveMatches(filter, name), 'the naive matcher of the model tests').toBe(expected)
  })

test('a hundred levels, and a level of 60,000 bytes', () => {
  const tree = new SubscriptionTree()
  const session = { online: true, room: 1, mayReceive: () => true }
  const deep = Array.from({ length: 100 }, (_, i) => `l${i}`).join('/')
  const long = `x/${'y'.repeat(60_000)}`
  for (const filter of [deep, '+/'.repeat(99) + '+', long]) tree.subscribe(session, parseFilter(filter), grant)
  expect(tree.match(topics.named(deep)).deliveries.length).toBe(1)
  expect(tree.match(topics.named(long)).deliveries.length).toBe(1)
  expect(tree.match(topics.named(`${long}y`)).deliveries.length).toBe(0)
  for (const filter of [deep, '+/'.repeat(99) + '+', long])
    expect(tree.unsubscribe(session, parseFilter(filter))).toBe(true)
  expect([tree.size, tree.nodes]).toEqual([0, 0])
})
