import { expect } from 'vitest'
import { Denied } from '../../src/access/hooks.ts'
import type { Reason } from '../../src/mqtt/reason.ts'
import { startBroker } from '../support/broker.ts'
import type { RawClient, Received } from '../support/raw.ts'
import { covers } from './covering.ts'
import { acknowledge, closes, eachRow, hears, join, joinKept, publishEach, publishes, settle, told } from './kit.ts'
import { block, hex, only5, packet, type Part, text, transports, u16, type Version, versions } from './wire.ts'

/** A SUBSCRIBE of either layout with packet id 1. */
const subscribe =
  (first: number, ...payload: Part[]) =>
  (version: Version) =>
    packet(first, u16(1), only5(version), ...payload)

/** A v5 SUBSCRIBE to `t` with these properties. */
const carrying = (...parts: Part[]) => packet(0x82, u16(1), block(...parts), 't', 0)

const idsOf = (received: Received): number[] => {
  const ids = (received.properties as { subscriptionIdentifier?: number | number[] } | undefined)
    ?.subscriptionIdentifier
  return ids === undefined ? [] : [ids].flat().sort((a, b) => a - b)
}

covers(
  [
    '5:MQTT-3.8.1-1',
    '5:MQTT-3.8.3-1',
    '5:MQTT-3.8.3-2',
    '5:MQTT-3.8.3-4',
    '5:MQTT-3.8.3-5',
    '3.1.1:MQTT-3.8.1-1',
    '3.1.1:MQTT-3.8.3-1',
    '3.1.1:MQTT-3.8.3-3',
    '3.1.1:MQTT-2.3.1-1',
  ],
  'a SUBSCRIBE that is malformed, or asks for what cannot be, closes the connection',
  async () => {
    await closes(versions, [
      ...[0x80, 0x81, 0x83, 0x84, 0x86, 0x8f].map(
        (first) => [`flags ${first}`, subscribe(first, 't', 0), 0x81] as const,
      ),
      ['packet id 0', (version) => packet(0x82, u16(0), only5(version), 't', 0), 0x82],
      ['no packet id', packet(0x82), 0x81],
      ['no filter', subscribe(0x82), 0x82],
      ['a filter without options', subscribe(0x82, 't'), 0x81],
      ['a second filter without options', subscribe(0x82, 't', 0, 'u'), 0x81],
      ['a filter longer than the packet', subscribe(0x82, u16(9), 0x74, 0), 0x81],
      ['a filter of bad UTF-8', subscribe(0x82, text(hex('ff')), 0), 0x81],
      ['a surrogate in a filter', subscribe(0x82, text(hex('eda080')), 0), 0x81],
      ['NUL in a filter', subscribe(0x82, 'a\0', 0), 0x81],
      ['a bad one behind a good one', subscribe(0x82, 't', 0, text(hex('c0af')), 0), 0x81],
      ['QoS 3', subscribe(0x82, 't', 3), 0x81],
      ['QoS 3 behind a good one', subscribe(0x82, 't', 2, 'u', 3), 0x81],
      ['reserved bit 6', subscribe(0x82, 't', 0x40), 0x81],
      ['reserved bit 7', subscribe(0x82, 't', 0x81), 0x81],
    ])
    await closes([4, 5], [['DUP', subscribe(0x8a, 't', 0), 0x81]])
    await closes(
      [3, 4],
      [0x04, 0x08, 0x10, 0x20, 0x30].map(
        (bit) => [`an option of v5: ${bit}`, subscribe(0x82, 't', bit), 0x81] as const,
      ),
    )
    await closes(
      [5],
      [
        ['retain handling 3', subscribe(0x82, 't', 0x30), 0x82],
        ['no local on a shared subscription', subscribe(0x82, '$share/g/t', 0x04), 0x82],
        ['the same behind a good one', subscribe(0x82, 't', 0x04, '$share/g/t', 0x05), 0x82],
        ['subscription id 0', carrying(0x0b, 0), 0x82],
        ['a subscription id of five bytes', carrying(0x0b, 0x80, 0x80, 0x80, 0x80, 1), 0x81],
        ['two subscription ids', carrying(0x0b, 1, 0x0b, 2), 0x82],
        ['a property of PUBLISH', carrying(0x01, 1), 0x81],
        ['a reason string, which is for answers', carrying(0x1f, 'why'), 0x81],
        ['a user property of bad UTF-8', carrying(0x26, text(hex('ff')), 'v'), 0x81],
        ['a property length beyond the packet', packet(0x82, u16(1), 99, 't', 0), 0x81],
        ['no property length', packet(0x82, u16(1)), 0x81],
      ],
    )
  },
)

covers(['3.1.1:MQTT-3.8.4-1'], 'an MQTT 3.1 client may set DUP in SUBSCRIBE and UNSUBSCRIBE', async () => {
  const broker = await startBroker()
  const client = await join(broker, 'client', 3)
  client.bytes(packet(0x8a, u16(1), 't', 1))
  expect((await client.expect('suback')).granted).toEqual([1])
  client.bytes(packet(0xaa, u16(2), 't'))
  expect((await client.expect('unsuback')).messageId).toBe(2)
})

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// What is asked for, and what is granted: the codes of v5 and of 3.1.1.
const wishes: readonly (readonly [filter: string, qos: 0 | 1 | 2, v5: number, v3: number])[] = [
  ['a', 0, 0, 0],
  ['a/#/b', 1, 0x8f, 0x80],
  ['b', 1, 1, 1],
  ['c', 2, 2, 2],
  ['a#', 0, 0x8f, 0x80],
  ['#', 2, 2, 2],
  ['#a', 0, 0x8f, 0x80],
  ['##', 0, 0x8f, 0x80],
  ['a/#/', 0, 0x8f, 0x80],
  ['+', 1, 1, 1],
  ['a+', 0, 0x8f, 0x80],
  ['+a', 0, 0x8f, 0x80],
  ['a/+b/c', 0, 0x8f, 0x80],
  ['++', 0, 0x8f, 0x80],
  ['a/+/c/#', 0, 0, 0],
  ['', 2, 0x8f, 0x80],
  ['/', 1, 1, 1],
  ['//+//#', 2, 2, 2],
  ['$share/g/a/+', 1, 1, 1],
  ['$share/g', 0, 0x8f, 0x80],
  ['$share/', 0, 0x8f, 0x80],
  ['$share//a', 0, 0x8f, 0x80],
  ['$share/g/', 0, 0x8f, 0x80],
  ['$share/+/a', 0, 0x8f, 0x80],
  ['$share/#', 0, 0x8f, 0x80],
  ['$share/#/a', 0, 0x8f, 0x80],
  ['$share/a+b/a', 0, 0x8f, 0x80],
  ['$share/g/a#', 0, 0x8f, 0x80],
  ['$share/g/#', 2, 2, 2],
  ['$SYS/#', 1, 1, 1],
  ['$Share/g/a', 0, 0, 0],
  ['x/'.repeat(99) + 'x', 1, 1, 1],
  ['x/'.repeat(100) + 'x', 1, 0x8f, 0x80],
  ['y'.repeat(65_535), 2, 2, 2],
]

covers(
  [
    '5:MQTT-3.8.4-1',
    '5:MQTT-3.8.4-2',
    '5:MQTT-3.8.4-5',
    '5:MQTT-3.8.4-6',
    '5:MQTT-3.8.4-7',
    '5:MQTT-3.9.3-1',
    '5:MQTT-3.9.3-2',
    '5:MQTT-2.2.1-6',
    '5:MQTT-4.7.1-1',
    '5:MQTT-4.7.1-2',
    '5:MQTT-4.7.3-1',
    '5:MQTT-4.8.2-1',
    '5:MQTT-4.8.2-2',
    '3.1.1:MQTT-3.8.4-1',
    '3.1.1:MQTT-3.8.4-2',
    '3.1.1:MQTT-3.8.4-4',
    '3.1.1:MQTT-3.8.4-5',
    '3.1.1:MQTT-3.9.3-1',
    '3.1.1:MQTT-3.9.3-2',
    '3.1.1:MQTT-2.3.1-7',
    '3.1.1:MQTT-4.7.1-2',
    '3.1.1:MQTT-4.7.1-3',
    '3.1.1:MQTT-4.7.3-1',
  ],
  'one SUBACK answers a SUBSCRIBE: its id, and a code for each filter in order; a bad filter fails alone',
  async () => {
    const broker = await startBroker()
    for (const transport of transports)
      for (const version of versions) {
        const client = await join(broker, 'client', version, {}, transport)
        const code = (wish: (typeof wishes)[number]) => (version === 5 ? wish[2] : wish[3])
        const ask = async (asked: typeof wishes, messageId: number) => {
          client.send({ cmd: 'subscribe', messageId, subscriptions: asked.map(([topic, qos]) => ({ topic, qos })) })
          const suback = await client.expect('suback')
          expect([suback.messageId, suback.granted]).toEqual([messageId, asked.map(code)])
          await client.expectQuiet()
        }
        await ask(wishes, 65_535)
        await ask([...wishes].reverse(), 1)
        for (const wish of wishes) await ask([wish], 256)
        // Those that were granted are there, the others are not.
        const granted = wishes.filter((wish) => code(wish) < 3).map(([filter]) => filter)
        expect([...broker.node.broker.sessions.get('client')!.subscriptions.keys()].sort()).toEqual(granted.sort())
      }
  },
)

covers(
  ['5:MQTT-3.9.3-2', '5:MQTT-3.9.2-1', '5:MQTT-3.9.2-2', '5:MQTT-3.1.2-29', '3.1.1:MQTT-3.9.3-2'],
  'a subscription that is not allowed fails alone, with a code that SUBACK may carry, and says why if there is room',
  async () => {
    const broker = await startBroker({
      hooks: {
        authorizeSubscribe: (_, { filter }) => {
          if (filter.startsWith('0x')) throw new Denied(Number(filter) as Reason, 'w'.repeat(80))
          return filter !== 'denied'
        },
      },
    })
    const filters = ['ok', 'denied', '0x97', '0x8a', '0x00', '0x02', '0x9e', 'bad/#/', 'ok/too']
    const codes = [1, 0x87, 0x97, 0x87, 0x87, 0x87, 0x9e, 0x8f, 1]
    const subscriptions = (asked: string[]) => asked.map((topic) => ({ topic, qos: 1 as const }))
    for (const version of versions) {
      const client = await join(broker, 'client', version)
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: subscriptions(filters) })
      const suback = await client.expect('suback')
      expect(suback.granted).toEqual(version === 5 ? codes : codes.map((code) => Math.min(code, 0x80)))
      if (version === 5) expect(suback.properties).toEqual({ reasonString: 'denied' })
    }
    await eachRow(
      [
        [{}, true],
        [{ requestProblemInformation: false }, false],
        // Header 2, packet id 2, property length 1, property 3, text 80, code 1.
        [{ maximumPacketSize: 89 }, true],
        [{ maximumPacketSize: 88 }, false],
      ] as const,
      async (asked, explained) => {
        const client = await join(broker, 'client', 5, { properties: asked })
        client.send({ cmd: 'subscribe', messageId: 1, subscriptions: subscriptions(['0x97']) })
        const { granted, properties } = await client.expect('suback')
        expect([granted, properties ?? {}]).toEqual([[0x97], explained ? { reasonString: 'w'.repeat(80) } : {}])
      },
    )
  },
)

covers(
  ['5:MQTT-3.8.4-5', '3.1.1:MQTT-3.8.4-4'],
  'a SUBSCRIBE may have very many filters, allowed at once or later',
  async () => {
    for (const authorizeSubscribe of [() => true, () => Promise.resolve(true)]) {
      const limits = { subscriptionsPerSession: 20_000 }
      const broker = await startBroker({ hooks: { authorizeSubscribe }, limits })
      const client = await join(broker, 'client')
      const filters = Array.from({ length: 20_000 }, (_, at) => ({
        topic: at % 2 ? '' : `f/${at % 500}`,
        qos: 0 as const,
      }))
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters })
      expect((await client.expect('suback')).granted).toEqual(filters.map((_, at) => (at % 2 ? 0x8f : 0)))
    }
  },
)

covers(
  ['5:MQTT-3.9.3-2'],
  'a subscription above the quota gets 0x97; one that replaces another does not count',
  async () => {
    const broker = await startBroker({ limits: { subscriptionsPerSession: 3 } })
    for (const version of versions) {
      const refused = version === 5 ? 0x97 : 0x80
      const client = await join(broker, 'client', version)
      client.send({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: ['a', 'b', 'a', '$share/g/c', 'd', 'b', 'e/#/'].map((topic) => ({ topic, qos: 0 })),
      })
      const bad = version === 5 ? 0x8f : 0x80
      expect((await client.expect('suback')).granted).toEqual([0, 0, 0, 0, refused, 0, bad])
      expect(await client.subscribe('d')).toBe(refused)
      client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['a'] })
      await client.expect('unsuback')
      expect(await client.subscribe('d')).toBe(0)
    }
  },
)

// ── what a subscription does ────────────────────────────────────────────────────────────────────────────────────────

covers(
  ['5:MQTT-3.8.4-8', '5:MQTT-3.3.4-2', '3.1.1:MQTT-3.8.4-6', '3.1.1:MQTT-3.3.5-1'],
  'a message goes out at the lower of its QoS and what was granted',
  async () => {
    const broker = await startBroker()
    for (const transport of transports)
      for (const version of versions)
        for (const granted of [0, 1, 2] as const) {
          const sub = await join(broker, 'sub', version, {}, transport)
          expect(await sub.subscribe('t', granted)).toBe(granted)
          for (const publishing of versions) {
            const pub = await join(broker, 'pub', publishing)
            await publishEach(pub, [
              ['a', 0],
              ['b', 1],
              ['c', 2],
            ])
            const heard = await publishes(sub, 3)
            expect(heard.map(told)).toEqual([`t=a q0`, `t=b q${Math.min(1, granted)}`, `t=c q${granted}`])
            for (const received of heard) await acknowledge(sub, received)
          }
        }
  },
)

covers(
  ['5:MQTT-3.3.4-2', '5:MQTT-3.3.4-3', '5:MQTT-3.3.4-4', '5:MQTT-3.3.4-5', '3.1.1:MQTT-3.3.5-1'],
  'subscriptions that overlap bring one copy: at the highest QoS granted, with all of their ids',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    type Wish = readonly [filter: string, qos: 0 | 1 | 2, id?: number]
    await eachRow<[Wish[], number, number[]]>(
      [
        [[['t', 1, 5]], 1, [5]],
        [
          [
            ['t', 0],
            ['+', 1],
          ],
          1,
          [],
        ],
        [
          [
            ['t', 2, 1],
            ['+', 0, 2],
            ['#', 1, 3],
          ],
          2,
          [1, 2, 3],
        ],
        [
          [
            ['t', 0, 1],
            ['+', 2],
            ['#', 1, 3],
          ],
          2,
          [1, 3],
        ],
        [
          [
            ['t', 1, 7],
            ['#', 1, 7],
          ],
          1,
          [7, 7],
        ],
        [
          [
            ['t', 0, 1],
            ['u', 2, 2],
            ['t/#', 1, 268_435_455],
          ],
          1,
          [1, 268_435_455],
        ],
        // The same filter again replaces the id as well.
        [
          [
            ['t', 2, 1],
            ['t', 1, 2],
          ],
          1,
          [2],
        ],
        [
          [
            ['t', 2, 1],
            ['t', 0],
          ],
          0,
          [],
        ],
        [
          [
            ['#', 2, 128],
            ['t', 0, 16_384],
          ],
          2,
          [128, 16_384],
        ],
      ],
      async (wished, qos, ids) => {
        for (const version of versions) {
          const sub = await join(broker, 'sub', version)
          for (const [filter, granted, id] of wished)
            await sub.subscribe(filter, granted, version === 5 && id !== undefined ? { id } : {})
          for (const published of [2, 0]) {
            await publishEach(pub, [['x', published]])
            const [received] = await publishes(sub, 1)
            expect(told(received!)).toBe(`t=x q${Math.min(qos, published)}`)
            expect(idsOf(received!)).toEqual(version === 5 ? ids : [])
            await acknowledge(sub, received!)
          }
          await sub.expectQuiet()
        }
      },
    )
  },
)

covers(
  ['5:MQTT-3.8.4-3', '3.1.1:MQTT-3.8.4-3'],
  'a subscription to the same filter replaces the one that was there, with all of its options',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (const version of versions) {
      const sub = await joinKept(broker, `sub${version}`, version)
      for (const granted of [2, 0, 1] as const) {
        await sub.subscribe('t', granted)
        await publishEach(pub, [['x', 2]])
        const heard = await publishes(sub, 1)
        expect(heard.map(told)).toEqual([`t=x q${granted}`])
        await acknowledge(sub, heard[0]!)
      }
      expect(broker.node.broker.sessions.get(`sub${version}`)!.subscriptions.size).toBe(1)
    }
    const sub = await join(broker, 'self')
    const own = async () => {
      await settle(sub.publish('t', 'own', { retain: true }).publish('t', '', { retain: true }))
      return broker.node.broker.ledger.copies
    }
    await sub.subscribe('t', 0, { nl: true, rap: true })
    const before = await own()
    expect((await own()) - before).toBe(6)
    await sub.subscribe('t', 0, { rap: true })
    sub.publish('t', 'own', { retain: true })
    expect(await hears(sub, 1)).toEqual(['t=own q0 retain'])
    await sub.subscribe('t', 0, { rh: 2 })
    sub.publish('t', 'own', { retain: true })
    expect(await hears(sub, 1)).toEqual(['t=own q0'])
  },
)

covers(
  ['5:MQTT-3.8.4-4', '3.1.1:MQTT-3.8.4-3'],
  'no message is lost, doubled or overtaken while a subscription is replaced',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const sub = await join(broker, 'sub', version)
      await sub.subscribe('t', 1)
      const pub = await join(broker, 'pub', version)
      const count = 300
      for (let i = 0; i < count; i++) {
        pub.publish('t', String(i), { qos: 1, messageId: i + 1 })
        const options = version === 5 ? { nl: false, rap: i % 2 === 0, rh: 2 as const } : {}
        sub.send({ cmd: 'subscribe', messageId: i + 1, subscriptions: [{ topic: 't', qos: 1, ...options }] })
      }
      const heard: string[] = []
      for (let left = 2 * count; left > 0; left--) {
        const next = await sub.next()
        if (next.cmd !== 'publish') continue
        heard.push(String(next.payload))
        await acknowledge(sub, next)
      }
      expect(heard).toEqual(Array.from({ length: count }, (_, i) => String(i)))
      await sub.expectQuiet()
    }
  },
)

covers(['5:MQTT-3.8.3-3'], 'no local: a client does not get its own message through that subscription', async () => {
  const broker = await startBroker()
  const other = await join(broker, 'other')
  const heard = async (client: RawClient) => {
    client.bytes('c0 00')
    const ids: number[][] = []
    for (let next = await client.next(); next.cmd !== 'pingresp'; next = await client.next())
      if (next.cmd === 'publish') ids.push(idsOf(next))
    return ids
  }
  type Wish = readonly [filter: string, qos: 0 | 1 | 2, nl: boolean, id: number]
  await eachRow<[Wish[], own: number[][], others: number[][]]>(
    [
      [[['t', 0, true, 1]], [], [[1]]],
      [[['t', 0, false, 1]], [[1]], [[1]]],
      [
        [
          ['t', 2, true, 1],
          ['+', 1, true, 2],
        ],
        [],
        [[1, 2]],
      ],
      // The one that is not no-local brings it, alone.
      [
        [
          ['t', 2, true, 1],
          ['+', 1, false, 2],
        ],
        [[2]],
        [[1, 2]],
      ],
      [
        [
          ['#', 0, false, 1],
          ['t', 2, true, 2],
          ['+', 1, false, 3],
        ],
        [[1, 3]],
        [[1, 2, 3]],
      ],
    ],
    async (wished, own, others) => {
      for (const qos of [0, 1]) {
        const client = await join(broker, 'client')
        for (const [filter, granted, nl, id] of wished) await client.subscribe(filter, granted, { nl, id })
        client.publish('t', 'own', { qos, messageId: 1 })
        expect(await heard(client)).toEqual(own)
        await publishEach(other, [['other', qos]])
        expect(await heard(client)).toEqual(others)
      }
    },
  )
})
