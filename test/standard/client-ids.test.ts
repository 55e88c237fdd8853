import { expect } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { connectPacket, RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import {
  answer,
  block,
  clausesLogged,
  connect,
  expectRefusal,
  propertiesOf,
  transports,
  u32,
  versions,
} from './wire.ts'

// Section 3.1.3.1: client ids, as they are chosen and assigned.

const alphabet = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'

covers(
  ['5:MQTT-3.1.3-5', '3.1.1:MQTT-3.1.3-5'],
  'client ids of 1 to 23 letters and digits are taken, and longer ones up to the limit',
  async () => {
    const ids = [
      ...alphabet,
      ...[0, 23, 39].map((at) => alphabet.slice(at, at + 23)),
      'x'.repeat(256),
      'a b/#ü\u{1f426}',
    ]
    const broker = await startBroker()
    for (const version of versions) for (const id of ids) await RawClient.connect(broker, version, { clientId: id })
    expect([...broker.node.broker.sessions.values()].map(({ clientId }) => clientId)).toEqual(ids)
  },
)

covers(
  ['5:MQTT-3.1.3-8', '3.1.1:MQTT-3.1.3-9', '3.1.1:MQTT-3.2.2-5'],
  'a client id that is too long is refused: 0x85, or 2',
  async () => {
    const broker = await startBroker()
    for (const transport of transports)
      for (const version of versions) {
        const request = connect(version, { payload: ['x'.repeat(257)] })
        await expectRefusal(broker, version, request, version === 5 ? 0x85 : 2, transport)
      }
    expect(new Set(clausesLogged(broker))).toEqual(new Set(['MQTT-3.1.3-8']))
  },
)

covers(
  ['5:MQTT-3.1.3-6', '5:MQTT-3.2.2-16'],
  'a v5 client without a client id is given one of its own, and told it',
  async () => {
    const broker = await startBroker()
    const assigned = new Set<unknown>()
    for (const transport of transports)
      for (const flags of [0, 2]) {
        const client = await RawClient.open(broker, 5, transport)
        client.bytes(connect(5, { flags, payload: [''], properties: block(0x11, u32(60)) }))
        const connack = await client.expect('connack')
        expect(connack.sessionPresent).toBe(false)
        assigned.add(propertiesOf(connack).assignedClientIdentifier)
        await client.drop()
      }
    expect(assigned.size).toBe(4)
    // The session stands under that id.
    for (const id of assigned) {
      const client = await RawClient.open(broker)
      client.send(connectPacket(5, { clientId: id as string, clean: false }))
      expect((await client.expect('connack')).sessionPresent).toBe(true)
    }
  },
)

covers(['5:MQTT-3.2.2-16'], 'a client with an id of its own is assigned none', async () => {
  const broker = await startBroker()
  const client = await RawClient.open(broker)
  expect((await client.send(connectPacket(5)).expect('connack')).properties).not.toHaveProperty(
    'assignedClientIdentifier',
  )
})

covers(
  ['3.1.1:MQTT-3.1.3-6', '3.1.1:MQTT-3.1.3-7', '3.1.1:MQTT-3.1.3-8'],
  'a 3.1.1 client may be without a client id for a clean session alone; 3.1 knows no such thing',
  async () => {
    const broker = await startBroker()
    for (const transport of transports) {
      const clients = [await RawClient.open(broker, 4, transport), await RawClient.open(broker, 4, transport)]
      for (const client of clients) expect(await answer(client, connect(4, { payload: [''] }))).toBe(0)
      for (const client of clients) await client.expectQuiet()
      expect(broker.node.broker.sessions.size).toBe(2)
      await expectRefusal(broker, 4, connect(4, { flags: 0, payload: [''] }), 2, transport)
      await expectRefusal(broker, 3, connect(3, { flags: 0, payload: [''] }), 2, transport)
      await expectRefusal(broker, 3, connect(3, { flags: 2, payload: [''] }), 2, transport)
      for (const client of clients) await client.disconnect()
    }
  },
)
