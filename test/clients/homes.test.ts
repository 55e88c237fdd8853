import type { Socket } from 'node:net'
import type { ISubackPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { bytes, Client, told, type Version } from './kit.ts'

// How the programs of a smart home use a broker: their packets, their sizes, their habits.

const number = (at: number): string => String(at).padStart(4, '0')

describe('Home Assistant', () => {
  const devices = 2000
  const sizes = [300, 3_000, 30_000] // bytes
  const topicOf = (at: number): string => `homeassistant/sensor/device${number(at)}/config`
  const payloadOf = (at: number): Buffer => bytes(at % 5 === 0 ? sizes[2]! : at % 2 === 0 ? sizes[1]! : sizes[0]!)

  async function discovered(broker: TestBroker): Promise<void> {
    const device = await Client.join(broker, 4, { clientId: 'devices' })
    for (let from = 0; from < devices; from += 100)
      await Promise.all(
        Array.from({ length: 100 }, (_, more) =>
          device.mqtt.publishAsync(topicOf(from + more), payloadOf(from + more), { qos: 1, retain: true }),
        ),
      )
    await device.leave()
  }

  for (const version of [4, 5] as const)
    for (const qos of [0, 1] as const)
      test(`${version}, QoS ${qos}: SUBACK, then the whole retained burst, and pings are answered meanwhile`, async () => {
        const broker = await startBroker()
        await discovered(broker)
        const client = await Client.join(broker, version, { clientId: 'homeassistant' })
        const before = client.received.length
        const filters = ['homeassistant/+/+/config', 'homeassistant/+/+/+/config', 'homeassistant/status']
        const subscribed = client.mqtt.subscribeAsync(filters, { qos })
        client.mqtt.sendPing()
        await subscribed
        const came = await client.take(devices)
        expect(came.map(({ topic }) => topic).toSorted()).toEqual(
          Array.from({ length: devices }, (_, at) => topicOf(at)),
        )
        for (const { topic, payload, retain } of came) {
          expect(retain).toBe(true)
          const at = Number(topic.slice('homeassistant/sensor/device'.length, -'/config'.length))
          expect((payload as Buffer).equals(payloadOf(at))).toBe(true)
        }
        const order = client.received.slice(before).map(({ cmd }) => cmd)
        expect(order[0]).toBe('suback')
        expect(order.indexOf('pingresp')).toBeGreaterThan(0)
        expect(order.indexOf('pingresp')).toBeLessThan(order.lastIndexOf('publish'))
        expect(await client.settled()).toEqual([])
        expect(broker.node.broker.ledger.lostTotal).toBe(0)
      })

  test('500 filters in one SUBSCRIBE: one answer, and each of them counts', async () => {
    const broker = await startBroker()
    await discovered(broker)
    const client = await Client.join(broker, 4, { clientId: 'homeassistant' })
    const filters = Array.from({ length: 500 }, (_, at) => topicOf(at * 4))
    await client.mqtt.subscribeAsync(filters, { qos: 1 })
    const came = await client.take(500)
    expect(came.map(({ topic }) => topic).toSorted()).toEqual(filters)
    const subacks = client.received.filter(({ cmd }) => cmd === 'suback') as ISubackPacket[]
    expect(subacks.map(({ granted }) => granted.length)).toEqual([500])
    const device = await Client.join(broker, 4)
    for (const filter of filters.slice(-3)) await device.mqtt.publishAsync(filter, 'new', { qos: 1 })
    expect((await client.take(3)).map(told)).toEqual(filters.slice(-3).map((filter) => `${filter}=new q1`))
  })

  test('after its restart, devices are asked to say again what they are', async () => {
    const broker = await startBroker()
    const device = await Client.join(broker, 4, { clientId: 'device' })
    await device.mqtt.subscribeAsync('homeassistant/status', { qos: 0 })
    const will = { topic: 'homeassistant/status', payload: Buffer.from('offline'), qos: 0, retain: false } as const
    const first = await Client.join(broker, 5, { clientId: 'homeassistant', will })
    await first.mqtt.publishAsync('homeassistant/status', 'online', { qos: 1 })
    await first.cut()
    const second = await Client.join(broker, 5, { clientId: 'homeassistant', will })
    await second.mqtt.publishAsync('homeassistant/status', 'online')
    expect((await device.take(3)).map(told)).toEqual(
      ['online', 'offline', 'online'].map((state) => `homeassistant/status=${state} q0`),
    )
  })
})

describe('Zigbee2MQTT', () => {
  for (const version of [4, 5] as const)
    for (const transport of ['tcp', 'ws'] as const)
      test(`${version} over ${transport}: a retained list of devices of 1.5 MB`, async () => {
        const broker = await startBroker()
        const bridge = await Client.join(broker, version, { clientId: 'zigbee2mqtt', transport })
        const frontend = await Client.join(broker, version, { clientId: 'frontend', transport })
        await frontend.mqtt.subscribeAsync('zigbee2mqtt/#', { qos: 0 })
        const list = bytes(1_500_000)
        await bridge.mqtt.publishAsync('zigbee2mqtt/bridge/devices', list, { qos: 0, retain: true })
        await bridge.mqtt.publishAsync('zigbee2mqtt/bridge/state', 'online', { qos: 1, retain: true })
        const live = await frontend.take(2)
        const later = await Client.join(broker, version, { clientId: 'later', transport })
        await later.mqtt.subscribeAsync('zigbee2mqtt/#', { qos: 1 })
        const kept = await later.take(2)
        for (const [first, second] of [live, kept]) {
          expect((first!.payload as Buffer).equals(list)).toBe(true)
          expect(second!.payload.toString()).toBe('online')
        }
      })

  test('a message above the limit: the log names client and size', async () => {
    const broker = await startBroker()
    const bridge = await Client.join(broker, 4, { clientId: 'zigbee2mqtt' })
    bridge.mqtt.publish('zigbee2mqtt/bridge/devices', bytes(2_000_001), () => {})
    await bridge.gone()
    const line = broker.log.findLast(({ level }) => level === 'warn')!
    expect(line.fields).toMatchObject({ client: 'zigbee2mqtt' })
    expect(line.message).toMatch(/2000\d{3} bytes; 2000000 are allowed/)
  })
})

for (const [name, version, clean] of [
  ['Tasmota', 4, false],
  ['ESPHome', 4, true],
] as [string, Version, boolean][])
  describe(name, () => {
    const will = { topic: 'tele/plug/LWT', payload: Buffer.from('Offline'), qos: 1, retain: true } as const
    const boot = async (broker: TestBroker): Promise<Client> => {
      const plug = await Client.join(broker, version, { clientId: 'DVES_123456', clean, will, keepalive: 30 })
      await plug.mqtt.publishAsync('tele/plug/LWT', 'Online', { qos: 1, retain: true })
      await plug.mqtt.subscribeAsync(['cmnd/plug/#', 'cmnd/tasmotas/#'], { qos: 1 })
      return plug
    }

    test('its state is retained: Online, and Offline after a cut', async () => {
      const broker = await startBroker()
      const plug = await boot(broker)
      await plug.mqtt.publishAsync('homeassistant/switch/123456/config', '{"name":"plug"}', { qos: 1, retain: true })
      const watcher = await Client.join(broker, 5, { clientId: 'watcher' })
      await watcher.mqtt.subscribeAsync(['tele/+/LWT', 'homeassistant/#'], { qos: 1 })
      expect((await watcher.take(2)).map(told)).toEqual([
        'tele/plug/LWT=Online q1 retain',
        'homeassistant/switch/123456/config={"name":"plug"} q1 retain',
      ])
      await plug.cut()
      expect(told(await watcher.next())).toBe('tele/plug/LWT=Offline q1')
      const later = await Client.join(broker, 4, { clientId: 'later' })
      await later.mqtt.subscribeAsync('tele/+/LWT', { qos: 0 })
      expect(told(await later.next())).toBe('tele/plug/LWT=Offline q0 retain')
      await boot(broker)
      expect(told(await watcher.next())).toBe('tele/plug/LWT=Online q1')
    })

    test(`commands while it is away ${clean ? 'are gone' : 'wait for it'}`, async () => {
      const broker = await startBroker()
      await (await boot(broker)).cut()
      const controller = await Client.join(broker, 4, { clientId: 'controller' })
      for (const state of ['ON', 'OFF']) await controller.mqtt.publishAsync('cmnd/plug/POWER', state, { qos: 1 })
      const plug = await boot(broker)
      expect((await plug.settled()).map(told)).toEqual(clean ? [] : ['cmnd/plug/POWER=ON q1', 'cmnd/plug/POWER=OFF q1'])
    })
  })

describe('a client id that two devices share', () => {
  for (const version of [3, 4, 5] as const)
    test(`${version}: the newest one has it, each time`, async () => {
      const broker = await startBroker()
      const controller = await Client.join(broker, 4, { clientId: 'controller' })
      let last: Client | undefined
      for (let time = 0; time < 50; time++) {
        const next = await Client.join(broker, version, { clientId: 'twin' })
        await last?.gone()
        if (version === 5 && last) expect(last.received.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x8e })
        last = next
      }
      await last!.mqtt.subscribeAsync('a', { qos: 1 })
      await controller.mqtt.publishAsync('a', 'x', { qos: 1 })
      expect(told(await last!.next())).toBe('a=x q1')
      expect(broker.node.clients).toBe(2)
    })

  test('all at once: one stays', async () => {
    const broker = await startBroker()
    const options = { clientId: 'twin', clean: false, properties: { sessionExpiryInterval: 300 } }
    const twins = await Promise.allSettled(Array.from({ length: 50 }, () => Client.join(broker, 5, options)))
    const welcome = twins.flatMap((twin) => (twin.status === 'fulfilled' ? [twin.value] : []))
    const { remote } = broker.node.broker.sessions.get('twin')!.connection!
    const last = welcome.find(({ mqtt }) => remote.endsWith(`:${(mqtt.stream as Socket).localPort}`))!
    await Promise.all(welcome.filter((client) => client !== last).map((client) => client.gone()))
    expect(broker.node.clients).toBe(1)
    await last.mqtt.subscribeAsync('a', { qos: 1 })
    await last.mqtt.publishAsync('a', 'x', { qos: 1 })
    expect(told(await last.next())).toBe('a=x q1')
  })

  test('two that come back again and again: neither loses a message', async () => {
    const broker = await startBroker()
    const kept = { clientId: 'twin', clean: false, reconnectPeriod: 5, properties: { sessionExpiryInterval: 300 } }
    const one = await Client.join(broker, 5, kept)
    await one.mqtt.subscribeAsync('a', { qos: 1 })
    const other = await Client.join(broker, 5, kept)
    const publisher = await Client.join(broker, 5, { clientId: 'publisher' })
    const welcomes = (): number => [one, other].flatMap(({ received }) => received).filter(isConnack).length
    for (let at = 0; at < 100; at++) {
      await publisher.mqtt.publishAsync('a', String(at), { qos: 1 })
      if (at % 5 === 4) {
        const seen = welcomes()
        await Promise.race([one, other].map((client) => client.until(() => welcomes() > seen, 'another takeover')))
      }
    }
    // One of them gives up.
    await other.leave()
    const came = new Set<string>()
    const all = (): boolean => {
      for (const { inbox } of [one, other]) for (const { payload } of inbox) came.add(payload.toString())
      return came.size === 100
    }
    await one.until(all, 'every message at one of them')
  })
})

function isConnack({ cmd }: { cmd?: string }): boolean {
  return cmd === 'connack'
}
