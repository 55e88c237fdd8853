import { describe, expect, test } from 'vitest'
import type { Environment } from '../../src/config/overrides.ts'
import { complaint, type Given } from './given.ts'

const opens = 'is open to other machines, and nobody has to log in (auth). To open it all the same,'
const publicCases: readonly [string, Given, string][] = [
  [
    'every address',
    { flags: { listen: ['tcp://0.0.0.0:1883'] } },
    `--listen: tcp://0.0.0.0:1883 ${opens} add: --allow-public`,
  ],
  ['IPv6', { flags: { listen: ['ws://[::]:80'] } }, `--listen: ws://[::]:80/mqtt ${opens} add: --allow-public`],
  [
    'a name that only looks local',
    { flags: { listen: ['tcp://127.0.0.1.example.org'] } },
    `--listen: tcp://127.0.0.1.example.org:1883 ${opens} add: --allow-public`,
  ],
  [
    'the environment',
    { env: { GODWIT_LISTEN: 'tcp://0.0.0.0' } },
    `GODWIT_LISTEN: tcp://0.0.0.0:1883 ${opens} set: GODWIT_ALLOW_PUBLIC=true`,
  ],
  [
    'the file',
    { file: 'listeners:\n  - url: tcp://10.0.0.1' },
    `etc/godwit.yaml:2:10: listeners.0.url: tcp://10.0.0.1:1883 ${opens} add this line to etc/godwit.yaml: allowPublic: true`,
  ],
  [
    'a variable closes what the file opens',
    { file: 'listeners:\n  - url: tcp://10.0.0.1\nallowPublic: true', env: { GODWIT_ALLOW_PUBLIC: '0' } },
    `etc/godwit.yaml:2:10: listeners.0.url: tcp://10.0.0.1:1883 ${opens} add this line to etc/godwit.yaml: allowPublic: true`,
  ],
  ['--allow-public', { flags: { listen: ['tcp://0.0.0.0'], allowPublic: true } }, 'no complaint'],
  [
    'GODWIT_ALLOW_PUBLIC',
    { flags: { listen: ['tcp://0.0.0.0'] }, env: { GODWIT_ALLOW_PUBLIC: 'true' } },
    'no complaint',
  ],
  ['allowPublic in the file', { flags: { listen: ['tcp://0.0.0.0'] }, file: 'allowPublic: true' }, 'no complaint'],
  ['loopback', { flags: { listen: ['tcp://127.9.9.9', 'tcp://[::1]', 'tcp://localhost:1'] } }, 'no complaint'],
]
describe('a public listener must be asked for', () => {
  for (const [name, given, wanted] of publicCases) test(name, () => expect(complaint(given)).toBe(wanted))
})

const at = (place: string): string => `etc/godwit.yaml:${place}: `
const fileCases: readonly [file: string, complaint: string][] = [
  ['listners: []', `${at('1:1')}listners: unknown key, did you mean "listeners"?`],
  [
    'a: 1\nlimits:\n  pakcetBytes: 1',
    `${at('1:1')}a: unknown key\n${at('3:3')}limits.pakcetBytes: unknown key, did you mean "packetBytes"?`,
  ],
  ['__proto__: { logLevel: warn }', `${at('1:1')}__proto__: unknown key`],
  [
    'listeners:\n  - ulr: tcp://127.0.0.1',
    `${at('2:5')}listeners.0.url: is missing: must be an address like tcp://127.0.0.1:1883\n${at('2:5')}listeners.0.ulr: unknown key, did you mean "url"?`,
  ],
  ['listeners:\n  - tcp://127.0.0.1', `${at('2:5')}listeners.0: must be a map with a url, not "tcp://127.0.0.1"`],
  ['listeners: tcp://127.0.0.1', `${at('1:12')}listeners: must be a list, not "tcp://127.0.0.1"`],
  ['listeners: []', `${at('1:12')}listeners: must list a listener, or be left out, not []`],
  [
    'listeners: [{ url: 1883 }]',
    `${at('1:20')}listeners.0.url: must be an address like tcp://127.0.0.1:1883, not 1883`,
  ],
  ['logLevel: loud', `${at('1:11')}logLevel: must be debug, info, warn, error, silent, not "loud"`],
  [
    'limits:\n  receiveMaximum: 65536',
    `${at('2:19')}limits.receiveMaximum: must be a whole number from 1 to 65535, not 65536`,
  ],
  [
    'limits: { queueBytes: 16MiB }',
    `${at('1:23')}limits.queueBytes: must be a whole number from 0 to 1099511627776, not "16MiB"`,
  ],
  [
    'limits: { queueBytes: 1.5 }',
    `${at('1:23')}limits.queueBytes: must be a whole number from 0 to 1099511627776, not 1.5`,
  ],
  ['limits:', `${at('1:8')}limits: must be a map of limits, not null`],
  ['allowPublic: yes', `${at('1:14')}allowPublic: must be true or false, not "yes"`],
  ['data: ""', `${at('1:7')}data: must be a directory name, not ""`],
  ['durability: disk', `${at('1:13')}durability: must be fsync, os, memory, not "disk"`],
  ['overflow: drop', `${at('1:11')}overflow: must be drop-oldest, drop-newest, reject, not "drop"`],
  [
    'listeners:\n  - url: tcp://127.0.0.1\n    durabilty: os',
    `${at('3:5')}listeners.0.durabilty: unknown key, did you mean "durability"?`,
  ],
  ['durabilityByTopic: a/b', `${at('1:20')}durabilityByTopic: must be a list, not "a/b"`],
  [
    'durabilityByTopic:\n  - filtr: a\n    durability: os',
    `${at('2:5')}durabilityByTopic.0.filter: is missing: must be a topic filter\n${at('2:5')}durabilityByTopic.0.filtr: unknown key, did you mean "filter"?`,
  ],
  [
    'durabilityByTopic:\n  - { filter: a/b#, durability: none }',
    `${at('2:15')}durabilityByTopic.0.filter: "a/b#": "#" must be the whole last level in "a/b#"\n${at('2:33')}durabilityByTopic.0.durability: must be fsync, os, memory, not "none"`,
  ],
  [
    'durabilityByTopic: [{ filter: $share/g/a, durability: os }]',
    `${at('1:31')}durabilityByTopic.0.filter: "$share/g/a": a shared subscription says who gets a message, not which one: leave out $share/<group>/`,
  ],
  ['store: ./data', `${at('1:8')}store: must be a map of store settings, not "./data"`],
  ['store: { segmentByte: 1 }', `${at('1:10')}store.segmentByte: unknown key, did you mean "segmentBytes"?`],
  [
    'store: { segmentBytes: 64 }',
    `${at('1:24')}store.segmentBytes: must be a whole number from 1048576 to 1073741824, not 64`,
  ],
  [
    '- url: tcp://127.0.0.1',
    `${at('1:1')}must be a map with keys such as listeners and data, not [{"url":"tcp://127.0.0.1"}]`,
  ],
  [
    'a: [1,\nb: 2',
    `${at('2:1')}YAML: Flow sequence in block collection must be sufficiently indented and end with a ]`,
  ],
  ['data: a\ndata: b', `${at('2:1')}YAML: Map keys must be unique`],
  ['data: !secret a', `${at('1:7')}YAML: Unresolved tag: !secret`],
  [
    'data: a\n---\ndata: b',
    `${at('2:1')}YAML: Source contains multiple documents; please use YAML.parseAllDocuments()`,
  ],
  ['data: *d', `${at('1:1')}YAML: Unresolved alias (the anchor must be set before the alias): d`],
  [
    'x: &x loud\nlogLevel: *x',
    `${at('1:1')}x: unknown key\n${at('2:11')}logLevel: must be debug, info, warn, error, silent, not "loud"`,
  ],
  [
    'listeners:\n  - url: tcp://127.0.0.1\n  - url: ws://127.0.0.1:1883',
    `${at('3:10')}listeners.1.url: ws://127.0.0.1:1883/mqtt uses the same port as tcp://127.0.0.1:1883`,
  ],
  [
    'listeners:\n  - url: tls://localhost',
    `${at('2:10')}listeners.0.url: tls://localhost:8883 needs a certificate, which only a configuration file can name: tls: { cert: FILE, key: FILE }`,
  ],
  [
    'listeners:\n  - url: ws://localhost\n    tls: { cert: server.pem, key: server.key }',
    `${at('3:10')}listeners.0.tls: ws://localhost:8083/mqtt does not use TLS: make its url wss://`,
  ],
  [
    'listeners:\n  - url: wss://localhost\n    tls: { cert: server.key, key: gone.key }',
    `${at('3:18')}listeners.0.tls.cert: etc/server.key holds no "-----BEGIN CERTIFICATE-----"\n${at('3:35')}listeners.0.tls.key: cannot read etc/gone.key: no such file`,
  ],
  [
    'listeners:\n  - url: wss://localhost\n    tls: { cert: server.pem, key: server.key, requestCert: true }',
    `${at('3:60')}listeners.0.tls.requestCert: needs a ca, to check the certificates of clients`,
  ],
]
describe('a bad file', () => {
  for (const [file, wanted] of fileCases) test(JSON.stringify(file), () => expect(complaint({ file })).toBe(wanted))
})

const addressCases: readonly [url: string, complaint: string][] = [
  ['1883', 'no tcp://, tls://, ws:// or wss:// in front: write it like tcp://127.0.0.1:1883'],
  ['mqtt://127.0.0.1', 'listeners are tcp://, tls://, ws:// or wss://: write it like tcp://127.0.0.1:1883'],
  ['tcp://:1883', 'no listener address: write it like tcp://127.0.0.1:1883'],
  ['tcp://::1', 'an IPv6 address goes in brackets: tcp://[::1]:1883'],
  ['tcp://[127.0.0.1]:1', '[127.0.0.1] is no IPv6 address'],
  ['tcp://a b', 'no listener address: write it like tcp://127.0.0.1:1883'],
  ['tcp://127.0.0.1:65536', 'port 65536 is above 65535'],
  ['tcp://127.0.0.1/mqtt', 'a tcp:// address has no path'],
  ['tcp://user@127.0.0.1', 'no listener address: write it like tcp://127.0.0.1:1883'],
  ['', 'no tcp://, tls://, ws:// or wss:// in front: write it like tcp://127.0.0.1:1883'],
]
describe('a bad address', () => {
  for (const [url, wanted] of addressCases)
    test(url, () => expect(complaint({ flags: { listen: [url] } })).toBe(`--listen: ${JSON.stringify(url)}: ${wanted}`))
})

const environmentCases: readonly [env: Environment, complaint: string][] = [
  [{ GODWIT_LISTN: 'x' }, 'GODWIT_LISTN: unknown variable, did you mean "GODWIT_LISTEN"?'],
  [
    { GODWIT_LIMITS_PACKET_BYTE: '1' },
    'GODWIT_LIMITS_PACKET_BYTE: unknown variable, did you mean "GODWIT_LIMITS_PACKET_BYTES"?',
  ],
  [{ GODWIT_TURBO: 'x' }, 'GODWIT_TURBO: unknown variable'],
  [{ GODWIT_LOG_LEVEL: 'loud' }, 'GODWIT_LOG_LEVEL: must be debug, info, warn, error, silent, not "loud"'],
  [{ GODWIT_ALLOW_PUBLIC: 'yes' }, 'GODWIT_ALLOW_PUBLIC: must be true or false, not "yes"'],
  [
    { GODWIT_LIMITS_TOPIC_ALIASES: '-1' },
    'GODWIT_LIMITS_TOPIC_ALIASES: must be a whole number from 0 to 65535, not "-1"',
  ],
  [
    { GODWIT_LIMITS_TOPIC_ALIASES: '65536' },
    'GODWIT_LIMITS_TOPIC_ALIASES: must be a whole number from 0 to 65535, not 65536',
  ],
  [
    { GODWIT_LISTEN: 'tcp://127.0.0.1,' },
    'GODWIT_LISTEN: "": no tcp://, tls://, ws:// or wss:// in front: write it like tcp://127.0.0.1:1883',
  ],
  [{ GODWIT_DURABILITY: 'sync' }, 'GODWIT_DURABILITY: must be fsync, os, memory, not "sync"'],
  [{ GODWIT_OVERFLOW: 'drop' }, 'GODWIT_OVERFLOW: must be drop-oldest, drop-newest, reject, not "drop"'],
  [
    { GODWIT_STORE_CACHE_BYTES: '16MiB' },
    'GODWIT_STORE_CACHE_BYTES: must be a whole number from 1048576 to 68719476736, not "16MiB"',
  ],
  [
    { GODWIT_STORE_CACHEBYTES: '1' },
    'GODWIT_STORE_CACHEBYTES: unknown variable, did you mean "GODWIT_STORE_CACHE_BYTES"?',
  ],
  [{ OTHER: 'x' }, 'no complaint'],
  [
    { GODWIT_PORT: 'tcp://10.0.0.1:1883', GODWIT_SERVICE_HOST: '10.0.0.1', GODWIT_SERVICE_PORT_MQTT: '1883' },
    'no complaint',
  ],
  [{ GODWIT_PORT_1883_TCP: 'tcp://10.0.0.1:1883', GODWIT_MQTT_PORT_1883_TCP_ADDR: '10.0.0.1' }, 'no complaint'],
]
const node = 'this node needs a name: --node NAME, GODWIT_CLUSTER_NODE or cluster.node'
const listen =
  'this node needs an address for the others: --cluster-listen HOST:PORT, GODWIT_CLUSTER_LISTEN or cluster.listen'
const whole = { cluster: 'dir', node: 'a', clusterListen: '127.0.0.1:7001' }
const clusterCases: readonly [Given, string][] = [
  [{ flags: { cluster: 'dir' } }, `--cluster: ${node}\n--cluster: ${listen}`],
  [{ flags: { cluster: 'dir', node: 'a' } }, `--cluster: ${listen}`],
  [{ flags: { join: ['127.0.0.1:1'] } }, `--join: ${node}\n--join: ${listen}`],
  [
    { env: { GODWIT_CLUSTER_DIRECTORY: 'dir' } },
    `GODWIT_CLUSTER_DIRECTORY: ${node}\nGODWIT_CLUSTER_DIRECTORY: ${listen}`,
  ],
  [{ file: 'cluster: {}' }, `${at('1:10')}cluster: ${node}\n${at('1:10')}cluster: ${listen}`],
  [{ file: 'cluster: { node: a }' }, `${at('1:18')}cluster.node: ${listen}`],
  [{ file: 'cluster: { nod: a }' }, `${at('1:12')}cluster.nod: unknown key, did you mean "node"?`],
  [{ file: 'cluster: a' }, `${at('1:10')}cluster: must be a map of cluster settings, not "a"`],
  [
    { file: 'cluster: { node: a, listen: 127.0.0.1:1, join: 127.0.0.1:1 }' },
    `${at('1:48')}cluster.join: must be a list of addresses, not "127.0.0.1:1"`,
  ],
  [
    { file: 'cluster: { node: a, listen: 7001 }' },
    `${at('1:29')}cluster.listen: must be an address like 127.0.0.1:7001, not 7001`,
  ],
  [
    { file: 'cluster: { node: a, listen: 127.0.0.1:1, barrierMs: -1 }' },
    `${at('1:53')}cluster.barrierMs: must be a whole number from 0 to 60000, not -1`,
  ],
  [
    { flags: { ...whole, join: ['10.0.0.1', '10.0.0.2:0', '10.0.0.3:65536', '[10.0.0.4]:1'] } },
    [
      '--join: "10.0.0.1": no address: write it like 127.0.0.1:7001',
      '--join: "10.0.0.2:0": port 0 is none that can be dialled',
      '--join: "10.0.0.3:65536": port 65536 is above 65535',
      '--join: "[10.0.0.4]:1": [10.0.0.4] is no IPv6 address',
    ].join('\n'),
  ],
  ...['A', 'a_b', '-a', 'a-', 'a.b', '', 'x'.repeat(64)].map((name): [Given, string] => [
    { flags: { ...whole, node: name } },
    `--node: must be a name of up to 63 small letters, digits and "-", with "-" at neither end, not ${JSON.stringify(name)}\n--cluster: ${node}`,
  ]),
  [
    { flags: { ...whole, clusterListen: '0.0.0.0:7001' } },
    '--cluster-listen: nobody can dial 0.0.0.0:7001: say where the others reach this node: --cluster-advertise HOST:PORT, GODWIT_CLUSTER_ADVERTISE or cluster.advertise',
  ],
  [
    { flags: { ...whole, joinToken: 't' }, env: { GODWIT_CLUSTER_JOIN: '127.0.0.1:1' } },
    `--join-token: a token is for a machine without the cluster's directory: leave one of them out`,
  ],
  [
    { flags: { ...whole, cluster: undefined, joinToken: 't' } },
    '--join-token: whom to show the token to: --join HOST:PORT, GODWIT_CLUSTER_JOIN or cluster.join',
  ],
  [
    { flags: whole, env: { GODWIT_CLUSTER_ABSENT_OWNER: 'never', GODWIT_CLUSTER_HANDOFF_BYTES: '1GB' } },
    'GODWIT_CLUSTER_ABSENT_OWNER: must be wait, fresh, not "never"\nGODWIT_CLUSTER_HANDOFF_BYTES: must be a whole number from 0 to 1099511627776, not "1GB"',
  ],
  [{ flags: whole }, 'no complaint'],
]
describe('a bad cluster', () => {
  for (const [given, wanted] of clusterCases) test(JSON.stringify(given), () => expect(complaint(given)).toBe(wanted))
})

const open = 'is open to other machines, and the token would cross the network unencrypted. To open it all the same:'
const adminCases: readonly [Given, string][] = [
  [{ flags: { admin: 'on' } }, '--admin: must be an address like 127.0.0.1:18083, or off, not "on"'],
  [{ env: { GODWIT_ADMIN_LISTN: 'off' } }, 'GODWIT_ADMIN_LISTN: unknown variable, did you mean "GODWIT_ADMIN_LISTEN"?'],
  [{ file: 'admin: off' }, `${at('1:8')}admin: must be a map with listen or tokenFile, not "off"`],
  [
    { flags: { admin: '0.0.0.0:1' } },
    `--admin: 0.0.0.0:1 ${open} --allow-public, GODWIT_ALLOW_PUBLIC=true or allowPublic: true`,
  ],
  [
    { file: 'durability: memory\nadmin: { listen: 127.0.0.1:1 }' },
    `${at('2:18')}admin.listen: its token has no place to be, as nothing is kept on disk: name a file with GODWIT_ADMIN_TOKEN_FILE or admin.tokenFile`,
  ],
]
describe('a bad admin listener', () => {
  for (const [given, wanted] of adminCases) test(JSON.stringify(given), () => expect(complaint(given)).toBe(wanted))
})

describe('a bad variable', () => {
  for (const [env, wanted] of environmentCases) test(JSON.stringify(env), () => expect(complaint({ env })).toBe(wanted))
})

test('a bad flag', () => {
  expect(complaint({ flags: { durability: 'disk' } })).toBe('--durability: must be fsync, os, memory, not "disk"')
})

test('everything that is wrong is told at once', () => {
  const given = { flags: { logLevel: 'loud' }, env: { GODWIT_X: '1' }, file: 'allowPublic: 1\ndata: 2' }
  expect(complaint(given).split('\n')).toEqual([
    '--log-level: must be debug, info, warn, error, silent, not "loud"',
    'GODWIT_X: unknown variable',
    `${at('1:14')}allowPublic: must be true or false, not 1`,
    `${at('2:7')}data: must be a directory name, not 2`,
  ])
})

test('a value that cannot be shown whole is cut', () => {
  expect(complaint({ file: `logLevel: ${'x'.repeat(1000)}` }).length).toBeLessThan(200)
})
