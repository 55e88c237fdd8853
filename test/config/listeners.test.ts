import { describe, expect, test } from 'vitest'
import { complaint, load, pems } from './given.ts'

const file = (name: string) => ({ file: name, pem: pems[name] })
const tls = (more: string): string =>
  `listeners:\n  - url: tls://127.0.0.1:1\n    tls: { cert: server.pem, key: server.key, ${more} }`

test('revocation lists, and certificates by host', () => {
  const given = tls(
    "ca: /ca.pem, requestCert: true, crl: [/ca.crl], sni: [{ hosts: [A.example, '*.b.example'], cert: /ca.pem, key: server.key }]",
  )
  expect(load({ file: given }).listeners[0]!.tls).toEqual({
    cert: file('etc/server.pem'),
    key: file('etc/server.key'),
    ca: file('/ca.pem'),
    requestCert: true,
    crl: [file('/ca.crl')],
    sni: [{ hosts: ['a.example', '*.b.example'], cert: file('/ca.pem'), key: file('etc/server.key') }],
  })
})

const pair = 'cert: server.pem, key: server.key'
const host = 'must be a host name like mqtt.example.com, or *.example.com'
describe('what is wrong with a listener, and where', () => {
  for (const [given, wanted] of [
    [tls('crl: [/ca.crl]'), 'etc/godwit.yaml:3:52: listeners.0.tls.crl: is of no use without requestCert: true'],
    [
      tls('ca: /ca.pem, requestCert: true, crl: []'),
      'etc/godwit.yaml:3:84: listeners.0.tls.crl: must list a file, or be left out, not []',
    ],
    [
      tls('ca: /ca.pem, requestCert: true, crl: [/ca.crl, /ca.pem]'),
      'etc/godwit.yaml:3:94: listeners.0.tls.crl.1: /ca.pem holds no "-----BEGIN X509 CRL-----"',
    ],
    [
      tls(`sni: [{ hosts: [a], cert: no.pem, key: server.key }]`),
      'etc/godwit.yaml:3:73: listeners.0.tls.sni.0.cert: cannot read etc/no.pem: no such file',
    ],
    [
      tls(`sni: [{ hosts: [a], cert: server.pem, kee: server.key }]`),
      'etc/godwit.yaml:3:53: listeners.0.tls.sni.0.key: is missing: must be a file name\n' +
        'etc/godwit.yaml:3:85: listeners.0.tls.sni.0.kee: unknown key, did you mean "key"?',
    ],
    ...['*', '*.', 'a.*', '*.*.a', 'a b', 'a..b', '.a', ''].map((name) => [
      tls(`sni: [{ hosts: ['${name}'], ${pair} }]`),
      `etc/godwit.yaml:3:63: listeners.0.tls.sni.0.hosts.0: ${host}, not "${name}"`,
    ]),
    [
      tls(`sni: [{ hosts: [a, b], ${pair} }, { hosts: [c, B], ${pair} }]`),
      'etc/godwit.yaml:3:120: listeners.0.tls.sni.1.hosts.1: b stands further up already',
    ],
  ] as const)
    test(wanted, () => expect(complaint({ file: given })).toBe(wanted))
})

test('peers that are proxies, origins, and how often one may connect', () => {
  const config = load({
    file: `
listeners: [{ url: 'ws://127.0.0.1:1', proxy: [10.0.0.7, 10.1.0.0/16, '::1', '2001:db8::/32'], origins: ['https://a.example', 'null'] }]
rates: { connections: { perSecond: 5 } }
`,
  })
  expect(config.listeners[0]).toMatchObject({
    proxy: ['10.0.0.7', '10.1.0.0/16', '::1', '2001:db8::/32'],
    origins: ['https://a.example', 'null'],
  })
  expect(config.connectionRates).toEqual({ atOnce: 100, perSecond: 5, neighbours: 65_536 })
})

const peer = 'must be an address like 10.0.0.1, or a network like 10.0.0.0/8'
const origin = 'must be an origin like https://app.example.com, null, or *'
describe('what is wrong with peers and origins', () => {
  for (const [text, wanted] of [
    ...[
      '10.0.0',
      '10.0.0.1/33',
      '10.0.0.1/',
      '10.0.0.1/8/8',
      '::/129',
      'a.example',
      '*',
      '10.0.0.1/08',
      'fe80::1%1',
    ].map((given) => [`proxy: ['${given}']`, `1:50: listeners.0.proxy.0: "${given}": ${peer}`] as const),
    ['proxy: []', '1:49: listeners.0.proxy: must list a peer, or be left out, not []'],
    ...['a.example', 'https://a.example/', '*.example', ''].map(
      (given) => [`origins: ['${given}']`, `1:52: listeners.0.origins.0: "${given}": ${origin}`] as const,
    ),
    ['proxies: []', '1:42: listeners.0.proxies: unknown key'],
  ] as const)
    test(text, () =>
      expect(complaint({ file: `listeners: [{ url: 'ws://127.0.0.1:1/a', ${text} }]` })).toBe(
        `etc/godwit.yaml:${wanted}`,
      ),
    )

  test('origins where there are none', () =>
    expect(complaint({ file: "listeners: [{ url: 'tcp://127.0.0.1:1', origins: ['*'] }]" })).toBe(
      'etc/godwit.yaml:1:50: listeners.0.origins: tcp://127.0.0.1:1 is no WebSocket: nothing there has an origin',
    ))

  for (const [text, wanted] of [
    ['atOnce: 0', '1:33: rates.connections.atOnce: must be a whole number from 1 to 1000000, not 0'],
    ['per: 1', '1:25: rates.connections.per: unknown key'],
  ] as const)
    test(`rates.connections: ${text}`, () =>
      expect(complaint({ file: `rates: { connections: { ${text} } }` })).toContain(`etc/godwit.yaml:${wanted}`))
})
