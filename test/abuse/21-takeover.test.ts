import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import type { Hooks } from '../../src/access/hooks.ts'
import { join, settle } from '../standard/kit.ts'
import { block, bytes, connect, only5, packet, u16, u32, type Version, versions } from '../standard/wire.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { HandBroker } from '../support/hand.ts'
import { SeededRandom } from '../support/random.ts'
import { RawClient } from '../support/raw.ts'
import { honest, Peer } from './kit.ts'

setFlagsFromString('--expose_gc')
const collect = runInNewContext('gc') as () => void

describe('abuse 21: takeover races', () => {
  // Clients that are let in at once, in the order in which they came, or later and in any order.
  for (const [name, later] of [
    ['let in at once', false],
    ['let in by a hook that answers in any order', true],
  ] as const)
    test(`10,000 clients of one id that subscribe, publish and leave in between, ${name}: one owner, no leak`, async () => {
      const random = new SeededRandom(21)
      const unanswered: (() => void)[] = []
      const answer = () => unanswered.splice(random.below(unanswered.length), 1)[0]?.()
      let storm = true
      const authenticate = () => (storm ? new Promise<void>((resolve) => void unanswered.push(resolve)) : undefined)
      const hooks: Hooks = later ? { authenticate } : {}
      const broker = await startBroker({ hooks })
      const { broker: core } = broker.node
      const peers: Peer[] = []
      let connection = core.accept(new Peer())
      connection.closed()
      for (let count = 0; count < 10_000; count++) {
        const peer = new Peer()
        peers.push(peer)
        const before = connection
        connection = core.accept(peer)
        const version = random.pick(versions)
        connection.data(bytes(came(version, random), ...doings(version, random)))
        // The one before it does not know yet that it is over.
        if (before.state !== 'closed' && random.once(2)) before.data(bytes(...doings(before.version, random)))
        if (random.once(10)) {
          connection.closed()
          peer.ended = true
        }
        while (unanswered.length > random.below(8)) answer()
        if (random.once(50)) await turn()
        expect(core.sessions.online).toBeLessThanOrEqual(1)
        expect(core.sessions.size).toBeLessThanOrEqual(1)
      }
      while (unanswered.length > 0) {
        answer()
        await turn()
      }
      await turn()
      // Who is there came last of those that were let in; all others were told to go, or have gone.
      const there = core.sessions.get('one')?.connection
      const alive = there === undefined ? 0 : 1
      expect([core.connections, core.sessions.online]).toEqual([alive, alive])
      expect(peers.filter(({ ended }) => !ended)).toHaveLength(alive)
      expectWhole(broker)
      storm = false
      // And the next one finds everything in order.
      const last = await join(broker, 'one', 5, { clean: true })
      expect([core.connections, core.sessions.online, core.sessions.size, core.tree.size]).toEqual([1, 1, 1, 0])
      if (there) expect(there.state).toBe('closed')
      await last.subscribe('t', 0)
      last.publish('t', 'x')
      expect(await last.expect('publish')).toMatchObject({ topic: 't' })
      await last.expectQuiet()
      expect(broker.log.filter(({ level }) => level === 'error')).toEqual([])
    })

  test('nothing holds a connection that is over', async () => {
    const hand = new HandBroker()
    const come = (clientId: string) => new WeakRef(hand.client(clientId, { keepalive: 60, clean: false }).connection)
    const over = Array.from({ length: 100 }, () => come('one'))
    const there = come('one')
    await turn()
    collect()
    expect(over.filter((connection) => connection.deref() !== undefined)).toHaveLength(0)
    expect(there.deref()?.state).toBe('connected')
  })

  for (const version of versions)
    test(`version ${version}: over sockets, whoever came last is there, and is alone`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      const all = await Promise.all(
        Array.from({ length: 200 }, async () => {
          const client = await RawClient.open(broker, version)
          return client.bytes(bytes(connect(version, { payload: ['one'] }), subscribe(version, 't/#')))
        }),
      )
      // Each that was let in has its CONNACK; all but one are sent away.
      await Promise.all(all.map((client) => client.expect('connack')))
      const last = await join(broker, 'one', version)
      await Promise.all(all.map((client) => gone(client)))
      expect(broker.node.broker.connections).toBe(3)
      expectWhole(broker)
      await last.subscribe('t/#', 1)
      last.publish('t/x', 'x')
      await last.expect('publish')
      await settle(last)
      await others.served()
    })
})

/** Reads what still comes, up to the end. */
async function gone(client: RawClient): Promise<void> {
  while (!(client.closed && client.packets.length === 0)) await client.next().catch(() => {})
}

/** The tree has just what the sessions have. */
function expectWhole({ node: { broker } }: TestBroker): void {
  const held = [...broker.sessions.values()].reduce((sum, { subscriptions }) => sum + subscriptions.size, 0)
  expect(broker.tree.size).toBe(held)
}

function came(version: Version, random: SeededRandom): Buffer {
  const clean = random.once(3) ? 2 : 0
  const expiry = block(0x11, u32(random.once(2) ? 3600 : 0))
  return connect(version, { flags: clean, payload: ['one'], ...(version === 5 && { properties: expiry }) })
}

/** What a client does right behind CONNECT, or does not. */
function doings(version: Version, random: SeededRandom): Buffer[] {
  const filter = `t/${random.below(20)}`
  const all = [
    subscribe(version, filter),
    subscribe(version, `$share/g/${filter}`),
    packet(0xa2, u16(2), only5(version), filter),
    packet(0x32, filter, u16(1), only5(version), 'x'),
    packet(0x34, filter, u16(2), only5(version), 'x'),
    packet(0xe0),
  ]
  return all.filter(() => random.once(4))
}

function subscribe(version: Version, filter: string): Buffer {
  return packet(0x82, u16(1), only5(version), filter, 1)
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
