import { expect, test } from 'vitest'
import { City } from './cluster-kit.ts'

// Row 11 across nodes: a session is its user's, wherever it is.

const lasting = { clean: false, expirySeconds: 10_000 }
const anna = { ...lasting, username: 'anna' }
const eve = { ...lasting, username: 'eve' }

test.each([
  ['resumed', eve],
  ['clean', { username: 'eve', clean: true }],
  ['3.1.1', { ...eve, version: 4 as const }],
])('abuse 11: another user on another node, %s: refused, and the one that is there stays online', (_, wish) => {
  const city = new City(['a', 'b'], { logIns: true })
  const owner = city.client('a', 's', anna)
  city.subscribe(owner, 't')
  const thief = city.dial('b', 's', wish)
  city.until(() => thief.state === 'closed')
  expect(thief.reason).toBe('version' in wish ? 2 : 0x85)
  city.run(100)
  expect(owner.state).toBe('connected')
  const publisher = city.client('b', 'p', { username: 'eve' })
  city.publish(publisher, 't', ['hers'])
  city.until(() => owner.came.length === 1)
  city.audit()
})

test('abuse 11: offline, and with its queue; its user has it wherever she comes', () => {
  const city = new City(['a', 'b'], { logIns: true })
  const owner = city.client('a', 's', anna)
  city.subscribe(owner, 't')
  owner.disconnect()
  const publisher = city.client('b', 'p', { username: 'eve' })
  city.publish(publisher, 't', ['hers'])
  const thief = city.dial('b', 's', eve)
  city.until(() => thief.state === 'closed')
  expect([thief.reason, thief.came]).toEqual([0x85, []])
  const back = city.client('b', 's', anna)
  city.until(() => back.came.length === 1)
  expect([back.present, back.texts]).toEqual([true, ['hers']])
  city.audit()
})

test('abuse 11: sessions of two users that were begun apart are not made one', () => {
  const city = new City(['a', 'b', 'c'], { logIns: true, settings: { absentOwner: 'fresh' } })
  const owner = city.client('a', 's', anna)
  city.subscribe(owner, 't')
  owner.disconnect()
  const publisher = city.client('a', 'p', { username: 'anna' })
  city.publish(publisher, 't', ['hers'])
  city.part(['a'], ['b', 'c'])
  city.run(30_000)
  const other = city.client('b', 's', eve)
  expect(other.present).toBe(false)
  city.heal()
  city.run(30_000)
  expect(other.came).toEqual([])
})

test('abuse 11: what comes late for a session that is over is not for the other user who has its id now', () => {
  const city = new City(['a', 'b', 'c'], { logIns: true })
  const owner = city.client('b', 's', anna)
  city.subscribe(owner, 't')
  owner.disconnect()
  const publisher = city.client('a', 'p', { username: 'anna' })
  city.part(['a'], ['b'])
  city.until(() => !city.node('a').links.version('b') && !city.node('b').links.version('a'))
  city.run(3000)
  city.publish(publisher, 't', ['hers'])
  const moved = city.client('c', 's', anna)
  moved.disconnect()
  city.run(20_000)
  city.part(['b'], ['a', 'c'])
  city.run(3000)
  city.client('c', 's', { username: 'anna', clean: true, expirySeconds: 0 }).disconnect()
  const other = city.client('c', 's', eve)
  city.subscribe(other, 'u')
  city.heal()
  city.run(30_000)
  expect(other.came).toEqual([])
  city.publish(publisher, 'u', ['his'])
  city.until(() => other.came.length === 1)
})
