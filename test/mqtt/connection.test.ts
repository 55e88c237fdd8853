import { describe, expect, test } from 'vitest'
import type { MqttError } from '../../src/mqtt/reason.ts'
import { SeededRandom } from '../support/random.ts'
import { connectBytes, encode, hex, type Line, Rig } from './line.ts'
import { cut, reference } from './reference.ts'

const versions = [3, 4, 5] as const

/** The clause by which a line was refused. Each refusal is one line of the log, and one end. */
function clauseOf(line: Line): string | undefined {
  const { rig, fault, ends } = line
  expect(rig.errors).toEqual([])
  const clause = (fault as MqttError | undefined)?.clause
  expect([ends, rig.clauses]).toEqual(clause ? [1, [clause]] : [0, []])
  return clause
}

/** The reason of the last DISCONNECT that was sent. */
function farewell(line: Line): number | undefined {
  const last = cut(line.stream.bytes).at(-1)
  const packet = last && reference(last.bytes, 5)?.packet
  return packet?.cmd === 'disconnect' ? (packet as unknown as { reasonCode: number }).reasonCode : undefined
}

function publish(topic: string, packetId = 0, version: 3 | 4 | 5 = 4): Buffer {
  const ids = packetId > 0 ? { qos: 1 as const, messageId: packetId } : { qos: 0 as const }
  return encode({ cmd: 'publish', topic, payload: '', dup: false, retain: false, ...ids }, version)
}

describe('before CONNECT', () => {
  test('every other first byte closes at once, with nothing kept and nothing said', () => {
    for (let first = 0; first < 256; first++) {
      if (first === 0x10) continue
      for (const chunk of [Uint8Array.of(first), Uint8Array.of(first, 0xff), Uint8Array.of(first, 0)]) {
        const line = new Rig().open().feed(chunk)
        expect(clauseOf(line)).toMatch(/^MQTT-(3\.1\.0-1|2\.1\.3-1)$/)
        expect([line.stream.calls, line.stream.writes]).toEqual([['end'], []])
      }
    }
  })

  test('5,000 headers that claim 256 MB close on what they claim, also byte by byte, and take no memory', () => {
    const rig = new Rig()
    const before = process.memoryUsage().arrayBuffers
    const lines = Array.from({ length: 5000 }, (_, n) => {
      const bytes = Buffer.concat([hex('10ffffff7f'), Buffer.alloc(1024)])
      return rig.open().feed(...(n % 2 ? [...hex('10ffffff7f')].map((byte) => Uint8Array.of(byte)) : [bytes]))
    })
    for (const line of lines) expect([line.ends, line.stream.calls]).toEqual([1, ['end']])
    expect(new Set(rig.clauses)).toEqual(new Set(['MQTT-3.2.2-15']))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20_000_000)
  })

  test('the limit before CONNECT holds for what is begun before CONNACK, the other one after', () => {
    const rig = new Rig({ packetBytes: 100_000, packetBytesBeforeConnect: 1000 })
    expect(clauseOf(rig.open().feed(hex('10e807')))).toBe('MQTT-3.2.2-15')
    rig.clauses.length = 0
    expect(clauseOf(rig.open(4).feed(hex('30e807')))).toBeUndefined()
    // 1 + 3 + 99,996 bytes.
    expect(clauseOf(rig.open(4).feed(hex('309c8d06')))).toBeUndefined()
    expect(clauseOf(rig.open(4).feed(hex('309d8d06')))).toBe('MQTT-3.2.2-15')
  })

  test('a length of five bytes closes, and the packet behind it never runs', () => {
    const line = new Rig().open().feed(Buffer.concat([hex('10ffffffff01'), connectBytes(4)]))
    expect(clauseOf(line)).toBe('MQTT-1.5.5-1')
    expect(line.readings).toEqual([])
  })
})

describe('after CONNECT', () => {
  test.each(versions)('version %i: what only a server sends, and a second CONNECT, are refused', (version) => {
    for (const bytes of ['20020000', '9003000100', 'b0020001', 'd000', '0000', connectBytes(version).toString('hex')]) {
      const line = new Rig().open(version).feed(hex(bytes), publish('a'))
      expect(clauseOf(line)).toMatch(bytes.startsWith('10') ? 'MQTT-3.1.0-2' : /^MQTT-/)
      expect(line.readings).toEqual([])
      if (version === 5) expect(farewell(line)).toBeGreaterThan(0x80)
      else expect(line.stream.writes).toEqual([])
    }
  })

  test.each(versions)('version %i: nothing runs behind a packet that is refused', (version) => {
    const line = new Rig()
      .open(version)
      .feed(Buffer.concat([publish('a', 0, version), hex('c00100'), publish('b', 0, version)]))
    expect(clauseOf(line)).toBe('MQTT-2.1.3-1')
    expect(line.readings.length).toBe(1)
    line.feed(publish('c', 0, version))
    expect([line.readings.length, line.ends]).toEqual([1, 1])
  })

  test('every length inside a packet may lie, and closes', () => {
    const packets: [version: 0 | 3 | 4 | 5, bytes: string, lengths: number[]][] = [
      [0, '102100044d515454 04 ee 003c 0001 63 0002 772f 0002 7061 0004 75736572 0002 7077', [2, 12, 15, 19, 23, 29]],
      [4, '300500036162 63', [2]],
      [4, '320700036162630001', [2]],
      [4, '820800010003 61622f 00', [4]],
      [4, 'a20700010003 61622f', [4]],
      [5, '3010 0001 61 0d 03000161 08000162 2600000000', [2, 7, 11, 15, 17]],
    ]
    for (const [version, text, lengths] of packets) {
      const bytes = hex(text)
      bytes[1] = bytes.length - 2
      expect(clauseOf(new Rig().open(version || undefined).feed(bytes)), text).toBeUndefined()
      for (const at of lengths)
        for (const lie of [bytes.length - at - 1, bytes.length, 0x00ff, 0x7fff, 65_535]) {
          const lying = Buffer.from(bytes)
          lying.writeUInt16BE(lie, at)
          expect(clauseOf(new Rig().open(version || undefined).feed(lying)), lying.toString('hex')).toBeDefined()
        }
    }
  })

  test('65,535 slashes are refused in PUBLISH and in a will; in a filter it is for SUBACK to say', () => {
    const deep = '/'.repeat(65_535)
    const rig = new Rig({ packetBytes: 100_000 })
    expect(clauseOf(rig.open(4).feed(publish(deep)))).toBe('MQTT-4.7.3')
    rig.clauses.length = 0
    const will = { topic: '/'.repeat(65_000), payload: Buffer.alloc(0), qos: 0 as const, retain: false }
    expect(clauseOf(rig.open().feed(connectBytes(4, { will })))).toBe('MQTT-4.7.3')
    rig.clauses.length = 0
    const subscribe = encode({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: deep, qos: 0 }] }, 4)
    expect(clauseOf(rig.open(4).feed(subscribe))).toBeUndefined()
  })

  test.each(versions)(
    'version %i: a refusal that quotes 65,535 bytes fits into a reason string and a log line',
    (version) => {
      const line = new Rig({ packetBytes: 100_000 }).open(version)
      line.feed(publish(`${'a'.repeat(65_534)}#`, 0, version))
      expect(clauseOf(line)).toBe('MQTT-3.3.2-2')
      expect(line.fault!.message.length).toBeLessThan(400)
    },
  )

  test('names that mean something to JavaScript mean nothing', () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const line = new Rig().open(5)
      const properties = { userProperties: Object.fromEntries([[name, name]]) }
      line.feed(
        encode({ cmd: 'publish', topic: name, payload: name, qos: 0, dup: false, retain: false, properties }, 5),
        encode({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: name, qos: 0 }] }, 5),
      )
      expect(clauseOf(line)).toBeUndefined()
      expect(line.readings.length).toBe(2)
      expect(line.messages[0]!.topic.name).toBe(name)
    }
  })

  test('random bytes do nothing worse than close', () => {
    const rig = new Rig()
    for (let seed = 0; seed < 20_000; seed++) {
      const random = new SeededRandom(seed)
      const line = rig.open(random.pick([undefined, ...versions]))
      line.feed(random.bytes(random.below(40)), random.bytes(random.below(40)))
      if (rig.errors.length > 0 || line.ends > 1) expect.fail(`seed ${seed}`)
    }
    expect(rig.turn.pages.lentBytes).toBe(0)
  })
})

describe('topic aliases', () => {
  test.each<[name: string, bytes: string, clause: string]>([
    ['0', '3007 000161 03 230000', 'MQTT-3.3.2-8'],
    ['above the maximum', '3007 000161 03 230021', 'MQTT-3.3.2-9'],
    ['never set', '3006 0000 03 230001', 'MQTT-3.3.2-7'],
    ['neither topic nor alias', '3003 0000 00', 'MQTT-3.3.2-8'],
  ])('%s', (_name, bytes, clause) => {
    expect(clauseOf(new Rig().open(5).feed(hex(bytes)))).toBe(clause)
  })

  test('live as long as the connection', () => {
    const rig = new Rig()
    expect(clauseOf(rig.open(5).feed(hex('3007 000161 03 230001 3006 0000 03 230001')))).toBeUndefined()
    expect(clauseOf(rig.open(5).feed(hex('3006 0000 03 230001')))).toBe('MQTT-3.3.2-7')
  })
})

describe('receive maximum', () => {
  test('a v5 client that sends more is sent away with 0x93', () => {
    const line = new Rig({ receiveMaximum: 2 }).open(5)
    line.feed(publish('a', 1, 5), publish('a', 2, 5))
    expect(clauseOf(line)).toBeUndefined()
    line.connection.puback(1, 0)
    line.feed(publish('a', 3, 5))
    expect(clauseOf(line)).toBeUndefined()
    line.feed(publish('a', 4, 5))
    expect([clauseOf(line), farewell(line)]).toEqual(['MQTT-3.3.4-7', 0x93])
  })

  test('QoS 2 counts until PUBCOMP, or a PUBREC that refuses', () => {
    const qos2 = (messageId: number): Buffer =>
      encode({ cmd: 'publish', topic: 'a', payload: '', qos: 2, dup: false, retain: false, messageId }, 5)
    const line = new Rig({ receiveMaximum: 2 }).open(5).feed(qos2(1), qos2(2))
    line.connection.pubrec(1, 0)
    line.connection.pubrec(2, 0x97)
    line.feed(qos2(3))
    expect(clauseOf(line)).toBeUndefined()
    line.connection.pubrec(3, 0)
    line.connection.pubcomp(1, 0)
    line.feed(qos2(4))
    expect(clauseOf(line)).toBeUndefined()
    line.feed(qos2(5))
    expect(clauseOf(line)).toBe('MQTT-3.3.4-7')
  })

  test('means nothing before v5', () => {
    const line = new Rig({ receiveMaximum: 1 }).open(4)
    line.feed(publish('a', 1), publish('a', 2), publish('a', 3))
    expect(clauseOf(line)).toBeUndefined()
  })
})

describe('a connection that is held', () => {
  test('pauses its stream, and lets out what came, in order, when it goes on', () => {
    const line = new Rig().open(4)
    line.onEvent = () => line.readings.length === 1 && line.connection.hold()
    line.feed(Buffer.concat([publish('1'), publish('2')]), publish('3'))
    expect([line.readings.length, line.stream.calls]).toEqual([1, ['pause']])
    line.onEvent = undefined
    line.connection.release()
    expect(line.messages.map(({ topic }) => topic.name)).toEqual(['1', '2', '3'])
    expect(line.stream.calls).toEqual(['pause', 'resume'])
  })

  test('twice goes on after two releases', () => {
    const line = new Rig().open(4)
    line.connection.hold()
    line.connection.hold()
    line.feed(publish('1'))
    line.connection.release()
    expect(line.readings.length).toBe(0)
    line.connection.release()
    expect(line.readings.length).toBe(1)
  })

  test('and lost counts what it had sent, a DISCONNECT above all', () => {
    for (const [last, fault] of [
      [hex('e000'), undefined],
      [publish('2'), 'the client closed without DISCONNECT'],
    ] as const) {
      const line = new Rig().open(4)
      line.connection.hold()
      line.feed(publish('1'), last)
      line.connection.closed()
      expect([line.readings.length, line.ends]).toEqual([0, 0])
      line.connection.release()
      expect([line.readings.length, line.ends, line.fault?.message]).toEqual([2, 1, fault])
      // What was sent to it went nowhere, and is not missing.
      line.settle()
      expect(line.rig.turn.pages.lentBytes).toBe(0)
    }
  })

  test('refuses what is wrong when it goes on', () => {
    const line = new Rig().open(4)
    line.connection.hold()
    line.feed(hex('c00100'))
    expect(line.ends).toBe(0)
    line.connection.release()
    expect(clauseOf(line)).toBe('MQTT-2.1.3-1')
  })

  test('and sent away says no more', () => {
    const line = new Rig().open(5)
    line.connection.hold()
    line.feed(publish('1', 0, 5))
    line.connection.close(0x98, 'why')
    line.connection.release()
    line.settle()
    expect([line.readings.length, line.ends, farewell(line)]).toEqual([0, 1, 0x98])
  })
})

test('an end comes once, whoever ends it first', () => {
  const ends: ((line: Line) => void)[] = [
    (line) => line.connection.close(0x8b),
    (line) => line.connection.closed(),
    (line) => line.connection.closed(new Error('reset')),
    (line) => line.feed(hex('e000')),
    (line) => line.feed(hex('c00100')),
    (line) => line.connection.fail(new Error('ours')),
  ]
  for (const first of ends)
    for (const second of ends) {
      const line = new Rig().open(5)
      first(line)
      const why = line.fault?.message
      second(line)
      line.settle()
      expect([line.ends, line.fault?.message, line.connection.state]).toEqual([1, why, 'closed'])
      expect(line.rig.turn.pages.lentBytes).toBe(0)
    }
})
