import { describe, expect, test } from 'vitest'
import { clusterControl } from '../../src/admin/cluster-control.ts'
import { type ClusterControl, Refusal, type Verified } from '../../src/admin/control.ts'
import { City } from '../cluster/cluster-kit.ts'

// What the admin API says of whole nodes, on one thread.

function controlOf(city: City, name: string): { control: ClusterControl; left: () => boolean } {
  const { cluster, broker } = city.machine(name)
  let left = false
  const control = clusterControl({
    cluster,
    clusterId: 'city',
    sessions: broker.sessions,
    left: () => (left = true),
  })
  return { control, left: () => left }
}

function refusal(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (fault) {
    if (fault instanceof Refusal) return fault.code
    throw fault
  }
}

/** The promise's value, once the city has lived on. */
async function after<T>(city: City, promise: Promise<T>): Promise<T> {
  city.run(5000)
  return promise
}

describe('three nodes', () => {
  test('status: ourselves first, then by name, and what waits for whom', () => {
    const city = new City(['b', 'c', 'a'])
    const { control } = controlOf(city, 'b')
    city.keeper('c', 'keeper', 'demo/#')
    city.subscribe(city.client('c', 'passing'), 'passing')
    city.fall('c')
    city.until(() => city.node('b').members.state('c') === 'dead')
    const publisher = city.client('b', 'publisher')
    city.publish(publisher, 'demo/a', ['1', '2'])
    city.publish(publisher, 'passing', ['nobody gets it'])
    const { nodes, ...rest } = control.status()
    expect(rest).toEqual({
      ...{ clusterId: 'city', state: 'serving', clients: 1, sessions: 1, evicted: 0, unserved: 0 },
      ...{ merged: { sessions: 0, messages: 0 }, lost: { offline: 1 } },
    })
    expect(nodes.map(({ node, state }) => `${node} ${state}`)).toEqual(['b self', 'a alive', 'c dead'])
    expect(nodes[2]).toMatchObject({ queueMessages: 2, handoff: true, version: 0 })
  })

  test('status of a node that was given up while it was cut off: evicted, until it is started again', () => {
    const city = new City(['a', 'b'])
    city.part(['a'], ['b'])
    city.until(() => city.node('a').members.state('b') === 'dead', 20_000)
    controlOf(city, 'a').control.evict('b')
    expect(controlOf(city, 'b').control.status().state).toBe('serving')
    city.heal()
    city.until(() => controlOf(city, 'b').control.status().state === 'evicted', 20_000)
    city.fall('b')
    city.rise('b')
    city.until(() => [...city.node('a').live()].includes('b'), 20_000)
    expect(controlOf(city, 'b').control.status().state).toBe('serving')
  })

  test('status: sessions that were merged, and their messages', () => {
    const city = new City(['a', 'b'], { settings: { absentOwner: 'fresh' } })
    city.keeper('b', 'keeper', 'demo/#').disconnect()
    city.publish(city.client('a', 'publisher'), 'demo/a', ['1', '2', '3'])
    city.run(500)
    city.fall('b')
    city.until(() => city.node('a').members.state('b') === 'dead')
    city.client('a', 'keeper', { clean: false, expirySeconds: 1000 })
    city.rise('b')
    city.run(5000)
    expect(controlOf(city, 'a').control.status().merged).toEqual({ sessions: 1, messages: 3 })
    expect(controlOf(city, 'b').control.status().merged).toEqual({ sessions: 0, messages: 0 })
  })

  test('routes: one table for each node, and all have the same', async () => {
    const city = new City(['a', 'b', 'c'])
    for (const node of ['a', 'b'] as const) city.keeper(node, `keeper ${node}`, `demo/${node}`)
    city.run(1000)
    const { control } = controlOf(city, 'b')
    const tables = control.routes()
    expect(tables.map(({ node }) => node)).toEqual(['b', 'a', 'c'])
    const other = controlOf(city, 'c').control.routes()
    const sorted = (rows: typeof tables) => [...rows].sort((left, right) => (left.node < right.node ? -1 : 1))
    expect(sorted(other)).toEqual(sorted(tables))
    expect(tables[0]!.entries).toBeGreaterThan(0)
    const verified: Verified = { asked: ['a', 'c'], silent: [], differences: [] }
    const { asked, ...rest } = await after(city, control.verify())
    expect({ asked: [...asked].sort(), ...rest }).toEqual(verified)
  })

  test('verify: who cannot be asked is named', async () => {
    const city = new City(['a', 'b', 'c'])
    city.part(['a'], ['c'])
    const { asked, silent } = await after(city, controlOf(city, 'a').control.verify())
    expect([asked, silent]).toEqual([['b'], ['c']])
  })

  test('evict: only who is gone', () => {
    const city = new City(['a', 'b', 'c'])
    const { control } = controlOf(city, 'a')
    city.keeper('c', 'keeper', 'demo/#')
    expect(['a', 'b', 'nobody'].map((node) => refusal(() => control.evict(node)))).toEqual([
      'not-possible',
      'not-possible',
      'no-such-node',
    ])
    city.fall('c')
    city.until(() => city.node('a').members.state('c') === 'dead')
    city.publish(city.client('a', 'publisher'), 'demo/a', ['1', '2', '3'])
    const lost = control.evict('c')
    expect(lost.messages).toBe(3)
    expect(lost.bytes).toBeGreaterThan(0)
    city.run(1000)
    for (const name of ['a', 'b'])
      expect(
        controlOf(city, name)
          .control.status()
          .nodes.map(({ node }) => node),
      ).not.toContain('c')
  })

  test('leave: sessions that wait for their clients stay behind, and the others know that it has left', async () => {
    const city = new City(['a', 'b', 'c'])
    const { control, left } = controlOf(city, 'c')
    expect(control.leftBehind()).toEqual({ sessions: 0, messages: 0, waiting: [] })
    city.client('c', 'passing')
    const keeper = city.keeper('c', 'keeper', 'demo/#')
    keeper.drop()
    city.publish(city.client('a', 'publisher'), 'demo/a', ['1', '2'])
    expect(control.leftBehind()).toEqual({ sessions: 1, messages: 2, waiting: [] })
    await control.leave()
    expect([left(), control.status().state]).toEqual([true, 'left'])
    city.run(1000)
    for (const name of ['a', 'b']) expect(city.node(name).members.state('c')).toBe('left')
  })

  test('leave: what is written down for a node that is away stays behind, although no session does', () => {
    const city = new City(['a', 'b', 'c'])
    city.keeper('c', 'keeper', 'demo/#').disconnect()
    city.fall('c')
    city.until(() => city.node('a').members.state('c') === 'dead')
    city.publish(city.client('a', 'publisher'), 'demo/a', ['1', '2'])
    const { control } = controlOf(city, 'a')
    expect(control.leftBehind()).toEqual({ sessions: 0, messages: 0, waiting: [{ node: 'c', messages: 2 }] })
    city.rise('c')
    city.run(5000)
    expect(control.leftBehind().waiting).toEqual([])
  })
})
