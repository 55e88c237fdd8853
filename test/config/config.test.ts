import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { defaultConnectionRates } from '../../src/access/connection-rates.ts'
import { noTenants } from '../../src/broker/tenants.ts'
import { defaultLimits } from '../../src/broker/limits.ts'
import { defaultClusterSettings } from '../../src/cluster/cluster.ts'
import type { Config } from '../../src/config/config.ts'
import { variableOf } from '../../src/config/overrides.ts'
import { clusterNumberNames, fields, limitNames, storeNames } from '../../src/config/schema.ts'
import { defaultStore } from '../../src/config/store.ts'
import { complaint, type Given, load, pems } from './given.ts'

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

test('memory: by the file, by the control group, by the machine; queues and retained messages follow', () => {
  const mebibyte = 2 ** 20
  const of = (more: Partial<Given>) => {
    const { memory, limits } = load(more)
    return [memory?.limitBytes, limits.queueBytesTotal, limits.retainedBytes].map((bytes) => bytes && bytes / mebibyte)
  }
  expect(of({})).toEqual([undefined, 1024, 256])
  expect(of({ memory: { bytes: 1000 * mebibyte, ours: true } })).toEqual([850, 212.5, 212.5])
  expect(of({ memory: { bytes: 24_000 * mebibyte, ours: false } })).toEqual([12_000, 3000, 256])
  const file = 'memory: { limitBytes: 268435456 }'
  expect(of({ file, memory: { bytes: 2 ** 40, ours: false } })).toEqual([256, 64, 64])
  expect(of({ file: `${file}\nlimits: { queueBytesTotal: 1048576 }` })).toEqual([256, 1, 64])
  for (const [bad, why] of [
    [
      '{ limitBytes: 1000 }',
      '1:23: memory.limitBytes: must be a whole number from 134217728 to 1099511627776, not 1000',
    ],
    ['{ limitByte: 1000 }', '1:11: memory.limitByte: unknown key, did you mean "limitBytes"?'],
    ['5', '1:9: memory: must be a map with limitBytes, not 5'],
  ] as const)
    expect(complaint({ file: `memory: ${bad}` })).toBe(`etc/godwit.yaml:${why}`)
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
cluster:
  directory: ../cluster
  node: a
  listen: '[::]:7001'
  advertise: 10.0.0.1:7001
  join: ['10.0.0.2:7001', 'c.example:7001']
  clientAddress: 10.0.0.1:8883
  absentOwner: fresh
  handoffMessages: 10
admin: { listen: '0.0.0.0:80', tokenFile: token }
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
    cluster: {
      directory: 'etc/../cluster',
      joinToken: undefined,
      node: 'a',
      listen: { host: '::', port: 7001 },
      advertise: '10.0.0.1:7001',
      join: ['10.0.0.2:7001', 'c.example:7001'],
      clientAddress: '10.0.0.1:8883',
      settings: { ...defaultClusterSettings, absentOwner: 'fresh', handoffMessages: 10 },
    },
    admin: { host: '0.0.0.0', port: 80, chosen: true, tokenFile: 'etc/token' },
    connectionRates: defaultConnectionRates,
    tenants: noTenants,
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

describe('the cluster', () => {
  const settings = defaultClusterSettings
  const alone = { joinToken: undefined, advertise: undefined, join: [], clientAddress: undefined, settings }

  test('nothing said of it: none', () => expect(load({}).cluster).toBeUndefined())

  test('by flags', () => {
    const flags = { cluster: 'dir', node: 'a', clusterListen: '127.0.0.1:7001' }
    const wanted = { ...alone, directory: 'dir', node: 'a', listen: { host: '127.0.0.1', port: 7001 } }
    expect(load({ flags }).cluster).toEqual(wanted)
    const more = { ...flags, cluster: undefined, clusterListen: '0.0.0.0:0', clusterAdvertise: '[fd00::1]:7001' }
    expect(load({ flags: { ...more, join: ['10.0.0.1:1', '[::1]:2'], joinToken: 'token' } }).cluster).toEqual({
      ...alone,
      directory: undefined,
      node: 'a',
      listen: { host: '0.0.0.0', port: 0 },
      advertise: '[fd00::1]:7001',
      join: ['10.0.0.1:1', '[::1]:2'],
      joinToken: 'token',
    })
  })

  test('every key has a variable', () => {
    const given: Record<string, string> = {
      ...{
        directory: 'dir',
        node: 'a',
        listen: '127.0.0.1:7001',
        advertise: '10.0.0.1:7001',
        clientAddress: '[::1]:1',
      },
      ...{ join: '10.0.0.2:7001, 10.0.0.3:7001', absentOwner: 'fresh' },
      ...Object.fromEntries(clusterNumberNames.map((name) => [name, '1000'])),
    }
    expect([...Object.keys(given), 'joinToken'].sort()).toEqual(Object.keys(fields.cluster).sort())
    const env = Object.fromEntries(Object.entries(given).map(([name, value]) => [variableOf('cluster', name), value]))
    expect(load({ env }).cluster).toEqual({
      directory: 'dir',
      joinToken: undefined,
      node: 'a',
      listen: { host: '127.0.0.1', port: 7001 },
      advertise: '10.0.0.1:7001',
      join: ['10.0.0.2:7001', '10.0.0.3:7001'],
      clientAddress: '[::1]:1',
      settings: { absentOwner: 'fresh', ...Object.fromEntries(clusterNumberNames.map((name) => [name, 1000])) },
    })
    const { directory: _, ...rest } = { ...env, directory: undefined }
    const token = { ...rest, GODWIT_CLUSTER_DIRECTORY: '', GODWIT_CLUSTER_JOIN_TOKEN: 'token' }
    expect(load({ env: token }).cluster).toMatchObject({ directory: undefined, joinToken: 'token' })
  })

  test('flags win over the environment, and that over the file; lists are not merged', () => {
    const file = 'cluster: { directory: dir, node: f, listen: 127.0.0.1:1, join: [127.0.0.1:9], barrierMs: 1 }'
    const env = { GODWIT_CLUSTER_NODE: 'e', GODWIT_CLUSTER_JOIN: '127.0.0.1:8', GODWIT_CLUSTER_LISTEN: '127.0.0.1:2' }
    expect(load({ file, env, flags: { clusterListen: '127.0.0.1:3' } }).cluster).toMatchObject({
      directory: 'etc/dir',
      node: 'e',
      listen: { port: 3 },
      join: ['127.0.0.1:8'],
      settings: { ...settings, barrierMs: 1 },
    })
    expect(load({ file, flags: { cluster: 'dir' } }).cluster?.directory).toBe('dir')
  })
})

describe('the admin listener', () => {
  const plain = { host: '127.0.0.1', port: 18_083, chosen: false, tokenFile: undefined }
  const memory = { durability: 'memory' }
  for (const [name, given, wanted] of [
    ['by itself', {}, plain],
    ['a token elsewhere', { env: { GODWIT_ADMIN_TOKEN_FILE: 'token' } }, { ...plain, tokenFile: 'token' }],
    ['off by flag', { flags: { admin: 'off' } }, undefined],
    ['off by file', { file: 'admin: { listen: off }' }, undefined],
    ['a flag turns on what the file has off', { flags: { admin: '[::1]:0' }, file: 'admin: { listen: off }' }, '::1 0'],
    ['a variable', { env: { GODWIT_ADMIN_LISTEN: 'localhost:1' } }, 'localhost 1'],
    ['open to others', { flags: { admin: '10.0.0.1:1', allowPublic: true } }, '10.0.0.1 1'],
    ['nothing is kept on disk', { flags: memory }, undefined],
    [
      'nothing but the token',
      { flags: { ...memory, admin: '127.0.0.1:1' }, env: { GODWIT_ADMIN_TOKEN_FILE: 't' } },
      '127.0.0.1 1',
    ],
  ] as const)
    test(name, () => {
      const { admin } = load(given)
      if (typeof wanted !== 'string') return expect(admin).toEqual(wanted)
      expect([`${admin?.host} ${admin?.port}`, admin?.chosen]).toEqual([wanted, true])
    })
})

test('docs/configuration.md names every setting of the cluster, with its variable', () => {
  const doc = readFileSync('docs/configuration.md', 'utf8')
  const rows = [...doc.matchAll(/^\| `(\w+)[`:].*\| `(GODWIT_CLUSTER_\w+)`/gm)]
  const names = Object.keys(fields.cluster)
  expect(rows.map(([, name, variable]) => [name, variable])).toEqual(
    names.map((name) => [name, variableOf('cluster', name)]),
  )
})

test('docs/configuration.md names every setting of the store, with its variable and its default', () => {
  const doc = readFileSync('docs/configuration.md', 'utf8')
  const rows = [...doc.matchAll(/^\| `(\w+)` +\| `(GODWIT_STORE_\w+)` +\| (\d+) +\|/gm)]
  const wanted = Object.entries(defaultStore).map(([name, value]) => [name, variableOf('store', name), String(value)])
  expect(rows.map(([, ...row]) => row)).toEqual(wanted)
})
