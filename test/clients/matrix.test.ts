import type { QoS } from 'mqtt-packet'
import { beforeAll, describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { type Certificates, listenerTls, makeCertificates } from '../support/certificates.ts'
import { bytes, Client, type JoinOptions, told, transports, versions } from './kit.ts'

let certificates: Certificates
beforeAll(async () => {
  certificates = await makeCertificates()
})

const payloads = [0, 1, 1024, 200 * 1024].map(bytes)
const levels = [0, 1, 2] as const

for (const version of versions)
  for (const transport of transports)
    describe(`${{ 3: '3.1', 4: '3.1.1', 5: '5.0' }[version]} over ${transport}`, () => {
      let broker: TestBroker
      const start = async (): Promise<void> => {
        broker = await startBroker({ tls: listenerTls(certificates) })
      }
      const join = (clientId: string, options: JoinOptions = {}): Promise<Client> =>
        Client.join(broker, version, { transport, clientId, ca: certificates.cert, ...options })
      /** Options of a session that outlives its connection. */
      const kept: JoinOptions = {
        clean: false,
        ...(version === 5 && { properties: { sessionExpiryInterval: 300 } }),
      }

      test('messages of every QoS and size, both ways', async () => {
        await start()
        const [one, other] = await Promise.all([join('one'), join('other')])
        expect(await one.mqtt.subscribeAsync('to/one/#', { qos: 2 })).toMatchObject([{ qos: 2 }])
        await other.mqtt.subscribeAsync('to/other/#', { qos: 2 })
        for (const qos of levels)
          for (const payload of payloads) {
            const topic = `${qos}/${payload.length}`
            await Promise.all([
              one.mqtt.publishAsync(`to/other/${topic}`, payload, { qos }),
              other.mqtt.publishAsync(`to/one/${topic}`, payload, { qos }),
            ])
            for (const [client, name] of [
              [one, 'one'],
              [other, 'other'],
            ] as const) {
              const message = await client.next()
              expect([message.topic, message.qos, message.retain, message.dup]).toEqual([
                `to/${name}/${topic}`,
                qos,
                false,
                false,
              ])
              expect((message.payload as Buffer).equals(payload)).toBe(true)
            }
          }
        expect([...(await one.settled()), ...(await other.settled())]).toEqual([])
      })

      test('a subscription takes messages down to its QoS', async () => {
        await start()
        const client = await join('one')
        for (const granted of levels) {
          await client.mqtt.subscribeAsync('a', { qos: granted })
          const came: QoS[] = []
          for (const qos of levels) {
            await client.mqtt.publishAsync('a', '', { qos })
            came.push((await client.next()).qos)
          }
          expect(came).toEqual(levels.map((qos) => Math.min(qos, granted)))
        }
        await client.mqtt.unsubscribeAsync('a')
        await client.mqtt.publishAsync('a', '', { qos: 1 })
        expect(await client.settled()).toEqual([])
      })

      test('retained messages are replaced and cleared', async () => {
        await start()
        const client = await join('one')
        const publish = (payload: string): Promise<unknown> =>
          client.mqtt.publishAsync('room/temp', payload, { qos: 1, retain: true })
        await publish('20')
        await publish('21')
        await client.mqtt.subscribeAsync('room/+', { qos: 1 })
        expect(told(await client.next())).toBe('room/temp=21 q1 retain')
        await publish('22')
        // Who has subscribed before gets it as a message like any other.
        expect(told(await client.next())).toBe('room/temp=22 q1')
        await publish('')
        expect(told(await client.next())).toBe('room/temp= q1')
        const later = await join('later')
        await later.mqtt.subscribeAsync('room/+', { qos: 1 })
        expect(await later.settled()).toEqual([])
      })

      test('a will fires on a cut, and not on DISCONNECT', async () => {
        await start()
        const watcher = await join('watcher')
        await watcher.mqtt.subscribeAsync('status/#', { qos: 2 })
        const will = { topic: 'status/device', payload: Buffer.from('gone'), qos: 2, retain: true } as const
        const polite = await join('polite', { will })
        await polite.leave()
        expect(await watcher.settled()).toEqual([])
        const device = await join('device', { will })
        await device.cut()
        expect(told(await watcher.next())).toBe('status/device=gone q2')
        const later = await join('later')
        await later.mqtt.subscribeAsync('status/device', { qos: 1 })
        expect(told(await later.next())).toBe('status/device=gone q1 retain')
      })

      test('a session is taken up again, with what was queued', async () => {
        await start()
        const first = await join('kept', kept)
        expect(first.connack.sessionPresent).toBe(false)
        await first.mqtt.subscribeAsync('a/#', { qos: 2 })
        await first.leave()
        const publisher = await join('publisher')
        const sent = Array.from({ length: 60 }, (_, at) => ({ topic: `a/${at}`, qos: levels[at % 3]! }))
        for (const { topic, qos } of sent) await publisher.mqtt.publishAsync(topic, 'x', { qos })
        const again = await join('kept', kept)
        // 3.1 has no such flag.
        if (version !== 3) expect(again.connack.sessionPresent).toBe(true)
        const came = await again.take(40)
        for (const level of [1, 2] as const)
          expect(came.filter(({ qos }) => qos === level).map(({ topic }) => topic)).toEqual(
            sent.filter(({ qos }) => qos === level).map(({ topic }) => topic),
          )
        // The subscription is still there, and nothing comes twice.
        await publisher.mqtt.publishAsync('a/new', 'y', { qos: 1 })
        expect((await again.settled()).map(told)).toEqual(['a/new=y q1'])
        await again.leave()
        const clean = await join('kept')
        expect(clean.connack.sessionPresent).toBe(false)
        await publisher.mqtt.publishAsync('a/more', 'z', { qos: 1 })
        expect(await clean.settled()).toEqual([])
      })
    })
