import { expect } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import type { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import { acknowledge, eachRow, hears, join, joinKept, publishEach, publishes, settle, told } from './kit.ts'
import { versions } from './wire.ts'

/** Publishes to `t` as each step says: `1 a` is a at QoS 1, `1r a` retained, `0r` empty and retained. */
async function publishSteps(pub: RawClient, steps: readonly string[]): Promise<void> {
  for (const step of steps) {
    const [how, payload = ''] = step.split(' ')
    await publishEach(pub, [[payload, Number(how![0])]], { retain: how!.endsWith('r') })
  }
  await settle(pub)
}

/** What a new subscriber to `filter` at QoS 2 is sent at once. */
async function retainedFor(broker: TestBroker, version: 3 | 4 | 5, filter = '#'): Promise<string[]> {
  const late = await join(broker, 'late', version)
  expect(await late.subscribe(filter, 2)).toBe(2)
  late.bytes('c0 00')
  const heard: string[] = []
  for (let next = await late.next(); next.cmd !== 'pingresp'; next = await late.next()) heard.push(told(next))
  await late.drop()
  return heard
}

covers(
  [
    '5:MQTT-3.3.1-5',
    '5:MQTT-3.3.1-6',
    '5:MQTT-3.3.1-7',
    '5:MQTT-3.3.1-8',
    '5:MQTT-3.3.1-9',
    '3.1.1:MQTT-3.3.1-5',
    '3.1.1:MQTT-3.3.1-6',
    '3.1.1:MQTT-3.3.1-7',
    '3.1.1:MQTT-3.3.1-8',
    '3.1.1:MQTT-3.3.1-10',
    '3.1.1:MQTT-3.3.1-11',
    '3.1.1:MQTT-3.3.1-12',
  ],
  'a topic keeps its last retained message, for those who subscribe later',
  async () => {
    const broker = await startBroker()
    for (const publishing of versions)
      for (const version of versions) {
        const pub = await join(broker, 'pub', publishing)
        await eachRow(
          [
            ['nothing', ['1 a'], []],
            ['one', ['1r a'], ['t=a q1 retain']],
            ['replaced', ['1r a', '2r b'], ['t=b q2 retain']],
            ['QoS 0 replaces QoS 2', ['2r a', '0r b'], ['t=b q0 retain']],
            ['what is not retained changes nothing', ['1r a', '2 b', '0 c'], ['t=a q1 retain']],
            ['nor does it when it is empty', ['1r a', '1', '0', '2'], ['t=a q1 retain']],
            ['cleared at QoS 0', ['1r a', '0r'], []],
            ['cleared at QoS 1', ['2r a', '1r'], []],
            ['cleared at QoS 2', ['0r a', '2r'], []],
            ['cleared when there is none', ['1r'], []],
            ['set again', ['1r a', '1r', '0r b'], ['t=b q0 retain']],
          ] as const,
          async (_, steps, expected) => {
            await publishSteps(pub, steps)
            expect(await retainedFor(broker, version)).toEqual(expected)
            expect(broker.node.broker.retained.size).toBe(expected.length)
            await publishSteps(pub, ['0r'])
          },
        )
      }
  },
)

covers(
  ['5:MQTT-3.3.1-12', '5:MQTT-3.3.1-13', '5:MQTT-3.3.1-6', '3.1.1:MQTT-3.3.1-9', '3.1.1:MQTT-3.3.1-10'],
  'who is subscribed already gets RETAIN 0, or as published where it asked for that',
  async () => {
    const broker = await startBroker()
    for (const publishing of versions) {
      const pub = await join(broker, 'pub', publishing)
      await eachRow(
        [
          [3, false],
          [4, false],
          [5, false],
          [5, true],
        ] as const,
        async (version, rap) => {
          for (const qos of [0, 1, 2] as const) {
            const sub = await join(broker, 'sub', version)
            await sub.subscribe('t', qos, { rap })
            await publishSteps(pub, ['0r a', '1r b', '2r c', '2 d', '0r'])
            const flag = rap ? ' retain' : ''
            expect(await hears(sub, 5)).toEqual([
              `t=a q0${flag}`,
              `t=b q${Math.min(1, qos)}${flag}`,
              `t=c q${qos}${flag}`,
              `t=d q${qos}`,
              `t= q0${flag}`,
            ])
          }
        },
      )
    }
  },
)

covers(
  ['5:MQTT-3.3.1-9', '5:MQTT-3.3.1-10', '5:MQTT-3.3.1-11', '5:MQTT-3.8.4-3', '5:MQTT-3.8.4-4', '3.1.1:MQTT-3.8.4-3'],
  'a subscription brings retained messages as its retain handling says, whether it is new or not',
  async () => {
    const broker = await startBroker()
    await publishSteps(await join(broker, 'pub'), ['1r a'])
    const old = ['t=a q1 retain']
    await eachRow(
      [
        [5, 0, false, old],
        [5, 0, true, old],
        [5, 1, false, old],
        [5, 1, true, []],
        [5, 2, false, []],
        [5, 2, true, []],
        [3, 0, false, old],
        [3, 0, true, old],
        [4, 0, false, old],
        [4, 0, true, old],
      ] as const,
      async (version, rh, existed, expected) => {
        const sub = await joinKept(broker, 'sub', version)
        if (existed) {
          await sub.subscribe('t', 0)
          expect(await hears(sub, 1)).toEqual(['t=a q0 retain'])
        }
        // Whether it was made on this connection or the last one.
        for (const again of existed ? [false, true] : [false]) {
          const client = again ? await joinKept(broker, 'sub', version) : sub
          await client.subscribe('t', 1, { rh })
          const heard = await publishes(client, expected.length)
          expect(heard.map(told)).toEqual(expected)
          for (const received of heard) await acknowledge(client, received)
          await client.expectQuiet()
        }
        const clean = await join(broker, 'sub', version)
        await clean.disconnect()
      },
    )
    // One that has been given up is new again.
    const sub = await join(broker, 'sub')
    for (let i = 0; i < 2; i++) {
      await sub.subscribe('t', 1, { rh: 1 })
      await acknowledge(sub, (await publishes(sub, 1))[0]!)
      sub.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['t'] })
      await sub.expect('unsuback')
    }
  },
)

covers(
  ['5:MQTT-3.8.4-8', '3.1.1:MQTT-3.8.4-6', '3.1.1:MQTT-3.3.1-8'],
  'a retained message goes out at the lower of its QoS and what was granted, with RETAIN 1',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (const version of versions)
      for (const published of [0, 1, 2])
        for (const granted of [0, 1, 2] as const) {
          await publishSteps(pub, [`${published}r x`])
          const sub = await join(broker, 'sub', version)
          expect(await sub.subscribe('t', granted)).toBe(granted)
          expect(await hears(sub, 1)).toEqual([`t=x q${Math.min(published, granted)} retain`])
        }
  },
)

covers(
  ['5:MQTT-3.8.4-1', '3.1.1:MQTT-3.8.4-1', '3.1.1:MQTT-3.3.1-6'],
  'SUBACK comes first; then each filter brings what it matches, every topic once',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (const topic of ['a', 'a/1', 'a/2', 'b/1', '$own/1']) pub.publish(topic, 'x', { retain: true })
    await settle(pub)
    await eachRow(
      [
        [['#'], ['a', 'a/1', 'a/2', 'b/1']],
        [['a/#'], ['a', 'a/1', 'a/2']],
        [['+'], ['a']],
        [['+/1'], ['a/1', 'b/1']],
        [['$own/#'], ['$own/1']],
        [['a', 'b'], ['a']],
        [
          ['a/+', 'a/1'],
          ['a/1', 'a/1', 'a/2'],
        ],
        [
          ['a/1', 'a/1'],
          ['a/1', 'a/1'],
        ],
        [['c'], []],
      ],
      async (filters, topics) => {
        for (const version of versions) {
          const sub = await join(broker, 'sub', version)
          sub.send({ cmd: 'subscribe', messageId: 3, subscriptions: filters.map((topic) => ({ topic, qos: 1 })) })
          expect((await sub.expect('suback')).granted).toEqual(filters.map(() => 1))
          const heard = (await publishes(sub, topics.length)).map(({ topic }) => String(topic))
          expect(heard.sort()).toEqual(topics)
          await sub.expectQuiet()
        }
      },
    )
  },
)

covers(['5:MQTT-3.3.4-3'], 'a retained message carries the id of the subscription that brought it', async () => {
  const broker = await startBroker()
  await publishSteps(await join(broker, 'pub'), ['1r a'])
  const sub = await join(broker, 'sub')
  const idOf = async () => {
    const received = await sub.expect('publish')
    return [told(received), (received.properties as { subscriptionIdentifier?: number })?.subscriptionIdentifier]
  }
  await sub.subscribe('#', 0, { id: 268_435_455 })
  expect(await idOf()).toEqual(['t=a q0 retain', 268_435_455])
  await sub.subscribe('t', 0, { id: 1 })
  expect(await idOf()).toEqual(['t=a q0 retain', 1])
  await sub.subscribe('+', 0)
  expect(await idOf()).toEqual(['t=a q0 retain', undefined])
})

covers(
  ['3.1.1:MQTT-3.1.2-7', '5:MQTT-3.3.1-5'],
  'a retained message outlives the session of its publisher',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const pub = await join(broker, 'pub', version)
      await publishSteps(pub, ['1r a'])
      await pub.disconnect()
      expect(await retainedFor(broker, version)).toEqual(['t=a q1 retain'])
    }
  },
)

covers(['5:MQTT-3.8.3-3'], 'a no-local subscription does not bring what its own client id has retained', async () => {
  const broker = await startBroker()
  const both = (client: RawClient) => settle(client.publish('t/own', 'x', { retain: true }))
  const self = await join(broker, 'self')
  await both(self)
  const other = await join(broker, 'other')
  other.publish('t/other', 'y', { retain: true })
  await settle(other)
  await self.subscribe('t/#', 0, { nl: true })
  expect(await hears(self, 1)).toEqual(['t/other=y q0 retain'])
  await self.expectQuiet()
  // The client id counts, not the session.
  const again = await join(broker, 'self')
  await again.subscribe('t/#', 0, { nl: true })
  expect(await hears(again, 1)).toEqual(['t/other=y q0 retain'])
  await again.subscribe('t/own', 0)
  expect(await hears(again, 1)).toEqual(['t/own=x q0 retain'])
  await again.expectQuiet()
})

covers(
  ['5:MQTT-3.3.4-9', '5:MQTT-4.4.0-1'],
  'retained messages keep to the window, and come again with both flags when they were not acknowledged',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (const topic of ['a', 'b', 'c']) pub.publish(topic, 'x', { qos: 1, messageId: 1, retain: true })
    await settle(pub)
    const sub = await joinKept(broker, 'sub', 5, { receiveMaximum: 1 })
    await sub.subscribe('+', 1)
    const [first] = await publishes(sub, 1)
    expect(told(first!)).toBe('a=x q1 retain')
    await sub.expectQuiet()
    const back = await joinKept(broker, 'sub', 5, { receiveMaximum: 1 })
    const [again] = await publishes(back, 1)
    expect([told(again!), again!.messageId]).toEqual(['a=x q1 retain dup', first!.messageId])
    await back.expectQuiet()
    await acknowledge(back, again!)
    for (const expected of ['b=x q1 retain', 'c=x q1 retain']) {
      const [next] = await publishes(back, 1)
      expect(told(next!)).toBe(expected)
      await back.expectQuiet()
      await acknowledge(back, next!)
    }
  },
)

covers(['5:MQTT-3.3.1-9', '3.1.1:MQTT-3.3.1-6'], 'thousands of retained messages all arrive, once', async () => {
  const broker = await startBroker()
  const count = 3000
  const pub = await join(broker, 'pub')
  for (let i = 0; i < count; i++) pub.publish(`t/${i}`, 'x'.repeat(1000), { retain: true })
  await settle(pub)
  for (const version of [4, 5] as const) {
    const sub = await join(broker, 'sub', version)
    await sub.subscribe('t/+')
    const topics = (await publishes(sub, count)).map(({ topic }) => topic)
    expect(new Set(topics).size).toBe(count)
    await sub.expectQuiet()
  }
})
