import { expect, test } from 'vitest'
import { endpointUrl, parseEndpoint } from '../../../src/cli/client/endpoint.ts'

for (const [text, wanted, url] of [
  ['mqtt://h', { protocol: 'mqtt', host: 'h', port: 1883, path: '' }, 'mqtt://h:1883'],
  ['mqtt://h/', { protocol: 'mqtt', host: 'h', port: 1883, path: '' }, 'mqtt://h:1883'],
  ['MQTTS://h.example', { protocol: 'mqtts', host: 'h.example', port: 8883, path: '' }, 'mqtts://h.example:8883'],
  ['tcp://h:1', { protocol: 'mqtt', host: 'h', port: 1, path: '' }, 'mqtt://h:1'],
  ['mqtt://h/a/b', { protocol: 'mqtt', host: 'h', port: 1883, path: '', topic: 'a/b' }, 'mqtt://h:1883'],
  ['mqtt://h//a', { protocol: 'mqtt', host: 'h', port: 1883, path: '', topic: '/a' }, 'mqtt://h:1883'],
  ['mqtt://h/a/#', { protocol: 'mqtt', host: 'h', port: 1883, path: '', topic: 'a/#' }, 'mqtt://h:1883'],
  ['mqtt://h/%25%20?', { protocol: 'mqtt', host: 'h', port: 1883, path: '', topic: '% ?' }, 'mqtt://h:1883'],
  [
    'mqtt://u:p@h',
    { protocol: 'mqtt', host: 'h', port: 1883, path: '', username: 'u', password: 'p' },
    'mqtt://h:1883',
  ],
  [
    'mqtt://u%40x:a:%2F@h',
    { protocol: 'mqtt', host: 'h', port: 1883, path: '', username: 'u@x', password: 'a:/' },
    'mqtt://h:1883',
  ],
  ['mqtt://[::1]:2/t', { protocol: 'mqtt', host: '::1', port: 2, path: '', topic: 't' }, 'mqtt://[::1]:2'],
  ['ws://h', { protocol: 'ws', host: 'h', port: 8083, path: '/mqtt' }, 'ws://h:8083/mqtt'],
  ['wss://h:3/other?x=1', { protocol: 'wss', host: 'h', port: 3, path: '/other?x=1' }, 'wss://h:3/other?x=1'],
] as const)
  test(text, () => {
    const endpoint = parseEndpoint(text)
    expect(endpoint).toEqual(wanted)
    expect(endpointUrl(endpoint)).toBe(url)
  })

for (const text of [
  '',
  'h',
  'mqtt:h',
  'mqtt://',
  'mqtt://:1',
  'mqtt://h:0',
  'mqtt://h:65536',
  'mqtt://h:x',
  'ftp://h',
  'mqtt://::1',
  'mqtt://h/%',
])
  test(`"${text}" is refused`, () => expect(() => parseEndpoint(text)).toThrow())
