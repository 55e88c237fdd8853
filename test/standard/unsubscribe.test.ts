import { expect } from 'vitest'
import { startBroker } from '../support/broker.ts'
import type { Received } from '../support/raw.ts'
import { covers } from './covering.ts'
import { acknowledge, closes, eachRow, hears, join, joinKept, publishEach, publishes, settle } from './kit.ts'
import { block, hex, only5, packet, type Part, text, transports, u16, type Version, versions } from './wire.ts'

const idOf = (received: Received) => received.messageId as number

/** An UNSUBSCRIBE of either layout with packet id 1. */
const unsubscribe =
  (first: number, ...payload: Part[]) =>
  (version: Version) =>
    packet(first, u16(1), only5(version), ...payload)

covers(
  [
    '5:MQTT-3.10.1-1',
    '5:MQTT-3.10.3-1',
    '5:MQTT-3.10.3-2',
    '3.1.1:MQTT-3.10.1-1',
    '3.1.1:MQTT-3.10.3-1',
    '3.1.1:MQTT-3.10.3-2',
    '3.1.1:MQTT-2.3.1-1',
  ],
  'an UNSUBSCRIBE that is malformed closes the connection',
  async () => {
    await closes(versions, [
      ...[0xa0, 0xa1, 0xa3, 0xa4, 0xa6, 0xaf].map(
        (first) => [`flags ${first}`, unsubscribe(first, 't'), 0x81] as const,
      ),
      ['packet id 0', (version) => packet(0xa2, u16(0), only5(version), 't'), 0x82],
      ['no packet id', packet(0xa2), 0x81],
      ['no filter', unsubscribe(0xa2), 0x82],
      ['half a length', unsubscribe(0xa2, 't', 0), 0x81],
      ['a filter longer than the packet', unsubscribe(0xa2, u16(9), 0x74), 0x81],
      ['a filter of bad UTF-8', unsubscribe(0xa2, text(hex('c3'))), 0x81],
      ['NUL in a filter', unsubscribe(0xa2, 'a\0'), 0x81],
      ['a bad one behind a good one', unsubscribe(0xa2, 't', text(hex('ff'))), 0x81],
    ])
    await closes([4, 5], [['DUP', unsubscribe(0xaa, 't'), 0x81]])
    await closes(
      [5],
      [
        ['a subscription id', packet(0xa2, u16(1), block(0x0b, 1), 't'), 0x81],
        ['a user property of bad UTF-8', packet(0xa2, u16(1), block(0x26, text(hex('ff')), 'v'), 't'), 0x81],
        ['a property length beyond the packet', packet(0xa2, u16(1), 99, 't'), 0x81],
      ],
    )
  },
)

covers(
  [
    '5:MQTT-3.10.4-1',
    '5:MQTT-3.10.4-4',
    '5:MQTT-3.10.4-5',
    '5:MQTT-3.10.4-6',
    '5:MQTT-3.11.3-1',
    '5:MQTT-3.11.3-2',
    '5:MQTT-3.11.2-1',
    '5:MQTT-3.11.2-2',
    '5:MQTT-2.2.1-6',
    '3.1.1:MQTT-3.10.4-1',
    '3.1.1:MQTT-3.10.4-4',
    '3.1.1:MQTT-3.10.4-5',
    '3.1.1:MQTT-3.10.4-6',
    '3.1.1:MQTT-2.3.1-7',
  ],
  'UNSUBSCRIBE ends what it names, character by character, and says of each whether it was there',
  async () => {
    const broker = await startBroker()
    const held = ['a', 'a/+', 'a/#', '+/b', '#', '/a', 'a/', 'Ä', '$share/g/a', '$share/h/a']
    await eachRow<[string[], number[]]>(
      [
        [['a'], [0]],
        [
          ['a/+', 'a/#'],
          [0, 0],
        ],
        [['b'], [0x11]],
        [['a/b', 'a/b/c', '+', '+/+', '+/a', 'A', 'ä', 'a//', 'a '], Array<number>(9).fill(0x11)],
        [
          ['a', 'a'],
          [0, 0x11],
        ],
        [['$share/g/a'], [0]],
        [
          ['$share/x/a', '$share/g/b', '$share/h/a'],
          [0x11, 0x11, 0],
        ],
        [
          ['a/#/b', 'a', '', '$share/g', 'a+', '#'],
          [0x8f, 0, 0x8f, 0x8f, 0x8f, 0],
        ],
        [held, held.map(() => 0)],
        [
          ['A\u0308', 'Ä'],
          [0x11, 0],
        ],
      ],
      async (filters, codes) => {
        for (const version of versions) {
          const client = await join(broker, 'client', version, {}, transports[version % 2])
          const subscriptions = held.map((topic) => ({ topic, qos: 1 as const }))
          client.send({ cmd: 'subscribe', messageId: 1, subscriptions })
          await client.expect('suback')
          client.send({ cmd: 'unsubscribe', messageId: 511, unsubscriptions: filters })
          const { raw } = await client.expect('unsuback')
          // v5: an empty property block, and a code for each; 3.x: the packet id alone.
          expect(raw).toEqual(packet(0xb0, u16(511), ...(version === 5 ? [0, ...codes] : [])))
          const left = held.filter((filter) => !filters.includes(filter))
          expect([...broker.node.broker.sessions.get('client')!.subscriptions.keys()]).toEqual(left)
          await client.expectQuiet()
        }
      },
    )
  },
)

covers(
  ['5:MQTT-3.10.4-2', '3.1.1:MQTT-3.10.4-2'],
  'after UNSUBACK nothing new comes through that subscription; through another one it does',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (const version of versions) {
      const sub = await join(broker, 'sub', version)
      await sub.subscribe('t', 2)
      await sub.subscribe('+', 0)
      for (const [filter, expected] of [
        ['#', ['t=x q2']],
        ['t', ['t=x q0']],
        ['+', []],
      ] as const) {
        sub.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: [filter] })
        await sub.expect('unsuback')
        await publishEach(pub, [['x', 2]])
        expect(await hears(sub, expected.length)).toEqual(expected)
        await sub.expectQuiet()
      }
    }
  },
)

covers(
  ['5:MQTT-3.10.4-3', '3.1.1:MQTT-3.10.4-3'],
  'what has been sent to a client before UNSUBSCRIBE is completed, on the next connection too',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const sub = await joinKept(broker, `sub${version}`, version)
      await sub.subscribe('t', 2)
      const pub = await join(broker, 'pub', version)
      await publishEach(pub, [
        ['a', 1],
        ['b', 2],
        ['c', 2],
      ])
      const [a, b, c] = await publishes(sub, 3)
      sub.send({ cmd: 'pubrec', messageId: idOf(c!) })
      await sub.expect('pubrel')
      sub.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['t'] })
      await sub.expect('unsuback')
      await publishEach(pub, [['d', 2]])
      const back = await joinKept(broker, `sub${version}`, version)
      expect(idOf(await back.expect('pubrel'))).toBe(idOf(c!))
      back.send({ cmd: 'pubcomp', messageId: idOf(c!) })
      const again = await publishes(back, 2)
      expect(again.map(idOf)).toEqual([idOf(a!), idOf(b!)])
      for (const received of again) await acknowledge(back, received)
      await back.expectQuiet()
      expect(broker.node.broker.pending).toBe(0)
    }
  },
)

covers(
  ['5:MQTT-3.10.4-1', '3.1.1:MQTT-3.10.4-2'],
  'retained messages stop coming when their subscription ends',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (let i = 0; i < 10; i++) pub.publish(`t/${i}`, 'x', { retain: true, qos: 1, messageId: 1 })
    await settle(pub)
    const sub = await join(broker, 'sub', 5, { properties: { receiveMaximum: 1 } })
    await sub.subscribe('t/#', 1)
    const [first] = await publishes(sub, 1)
    sub.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['t/#'] })
    await sub.expect('unsuback')
    await acknowledge(sub, first!)
    // One may have been on its way already.
    const second = await sub.expect('publish')
    await acknowledge(sub, second)
    await sub.expectQuiet()
  },
)
