import { expect } from 'vitest'
import { Denied, type ExchangeAnswer, type ExchangeStep, type Hooks } from '../../src/access/hooks.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient, type Transport } from '../support/raw.ts'
import { covers } from './covering.ts'
import { hasten, join, told } from './kit.ts'
import {
  block,
  bytes,
  clausesLogged,
  connect,
  each,
  expectRefusal,
  hex,
  packet,
  type Part,
  propertiesOf,
  transports,
  u16,
  u32,
} from './wire.ts'

// Sections 3.15 and 4.12: AUTH, enhanced authentication, re-authentication.

const method: Part[] = [0x15, 'M']
const data = (text: string): Part[] => [0x16, text]
const withMethod = (...more: Part[]) => connect(5, { properties: block(...method, ...more) })
const asUser = (user: string, ...more: Part[]) =>
  connect(5, { flags: 0x82, properties: block(...method, ...more), payload: ['raw', user] })
const auth = (reason: number, ...more: Part[]) => packet(0xf0, reason, block(...method, ...more))

/** Counts to `steps`, and says so; `later` answers in a turn of its own. */
function counting(steps: number, later = false): Hooks & { readonly seen: string[] } {
  const seen: string[] = []
  return {
    seen,
    exchange(client, { method, data, step }): ExchangeAnswer | Promise<ExchangeAnswer> {
      const text = data && Buffer.from(data).toString()
      seen.push(`${client.id} ${method} ${step} ${text}`)
      const count = Number(text ?? 0)
      if (Number.isNaN(count)) throw new Denied(Reason.badUserNameOrPassword, 'that is no number')
      const answer = { done: count >= steps, data: Buffer.from(`got ${count}`), username: `user ${count}` }
      return later ? Promise.resolve(answer) : answer
    },
  }
}

async function open(broker: TestBroker, request: Uint8Array, transport: Transport = 'tcp') {
  return (await RawClient.open(broker, 5, transport)).bytes(request)
}

for (const transport of transports)
  for (const later of [false, true])
    covers(
      ['5:MQTT-4.12.0-2', '5:MQTT-4.12.0-3', '5:MQTT-4.12.0-5', '5:MQTT-3.1.4-5'],
      `an exchange takes the steps that it needs, over ${transport}${later ? ', with answers that take their time' : ''}`,
      async () => {
        for (const steps of [0, 1, 3]) {
          const hooks = counting(steps, later)
          const broker = await startBroker({ hooks })
          const client = await open(broker, withMethod(...data('0')), transport)
          for (let n = 0; n < steps; n++) {
            expect((await client.expect('auth')).raw).toEqual(auth(0x18, ...data(`got ${n}`)))
            client.bytes(auth(0x18, ...data(String(n + 1))))
          }
          expect(propertiesOf(await client.expect('connack'))).toMatchObject({
            authenticationMethod: 'M',
            authenticationData: Buffer.from(`got ${steps}`),
          })
          await client.expectQuiet()
          expect(hooks.seen).toEqual(
            Array.from({ length: steps + 1 }, (_, n) => `raw M ${n === 0 ? 'connect' : 'continue'} ${n}`),
          )
          expect(broker.node.broker.sessions.get('raw')?.username).toBe(`user ${steps}`)
        }
      },
    )

covers(
  ['5:MQTT-4.12.0-5', '5:MQTT-3.2.2-8'],
  'an exchange may go without data, and with an assigned client id',
  async () => {
    const steps: ExchangeStep[] = []
    const broker = await startBroker({
      hooks: {
        exchange(_, step) {
          steps.push(step)
          return { done: steps.length > 1 }
        },
      },
    })
    const client = await open(broker, connect(5, { properties: block(...method), payload: [''] }))
    expect((await client.expect('auth')).raw).toEqual(auth(0x18))
    client.bytes(auth(0x18))
    const properties = propertiesOf(await client.expect('connack'))
    expect(properties).toMatchObject({ authenticationMethod: 'M' })
    expect(properties.assignedClientIdentifier).toMatch(/./)
    expect(properties).not.toHaveProperty('authenticationData')
    expect(steps.map(({ data }) => data)).toEqual([undefined, undefined])
  },
)

covers(['5:MQTT-4.12.0-1', '5:MQTT-4.13.2-1'], 'a method that is not known refuses the client', async () => {
  const broker = await startBroker()
  const knowing = await startBroker({
    hooks: {
      exchange() {
        throw new Denied(Reason.badAuthenticationMethod)
      },
    },
  })
  for (const transport of transports)
    for (const one of [broker, knowing]) await expectRefusal(one, 5, withMethod(), 0x8c, transport)
  expect(clausesLogged(broker)).toEqual(['MQTT-4.12.0-1', 'MQTT-4.12.0-1'])
})

for (const transport of transports)
  covers(
    ['5:MQTT-4.12.0-4', '5:MQTT-3.2.2-7', '5:MQTT-3.14.0-1'],
    `an exchange may fail at every step, and CONNACK says so, over ${transport}`,
    async () => {
      for (const later of [false, true])
        for (const good of [0, 1, 2]) {
          const broker = await startBroker({ hooks: counting(9, later) })
          const client = await open(broker, withMethod(...data(good === 0 ? 'bad' : '0')), transport)
          for (let n = 1; n <= good; n++) {
            await client.expect('auth')
            client.bytes(auth(0x18, ...data(n === good ? 'bad' : String(n))))
          }
          const { reasonCode, properties } = await client.expect('connack')
          expect([reasonCode, properties]).toEqual([0x86, { reasonString: 'that is no number' }])
          await client.expectClosed()
          expect(broker.node.broker.sessions.size).toBe(0)
        }
    },
  )

covers(['5:MQTT-4.12.0-4'], 'an exchange whose hook does not answer fails', async () => {
  const broker = await startBroker({
    hooks: { exchange: () => new Promise(() => {}) },
    limits: { hookSeconds: 60, connectSeconds: 3600 },
  })
  const client = await open(broker, withMethod())
  // Another one's PINGRESP says that the first CONNECT has been read.
  await (await join(broker, 'other')).expectQuiet()
  hasten(61)
  expect((await client.expect('connack')).reasonCode).toBe(0x88)
  await client.expectClosed()
})

const wrongAuth: Record<string, Buffer> = {
  'with another method': packet(0xf0, 0x18, block(0x15, 'N', ...data('1'))),
  'without a method': packet(0xf0, 0x18, block(...data('1'))),
  'without properties': packet(0xf0, 0x18),
  'without anything': packet(0xf0),
  'with success': auth(0x00),
  'with an error': auth(0x87),
}

for (const transport of transports) {
  covers(
    ['5:MQTT-4.12.0-3', '5:MQTT-4.12.0-5', '5:MQTT-3.1.2-30', '5:MQTT-4.13.1-1', '5:MQTT-3.14.0-1'],
    `nothing but the AUTH that is waited for may come before CONNACK, over ${transport}`,
    async () => {
      const rows: Record<string, Buffer> = {
        ...Object.fromEntries(Object.entries(wrongAuth).map(([what, frame]) => [`AUTH ${what}`, frame])),
        'AUTH that begins again': auth(0x19, ...data('1')),
        PUBLISH: packet(0x30, 'a', block()),
        PUBACK: packet(0x40, u16(1)),
        PUBREC: packet(0x50, u16(1)),
        PUBREL: packet(0x62, u16(1)),
        PUBCOMP: packet(0x70, u16(1)),
        SUBSCRIBE: packet(0x82, u16(1), block(), 'a', 0),
        UNSUBSCRIBE: packet(0xa2, u16(1), block(), 'a'),
        PINGREQ: hex('c0 00'),
        CONNECT: withMethod(),
        CONNACK: hex('20 03 00 00 00'),
        SUBACK: hex('90 04 00 01 00 00'),
        UNSUBACK: hex('b0 04 00 01 00 00'),
        PINGRESP: hex('d0 00'),
        'type 0': hex('00 00'),
      }
      const broker = await startBroker({ hooks: counting(9) })
      await each(rows, async (frame) => {
        const client = await open(broker, withMethod(...data('0')), transport)
        await client.expect('auth')
        client.bytes(frame)
        expect((await client.expect('connack')).reasonCode).toBe(0x82)
        await client.expectClosed()
      })
      expect(clausesLogged(broker)).toHaveLength(Object.keys(rows).length)
      expect(broker.node.broker.sessions.size).toBe(0)
    },
  )

  covers(['5:MQTT-3.1.2-30', '5:MQTT-3.14.0-1'], `a client may leave before CONNACK, over ${transport}`, async () => {
    const broker = await startBroker({ hooks: counting(9) })
    const client = await open(broker, withMethod(...data('0')), transport)
    await client.expect('auth')
    await client.bytes('e0 00').expectClosed()
    clausesLogged(broker)
  })
}

covers(['5:MQTT-3.15.1-1'], 'AUTH with a reserved flag is malformed, before CONNACK too', async () => {
  const broker = await startBroker({ hooks: counting(9) })
  for (let flags = 1; flags < 16; flags++) {
    const client = await open(broker, withMethod(...data('0')))
    await client.expect('auth')
    client.bytes(packet(0xf0 | flags, 0x18, block(...method)))
    expect((await client.expect('connack')).reasonCode).toBe(0x81)
    await client.expectClosed()
  }
  expect(new Set(clausesLogged(broker))).toEqual(new Set(['MQTT-3.15.1-1']))
})

covers(
  ['5:MQTT-4.12.0-6', '5:MQTT-4.12.0-7'],
  'without a method in CONNECT there is no AUTH, from either side',
  async () => {
    const hooks = counting(0)
    const broker = await startBroker({ hooks })
    for (const transport of transports) {
      const client = await open(broker, connect(5), transport)
      const properties = propertiesOf(await client.expect('connack'))
      expect(properties).not.toHaveProperty('authenticationMethod')
      expect(properties).not.toHaveProperty('authenticationData')
      await client.bytes(auth(0x19)).expectDisconnect(0x82)
      for (const version of [3, 4] as const) {
        const old = await RawClient.connect(broker, version, {}, transport)
        await old.bytes(auth(0x19)).expectClosed()
      }
    }
    expect(hooks.seen).toEqual([])
    expect(new Set(clausesLogged(broker))).toEqual(new Set(['MQTT-4.12.0-7']))
  },
)

covers(
  ['5:MQTT-3.1.2-24', '5:MQTT-3.15.2-2', '5:MQTT-3.15.2-3'],
  'AUTH carries no reason, and is not sent where it is larger than the client accepts',
  async () => {
    const broker = await startBroker({ hooks: counting(1) })
    const whole = auth(0x18, ...data('got 0'))
    const fits = await open(broker, withMethod(...data('0'), 0x27, u32(whole.length)))
    expect((await fits.expect('auth')).raw).toEqual(whole)
    const short = await open(broker, withMethod(...data('0'), 0x27, u32(whole.length - 1)))
    await short.expectClosed()
    expect(clausesLogged(broker)).toEqual(['MQTT-3.1.2-24'])
  },
)

// ── re-authentication ────────────────────────────────────────────────────────────────────────────────────────────

for (const transport of transports)
  for (const later of [false, true])
    covers(
      ['5:MQTT-4.12.0-2', '5:MQTT-4.12.0-3', '5:MQTT-4.12.0-5'],
      `a client may authenticate again, over ${transport}${later ? ', with answers that take their time' : ''}`,
      async () => {
        const users: unknown[] = []
        const hooks = counting(3, later)
        const broker = await startBroker({
          hooks: { ...hooks, authorizePublish: ({ username }) => void users.push(username) },
        })
        const client = await open(broker, withMethod(...data('3')), transport)
        await client.expect('connack')
        await client.subscribe('a')
        for (let again = 0; again < 2; again++) {
          client.bytes(auth(0x19, ...data('1')))
          expect((await client.expect('auth')).raw).toEqual(auth(0x18, ...data('got 1')))
          // Meanwhile everything goes on as before.
          client.publish('a', 'x')
          expect(told(await client.expect('publish'))).toBe('a=x q0')
          client.bytes(auth(0x18, ...data('2')))
          await client.expect('auth')
          await client.expectQuiet()
          client.bytes(auth(0x18, ...data('3')))
          expect((await client.expect('auth')).raw).toEqual(auth(0x00, ...data('got 3')))
          client.publish('a', 'y')
          await client.expect('publish')
        }
        expect(users).toEqual(['user 3', 'user 3', 'user 3', 'user 3'])
        expect(hooks.seen.slice(1, 4)).toEqual(['raw M reauthenticate 1', 'raw M continue 2', 'raw M continue 3'])
      },
    )

for (const transport of transports)
  covers(
    ['5:MQTT-4.12.1-2', '5:MQTT-3.14.2-1', '5:MQTT-4.13.2-1'],
    `a client that fails to authenticate again is sent away, over ${transport}`,
    async () => {
      for (const later of [false, true])
        for (const good of [0, 1]) {
          const broker = await startBroker({ hooks: counting(2, later) })
          const client = await open(broker, withMethod(...data('2')), transport)
          await client.expect('connack')
          client.bytes(auth(0x19, ...data(good === 0 ? 'bad' : '1')))
          if (good > 0) {
            await client.expect('auth')
            client.bytes(auth(0x18, ...data('bad')))
          }
          // 0x86 is no code of DISCONNECT: 0x87 says nearly the same.
          const { reasonCode, properties } = await client.expect('disconnect')
          expect([reasonCode, properties]).toEqual([0x87, { reasonString: 'that is no number' }])
          await client.expectClosed()
        }
    },
  )

// Tables 3-1 and 3-10: the refusals of CONNACK, and of a server's DISCONNECT.
const inConnack = '80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f'
const inDisconnect = '80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2'

covers(
  ['5:MQTT-3.2.2-8', '5:MQTT-3.14.2-1', '5:MQTT-4.12.0-4', '5:MQTT-4.12.1-2'],
  'whatever a hook throws, CONNACK and DISCONNECT carry a code of their own',
  async () => {
    let thrown: Reason = Reason.success
    const broker = await startBroker({
      hooks: {
        exchange(_, { data }) {
          if (data) throw new Denied(thrown)
          return { done: true }
        },
      },
    })
    for (thrown of Object.values(Reason)) {
      // Of one user the next would wait.
      const refused = await open(broker, asUser(`refused ${thrown}`, ...data('refuse')))
      const connack = (await refused.expect('connack')).reasonCode as number
      await refused.expectClosed()
      const client = await open(broker, asUser(`user ${thrown}`))
      await client.expect('connack')
      client.bytes(auth(0x19, ...data('refuse')))
      const disconnect = (await client.expect('disconnect')).reasonCode as number
      await client.expectClosed()
      for (const [got, table] of [
        [connack, hex(inConnack)],
        [disconnect, hex(inDisconnect)],
      ] as const)
        if (table.includes(thrown)) expect(got).toBe(thrown)
        else expect(table.includes(got), `0x${thrown.toString(16)} came as 0x${got.toString(16)}`).toBe(true)
    }
  },
)

covers(
  ['5:MQTT-4.12.0-3', '5:MQTT-4.12.0-5', '5:MQTT-4.13.1-1'],
  'AUTH that does not fit ends the connection',
  async () => {
    const broker = await startBroker({ hooks: counting(2) })
    for (const transport of transports)
      for (const running of [false, true])
        await each({ ...wrongAuth, 'out of place': auth(running ? 0x19 : 0x18) }, async (frame) => {
          const client = await open(broker, withMethod(...data('2')), transport)
          await client.expect('connack')
          if (running) {
            client.bytes(auth(0x19, ...data('1')))
            await client.expect('auth')
          }
          await client.bytes(frame).expectDisconnect(0x82)
        })
    clausesLogged(broker)
  },
)

covers(['5:MQTT-3.1.2-24'], 'AUTH that is larger than the client accepts ends the connection', async () => {
  const broker = await startBroker({
    hooks: {
      exchange: (_, { step }) => ({ done: true, ...(step !== 'connect' && { data: Buffer.alloc(500) }) }),
    },
  })
  const client = await open(broker, withMethod(0x27, u32(400)))
  await client.expect('connack')
  await client.bytes(auth(0x19)).expectClosed()
})

covers(
  ['5:MQTT-3.1.4-6', '5:MQTT-3.1.2-30'],
  'what comes with a CONNECT that is asked about waits its turn',
  async () => {
    for (const later of [false, true]) {
      const broker = await startBroker({ hooks: counting(2, later) })
      for (const transport of transports) {
        const whole = [withMethod(...data('0')), auth(0x18, ...data('1')), auth(0x18, ...data('2')), hex('c0 00')]
        const client = await open(broker, bytes(...whole), transport)
        for (const cmd of ['auth', 'auth', 'connack', 'pingresp'] as const) await client.expect(cmd)
        // A refusal ends it: what comes behind is not read.
        const refused = await open(
          broker,
          bytes(withMethod(...data('bad')), auth(0x18, ...data('2')), hex('c0 00')),
          transport,
        )
        expect((await refused.expect('connack')).reasonCode).toBe(0x86)
        await refused.expectClosed()
        await client.disconnect()
      }
    }
  },
)
