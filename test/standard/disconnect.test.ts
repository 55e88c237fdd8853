import { expect } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import { hasten, join } from './kit.ts'
import {
  answer,
  block,
  bytes,
  clausesLogged,
  connect,
  each,
  hex,
  only5,
  packet,
  propertiesOf,
  transports,
  u16,
  u32,
  versions,
} from './wire.ts'

// Sections 3.14 and 4.13 (5.0), 3.14 and 4.8 (3.1.1): DISCONNECT from either side, and how a connection ends.

const limits = { packetBytes: 2000, receiveMaximum: 2, topicAliases: 3, keepAliveSeconds: 100 }
const qos2 = (id: number) => packet(0x34, 'a', u16(id), block())

/** What makes the server say DISCONNECT, with which reason, and how many PUBRECs come before it. */
type Cause = readonly [reason: number, cause: Uint8Array | ((broker: TestBroker) => unknown), pubrecs?: number]
const causes: Record<string, Cause> = {
  'a malformed packet': [0x81, packet(0x82, u16(1))],
  'a protocol error': [0x82, packet(0x82, u16(1), block())],
  'a drain': [0x8b, (broker) => broker.node.drain(0)],
  silence: [0x8d, () => hasten(151)],
  'a takeover': [0x8e, (broker) => join(broker, 'c')],
  'a topic name with a wildcard': [0x90, packet(0x30, 'a/+', block())],
  'more than receive maximum': [0x93, bytes(qos2(1), qos2(2), qos2(3)), 2],
  'an alias above the maximum': [0x94, packet(0x30, 'a', block(0x23, u16(4)))],
  'a packet above the limit': [0x95, packet(0x30, 'a', block(), Buffer.alloc(2000))],
  'too many user properties': [0x97, packet(0x30, 'a', block(...new Array<Buffer>(65).fill(hex('26 00 00 00 00'))))],
  'a payload that is not the text it claims': [0x99, packet(0x30, 'a', block(0x01, 1), 0xff)],
}

for (const transport of transports) {
  covers(
    ['5:MQTT-3.14.2-1', '5:MQTT-3.14.2-2', '5:MQTT-3.14.4-1', '5:MQTT-3.14.4-2', '5:MQTT-4.13.1-1', '5:MQTT-4.13.2-1'],
    `a server that ends a connection says why, once and last, and closes it, over ${transport}`,
    () =>
      each(causes, async ([reason, cause, pubrecs = 0]) => {
        const broker = await startBroker({ limits })
        const client = await join(broker, 'c', 5, { properties: { sessionExpiryInterval: 60 } }, transport)
        await client.subscribe('after')
        if (cause instanceof Uint8Array)
          // What comes behind is not answered any more.
          client.bytes(bytes(cause, packet(0x30, 'after', block()), hex('c0 00'), packet(0x82, u16(1))))
        else await cause(broker)
        for (let n = 0; n < pubrecs; n++) await client.expect('pubrec')
        const disconnect = await client.expect('disconnect')
        expect(disconnect.reasonCode).toBe(reason)
        for (const property of Object.keys(propertiesOf(disconnect))) expect(property).toBe('reasonString')
        await client.expectClosed()
      }),
  )

  covers(
    ['5:MQTT-3.1.2-29', '5:MQTT-3.14.2-3', '5:MQTT-3.14.2-4'],
    `DISCONNECT leaves its reason string out where the client accepts no packet of that size, over ${transport}`,
    async () => {
      const broker = await startBroker()
      const whole = await RawClient.connect(broker, 5, {}, transport)
      const { raw } = await whole.bytes(packet(0x82, u16(1))).expect('disconnect')
      for (const [maximum, length] of [
        [raw.length, raw.length],
        [raw.length - 1, 4],
      ] as const) {
        const client = await RawClient.open(broker, 5, transport)
        expect(await answer(client, connect(5, { properties: block(0x27, u32(maximum)) }))).toBe(0)
        expect((await client.bytes(packet(0x82, u16(1))).expect('disconnect')).raw).toHaveLength(length)
        await client.expectClosed()
      }
    },
  )

  covers(
    ['3.1.1:MQTT-4.8.0-1'],
    `a 3.x client whose connection the server ends is sent nothing, over ${transport}`,
    async () => {
      for (const what of ['a malformed packet', 'a drain', 'silence', 'a takeover', 'a topic name with a wildcard'])
        for (const version of [3, 4] as const) {
          const broker = await startBroker({ limits })
          const client = await join(broker, 'c', version, { keepalive: 100 }, transport)
          const [, cause] = causes[what]!
          if (cause instanceof Uint8Array) client.bytes(cause)
          else await cause(broker)
          await client.expectClosed()
        }
    },
  )

  covers(
    ['5:MQTT-3.14.4-2', '5:MQTT-3.14.2-1', '5:MQTT-4.13.1-1'],
    `a client may leave with the reasons of table 3-10 that are its own, and no others, over ${transport}`,
    async () => {
      const own = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]
      const broker = await startBroker()
      for (let reason = 0; reason < 256; reason++) {
        const client = await RawClient.connect(broker, 5, {}, transport)
        client.bytes(packet(0xe0, reason))
        if (own.includes(reason)) await client.expectClosed()
        else await client.expectDisconnect(0x82)
      }
      expect(clausesLogged(broker)).toEqual(new Array(256 - own.length).fill('MQTT-3.14.2-1'))
    },
  )

  covers(
    ['5:MQTT-3.14.4-3', '3.1.1:MQTT-3.14.4-3'],
    `nothing behind a DISCONNECT counts, and the connection closes, over ${transport}`,
    async () => {
      const broker = await startBroker()
      const witness = await join(broker, 'witness')
      await witness.subscribe('#')
      for (const version of versions) {
        const client = await RawClient.connect(broker, version, {}, transport)
        client.bytes(bytes(hex('e0 00'), packet(0x31, 'a', only5(version), 'x'), hex('c0 00'), hex('00 00')))
        await client.expectClosed()
      }
      await witness.expectQuiet()
      expect(broker.node.broker.retained.size).toBe(0)
      expect(clausesLogged(broker)).toEqual([])
    },
  )
}

covers(['5:MQTT-3.14.0-1'], 'no DISCONNECT is sent before CONNACK', async () => {
  const pending = new Promise<void>(() => {})
  const rows: Record<
    string,
    readonly [code: number | undefined, sent: Uint8Array, cause?: (broker: TestBroker) => unknown]
  > = {
    'no CONNECT': [undefined, hex('c0 00')],
    'a malformed CONNECT': [0x81, connect(5, { flags: 1 })],
    'a CONNECT above the limit': [undefined, connect(5, { payload: ['id', Buffer.alloc(65_536)] })],
    'silence before CONNECT': [undefined, Buffer.alloc(0), () => hasten(11)],
    'a drain before CONNECT': [undefined, Buffer.alloc(0), (broker) => broker.node.drain(0)],
    'a drain before CONNACK': [0x88, connect(5), (broker) => broker.node.drain(0)],
    'a hook that is too slow': [0x88, connect(5), () => hasten(6)],
  }
  for (const transport of transports)
    await each(rows, async ([code, sent, cause]) => {
      const broker = await startBroker({ hooks: { authenticate: ({ id }) => (id === 'raw' ? pending : undefined) } })
      const client = await RawClient.open(broker, 5, transport)
      if (sent.length > 0) client.bytes(sent)
      // Another one's CONNACK says that it has been read.
      await join(broker, 'other')
      await cause?.(broker)
      if (code !== undefined) expect((await client.expect('connack')).reasonCode).toBe(code)
      await client.expectClosed()
    })
})

covers(
  ['3.1.1:MQTT-4.8.0-2', '5:MQTT-4.13.2-1'],
  'a fault of our own ends the connection, and is logged as ours',
  async () => {
    const broker = await startBroker({
      observer: {
        published() {
          throw new Error('a bug in the host program')
        },
      },
    })
    for (const transport of transports)
      for (const version of versions) {
        const client = await RawClient.connect(broker, version, {}, transport)
        await client.publish('a').expectDisconnect(0x80)
      }
    const faults = broker.log.filter(({ level }) => level === 'error').map(({ fields }) => fields.err)
    expect(faults).toHaveLength(6)
    for (const fault of faults) expect(fault).toMatchObject({ message: 'a bug in the host program' })
    await (await join(broker, 'other')).expectQuiet()
  },
)
