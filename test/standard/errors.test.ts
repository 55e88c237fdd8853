import { expect } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import { join } from './kit.ts'
import { answer, block, bytes, connect, hex, packet, transports, u16, u32 } from './wire.ts'

// Section 4.13 (5.0), 4.8 (3.1.1): what a client gets wrong ends its connection, with the reason that fits and one line
// in the log that names the clause.

type Row = readonly [what: string, sent: Uint8Array, code: number | undefined, reason: string, clause: string]

const beforeConnack: readonly Row[] = [
  ['another packet first', hex('c0 00'), undefined, 'protocolError', 'MQTT-3.1.0-1'],
  ['a flag in the first byte', hex('11 00'), undefined, 'malformedPacket', 'MQTT-2.1.3-1'],
  ['a CONNECT without content', hex('10 00'), undefined, 'malformedPacket', 'MQTT-4.13.1-1'],
  ['another protocol', connect(5, { protocol: 'AMQP' }), undefined, 'malformedPacket', 'MQTT-3.1.2-1'],
  ['another level', connect(5, { level: 9 }), 1, 'unsupportedProtocolVersion', 'MQTT-3.1.2-2'],
  ['a reserved connect flag', connect(5, { flags: 3 }), 0x81, 'malformedPacket', 'MQTT-3.1.2-3'],
  ['a will QoS without a will', connect(5, { flags: 0x0a }), 0x81, 'malformedPacket', 'MQTT-3.1.2-11'],
  ['a will of QoS 3', connect(5, { flags: 0x1e }), 0x81, 'malformedPacket', 'MQTT-3.1.2-12'],
  ['will retain without a will', connect(5, { flags: 0x22 }), 0x81, 'malformedPacket', 'MQTT-3.1.2-13'],
  [
    'a client id that is too long',
    connect(5, { payload: ['x'.repeat(257)] }),
    0x85,
    'clientIdNotValid',
    'MQTT-3.1.3-8',
  ],
  ['a byte too many', bytes(connect(5, { payload: ['id', 0] })), 0x81, 'malformedPacket', 'MQTT-3.1.4-1'],
  ['too large', hex('10 ff ff ff 7f'), undefined, 'packetTooLarge', 'MQTT-3.2.2-15'],
  ['a length of five bytes', hex('10 ff ff ff ff 01'), undefined, 'malformedPacket', 'MQTT-1.5.5-1'],
  ['a method', connect(5, { properties: block(0x15, 'M') }), 0x8c, 'badAuthenticationMethod', 'MQTT-4.12.0-1'],
  ['receive maximum 0', connect(5, { properties: block(0x21, u16(0)) }), 0x82, 'protocolError', 'MQTT-3.1.2.11.3'],
  ['packet size 0', connect(5, { properties: block(0x27, u32(0)) }), 0x82, 'protocolError', 'MQTT-3.1.2.11.4'],
  ['a property twice', connect(5, { properties: block(0x17, 1, 0x17, 1) }), 0x82, 'protocolError', 'MQTT-2.2.2.2'],
  ['an unknown property', connect(5, { properties: block(0x7f) }), 0x81, 'malformedPacket', 'MQTT-2.2.2.2'],
]

const connected: readonly Row[] = [
  ['type 0', hex('00 00'), 0x82, 'protocolError', 'MQTT-4.13.1-1'],
  ['a second CONNECT', connect(5), 0x82, 'protocolError', 'MQTT-3.1.0-2'],
  ['CONNACK', hex('20 03 00 00 00'), 0x82, 'protocolError', 'MQTT-4.13.1-1'],
  ['QoS 3', packet(0x36, 'a', u16(1), block()), 0x81, 'malformedPacket', 'MQTT-3.3.1-4'],
  ['DUP on QoS 0', packet(0x38, 'a', block()), 0x81, 'malformedPacket', 'MQTT-3.3.1-2'],
  ['packet id 0', packet(0x32, 'a', u16(0), block()), 0x82, 'protocolError', 'MQTT-2.2.1-3'],
  ['a wildcard in a topic', packet(0x30, 'a/#', block()), 0x90, 'topicNameInvalid', 'MQTT-3.3.2-2'],
  ['no topic and no alias', packet(0x30, '', block()), 0x82, 'protocolError', 'MQTT-3.3.2-8'],
  ['alias 0', packet(0x30, 'a', block(0x23, u16(0))), 0x94, 'topicAliasInvalid', 'MQTT-3.3.2-8'],
  ['a wildcard in a response topic', packet(0x30, 'a', block(8, '+')), 0x82, 'protocolError', 'MQTT-3.3.2-14'],
  ['U+0000', packet(0x30, 'a\0', block()), 0x81, 'malformedPacket', 'MQTT-1.5.4-2'],
  ['a surrogate', packet(0x30, u16(3), hex('ed a0 80'), block()), 0x81, 'malformedPacket', 'MQTT-1.5.4-1'],
  ['properties that go on', packet(0x30, 'a', 9), 0x81, 'malformedPacket', 'MQTT-2.2.2-1'],
  ['flags of PUBREL', packet(0x60, u16(1)), 0x81, 'malformedPacket', 'MQTT-3.6.1-1'],
  ['flags of SUBSCRIBE', packet(0x80, u16(1), block(), 'a', 0), 0x81, 'malformedPacket', 'MQTT-3.8.1-1'],
  ['SUBSCRIBE to nothing', packet(0x82, u16(1), block()), 0x82, 'protocolError', 'MQTT-3.8.3-2'],
  ['a reserved option', packet(0x82, u16(1), block(), 'a', 0x40), 0x81, 'malformedPacket', 'MQTT-3.8.3-5'],
  ['flags of UNSUBSCRIBE', packet(0xa0, u16(1), block(), 'a'), 0x81, 'malformedPacket', 'MQTT-3.10.1-1'],
  ['UNSUBSCRIBE from nothing', packet(0xa2, u16(1), block()), 0x82, 'protocolError', 'MQTT-3.10.3-2'],
  ['PINGREQ with content', hex('c0 01 00'), 0x81, 'malformedPacket', 'MQTT-2.1.3-1'],
  ['flags of DISCONNECT', hex('e1 00'), 0x81, 'malformedPacket', 'MQTT-3.14.1-1'],
  ['a reason of DISCONNECT', hex('e0 01 8e'), 0x82, 'protocolError', 'MQTT-3.14.2-1'],
  ['a longer session', packet(0xe0, 0, block(0x11, u32(1))), 0x82, 'protocolError', 'MQTT-3.14.2.2.2'],
  ['AUTH', packet(0xf0, 0x19, block(0x15, 'M')), 0x82, 'protocolError', 'MQTT-4.12.0-7'],
  ['flags of AUTH', hex('f1 00'), 0x81, 'malformedPacket', 'MQTT-3.15.1-1'],
  ['a packet above the limit', hex('30 ff ff ff 7f'), 0x95, 'packetTooLarge', 'MQTT-3.2.2-15'],
]

for (const transport of transports)
  for (const [state, rows] of [
    ['before CONNACK', beforeConnack],
    ['after CONNACK', connected],
  ] as const)
    covers(
      ['5:MQTT-4.13.1-1', '5:MQTT-4.13.2-1', '3.1.1:MQTT-4.8.0-1'],
      `a fault of the client closes its connection and leaves one line in the log, ${state}, over ${transport}`,
      async () => {
        const broker = await startBroker()
        const bystander = await join(broker, 'bystander')
        for (const [what, sent, code, reason, clause] of rows) {
          const client = await RawClient.open(broker, 5, transport)
          if (rows === connected) {
            expect(await answer(client, connect(5, { payload: ['culprit'] }))).toBe(0)
            await client.bytes(sent).expectDisconnect(code!)
          } else {
            expect(await answer(client, sent), what).toBe(code)
            await client.expectClosed()
          }
          const lines = broker.log.filter(({ level }) => level !== 'debug')
          expect(lines, what).toHaveLength(1)
          const { level, fields, message } = lines[0]!
          expect([level, fields.clause, fields.reason], what).toEqual(['warn', clause, reason])
          expect(fields.remote).toMatch(/^127\.0\.0\.1:\d+$/)
          if (rows === connected) expect(fields.client).toBe('culprit')
          // One line: nothing that a client sends begins another.
          expect(message).toMatch(/^[^\p{Cc}]+$/u)
          ;(broker.log as unknown[]).length = 0
        }
        await bystander.expectQuiet()
      },
    )
