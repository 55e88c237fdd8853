import type { IDisconnectPacket } from 'mqtt'
import { expect, test } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { Client, versions } from './kit.ts'

// mqtt.js sends what it is given at once; it does not heed the broker's receive maximum.
const count = 2000

for (const version of versions)
  for (const qos of [0, 1, 2] as const)
    test(`${version}, QoS ${qos}: ${count} publishes at once`, async () => {
      const broker = await startBroker({ limits: { receiveMaximum: count } })
      const client = await Client.join(broker, version)
      await client.mqtt.subscribeAsync('a', { qos })
      const sent = Array.from({ length: count }, (_, at) => client.mqtt.publishAsync('a', String(at), { qos }))
      await Promise.all(sent)
      const came = await client.take(count)
      expect(came.map(({ payload }) => Number(payload.toString()))).toEqual(sent.map((_, at) => at))
      expect(broker.log.filter(({ level }) => level === 'warn')).toEqual([])
    })

test('a burst of QoS 2 above receive maximum is told why it ends', async () => {
  const broker = await startBroker({ limits: { receiveMaximum: 100 } })
  const client = await Client.join(broker, 5, { clientId: 'eager' })
  for (let at = 0; at < 101; at++) client.mqtt.publish('a', String(at), { qos: 2 }, () => {})
  await client.gone()
  const farewell = client.received.find(({ cmd }) => cmd === 'disconnect') as IDisconnectPacket
  expect(farewell.reasonCode).toBe(0x93)
  expect(broker.log.findLast(({ level }) => level === 'warn')).toMatchObject({
    fields: { client: 'eager', clause: 'MQTT-3.3.4-7' },
    message: 'more than receive maximum in flight',
  })
})
