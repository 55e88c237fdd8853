import { describe, expect, test } from 'vitest'
import type { MqttError } from '../../src/mqtt/reason.ts'
import { type PlaceName, type PropertyKind, standardProperties } from './blocks.ts'
import { hex, type Line, Rig } from './line.ts'

// Each property of table 2-4 in each packet of a client.

const places: [place: PlaceName, first: number, before: string, after: string][] = [
  ['connect', 0x10, '00044d515454 05 02 0000', '000163'],
  ['will', 0x10, '00044d515454 05 06 0000 00 000163', '000177 0000'],
  ['publish', 0x32, '000161 0001', ''],
  ['ack', 0x40, '0001 00', ''],
  ['ack', 0x50, '0001 00', ''],
  ['ack', 0x62, '0001 00', ''],
  ['ack', 0x70, '0001 00', ''],
  ['subscribe', 0x82, '0001', '000161 00'],
  ['unsubscribe', 0xa2, '0001', '000161'],
  ['disconnect', 0xe0, '00', ''],
  ['auth', 0xf0, '18', ''],
]

const good: Record<PropertyKind, string> = {
  flag: '01',
  u16: '0001',
  u32: '00000001',
  varint: '01',
  text: '00016d',
  binary: '000200ff',
  pair: '000161000162',
}

/** The packet of a place with these properties, in hex. */
function packet([, first, before, after]: (typeof places)[number], properties: string): Buffer {
  const block = hex(properties)
  const content = Buffer.concat([hex(before), varint(block.length), block, hex(after)])
  return Buffer.concat([Uint8Array.of(first), varint(content.length), content])
}

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  for (; value > 127; value >>= 7) bytes.push((value & 127) | 128)
  return Uint8Array.of(...bytes, value)
}

function feed(place: (typeof places)[number], properties: string): Line {
  const line = new Rig().open(place[1] === 0x10 ? undefined : 5)
  return line.feed(packet(place, properties))
}

function clauseOf(line: Line): string | undefined {
  expect(line.rig.errors).toEqual([])
  return (line.fault as MqttError | undefined)?.clause
}

function text(id: number): string {
  return id.toString(16).padStart(2, '0')
}

describe.each(places)('%s %i', (...place) => {
  // AUTH needs its method, and so does the data of CONNECT.
  const needed = (id: number): string =>
    id !== 0x15 && (place[0] === 'auth' || (place[0] === 'connect' && id === 0x16)) ? '1500016d' : ''
  const withOne = (id: number, value: string): Line => feed(place, needed(id) + text(id) + value)

  test('takes what the table allows, and nothing else', () => {
    for (const [id, name, kind, allowed] of standardProperties) {
      const line = withOne(id, good[kind])
      const clause = allowed.includes(place[0])
        ? undefined
        : id === 0x0b && place[0] === 'publish'
          ? '3.3.4-6'
          : '2.2.2.2'
      expect(clauseOf(line)?.replace('MQTT-', ''), name).toBe(clause)
      if (clause === undefined) expect(line.readings.length, name).toBe(1)
    }
  })

  test('takes each once, and user properties many times', () => {
    for (const [id, name, kind, allowed] of standardProperties) {
      if (!allowed.includes(place[0])) continue
      const twice = feed(place, needed(id) + (text(id) + good[kind]).repeat(2))
      expect(clauseOf(twice), name).toBe(kind === 'pair' ? undefined : 'MQTT-2.2.2.2')
    }
  })

  test('refuses a value that is cut short, wherever', () => {
    for (const [id, name, kind, allowed] of standardProperties) {
      if (!allowed.includes(place[0])) continue
      const value = good[kind]
      for (let digits = 0; digits < value.length; digits += 2)
        expect(clauseOf(withOne(id, value.slice(0, digits))), `${name} cut to ${value.slice(0, digits)}`).toBe(
          'MQTT-4.13.1-1',
        )
    }
  })

  test('refuses every bad value', () => {
    const bad: Partial<Record<PropertyKind, string[]>> = {
      flag: ['02', 'ff'],
      varint: ['00', '8000', 'ffffffff01'],
      text: ['000100', '0001ff', '0003eda080'],
      pair: ['000100 000161', '000161 000100', '0001c3 0000', '0000 0001c3'],
    }
    for (const [id, name, kind, allowed] of standardProperties) {
      if (!allowed.includes(place[0])) continue
      const zero = id === 0x21 || id === 0x23 ? ['0000'] : id === 0x27 ? ['00000000'] : []
      const topic = id === 0x08 ? ['0000', '00012b', '000123', '0003612f23'] : []
      for (const value of [...(bad[kind] ?? []), ...zero, ...topic])
        expect(clauseOf(withOne(id, value)), `${name} ${value}`).toBeDefined()
    }
  })

  test('refuses unknown ones, and lengths that lie', () => {
    for (const id of ['00', '04', '0a', '10', '14', '1b', '20', '2b', '7f', 'ff01', 'ffffff7f'])
      expect(clauseOf(feed(place, `${needed(0)}${id}00`)), id).toBe('MQTT-2.2.2.2')
    const lying = packet(place, '')
    lying[2 + hex(place[2]).length] = 127
    const line = new Rig().open(place[1] === 0x10 ? undefined : 5).feed(lying)
    expect(clauseOf(line)).toBe('MQTT-2.2.2-1')
  })

  test('takes user properties up to the limit', () => {
    const one = '26 0001 61 0001 62'
    expect(clauseOf(feed(place, needed(0) + one.repeat(64)))).toBeUndefined()
    expect(clauseOf(feed(place, needed(0) + one.repeat(65)))).toBe('MQTT-2.2.2.2')
    const large = (bytes: number): string =>
      `26 0001 61 ${(bytes - 6).toString(16).padStart(4, '0')} ${'62'.repeat(bytes - 6)}`
    expect(clauseOf(feed(place, needed(0) + large(8192)))).toBeUndefined()
    expect(clauseOf(feed(place, needed(0) + large(8193)))).toBe('MQTT-2.2.2.2')
  })
})

describe('what is forwarded', () => {
  test.each<[name: string, block: string, forwarded: string | undefined]>([
    ['nothing', '', undefined],
    ['what the broker does not act on, in order', '26000162000131 0300016d 26000161000132 0101 090001ff', 'all'],
    ['nothing but an expiry', '0200000001', undefined],
    ['nothing but an alias', '230001', undefined],
    ['an expiry is left out', '0300016d 0200000001 26000162000131', '0300016d 26000162000131'],
    ['an alias is left out', '230001 0101 2600000000', '0101 2600000000'],
    ['what looks like an expiry is none', '090005 0200000001 0200000001', '090005 0200000001'],
  ])('%s', (_name, block, forwarded) => {
    const expected = forwarded === 'all' ? block : forwarded
    const [publish, will] = [places[2]!, places[1]!]
    const line = feed(publish, block)
    expect(clauseOf(line)).toBeUndefined()
    expect(line.messages.map(({ properties }) => properties && Buffer.from(properties))).toEqual([
      expected && hex(expected),
    ])
    if (block.includes('230001')) return
    const decoder = new Rig().context.decoder
    const { properties } = decoder.connect(packet(will, `1800000005 ${block}`), 2).will!
    expect(properties && Buffer.from(properties)).toEqual(expected && hex(expected))
  })

  test('a will of 3.x has no properties, whatever came before', () => {
    const { decoder } = new Rig().context
    const v5 = packet(places[1]!, '0300016d 0101')
    expect(decoder.connect(v5, 2).will!.properties).toBeDefined()
    const v4 = hex('1014 00044d515454 04 06 0000 000163 000177 00027878')
    expect(decoder.connect(v4, 2).will).toEqual({
      topic: 'w',
      payload: Buffer.from('xx'),
      qos: 0,
      retain: false,
      delaySeconds: 0,
      expirySeconds: -1,
      properties: undefined,
    })
  })

  test('60,000 user properties are refused at the first too many', () => {
    const rig = new Rig({ packetBytes: 1_000_000 })
    const line = rig.open(5).feed(packet(places[2]!, '2600000000'.repeat(60_000)))
    expect(clauseOf(line)).toBe('MQTT-2.2.2.2')
  })
})
