import { expect, test } from 'vitest'
import type { Limits } from '../../src/broker/limits.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient, type Transport } from '../support/raw.ts'
import { covers } from './covering.ts'
import { hasten, hears, join, settle } from './kit.ts'
import {
  block,
  bytes,
  connect,
  departures,
  hex,
  only5,
  packet,
  propertiesOf,
  transports,
  u16,
  u32,
  type Version,
  versions,
} from './wire.ts'

// Sections 4.1, 3.1.2.4, 3.1.2.11.2 and 3.1.4: sessions, their expiry, and who holds one.

const never = 0xffff_ffff

interface Wish {
  readonly clean?: boolean
  /** v5; a session is kept if not given. 3.x: `clean` says it all. */
  readonly expirySeconds?: number
  readonly id?: string
  readonly transport?: Transport
}

/** Connects, and gives what CONNACK says of the session. */
async function enter(broker: TestBroker, version: Version, wish: Wish = {}) {
  const { clean = false, expirySeconds = 3600, id = 'c', transport = 'tcp' } = wish
  const client = await RawClient.open(broker, version, transport)
  const properties = block(0x11, u32(expirySeconds))
  const connack = await client
    .bytes(connect(version, { flags: clean ? 2 : 0, properties, payload: [id] }))
    .expect('connack')
  return { client, present: connack.raw[2] === 1, properties: propertiesOf(connack), code: connack.raw[3] }
}

/** A broker, and a client's way to leave it that ends when the broker has seen it. */
async function start(limits: Partial<Limits> = {}) {
  const departed = departures()
  const broker = await startBroker({ limits, observer: departed.observer })
  const leave = async (client: RawClient, how: 'drop' | 'disconnect' = 'drop', id = 'c', expirySeconds?: number) => {
    if (how === 'drop') await client.drop()
    else await client.disconnect(0, expirySeconds === undefined ? {} : { sessionExpiryInterval: expirySeconds })
    await departed.of(id)
  }
  return { broker, leave }
}

for (const transport of transports)
  covers(
    [
      '5:MQTT-3.1.2-4',
      '5:MQTT-3.1.2-5',
      '5:MQTT-3.1.2-6',
      '5:MQTT-3.1.2-23',
      '5:MQTT-3.1.4-4',
      '5:MQTT-3.2.2-2',
      '5:MQTT-3.2.2-3',
      '3.1.1:MQTT-3.1.2-4',
      '3.1.1:MQTT-3.1.2-6',
      '3.1.1:MQTT-3.1.4-3',
      '3.1.1:MQTT-3.2.2-1',
      '3.1.1:MQTT-3.2.2-2',
      '3.1.1:MQTT-3.2.2-3',
    ],
    `a session is kept, taken up and discarded as CONNECT asks, and CONNACK says which, over ${transport}`,
    async () => {
      // Each row connects after the one before, subscribes if it has no subscription yet, and leaves.
      const kept = { clean: false, expirySeconds: 60 }
      const rows: readonly (readonly [leaves: 'drop' | 'disconnect', wish: Wish, present: boolean])[] = [
        ['drop', kept, false],
        ['drop', kept, true],
        ['disconnect', kept, true],
        ['drop', { clean: true, expirySeconds: 0 }, false],
        ['drop', kept, false],
        ['disconnect', { clean: true, expirySeconds: 0 }, false],
        ['disconnect', kept, false],
        ['disconnect', kept, true],
      ]
      const { broker, leave } = await start()
      const publisher = await join(broker, 'publisher')
      for (const version of versions) {
        for (const [leaves, wish, present] of rows) {
          const { client, ...told } = await enter(broker, version, { ...wish, id: `c${version}`, transport })
          // 3.1 cannot say so.
          expect(told.present).toBe(present && version !== 3)
          publisher.publish('a', 'x')
          await settle(publisher)
          if (present) expect(await hears(client, 1)).toEqual(['a=x q0'])
          else {
            await client.expectQuiet()
            await client.subscribe('a', 1)
          }
          await leave(client, leaves, `c${version}`)
        }
      }
    },
  )

covers(
  ['5:MQTT-3.1.2-4', '5:MQTT-3.1.2-6', '5:MQTT-3.1.2-23', '5:MQTT-3.2.2-2', '5:MQTT-3.2.2-3', '5:MQTT-4.1.0-2'],
  'clean start and session expiry are apart in 5.0',
  async () => {
    const { broker, leave } = await start()
    const rows: readonly (readonly [clean: boolean, expirySeconds: number, present: boolean])[] = [
      [true, 60, false],
      [false, 60, true],
      [true, 60, false],
      [false, 0, true],
      [false, 60, false],
      [false, never, true],
      [false, 0, true],
      [false, 0, false],
    ]
    for (const [clean, expirySeconds, present] of rows) {
      const told = await enter(broker, 5, { clean, expirySeconds })
      expect([told.code, told.present]).toEqual([0, present])
      await leave(told.client)
    }
  },
)

test('a session is taken up in another version', async () => {
  const { broker, leave } = await start()
  for (const version of [4, 5, 3, 5, 4] as const) {
    const { client, present } = await enter(broker, version)
    expect(present).toBe(broker.node.broker.tree.size > 0 && version !== 3)
    await client.subscribe('a')
    await leave(client)
  }
})

for (const version of versions) {
  covers(
    ['5:MQTT-3.1.2-5', '5:MQTT-3.1.2-23', '3.1.1:MQTT-3.1.2-4', '3.1.1:MQTT-3.1.2-5', '3.1.1:MQTT-4.1.0-1'],
    `a session keeps subscriptions, what is queued, and what is half done, version ${version}`,
    async () => {
      const { broker, leave } = await start()
      const publisher = await join(broker, 'publisher')
      const away = (await enter(broker, version)).client
      for (const qos of [0, 1, 2] as const) await away.subscribe(`q${qos}`, qos)
      await away.subscribe('mine')
      away.publish('mine', 'once', { qos: 2, messageId: 7 })
      await away.expect('publish')
      await away.expect('pubrec')
      await leave(away)
      for (const qos of [0, 1, 2] as const) publisher.publish(`q${qos}`, 'x', { qos, messageId: 1 })
      await publisher.expect('puback')
      await publisher.expect('pubrec')
      const back = (await enter(broker, version)).client
      expect(await hears(back, 2)).toEqual(['q1=x q1', 'q2=x q2'])
      // The message of QoS 2 is known, and does not come again.
      back.publish('mine', 'once', { qos: 2, messageId: 7, dup: true })
      await back.expect('pubrec')
      await back.expectQuiet()
    },
  )

  covers(
    ['5:MQTT-3.1.2-4', '3.1.1:MQTT-3.1.2-6', '3.1.1:MQTT-3.1.2-7'],
    `a clean start discards all of a session, and nothing that was retained, version ${version}`,
    async () => {
      const { broker, leave } = await start()
      const publisher = await join(broker, 'publisher')
      const away = (await enter(broker, version)).client
      await away.subscribe('#', 2)
      away.publish('mine', 'kept', { qos: 2, messageId: 7, retain: true })
      await away.expect('publish')
      await away.expect('pubrec')
      await leave(away)
      publisher.publish('a', 'x', { qos: 1, messageId: 1 })
      await publisher.expect('puback')
      const back = (await enter(broker, version, { clean: true })).client
      expect(broker.node.broker.tree.size).toBe(0)
      expect(broker.node.broker.pending).toBe(0)
      await back.expectQuiet()
      await back.subscribe('mine')
      expect(await hears(back, 1)).toEqual(['mine=kept q0 retain'])
      // The packet id is new to the new session.
      back.publish('mine', 'again', { qos: 2, messageId: 7, dup: true })
      expect(await hears(back, 1)).toEqual(['mine=again q0'])
    },
  )

  covers(
    ['5:MQTT-3.1.3-2', '3.1.1:MQTT-3.1.3-2'],
    `a session belongs to one client id, version ${version}`,
    async () => {
      const { broker, leave } = await start()
      const ids = ['c', 'C', 'c ', 'ç', 'c\u0327']
      for (const id of ids) {
        const { client, present } = await enter(broker, version, { id })
        expect(present).toBe(false)
        await client.subscribe(`only/${id}`)
        await leave(client, 'drop', id)
      }
      for (const id of ids) {
        const { client } = await enter(broker, version, { id })
        for (const other of ids) client.publish(`only/${other}`)
        expect(await hears(client, 1)).toEqual([`only/${id}= q0`])
        await client.expectQuiet()
      }
    },
  )
}

// ── expiry ───────────────────────────────────────────────────────────────────────────────────────────────────────

covers(['5:MQTT-4.1.0-2', '5:MQTT-3.1.2-23'], 'a session ends when its expiry has passed, and not before', async () => {
  const { broker, leave } = await start()
  for (const leaves of ['drop', 'disconnect'] as const) {
    await leave((await enter(broker, 5, { expirySeconds: 100, clean: true })).client, leaves)
    hasten(98)
    const { client, present } = await enter(broker, 5, { expirySeconds: 50 })
    expect(present).toBe(true)
    await leave(client, leaves)
    hasten(51)
    const after = await enter(broker, 5, { expirySeconds: 0 })
    expect(after.present).toBe(false)
    await leave(after.client)
  }
})

covers(['5:MQTT-4.1.0-2'], 'a session that nobody takes up ends by itself', async () => {
  const { broker, leave } = await start()
  const witness = await join(broker, 'witness')
  await witness.subscribe('#')
  const { client } = await enter(broker, 5, { expirySeconds: 30, id: 'other' })
  await leave(client, 'drop', 'other')
  const gone = await RawClient.open(broker)
  // The delay of its will is longer than the session: the will tells when it ends.
  const will = [block(0x18, u32(1000)), 'gone', 'x']
  gone.bytes(connect(5, { flags: 6, properties: block(0x11, u32(60)), payload: ['c', ...will] }))
  await gone.expect('connack')
  await gone.subscribe('a')
  await leave(gone)
  hasten(61)
  expect(await hears(witness, 1)).toEqual(['gone=x q0'])
  expect([...broker.node.broker.sessions.values()].map(({ clientId }) => clientId)).toEqual(['witness'])
  expect(broker.node.broker.tree.size).toBe(1)
})

covers(
  ['5:MQTT-4.1.0-1', '3.1.1:MQTT-4.1.0-1', '3.1.1:MQTT-4.1.0-2'],
  'a session does not end while its client is connected',
  async () => {
    const broker = await startBroker({ limits: { keepAliveSeconds: 65_535, sessionExpirySeconds: 100 } })
    for (const version of versions)
      for (const clean of [true, false]) {
        const { client } = await enter(broker, version, { clean, expirySeconds: clean ? 0 : 10 })
        await client.subscribe('a')
        hasten(1000)
        await client.expectQuiet()
        await client.publish('a', 'x').expect('publish')
        await client.disconnect()
      }
  },
)

covers(
  ['5:MQTT-3.1.2-23', '3.1.1:MQTT-4.1.0-1'],
  'a session is kept no longer than the limit, and v5 is told',
  async () => {
    const { broker, leave } = await start({ sessionExpirySeconds: 100 })
    for (const [version, expirySeconds, told] of [
      [5, 99, undefined],
      [5, 100, undefined],
      [5, 101, 100],
      [5, never, 100],
      [4, never, undefined],
      [3, never, undefined],
    ] as const) {
      const { client, properties } = await enter(broker, version, { expirySeconds, clean: false })
      expect(properties.sessionExpiryInterval).toBe(told)
      await client.subscribe('a')
      await leave(client)
      hasten(90)
      expect(broker.node.broker.sessions.get('c')?.subscriptions.size).toBe(1)
      hasten(12)
      const { client: back, ...later } = await enter(broker, version, { expirySeconds: 0, clean: false })
      expect(later.present).toBe(false)
      await back.publish('a').expectQuiet()
      await leave(back, 'disconnect')
      await leave((await enter(broker, version, { expirySeconds: 0, clean: true })).client, 'disconnect')
    }
  },
)

for (const transport of transports)
  covers(['5:MQTT-3.1.2-23', '5:MQTT-4.1.0-2'], `DISCONNECT may change the expiry, over ${transport}`, async () => {
    const { broker, leave } = await start({ sessionExpirySeconds: 1000 })
    const rows: readonly (readonly [first: number, then: number, afterSeconds: number, present: boolean])[] = [
      [60, 0, 0, false],
      [60, 10, 11, false],
      [60, 10, 5, true],
      [10, 600, 500, true],
      [10, 600, 601, false],
      [10, never, 900, true],
      [10, never, 1001, false],
    ]
    for (const [expirySeconds, sessionExpiryInterval, afterSeconds, present] of rows) {
      const { client } = await enter(broker, 5, { expirySeconds, clean: true, transport })
      await leave(client, 'disconnect', 'c', sessionExpiryInterval)
      hasten(afterSeconds)
      const after = await enter(broker, 5)
      expect(after.present).toBe(present)
      await leave(after.client)
    }
  })

covers(
  ['5:MQTT-4.13.1-1', '5:MQTT-4.13.2-1'],
  'DISCONNECT cannot keep a session that was to end with its connection',
  async () => {
    const broker = await startBroker()
    for (const transport of transports)
      for (const seconds of [1, never]) {
        const { client } = await enter(broker, 5, { expirySeconds: 0, transport })
        client.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: seconds } })
        await client.expectDisconnect(0x82)
        expect(broker.node.broker.sessions.size).toBe(0)
      }
    const { client } = await enter(broker, 5, { expirySeconds: 0 })
    await client.disconnect(0, { sessionExpiryInterval: 0 })
    expect(client.packets).toEqual([])
  },
)

// ── takeover ─────────────────────────────────────────────────────────────────────────────────────────────────────

for (const transport of transports)
  covers(
    ['5:MQTT-3.1.4-3', '3.1.1:MQTT-3.1.4-2'],
    `a client that connects again sends the first connection away: v5 with 0x8E, over ${transport}`,
    async () => {
      for (const clean of [true, false])
        for (const first of versions)
          for (const second of versions) {
            const broker = await startBroker()
            const before = await enter(broker, first, { clean, transport })
            await before.client.subscribe('a', 1)
            const after = await enter(broker, second, { clean, transport })
            await before.client.expectDisconnect(0x8e)
            expect([after.code, after.present]).toEqual([0, !clean && second !== 3])
            // The one session is the second's now.
            after.client.publish('a')
            if (clean) await after.client.expectQuiet()
            else await after.client.expect('publish')
            expect(broker.node.broker.sessions.size).toBe(1)
            expect(broker.node.clients).toBe(1)
          }
    },
  )

covers(
  ['5:MQTT-3.1.4-3', '5:MQTT-4.1.0-2', '3.1.1:MQTT-3.1.4-2'],
  'a session that ends with its connection is not taken over',
  async () => {
    const broker = await startBroker()
    const before = await enter(broker, 5, { expirySeconds: 0 })
    await before.client.subscribe('a')
    const after = await enter(broker, 5, { expirySeconds: 0 })
    await before.client.expectDisconnect(0x8e)
    expect(after.present).toBe(false)
    await after.client.publish('a').expectQuiet()
  },
)

covers(['5:MQTT-3.1.4-3', '3.1.1:MQTT-3.1.4-2'], 'of many that connect at once, one stays', async () => {
  const broker = await startBroker()
  const clients = await Promise.all(Array.from({ length: 20 }, () => enter(broker, 5)))
  expect(broker.node.clients).toBe(1)
  const last = [...broker.node.broker.sessions.values()][0]!.connection!.remote
  expect(last).toMatch(/^127\.0\.0\.1:/)
  // All but one of the twenty are sent away.
  let left = 0
  for (const { client } of clients) {
    client.bytes('c0 00')
    const { cmd } = await client.expect('disconnect').catch(() => ({ cmd: 'pingresp' as const }))
    if (cmd === 'pingresp') left++
  }
  expect(left).toBe(1)
})

covers(
  ['5:MQTT-3.1.4-3', '3.1.1:MQTT-3.1.4-2'],
  'what a client sent before it was sent away counts, and its queue goes on to the next',
  async () => {
    const broker = await startBroker()
    const before = await enter(broker, 5)
    await before.client.subscribe('a', 1)
    const publisher = await join(broker, 'publisher')
    publisher.publish('a', '1', { qos: 1, messageId: 1 })
    await publisher.expect('puback')
    const unacknowledged = await before.client.expect('publish')
    before.client.bytes(packet(0x30, 'a', block(), 'last words'))
    await before.client.expect('publish')
    const after = await enter(broker, 5)
    const again = await after.client.expect('publish')
    expect([again.messageId, again.dup]).toEqual([unacknowledged.messageId, true])
  },
)

covers(['5:MQTT-3.1.4-3', '3.1.1:MQTT-3.1.4-5'], 'a client that is refused takes nobody over', async () => {
  const broker = await startBroker({ hooks: { authenticate: ({ username }) => !username?.startsWith('thief') } })
  const { client } = await enter(broker, 5)
  for (const version of versions)
    for (const flags of [0x80, 0x82]) {
      const thief = await RawClient.open(broker, version)
      // Of one user the second would wait.
      thief.bytes(connect(version, { flags, payload: ['c', `thief ${version} ${flags}`] }))
      await thief.expect('connack')
      await thief.expectClosed()
    }
  await client.expectQuiet()
})

covers(['5:MQTT-3.2.0-1', '3.1.1:MQTT-3.2.0-1'], 'CONNACK comes before what waited for the client', async () => {
  const { broker, leave } = await start()
  const publisher = await join(broker, 'publisher')
  for (const transport of transports)
    for (const version of versions) {
      const { client } = await enter(broker, version, { transport })
      await client.subscribe('a', 1)
      await leave(client)
      for (let id = 1; id <= 20; id++) {
        publisher.publish('a', String(id), { qos: 1, messageId: id })
        await publisher.expect('puback')
      }
      // With everything it could want in the same breath.
      const back = await RawClient.open(broker, version, transport)
      back.bytes(
        bytes(
          connect(version, { flags: 0, properties: block(0x11, u32(60)), payload: ['c'] }),
          packet(0x82, u16(1), only5(version), 'b', 0),
          hex('c0 00'),
        ),
      )
      await back.expect('connack')
      expect(await hears(back, 20)).toHaveLength(20)
      await back.expect('suback')
      await back.expect('pingresp')
      await leave(back)
      await leave((await enter(broker, version, { clean: true, expirySeconds: 0 })).client)
    }
})
