import { describe, expect, test } from 'vitest'
import { Reason } from '../../src/mqtt/reason.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { Client, type JoinOptions, versions } from './kit.ts'

const returning: JoinOptions = { reconnectPeriod: 5 }

/** Sends a client away, as the broker does when it wants to be rid of it. */
function sendAway(broker: TestBroker, clientId: string, reason: Reason = Reason.administrativeAction): void {
  broker.node.broker.sessions.get(clientId)!.connection!.close(reason)
}

/** Waits until the client has been welcomed `times` times. */
async function welcomed(client: Client, times: number): Promise<void> {
  await client.until(
    () => client.mqtt.connected && client.received.filter(({ cmd }) => cmd === 'connack').length >= times,
    `CONNACK number ${times}`,
  )
}

for (const version of versions)
  for (const transport of ['tcp', 'ws'] as const)
    describe(`${version} over ${transport}`, () => {
      const kept = (clientId: string): JoinOptions => ({
        clientId,
        transport,
        clean: false,
        ...returning,
        ...(version === 5 && { properties: { sessionExpiryInterval: 300 } }),
      })

      test('a client that is sent away comes back, and subscribes again', async () => {
        const broker = await startBroker()
        const client = await Client.join(broker, version, { clientId: 'one', transport, ...returning })
        await client.mqtt.subscribeAsync('a', { qos: 1 })
        for (let time = 2; time < 5; time++) {
          sendAway(broker, 'one')
          await welcomed(client, time)
          await client.until(() => client.received.filter(({ cmd }) => cmd === 'suback').length >= time, 'SUBACK')
          await client.mqtt.publishAsync('a', String(time), { qos: 1 })
          expect((await client.next()).payload.toString()).toBe(String(time))
        }
        const reasons = client.received.flatMap((packet) => (packet.cmd === 'disconnect' ? [packet.reasonCode] : []))
        expect(reasons).toEqual(version === 5 ? [0x98, 0x98, 0x98] : [])
      })

      for (const qos of [1, 2] as const)
        test(`QoS ${qos} through ten broken connections of both sides: nothing is lost${qos === 2 ? ' or doubled' : ''}`, async () => {
          const broker = await startBroker()
          const subscriber = await Client.join(broker, version, kept('subscriber'))
          await subscriber.mqtt.subscribeAsync('a', { qos })
          const publisher = await Client.join(broker, version, kept('publisher'))
          const count = 500
          const sent: Promise<unknown>[] = []
          for (let at = 0; at < count; at++) {
            sent.push(publisher.mqtt.publishAsync('a', String(at), { qos }))
            if (at % 50 !== 49) continue
            // In the middle of what is on its way.
            await Promise.race(sent.slice(-25))
            const name = at % 100 === 99 ? 'publisher' : 'subscriber'
            broker.node.broker.sessions.get(name)?.connection?.close(Reason.administrativeAction)
          }
          await Promise.all(sent)
          const came = new Set<string>()
          const collect = (payload: string | Buffer): unknown => came.add(payload.toString())
          let messages = 0
          while (came.size < count) {
            collect((await subscriber.next()).payload)
            messages++
          }
          expect([...came].map(Number).toSorted((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, at) => at))
          await welcomed(subscriber, 1)
          const more = await subscriber.settled()
          if (qos === 2) expect([messages, more]).toEqual([count, []])
        })
    })

test('while the broker drains, every client is told, and nobody is let in', async () => {
  const broker = await startBroker()
  const reasons: unknown[] = []
  const clients = await Promise.all(
    versions.map((version) =>
      Client.join(broker, version, {
        clientId: `v${version}`,
        prepare: (mqtt) => mqtt.on('disconnect', ({ reasonCode }) => reasons.push(reasonCode)),
      }),
    ),
  )
  const drained = broker.node.drain()
  await Promise.all(clients.map((client) => client.gone()))
  await drained
  expect(reasons).toEqual([Reason.serverShuttingDown])
  await expect(Client.join(broker)).rejects.toThrow(/ECONNREFUSED/)
})
