import type { IConnectPacket, IPublishPacket, Packet } from 'mqtt-packet'
import type { Version } from '../../src/mqtt/packets.ts'
import type { Vector } from './compare.ts'
import { connectPacket, encode, hex } from './line.ts'

// Valid packets of clients: every type, version, option and property, and sizes around the steps of the encoding.

const versions = [3, 4, 5] as const
const unicode = 'Ünïcödé/🐦/日本/\u{10fffd}'
const userProperties = { a: 'b', '': '', [unicode]: unicode, many: ['1', '2', '3'], __proto__x: 'constructor' }

/** Vectors of a few hundred bytes at most. */
export function smallVectors(): Vector[] {
  return [
    ...versions.flatMap((version) => [
      ...connects(version),
      ...publishes(version),
      ...acks(version),
      ...subscribes(version),
      ...unsubscribes(version),
      packet(version, 'PINGREQ', { cmd: 'pingreq' }),
    ]),
    ...disconnects(),
    ...auths(),
    ...byHand(),
  ]
}

/** Vectors around each step of the remaining length, the property length and the lengths of strings. */
export function* largeVectors(): Iterable<Vector> {
  for (const version of versions)
    for (const remaining of [127, 128, 16_383, 16_384, 2_097_151, 2_097_152]) {
      const payload = Buffer.alloc(remaining - 3 - (version === 5 ? 1 : 0), 'payload ')
      yield packet(version, `PUBLISH of ${remaining} bytes`, publish('a', { payload }))
    }
  for (const length of [126, 127, 128, 16_382, 16_383, 16_384, 65_535]) {
    yield packet(4, `a topic of ${length} bytes`, publish('t'.repeat(length)))
    const correlationData = Buffer.alloc(length, 'c')
    yield packet(5, `correlation data of ${length} bytes`, publish('a', { properties: { correlationData } }))
    yield packet(5, `properties of ${length} bytes`, publish('a', propertiesOf(length)))
    yield packet(3, `UNSUBSCRIBE of ${length} bytes`, {
      cmd: 'unsubscribe',
      messageId: 1,
      unsubscriptions: ['t'.repeat(length)],
    })
    const will = { topic: 'w', payload: Buffer.alloc(length, 'w'), qos: 1 as const, retain: false }
    yield packet(5, `a will of ${length} bytes`, { ...connectPacket(5), will })
  }
  const subscriptions = Array.from({ length: 1000 }, (_, n) => ({ topic: `device/${n}/+`, qos: (n % 3) as 0 | 1 | 2 }))
  for (const version of versions)
    yield packet(version, '1,000 filters', { cmd: 'subscribe', messageId: 65_535, subscriptions })
}

function propertiesOf(length: number): Partial<IPublishPacket> {
  // Two, because one string holds 65,535 bytes at most.
  const half = (length - 6) >> 1
  return { properties: { contentType: 'c'.repeat(half), correlationData: Buffer.alloc(length - 6 - half, 'd') } }
}

function packet(version: Version, name: string, it: Packet): Vector {
  const bytes = encode(it, version)
  return { name: `v${version} ${name}`, version: it.cmd === 'connect' ? 0 : version, bytes }
}

function publish(topic: string, more: Partial<IPublishPacket> = {}): IPublishPacket {
  return { cmd: 'publish', topic, payload: '', qos: 0, dup: false, retain: false, ...more }
}

function connects(version: Version): Vector[] {
  const plain = connectPacket(version)
  const will = { topic: 'w/1', payload: Buffer.from('gone'), qos: 1 as const, retain: true }
  const cases: [string, Partial<IConnectPacket>][] = [
    ['clean', {}],
    ['not clean', { clean: false, keepalive: 65_535 }],
    ['with a name', { username: 'user', password: Buffer.from('secret') }],
    ['with a name alone', { username: unicode }],
    ['with empty credentials', { username: '', password: Buffer.alloc(0) }],
    ['with a will', { will }],
    ['with a bare will', { will: { topic: unicode, payload: Buffer.alloc(0), qos: 2, retain: false } }],
    [
      'with everything',
      { clean: false, keepalive: 60, clientId: unicode, username: 'u', password: Buffer.from('p'), will },
    ],
  ]
  if (version > 3) cases.push(['without an id', { clientId: '' }])
  if (version === 5)
    cases.push(
      ['without properties', { properties: {} }],
      ['with properties', { properties: connectProperties }],
      [
        'with zeros',
        { properties: { sessionExpiryInterval: 0, topicAliasMaximum: 0, requestProblemInformation: true } },
      ],
      ['with a will of properties', { will: { ...will, payload: Buffer.from(unicode), properties: willProperties } }],
      ['with a will of user properties', { will: { ...will, properties: { userProperties } } }],
    )
  return cases.map(([name, more]) => packet(version, `CONNECT ${name}`, { ...plain, ...more }))
}

const connectProperties = {
  sessionExpiryInterval: 0xffff_ffff,
  receiveMaximum: 65_535,
  maximumPacketSize: 0xffff_ffff,
  topicAliasMaximum: 10,
  requestResponseInformation: true,
  requestProblemInformation: false,
  userProperties,
  authenticationMethod: 'm',
  authenticationData: Buffer.from([0, 1, 255]),
}

const willProperties = {
  willDelayInterval: 5,
  payloadFormatIndicator: true,
  messageExpiryInterval: 0,
  contentType: 'text',
  responseTopic: unicode,
  correlationData: Buffer.from([0, 255]),
  userProperties,
}

function publishes(version: Version): Vector[] {
  const cases: [string, IPublishPacket][] = [
    ['empty', publish('a')],
    ['of text', publish(unicode, { payload: unicode })],
    ['with a byte order mark', publish('\ufeffa', { payload: '\ufeff' })],
    ['of bytes', publish('a/b', { payload: Buffer.from([0, 1, 127, 128, 255]) })],
    ['retained', publish('/', { payload: 'r', retain: true })],
    ['QoS 1', publish('a', { payload: '1', qos: 1, messageId: 1 })],
    ['QoS 1 again', publish('a', { payload: '1', qos: 1, dup: true, messageId: 65_535 })],
    ['QoS 2', publish('a', { qos: 2, messageId: 256 })],
    ['QoS 2 again, retained', publish('a', { payload: '2', qos: 2, dup: true, retain: true, messageId: 0x0a0b })],
    ['of 100 levels', publish('/'.repeat(99))],
    ['that looks like JavaScript', publish('__proto__/constructor', { payload: '__proto__' })],
  ]
  if (version === 5)
    for (const [name, properties] of publishProperties) {
      cases.push([`with ${name}`, publish('a', { payload: 'text', properties })])
      cases.push([`QoS 1 with ${name}`, publish('a', { payload: 'text', qos: 1, messageId: 7, properties })])
    }
  return cases.map(([name, it]) => packet(version, `PUBLISH ${name}`, it))
}

const publishProperties: [string, NonNullable<IPublishPacket['properties']>][] = [
  ['a format', { payloadFormatIndicator: true }],
  ['no format', { payloadFormatIndicator: false }],
  ['an expiry', { messageExpiryInterval: 0xffff_ffff }],
  ['a short expiry', { messageExpiryInterval: 0 }],
  ['a type', { contentType: unicode }],
  ['a response topic', { responseTopic: 'a/b' }],
  ['correlation data', { correlationData: Buffer.from([1, 0, 255]) }],
  ['empty correlation data', { correlationData: Buffer.alloc(0) }],
  ['user properties', { userProperties }],
  ['an alias', { topicAlias: 1 }],
  [
    'everything',
    {
      payloadFormatIndicator: true,
      messageExpiryInterval: 1,
      topicAlias: 32,
      contentType: '',
      responseTopic: '/',
      correlationData: Buffer.from('c'),
      userProperties,
    },
  ],
]

function acks(version: Version): Vector[] {
  const commands = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const
  return commands.flatMap((cmd) => {
    const reasons = cmd === 'puback' || cmd === 'pubrec' ? [0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] : [0x92]
    const plain = [1, 0x0102, 65_535].map((messageId) => packet(version, `${cmd} ${messageId}`, { cmd, messageId }))
    if (version !== 5) return plain
    const properties = { reasonString: unicode, userProperties }
    return [
      ...plain,
      ...reasons.map((reasonCode) => packet(5, `${cmd} for ${reasonCode}`, { cmd, messageId: 1, reasonCode })),
      packet(5, `${cmd} with properties`, { cmd, messageId: 1, reasonCode: 0, properties }),
    ]
  })
}

function subscribes(version: Version): Vector[] {
  const filters = ['a', '#', '+', '+/+/#', '/', '$share/g/a/#', '$SYS/#', 'not#a/+filter', unicode, '__proto__']
  const cases: [string, Packet][] = filters.map((topic, at) => [
    topic,
    { cmd: 'subscribe', messageId: at + 1, subscriptions: [{ topic, qos: (at % 3) as 0 | 1 | 2 }] },
  ])
  const all = filters.map((topic, at) => ({ topic, qos: (at % 3) as 0 | 1 | 2 }))
  cases.push(['many filters', { cmd: 'subscribe', messageId: 65_535, subscriptions: all }])
  if (version === 5) {
    const options = [0, 1, 2].flatMap((rh) =>
      [0, 1, 2, 3].map((bits) => ({ topic: 'a', qos: rh as 0 | 1 | 2, nl: bits > 1, rap: bits % 2 === 1, rh })),
    )
    cases.push(['all options', { cmd: 'subscribe', messageId: 1, subscriptions: options }])
    for (const subscriptionIdentifier of [1, 127, 128, 16_384, 268_435_455])
      cases.push([
        `id ${subscriptionIdentifier}`,
        {
          cmd: 'subscribe',
          messageId: 1,
          subscriptions: all.slice(0, 2),
          properties: { subscriptionIdentifier, userProperties },
        },
      ])
  }
  return cases.map(([name, it]) => packet(version, `SUBSCRIBE ${name}`, it))
}

function unsubscribes(version: Version): Vector[] {
  return [
    packet(version, 'UNSUBSCRIBE one', { cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['a/+'] }),
    packet(version, 'UNSUBSCRIBE many', {
      cmd: 'unsubscribe',
      messageId: 65_535,
      unsubscriptions: ['', '#', unicode, '/'],
    }),
    ...(version === 5
      ? [
          packet(5, 'UNSUBSCRIBE with properties', {
            cmd: 'unsubscribe',
            messageId: 1,
            unsubscriptions: ['a'],
            properties: { userProperties },
          }),
        ]
      : []),
  ]
}

function disconnects(): Vector[] {
  const reasons = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]
  const properties = { sessionExpiryInterval: 3600, reasonString: unicode, userProperties }
  return [
    ...versions.map((version) => ({ name: `v${version} DISCONNECT`, version, bytes: hex('e000') })),
    ...reasons.map((reasonCode) => packet(5, `DISCONNECT for ${reasonCode}`, { cmd: 'disconnect', reasonCode })),
    packet(5, 'DISCONNECT with properties', { cmd: 'disconnect', reasonCode: 4, properties }),
  ]
}

function auths(): Vector[] {
  const properties = {
    authenticationMethod: 'm',
    authenticationData: Buffer.from([0, 255]),
    reasonString: unicode,
    userProperties,
  }
  return [
    packet(5, 'AUTH to go on', { cmd: 'auth', reasonCode: 0x18, properties }),
    packet(5, 'AUTH again', { cmd: 'auth', reasonCode: 0x19, properties: { authenticationMethod: 'm' } }),
  ]
}

/** What mqtt-packet's generator does not write. */
function byHand(): Vector[] {
  const rows: [Vector['version'], string, string][] = [
    [5, 'PUBLISH: alias set, then used', '3009 0001 61 03 230005 3131 3008 0000 03 230005 32 c000'],
    [5, 'PUBLISH: alias set anew', '3007 0001 61 03 230005 3007 0001 62 03 230005 3006 0000 03 230005'],
    [
      5,
      'PUBLISH: user properties in an order of their own',
      '3017 0001 61 13 2600016200013126000161000132 030002 6464',
    ],
    [5, 'PUBACK: reason without properties', '4003 0001 10'],
    [5, 'PUBREC: reason and no properties', '5004 0001 00 00'],
    [5, 'PUBREL: reason without properties', '6203 0001 92'],
    [5, 'PUBCOMP: success at length', '7004 0001 00 00'],
    [5, 'DISCONNECT: reason without properties', 'e001 04'],
    [5, 'DISCONNECT: success at length', 'e002 00 00'],
    [5, 'SUBSCRIBE: an empty filter', '8206 0001 00 0000 00'],
    [5, 'UNSUBSCRIBE: an empty filter', 'a205 0001 00 0000'],
    [0, 'a password without a name', '1013 00044d515454 05 42 0000 00 000163 0002 7077'],
    [
      0,
      'CONNECT and what follows, at once',
      '100d 00044d515454 04 02 0000 000163 3004 0001 61 31 c000 8206 0002 000161 02 e000',
    ],
    [0, 'CONNECT of 3.1', '1011 00064d5149736470 03 02 003c 00 03 616263'],
    [0, 'AUTH after CONNECT', '1012 00044d515454 05 02 0000 04 1500016d 000163 f006 18 04 1500016d'],
    [4, 'PINGREQ three times', 'c000 c000 c000'],
  ]
  return rows.map(([version, name, text]) => ({ name: `by hand: ${name}`, version, bytes: hex(text) }))
}
