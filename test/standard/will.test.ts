import { expect } from 'vitest'
import { Denied, type Hooks } from '../../src/access/hooks.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient, type Transport } from '../support/raw.ts'
import { covers } from './covering.ts'
import { hasten, join, told } from './kit.ts'
import {
  answer,
  block,
  bytes,
  connect,
  departures,
  each,
  expectRefusal,
  hex,
  only5,
  packet,
  type Part,
  transports,
  u16,
  u32,
  type Version,
  versions,
} from './wire.ts'

// Sections 3.1.2.5 to 3.1.2.7, 3.1.3.2 to 3.1.3.4 and 3.14.4: wills.

interface WillFields {
  readonly version?: Version
  readonly transport?: Transport
  readonly id?: string
  readonly clean?: boolean
  readonly keepAliveSeconds?: number
  readonly expirySeconds?: number
  readonly delaySeconds?: number
  /** More properties of the will. */
  readonly properties?: readonly Part[]
  readonly topic?: string
  readonly payload?: string
  readonly qos?: number
  readonly retain?: boolean
}

function willed(fields: WillFields): Buffer {
  const { version = 5, id = 'c', clean = true, keepAliveSeconds = 0, expirySeconds = 0, delaySeconds } = fields
  const { properties = [], topic = 'gone', payload = 'x', qos = 0, retain = false } = fields
  const delay = delaySeconds === undefined ? [] : [0x18, u32(delaySeconds)]
  return connect(version, {
    flags: (clean ? 2 : 0) | 4 | (qos << 3) | (retain ? 0x20 : 0),
    keepAliveSeconds,
    properties: block(0x11, u32(expirySeconds)),
    payload: [id, only5(version, ...delay, ...properties), topic, payload],
  })
}

/** A client with a will. */
async function leaves(broker: TestBroker, fields: WillFields = {}): Promise<RawClient> {
  const client = await RawClient.open(broker, fields.version ?? 5, fields.transport)
  expect(await answer(client, willed(fields))).toBe(0)
  return client
}

/** A broker, and one who hears every will. */
async function start(hooks: Hooks = {}) {
  const departed = departures()
  const broker = await startBroker({ hooks, observer: departed.observer, limits: { keepAliveSeconds: 65_535 } })
  const witness = await join(broker, 'witness')
  await witness.subscribe('#', 2)
  const other = await join(broker, 'other')
  /** The next will. */
  const hears = async () => told(await witness.expect('publish'))
  /** No will came: what another client publishes comes first. */
  const hearsNothing = async () => {
    other.publish('nothing')
    expect(await hears()).toBe('nothing= q0')
  }
  /** Drops a client, and waits for the broker to see it. */
  const drop = async (client: RawClient, id = 'c') => {
    await client.drop()
    await departed.of(id)
  }
  /** Lets time pass, until the broker has seen it and no will came but one that tells us so. */
  const passes = async (seconds: number) => {
    await drop(await leaves(broker, { id: 'clock', topic: 'clock', delaySeconds: 1, expirySeconds: 60 }), 'clock')
    hasten(seconds)
    expect(await hears()).toBe('clock=x q0')
    await hearsNothing()
  }
  return { broker, witness, hears, hearsNothing, drop, passes }
}

type Way = (client: RawClient, version: Version, broker: TestBroker) => Promise<void>
const keepAliveSeconds = 100

const firing: Record<string, Way> = {
  'the connection breaks': (client) => client.drop(),
  'a second CONNECT comes': (client) => client.bytes(connect(5)).expectDisconnect(0x82),
  'a malformed packet comes': (client) => client.bytes(packet(0x82, u16(1))).expectDisconnect(0x81),
  'its keep alive runs out': (client) => {
    hasten(1.5 * keepAliveSeconds + 1)
    return client.expectDisconnect(0x8d)
  },
  'another takes its session over': async (client, version, broker) => {
    await join(broker, 'c', version)
    await client.expectDisconnect(0x8e)
  },
}
const firing5: Record<string, Way> = {
  'DISCONNECT asks for it': (client) => client.disconnect(4),
  'DISCONNECT names an error': (client) => client.disconnect(0x80),
  'DISCONNECT is malformed': (client) => client.bytes('e0 01 01').expectDisconnect(0x82),
  'DISCONNECT prolongs what cannot be prolonged': (client) =>
    client.bytes(packet(0xe0, 0, block(0x11, u32(1)))).expectDisconnect(0x82),
}
const quiet: Record<string, Way> = {
  'DISCONNECT comes': (client) => client.bytes('e0 00').expectClosed(),
  'DISCONNECT comes, and more behind it': (client) => client.bytes('e0 00 e0 01 04 00 00').expectClosed(),
}
const quiet5: Record<string, Way> = {
  'DISCONNECT 0 comes': (client) => client.bytes('e0 01 00').expectClosed(),
  'DISCONNECT 0 comes with properties': (client) => client.bytes(packet(0xe0, 0, block(0x1f, 'why'))).expectClosed(),
}

for (const transport of transports)
  for (const version of versions) {
    covers(
      ['5:MQTT-3.1.2-7', '5:MQTT-3.1.2-8', '3.1.1:MQTT-3.1.2-8'],
      `a will is published when its client goes without taking it back, version ${version} over ${transport}`,
      () =>
        each(version === 5 ? { ...firing, ...firing5 } : firing, async (go) => {
          for (const clean of [true, false]) {
            if (go === firing5['DISCONNECT prolongs what cannot be prolonged'] && !clean) continue
            const { broker, hears, hearsNothing } = await start()
            const expirySeconds = clean ? 0 : 60
            const client = await leaves(broker, { version, transport, clean, expirySeconds, keepAliveSeconds })
            await hearsNothing()
            await go(client, version, broker)
            expect(await hears()).toBe('gone=x q0')
            await hearsNothing()
          }
        }),
    )

    covers(
      ['5:MQTT-3.1.2-8', '5:MQTT-3.1.2-10', '5:MQTT-3.14.4-3', '3.1.1:MQTT-3.1.2-10', '3.1.1:MQTT-3.14.4-3'],
      `a client takes its will back when it leaves in order, version ${version} over ${transport}`,
      () =>
        each(version === 5 ? { ...quiet, ...quiet5 } : quiet, async (go) => {
          for (const clean of [true, false]) {
            const { broker, hearsNothing } = await start()
            const expirySeconds = clean ? 0 : 60
            await go(await leaves(broker, { version, transport, clean, expirySeconds }), version, broker)
            await hearsNothing()
            // Nor when its session is taken up and left again.
            const again = await join(broker, 'c', version, { clean })
            await again.drop()
            await hearsNothing()
          }
        }),
    )
  }

for (const version of versions) {
  covers(
    ['5:MQTT-3.1.2-12', '5:MQTT-3.1.2-14', '5:MQTT-3.1.2-15', '3.1.1:MQTT-3.1.2-16', '3.1.1:MQTT-3.1.2-17'],
    `a will has the topic, payload, QoS and retain flag that CONNECT gave it, version ${version}`,
    async () => {
      for (const qos of [0, 1, 2])
        for (const retain of [false, true])
          for (const payload of ['', 'payload', 'x'.repeat(30_000)]) {
            const { broker, hears, witness } = await start()
            await witness.publish('a/b', 'old', { retain: true }).expect('publish')
            await (await leaves(broker, { version, topic: 'a/b', payload, qos, retain })).drop()
            expect(await hears()).toBe(`a/b=${payload} q${qos}`)
            // A retained will takes the place of what was retained; an empty one clears it.
            const late = await join(broker, 'late', version)
            await late.subscribe('a/b', 2)
            const kept = retain ? payload : 'old'
            if (kept !== '') expect(told(await late.expect('publish'))).toBe(`a/b=${kept} q${retain ? qos : 0} retain`)
            await late.expectQuiet()
          }
    },
  )

  covers(
    ['5:MQTT-3.1.2-10', '3.1.1:MQTT-3.1.2-10', '3.1.1:MQTT-3.1.2-12'],
    `a will is published once, and only on the connection that brought it, version ${version}`,
    async () => {
      const { broker, hears, hearsNothing, drop, passes } = await start()
      const kept = { version, clean: false, expirySeconds: 60 }
      await drop(await leaves(broker, kept))
      expect(await hears()).toBe('gone=x q0')
      const without = { clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 60 } }) }
      await drop(await join(broker, 'c', version, without))
      await hearsNothing()
      await drop(await leaves(broker, { ...kept, payload: 'second' }))
      expect(await hears()).toBe('gone=second q0')
      // The end of the session adds nothing, nor to a will that was taken back.
      await passes(61)
      await (await leaves(broker, kept)).disconnect()
      await passes(61)
    },
  )
}

covers(
  ['5:MQTT-3.1.3-10', '5:MQTT-3.1.2-8'],
  'a will carries its properties, in order, and not its delay',
  async () => {
    const { broker, witness } = await start()
    const forwarded: Part[] = [0x01, 1, 0x03, 'text/plain', 0x08, 'answer/to', 0x09, 'correlation']
    const users: Part[] = [0x26, 'b', '1', 0x26, 'a', '2', 0x26, 'b', '', 0x26, 'b', '1']
    const properties = [...users, 0x02, u32(60), ...forwarded]
    for (const delay of [{}, { delaySeconds: 0 }]) {
      await (await leaves(broker, { properties, ...delay })).drop()
      const { raw } = await witness.expect('publish')
      expect(raw).toEqual(packet(0x30, 'gone', block(0x02, u32(60), ...users, ...forwarded), bytes(hex('78'))))
    }
  },
)

covers(['5:MQTT-3.1.2-8'], 'the expiry of a will counts from when it is published', async () => {
  const { broker, witness, drop } = await start()
  const late = await join(broker, 'late', 5, { properties: { sessionExpiryInterval: 3600 } })
  await late.subscribe('gone', 1)
  await late.disconnect()
  const client = await leaves(broker, {
    qos: 1,
    expirySeconds: 3600,
    delaySeconds: 100,
    properties: [0x02, u32(50)],
  })
  await drop(client)
  hasten(101)
  await witness.expect('publish')
  hasten(20)
  const back = await join(broker, 'late', 5, { clean: false, properties: { sessionExpiryInterval: 3600 } })
  const { messageExpiryInterval } = (await back.expect('publish')).properties as Record<string, number>
  expect(messageExpiryInterval).toBeLessThanOrEqual(30)
})

// ── delay ────────────────────────────────────────────────────────────────────────────────────────────────────────

covers(['5:MQTT-3.1.2-8'], 'a will waits for its delay, and no longer than its session lives', async () => {
  const rows: readonly (readonly [delaySeconds: number, expirySeconds: number, afterSeconds: number])[] = [
    [100, 1000, 100],
    [100, 100, 100],
    [1000, 100, 100],
    [0xffff_ffff, 100, 100],
    [100, 0, 0],
    [0, 100, 0],
    [0, 0, 0],
  ]
  for (const [delaySeconds, expirySeconds, afterSeconds] of rows) {
    const { broker, hears, drop, passes } = await start()
    await drop(await leaves(broker, { delaySeconds, expirySeconds }))
    if (afterSeconds > 0) {
      await passes(afterSeconds - 5)
      hasten(6)
    }
    expect(await hears()).toBe('gone=x q0')
  }
})

covers(
  ['5:MQTT-3.1.2-8', '5:MQTT-3.1.3-9'],
  'a delayed will is not published when its client is back in time',
  async () => {
    const { broker, hears, drop, passes } = await start()
    const kept = { delaySeconds: 100, expirySeconds: 1000, clean: false }
    for (const returns of ['after it left', 'by takeover'] as const) {
      const client = await leaves(broker, kept)
      if (returns === 'after it left') await drop(client)
      await passes(90)
      const back = await leaves(broker, { ...kept, payload: 'second' })
      await passes(20)
      // The new will has a delay of its own.
      await drop(back)
      await passes(90)
      hasten(11)
      expect(await hears()).toBe('gone=second q0')
    }
  },
)

covers(['5:MQTT-3.1.2-8', '5:MQTT-3.1.3-9'], 'a client that is back too late finds its will published', async () => {
  const { broker, hears, hearsNothing, drop } = await start()
  const kept = { delaySeconds: 100, expirySeconds: 1000, clean: false }
  await drop(await leaves(broker, kept))
  hasten(101)
  await leaves(broker, { ...kept, payload: 'second' })
  expect(await hears()).toBe('gone=x q0')
  await hearsNothing()
})

covers(['5:MQTT-3.1.2-8'], 'a clean start ends the session, and its delayed will is published at once', async () => {
  for (const offline of [true, false]) {
    const { broker, hears, hearsNothing, drop } = await start()
    const client = await leaves(broker, { delaySeconds: 100, expirySeconds: 1000 })
    if (offline) await drop(client)
    await leaves(broker, { payload: 'second', delaySeconds: 100, expirySeconds: 1000, clean: true })
    expect(await hears()).toBe('gone=x q0')
    await hearsNothing()
  }
})

covers(['5:MQTT-3.1.2-8'], 'DISCONNECT 0x04 keeps the delay, unless it ends the session', async () => {
  for (const [expirySeconds, afterSeconds] of [
    [undefined, 100],
    [600, 100],
    [50, 50],
    [0, 0],
  ] as const) {
    const { broker, hears, passes } = await start()
    const client = await leaves(broker, { delaySeconds: 100, expirySeconds: 1000 })
    await client.disconnect(4, expirySeconds === undefined ? {} : { sessionExpiryInterval: expirySeconds })
    if (afterSeconds > 0) {
      await passes(afterSeconds - 5)
      hasten(6)
    }
    expect(await hears()).toBe('gone=x q0')
  }
})

// ── wills that may not be ────────────────────────────────────────────────────────────────────────────────────────

covers(
  ['5:MQTT-3.1.2-8', '3.1.1:MQTT-3.1.2-8'],
  'the will of a client that was never accepted is not published',
  async () => {
    const { broker, hearsNothing, witness } = await start({
      authenticate: ({ username, id }) => {
        if (username === 'never') return new Promise(() => {})
        return id === 'c' ? Promise.resolve(false) : true
      },
    })
    for (const version of versions) {
      await expectRefusal(broker, version, willed({ version }), version === 5 ? 0x87 : 5)
      const client = await RawClient.open(broker, version)
      client.bytes(connect(version, { flags: 0x86, payload: ['c', only5(version), 'gone', 'x', 'never'] }))
      await client.drop()
    }
    await hearsNothing()
    await witness.expectQuiet()
  },
)

covers(['5:MQTT-3.1.2-8'], 'a will that its client may no longer publish is not published', async () => {
  let allowed = true
  const asked: boolean[] = []
  const { broker, hearsNothing, drop } = await start({
    authorizePublish(_, { will }) {
      if (!will) return
      asked.push(allowed)
      if (!allowed) throw new Denied()
    },
  })
  for (const version of versions) {
    allowed = true
    const client = await leaves(broker, { version })
    allowed = false
    await drop(client)
    await hearsNothing()
  }
  expect(asked).toEqual([true, false, true, false, true, false])
})

covers(['5:MQTT-3.1.3-11', '5:MQTT-3.1.4-1', '3.1.1:MQTT-3.1.4-1'], 'a will must have a topic name', async () => {
  const { broker } = await start()
  const rows: readonly (readonly [topic: string, v5: number, v3: number | undefined])[] = [
    ['', 0x90, undefined],
    ['#', 0x90, undefined],
    ['a/+/b', 0x90, undefined],
    ['$SYS/broker/version', 0x87, 5],
    ['$share/group/a', 0x87, 5],
  ]
  for (const transport of transports)
    for (const version of versions)
      for (const [topic, v5, v3] of rows)
        await expectRefusal(broker, version, willed({ version, topic }), version === 5 ? v5 : v3, transport)
})
