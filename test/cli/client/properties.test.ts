import { expect, test } from 'vitest'
import { parseProperties } from '../../../src/cli/client/properties.ts'

const allowed = ['connect', 'publish', 'subscribe'] as const

for (const [words, wanted] of [
  ['', {}],
  ['publish content-type text/plain', { publish: { contentType: 'text/plain' } }],
  [
    'publish topic-alias 65535 connect receive-maximum 1',
    { publish: { topicAlias: 65_535 }, connect: { receiveMaximum: 1 } },
  ],
  ['publish payload-format-indicator 0', { publish: { payloadFormatIndicator: false } }],
  ['publish correlation-data x', { publish: { correlationData: Buffer.from('x') } }],
  ['publish user-property a 1 publish user-property a 2', { publish: { userProperties: { a: ['1', '2'] } } }],
  ['subscribe subscription-identifier 268435455', { subscribe: { subscriptionIdentifier: 268_435_455 } }],
] as const)
  test(words, () => expect(parseProperties(words.split(' ').filter(Boolean), allowed)).toEqual(wanted))

test('a user property may have any name', () => {
  const { publish } = parseProperties(['publish', 'user-property', '__proto__', 'x'], allowed)
  expect(Object.entries(publish!['userProperties'] as object)).toEqual([['__proto__', ['x']]])
})

for (const [words, wanted] of [
  ['will content-type x', '"will" is not one of connect, publish, subscribe'],
  ['publish', 'publish has no property ""'],
  ['publish constructor x', 'publish has no property "constructor"'],
  ['publish content-type', 'publish content-type needs a value'],
  ['publish user-property a', 'publish user-property needs a name and a value'],
  ['publish topic-alias 0', 'publish topic-alias is a whole number from 1 to 65535, not "0"'],
  ['publish topic-alias 1e3', 'publish topic-alias is a whole number from 1 to 65535, not "1e3"'],
  ['publish payload-format-indicator 2', 'publish payload-format-indicator is a whole number from 0 to 1, not "2"'],
] as const)
  test(words, () => expect(() => parseProperties(words.split(' '), allowed)).toThrow(wanted))
