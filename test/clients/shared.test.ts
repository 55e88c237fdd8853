import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { Client, type Version } from './kit.ts'

const count = 300

async function group(broker: TestBroker, members: readonly Version[], filter: string): Promise<Client[]> {
  return Promise.all(
    members.map(async (version, at) => {
      const client = await Client.join(broker, version, { clientId: `member${at}` })
      await client.mqtt.subscribeAsync(filter, { qos: 2 })
      return client
    }),
  )
}

async function publish(publisher: Client, qos: 0 | 1 | 2, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at++) await publisher.mqtt.publishAsync(`jobs/${at % 7}`, String(at), { qos })
}

/** What has come to all of them together, in order. */
async function numbers(members: readonly Client[]): Promise<number[]> {
  const came = await Promise.all(members.map((member) => member.settled()))
  return came
    .flat()
    .map(({ payload }) => Number(payload.toString()))
    .toSorted((a, b) => a - b)
}

const all = Array.from({ length: count }, (_, at) => at)

for (const qos of [0, 1, 2] as const)
  test(`QoS ${qos}: each message goes to one of three`, async () => {
    const broker = await startBroker()
    const members = await group(broker, [5, 4, 3], '$share/workers/jobs/#')
    const bystander = await Client.join(broker)
    await bystander.mqtt.subscribeAsync('jobs/#', { qos: 0 })
    const publisher = await Client.join(broker)
    await publish(publisher, qos, 0, count)
    expect((await bystander.take(count)).length).toBe(count)
    const shares = members.map(({ inbox }) => inbox.length)
    expect(await numbers(members)).toEqual(all)
    // Nobody stands idle.
    expect(Math.min(...shares)).toBeGreaterThan(0)
  })

test('two groups get everything each', async () => {
  const broker = await startBroker()
  const one = await group(broker, [5, 5], '$share/one/jobs/#')
  const members = await Promise.all(['a', 'b'].map((clientId) => Client.join(broker, 5, { clientId })))
  for (const member of members) await member.mqtt.subscribeAsync('$share/two/jobs/#', { qos: 1 })
  await publish(await Client.join(broker), 1, 0, count)
  expect([await numbers(one), await numbers(members)]).toEqual([all, all])
})

describe('a member leaves', () => {
  for (const [name, leave] of [
    ['in order', (member: Client) => member.leave()],
    ['by a cut', (member: Client) => member.cut()],
    ['by UNSUBSCRIBE', (member: Client) => member.mqtt.unsubscribeAsync('$share/workers/jobs/#')],
  ] as const)
    test(`${name}: the others take over`, async () => {
      const broker = await startBroker()
      const members = await group(broker, [5, 5, 5], '$share/workers/jobs/#')
      const publisher = await Client.join(broker)
      await publish(publisher, 1, 0, 100)
      const [leaver, ...others] = members as [Client, Client, Client]
      const before = (await leaver.settled()).map(({ payload }) => Number(payload.toString()))
      await leave(leaver)
      await publish(publisher, 1, 100, count)
      expect([...before, ...(await numbers(others))].toSorted((a, b) => a - b)).toEqual(all)
    })

  test('holding messages that it never acknowledges: others get them', async () => {
    const broker = await startBroker()
    const stuck = await Client.join(broker, 5, {
      clientId: 'stuck',
      // Takes messages and keeps quiet.
      prepare: (mqtt) => (mqtt.handleMessage = () => {}),
    })
    await stuck.mqtt.subscribeAsync('$share/workers/jobs/#', { qos: 1 })
    const publisher = await Client.join(broker)
    await publish(publisher, 1, 0, 100)
    const others = await group(broker, [5, 5], '$share/workers/jobs/#')
    await stuck.cut()
    expect(await numbers(others)).toEqual(all.slice(0, 100))
  })
})
