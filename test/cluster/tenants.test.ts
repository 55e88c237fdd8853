import { expect, test } from 'vitest'
import { sessionKey } from '../../src/sessions/client-key.ts'
import { City } from './cluster-kit.ts'
import type { TestClient } from './client.ts'

// Tenants on two nodes: what one publishes reaches its own, wherever they are, and nobody else.

const users = ['ann@north', 'ann@south', 'ann']
const lasting = { clean: false, expirySeconds: 10_000 }

/** What it has heard since somebody asked: topic=text. */
function heard(client: TestClient): string[] {
  return client.came.splice(0).map(({ topic, text }) => `${topic}=${text}`)
}

for (const stores of ['disk', 'memory'] as const)
  test(`live, shared, retained, queued, wills; a session moves, and its client comes back: ${stores}`, () => {
    const city = new City(['a', 'b'], { logIns: true, stores })
    const keyOf = (user: string) => sessionKey(user.split('@')[1], undefined, 's')
    const each = (node: string, id: string, more = {}) =>
      users.map((username) => city.client(node, id, { username, ...more }))
    const publishers = each('a', 'p')
    const publish = (topic: string, more: { retain?: boolean } = {}) => {
      for (const [at, publisher] of publishers.entries()) {
        const id = publisher.publish(topic, users[at]!, 1, more)
        city.until(() => publisher.hasAck(id))
      }
      city.run(100)
    }
    const own = (topic: string) => users.map((user) => [`${topic}=${user}`])
    const kept = each('b', 's', lasting)
    for (const client of kept) city.subscribe(client, 'plant/#')
    const shared = each('b', 'g')
    for (const client of shared) city.subscribe(client, '$share/g/plant/+')

    publish('plant/1')
    expect([kept.map(heard), shared.map(heard)]).toEqual([own('plant/1'), own('plant/1')])

    publish('plant/kept', { retain: true })
    kept.map(heard)
    const late = each('b', 'late')
    for (const client of late) city.subscribe(client, '#')
    city.run(100)
    expect(late.map(heard)).toEqual(own('plant/kept'))

    for (const client of kept) client.disconnect()
    publish('plant/2')
    const moved = each('a', 's', { ...lasting, will: { topic: 'plant/will', payload: 'gone' } })
    city.run(100)
    expect(moved.map(({ present }) => present)).toEqual([true, true, true])
    expect(moved.map(heard)).toEqual(own('plant/2'))
    const [here, there] = [city.machine('a').broker, city.machine('b').broker]
    for (const user of users) {
      expect(there.sessions.get(keyOf(user))).toBeUndefined()
      expect([...here.sessions.get(keyOf(user))!.subscriptions.keys()]).toHaveLength(1)
    }
    const countsOf = (broker: typeof here, name: string) => {
      const { connections, sessions, subscriptions, root } = broker.tenants.get(name)
      return [connections, sessions, subscriptions, broker.retained.volume(root.text).messages]
    }
    for (const name of ['north', 'south']) {
      expect(countsOf(here, name)).toEqual([2, 2, 1, 1])
      expect(countsOf(there, name)).toEqual([2, 2, 2, 1])
    }

    late.map(heard)
    moved[0]!.drop()
    city.run(100)
    expect(late.map(heard)).toEqual([['plant/will=gone'], [], []])
    city.audit()
  })
