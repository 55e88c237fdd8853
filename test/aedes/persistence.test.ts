import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  aedesPersistence,
  DataFolderError,
  DiskFullError,
  NoSuchPacketError,
  NotOpenError,
} from '../../src/aedes/index.ts'
import { messageOf, packetOf, packetOfWill, willOf } from '../../src/aedes/packet.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { temporary } from '../support/program.ts'
import { AedesWorld } from './world.ts'

const client = { id: 'c' }
const origin = { cmd: 'publish', brokerId: 'b', retain: false, dup: false } as const

const strange = {
  ...origin,
  topic: 'a/b',
  payload: Buffer.from([0, 255]),
  qos: 1 as const,
  properties: {
    correlationData: Buffer.from([1, 2, 3]),
    userProperties: JSON.parse('{"type":"Buffer","data":["1","2"],"__proto__":"p"}') as object,
    contentType: 'b64',
  },
  long: 'ü€𝄞'.repeat(30_000),
  nothing: null,
}

test('a packet comes back as it was, whatever stands in it', () => {
  const topics = new TopicTable()
  for (const packet of [strange, { ...strange, payload: 'text ü' }, { topic: 't', payload: '' }]) {
    expect(packetOf(messageOf(packet, false, topics))).toEqual(packet)
    expect(packetOfWill(willOf(packet))).toEqual(packet)
  }
})

test('what does not come from Aedes is a packet all the same', () => {
  const topics = new TopicTable()
  const message = messageOf({ topic: 't', payload: 'x', qos: 2 }, true, topics)
  for (const properties of [undefined, Buffer.from([1, 1]), Buffer.from('&\0\x05aedes\0\x01{', 'latin1')]) {
    const packet = packetOf(Object.assign(Object.create(message) as typeof message, { properties }))
    expect(packet).toEqual({ cmd: 'publish', topic: 't', payload: Buffer.from('x'), qos: 2, retain: true, dup: false })
  }
})

test('a subscriber by two filters gets one copy', async () => {
  const world = await opened()
  const { persistence } = world
  const packet = { ...origin, topic: 'a/b', payload: 'x', qos: 1 as const, brokerCounter: 1 }
  await world.answer(persistence.outgoingEnqueueCombi([{ clientId: 'c' }, { clientId: 'c' }], packet))
  expect(await world.read(persistence.outgoingStream(client))).toHaveLength(1)
})

test('after a restart a packet is found by its broker and counter before anything was read', async () => {
  const world = await opened()
  for (const brokerCounter of [1, 2, 3]) {
    const packet = { ...origin, topic: 't', payload: String(brokerCounter), qos: 1 as const, brokerCounter }
    await world.answer(world.persistence.outgoingEnqueue({ clientId: 'c' }, packet))
  }
  await world.fall('crash')
  const { persistence } = world
  const second = { ...origin, topic: 't', brokerCounter: 2, messageId: 9 }
  await world.answer(persistence.outgoingUpdate(client, second))
  expect(await world.answer(persistence.outgoingClearMessageId(client, { cmd: 'pubrel', messageId: 9 }))).toMatchObject(
    {
      payload: '2',
      messageId: 9,
    },
  )
  const unknown = persistence.outgoingUpdate(client, { ...second, brokerCounter: 7 })
  await expect(world.answer(unknown)).rejects.toThrow(NoSuchPacketError)
})

test('names that a client may choose, and the standard forbids, break nothing', async () => {
  const world = await opened()
  const { persistence } = world
  for (const topic of ['a\0b', '', 'a/#', 'x/'.repeat(200)]) {
    expect(await persistence.subscriptionsByTopic(topic)).toEqual([])
    await expect(persistence.storeRetained({ topic, payload: 'x' })).rejects.toThrow()
    expect(await world.read(persistence.createRetainedStream(topic))).toEqual([])
  }
  const both = [
    { topic: 'good', qos: 1 as const },
    { topic: 'a\0b', qos: 1 as const },
  ]
  await expect(persistence.addSubscriptions(client, both)).rejects.toThrow()
  expect(await persistence.subscriptionsByClient(client)).toEqual([])
})

test('a full disk takes nothing new, and goes on when there is room', async () => {
  const world = await opened()
  const { persistence, disk } = world
  const packet = { ...origin, topic: 't', payload: 'x'.repeat(500), qos: 1 as const }
  const { capacity } = disk
  disk.capacity = 0
  const waits = persistence.outgoingEnqueue({ clientId: 'c' }, { ...packet, brokerCounter: 1 })
  await world.goOn(50)
  await expect(persistence.outgoingEnqueue({ clientId: 'c' }, packet)).rejects.toThrow(DiskFullError)
  await expect(persistence.addSubscriptions(client, [{ topic: 't', qos: 1 }])).rejects.toThrow(DiskFullError)
  expect(await persistence.subscriptionsByClient(client)).toEqual([])
  disk.capacity = capacity
  await world.answer(waits)
  expect(await world.read(persistence.outgoingStream(client))).toHaveLength(1)
})

test('when a sync fails, nothing is promised any more', async () => {
  const world = await opened()
  const { persistence, disk } = world
  disk.fail('sync', 1, 'EIO')
  const stored = persistence.storeRetained({ topic: 't', payload: 'x' })
  await expect(world.answer(stored)).rejects.toMatchObject({ name: 'NotOpenError', cause: { code: 'EIO' } })
  await expect(persistence.storeRetained({ topic: 't', payload: 'x' })).rejects.toThrow(NotOpenError)
  await expect(persistence.removeSubscriptions(client, ['t'])).resolves.toBe(undefined)
})

test('a folder is for one broker, and open from setup to destroy', async () => {
  const data = join(temporary(), 'data')
  const first = aedesPersistence({ data })
  await expect(first.getWill(client)).rejects.toThrow(NotOpenError)
  await first.setup({ id: '1' })
  await expect(aedesPersistence({ data }).setup({ id: '2' })).rejects.toThrow(DataFolderError)
  await first.destroy()
  await expect(first.getWill(client)).rejects.toThrow(NotOpenError)
  await expect(first.destroy()).rejects.toThrow('destroyed twice')
  const second = aedesPersistence({ data })
  await second.setup({ id: '2' })
  await second.destroy()
})

async function opened(): Promise<AedesWorld> {
  const world = new AedesWorld(0)
  await world.open()
  return world
}
