import { expect, test } from 'vitest'
import { OwnInterest, RemoteGroup } from '../../src/cluster/interest.ts'
import { parseFilter } from '../../src/mqtt/topic.ts'
import type { Session } from '../../src/sessions/session.ts'
import { Dice } from '../sim/dice.ts'

const filters = ['t', 't/#', 'u', '$share/g/t', '$share/h/t', '$SYS/#', '$share/g/$SYS/x']

/** What the table must say of a filter, counted anew. */
function expected(sessions: readonly { persistent: boolean; subscriptions: ReadonlySet<string> }[]) {
  const table = new Map<string, number>()
  const put = (key: string, value: number) => void (value > 0 && table.set(key, value))
  const weight = (count: number) => [0, 1, 2, 2, 4, 4, 4, 4, 8][count]!
  for (const text of filters) {
    const { filter, group } = parseFilter(text)
    if (filter.startsWith('$SYS/')) continue
    const all = sessions.filter(({ subscriptions }) => subscriptions.has(text))
    const lasting = all.filter(({ persistent }) => persistent)
    if (group === undefined) put(`f${filter}`, (all.length > 0 ? 1 : 0) + (lasting.length > 0 ? 2 : 0))
    else {
      put(`g${group}/${filter}`, weight(all.length))
      put(`p${group}/${filter}`, weight(lasting.length))
    }
  }
  return table
}

test('filters are counted here, and told when that makes a difference: the table is what a count anew gives', () => {
  for (let seed = 0; seed < 30; seed++) {
    const dice = new Dice(seed)
    const table = new Map<string, number>()
    let told = 0
    const own = new OwnInterest({
      set(key, value) {
        expect(table.get(key) ?? 0, `${key} is told anew`).not.toBe(value)
        told++
        if (value === 0) table.delete(key)
        else table.set(key, value)
      },
    })
    const sessions = Array.from({ length: 8 }, () => ({
      persistent: dice.chance(0.5),
      subscriptions: new Set<string>(),
    }))
    const changes = 300
    for (let change = 0; change < changes; change++) {
      const session = dice.pick(sessions)
      if (dice.chance(0.2)) {
        session.persistent = !session.persistent
        const subscriptions = new Map([...session.subscriptions].map((filter) => [filter, 0]))
        own.persistence({ persistent: session.persistent, subscriptions } as unknown as Session)
      } else {
        const filter = dice.pick(filters)
        const present = !session.subscriptions.delete(filter)
        if (present) session.subscriptions.add(filter)
        own.changed(parseFilter(filter), session.persistent, present)
      }
      expect(table).toEqual(expected(sessions))
    }
    expect(told).toBeLessThan(changes)
  }
})

test('a filter that many have is told twice: with the first, and with the last', () => {
  const told: [string, number][] = []
  const own = new OwnInterest({ set: (key, value) => told.push([key, value]) })
  for (const present of [true, false]) for (let i = 0; i < 1000; i++) own.changed(parseFilter('t/#'), false, present)
  expect(told).toEqual([
    ['ft/#', 1],
    ['ft/#', 0],
  ])
})

test('nodes of a group take turns, each as often as its weight says', () => {
  const group = new RemoteGroup<string>()
  for (const [node, weight] of [
    ['b', 4],
    ['c', 1],
    ['d', 2],
  ] as const)
    group.set(node, 'any', weight)
  const picked = (without = '') => {
    const turns = new Map<string, number>()
    for (let i = 0; i < 70; i++) {
      const node = group.pick((name, { any }) => (name === without ? 0 : any))!
      turns.set(node, (turns.get(node) ?? 0) + 1)
    }
    return Object.fromEntries(turns)
  }
  expect(picked()).toEqual({ b: 40, c: 10, d: 20 })
  const { b = 0, d = 0, ...others } = picked('c')
  expect([b + d, others, Math.abs(b - 2 * d) < 6]).toEqual([70, {}, true])
  group.set('b', 'any', 0)
  expect(Object.keys(picked()).sort()).toEqual(['c', 'd'])
})
