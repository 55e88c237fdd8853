import { describe, expect, test } from 'vitest'
import { Reason } from '../../src/mqtt/reason.ts'
import { eachRow, hears, join, settle } from '../standard/kit.ts'
import { block, connect, only5, packet, text, u16, versions, type Version } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { honest } from './kit.ts'

describe('abuse 8: $ topics and internal names', () => {
  const own = ['$SYS/broker/uptime', '$SYS/x', '$SYS', '$internal/x', '$x/x']
  const wild = ['#', '+/#', '+', '+/x', '+/+', '+/broker/uptime', '/#', '$share/g/#', '$share/g/+/x']

  for (const version of versions)
    test(`version ${version}: no wildcard at the beginning finds them, live or retained`, async () => {
      const broker = await startBroker()
      const say = (topic: string) =>
        broker.node.broker.inject({ topic, payload: Buffer.from('x'), qos: 0, retain: true })
      own.forEach(say)
      const client = await join(broker, 'client', version)
      for (const filter of wild) expect(await client.subscribe(filter, 2)).toBe(2)
      own.forEach(say)
      await client.expectQuiet()
      expect(await client.subscribe('$SYS/#')).toBe(0)
      own.forEach(say)
      // Three that were retained, and the same three live.
      expect(await hears(client, 6)).toHaveLength(6)
      await client.expectQuiet()
    })

  const theirs = ['$SYS', '$SYS/', '$SYS/broker/version', '$share', '$share/g/x']
  for (const version of versions)
    test(`version ${version}: publish and will to what is the broker's: refused`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      const reader = await join(broker, 'reader', version)
      await reader.subscribe('$SYS/#', 2)
      await reader.subscribe('$share/g/$SYS/#', 2)
      const client = await join(broker, 'client', version)
      await eachRow(
        theirs.map((topic) => [topic] as const),
        async (topic) => {
          for (const retain of [false, true]) {
            client.publish(topic, 'forged', { qos: 1, messageId: 1, retain })
            const { reasonCode } = await client.expect('puback')
            if (version === 5) expect(reasonCode).toBe(Reason.notAuthorized)
            client.publish(topic, 'forged', { qos: 0, retain })
          }
          const leaver = await RawClient.open(broker, version)
          leaver.bytes(connect(version, { flags: 6, payload: ['leaver', ...willOf(version, topic)] }))
          const { reasonCode, returnCode } = await leaver.expect('connack')
          expect(reasonCode ?? returnCode).toBe(version === 5 ? Reason.notAuthorized : 5)
          await leaver.expectClosed()
        },
      )
      await settle(client)
      await reader.expectQuiet()
      expect(broker.node.broker.retained.size).toBe(0)
      expect(broker.node.broker.ledger.refused).toBe(4 * theirs.length)
      await others.served()
    })

  test('a topic alias is no way around it', async () => {
    const broker = await startBroker()
    const client = await join(broker, 'client')
    const reader = await join(broker, 'reader')
    await reader.subscribe('$SYS/#')
    const alias = block(0x23, u16(1))
    for (const topic of ['$SYS/x', '', '']) client.bytes(packet(0x30, topic, alias, 'forged'))
    await settle(client)
    await reader.expectQuiet()
    expect(broker.node.broker.ledger.refused).toBe(3)
  })

  test('a name that only the broker may write, as it would stand in the store: refused', async () => {
    const broker = await startBroker()
    for (const id of ['\0out/b', '\0in/b', '\0table/b', '\0arriving/x', '\u0001scope\u0001id'])
      for (const version of versions) {
        const client = await RawClient.open(broker, version)
        client.bytes(connect(version, { payload: [id] }))
        if (version === 5) expect((await client.expect('connack')).reasonCode).toBe(Reason.malformedPacket)
        await client.expectClosed()
      }
    expect(broker.node.broker.sessions.size).toBe(0)
  })
})

/** A will's fields in the payload of CONNECT. */
function willOf(version: Version, topic: string): Buffer[] {
  return [only5(version), text(Buffer.from(topic)), text(Buffer.from('gone'))]
}
