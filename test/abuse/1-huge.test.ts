import { describe, expect, test } from 'vitest'
import { bytes, connect, hex, packet, versions } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { honest, Peer } from './kit.ts'

describe('abuse 1: huge and unfinished packets before CONNECT', () => {
  test('5,000 headers that claim 256 MB and bring 1 KB: each is closed on what it claims', async () => {
    const broker = await startBroker()
    const others = await honest(broker)
    const claim = bytes(0x10, hex('ffffff7f'), Buffer.alloc(1024))
    for (let count = 0; count < 5000; count++) {
      const peer = new Peer()
      const connection = broker.node.broker.accept(peer)
      // Byte by byte or whole: the size is refused as soon as it is there.
      if (count % 2 === 0) connection.data(claim)
      else for (const byte of claim.subarray(0, 5)) connection.data(Buffer.of(byte))
      expect([connection.state, peer.ended]).toEqual(['closed', true])
    }
    expect(broker.node.broker.connections).toBe(2)
    await others.served()
  })

  test('a first byte that is no CONNECT closes before its length has come', async () => {
    const broker = await startBroker()
    for (let first = 0; first < 256; first++) {
      const connection = broker.node.broker.accept(new Peer())
      connection.data(Buffer.of(first))
      expect([first, connection.state]).toEqual([first, first === 0x10 ? 'opened' : 'closed'])
      connection.closed()
    }
  })

  for (const version of versions)
    test(`version ${version}: over sockets, 64 KiB are the most that CONNECT may have`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      for (const [length, taken] of [
        [65_536, true],
        [65_537, false],
      ] as const) {
        const client = await RawClient.open(broker, version)
        const empty = connect(version, { flags: 0xc2, payload: ['id', 'user', Buffer.of(0, 0)] })
        // A password fills it; three bytes of length instead of one.
        const filler = Buffer.alloc(length - empty.length - 2)
        const whole = connect(version, {
          flags: 0xc2,
          payload: ['id', 'user', Buffer.of(filler.length >> 8, filler.length & 255), filler],
        })
        expect(whole.length).toBe(length)
        client.bytes(whole)
        if (taken) expect((await client.expect('connack')).cmd).toBe('connack')
        else {
          while (!(client.closed && client.packets.length === 0)) await client.next().catch(() => {})
        }
        client.bytes(packet(0xe0))
      }
      await others.served()
    })
})
