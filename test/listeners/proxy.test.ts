import { Buffer } from 'node:buffer'
import { beforeAll, describe, expect, test } from 'vitest'
import { Proxies } from '../../src/platform/proxies.ts'
import { startBroker, type TestBroker, type TestBrokerOptions } from '../support/broker.ts'
import { type Certificates, listenerTls, makeCertificates } from '../support/certificates.ts'
import { connectBytes, dialed, gone, greeted, transports } from './kit.ts'

let ours: Certificates
beforeAll(async () => void (ours = await makeCertificates()))

/** A broker, and from where clients have come to it. */
async function start(proxy: string[] | undefined, more: TestBrokerOptions = {}) {
  const remotes: string[] = []
  const observer = { connected: ({ remote }: { remote: string }) => void remotes.push(remote) }
  const listener = proxy ? { proxy } : {}
  const broker = await startBroker({ tls: listenerTls(ours), observer, listener, ...more })
  return { broker, remotes }
}

function refusals(broker: TestBroker): unknown[] {
  return broker.log.filter(({ message }) => message === 'a connection was refused').map(({ fields }) => fields['why'])
}

const line = (address: string): string =>
  `PROXY ${address.includes(':') ? 'TCP6' : 'TCP4'} ${address} ${address} 5 6\r\n`
const binary = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336402c350075b', 'hex')

describe('abuse 18: PROXY and X-Forwarded-For', () => {
  for (const transport of transports) {
    test(`${transport}: a listed peer says for whom it speaks, before all else`, async () => {
      const { broker, remotes } = await start(['10.0.0.0/8', '127.0.0.1'])
      for (const first of [line('192.0.2.1'), binary, line('2001:db8::1'), 'PROXY UNKNOWN\r\n'])
        (await greeted(broker, transport, { first }))!()
      expect(remotes.map((remote) => remote.replace(/^127.*/, 'itself'))).toEqual([
        '192.0.2.1:5',
        '192.0.2.1:50000',
        '2001:db8::1:5',
        'itself',
      ])
    })

    test(`${transport}: a listed peer that says nothing of it, or what is no header, is closed`, async () => {
      const { broker, remotes } = await start(['127.0.0.1'])
      const all = [undefined, 'PROXY TCP4 127.0.0.1\r\n', 'PROXi ', `${line('::1').slice(0, -2)}\n`]
      for (const first of all)
        expect(await greeted(broker, transport, first === undefined ? {} : { first })).toBeUndefined()
      expect(remotes).toEqual([])
      expect(new Set(refusals(broker))).toEqual(
        new Set(['no PROXY header', 'a PROXY line with wrong addresses', 'a PROXY line with a wrong end']),
      )
    })

    test(`${transport}: a header of a peer that is not listed closes, and X-Forwarded-For says nothing`, async () => {
      for (const proxy of [undefined, ['10.0.0.0/8', '::1']]) {
        const { broker, remotes } = await start(proxy)
        for (const first of [line('192.0.2.1'), binary])
          expect(await greeted(broker, transport, { first })).toBeUndefined()
        expect(remotes).toEqual([])
        ;(await greeted(broker, transport, { headers: { 'x-forwarded-for': '192.0.2.1' } }))!()
        expect(remotes).toEqual([expect.stringMatching(/^127\.0\.0\.1:/)])
      }
    })
  }

  test('a header in any pieces', async () => {
    const { broker, remotes } = await start(['127.0.0.1'])
    const socket = (await dialed(broker, 'tcp')).setNoDelay(true)
    for (const byte of Buffer.concat([binary, connectBytes])) socket.write(Buffer.from([byte]))
    await new Promise((resolve) => socket.once('data', resolve))
    expect(remotes).toEqual(['192.0.2.1:50000'])
    socket.destroy()
  })

  for (const transport of ['ws', 'wss'] as const)
    test(`${transport}: X-Forwarded-For of a listed peer; what PROXY says is the truth`, async () => {
      const { broker, remotes } = await start(['127.0.0.1', '10.0.0.0/8'])
      const headers = { 'x-forwarded-for': '198.51.100.1, 192.0.2.7, 10.1.2.3' }
      ;(await greeted(broker, transport, { headers }))!()
      ;(await greeted(broker, transport, { headers, first: line('192.0.2.1') }))!()
      expect(remotes).toEqual(['192.0.2.7:0', '192.0.2.1:5'])
      for (const bad of ['', 'unknown', '192.0.2.1, x', '192.0.2.1, 1.2.3.4.5'])
        expect(await greeted(broker, transport, { headers: { 'x-forwarded-for': bad } })).toBeUndefined()
    })

  test('rates are those of who it speaks for: an address, or a /64; this machine’s own is no exception there', async () => {
    const connectionRates = { atOnce: 2, perSecond: 1000, neighbours: 100 }
    const { broker } = await start(['127.0.0.1'], { config: { connectionRates } })
    for (const address of ['127.0.0.1', '192.0.2.1', '::1', '::ffff:198.51.100.1', '2001:db8::1']) {
      const first = line(address)
      const [a, b] = [await greeted(broker, 'tcp', { first }), await greeted(broker, 'tls', { first })]
      expect([address, await greeted(broker, 'ws', { first })]).toEqual([address, undefined])
      a!()
      b!()
    }
    const first = line('2001:db8:0:0:ffff::1')
    const open = [await greeted(broker, 'tcp', { first }), await greeted(broker, 'ws', { first })]
    expect(await greeted(broker, 'tcp', { first: line('2001:db8::abcd') })).toBeUndefined()
    ;(await greeted(broker, 'tcp', { first: line('2001:db8:0:1::1') }))!()
    for (const close of open) close!()
    expect(new Set(refusals(broker))).toEqual(new Set(['too-many-at-once']))
  })

  test('a reload: other peers are listed, other rates hold, from the next connection on', async () => {
    const { broker, remotes } = await start(['127.0.0.1'])
    const first = line('192.0.2.1')
    ;(await greeted(broker, 'tcp', { first }))!()
    await broker.reload(undefined, { connectionRates: { atOnce: 1, perSecond: 1000, neighbours: 100 } })
    const one = await greeted(broker, 'tcp', { first })
    expect(await greeted(broker, 'tcp', { first })).toBeUndefined()
    one!()
    const listeners = broker.config.listeners.map((listener) => ({ ...listener, proxy: ['10.0.0.1'] }))
    await broker.reload(undefined, { listeners })
    expect(await greeted(broker, 'tcp', { first })).toBeUndefined()
    ;(await greeted(broker, 'tcp'))!()
    expect(remotes.map((remote) => remote.replace(/:.*/, ''))).toEqual(['192.0.2.1', '192.0.2.1', '127.0.0.1'])
  })

  test('half a header is no reason to wait for ever', async () => {
    const { broker } = await start(['127.0.0.1'], { limits: { connectSeconds: 1 } })
    const sockets = await Promise.all(transports.map((transport) => dialed(broker, transport)))
    for (const socket of sockets) socket.write('PROXY TCP4')
    await Promise.all(sockets.map(gone))
    expect(refusals(broker)).toEqual(['no CONNECT within 1 s'])
  })
})

test('this machine is exempt from rates, and nobody else', async () => {
  const connectionRates = { atOnce: 1, perSecond: 1, neighbours: 100 }
  const { broker } = await start(undefined, { config: { connectionRates } })
  for (const transport of transports) for (let i = 0; i < 3; i++) (await greeted(broker, transport))!()
})

describe('for whom a proxy speaks: the last one that is no proxy of ours', () => {
  const proxies = new Proxies(['10.0.0.0/8', '192.0.2.1', '2001:db8:1::/48'])
  for (const [header, wanted] of [
    ['203.0.113.1', '203.0.113.1'],
    ['203.0.113.1:4000', '203.0.113.1'],
    ['2001:db8::1', '2001:db8::1'],
    ['[2001:db8::1]:4000', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['1.1.1.1, 203.0.113.1', '203.0.113.1'],
    ['127.0.0.1, 203.0.113.1,10.0.0.1 , 192.0.2.1', '203.0.113.1'],
    ['203.0.113.1, 2001:db8:1::7', '203.0.113.1'],
    ['203.0.113.1, ::ffff:10.0.0.1', '203.0.113.1'],
    ['10.0.0.2, 10.0.0.1', '10.0.0.2'],
    ['203.0.113.1, nonsense', undefined],
    ['203.0.113.1, nonsense, 10.0.0.1', undefined],
    ['nonsense, 203.0.113.1', '203.0.113.1'],
    ['203.0.113.1,', undefined],
    ['fe80::1%eth0', undefined],
    ['', undefined],
    [undefined, undefined],
  ] as const)
    test(`${header} is ${wanted}`, () => expect(proxies.forwardedFor(header)?.address).toBe(wanted))
})
