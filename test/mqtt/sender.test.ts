import type { IConnectPacket, IPublishPacket, Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { type Message, Slab } from '../../src/mqtt/message.ts'
import type { QoS } from '../../src/mqtt/topic.ts'
import { SeededRandom } from '../support/random.ts'
import { encode, type Line, Rig } from './line.ts'
import { cut, reference } from './reference.ts'

// What goes out, read by mqtt-packet.

/** What a client was sent since the last look. */
function received(line: Line): { packet: Packet; bytes: Uint8Array }[] {
  line.settle()
  const bytes = line.stream.bytes
  line.stream.writes.length = 0
  return cut(bytes).map((frame) => ({
    packet: reference(frame.bytes, line.connection.version)!.packet,
    bytes: frame.bytes,
  }))
}

test('any message to any client, however it arrived, says what it said', () => {
  for (let seed = 0; seed < 1500; seed++) {
    try {
      deliver(new SeededRandom(seed))
    } catch (fault) {
      throw new Error(`seed ${seed}`, { cause: fault })
    }
  }
})

interface Original {
  readonly message: Message
  readonly packet: IPublishPacket
  readonly arrivedMs: number
}

function deliver(random: SeededRandom): void {
  const rig = new Rig({ packetBytes: 200_000 })
  const originals = Array.from({ length: 4 }, () => publish(rig, random))
  const version = random.pick([3, 4, 5] as const)
  const maximum = random.once(3) ? random.pick([20, 40, 130, 300, 16_400]) : undefined
  const aliases = random.pick([0, 0, 1, 2, 100])
  const properties = { topicAliasMaximum: aliases, ...(maximum !== undefined && { maximumPacketSize: maximum }) }
  const line = rig.open(version, version === 5 ? { properties } : {})
  const topics = new Map<number, string>()
  for (let times = 0; times < 12; times++) {
    rig.nowMs += random.pick([0, 1, 999, 1000, 2500])
    const original = random.pick(originals)
    const qos = random.below(original.packet.qos + 1) as QoS
    const [retain, dup] = [random.once(3), qos > 0 && random.once(3)]
    const packetId = qos === 0 ? 0 : random.pick([1, 255, 256, 65_535])
    const ids = version === 5 && random.once(3) ? [1, 127, 128, 268_435_455].slice(0, 1 + random.below(4)) : undefined
    const expected = {
      ...expectedOf(original, rig.nowMs, version, ids),
      qos,
      retain,
      dup,
      ...(qos > 0 && { messageId: packetId }),
    }
    const fits = maximum === undefined || version !== 5 || encode(expected, 5).length <= maximum
    const sent = line.connection.sender.send(original.message, qos, retain, dup, packetId, ids)
    expect(sent).toBe(fits)
    const got = received(line)
    expect(got.length).toBe(fits ? 1 : 0)
    for (const { packet, bytes } of got) {
      if (version === 5 && maximum !== undefined) expect(bytes.length).toBeLessThanOrEqual(maximum)
      const { payload, ...rest } = unaliased(packet as IPublishPacket, topics, Math.min(aliases, 32))
      expect((payload as Buffer).equals(original.packet.payload as Buffer)).toBe(true)
      const { payload: _, ...expectedRest } = expected
      expect(JSON.stringify(inOrder(rest))).toBe(JSON.stringify(inOrder(expectedRest)))
    }
  }
}

/** A message as it arrives from a client, kept or not. */
function publish(rig: Rig, random: SeededRandom): Original {
  const version = random.pick([3, 4, 5] as const)
  const qos = random.below(3) as QoS
  const packet: IPublishPacket = {
    cmd: 'publish',
    topic: random.pick(['t', 'a/b/c', 'ü'.repeat(40)]),
    payload: Buffer.alloc(random.pick([0, 1, 90, 90, 4096, 20_000, 70_000]), Buffer.from(random.bytes(7))),
    qos,
    // Is not carried on [MQTT-3.3.1-3].
    dup: qos > 0 && random.once(3),
    retain: random.once(3),
    ...(version === 5 && !random.once(3) && { properties: propertiesOf(random) }),
  }
  if (qos > 0) packet.messageId = 1 + random.below(65_535)
  const line = rig.open(version)
  // Behind another packet, so that nothing starts at 0.
  line.feed(Buffer.concat([Buffer.from('c000', 'hex'), encode(packet, version)]))
  const [message] = line.messages
  if (random.once(2)) message!.keep(new Slab())
  return { message: message!, packet, arrivedMs: rig.nowMs }
}

function propertiesOf(random: SeededRandom): NonNullable<IPublishPacket['properties']> {
  return {
    ...(random.once(2) && { payloadFormatIndicator: false }),
    ...(random.once(2) && { messageExpiryInterval: random.pick([0, 1, 10, 0xffff_ffff]) }),
    ...(random.once(4) && { topicAlias: 3 }),
    ...(random.once(2) && { contentType: 'c'.repeat(random.pick([0, 100])) }),
    ...(random.once(3) && { responseTopic: 'r' }),
    ...(random.once(3) && { correlationData: Buffer.from([0, 255]) }),
    ...(random.once(2) && { userProperties: { a: ['1', '2'], b: '3' } }),
  }
}

function expectedOf({ packet, arrivedMs }: Original, nowMs: number, version: number, ids: number[] | undefined) {
  const { messageExpiryInterval: expiry, topicAlias: _, ...forwarded } = packet.properties ?? {}
  const left = expiry === undefined ? undefined : Math.max(0, Math.ceil(expiry - (nowMs - arrivedMs) / 1000))
  const properties = {
    ...forwarded,
    ...(left !== undefined && { messageExpiryInterval: left }),
    ...(ids && { subscriptionIdentifier: (ids.length === 1 ? ids[0] : ids) as number }),
  }
  const { cmd, topic, payload } = packet
  return { cmd, topic, payload, ...(version === 5 && Object.keys(properties).length > 0 && { properties }) }
}

/** A PUBLISH with its topic for its alias. */
function unaliased(packet: IPublishPacket, topics: Map<number, string>, maximum: number): IPublishPacket {
  const { topicAlias, ...properties } = packet.properties ?? {}
  let { topic } = packet
  if (topicAlias !== undefined) {
    expect(topicAlias).toBeGreaterThan(0)
    expect(topicAlias).toBeLessThanOrEqual(maximum)
    if (topic === '') topic = topics.get(topicAlias)!
    else topics.set(topicAlias, topic)
  }
  const { length: _, properties: __, ...rest } = packet
  return { ...rest, topic, ...(Object.keys(properties).length > 0 && { properties }) }
}

/** The same object, and those in it, with their fields in one order. */
function inOrder(of: object): object {
  const fields = Object.entries(of).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(
    fields.map(([name, value]) => [name, name === 'properties' ? inOrder(value as object) : (value as unknown)]),
  )
}

describe('aliases', () => {
  test('the first topics get one, with the topic once; the rest go without', () => {
    const rig = new Rig()
    const from = rig.open(4)
    for (const topic of ['a', 'b', 'c'])
      from.feed(encode({ cmd: 'publish', topic, payload: '', qos: 0, dup: false, retain: false }, 4))
    const line = rig.open(5, { properties: { topicAliasMaximum: 2 } })
    for (const at of [0, 1, 2, 0, 1, 2]) line.connection.sender.send(from.messages[at]!, 0, false, false, 0, undefined)
    const got = received(line).map(({ packet }) => packet as IPublishPacket)
    expect(got.map(({ topic, properties }) => [topic, properties?.topicAlias])).toEqual([
      ['a', 1],
      ['b', 2],
      ['c', undefined],
      ['', 1],
      ['', 2],
      ['c', undefined],
    ])
  })
})

describe('acknowledgements', () => {
  const firsts = [
    [0x40, 'puback'],
    [0x50, 'pubrec'],
    [0x62, 'pubrel'],
    [0x70, 'pubcomp'],
  ] as const

  test.each(firsts)('%i %s: a reason and its text go to a v5 client that wants them, if they fit', (first, cmd) => {
    const why = 'because'
    const cases: [
      version: 3 | 4 | 5,
      properties: IConnectPacket['properties'],
      reason: number,
      text: string | undefined,
    ][] = [
      [3, undefined, 0x92, undefined],
      [4, undefined, 0x92, undefined],
      [5, {}, 0, undefined],
      [5, {}, 0x92, why],
      [5, { requestProblemInformation: false }, 0x92, undefined],
      [5, { maximumPacketSize: 16 }, 0x92, why],
      [5, { maximumPacketSize: 15 }, 0x92, undefined],
    ]
    for (const [version, properties, reason, text] of cases) {
      const line = new Rig().open(version, properties ? { properties } : {})
      // PUBACK has no 0x92; mqtt-packet would say so.
      const code = reason === 0 ? 0 : first < 0x60 ? 0x87 : reason
      line.connection.sender.ack(first, 0x1234, code, why)
      const [{ packet, bytes }] = received(line) as [{ packet: Packet; bytes: Uint8Array }]
      expect(packet).toMatchObject({ cmd, messageId: 0x1234, ...(version === 5 && { reasonCode: code }) })
      expect((packet as { properties?: object }).properties).toEqual(text && { reasonString: text })
      if (version !== 5 || reason === 0) expect(bytes).toEqual(Buffer.from([first, 2, 0x12, 0x34]))
    }
  })
})
