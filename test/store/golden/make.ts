import { cpSync } from 'node:fs'
import { Broker } from '../../../src/broker/broker.ts'
import type { Grant } from '../../../src/routing/delivery.ts'
import { defaultConnectionRates } from '../../../src/access/connection-rates.ts'
import { defaultLimits } from '../../../src/broker/limits.ts'
import type { Config } from '../../../src/config/config.ts'
import { alone } from '../../../src/cluster/alone.ts'
import { defaultStore } from '../../../src/config/store.ts'
import { TopicTable } from '../../../src/mqtt/topic.ts'
import { type RunningNode, startNode } from '../../../src/node.ts'
import { checksum } from '../../../src/platform/checksum.ts'
import { openDataFolder } from '../../../src/platform/data-folder.ts'
import { nodeHost } from '../../../src/platform/host.ts'
import { openDiskStore } from '../../../src/store/disk-store.ts'
import type { TestBroker } from '../../support/broker.ts'
import { RawClient } from '../../support/raw.ts'
import { silent } from '../model.ts'

// A data directory with something of everything that a store keeps: what the index has, and what only the log has.

const never = 0xffff_ffff
const grant = { qos: 0, noLocal: false, retainAsPublished: false, subscriptionId: 0 } as const
const longTopic = `site/${'long/'.repeat(90)}${'x'.repeat(200)}`
const large = 'large '.repeat(4000)

export interface GoldenMessage {
  readonly topic: string
  readonly payload: string
  readonly qos: number
  readonly retain?: boolean
  readonly expires?: boolean
  /** Hexadecimal. */
  readonly properties?: string
  readonly subscriptionIds?: readonly number[]
  readonly shared?: string
  /** PUBREC has come for it. */
  readonly released?: boolean
  /** Of a cluster. */
  readonly stamp?: string
}

export interface GoldenSession {
  readonly expirySeconds: number
  readonly username?: string
  readonly will?: { topic: string; payload: string; qos: number; retain: boolean; delaySeconds: number }
  readonly subscriptions: Readonly<Record<string, Grant>>
  /** QoS 2 packet ids from the client. */
  readonly incoming?: readonly number[]
  readonly queue: readonly GoldenMessage[]
}

export interface Golden {
  readonly sessions: Readonly<Record<string, GoldenSession>>
  /** By topic. */
  readonly retained: readonly GoldenMessage[]
  /** Topics that were cleared, and the stamps that say so. */
  readonly tombstones: Readonly<Record<string, string>>
}

/** What stands in a directory of format 1. */
const formatOne: Golden = {
  sessions: {
    'pump/1': {
      expirySeconds: never,
      username: 'petra',
      will: { topic: 'will/pump', payload: 'dry', qos: 1, retain: true, delaySeconds: never },
      subscriptions: {
        'orders/#': { ...grant, qos: 2, subscriptionId: 7, retainAsPublished: true },
        '$share/crew/jobs/+': { ...grant, qos: 1 },
      },
      queue: [
        { topic: 'orders/1', payload: 'before', qos: 1, subscriptionIds: [7] },
        { topic: 'orders/2', payload: large, qos: 2, subscriptionIds: [7], properties: '03000a746578742f706c61696e' },
        { topic: 'jobs/1', payload: 'shared', qos: 1, shared: '$share/crew/jobs/+' },
        { topic: 'orders/3', payload: 'after', qos: 1, expires: true, retain: true, subscriptionIds: [7] },
      ],
    },
    'sensor-ü': {
      expirySeconds: Infinity,
      subscriptions: { 'orders/+': { ...grant, qos: 1 } },
      queue: [
        { topic: 'orders/2', payload: large, qos: 1, properties: '03000a746578742f706c61696e' },
        { topic: 'orders/3', payload: 'after', qos: 1, expires: true },
      ],
    },
    half: {
      expirySeconds: never,
      subscriptions: { 'half/#': { ...grant, qos: 2 } },
      incoming: [11, 513],
      queue: [
        { topic: 'half/1', payload: 'released', qos: 2, released: true },
        { topic: 'half/2', payload: 'sent', qos: 2 },
      ],
    },
    present: {
      expirySeconds: never,
      will: { topic: 'will/present', payload: 'gone', qos: 0, retain: false, delaySeconds: 0 },
      subscriptions: { 'present/only': { ...grant, qos: 1, noLocal: true } },
      queue: [],
    },
  },
  retained: [
    { topic: 'orders/3', payload: 'after', qos: 1, retain: true, expires: true },
    { topic: longTopic, payload: 'far', qos: 0, retain: true },
    { topic: 'site/name', payload: 'godwit, the second', qos: 1, retain: true },
  ],
  tombstones: {},
}

/** What stands in a directory of a format. */
export function goldenOf(format: number): Golden {
  if (format === 1) return formatOne
  const stamped = [
    { topic: 'stamped/1', payload: 'set, then in the index', qos: 0, retain: true, stamp: '1700000000001 1 näher' },
    { topic: 'stamped/3', payload: 'set, then in the log', qos: 0, retain: true, stamp: '1700000000003 3 näher' },
  ]
  return {
    ...formatOne,
    retained: [...formatOne.retained, ...stamped].sort((a, b) => (a.topic < b.topic ? -1 : 1)),
    tombstones: { 'stamped/2': '1700000000002 2 näher', 'stamped/4': '1700000000004 4 näher' },
  }
}

/** Makes the directory `to`, as a broker leaves it that is killed. `work` is an empty folder, for the broker. */
export async function makeGolden(work: string, to: string): Promise<void> {
  const first = await start(work)
  const pump = await connect(first, 'pump/1', {
    username: 'petra',
    will: {
      topic: 'will/pump',
      payload: Buffer.from('dry'),
      qos: 1,
      retain: true,
      properties: { willDelayInterval: never },
    },
  })
  await pump.subscribe('orders/#', 2, { id: 7, rap: true })
  await pump.subscribe('$share/crew/jobs/+', 1)
  await pump.subscribe('not/any/more', 1)
  pump.send({ cmd: 'unsubscribe', messageId: 5, unsubscriptions: ['not/any/more'] })
  await pump.expect('unsuback')
  await pump.drop()
  const sensor = await RawClient.connect(first, 4, { clientId: 'sensor-ü', clean: false })
  await sensor.subscribe('orders/+', 1)
  const ended = await connect(first, 'ended')
  await ended.subscribe('orders/#', 1)
  await ended.drop()

  const publisher = await connect(first, 'half')
  await publisher.subscribe('half/#', 2)
  await publish(publisher, 'orders/1', 'before', 1)
  // Delivered and acknowledged: it comes to its end.
  const { messageId } = await sensor.expect('publish')
  sensor.send({ cmd: 'puback', messageId: messageId as number })
  await sensor.expectQuiet()
  await sensor.disconnect()
  await publish(publisher, 'site/name', 'godwit', 1, { retain: true })
  await publish(publisher, 'site/gone', 'soon', 1, { retain: true })
  await publish(publisher, longTopic, 'far', 0, { retain: true })
  publisher.publish('nobody/1', '', { qos: 2, messageId: 11 })
  await publisher.expect('pubrec')
  await publisher.drop()
  await first.node.drain()

  const second = await start(work)
  const again = await connect(second, 'half')
  await publish(again, 'orders/2', large, 2, { properties: { contentType: 'text/plain' } })
  await publish(again, 'jobs/1', 'shared', 1)
  await publish(again, 'orders/3', 'after', 1, { retain: true, properties: { messageExpiryInterval: never - 1 } })
  await publish(again, 'site/name', 'godwit, the second', 1, { retain: true })
  await publish(again, 'site/gone', '', 1, { retain: true })
  again.publish('nobody/2', '', { qos: 2, messageId: 513 })
  await again.expect('pubrec')
  const other = await connect(second, 'other', { clean: true, properties: {} })
  await publish(other, 'half/1', 'released', 2)
  const { messageId: released } = await again.expect('publish')
  again.send({ cmd: 'pubrec', messageId: released as number })
  await again.expect('pubrel')
  await publish(other, 'half/2', 'sent', 2)
  await again.expect('publish')
  await again.drop()
  await (await connect(second, 'ended', { clean: true, properties: {} })).disconnect()
  const present = await connect(second, 'present', {
    will: { topic: 'will/present', payload: Buffer.from('gone'), qos: 0, retain: false },
  })
  await present.subscribe('present/only', 1, { nl: true })
  // The last that is written down before the power goes.
  await publish(other, 'nobody/3', '', 1)
  const member = `${work}-member`
  copy(work, member)
  await second.node.close()
  // In a cluster: what the index has, and what only the log has.
  await stamped(member, 1, () => {})
  await stamped(member, 3, () => copy(member, to))
}

function copy(from: string, to: string): void {
  const filter = (name: string) => !name.endsWith('.lock') && !name.endsWith('lock.mdb')
  cpSync(from, to, { recursive: true, errorOnExist: true, force: false, filter })
}

/** A broker whose retained changes are stamped sets a topic, and clears the next. @param then before it is closed */
async function stamped(data: string, first: number, then: () => void): Promise<void> {
  const folder = await openDataFolder(data, false)
  const host = nodeHost(silent)
  // Nothing falls due.
  const clock = { ...host.clock, now: () => host.clock.now(), wall: () => host.clock.wall(), every: () => () => {} }
  const topics = new TopicTable()
  const { disk, index, storeId } = folder
  const { store, recovered } = openDiskStore({
    ...{ disk, index, storeId, clock: host.clock, log: silent, topics, checksum, segmentBytes: 4096 },
  })
  let count = first
  const broker = new Broker({
    ...{ host: { ...host, clock }, store, topics, hooks: {}, observer: {}, version: '', heapBytes: () => 0 },
    limits: { ...defaultLimits, sysSeconds: 0 },
    cluster: {
      ...alone,
      alone: false,
      retains: (message) => {
        message.stamp = { ms: 1_700_000_000_000 + count, count: count++, node: 'näher' }
        return true
      },
      number: (message) => void (message.serial = count),
    },
  })
  broker.restore(recovered)
  const lsn = store.next
  const text = first === 1 ? 'set, then in the index' : 'set, then in the log'
  broker.inject({ topic: `stamped/${first}`, payload: Buffer.from(text), qos: 0, retain: true })
  broker.inject({ topic: `stamped/${first + 1}`, payload: Buffer.alloc(0), qos: 0, retain: true })
  await new Promise<void>((resolve) => store.onProgress(() => store.durable > lsn && resolve()))
  then()
  await store.close()
  await folder.close()
}

async function start(data: string): Promise<TestBroker> {
  const listener = { host: '127.0.0.1', port: 0, allowAnonymous: true, durability: 'fsync' } as const
  const config: Config = {
    listeners: [{ ...listener, transport: 'tcp', path: '', url: 'tcp://127.0.0.1:0' }],
    data,
    // As small as it gets, for the repository, and so that there is more than one.
    store: { ...defaultStore, segmentBytes: 4096 },
    durability: 'fsync',
    durabilityByTopic: [],
    auth: undefined,
    audit: undefined,
    permissions: undefined,
    rates: undefined,
    tenants: { named: new Map(), others: undefined },
    memory: undefined,
    connectionRates: defaultConnectionRates,
    overflow: 'drop-newest',
    logLevel: 'silent',
    limits: { ...defaultLimits, sysSeconds: 0, sessionExpirySeconds: Infinity },
    allowPublic: false,
    cluster: undefined,
    admin: undefined,
  }
  const node: RunningNode = await startNode(config, silent)
  return { node, port: Number(new URL(node.listeners[0]!.url).port) } as TestBroker
}

function connect(broker: TestBroker, clientId: string, options: object = {}): Promise<RawClient> {
  const properties = { sessionExpiryInterval: never }
  return RawClient.connect(broker, 5, { clientId, clean: false, properties, ...options })
}

/** Publishes, and waits until it is acknowledged. */
async function publish(
  client: RawClient,
  topic: string,
  payload: string,
  qos: 0 | 1 | 2,
  more: object = {},
): Promise<void> {
  // Free again each time.
  const messageId = 21
  client.publish(topic, payload, { qos, ...(qos > 0 && { messageId }), ...more })
  if (qos === 0) return client.expectQuiet()
  if (qos === 1) return void (await client.expect('puback'))
  await client.expect('pubrec')
  client.send({ cmd: 'pubrel', messageId })
  await client.expect('pubcomp')
}
