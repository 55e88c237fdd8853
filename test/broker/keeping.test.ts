import { describe, expect, test } from 'vitest'
import { Reason } from '../../src/mqtt/reason.ts'
import { parseFilter } from '../../src/mqtt/topic.ts'
import type { Durability } from '../../src/store/port.ts'
import { acknowledge, eachRow, hears, join, joinKept, publishes, told } from '../standard/kit.ts'
import { startBroker, temporaryFolder, type TestBroker, type TestBrokerOptions } from '../support/broker.ts'
import type { RawClient } from '../support/raw.ts'

// What is kept, how, and what gives way when there is no room: real brokers on real folders. Crashes are test/sim's,
// test/prove's and test/faults'.

/** A broker on a folder of its own, and how to start it again on the same one. */
async function kept(
  options: TestBrokerOptions = {},
): Promise<{ broker: TestBroker; again: () => Promise<TestBroker> }> {
  const data = temporaryFolder()
  const start = () => startBroker({ ...options, data })
  let broker = await start()
  return {
    broker,
    again: async () => {
      await broker.node.close()
      return (broker = await start())
    },
  }
}

/** A session that subscribes to everything, and leaves. */
async function absent(broker: TestBroker, clientId: string, qos: 0 | 1 | 2 = 1): Promise<void> {
  const client = await joinKept(broker, clientId)
  expect(await client.subscribe('#', qos)).toBe(qos)
  await client.disconnect()
}

async function send(publisher: RawClient, ...payloads: string[]): Promise<number[]> {
  const reasons: number[] = []
  for (const [at, payload] of payloads.entries()) {
    publisher.publish('t', payload, { qos: 1, messageId: at + 1 })
    reasons.push((await publisher.expect('puback')).reasonCode as number)
  }
  return reasons
}

async function waiting(broker: TestBroker, clientId: string, count: number): Promise<string[]> {
  const client = await joinKept(broker, clientId)
  const packets = await publishes(client, count)
  for (const packet of packets) await acknowledge(client, packet)
  await client.expectQuiet()
  await client.disconnect()
  return packets.map((packet) => told(packet).split(' ')[0]!.slice(2))
}

describe('a restart', () => {
  test('keeps subscriptions with their options and ids, queues in order, retained messages and QoS 2 ids', async () => {
    const { broker, again } = await kept()
    const away = await joinKept(broker, 'away')
    await away.subscribe('a/#', 2, { id: 7, rap: true })
    await away.subscribe('a/b', 1, { id: 9 })
    await away.subscribe('$share/g/s', 1)
    await away.subscribe('gone', 1)
    away.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['gone'] })
    await away.expect('unsuback')
    await away.disconnect()
    const publisher = await joinKept(broker, 'publisher')
    publisher.publish('a/b', 'first', { qos: 1, messageId: 1, retain: true })
    await publisher.expect('puback')
    publisher.publish('a/c', 'second', { qos: 2, messageId: 2 })
    await publisher.expect('pubrec')
    publisher.publish('s', 'third', { qos: 1, messageId: 3 })
    await publisher.expect('puback')
    publisher.publish('gone', 'no', { qos: 1, messageId: 4 })
    await publisher.expect('puback')

    const next = await again()
    expect(next.node.broker.pending).toBe(3)
    const back = await joinKept(next, 'away')
    const first = await back.expect('publish')
    expect(told(first)).toMatch(/^a\/b=first q1 retain/)
    expect(first.properties).toEqual({ subscriptionIdentifier: [7, 9] })
    const second = await back.expect('publish')
    expect(told(second)).toMatch(/^a\/c=second q2/)
    expect(second.properties).toEqual({ subscriptionIdentifier: 7 })
    expect(await hears(back, 1)).toEqual([expect.stringMatching(/^s=third q1/)])
    await back.expectQuiet()
    // The QoS 2 message is known, and goes nowhere again.
    const resent = await joinKept(next, 'publisher')
    resent.publish('a/c', 'second', { qos: 2, messageId: 2, dup: true })
    await resent.expect('pubrec')
    resent.send({ cmd: 'pubrel', messageId: 2 })
    expect(await resent.expect('pubcomp')).toMatchObject({ reasonCode: Reason.success })
    await back.expectQuiet()
    const reader = await join(next, 'reader')
    await reader.subscribe('a/#')
    expect(await hears(reader, 1)).toEqual(['a/b=first q0 retain'])
  })

  test('goes on with what was in flight, under the same packet ids', async () => {
    const { broker, again } = await kept()
    const client = await joinKept(broker, 'c')
    await client.subscribe('t', 2)
    const publisher = await join(broker, 'p')
    for (const qos of [1, 2, 2] as const) {
      publisher.publish('t', 'x', { qos, messageId: 1 })
      await publisher.expect(qos === 1 ? 'puback' : 'pubrec')
      if (qos === 2) await release(publisher)
    }
    const before = await publishes(client, 3)
    client.send({ cmd: 'pubrec', messageId: before[2]!.messageId as number })
    await client.expect('pubrel')
    const back = await joinKept(await again(), 'c')
    expect(await back.expect('pubrel')).toMatchObject({ messageId: before[2]!.messageId })
    const resent = await publishes(back, 2)
    expect(resent.map(({ messageId, qos, dup }) => [messageId, qos, dup])).toEqual([
      [before[0]!.messageId, 1, true],
      [before[1]!.messageId, 2, true],
    ])
  })

  test('of a session that was to end with its connection leaves nothing of it', async () => {
    const { broker, again } = await kept()
    const client = await join(broker, 'c')
    await client.subscribe('#', 1)
    const next = await again()
    expect([next.node.broker.sessions.size, next.node.broker.tree.size]).toEqual([0, 0])
  })
})

async function release(publisher: RawClient): Promise<void> {
  publisher.send({ cmd: 'pubrel', messageId: 1 })
  await publisher.expect('pubcomp')
}

describe('the class of durability', () => {
  test('is told to a v5 publisher that asks for problem information', async () => {
    const rules: TestBrokerOptions['config'] = {
      durabilityByTopic: [
        { filter: parseFilter('fast/#').filter, durability: 'os' },
        { filter: parseFilter('loose/#').filter, durability: 'memory' },
      ],
    }
    const { broker } = await kept({ config: rules })
    await absent(broker, 'away', 2)
    const asks = await join(broker, 'asks', 5, { properties: { requestProblemInformation: true } })
    const silent = await join(broker, 'silent')
    const rows: [topic: string, durability: Durability][] = [
      ['t', 'fsync'],
      ['fast/t', 'os'],
      ['loose/t', 'memory'],
    ]
    await eachRow(rows, async (topic, durability) => {
      for (const [qos, cmd] of [
        [1, 'puback'],
        [2, 'pubrec'],
      ] as const) {
        asks.publish(topic, 'x', { qos, messageId: 1 })
        expect((await asks.expect(cmd)).properties).toEqual({ userProperties: { durability } })
        if (qos === 2) await release(asks)
        silent.publish(topic, 'x', { qos, messageId: 1 })
        expect((await silent.expect(cmd)).properties).toBeUndefined()
        if (qos === 2) await release(silent)
      }
    })
  })

  test('memory: delivered, and gone with the process; the others stay', async () => {
    const loose = [{ filter: parseFilter('loose').filter, durability: 'memory' as const }]
    const { broker, again } = await kept({ config: { durabilityByTopic: loose } })
    await absent(broker, 'away')
    await absent(broker, 'other')
    const publisher = await join(broker, 'p')
    for (const [at, topic] of ['a', 'loose', 'b'].entries()) {
      publisher.publish(topic, 'x', { qos: 1, messageId: at + 1 })
      await publisher.expect('puback')
    }
    const client = await joinKept(broker, 'other')
    expect((await hears(client, 3)).map((line) => line.split('=')[0])).toEqual(['a', 'loose', 'b'])
    const back = await joinKept(await again(), 'away')
    expect((await hears(back, 2)).map((line) => line.split('=')[0])).toEqual(['a', 'b'])
    await back.expectQuiet()
  })
})

test('a packet id of QoS 2 that a client may hold names no other message after a restart, whatever the classes', async () => {
  const loose = [{ filter: parseFilter('loose').filter, durability: 'memory' as const }]
  const { broker, again } = await kept({ config: { durabilityByTopic: loose } })
  const client = await joinKept(broker, 'c')
  await client.subscribe('#', 2)
  const send = async (to: TestBroker, topic: string) => {
    const publisher = await join(to, `p ${topic}`)
    publisher.publish(topic, 'x', { qos: 2, messageId: 1 })
    await publisher.expect('pubrec')
    await release(publisher)
  }
  await send(broker, 'loose')
  const held = await client.expect('publish')
  const next = await again()
  await send(next, 'tight')
  const packets = await publishes(await joinKept(next, 'c'), 2)
  expect(packets.map(({ topic, messageId, dup }) => [topic, messageId, dup])).toEqual([
    ['loose', held.messageId, true],
    ['tight', (held.messageId as number) + 1, false],
  ])
})

describe('a full queue', () => {
  for (const data of ['in memory', 'on disk'] as const) {
    const on = (options: TestBrokerOptions): TestBrokerOptions => ({
      ...options,
      ...(data === 'on disk' && { data: temporaryFolder() }),
    })

    test(`drop-newest, ${data}`, async () => {
      const broker = await startBroker(on({ limits: { queueMessages: 2 }, config: { overflow: 'drop-newest' } }))
      await absent(broker, 'away')
      expect(await send(await join(broker, 'p'), '1', '2', '3', '4')).toEqual([0, 0, 0, 0])
      expect(await waiting(broker, 'away', 2)).toEqual(['1', '2'])
      expect(broker.node.broker.ledger.lost['queue-full']).toBe(2)
    })

    test(`drop-oldest, ${data}`, async () => {
      const broker = await startBroker(on({ limits: { queueMessages: 2 }, config: { overflow: 'drop-oldest' } }))
      await absent(broker, 'away')
      expect(await send(await join(broker, 'p'), '1', '2', '3', '4')).toEqual([0, 0, 0, 0])
      expect(await waiting(broker, 'away', 2)).toEqual(['3', '4'])
      expect(broker.node.broker.ledger.lost['queue-full']).toBe(2)
    })

    test(`reject, ${data}: nobody gets it, and the publisher knows`, async () => {
      const broker = await startBroker(on({ limits: { queueMessages: 2 }, config: { overflow: 'reject' } }))
      await absent(broker, 'away')
      const other = await join(broker, 'other')
      await other.subscribe('t', 0)
      const publisher = await join(broker, 'p')
      expect(await send(publisher, '1', '2', '3')).toEqual([0, 0, Reason.quotaExceeded])
      publisher.publish('t', 'not for the queue', { qos: 0 })
      expect((await hears(other, 3)).map((line) => line.slice(2))).toEqual(['1 q0', '2 q0', 'not for the queue q0'])
      // 3.x cannot be told: no acknowledgement, and the end.
      const old = await join(broker, 'old', 4)
      old.publish('t', '4', { qos: 1, messageId: 1 })
      await old.expectClosed()
      expect(await waiting(broker, 'away', 2)).toEqual(['1', '2'])
      expect(broker.node.broker.ledger.refused).toBe(2)
    })
  }

  test('all queues together have a bound of their own', async () => {
    const broker = await startBroker({ data: temporaryFolder(), limits: { queueBytesTotal: 3000 } })
    await absent(broker, 'a')
    await absent(broker, 'b')
    const publisher = await join(broker, 'p')
    await send(publisher, ...Array.from({ length: 20 }, (_, at) => `${at}`.padEnd(200, '.')))
    const { ledger, pending, sessions } = broker.node.broker
    expect(pending).toBeGreaterThan(5)
    expect(pending).toBeLessThan(12)
    expect(ledger.lost['queue-full']).toBe(40 - pending)
    const left = pending / 2
    await waiting(broker, 'a', left)
    await waiting(broker, 'b', left)
    expect(sessions.queued.bytes).toBe(0)
  })
})

test('$SYS is of this process alone, and not for the disk', async () => {
  const { broker, again } = await kept({ limits: { sysSeconds: 1 } })
  const reader = await join(broker, 'reader')
  await reader.subscribe('$SYS/#')
  await reader.expect('publish')
  const next = await again()
  expect([...next.node.broker.retained.matching(parseFilter('$SYS/#').filter, 0)]).toEqual([])
})
