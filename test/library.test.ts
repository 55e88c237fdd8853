import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import mqtt from 'mqtt'
import { afterEach, expect, test } from 'vitest'
import {
  type BrokerOptions,
  ConfigError,
  createBroker,
  defaultLimits,
  Denied,
  type GodwitBroker,
  Reason,
} from '../src/index.ts'

const started: GodwitBroker[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((broker) => broker.close()))
})

async function start(options: BrokerOptions = {}): Promise<GodwitBroker> {
  const broker = await createBroker({ listen: 'tcp://127.0.0.1:0', limits: { sysSeconds: 0 }, ...options })
  started.push(broker)
  return broker
}

const connect = (broker: GodwitBroker, options: mqtt.IClientOptions = {}) =>
  mqtt.connectAsync(broker.listeners[0]!.url.replace('tcp', 'mqtt'), {
    protocolVersion: 5,
    reconnectPeriod: 0,
    ...options,
  })

test('the example in README runs', async () => {
  const [, code] = /```js\n(import { createBroker }[^]*?)```/.exec(readFileSync('README.md', 'utf8')) ?? []
  // Beside the build, so that it finds the package by its name, as a user's program does.
  writeFileSync('dist/readme-example.mjs', code!)
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['dist/readme-example.mjs'])
  expect(stderr).toBe('')
  expect(stdout).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+\n$/)
})

test('events tell who came, what was published, and who left', async () => {
  const broker = await start()
  const told: string[] = []
  const left = new Promise<void>((resolve) => broker.on('disconnected', ({ id }) => resolve(void told.push(`-${id}`))))
  broker.on('connected', ({ id }) => told.push(`+${id}`))
  broker.on('subscribed', ({ id, filter, qos }) => told.push(`${id} wants ${filter} at ${qos}`))
  const off = broker.on('published', ({ id, topic, payload }) => told.push(`${id}: ${topic} ${String(payload)}`))
  const client = await connect(broker, { clientId: 'c' })
  await client.subscribeAsync('a/#', { qos: 1 })
  await client.publishAsync('a/b', 'hi', { qos: 1 })
  off()
  await client.publishAsync('a/b', 'unheard', { qos: 1 })
  await client.endAsync()
  await left
  expect(told).toEqual(['+c', 'c wants a/# at 1', 'c: a/b hi', '-c'])
})

test('the broker publishes by itself, retained too', async () => {
  const broker = await start()
  broker.publish({ topic: 'news', payload: 'first', retain: true, qos: 1 })
  const client = await connect(broker)
  const got = new Promise((resolve) => client.on('message', (topic, payload) => resolve(`${topic} ${String(payload)}`)))
  await client.subscribeAsync('#', { qos: 1 })
  expect(await got).toBe('news first')
  expect(() => broker.publish({ topic: 'a/+', payload: '' })).toThrow('wildcard')
  await client.endAsync()
})

const later = <T>(value: T) => new Promise<T>((resolve) => setImmediate(() => resolve(value)))

for (const [how, authenticate, code] of [
  ['false', () => false, Reason.notAuthorized],
  ['a promise of false', () => later(false), Reason.notAuthorized],
  [
    'a throw',
    () => {
      throw new Error('no')
    },
    Reason.notAuthorized,
  ],
  ['a rejection', () => Promise.reject(new Error('no')), Reason.notAuthorized],
  [
    'Denied',
    () => {
      throw new Denied(Reason.banned, 'go away')
    },
    Reason.banned,
  ],
] as const)
  test(`authenticate denies by ${how}`, async () => {
    const broker = await start({ authenticate })
    await expect(connect(broker)).rejects.toMatchObject({ code })
  })

test('authenticate allows by nothing, true, or a promise of them, and sees who asks', async () => {
  const asked: unknown[] = []
  const broker = await start({
    authenticate: ({ id, username, version }, password) =>
      later(void asked.push([id, username, version, String(password)])),
  })
  const client = await connect(broker, { clientId: 'me', username: 'u', password: 'p' })
  await client.endAsync()
  expect(asked).toEqual([['me', 'u', 5, 'p']])
})

test('an answer that does not come in time is a no, and none about the client', async () => {
  const broker = await start({ authenticate: () => new Promise<void>(() => {}), limits: { hookSeconds: 0.05 } })
  await expect(connect(broker)).rejects.toMatchObject({ code: Reason.serverUnavailable })
})

test('authorizePublish and authorizeSubscribe decide one by one, in order, sync or async', async () => {
  const lost: string[] = []
  const broker = await start({
    authorizePublish: (_, { topic }) => later(topic !== 'forbidden'),
    authorizeSubscribe: (_, { filter }) => later(filter !== 'secret'),
  })
  broker.on('lost', ({ topic, reason }) => lost.push(`${topic} ${reason}`))
  const client = await connect(broker)
  const granted = await client.subscribeAsync(['open', 'secret'], { qos: 1 }).catch((fault: Error) => fault.message)
  expect(JSON.stringify(granted)).toContain('Not authorized')
  const got: string[] = []
  const last = new Promise<void>((resolve) =>
    client.on('message', (_, payload) => {
      got.push(String(payload))
      if (String(payload) === '9') resolve()
    }),
  )
  for (let i = 0; i < 10; i++) client.publish('open', String(i), { qos: 1 })
  await expect(client.publishAsync('forbidden', '', { qos: 1 })).rejects.toThrow('Not authorized')
  await last
  expect(got).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
  expect(lost).toEqual(['forbidden not-authorized'])
  await client.endAsync()
})

test('what a client sent before it left counts, its DISCONNECT too, however late the answers come', async () => {
  let open = () => {}
  const gate = new Promise<void>((resolve) => (open = resolve))
  const broker = await start({ authorizePublish: (_, { will }) => (will ? undefined : gate) })
  const topics: string[] = []
  broker.on('published', ({ topic }) => topics.push(topic))
  const left = new Promise<string>((resolve) => broker.on('disconnected', ({ reason }) => resolve(reason)))
  const client = await connect(broker, { will: { topic: 'will', payload: Buffer.from('') } })
  client.publish('one', '')
  client.publish('two', '')
  await client.endAsync()
  open()
  expect(await left).toBe('disconnected')
  expect(topics).toEqual(['one', 'two'])
})

test('wrong options are named', async () => {
  await expect(createBroker({ listen: 'http://x' })).rejects.toThrow(ConfigError)
  await expect(createBroker({ listen: 'tcp://0.0.0.0:0' })).rejects.toThrow('allow')
  // Whoever names no method is let in unasked.
  const exchange = () => ({ done: true })
  await expect(createBroker({ listen: 'tcp://0.0.0.0:0', exchange })).rejects.toThrow('allow')
  await expect(createBroker({ config: 'no-such-file.yaml' })).rejects.toThrow('no-such-file.yaml')
})

test('docs/configuration.md names every limit with its default', () => {
  const doc = readFileSync('docs/configuration.md', 'utf8')
  const rows = [...doc.matchAll(/^\| `(\w+)` +\| (\d+) +\|/gm)].map(([, name, value]) => [name, Number(value)])
  expect(Object.fromEntries(rows)).toEqual(defaultLimits)
})
