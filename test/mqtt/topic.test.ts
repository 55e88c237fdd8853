import { describe, expect, test } from 'vitest'
import { MqttError } from '../../src/mqtt/reason.ts'
import { maxLevels, parseFilter, parseTopicName, TopicTable } from '../../src/mqtt/topic.ts'
import { SeededRandom } from '../support/random.ts'

function clauseOf(parse: () => unknown): string {
  try {
    parse()
    return ''
  } catch (fault) {
    return (fault as MqttError).clause
  }
}

describe('filters', () => {
  const deepest = '/'.repeat(maxLevels - 1)
  test.each<[text: string, clause: string]>([
    ['a', ''],
    ['#', ''],
    ['+', ''],
    ['/', ''],
    ['//', ''],
    ['+/+', ''],
    ['/+/', ''],
    ['a/#', ''],
    ['+/#', ''],
    ['/#', ''],
    ['$SYS/#', ''],
    ['$shared/a', ''],
    ['$SHARE/g/a', ''],
    [' ', ''],
    ['a/+/b/#', ''],
    ['__proto__', ''],
    [deepest, ''],
    ['', 'MQTT-4.7.3-1'],
    ['a\0', 'MQTT-4.7.3-2'],
    [`${deepest}/`, 'MQTT-4.7.3'],
    ['a#', 'MQTT-4.7.1-1'],
    ['#a', 'MQTT-4.7.1-1'],
    ['##', 'MQTT-4.7.1-1'],
    ['#/', 'MQTT-4.7.1-1'],
    ['a/#/b', 'MQTT-4.7.1-1'],
    ['a/b#', 'MQTT-4.7.1-1'],
    ['a+', 'MQTT-4.7.1-2'],
    ['+a', 'MQTT-4.7.1-2'],
    ['++', 'MQTT-4.7.1-2'],
    ['a/+b/c', 'MQTT-4.7.1-2'],
    ['+#', 'MQTT-4.7.1-2'],
  ])('%j: %s', (text, clause) => {
    expect(clauseOf(() => parseFilter(text))).toBe(clause)
    if (clause === '') expect(parseFilter(text)).toEqual({ filter: text })
    if (text !== '') expect(clauseOf(() => parseFilter(`$share/g/${text}`))).toBe(clause)
  })

  test.each<[text: string, group: string, filter: string]>([
    ['$share/g/a', 'g', 'a'],
    ['$share/g/#', 'g', '#'],
    ['$share/g//', 'g', '/'],
    ['$share/g//a', 'g', '/a'],
    ['$share/$share/$share/g/a', '$share', '$share/g/a'],
    ['$share/ /+', ' ', '+'],
    ['$share/__proto__/a', '__proto__', 'a'],
  ])('%j is shared', (text, group, filter) => {
    expect(parseFilter(text)).toEqual({ group, filter })
  })

  test.each<[text: string, clause: string]>([
    ['$share', 'MQTT-4.8.2-2'],
    ['$share/', 'MQTT-4.8.2-2'],
    ['$share/ab', 'MQTT-4.8.2-2'],
    ['$share//x', 'MQTT-4.8.2-2'],
    ['$share///', 'MQTT-4.8.2-2'],
    ['$share/+/x', 'MQTT-4.8.2-2'],
    ['$share/#/x', 'MQTT-4.8.2-2'],
    ['$share/a+/x', 'MQTT-4.8.2-2'],
    ['$share/a#/x', 'MQTT-4.8.2-2'],
    ['$share/g/', 'MQTT-4.7.3-1'],
    ['$share/g/a#', 'MQTT-4.7.1-1'],
  ])('%j is shared wrongly: %s', (text, clause) => {
    expect(clauseOf(() => parseFilter(text))).toBe(clause)
  })

  test('a filter of 65,535 slashes is refused, and what is said of it stays short', () => {
    for (const text of ['/'.repeat(65_535), `$share/${'g'.repeat(65_000)}`, `${'a'.repeat(65_534)}#`]) {
      let fault: unknown
      try {
        parseFilter(text)
      } catch (thrown) {
        fault = thrown
      }
      expect((fault as MqttError).message.length).toBeLessThan(400)
    }
  })
})

describe('topic names', () => {
  test.each<[text: string, clause: string]>([
    ['a', ''],
    ['/', ''],
    [' ', ''],
    ['a//b', ''],
    ['$SYS/x', ''],
    ['$share/g/a', ''],
    ['constructor/__proto__', ''],
    ['🐦/日本', ''],
    ['/'.repeat(maxLevels - 1), ''],
    ['', 'MQTT-4.7.3-1'],
    ['#', 'MQTT-3.3.2-2'],
    ['a/+', 'MQTT-3.3.2-2'],
    ['a+b', 'MQTT-3.3.2-2'],
    ['a\0b', 'MQTT-4.7.3-2'],
    ['/'.repeat(maxLevels), 'MQTT-4.7.3'],
    ['/'.repeat(65_535), 'MQTT-4.7.3'],
  ])('%j: %s', (text, clause) => {
    expect(clauseOf(() => parseTopicName(text))).toBe(clause)
    const bytes = Buffer.from(text)
    const ofBytes = clauseOf(() => new TopicTable().at(bytes, 0, bytes.length))
    expect(ofBytes).toBe(text.includes('\0') ? 'MQTT-1.5.4-2' : clause)
  })
})

describe('the topic table', () => {
  test('one object for each name, from whatever bytes it comes', () => {
    const table = new TopicTable()
    const topic = table.named('a/ü')
    expect(topic.name).toBe('a/ü')
    expect(Buffer.from(topic.bytes).toString()).toBe('a/ü')
    expect(table.at(Buffer.from('xa/üx'), 1, 5)).toBe(topic)
    expect(table.named('a/u')).not.toBe(topic)
  })

  test('what it keeps does not hold the chunk that it came in', () => {
    const chunk = Buffer.alloc(65_536, 'a')
    const { bytes } = new TopicTable().at(chunk, 10, 20)
    expect(bytes.buffer.byteLength).toBe(10)
    chunk.fill(0)
    expect(Buffer.from(bytes).toString()).toBe('aaaaaaaaaa')
  })

  test('remembers two generations at most, and what is in use stays', () => {
    const table = new TopicTable(1, 100)
    const used = table.named('used')
    const first = table.named('0')
    for (let n = 0; n < 10_000; n++) {
      expect(table.named('used')).toBe(used)
      table.named(String(n))
      if (n === 98) expect(table.named('0')).toBe(first)
    }
    expect(table.named('0')).not.toBe(first)
    // A name that was forgotten and came again is one object again.
    expect(table.named('0')).toBe(table.named('0'))
  })

  test('grows, and tells all names apart, also those of one hash', () => {
    // So many that about ten pairs of them have the same 32 bits.
    const table = new TopicTable(7, 1_000_000)
    const random = new SeededRandom(1)
    const names = Array.from({ length: 300_000 }, () => Buffer.from(random.bytes(8)).toString('hex'))
    const topics = names.map((name) => table.named(name))
    names.forEach((name, at) => {
      if (topics[at]!.name !== name || table.named(name) !== topics[at]) expect.fail(`${name} was taken for another`)
    })
  })

  test('a bad name is not remembered', () => {
    const table = new TopicTable()
    for (let times = 0; times < 3; times++) expect(() => table.named('a/#')).toThrow(MqttError)
  })
})
