import { describe, expect, test } from 'vitest'
import { eachRow, join } from '../standard/kit.ts'
import { bytes, connect, hex, only5, packet, u16, versions } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { honest } from './kit.ts'

describe('abuse 2: smuggled lengths', () => {
  for (const version of versions)
    test(`version ${version}: a length of five bytes, or none that is one, closes; what stands behind it never runs`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      const watcher = await join(broker, 'watcher', version)
      await watcher.subscribe('smuggled')
      const hidden = packet(0x30, 'smuggled', only5(version), 'x')
      const filled = [0x30, 0x10, 0x82, 0xc0, 0xe0].map((first) => Buffer.of(first))
      await eachRow(
        [
          ...filled.map((first) => ['five bytes', bytes(first, hex('ffffffff01'))] as const),
          ['five bytes that mean 0', hex('3080808080 00')],
          ['a sixth', hex('30ffffffffff01')],
          ['a PINGREQ with content', hex('c001ff')],
          ['a DISCONNECT of 3.x with content', version === 5 ? hex('e00300ff00') : hex('e00100')],
          ['a PUBACK with more than it has', bytes(packet(0x40, u16(1), hex('00000000ff')))],
          ['a SUBSCRIBE that ends in a PUBLISH', packet(0x82, u16(1), only5(version), 'a', 0, hidden)],
        ] as const,
        async (_what, bad) => {
          for (const early of [false, true]) {
            const client = await (early ? RawClient.open(broker, version) : join(broker, 'smuggler', version))
            client.bytes(bytes(bad, hidden, hidden))
            while (!(client.closed && client.packets.length === 0)) await client.next().catch(() => {})
          }
        },
      )
      // In one chunk with a CONNECT that is wrong: neither the PUBLISH nor a will.
      const client = await RawClient.open(broker, version)
      client.bytes(bytes(connect(version, { level: 99 }), hidden))
      while (!(client.closed && client.packets.length === 0)) await client.next().catch(() => {})
      await watcher.expectQuiet()
      expect(broker.node.broker.connections).toBe(3)
      await others.served()
    })
})
