import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Topic, type TopicFilter } from '../../src/mqtt/topic.ts'
import type { Grant, Member } from '../../src/routing/delivery.ts'
import { SharedGroup } from '../../src/routing/shared.ts'

interface Fake extends Member {
  id: number
  online: boolean
  room: number
  barred: boolean
}
const topic = new Topic('a/b', Buffer.from('a/b'))
const grant: Grant = { qos: 1, noLocal: false, retainAsPublished: true, subscriptionId: 7 }
const group = (...members: Fake[]): SharedGroup<Fake> => {
  const made = new SharedGroup<Fake>('g', 'a/+' as TopicFilter)
  for (const member of members) made.join(member, grant)
  return made
}
const fake = (id: number, room: number, online: boolean): Fake => ({
  ...{ id, online, room, barred: false },
  mayReceive(asked) {
    expect(asked).toBe(topic)
    return !this.barred
  },
})
const online = (id: number, room = 10): Fake => fake(id, room, true)
const offline = (id: number, room = 10): Fake => fake(id, room, false)
const barred = (id: number): Fake => ({ ...online(id, 100), barred: true })
const crowd = (count: number, make: (id: number) => Fake) => Array.from({ length: count }, (_, id) => make(id))
function picks(from: SharedGroup<Fake>, count: number): Map<number | undefined, number> {
  const counts = new Map<number | undefined, number>()
  for (let i = 0; i < count; i++) {
    const id = from.pick(topic)?.subscriber.id
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return counts
}

test('a pick carries the grant, and is the same object each time', () => {
  const one = group(online(1))
  const { qos, retainAsPublished, subscriptionIds, own } = one.pick(topic)!
  expect({ qos, retainAsPublished, subscriptionIds }).toEqual({ qos: 1, retainAsPublished: true, subscriptionIds: [7] })
  expect(own).toBe(one.pick(topic))
  expect([one.group, one.filter, one.members]).toEqual(['g', 'a/+', 1])
})

for (const count of [1, 2, 3, 8, 9, 50])
  test(`${count} members with equal room take turns`, () => {
    for (const make of [online, offline])
      expect([...picks(group(...crowd(count, make)), count * 20).values()]).toEqual(Array(count).fill(20))
  })

for (const [what, members, expected] of [
  ['the most room', [online(1, 5), online(2, 9), online(3, 8)], 2],
  ['an online one before an offline one with more room', [offline(1, 100), online(2, 0), offline(3, 100)], 2],
  ['the only online one, however far', [...crowd(500, (id) => offline(1000 + id, 100)), online(1, 0)], 1],
  [
    'the offline one with the most room when none is online',
    [...crowd(20, (id) => offline(100 + id)), offline(1, 11)],
    1,
  ],
  ['nobody from nobody', [], undefined],
  ['who may receive it, however far', [...crowd(20, barred), offline(30, 0)], 30],
  ['nobody when none may receive it', crowd(20, barred), undefined],
] as const)
  test(`picks ${what}`, () => {
    expect([...picks(group(...members), 10).keys()]).toEqual([expected])
  })

test('never picks the one that is excepted', () => {
  const [one, two] = [online(1, 100), online(2)]
  const both = group(one, two)
  for (let i = 0; i < 5; i++) expect(both.pick(topic, one)?.subscriber).toBe(two)
  expect(group(one).pick(topic, one)).toBeUndefined()
  expect(group(one, offline(3)).pick(topic, one)?.subscriber.id).toBe(3)
})

test('a worker that is slow gets less: load follows room', () => {
  const workers = crowd(4, (id) => online(id, 10))
  const four = group(...workers)
  // Worker 0 never acknowledges; the others are done at once.
  for (let i = 0; i < 100; i++) {
    const { subscriber } = four.pick(topic)!
    if (subscriber.id === 0) subscriber.room--
  }
  expect(workers[0]!.room).toBe(9)
})

test('any sequence of join, leave and pick picks a member, an online one if there is one', () => {
  const step = fc.tuple(fc.constantFrom('join', 'leave', 'toggle', 'bar', 'pick'), fc.nat(19))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100, size: 'max' }), (steps) => {
      const all = crowd(20, (id) => (id % 2 ? online(id) : offline(id)))
      const members = new Set<Fake>()
      const tested = group()
      for (const [what, id] of steps) {
        const fake = all[id]!
        if (what === 'join') {
          expect(tested.join(fake, grant)).toBe(members.has(fake))
          members.add(fake)
        } else if (what === 'leave') expect(tested.leave(fake)).toBe(members.delete(fake))
        else if (what === 'toggle') fake.online = !fake.online
        else if (what === 'bar') fake.barred = !fake.barred
        else {
          const picked = tested.pick(topic, fake)?.subscriber
          const others = [...members].filter((member) => member !== fake && !member.barred)
          if (others.length === 0) expect(picked).toBeUndefined()
          else expect(others).toContain(picked)
          if (others.some((other) => other.online)) expect(picked?.online).toBe(true)
        }
        expect(tested.members).toBe(members.size)
      }
    }),
  )
})
