import type { IConnectPacket } from 'mqtt-packet'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import type { ClientInfo, PublishRequest, SubscribeRequest } from '../../src/access/hooks.ts'
import type { Config } from '../../src/config/config.ts'
import { Traffic } from '../../src/mqtt/output.ts'
import { hears, settle } from '../standard/kit.ts'
import { AuthFiles, token, tokenKey } from '../support/auth.ts'
import { startBroker, temporaryFolder, type TestBroker, type TestBrokerOptions } from '../support/broker.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

// What a tenant may have, who may come in, and what is nobody's to name.

let files: AuthFiles
beforeEach(() => {
  files = new AuthFiles()
  files.write('key.pem', tokenKey)
})

function configOf(tenants: string, more = ''): Config {
  const audit = join(files.folder, 'audit.log')
  return files.config(`
auth: { jwt: { key: key.pem, issuer: i, audience: a, claims: { tenant: org } } }
audit: { file: ${audit} }
tenants: ${tenants}
${more}`)
}

function start(tenants: string, more = '', options: TestBrokerOptions = {}): Promise<TestBroker> {
  const { auth, audit, rates, permissions, tenants: book } = configOf(tenants, more)
  return startBroker({ ...options, config: { auth, audit, rates, permissions, tenants: book } })
}

type Version = 3 | 4 | 5

/** CONNECT as a user of a tenant; '': of none. */
async function open(
  broker: TestBroker,
  tenant: string,
  clientId: string,
  version: Version = 5,
  more: Partial<IConnectPacket> = {},
) {
  const exp = Math.floor(Date.now() / 1000) + 3600
  const password = Buffer.from(await token({ exp, ...(tenant && { org: tenant }) }))
  const client = await RawClient.open(broker, version)
  return client.send(connectPacket(version, { clientId, username: 'thing', password, ...more }))
}

async function enter(...args: Parameters<typeof open>): Promise<RawClient> {
  const client = await open(...args)
  const { reasonCode, returnCode } = await client.expect('connack')
  expect(reasonCode ?? returnCode).toBe(0)
  return client
}

/** The code of a CONNACK that refuses. */
async function refused(...args: Parameters<typeof open>): Promise<number> {
  const client = await open(...args)
  const { reasonCode, returnCode } = await client.expect('connack')
  await client.expectClosed()
  return Number(reasonCode ?? returnCode)
}

const kept = { clean: false, properties: { sessionExpiryInterval: 3600 } }

function auditLines(): Record<string, unknown>[] {
  const text = readFileSync(join(files.folder, 'audit.log'), 'utf8')
  return text.split('\n').flatMap((line) => (line ? [JSON.parse(line) as Record<string, unknown>] : []))
}

describe.each([3, 4, 5] as const)('version %i', (version) => {
  test('a tenant that has no entry is not let in', async () => {
    const broker = await start('{ north: {} }')
    expect(await refused(broker, 'south', 'a', version)).toBe(version === 5 ? 0x86 : 4)
    await enter(broker, 'north', 'a', version)
    await enter(broker, '', 'a', version)
    const why = 'tenant "south" is not in the configuration, nor is "*"'
    expect(broker.log.findLast(({ level }) => level === 'warn')!.message).toBe(`the log-in was denied by jwt: ${why}`)
    await broker.node.close()
    expect(auditLines()[0]).toMatchObject({ event: 'log-in-denied', by: 'jwt', why })
  })

  test('connections, sessions and subscriptions', async () => {
    const full = version === 5 ? 0x97 : 3
    const broker = await start('{ "*": { connections: 2, sessions: 2, subscriptions: 3 } }')
    const [a, b] = [await enter(broker, 'north', 'a', version, kept), await enter(broker, 'north', 'b', version, kept)]
    expect(await refused(broker, 'north', 'c', version)).toBe(full)
    // Another tenant, and those of none, have their own.
    await enter(broker, 'south', 'c', version)
    for (const id of ['d', 'e', 'f']) await enter(broker, '', id, version)
    // Whoever takes over needs no more.
    const again = await enter(broker, 'north', 'a', version, kept)
    if (version === 5) await a.expectDisconnect(0x8e)
    await b.disconnect()
    // There is room for a connection, and none for a session.
    expect(await refused(broker, 'north', 'c', version)).toBe(full)
    const back = await enter(broker, 'north', 'b', version, kept)
    expect([await again.subscribe('x', 1), await again.subscribe('y', 1), await back.subscribe('x', 1)]).toEqual([
      1, 1, 1,
    ])
    expect(await back.subscribe('y', 1)).toBe(version === 5 ? 0x97 : 0x80)
    expect(await back.subscribe('x', 0)).toBe(0)
    again.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['y'] })
    await again.expect('unsuback')
    expect(await back.subscribe('y', 1)).toBe(1)
    const tenant = broker.node.broker.tenants.get('north')
    const { connections, sessions, subscriptions, refused: times } = tenant
    expect({ connections, sessions, subscriptions, times }).toEqual({
      connections: 2,
      sessions: 2,
      subscriptions: 3,
      times: 3,
    })
  })
})

test('retained messages: what is above goes out and is not kept; what is cleared makes room', async () => {
  const broker = await start('{ north: { retainedMessages: 2, retainedBytes: 1000 }, south: {} }')
  const [north, south] = [await enter(broker, 'north', 'a'), await enter(broker, 'south', 'a')]
  await north.subscribe('#')
  const { retained, tenants, ledger } = broker.node.broker
  for (const [topic, payload, messages] of [
    ['a', 'x', 1],
    ['b', 'x', 2],
    ['c', 'x', 2],
    ['b', 'y', 2],
    ['b', 'x'.repeat(900), 2],
    ['a', '', 1],
    ['c', 'x', 2],
  ] as const) {
    north.publish(topic, payload, { retain: true })
    south.publish(topic, 'south', { retain: true })
    expect(await hears(north, 1)).toEqual([`${topic}=${payload} q0`])
    await settle(south)
    expect(retained.volume('$tenant/north/').messages).toBe(messages)
  }
  expect(retained.get('$tenant/north/b')!.payloadLength).toBe(1)
  expect([...retained.roots()]).toEqual(['$tenant/north/', '$tenant/south/'])
  expect([tenants.get('north').refused, tenants.get('south').refused, ledger.notRetained]).toEqual([2, 0, 2])
  await north.expectQuiet()
})

test('rates: all clients of a tenant together, beside client and user; users of one name in two tenants have nothing in common', async () => {
  const broker = await start(
    '{ north: { rates: { messagesPerSecond: 1, messagesBurst: 4 } }, south: {} }',
    'rates: { over: refuse, user: { messagesPerSecond: 1, messagesBurst: 6 } }',
  )
  const codes: unknown[][] = []
  for (const [tenant, id] of [
    ['north', 'a'],
    ['north', 'b'],
    ['south', 'a'],
    ['', 'a'],
  ] as const) {
    const client = await enter(broker, tenant, id)
    const answers: unknown[] = []
    for (let messageId = 1; messageId <= 3; messageId++) {
      client.publish('t', 'x', { qos: 1, messageId })
      answers.push((await client.expect('puback')).reasonCode)
    }
    codes.push(answers)
  }
  const none = 0x10
  expect(codes).toEqual([
    [none, none, none],
    [none, 0x97, 0x97],
    [none, none, none],
    [none, none, none],
  ])
  expect(broker.node.broker.tenants.get('north').refused).toBe(2)
})

test('a reload: tenants that are gone are sent away, limits and rates hold for those who stay', async () => {
  const broker = await start('{ north: {}, south: {} }')
  const [north, south, none] = [
    await enter(broker, 'north', 'a', 5, kept),
    await enter(broker, 'south', 'a', 5, kept),
    await enter(broker, '', 'a'),
  ]
  const next = '{ north: { subscriptions: 0, rates: { messagesPerSecond: 1, messagesBurst: 2 } } }'
  const { tenants, rates } = configOf(next, 'rates: { over: refuse }')
  const { auth } = configOf(next)
  await broker.reload(undefined, { auth, tenants, rates })
  await south.expectDisconnect(0x87)
  expect(await refused(broker, 'south', 'a')).toBe(0x86)
  // It is refused, and paid for.
  expect(await north.subscribe('x')).toBe(0x97)
  for (const [messageId, code] of [
    [1, 0x10],
    [2, 0x97],
  ] as const)
    expect((await north.publish('t', 'x', { qos: 1, messageId }).expect('puback')).reasonCode).toBe(code)
  await none.expectQuiet()
  // What it has left stays until its time is over.
  expect(broker.node.broker.tenants.get('south').sessions).toBe(1)
})

test('what begins with $ is no topic of a tenant, and what is of a tenant is nobody else’s', async () => {
  const broker = await start('{ north: {} }')
  const [inside, outside] = [await enter(broker, 'north', 'a'), await enter(broker, '', 'a')]
  await inside.subscribe('#')
  await outside.subscribe('#')
  for (const topic of ['$SYS/x', '$x', '$tenant/north/x', '$share/g/x'])
    expect((await inside.publish(topic, 'x', { qos: 1, messageId: 1 }).expect('puback')).reasonCode, topic).toBe(0x87)
  for (const filter of ['$SYS/#', '$x', '$tenant/north/#', '$share/g/$SYS/#'])
    expect(await inside.subscribe(filter), filter).toBe(0x87)
  for (const topic of ['$tenant', '$tenant/north/x', '$tenant/no name/x', '$tenant/'])
    expect((await outside.publish(topic, 'x', { qos: 1, messageId: 1 }).expect('puback')).reasonCode, topic).toBe(0x87)
  for (const filter of ['$tenant/#', '$tenant/+/x', '$tenant/north/x', '$share/g/$tenant/#', '$tenant'])
    expect(await outside.subscribe(filter), filter).toBe(0x87)
  for (const [tenant, topic] of [
    ['north', '$x'],
    ['', '$tenant/north/x'],
  ] as const) {
    const will = { topic, payload: Buffer.from('x'), qos: 0 as const, retain: false }
    expect(await refused(broker, tenant, 'will', 5, { will })).toBe(0x87)
  }
  const { node } = broker
  for (const topic of ['$tenant/north/$SYS/x', '$tenant/north/', '$tenant/north', '$tenant'])
    expect(() => node.broker.inject({ topic, payload: Buffer.from('x'), qos: 0, retain: false })).toThrow(
      'a tenant has',
    )
  // A topic that is refused is not taken for the one behind its root.
  outside.publish('$tenant/north/x', 'x')
  outside.publish('x', 'mine')
  node.broker.inject({ topic: '$tenant/north/x', payload: Buffer.from('yours'), qos: 0, retain: false })
  expect(await hears(outside, 1)).toEqual(['x=mine q0'])
  expect(await hears(inside, 1)).toEqual(['x=yours q0'])
  await inside.expectQuiet()
  await outside.expectQuiet()
})

test('what an older release let somebody subscribe to is dropped when it is read back', async () => {
  const data = temporaryFolder()
  const broker = await start('{ north: {} }', '', { data })
  const client = await enter(broker, '', 's', 5, kept)
  const { sessions } = broker.node.broker
  const session = sessions.get('s')!
  for (const filter of ['$tenant/north/#', '$share/g/$tenant/#']) {
    session.subscribe(filter, 0)
    sessions.store.subscribed(session.number, filter, 0)
  }
  await client.subscribe('x')
  await broker.node.close()
  for (const dropped of [2, 0]) {
    const { node, log } = await start('{ north: {} }', '', { data })
    expect([...node.broker.sessions.get('s')!.subscriptions.keys()]).toEqual(['x'])
    expect(log.filter(({ message }) => message.endsWith('is dropped')).length).toBe(dropped)
    await node.close()
  }
})

test('what is too long or too deep with the root is refused', async () => {
  const tenant = 'n'.repeat(64)
  const broker = await start('{ "*": {} }')
  const deep = (levels: number) => Array.from({ length: levels }, () => 'x').join('/')
  const root = 9 + tenant.length
  const client = await enter(broker, tenant, 'a')
  expect(await client.subscribe(deep(98))).toBe(0)
  expect(await client.subscribe(deep(99))).toBe(0x8f)
  expect(await client.subscribe('x'.repeat(65_535 - root))).toBe(0)
  expect(await client.subscribe('x'.repeat(65_536 - root))).toBe(0x8f)
  for (const topic of [deep(98), 'x'.repeat(65_535 - root)]) {
    client.publish(topic, 'y')
    expect((await client.expect('publish')).topic).toBe(topic)
  }
  for (const topic of [deep(99), 'x'.repeat(65_536 - root)]) {
    const other = await enter(broker, tenant, 'b')
    other.publish(topic, 'y')
    await other.expectDisconnect(0x90)
  }
  const will = { topic: deep(99), payload: Buffer.from('x'), qos: 0 as const, retain: false }
  expect(await refused(broker, tenant, 'c', 5, { will })).toBe(0x90)
})

test('hooks of the host program see the root, rules and the audit log what the client wrote', async () => {
  const asked: unknown[] = []
  const told: unknown[] = []
  const broker = await start(
    '{ north: {} }',
    'permissions: [{ effect: allow, who: everybody, actions: [publish, subscribe, receive], topics: ["dev/%c/#"] }]',
    {
      hooks: {
        authorizePublish: ({ id, tenant }: ClientInfo, { topic }: PublishRequest) =>
          void asked.push([id, tenant, topic]),
        authorizeSubscribe: ({ tenant }: ClientInfo, { filter }: SubscribeRequest) => void asked.push([tenant, filter]),
      },
      observer: {
        connected: ({ id, tenant }) => told.push([id, tenant]),
        subscribed: (id, filter) => told.push([id, filter]),
      },
    },
  )
  const client = await enter(broker, 'north', 'a')
  expect(await client.subscribe('dev/a/#')).toBe(0)
  expect(await client.subscribe('dev/b/#')).toBe(0x87)
  client.publish('dev/a/x', 'x').publish('dev/b/x', 'x')
  expect(await hears(client, 1)).toEqual(['dev/a/x=x q0'])
  expect(asked).toEqual([
    ['north', '$tenant/north/dev/a/#'],
    ['a', 'north', '$tenant/north/dev/a/x'],
  ])
  expect(told).toEqual([
    ['a', 'north'],
    ['a', '$tenant/north/dev/a/#'],
  ])
  await settle(client)
  await broker.node.close()
  expect(auditLines().filter(({ event }) => event === 'refused')).toMatchObject([
    { client: 'a', tenant: 'north', action: 'subscribe', topic: 'dev/b/#' },
    { client: 'a', tenant: 'north', action: 'publish', topic: 'dev/b/x' },
  ])
})

test('what crosses the connections of tenants is counted with them, and with all', async () => {
  const broker = await start('{ north: {} }')
  const [inside, outside] = [await enter(broker, 'north', 'a'), await enter(broker, '', 'a')]
  for (const client of [inside, outside]) await client.subscribe('#')
  inside.publish('t', 'x').publish('t', 'y')
  await hears(inside, 2)
  outside.publish('t', 'x')
  await hears(outside, 1)
  await settle(inside)
  const { tenants } = broker.node.broker
  const { messagesIn, messagesOut, bytesIn, bytesOut } = tenants.get('north').traffic
  // SUBSCRIBE, PINGREQ and two times 30 05 00 01 74 00 78; CONNACK, SUBACK, PINGRESP and the same.
  expect([messagesIn, messagesOut, bytesIn, bytesOut]).toEqual([2, 2, 9 + 2 + 14, 19 + 6 + 2 + 14])
  const sum = new Traffic()
  tenants.addTraffic(sum)
  expect([sum.messagesIn, sum.bytesIn]).toEqual([2, bytesIn])
})
