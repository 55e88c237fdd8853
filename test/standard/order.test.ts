import { expect } from 'vitest'
import { startBroker } from '../support/broker.ts'
import type { RawClient, Received } from '../support/raw.ts'
import { covers } from './covering.ts'
import { eachRow, join, joinKept, publishes } from './kit.ts'
import { versions } from './wire.ts'

const idOf = (received: Received) => received.messageId as number
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1)

/** Acknowledges what comes until `count` messages have come whole; gives them in the order in which they came first. */
async function collect(client: RawClient, count: number): Promise<Received[]> {
  const heard: Received[] = []
  let open = 0
  while (heard.length < count || open > 0) {
    const next = await client.next()
    if (next.cmd === 'publish') {
      heard.push(next)
      if (next.qos === 1) client.send({ cmd: 'puback', messageId: idOf(next) })
      if (next.qos === 2) {
        open++
        client.send({ cmd: 'pubrec', messageId: idOf(next) })
      }
    } else if (next.cmd === 'pubrel') {
      open--
      client.send({ cmd: 'pubcomp', messageId: idOf(next) })
    }
  }
  return heard
}

/** Of each publisher, topic and QoS: the numbers, in the order in which they came. */
function streams(heard: readonly Received[]): Map<string, number[]> {
  const found = new Map<string, number[]>()
  for (const { payload, topic, qos } of heard) {
    const [publisher, number] = String(payload).split(' ')
    const stream = `${publisher} ${String(topic)} ${String(qos)}`
    found.set(stream, [...(found.get(stream) ?? []), Number(number)])
  }
  return found
}

covers(
  ['5:MQTT-4.6.0-5', '5:MQTT-4.6.0-6', '3.1.1:MQTT-4.6.0-5', '3.1.1:MQTT-4.6.0-6'],
  'of each publisher, topic and QoS a subscriber gets everything in order, whatever way it takes',
  async () => {
    for (const version of versions) {
      const broker = await startBroker({ limits: { inflightMessages: version === 5 ? 1024 : 7 } })
      const each = 30
      const away = await joinKept(broker, 'away', version)
      await away.subscribe('o/#', 2)
      await away.disconnect()
      const subs = await Promise.all(
        ['plain', 'overlapping', 'slow'].map((name) =>
          join(broker, name, version, version === 5 && name === 'slow' ? { properties: { receiveMaximum: 3 } } : {}),
        ),
      )
      for (const sub of subs) await sub.subscribe('o/+', 2)
      await subs[1]!.subscribe('o/a', 1)
      await subs[1]!.subscribe('#', 0)
      const pubs = await Promise.all(['p', 'q', 'r'].map((name) => join(broker, name, version)))
      // Each publisher sends all at once; they mix as they come.
      for (const number of numbers(each))
        for (const [at, pub] of pubs.entries())
          for (const [half, topic] of ['o/a', 'o/b'].entries())
            for (const qos of [0, 1, 2])
              pub.publish(topic, `${'pqr'[at]} ${number}`, { qos, messageId: number * 10 + half * 3 + qos })
      const expected = pubs.length * 2 * 3 * each
      const heard = await Promise.all(subs.map((sub) => collect(sub, expected)))
      const back = await joinKept(broker, 'away', version)
      heard.push(await collect(back, (expected / 3) * 2))
      for (const [at, one] of heard.entries()) {
        const found = streams(one)
        expect(found.size).toBe(at < 3 ? 18 : 12)
        for (const [stream, order] of found) expect(order, stream).toEqual(numbers(each))
      }
    }
  },
)

covers(
  ['3.1.1:MQTT-4.6.0-2', '3.1.1:MQTT-4.6.0-3', '3.1.1:MQTT-4.6.0-4', '3.1.1:MQTT-4.6.0-6'],
  'the broker acknowledges in the order in which it was sent to, however long each permission takes',
  async () => {
    const turns = [3, 1, 0, 2]
    await eachRow(
      [
        ['at once', {}],
        ['later', { authorizePublish: wait }],
      ] as const,
      async (_, hooks) => {
        const broker = await startBroker({ hooks })
        for (const version of versions) {
          const ids = [5, 900, 3, 65_535, 1, 2, 77, 4]
          const pub = await join(broker, 'pub', version)
          for (const [at, messageId] of ids.entries())
            pub
              .publish('t', 'x', { qos: 1, messageId })
              .publish('t', 'x', { qos: 2, messageId: ids[ids.length - 1 - at]! })
          const answers: Received[] = []
          while (answers.length < 16) answers.push(await pub.next())
          const of = (cmd: string) => answers.filter((packet) => packet.cmd === cmd).map(idOf)
          expect(of('puback')).toEqual(ids)
          expect(of('pubrec')).toEqual([...ids].reverse())
          for (const messageId of ids) pub.send({ cmd: 'pubrel', messageId })
          for (const messageId of ids) expect(idOf(await pub.expect('pubcomp'))).toBe(messageId)
        }
      },
    )
    /** Takes a few turns of the event loop, not the same each time. */
    async function wait(): Promise<void> {
      turns.push(turns.shift()!)
      for (let turn = 0; turn < turns[0]!; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
    }
  },
)

covers(['3.1.1:MQTT-4.6.0-4', '3.1.1:MQTT-4.6.0-6'], 'PUBREL goes out in the order in which PUBREC came', async () => {
  const broker = await startBroker()
  for (const version of versions) {
    const sub = await join(broker, 'sub', version)
    await sub.subscribe('t', 2)
    const pub = await join(broker, 'pub', version)
    for (const messageId of numbers(8)) pub.publish('t', 'x', { qos: 2, messageId })
    const ids = (await publishes(sub, 8)).map(idOf)
    const order = [4, 0, 7, 2, 6, 1, 5, 3].map((at) => ids[at]!)
    for (const messageId of order) sub.send({ cmd: 'pubrec', messageId })
    for (const messageId of order) expect(idOf(await sub.expect('pubrel'))).toBe(messageId)
  }
})
