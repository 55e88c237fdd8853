import { once } from 'node:events'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import type * as x509 from '@peculiar/x509'
import { beforeAll, describe, expect, test } from 'vitest'
import type { PemFile, TlsSettings } from '../../src/config/listener.ts'
import { Client } from '../clients/kit.ts'
import { AuthFiles } from '../support/auth.ts'
import { Authority, type Issued } from '../support/authority.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { connectBytes } from './kit.ts'

let ours: Authority
let theirs: Authority
let server: Issued
let device: Issued
beforeAll(async () => {
  ;[ours, theirs] = await Promise.all([Authority.make('ours'), Authority.make('theirs')])
  ;[server, device] = await Promise.all([ours.issue('CN=server'), ours.issue('CN=device')])
})

function asking(crl: PemFile[] = [], more: Partial<TlsSettings> = {}): TlsSettings {
  return { ...server, ca: ours.cert, requestCert: true, ...(crl.length > 0 && { crl }), ...more }
}

/** Does it get in over this transport? */
async function isWelcome(broker: TestBroker, transport: 'tls' | 'wss', { cert, key }: Issued): Promise<boolean> {
  try {
    const client = await Client.join(broker, 5, { transport, ca: ours.cert.pem, cert: cert.pem, key: key.pem })
    await client.mqtt.endAsync(true)
    return true
  } catch {
    return false
  }
}

/** A TLS connection as far as CONNACK; undefined when the broker closes it. */
async function greeted(broker: TestBroker, options: ConnectionOptions): Promise<TLSSocket | undefined> {
  const port = Number(new URL(broker.tls).port)
  const socket = connect({ host: '127.0.0.1', port, ca: ours.cert.pem, ...options })
  socket.on('error', () => {}).write(connectBytes)
  const answered = await new Promise((resolve) => {
    socket.once('data', () => resolve(true)).once('close', () => resolve(false))
  })
  return answered ? socket : undefined
}

describe('the host that a client asks for decides on the certificate', () => {
  test('exactly, by *., or the own one of the listener; and each can be asked for its certificate', async () => {
    const [exact, wild, second] = await Promise.all(['CN=exact', 'CN=wild', 'CN=second'].map((cn) => ours.issue(cn)))
    const crl = [await ours.revoke([second!])]
    const sni = [
      { ...exact!, hosts: ['a.example.com', 'a.example.org'] },
      { ...wild!, hosts: ['*.example.com'] },
    ]
    const broker = await startBroker({ tls: asking(crl, { sni }) })
    for (const [servername, shown] of [
      ['a.example.com', 'exact'],
      ['A.Example.ORG', 'exact'],
      ['b.example.com', 'wild'],
      ['b.a.example.com', 'server'],
      ['example.com', 'server'],
      ['elsewhere', 'server'],
      [undefined, 'server'],
    ] as const) {
      const options = { checkServerIdentity: () => undefined, ...(servername !== undefined && { servername }) }
      const socket = await greeted(broker, { ...options, cert: device.cert.pem, key: device.key.pem })
      expect([servername, socket?.getPeerCertificate().subject.CN]).toEqual([servername, shown])
      socket!.destroy()
      // The lists hold whichever certificate is shown.
      expect(await greeted(broker, { ...options, cert: second!.cert.pem, key: second!.key.pem })).toBeUndefined()
      expect(await greeted(broker, options)).toBeUndefined()
    }
  })
})

for (const transport of ['tls', 'wss'] as const)
  describe(`abuse 17: client certificates over ${transport}`, () => {
    test('revoked, expired, not yet good, of another authority: refused', async () => {
      const hourMs = 3_600_000
      const [revoked, expired, early, stranger] = await Promise.all([
        ours.issue('CN=revoked'),
        ours.issue('CN=expired', { fromMs: Date.now() - 2 * hourMs, toMs: Date.now() - hourMs }),
        ours.issue('CN=early', { fromMs: Date.now() + hourMs, toMs: Date.now() + 2 * hourMs }),
        theirs.issue('CN=device'),
      ])
      const broker = await startBroker({ tls: asking([await ours.revoke([revoked])]) })
      for (const bad of [revoked, expired, early, stranger])
        expect([bad.cert.file, await isWelcome(broker, transport, bad)]).toEqual([bad.cert.file, false])
      expect(broker.node.broker.connections).toBe(0)
      expect(await isWelcome(broker, transport, device)).toBe(true)
      const why = broker.log.filter(({ message }) => message === 'a TLS handshake failed').map(({ fields }) => fields)
      const codes = ['CERT_REVOKED', 'CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE']
      expect(why.map((fields) => fields['why'])).toEqual(codes)
      expect(why[0]!['remote']).toMatch(/^127\.0\.0\.1:[1-9]/)
    })

    test('odd names, where the common name is the user: one as it stands there, or none at all', async () => {
      const files = new AuthFiles()
      for (const [name, { pem }] of Object.entries({ cert: server.cert, key: server.key, ca: ours.cert }))
        files.write(name, pem)
      const { auth } = files.config(`auth: { certificate: { user: cn } }
listeners: [{ url: '${transport}://127.0.0.1:0', tls: { cert: cert, key: key, ca: ca, requestCert: true } }]`)
      const broker = await startBroker({ tls: asking(), config: { auth } })
      let count = 0
      /** The user that it logs in as; undefined when it is refused. */
      const userOf = async ({ cert, key }: Issued): Promise<string | undefined> => {
        // Another name each time: who has failed by one would wait before the next attempt.
        const username = `odd ${count++}`
        const shown = { transport, ca: ours.cert.pem, cert: cert.pem, key: key.pem, clientId: 'odd', username }
        const client = await Client.join(broker, 5, shown).catch(() => undefined)
        const user = client && broker.node.broker.sessions.get('odd')?.username
        await client?.mqtt.endAsync(true)
        return user
      }
      for (const [name, user] of [
        [[{ CN: ['device'] }], 'device'],
        [[{ CN: ['a/CN=admin, CN=admin'] }], 'a/CN=admin, CN=admin'],
        [[{ O: ['CN=admin'] }, { CN: ['device'] }], 'device'],
        [[{ CN: ['device'] }, { CN: ['admin'] }], undefined],
        [[{ CN: ['device', 'admin'] }], undefined],
        [[{ O: ['admin'] }], undefined],
        [[{ CN: ['admin\0.example'] }], undefined],
        [[{ CN: ['a\nb'] }], undefined],
      ] as const) {
        const odd = await ours.issue(name as unknown as x509.JsonName)
        expect([name, await userOf(odd)]).toEqual([name, user])
      }
    })

    test('a list that has expired refuses, and the log says so', async () => {
      const old = await ours.revoke([], Date.now() - 1000)
      const broker = await startBroker({ tls: asking([old]) })
      expect(await isWelcome(broker, transport, device)).toBe(false)
      const worries = broker.log.filter(({ level }) => level === 'error')
      // Of both listeners.
      expect(worries).toHaveLength(2)
      expect(worries[0]!.message).toMatch(/^ours.crl: the revocation list of CN=ours has expired \(20/)
      await broker.reload(asking([await ours.revoke([])]))
      expect(await isWelcome(broker, transport, device)).toBe(true)
      await broker.reload(asking([old]))
      expect(broker.log.filter(({ level }) => level === 'error')).toHaveLength(4)
      expect(await isWelcome(broker, transport, device)).toBe(false)
    })

    test('a list of another authority refuses: nothing is known of ours', async () => {
      const broker = await startBroker({ tls: asking([await theirs.revoke([])]) })
      expect(await isWelcome(broker, transport, device)).toBe(false)
    })

    test('several lists, in one file or in two', async () => {
      const [first, second] = [await ours.revoke([]), await theirs.revoke([])]
      const both = { file: 'both.crl', pem: `${second.pem}\n${first.pem}` }
      for (const crl of [[both], [second, first]])
        expect(await isWelcome(await startBroker({ tls: asking(crl) }), transport, device)).toBe(true)
    })
  })

test('one who is here stays when its certificate is revoked, and does not come in again, by a resumed session neither', async () => {
  const broker = await startBroker({ tls: asking([await ours.revoke([])]) })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    await broker.reload(asking([await ours.revoke([])]))
    const sessions: Buffer[] = []
    const proof = { cert: device.cert.pem, key: device.key.pem, minVersion: version, maxVersion: version }
    const here = await greeted(broker, proof)
    here!.on('session', (session: Buffer) => sessions.push(session))
    // A session comes with the bytes behind the handshake.
    here!.write(Buffer.from('c000', 'hex'))
    await once(here!, 'data')
    sessions.push(here!.getSession()!)
    await broker.reload(asking([await ours.revoke([device])]))
    for (const session of sessions) expect(await greeted(broker, { ...proof, session })).toBeUndefined()
    here!.write(Buffer.from('c000', 'hex'))
    expect((await once(here!, 'data'))[0]).toEqual(Buffer.from('d000', 'hex'))
    here!.destroy()
  }
})

test('a file that cannot be used: named, and the old ones stay', async () => {
  const broker = await startBroker({ tls: asking() })
  const bad = { file: 'bad.pem', pem: '-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n' }
  const badList = { file: 'bad.crl', pem: '-----BEGIN X509 CRL-----\nnone\n-----END X509 CRL-----\n' }
  const badKey = { file: 'bad.key', pem: '-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n' }
  for (const [settings, why] of [
    [asking([], { cert: bad }), /^bad\.pem cannot be used: /],
    [asking([], { key: badKey }), /^bad\.key cannot be used: /],
    [asking([], { key: device.key }), 'CN=device.key is not the key to CN=server.pem'],
    [asking([], { ca: bad }), /^bad\.pem cannot be used: /],
    [asking([{ file: 'no.crl', pem: 'nothing' }]), 'no.crl holds no revocation list'],
    [asking([badList]), /^bad\.crl cannot be used: /],
    [asking([], { sni: [{ hosts: ['a'], cert: bad, key: device.key }] }), /^bad\.pem cannot be used: /],
    [asking([], { sni: [{ hosts: ['a'], cert: server.cert, key: device.key }] }), 'CN=device.key is not the key to'],
  ] as const) {
    await expect(broker.reload(settings)).rejects.toThrow(why)
    expect(await isWelcome(broker, 'tls', device)).toBe(true)
  }
})

test('a certificate of our own that has expired: the log says so', async () => {
  const old = await ours.issue('CN=old', { fromMs: Date.now() - 2000, toMs: Date.now() - 1000 })
  const broker = await startBroker({ tls: { ...old, requestCert: false } })
  expect(broker.log.find(({ level }) => level === 'error')!.message).toMatch(/^CN=old.pem has expired \(.*GMT\): /)
})
