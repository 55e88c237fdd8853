import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { beforeAll, describe, expect, test } from 'vitest'
import { openAdmin } from '../../src/admin/listener.ts'
import { FakeControl, fakeTenants } from '../admin/fake-control.ts'
import { cluster, identity, Post } from '../platform/cluster-kit.ts'
import { noRefusals, recordedLog } from '../admin/kit.ts'
import { startBroker, temporaryFolder } from '../support/broker.ts'
import { type Certificates, listenerTls, makeCertificates } from '../support/certificates.ts'
import { SeededRandom } from '../support/random.ts'
import { connectBytes, gone, greeted, portOf, transports } from './kit.ts'

let ours: Certificates
beforeAll(async () => void (ours = await makeCertificates()))

const random = new SeededRandom(20_261_121)
const noise = (bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, () => random.below(256)))
const hello = '16030100050100000100'

/** What none of the ports wants. */
const garbage: Record<string, Buffer> = {
  'a byte': noise(1),
  noise: noise(200),
  'much noise': noise(300_000),
  zeros: Buffer.alloc(100_000),
  'all ones': Buffer.alloc(100_000, 0xff),
  'a line without an end': Buffer.alloc(100_000, 0x41),
  'TLS that lies about its length': Buffer.from(hello, 'hex'),
  'TLS records without an end': Buffer.concat(new Array<Buffer>(2000).fill(Buffer.from('160301000101', 'hex'))),
  'half of HTTP': Buffer.from('GET / HTTP/1.1\r\nhost'),
  'HTTP with two lengths': Buffer.from(
    'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef',
  ),
  'chunks that lie': Buffer.from(
    'POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n',
  ),
  'HTTP/2': Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  'a PROXY line': Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n'),
  'CONNECT that promises 256 MB': Buffer.concat([Buffer.from('10ffffff7f', 'hex'), noise(1024)]),
  'a length of five bytes': Buffer.from('10ffffffff01', 'hex'),
  'PUBLISH first': Buffer.from('300300016178', 'hex'),
  'CONNECT and then noise': Buffer.concat([connectBytes, noise(5000)]),
}

/** Sends it, and goes on for as long as it is let. */
async function thrown(socket: Socket, bytes: Buffer): Promise<void> {
  socket.on('error', () => {}).resume()
  socket.write(bytes)
  socket.end()
  await gone(socket)
}

describe('abuse 29: garbage at every port', () => {
  for (const transport of transports)
    test(`${transport}: closed, nothing thrown, and who is honest comes in`, async () => {
      const broker = await startBroker({ tls: listenerTls(ours) })
      const port = portOf(broker, transport)
      const isSecure = transport === 'tls' || transport === 'wss'
      for (const bytes of Object.values(garbage)) {
        await thrown(connect(port, '127.0.0.1'), bytes)
        if (isSecure) await thrown(connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }), bytes)
      }
      expect(broker.log.filter(({ level }) => level === 'error')).toEqual([])
      ;(await greeted(broker, transport))!()
    })

  test('the admin port', async () => {
    const { log, lines } = recordedLog()
    const where = {
      host: '127.0.0.1',
      port: 0,
      chosen: true,
      tokenFile: undefined,
      data: temporaryFolder(),
      audited() {},
    }
    const admin = await openAdmin({
      ...where,
      control: new FakeControl(),
      tenants: fakeTenants,
      refusals: noRefusals,
      log,
    })
    for (const bytes of Object.values(garbage))
      await thrown(connect(Number(new URL(admin.url).port), '127.0.0.1'), bytes)
    expect(lines).toEqual([])
    expect((await fetch(`${admin.url}/ready`)).status).toBe(200)
    await admin.close()
  })

  test('the cluster port: before any state of a peer', async () => {
    const { directory } = await cluster()
    const a = await new Post(await identity({ node: 'a', directory }), { directory }).listen()
    for (const bytes of Object.values(garbage)) {
      await thrown(connect(a.port, '127.0.0.1'), bytes)
      for (const ALPNProtocols of [['godwit/1'], ['godwit-join'], ['mqtt']])
        await thrown(connectTls({ port: a.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols }), bytes)
    }
    expect(a.accepted).toEqual([])
    expect(a.log.all.filter(({ level }) => level === 'error')).toEqual([])
    const b = new Post(await identity({ node: 'b', directory }))
    expect((await b.dial(a.address)).peer).toBe('a')
  })
})
