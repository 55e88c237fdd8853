import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import type { TlsSettings } from '../../src/config/listener.ts'
import { beforeAll, describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { type Certificates, listenerTls, makeCertificates } from '../support/certificates.ts'
import { Client, type JoinOptions, told } from './kit.ts'

let ours: Certificates
let others: Certificates
beforeAll(async () => {
  ;[ours, others] = await Promise.all([makeCertificates('ours'), makeCertificates('others')])
})

for (const transport of ['tls', 'wss'] as const)
  describe(transport, () => {
    const join = (broker: TestBroker, options: JoinOptions = {}): Promise<Client> =>
      Client.join(broker, 5, { transport, ca: ours.cert, ...options })
    const portOf = (broker: TestBroker): number => Number(new URL(broker[transport]).port)

    /** A TLS connection and no more. @throws what Node says when the handshake fails. */
    async function handshake(broker: TestBroker, options: ConnectionOptions = {}): Promise<TLSSocket> {
      const socket = connectTls({ host: '127.0.0.1', port: portOf(broker), ca: ours.cert, ...options })
      await once(socket, 'secureConnect')
      return socket
    }

    test('a certificate that the client does not trust', async () => {
      const broker = await startBroker({ tls: listenerTls(ours) })
      await expect(join(broker, { ca: others.cert })).rejects.toThrow(/self-signed certificate/)
      expect(broker.node.clients).toBe(0)
      expect((await join(broker)).connack.reasonCode).toBe(0)
    })

    test('a peer that does not shake hands holds no connection for ever', async () => {
      const broker = await startBroker({ tls: listenerTls(ours), limits: { connectSeconds: 1 } })
      const silent = connectTcp(portOf(broker), '127.0.0.1').resume()
      await once(silent, 'close')
      expect((await join(broker)).connack.reasonCode).toBe(0)
    })

    describe('a certificate is asked of the client', () => {
      const start = (): Promise<TestBroker> => startBroker({ tls: listenerTls(ours, true) })

      test('one that its authority has signed is welcome', async () => {
        const client = await join(await start(), { cert: ours.clientCert, key: ours.clientKey })
        await client.mqtt.subscribeAsync('a')
        await client.mqtt.publishAsync('a', 'x')
        expect(told(await client.next())).toBe('a=x q0')
      })

      for (const [name, own] of [
        ['none', () => ({})],
        ['one of a stranger', () => ({ cert: others.clientCert, key: others.clientKey })],
        ['one that has signed itself', () => ({ cert: others.cert, key: others.key })],
      ] as const)
        test(`${name} is refused`, async () => {
          const broker = await start()
          await expect(join(broker, own())).rejects.toThrow()
          expect(broker.node.broker.connections).toBe(0)
          const failed = broker.log.find(({ message }) => message === 'a TLS handshake failed')
          // Words, and nothing of where OpenSSL has found them.
          expect(failed?.fields['why']).toMatch(/^[\w -]+$/)
          // The listener lives on.
          expect((await join(broker, { cert: ours.clientCert, key: ours.clientKey })).connack.reasonCode).toBe(0)
        })
    })

    for (const [name, options, accepted] of [
      ['TLS 1.0', { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }, false],
      ['TLS 1.1', { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }, false],
      ['TLS 1.2', { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }, true],
      ['TLS 1.3', { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }, true],
      ['no forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256:AES256-SHA256' }, false],
      ['no authenticated encryption', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' }, false],
    ] as [string, ConnectionOptions, boolean][])
      test(`${name} is ${accepted ? 'accepted' : 'refused'}`, async () => {
        const broker = await startBroker({ tls: listenerTls(ours) })
        if (!accepted) {
          await expect(handshake(broker, options)).rejects.toThrow(/alert (protocol version|handshake failure)/)
          return
        }
        const socket = await handshake(broker, options)
        expect(socket.getProtocol()).toBe(options.maxVersion)
        socket.destroy()
      })

    test('other certificates for new clients; nobody is dropped', async () => {
      const broker = await startBroker({ tls: listenerTls(ours) })
      const before = await join(broker, { clientId: 'before' })
      await before.mqtt.subscribeAsync('a')
      await broker.reload(listenerTls(others))
      await expect(join(broker)).rejects.toThrow(/self-signed certificate/)
      const after = await join(broker, { clientId: 'after', ca: others.cert })
      const socket = await handshake(broker, { ca: others.cert })
      expect(socket.getPeerCertificate().subject.CN).toBe('others')
      socket.destroy()
      await after.mqtt.publishAsync('a', 'still here')
      expect(told(await before.next())).toBe('a=still here q0')
      // From now on clients must show one.
      await broker.reload(listenerTls(others, true))
      await expect(join(broker, { ca: others.cert })).rejects.toThrow()
      const known = { ca: others.cert, cert: others.clientCert, key: others.clientKey }
      await (await join(broker, known)).mqtt.publishAsync('a', 'known')
      expect(told(await before.next())).toBe('a=known q0')
      expect([before.mqtt.connected, after.mqtt.connected]).toEqual([true, true])
    })

    test('certificates that cannot be used leave the old ones in place', async () => {
      const broker = await startBroker({ tls: listenerTls(ours) })
      const bad: TlsSettings = { ...listenerTls(others), cert: { file: 'bad.pem', pem: 'no certificate' } }
      await expect((async () => broker.reload(bad))()).rejects.toThrow()
      const mixed: TlsSettings = { ...listenerTls(others), key: listenerTls(ours).key }
      await expect((async () => broker.reload(mixed))()).rejects.toThrow()
      expect((await join(broker)).connack.reasonCode).toBe(0)
    })

    test('a client that speaks no TLS', async () => {
      const broker = await startBroker({ tls: listenerTls(ours) })
      const plain = { ...broker, port: portOf(broker), ws: broker.wss.replace('wss', 'ws') }
      await expect(Client.join(plain, 5, { transport: transport === 'tls' ? 'tcp' : 'ws' })).rejects.toThrow()
      expect((await join(broker)).connack.reasonCode).toBe(0)
    })
  })
