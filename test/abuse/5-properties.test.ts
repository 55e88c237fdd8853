import { describe, expect, test } from 'vitest'
import { Reason } from '../../src/mqtt/reason.ts'
import { HandBroker } from '../support/hand.ts'

// That it costs the loop less than 20 ms is a figure: npm run abuse -- --only 5.

const flood = Buffer.from('2600000000'.repeat(60_000), 'hex')

/** A packet of MQTT 5 whose properties are `flood`, behind `before`. */
function packet(first: number, before: Buffer, after = Buffer.alloc(0)): Buffer {
  const content = Buffer.concat([before, varint(flood.length), flood, after])
  return Buffer.concat([Buffer.from([first]), varint(content.length), content])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  do {
    bytes.push((value & 127) | (value > 127 ? 128 : 0))
    value >>>= 7
  } while (value > 0)
  return Buffer.from(bytes)
}

const hex = (text: string) => Buffer.from(text, 'hex')

describe('abuse 5: 60,000 user properties', () => {
  for (const [name, bytes] of [
    ['PUBLISH', packet(0x30, hex('000161'))],
    ['PUBACK', packet(0x40, hex('000100'))],
    ['SUBSCRIBE', packet(0x82, hex('0001'), hex('00016100'))],
    ['UNSUBSCRIBE', packet(0xa2, hex('0001'), hex('000161'))],
    ['DISCONNECT', packet(0xe0, hex('00'))],
  ] as const)
    test(`${name}: refused with 0x97, and counted`, () => {
      const hand = new HandBroker()
      const client = hand.client('flood')
      client.bytes(bytes)
      expect(client.taken()).toMatchObject([{ cmd: 'disconnect', reasonCode: Reason.quotaExceeded }])
      expect(client.closed).toBe(true)
      expect(Object.fromEntries(hand.broker.ledger.refusals)).toEqual({ quotaExceeded: 1 })
      hand.client('honest').publish('a')
      expect(hand.broker.ledger.published).toBe(1)
    })

  test('CONNECT: refused on its declared length, before it is buffered', () => {
    const hand = new HandBroker()
    const client = hand.open()
    client.bytes(packet(0x10, hex('00044d5154540502003c')).subarray(0, 1000))
    expect(client.closed).toBe(true)
    expect(client.connection.unreadBytes).toBe(0)
    expect(Object.fromEntries(hand.broker.ledger.refusals)).toEqual({ packetTooLarge: 1 })
  })
})
