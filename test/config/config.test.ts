import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../src/broker/limits.ts'
import type { Config } from '../../src/config/config.ts'
import { variableOf } from '../../src/config/overrides.ts'
import { limitNames, storeNames } from '../../src/config/schema.ts'
import { defaultStore } from '../../src/config/store.ts'
import { complaint, load, pems } from './given.ts'

const urls = (config: Config): string[] => config.listeners.map(({ url }) => url)

test('nothing given: loopback, and the limits of the broker', () => {
  const config = load({})
  expect(urls(config)).toEqual(['tcp://127.0.0.1:1883', 'ws://127.0.0.1:8083/mqtt'])
  expect(config).toMatchObject({ data: './godwit-data', logLevel: 'info', allowPublic: false, limits: defaultLimits })
  expect(config).toMatchObject({ durability: 'fsync', durabilityByTopic: [], overflow: 'drop-newest' })
  expect(config.store).toEqual(defaultStore)
  expect(config.listeners[0]).toEqual({
    transport: 'tcp',
    host: '127.0.0.1',
    port: 1883,
    path: '',
    url: 'tcp://127.0.0.1:1883',
    allowAnonymous: false,
    durability: 'fsync',
  })
})

test('an empty file, or one of comments, gives the defaults', () => {
  for (const file of ['', '# nothing yet\n', '---\n']) expect(load({ file })).toEqual(load({}))
})

test('a file sets everything, and names its paths from where it stands', () => {
  const config = load({
    file: `
listeners:
  - url: tls://[::]:8883
    tls: { cert: server.pem, key: ./server.key, ca: /ca.pem, requestCert: true }
  - url: WS://localhost:0
    allowAnonymous: true
    durability: memory
data: ./data
durability: os
durabilityByTopic: [{ filter: alarm/+, durability: fsync }, { filter: '#', durability: memory }]
overflow: reject
store: { segmentBytes: 1048576 }
logLevel: debug
limits: { packetBytes: 1000, sysSeconds: 0 }
allowPublic: true
`,
  })
  expect(config).toEqual({
    listeners: [
      {
        transport: 'tls',
        host: '::',
        port: 8883,
        path: '',
        url: 'tls://[::]:8883',
        allowAnonymous: false,
        durability: 'os',
        tls: {
          cert: { file: 'etc/server.pem', pem: pems['etc/server.pem'] },
          key: { file: 'etc/server.key', pem: pems['etc/server.key'] },
          ca: { file: '/ca.pem', pem: pems['/ca.pem'] },
          requestCert: true,
        },
      },
      {
        transport: 'ws',
        host: 'localhost',
        port: 0,
        path: '/mqtt',
        url: 'ws://localhost:0/mqtt',
        allowAnonymous: true,
        durability: 'memory',
      },
    ],
    data: 'etc/data',
    store: { ...defaultStore, segmentBytes: 1_048_576 },
    durability: 'os',
    durabilityByTopic: [
      { filter: 'alarm/+', durability: 'fsync' },
      { filter: '#', durability: 'memory' },
    ],
    overflow: 'reject',
    logLevel: 'debug',
    limits: { ...defaultLimits, packetBytes: 1000, sysSeconds: 0 },
    allowPublic: true,
  })
})

describe('flags win over the environment, and the environment over the file', () => {
  const file = `
listeners: [{ url: tcp://127.0.0.1:1 }]
data: file
logLevel: warn
durability: memory
overflow: reject
limits: { queueMessages: 1, queueBytes: 1 }
store: { cacheBytes: 1048576, reserveBytes: 1048576 }
`
  const env = {
    GODWIT_LISTEN: 'tcp://127.0.0.1:2, ws://127.0.0.1:3/a',
    GODWIT_DATA: 'env',
    GODWIT_LOG_LEVEL: 'error',
    GODWIT_DURABILITY: 'os',
    GODWIT_OVERFLOW: 'drop-oldest',
    GODWIT_LIMITS_QUEUE_MESSAGES: '2',
    GODWIT_STORE_CACHE_BYTES: '2097152',
  }
  const flags = { listen: ['tcp://127.0.0.1:4'], data: 'flag', logLevel: 'silent', durability: 'fsync' }
  for (const [name, given, wanted] of [
    ['file', { file }, [['tcp://127.0.0.1:1'], 'etc/file', 'warn', 'memory', 'reject', 1, 1]],
    [
      'environment',
      { file, env },
      [['tcp://127.0.0.1:2', 'ws://127.0.0.1:3/a'], 'env', 'error', 'os', 'drop-oldest', 2, 1],
    ],
    ['flags', { file, env, flags }, [['tcp://127.0.0.1:4'], 'flag', 'silent', 'fsync', 'drop-oldest', 2, 1]],
  ] as const)
    test(name, () => {
      const config = load(given)
      const { queueMessages, queueBytes } = config.limits
      const { data, logLevel, durability, overflow } = config
      expect([urls(config), data, logLevel, durability, overflow, queueMessages, queueBytes]).toEqual(wanted)
    })
  test('each setting of the store for itself', () => {
    const store = { ...defaultStore, cacheBytes: 2_097_152, reserveBytes: 1_048_576 }
    expect(load({ file, env }).store).toEqual(store)
  })
})

describe('the disk is used when anything asks for it', () => {
  const store = 'store: { cacheBytes: 1048576 }'
  for (const [name, given, onDisk, listener] of [
    ['nothing given', {}, true, 'fsync'],
    ['--durability memory', { flags: { durability: 'memory' } }, false, 'memory'],
    ['GODWIT_DURABILITY=memory', { env: { GODWIT_DURABILITY: 'memory' } }, false, 'memory'],
    ['settings of a store alone ask for nothing', { file: `durability: memory\n${store}` }, false, 'memory'],
    ['os', { file: 'durability: os' }, true, 'os'],
    [
      'a listener that asks for more',
      { file: 'durability: memory\nlisteners: [{ url: tcp://127.0.0.1, durability: os }]' },
      true,
      'os',
    ],
    [
      'listeners that ask for less leave what comes through none',
      { file: 'listeners: [{ url: tcp://127.0.0.1, durability: memory }]' },
      true,
      'memory',
    ],
    [
      'a topic that asks for more',
      { file: 'durability: memory\ndurabilityByTopic: [{ filter: a, durability: fsync }]' },
      true,
      'memory',
    ],
    [
      'a topic that asks for as little',
      { file: 'durability: memory\ndurabilityByTopic: [{ filter: a, durability: memory }]' },
      false,
      'memory',
    ],
    [
      'the default by flag, the listener by file',
      { flags: { durability: 'memory' }, file: 'listeners: [{ url: tcp://127.0.0.1, durability: fsync }]' },
      true,
      'fsync',
    ],
  ] as const)
    test(name, () => {
      const config = load(given)
      expect([config.store !== undefined, config.listeners[0]?.durability]).toEqual([onDisk, listener])
    })
})

test('GODWIT_CONFIG names the file, and --config wins over it', () => {
  expect(load({ file: 'logLevel: warn', env: { GODWIT_CONFIG: 'etc/godwit.yaml' } }).logLevel).toBe('warn')
  expect(complaint({ env: { GODWIT_CONFIG: 'etc/godwit.yaml' }, flags: { config: 'no.yaml' } })).toBe(
    '--config: cannot read no.yaml: no such file',
  )
  expect(complaint({ env: { GODWIT_CONFIG: 'no.yaml' } })).toBe('GODWIT_CONFIG: cannot read no.yaml: no such file')
})

test('an empty variable is none', () => {
  const env = { GODWIT_LISTEN: '', GODWIT_DATA: '', GODWIT_CONFIG: '', GODWIT_LOG_LEVEL: '', GODWIT_OTHER: '' }
  expect(load({ env })).toEqual(load({}))
})

describe('every number has a variable, and a default inside its bounds', () => {
  for (const [map, names, defaults] of [
    ['limits', limitNames, defaultLimits],
    ['store', storeNames, defaultStore],
  ] as const)
    test(map, () => {
      const values = Object.entries(defaults) as [string, number][]
      expect(new Set<string>(names)).toEqual(new Set(values.map(([name]) => name)))
      const env = Object.fromEntries(values.map(([name, value]) => [variableOf(map, name), String(value)]))
      expect(load({ env })).toEqual(load({}))
      expect(load({ file: `${map}: ${JSON.stringify(defaults)}` })).toEqual(load({}))
    })
  test('its name', () => {
    expect(variableOf('limits', 'packetBytesBeforeConnect')).toBe('GODWIT_LIMITS_PACKET_BYTES_BEFORE_CONNECT')
    expect(variableOf('store', 'segmentBytes')).toBe('GODWIT_STORE_SEGMENT_BYTES')
  })
})

test('docs/configuration.md names every setting of the store, with its variable and its default', () => {
  const doc = readFileSync('docs/configuration.md', 'utf8')
  const rows = [...doc.matchAll(/^\| `(\w+)` +\| `(GODWIT_STORE_\w+)` +\| (\d+) +\|/gm)]
  const wanted = Object.entries(defaultStore).map(([name, value]) => [name, variableOf('store', name), String(value)])
  expect(rows.map(([, ...row]) => row)).toEqual(wanted)
})
