import { describe, expect, test } from 'vitest'
import { parseFormat } from '../../../src/cli/client/format.ts'
import type { Received } from '../../../src/cli/client/message.ts'

const at = new Date(2026, 1, 3, 4, 5, 6, 78)
const message: Received = {
  topic: 'a/topic',
  payload: Buffer.from('{"n":1}'),
  packet: { cmd: 'publish', topic: 'a/topic', payload: '', qos: 1, dup: false, retain: true, messageId: 42 },
  at,
}
const zone = /GMT([+-]\d{4})/.exec(at.toString())![1]!

function formatted(format: string, given = message): string {
  return parseFormat(format)
    .parts.map(({ make }) => make(given)?.toString() ?? '')
    .join('')
}

// What mosquitto_sub 2.0.11 makes of the same formats and message.
for (const [format, wanted] of [
  ['', ''],
  ['plain: text/1', 'plain: text/1'],
  ['%t %p', 'a/topic {"n":1}'],
  ['%q%r%l,%m', '117,42'],
  ['%x', '7b226e223a317d'],
  ['%X', '7B226E223A317D'],
  ['100%%', '100%'],
  ['\\n\\t\\r\\0\\a\\e\\v\\\\', '\n\t\r\0\x07\x1b\v\\'],
  ['%10t|%-10t|%.3t|%5.3t|%-5.3t|', '   a/topic|a/topic   |a/t|  a/t|a/t  |'],
  ['%5l|%05l|%-5l|%-05l|', '    7|00007|7    |7    |'],
  ['%9p|%.2p|', '  {"n":1}|{"n":1}|'],
  ['%5q|%5r|', '1|1|'],
  ['@Y-@m-@d @H:@M:@S @F @T @z @@', `2026-02-03 04:05:06 2026-02-03 04:05:06 ${zone} @`],
  ['@s.@N', `${Math.floor(at.getTime() / 1000)}.078000000`],
  ['%I', `2026-02-03T04:05:06${zone}`],
  ['%U', `${Math.floor(at.getTime() / 1000)}.078000000`],
  ['%A%C%D%E%F%P%R%S', ''],
  [
    '%j',
    `{"tst":"2026-02-03T04:05:06.078000${zone}","topic":"a/topic","qos":1,"retain":1,"payloadlen":7,"mid":42,"payload":"{\\"n\\":1}"}`,
  ],
  [
    '%J',
    `{"tst":"2026-02-03T04:05:06.078000${zone}","topic":"a/topic","qos":1,"retain":1,"payloadlen":7,"mid":42,"payload":{"n":1}}`,
  ],
] as const)
  test(JSON.stringify(format), () => expect(formatted(format)).toBe(wanted))

test('%J takes the space out of JSON, and leaves its strings and numbers alone', () => {
  const payload = Buffer.from('{\r\n  "a b" : [ 12345678901234567890, "c\\" d" ]\n}')
  expect(formatted('%J', { ...message, payload })).toMatch(/"payload":\{"a b":\[12345678901234567890,"c\\" d"\]\}\}$/)
})

test('%j and %J of an empty payload, and with properties', () => {
  const properties = { contentType: 'c', payloadFormatIndicator: false, userProperties: { k: 'v' }, topicAlias: 3 }
  const given = { ...message, payload: Buffer.alloc(0), packet: { ...message.packet, messageId: 0, properties } }
  for (const format of ['%j', '%J'])
    expect(JSON.parse(formatted(format, given))).toEqual({
      tst: expect.any(String) as string,
      topic: 'a/topic',
      qos: 1,
      retain: 1,
      payloadlen: 0,
      properties: { 'content-type': 'c', 'payload-format-indicator': 0, 'user-properties': { k: 'v' } },
      payload: null,
    })
  expect(formatted('%04A', given)).toBe('0003')
})

describe('what is unknown is named', () => {
  for (const [format, wanted] of [
    ['%Z', '"%Z" is unknown'],
    ['%10Z', '"%10Z" is unknown'],
    ['%', '"%" at the end says nothing'],
    ['a\\', '"\\" at the end says nothing'],
    ['@', '"@" at the end says nothing'],
    ['\\q', '"\\q" is unknown'],
    ['@G', '"@G" is unknown'],
    ['%constructor', undefined],
  ] as const)
    test(format, () => {
      if (wanted === undefined) expect(() => parseFormat(format)).toThrow('"%c" is unknown')
      else expect(() => parseFormat(format)).toThrow(wanted)
    })
})
