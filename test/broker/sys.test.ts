import { expect, test } from 'vitest'
import { type SysFigures, SysTopics } from '../../src/broker/sys.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'

const figures: SysFigures = {
  version: '1.2.3',
  uptimeSeconds: 10.4,
  clientsConnected: 3,
  clientsDisconnected: 2,
  clientsTotal: 5,
  clientsMaximum: 4,
  clientsExpired: 1,
  clientsTakenOver: 21,
  messagesReceived: 100,
  messagesSent: 200,
  publishReceived: 50,
  publishSent: 60,
  publishDropped: 7,
  bytesReceived: 1000,
  bytesSent: 2000,
  retainedMessages: 8,
  retainedBytes: 900,
  storedMessages: 9,
  subscriptions: 11,
  heapBytes: 12_345,
  publishSlowed: 12,
  publishOverRate: 13,
  memoryStep: 2,
  memoryRefused: 14,
  memoryDisconnected: 15,
  connectionsRefused: 21,
  logInsDenied: 22,
  held: { queuedBytes: 16, retainedBytes: 17, unsentBytes: 18, unreadBytes: 19, sessionBytes: 20 },
}

// The names that Mosquitto's manual lists and dashboards read.
const expected = {
  version: 'godwit version 1.2.3',
  uptime: '10 seconds',
  'clients/connected': '3',
  'clients/disconnected': '2',
  'clients/total': '5',
  'clients/maximum': '4',
  'clients/expired': '1',
  'messages/received': '100',
  'messages/sent': '200',
  'publish/messages/received': '50',
  'publish/messages/sent': '60',
  'publish/messages/dropped': '7',
  'bytes/received': '1000',
  'bytes/sent': '2000',
  'retained messages/count': '8',
  'store/messages/count': '9',
  'subscriptions/count': '11',
  'heap/current': '12345',
  'clients/taken over': '21',
  'publish/slowed': '12',
  'publish/messages/over rate': '13',
  'memory/step': '2',
  'memory/clients refused': '14',
  'memory/clients disconnected': '15',
  'connections/refused': '21',
  'log-ins/denied': '22',
  'memory/queued': '16',
  'memory/retained': '17',
  'memory/unsent': '18',
  'memory/unread': '19',
  'memory/sessions': '20',
  'load/messages/received/1min': '0.00',
  'load/bytes/sent/15min': '0.00',
}

test('$SYS has the names of Mosquitto', () => {
  const told = new Map<string, string>()
  new SysTopics((topic, payload) => told.set(topic, payload)).tell(figures)
  for (const [name, value] of Object.entries(expected))
    expect([name, told.get(`$SYS/broker/${name}`)]).toEqual([name, value])
})

test('only what has changed is told again, and loads are averages a minute that fade', () => {
  const told = new Map<string, string>()
  const sys = new SysTopics((topic, payload) => told.set(topic.replace('$SYS/broker/', ''), payload))
  sys.tell(figures)
  told.clear()
  sys.tell({ ...figures, uptimeSeconds: 70.4, messagesReceived: 160 })
  expect(told.get('uptime')).toBe('70 seconds')
  expect(told.get('messages/received')).toBe('160')
  expect(told.has('messages/sent')).toBe(false)
  // 60 messages in a minute, seen through windows of 1, 5 and 15 minutes: 60 · (1 - e^(-1/n)).
  expect(told.get('load/messages/received/1min')).toBe('37.93')
  expect(told.get('load/messages/received/5min')).toBe('10.88')
  expect(told.get('load/messages/received/15min')).toBe('3.87')
})

test('a client that asks for $SYS gets it retained; one that asks for # does not', async () => {
  const broker = await startBroker({ limits: { sysSeconds: 1 } })
  const all = await RawClient.connect(broker, 4, { clientId: 'all' })
  await all.subscribe('#')
  const monitor = await RawClient.connect(broker, 4, { clientId: 'monitor' })
  await monitor.subscribe('$SYS/broker/clients/connected')
  expect(await monitor.expect('publish')).toMatchObject({
    topic: '$SYS/broker/clients/connected',
    payload: Buffer.from('2'),
  })
  const late = await RawClient.connect(broker, 4, { clientId: 'late' })
  await late.subscribe('$SYS/broker/version')
  const version = await late.expect('publish')
  expect(version.retain).toBe(true)
  expect(String(version.payload)).toMatch(/^godwit version \d+\.\d+\.\d+$/)
  await all.expectQuiet()
})
