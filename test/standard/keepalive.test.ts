import { expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient, type Transport } from '../support/raw.ts'
import { covers } from './covering.ts'
import { hasten, join } from './kit.ts'
import {
  bytes,
  clausesLogged,
  connect,
  hex,
  only5,
  packet,
  propertiesOf,
  transports,
  u16,
  type Version,
  versions,
} from './wire.ts'

// Sections 3.1.2.10, 3.2.2.3.14 and 3.12: keep alive and PINGREQ.

async function enter(broker: TestBroker, version: Version, keepAliveSeconds: number, transport: Transport = 'tcp') {
  const client = await RawClient.open(broker, version, transport)
  const connack = await client.bytes(connect(version, { keepAliveSeconds })).expect('connack')
  return { client, told: propertiesOf(connack).serverKeepAlive }
}

for (const transport of transports) {
  covers(
    ['5:MQTT-3.12.4-1', '3.1.1:MQTT-3.12.4-1'],
    `PINGREQ is answered with PINGRESP, over ${transport}`,
    async () => {
      const broker = await startBroker()
      for (const version of versions) {
        const { client } = await enter(broker, version, 0, transport)
        client.bytes('c0 00')
        expect((await client.expect('pingresp')).raw).toEqual(hex('d0 00'))
        client.bytes(Buffer.alloc(2000, hex('c0 00')))
        for (let n = 0; n < 1000; n++) await client.expect('pingresp')
        await client.expectQuiet()
      }
    },
  )

  covers(
    ['5:MQTT-3.1.2-22', '5:MQTT-3.2.2-22', '3.1.1:MQTT-3.1.2-24'],
    `a client that is silent for one and a half times its keep alive is sent away: v5 with 0x8D, over ${transport}`,
    async () => {
      for (const version of versions) {
        const broker = await startBroker()
        const { client, told } = await enter(broker, version, 100, transport)
        expect(told).toBe(undefined)
        for (let n = 0; n < 3; n++) {
          hasten(140)
          await client.expectQuiet()
        }
        hasten(151)
        await client.expectDisconnect(0x8d)
        expect(clausesLogged(broker)).toEqual(['MQTT-3.1.2-22'])
      }
    },
  )
}

covers(
  ['5:MQTT-3.1.2-22', '3.1.1:MQTT-3.1.2-24'],
  'the shortest keep alive runs out by the clock on the wall',
  async () => {
    const broker = await startBroker()
    const clients = await Promise.all(
      versions.flatMap((version) =>
        transports.map(async (transport) => {
          const client = await RawClient.open(broker, version, transport)
          client.bytes(connect(version, { keepAliveSeconds: 1, payload: [`${version}${transport}`] }))
          await client.expect('connack')
          return client
        }),
      ),
    )
    await Promise.all(clients.map((client) => client.expectDisconnect(0x8d)))
  },
)

covers(
  ['5:MQTT-3.1.2-22', '3.1.1:MQTT-3.1.2-24'],
  'any packet is a sign of life, and none that has not come whole',
  async () => {
    for (const version of versions) {
      const broker = await startBroker()
      const { client } = await enter(broker, version, 100)
      const signs = [
        packet(0x30, 'a', only5(version), 'x'),
        packet(0x40, u16(1)),
        packet(0x70, u16(1)),
        packet(0x82, u16(1), only5(version), 'other', 0),
        packet(0xa2, u16(1), only5(version), 'other'),
      ]
      for (const sign of signs) {
        hasten(140)
        client.bytes(sign)
        if (sign[0] === 0x82) await client.expect('suback')
        else if (sign[0] === 0xa2) await client.expect('unsuback')
        // What another client does proves that the sign has been read.
        else await (await join(broker, `other ${sign[0]!.toString()}`)).expectQuiet()
      }
      hasten(140)
      client.bytes(packet(0x30, 'a', only5(version), 'x').subarray(0, 4))
      await (await join(broker, 'last')).expectQuiet()
      hasten(11)
      await client.expectDisconnect(0x8d)
    }
  },
)

covers(['5:MQTT-3.1.2-22', '3.1.1:MQTT-3.1.2-24'], 'what a client is sent is no sign of its life', async () => {
  for (const version of versions) {
    const broker = await startBroker()
    const { client } = await enter(broker, version, 100)
    await client.subscribe('a')
    hasten(100)
    const publisher = await join(broker, 'publisher', version)
    publisher.publish('a')
    await client.expect('publish')
    hasten(51)
    await client.expectDisconnect(0x8d)
    await publisher.expectQuiet()
  }
})

test('a client is not silent while the broker asks about it, and reads nothing', async () => {
  let answer = () => {}
  const broker = await startBroker({
    hooks: { authorizePublish: () => new Promise<void>((resolve) => (answer = resolve)) },
    limits: { hookSeconds: 3600 },
  })
  const { client } = await enter(broker, 5, 100)
  client.publish('a', 'x', { qos: 1, messageId: 1 })
  const other = await RawClient.open(broker, 4)
  other.bytes(connect(4, { keepAliveSeconds: 50, payload: ['other'] }))
  await other.expect('connack')
  hasten(200)
  // The other one, who is silent, is sent away: the broker has looked.
  await other.expectClosed()
  answer()
  await client.expect('puback')
  hasten(140)
  await client.expectQuiet()
  hasten(151)
  await client.expectDisconnect(0x8d)
})

covers(
  ['5:MQTT-3.1.2-21', '5:MQTT-3.1.2-22', '5:MQTT-3.2.2-22'],
  'v5 is told another keep alive where the limit is lower, and it holds',
  async () => {
    const broker = await startBroker({ limits: { keepAliveSeconds: 60 } })
    for (const [asked, told, holds] of [
      [0, 60, 60],
      [61, 60, 60],
      [65_535, 60, 60],
      [60, undefined, 60],
      [10, undefined, 10],
    ] as const) {
      const entered = await enter(broker, 5, asked)
      expect(entered.told).toBe(told)
      hasten(1.4 * holds)
      await entered.client.expectQuiet()
      hasten(1.5 * holds + 1)
      await entered.client.expectDisconnect(0x8d)
    }
  },
)

covers(['3.1.1:MQTT-3.1.2-24'], 'a 3.x client cannot be told: what it asked for holds, and 0 is for ever', async () => {
  const broker = await startBroker({ limits: { keepAliveSeconds: 60 } })
  for (const version of [3, 4] as const) {
    const { client } = await enter(broker, version, 0)
    hasten(100_000)
    await client.expectQuiet()
    const { client: longer } = await enter(broker, version, 65_535)
    hasten(98_000)
    await longer.expectQuiet()
    hasten(99_000)
    await longer.expectClosed()
  }
})

test('a client must send CONNECT in time, however little of it comes', async () => {
  for (const transport of transports) {
    const broker = await startBroker({ limits: { connectSeconds: 30 } })
    const silent = await RawClient.open(broker, 5, transport)
    const slow = await RawClient.open(broker, 5, transport)
    const request = bytes(connect(5))
    for (const byte of request.subarray(0, -1)) slow.bytes(Buffer.of(byte))
    const { client } = await enter(broker, 5, 0, transport)
    hasten(31)
    await silent.expectClosed()
    await slow.expectClosed()
    await client.expectQuiet()
    expect(clausesLogged(broker)).toEqual(['MQTT-3.1.4', 'MQTT-3.1.4'])
  }
})
