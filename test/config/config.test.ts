import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../src/broker/limits.ts'
import type { Config } from '../../src/config/config.ts'
import { limitVariable } from '../../src/config/overrides.ts'
import { limitNames } from '../../src/config/schema.ts'
import { complaint, load, pems } from './given.ts'

const urls = (config: Config): string[] => config.listeners.map(({ url }) => url)

test('nothing given: loopback, and the limits of the broker', () => {
  const config = load({})
  expect(urls(config)).toEqual(['tcp://127.0.0.1:1883', 'ws://127.0.0.1:8083/mqtt'])
  expect(config).toMatchObject({ data: './godwit-data', logLevel: 'info', allowPublic: false, limits: defaultLimits })
  expect(config.listeners[0]).toEqual({
    transport: 'tcp',
    host: '127.0.0.1',
    port: 1883,
    path: '',
    url: 'tcp://127.0.0.1:1883',
    allowAnonymous: false,
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
data: ./data
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
      },
    ],
    data: 'etc/data',
    logLevel: 'debug',
    limits: { ...defaultLimits, packetBytes: 1000, sysSeconds: 0 },
    allowPublic: true,
  })
})

describe('flags win over the environment, and the environment over the file', () => {
  const file =
    'listeners: [{ url: tcp://127.0.0.1:1 }]\ndata: file\nlogLevel: warn\nlimits: { queueMessages: 1, queueBytes: 1 }'
  const env = {
    GODWIT_LISTEN: 'tcp://127.0.0.1:2, ws://127.0.0.1:3/a',
    GODWIT_DATA: 'env',
    GODWIT_LOG_LEVEL: 'error',
    GODWIT_LIMITS_QUEUE_MESSAGES: '2',
  }
  const flags = { listen: ['tcp://127.0.0.1:4'], data: 'flag', logLevel: 'silent' }
  for (const [name, given, wanted] of [
    ['file', { file }, [['tcp://127.0.0.1:1'], 'etc/file', 'warn', 1, 1]],
    ['environment', { file, env }, [['tcp://127.0.0.1:2', 'ws://127.0.0.1:3/a'], 'env', 'error', 2, 1]],
    ['flags', { file, env, flags }, [['tcp://127.0.0.1:4'], 'flag', 'silent', 2, 1]],
  ] as const)
    test(name, () => {
      const config = load(given)
      const { queueMessages, queueBytes } = config.limits
      expect([urls(config), config.data, config.logLevel, queueMessages, queueBytes]).toEqual(wanted)
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

test('every limit has a variable and a default inside its bounds', () => {
  expect(new Set(limitNames)).toEqual(new Set(Object.keys(defaultLimits)))
  expect(limitVariable('packetBytesBeforeConnect')).toBe('GODWIT_LIMITS_PACKET_BYTES_BEFORE_CONNECT')
  const env = Object.fromEntries(limitNames.map((name) => [limitVariable(name), String(defaultLimits[name])]))
  expect(load({ env })).toEqual(load({}))
  expect(load({ file: `limits: ${JSON.stringify(defaultLimits)}` })).toEqual(load({}))
})
