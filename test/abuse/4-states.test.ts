import { describe, expect, test } from 'vitest'
import { join } from '../standard/kit.ts'
import { bytes, connect, only5, packet, u16, type Version, versions } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { honest } from './kit.ts'

/** A packet of each type, as it would be at its best. */
function ofType(type: number, version: Version): Buffer {
  const id = u16(1)
  const flags = [6, 8, 10].includes(type) ? 2 : 0
  const first = (type << 4) | flags
  if (type === 1) return connect(version)
  if (type === 2) return packet(first, 0, 0, only5(version))
  if (type === 3) return packet(first, 't', only5(version), 'x')
  if (type === 8) return packet(first, id, only5(version), 't', 0)
  if (type === 9) return packet(first, id, only5(version), 0)
  if (type === 10) return packet(first, id, only5(version), 't')
  if (type === 11) return packet(first, id, ...(version === 5 ? [only5(version), 0] : []))
  return type >= 4 && type <= 7 ? packet(first, id) : packet(first)
}

const types = Array.from({ length: 16 }, (_, type) => type)
/** What only a server sends, what is no type, and a second CONNECT; AUTH wants a method. */
const never = [0, 1, 2, 9, 11, 13]

describe('abuse 4: a packet in the wrong state', () => {
  for (const version of versions) {
    test(`version ${version}: before CONNECT each of the 16 types but CONNECT closes, unread`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      for (const type of types.filter((type) => type !== 1)) {
        const client = await RawClient.open(broker, version)
        client.bytes(bytes(ofType(type, version), connect(version), packet(0xc0)))
        await client.expectClosed()
      }
      expect(broker.node.broker.sessions.size).toBe(2)
      await others.served()
    })

    test(`version ${version}: after CONNECT what no client sends closes, and what stands behind it never runs`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      const watcher = await join(broker, 'watcher', version)
      await watcher.subscribe('after')
      for (const type of [...never, 15]) {
        const client = await join(broker, 'client', version)
        client.bytes(bytes(ofType(type, version), packet(0x30, 'after', only5(version), 'x')))
        while (!(client.closed && client.packets.length === 0)) {
          const { cmd } = await client.next().catch(() => ({ cmd: 'closed' }))
          expect(['disconnect', 'closed'], `type ${type}`).toContain(cmd)
        }
      }
      await watcher.expectQuiet()
      await others.served()
    })

    test(`version ${version}: acknowledgements of what was never sent change nothing`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      const client = await join(broker, 'client', version)
      for (const type of [4, 5, 6, 7]) client.bytes(ofType(type, version))
      client.bytes(packet(0xe0))
      while (!(client.closed && client.packets.length === 0)) {
        const { cmd } = await client.next().catch(() => ({ cmd: 'closed' }))
        expect(['pubrel', 'pubcomp', 'disconnect', 'closed']).toContain(cmd)
      }
      expect(broker.node.broker.pending).toBe(0)
      await others.served()
    })
  }
})
