import { describe, expect, test } from 'vitest'
import { hasten, join } from '../standard/kit.ts'
import { connect, packet, versions } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { honest } from './kit.ts'

describe('abuse 25: slow and held sockets', () => {
  test('keep alive 0 and 65535 of a v5 client are capped, and it is told so', async () => {
    const broker = await startBroker()
    for (const keepalive of [0, 601, 65_535]) {
      const client = await RawClient.open(broker)
      client.bytes(connect(5, { keepAliveSeconds: keepalive }))
      expect(await client.expect('connack')).toMatchObject({ properties: { serverKeepAlive: 600 } })
      await client.drop()
    }
    const silent = await join(broker, 'silent', 5, { keepalive: 0 })
    hasten(899)
    await silent.expectQuiet()
    hasten(901)
    await silent.expectDisconnect(0x8d)
  })

  for (const version of versions)
    test(`version ${version}: a CONNECT that is refused closes its socket, though its peer keeps it open`, async () => {
      const broker = await startBroker({ hooks: { authenticate: () => false } })
      for (let count = 0; count < 50; count++) {
        const client = await RawClient.open(broker, version)
        // Of one user the second would wait.
        client.bytes(connect(version, { flags: 0x82, payload: ['raw', `user ${count}`] }))
        await client.expect('connack')
        await client.expectClosed()
      }
      expect(broker.node.broker.connections).toBe(0)
    })

  test('a CONNECT byte by byte, half of one, or none: gone when the time for it is over, whatever came last', async () => {
    const broker = await startBroker()
    const others = await honest(broker)
    const whole = connect(5)
    const slow = await Promise.all(
      [0, 1, 5, whole.length - 1].map(async (length) => {
        const client = await RawClient.open(broker)
        return length === 0 ? client : client.bytes(whole.subarray(0, length))
      }),
    )
    // All of them have been accepted, the two who are honest as well.
    await expect.poll(() => broker.node.broker.connections).toBe(2 + slow.length)
    // A byte now and then does not prolong it.
    hasten(5)
    slow[1]!.bytes(whole.subarray(1, 2))
    hasten(6)
    for (const client of slow) {
      while (!(client.closed && client.packets.length === 0)) await client.next().catch(() => {})
      client.bytes(packet(0xc0))
    }
    expect(broker.node.broker.connections).toBe(2)
    await others.served()
  })

  test('400 half-open sockets: honest clients connect meanwhile, and none of the others is left when its time is over', async () => {
    const broker = await startBroker()
    const half = connect(5).subarray(0, 8)
    const held = await Promise.all(
      Array.from({ length: 400 }, async (_, at) => {
        const client = await RawClient.open(broker)
        return at % 2 === 0 ? client : client.bytes(half)
      }),
    )
    const others = await honest(broker)
    await expect.poll(() => broker.node.broker.connections).toBe(402)
    await others.served()
    hasten(11)
    await Promise.all(held.map((client) => client.expectClosed()))
    expect(broker.node.broker.connections).toBe(2)
    await others.served()
  })
})
