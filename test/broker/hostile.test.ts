import { createConnection } from 'node:net'
import { expect, test } from 'vitest'
import { createBroker } from '../../src/index.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'

// Each of these once hung, filled, crashed or opened a broker of ours.

for (const cmd of ['subscribe', 'unsubscribe'] as const)
  test(`${cmd} with more filters than anybody may have is refused before it is decoded`, async () => {
    const client = await RawClient.connect(await startBroker())
    const filters = Array.from({ length: 1001 }, () => 'a')
    if (cmd === 'unsubscribe') client.send({ cmd, messageId: 1, unsubscriptions: filters })
    else client.send({ cmd, messageId: 1, subscriptions: filters.map((topic) => ({ topic, qos: 0 })) })
    await client.expectDisconnect(Reason.quotaExceeded)
  })

test('one that asks and never reads the answers is not read either, until it does', async () => {
  const unsentBytes = 65_536
  const broker = await startBroker({ limits: { unsentBytes } })
  const written: (() => void)[] = []
  const pauses: boolean[] = []
  const client = broker.node.broker.accept({
    remote: 'test',
    write: (_, done) => void written.push(done),
    pause: (paused) => void pauses.push(paused),
    end() {},
    destroy() {},
  })
  client.data(Buffer.from('101000044d5154540402000000046d757465', 'hex'))
  const pings = Buffer.from('c000'.repeat(10_000), 'hex')
  for (let chunk = 0; chunk < 200; chunk++) client.data(pings)
  expect(pauses).toEqual([true])
  expect(client.output.waitingBytes).toBeLessThan(2 * unsentBytes + 2 * pings.length)
  const held = broker.node.broker.connections
  // It reads: everything that it has sent is answered in the end.
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  for (let i = 0; i < 1000 && (written.length > 0 || client.output.waitingBytes > 0); i++) {
    for (const done of written.splice(0)) done()
    await turn()
  }
  expect(pauses.at(-1)).toBe(false)
  expect(client.output.waitingBytes).toBe(0)
  expect(held).toBe(1)
  client.closed()
})

test('a promise that is not the engine’s own is waited for, and its no is a no', async () => {
  const thenable = {
    then: (_: unknown, no: (fault: Error) => void) => no(new Error('nobody')),
  } as unknown as Promise<void>
  const broker = await startBroker({ hooks: { authenticate: () => thenable } })
  const client = await RawClient.open(broker)
  client.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, clientId: 'x' })
  expect(await client.expect('connack')).toMatchObject({ reasonCode: Reason.notAuthorized })
})

test('a hook that answers nonsense later costs that connection, not the process', async () => {
  const broker = await startBroker({ hooks: { exchange: () => Promise.resolve(undefined as never) } })
  const client = await RawClient.open(broker)
  const properties = { authenticationMethod: 'm' }
  client.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, clientId: 'x', properties })
  expect(await client.expect('connack')).toMatchObject({ reasonCode: Reason.unspecifiedError })
  expect(broker.log.filter(({ level }) => level === 'error')).toHaveLength(1)
})

test('a listener may publish what was lost, and may throw', async () => {
  const errors: object[] = []
  const log = { debug() {}, info() {}, warn() {}, error: (fields: object) => errors.push(fields) }
  const broker = await createBroker({ listen: 'tcp://127.0.0.1:0', limits: { sysSeconds: 0, queueMessages: 1 }, log })
  const port = Number(new URL(broker.listeners[0]!.url).port)
  const keeping = { clean: false, properties: { sessionExpiryInterval: 100 } }
  const away = await RawClient.connect({ port } as never, 5, { clientId: 'away', ...keeping })
  await away.subscribe('a', 1)
  await away.disconnect()
  const letters = await RawClient.connect({ port } as never, 5, { clientId: 'letters' })
  await letters.subscribe('dead/#', 1)
  broker.on('lost', ({ topic, reason }) => broker.publish({ topic: `dead/${reason}/${topic}`, payload: '', qos: 1 }))
  broker.on('lost', () => {
    throw new Error('a listener of theirs')
  })
  for (let i = 0; i < 2; i++) broker.publish({ topic: 'a', payload: 'x', qos: 1 })
  expect(await letters.expect('publish')).toMatchObject({ topic: 'dead/queue-full/a' })
  expect(errors).toMatchObject([{ event: 'lost' }])
  await broker.close()
})

test('close ends although a peer came to the WebSocket port and said nothing, and may be asked for twice', async () => {
  const broker = await startBroker()
  const silent = createConnection({ port: Number(new URL(broker.ws).port), host: '127.0.0.1' })
  silent.on('error', () => {})
  await new Promise<void>((resolve) => silent.once('connect', resolve))
  const client = await RawClient.connect(broker)
  const both = [broker.node.drain(), broker.node.drain()]
  await client.expectDisconnect(Reason.serverShuttingDown)
  await Promise.all(both)
})
