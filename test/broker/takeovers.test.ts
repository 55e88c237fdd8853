import { expect, test } from 'vitest'
import { hasten, join } from '../standard/kit.ts'
import { startBroker } from '../support/broker.ts'

test('two clients of one id: a line with both addresses from the third time on, once a minute; each is counted', async () => {
  const broker = await startBroker()
  const told = () =>
    broker.log
      .filter(({ message }) => message.startsWith('two clients'))
      .map(({ fields: { client, times } }) => [client, times])
  const take = async (times: number) => {
    for (let time = 0; time < times; time++) await join(broker, 'twin')
  }
  await take(3)
  expect(told()).toEqual([])
  await take(1)
  expect(told()).toEqual([['twin', 3]])
  const { remote, other } = broker.log.find(({ level }) => level === 'warn')!.fields
  expect(new Set([remote, other]).size).toBe(2)
  for (const address of [remote, other]) expect(address).toMatch(/^127\.0\.0\.1:\d+$/)
  await take(5)
  hasten(59)
  await take(1)
  expect(told()).toHaveLength(1)
  hasten(2)
  await take(1)
  expect(told()).toEqual([
    ['twin', 3],
    ['twin', 10],
  ])
  expect(broker.node.broker.sessions.takenOver).toBe(10)
})

test('a client that comes back now and then, and one that comes back to nobody, are no loop', async () => {
  const broker = await startBroker()
  for (let time = 0; time < 5; time++) {
    await join(broker, 'roamer')
    hasten(61)
  }
  for (let time = 0; time < 5; time++) await (await join(broker, 'other')).disconnect()
  expect(broker.node.broker.sessions.takenOver).toBe(4)
  expect(broker.log.filter(({ level }) => level === 'warn')).toEqual([])
})
