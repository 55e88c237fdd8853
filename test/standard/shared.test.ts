import { expect } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import type { RawClient, Received } from '../support/raw.ts'
import { covers } from './covering.ts'
import { acknowledge, eachRow, hears, join, joinKept, publishEach, publishes, settle, told } from './kit.ts'
import { versions } from './wire.ts'

// `$share/…` of the malformed kind stands in subscribe.test.ts.

const idOf = (received: Received) => received.messageId as number
const lost = (broker: TestBroker) => broker.node.broker.ledger.lost['session-ended']

/** Members of one group for `t`. */
async function group(broker: TestBroker, ...names: string[]): Promise<RawClient[]> {
  const members = await Promise.all(names.map((name) => join(broker, name)))
  for (const member of members) await member.subscribe('$share/g/t', 2)
  return members
}

/** The PUBLISH packets that have come, once all that was to come has; they are taken to their end. */
async function drain(client: RawClient): Promise<string[]> {
  client.bytes('c0 00')
  const heard: Received[] = []
  for (let next = await client.next(); next.cmd !== 'pingresp'; next = await client.next())
    if (next.cmd === 'publish') heard.push(next)
  for (const received of heard) await acknowledge(client, received)
  await client.expectQuiet()
  return heard.map(told)
}

covers(
  ['5:MQTT-4.8.2-3'],
  'each message goes to one member, at the QoS it was granted; members take turns',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    for (const version of versions) {
      const members = await Promise.all([0, 1, 2].map((at) => join(broker, `m${at}`, version)))
      for (const [qos, member] of members.entries()) await member.subscribe('$share/g/t', qos as 0 | 1 | 2)
      for (const published of [0, 1, 2]) {
        const counts = [0, 0, 0]
        for (let i = 0; i < 9; i++) {
          await publishEach(pub, [['x', published]])
          const heard = await Promise.all(members.map(drain))
          const chosen = heard.findIndex((one) => one.length > 0)
          expect(heard.flat()).toEqual([`t=x q${Math.min(chosen, published)}`])
          counts[chosen]!++
        }
        expect(counts).toEqual([3, 3, 3])
      }
      for (const member of members) await member.disconnect()
    }
  },
)

covers(['5:MQTT-4.8.2-3'], 'a member with a small window has its turns as long as there is room in it', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  const small = await join(broker, 'small', 5, { properties: { receiveMaximum: 2 } })
  await small.subscribe('$share/g/t', 1)
  const [large] = (await group(broker, 'large')) as [RawClient]
  const counts = [0, 0]
  for (let i = 0; i < 20; i++) {
    await publishEach(pub, [['x', 1]])
    for (const [at, member] of [small, large].entries()) counts[at]! += (await drain(member)).length
  }
  expect(counts).toEqual([10, 10])
  // Full, it waits behind the one that is not.
  for (let i = 0; i < 10; i++) await publishEach(pub, [['x', 1]])
  expect(await publishes(small, 2)).toHaveLength(2)
  expect(await drain(large)).toHaveLength(8)
  await small.expectQuiet()
})

covers(
  ['5:MQTT-4.8.2-1', '5:MQTT-4.8.2-2'],
  'a group is its name and its filter; each group gets its copy, and so do others',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    await eachRow(
      [
        [['$share/g/t'], 1],
        [['$share/g/t', '$share/h/t'], 2],
        [['$share/g/t', '$share/g/+', '$share/g/#'], 3],
        [['$share/g/t', 't'], 2],
        [['$share/g/t', '#', 't', '+'], 2],
        [['$share/ü g/t'], 1],
        [['$share/g/u', '$share/g//t'], 0],
      ] as const,
      async (filters, copies) => {
        // The same in two clients: each group has two members, of whom one gets it; a plain one is each client's own.
        const clients = [await join(broker, 'one'), await join(broker, 'two')]
        for (const client of clients) for (const filter of filters) await client.subscribe(filter, 0)
        await publishEach(pub, [['x', 1]])
        const plain = filters.some((filter) => !filter.startsWith('$share'))
        const heard = [...(await drain(clients[0]!)), ...(await drain(clients[1]!))]
        expect(heard).toHaveLength(copies + (plain ? 1 : 0))
      },
    )
  },
)

covers(
  ['5:MQTT-3.3.1-9'],
  'a shared subscription brings no retained messages, but what is published retained',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    await publishEach(pub, [['old', 1]], { retain: true })
    for (const rh of [0, 1, 2] as const)
      for (const rap of [false, true]) {
        const member = await join(broker, 'member')
        await member.subscribe('$share/g/t', 1, { rh, rap, id: 7 })
        await member.expectQuiet()
        await publishEach(pub, [['new', 1]], { retain: true })
        const [received] = await publishes(member, 1)
        expect(told(received!)).toBe(`t=new q1${rap ? ' retain' : ''}`)
        expect(received!.properties).toEqual({ subscriptionIdentifier: 7 })
      }
    expect(await (await join(broker, 'plain')).subscribe('t')).toBe(0)
  },
)

covers(['5:MQTT-4.8.2-3'], 'a member that has more room, and one that is online, comes first', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  const away = await joinKept(broker, 'away')
  await away.subscribe('$share/g/t', 2)
  await away.disconnect()
  const [busy, idle] = (await group(broker, 'busy', 'idle')) as [RawClient, RawClient]
  const heard = { busy: 0, idle: 0 }
  for (let i = 0; i < 20; i++) {
    await publishEach(pub, [['x', 1]])
    heard.idle += (await drain(idle)).length
    // This one acknowledges nothing.
    await settle(busy)
  }
  busy.packets.length = 0
  expect(heard.idle).toBeGreaterThanOrEqual(18)
  await idle.disconnect()
  // What the busy one had not acknowledged goes on to nobody but an offline session now.
  await busy.disconnect()
  const back = await joinKept(broker, 'away')
  expect(await drain(back)).toHaveLength(20 - heard.idle)
})

covers(['5:MQTT-4.5.0-1'], 'with all members away a message waits for one of them, and comes once', async () => {
  const broker = await startBroker()
  const names = ['one', 'two', 'three']
  for (const name of names) {
    const member = await joinKept(broker, name)
    await member.subscribe('$share/g/t', 1)
    await member.disconnect()
  }
  const pub = await join(broker, 'pub')
  await publishEach(
    pub,
    Array.from('abcdef', (payload) => [payload, 1] as const),
  )
  const heard: string[] = []
  for (const name of names) heard.push(...(await drain(await joinKept(broker, name))))
  expect(heard.sort()).toEqual(Array.from('abcdef', (payload) => `t=${payload} q1`))
})

// Who is sent a message, and what becomes of it when that member leaves before it is done.
covers(
  ['5:MQTT-4.8.2-4', '5:MQTT-4.8.2-5'],
  'a member that comes back gets what it was sent; one that does not leaves QoS 1 to others, never a QoS 2 that was sent',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    await eachRow(
      [
        ['QoS 1, comes back', 1, false, true],
        ['QoS 2, comes back', 2, false, true],
        ['QoS 2 and PUBREC, comes back', 2, true, true],
        ['QoS 1, gone for good', 1, false, false],
        ['QoS 2, gone for good', 2, false, false],
        ['QoS 2 and PUBREC, gone for good', 2, true, false],
      ] as const,
      async (_, qos, pubrec, returns) => {
        for (const version of versions) {
          const first = await joinKept(broker, 'first', version)
          await first.subscribe('$share/g/t', 2)
          await publishEach(pub, [['x', qos]])
          const [sent] = await publishes(first, 1)
          expect(told(sent!)).toBe(`t=x q${qos}`)
          const second = await join(broker, 'second', version)
          await second.subscribe('$share/g/t', 2)
          if (pubrec) {
            first.send({ cmd: 'pubrec', messageId: idOf(sent!) })
            await first.expect('pubrel')
          }
          await first.disconnect()
          await second.expectQuiet()
          const before = lost(broker)
          if (returns) {
            const back = await joinKept(broker, 'first', version)
            const again = await back.next()
            expect([again.cmd, again.messageId]).toEqual([pubrec ? 'pubrel' : 'publish', idOf(sent!)])
            if (!pubrec) expect(told(again)).toBe(`t=x q${qos} dup`)
            if (pubrec) back.send({ cmd: 'pubcomp', messageId: idOf(sent!) })
            else await acknowledge(back, again)
            await back.expectQuiet()
          }
          // A clean start ends the session for good.
          const clean = await join(broker, 'first', version)
          const moves = !returns && qos === 1
          expect(await drain(second)).toEqual(moves ? ['t=x q1'] : [])
          expect(lost(broker) - before).toBe(returns || moves ? 0 : 1)
          await clean.disconnect()
          await second.disconnect()
          expect(broker.node.broker.pending).toBe(0)
        }
      },
    )
  },
)

covers(
  ['5:MQTT-4.8.2-5'],
  'a clean session that drops leaves what it had not acknowledged, and what waited for it, to others',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    const leaver = await join(broker, 'leaver', 5, { properties: { receiveMaximum: 2 } })
    await leaver.subscribe('$share/g/t', 2)
    await publishEach(pub, [
      ['a', 1],
      ['b', 2],
      ['c', 2],
      ['d', 1],
      ['e', 2],
    ])
    expect(await hears(leaver, 2)).toEqual(['t=a q1', 't=b q2'])
    const [stayer] = (await group(broker, 'stayer')) as [RawClient]
    await leaver.drop()
    // b was sent at QoS 2, so it ends there; the others were not, or may come twice.
    expect((await hears(stayer, 4)).sort()).toEqual(['t=a q1', 't=c q2', 't=d q1', 't=e q2'])
    expect(lost(broker)).toBe(1)
  },
)

covers(['5:MQTT-4.8.2-6'], 'what a member refuses goes to no other', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  for (const [qos, cmd] of [
    [1, 'puback'],
    [2, 'pubrec'],
  ] as const) {
    const [one] = (await group(broker, 'one')) as [RawClient]
    await publishEach(pub, [['x', qos]])
    const [received] = await publishes(one, 1)
    const [two] = (await group(broker, 'two')) as [RawClient]
    one.send({ cmd, messageId: idOf(received!), reasonCode: 0x83 })
    await one.expectQuiet()
    await one.disconnect()
    await two.expectQuiet()
    await two.disconnect()
  }
  expect(broker.node.broker.ledger.lost['refused-by-client']).toBe(2)
  expect(broker.node.broker.pending).toBe(0)
})

covers(['5:MQTT-3.10.4-1'], 'a group ends with its last member', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub')
  const [one, two] = (await group(broker, 'one', 'two')) as [RawClient, RawClient]
  const reason = async () => {
    pub.publish('t', 'x', { qos: 1, messageId: 1 })
    return (await pub.expect('puback')).reasonCode
  }
  one.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['$share/g/t'] })
  await one.expect('unsuback')
  expect(await reason()).toBe(0)
  expect(await reason()).toBe(0)
  expect(await drain(two)).toEqual(['t=x q1', 't=x q1'])
  await two.disconnect()
  expect(await reason()).toBe(0x10)
  await one.expectQuiet()
})
