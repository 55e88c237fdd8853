import { describe, expect, test } from 'vitest'
import { join } from '../standard/kit.ts'
import { block, bytes, connect, only5, packet, u16, type Version, versions } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { honest } from './kit.ts'

/** Packets with texts and binaries in them, each found by its content: its length stands before it. */
const marks = ['first', 'second', 'third', 'fourth']
const packets: Record<string, (version: Version) => Buffer> = {
  'CONNECT with all that it may have': (v) =>
    connect(v, {
      flags: 0xc6,
      properties: block(0x15, 'method', 0x26, 'k', 'v'),
      payload: ['first', only5(v, 0x03, 'type', 0x08, 'response'), 'second', 'third', 'fourth', 'password'],
    }),
  PUBLISH: (v) => packet(0x32, 'first', u16(1), only5(v, 0x08, 'second', 0x26, 'third', 'fourth', 0x09, 'data'), 'x'),
  SUBSCRIBE: (v) => packet(0x82, u16(1), only5(v, 0x26, 'third', 'fourth'), 'first', 0, 'second', 0),
  UNSUBSCRIBE: (v) => packet(0xa2, u16(1), only5(v, 0x26, 'third', 'fourth'), 'first', 'second'),
}

describe('abuse 3: inner lengths that lie', () => {
  for (const version of versions)
    for (const [name, build] of Object.entries(packets))
      test(`version ${version}, ${name}: nothing is read that is not there, and nothing is thrown`, async () => {
        const broker = await startBroker()
        const others = await honest(broker, version)
        const whole = build(version)
        let tried = 0
        for (const mark of marks) {
          const at = whole.indexOf(mark) - 2
          if (at < 0) continue
          const rest = whole.length - at - 2
          for (const lie of [0, mark.length - 1, mark.length + 1, rest + 1, 0x7fff, 0xffff]) {
            const lying = Buffer.from(whole)
            lying.writeUInt16BE(lie, at)
            const client = await (whole[0] === 0x10 ? RawClient.open(broker, version) : join(broker, 'liar', version))
            // A lie may leave a packet that is another one, and good: it ends with the DISCONNECT behind it then.
            client.bytes(bytes(lying, packet(0xe0)))
            while (!(client.closed && client.packets.length === 0)) await client.next().catch(() => {})
            tried++
          }
          // Beyond the end of its packet there is nothing to read, whatever comes next.
          const beyond = Buffer.from(whole)
          beyond.writeUInt16BE(rest + 1, at)
          const client = await (whole[0] === 0x10 ? RawClient.open(broker, version) : join(broker, 'liar', version))
          const before = broker.log.length
          client.bytes(beyond)
          while (!(client.closed && client.packets.length === 0)) await client.next().catch(() => {})
          expect(broker.log.slice(before).filter(({ level }) => level === 'warn')).toHaveLength(1)
        }
        expect(tried).toBeGreaterThanOrEqual(version === 5 ? 12 : 6)
        expect(broker.log.filter(({ level }) => level === 'error')).toEqual([])
        await others.served()
      })
})
