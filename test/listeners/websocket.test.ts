import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { isOrigin, welcomesOrigin } from '../../src/config/origins.ts'
import { startBroker } from '../support/broker.ts'
import { connectBytes, dialed, frame, gone, greeted } from './kit.ts'

describe('abuse 26: WebSocket', () => {
  for (const [origins, host, origin, requested, welcome] of [
    // Where only this machine can come: pages of this machine.
    [undefined, '127.0.0.1', 'http://localhost:3000', 'localhost:8083', true],
    [undefined, '127.0.0.1', 'http://127.0.0.1:8083', '127.0.0.1:8083', true],
    [undefined, '::1', 'https://[::1]', '[::1]:1', true],
    [undefined, '127.0.0.1', 'http://evil.example', '127.0.0.1:8083', false],
    // Its name now leads here.
    [undefined, '127.0.0.1', 'http://evil.example:8083', 'evil.example:8083', false],
    [undefined, 'localhost', 'http://localhost.evil.example', 'localhost', false],
    // Elsewhere: the host that was asked for, on any port.
    [undefined, '0.0.0.0', 'https://mqtt.example', 'mqtt.example', true],
    [undefined, '0.0.0.0', 'https://mqtt.example', 'MQTT.example:8083', true],
    [undefined, '::', 'http://[2001:db8::1]', '[2001:db8::1]:8083', true],
    [undefined, '0.0.0.0', 'https://app.example', 'mqtt.example', false],
    [undefined, '0.0.0.0', 'https://mqtt.example.evil', 'mqtt.example', false],
    [undefined, '0.0.0.0', 'https://mqtt.example', undefined, false],
    [undefined, '0.0.0.0', 'null', 'mqtt.example', false],
    [undefined, '0.0.0.0', 'null', undefined, false],
    [undefined, '0.0.0.0', 'file://', undefined, false],
    [undefined, '0.0.0.0', '', undefined, false],
    [undefined, '0.0.0.0', 'https://a, https://mqtt.example', 'mqtt.example', false],
    // A list is all that counts.
    [['https://app.example'], '0.0.0.0', 'https://app.example', 'mqtt.example', true],
    [['https://app.example'], '0.0.0.0', 'https://mqtt.example', 'mqtt.example', false],
    [['https://app.example'], '127.0.0.1', 'http://localhost', 'localhost', false],
    [['https://app.example'], '0.0.0.0', 'http://app.example', 'mqtt.example', false],
    [['https://app.example'], '0.0.0.0', 'https://app.example:444', 'mqtt.example', false],
    [['https://app.example'], '0.0.0.0', 'null', 'mqtt.example', false],
    [['null'], '0.0.0.0', 'null', 'mqtt.example', true],
    [[], '0.0.0.0', 'https://mqtt.example', 'mqtt.example', false],
    [['*'], '0.0.0.0', 'https://evil.example', 'mqtt.example', true],
  ] as const)
    test(`${origins ? `with ${origins.join() || 'nobody'} listed` : 'without a list'} at ${host}, called ${requested}: ${origin} is ${welcome ? 'welcome' : 'refused'}`, () =>
      expect(welcomesOrigin({ host, ...(origins && { origins }) }, origin, requested)).toBe(welcome))

  test('what is an origin', () => {
    for (const good of ['*', 'null', 'https://a.example', 'http://localhost:3000', 'https://[::1]:1'])
      expect([good, isOrigin(good)]).toEqual([good, true])
    for (const bad of [
      '',
      'a.example',
      'https://a.example/',
      'https://a.example/x',
      'https://A.example',
      'https://a:443',
    ])
      expect([bad, isOrigin(bad)]).toEqual([bad, false])
  })

  test('a bad Origin, or two, closes; none is no page', async () => {
    const broker = await startBroker({ listener: { origins: ['https://app.example'] } })
    for (const origin of ['https://evil.example', 'null', '', 'https://app.example, https://app.example'])
      expect(await greeted(broker, 'ws', { headers: { origin } })).toBeUndefined()
    ;(await greeted(broker, 'ws', { headers: { origin: 'https://app.example' } }))!()
    ;(await greeted(broker, 'ws'))!()
    const socket = new WebSocket(broker.ws, 'mqtt', { origin: 'https://evil.example' }).on('error', () => {})
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
    expect(response.statusCode).toBe(403)
    socket.terminate()
    expect(broker.node.broker.connections).toBeLessThanOrEqual(2)
    const origins = ['https://evil.example']
    await broker.reload(undefined, { listeners: broker.config.listeners.map((one) => ({ ...one, origins })) })
    ;(await greeted(broker, 'ws', { headers: { origin: 'https://evil.example' } }))!()
    expect(await greeted(broker, 'ws', { headers: { origin: 'https://app.example' } })).toBeUndefined()
  })

  for (const [name, count, size] of [
    ['2,000 headers', 2000, 1],
    ['a header too many', 101, 1],
    ['headers of 16 KiB', 20, 1000],
  ] as const)
    test(`${name}: 431`, async () => {
      const broker = await startBroker()
      const headers = Object.fromEntries(Array.from({ length: count }, (_, at) => [`x${at}`, 'y'.repeat(size)]))
      const upgrade = { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-protocol': 'mqtt' }
      const asked = request(broker.ws.replace('ws:', 'http:'), { headers: { ...upgrade, ...headers } })
      asked.on('error', () => {}).end()
      const [response] = (await once(asked, 'response')) as [IncomingMessage]
      expect(response.statusCode).toBe(431)
      asked.destroy()
      expect(broker.node.broker.connections).toBe(0)
    })

  test('an Origin behind a hundred headers is one all the same', async () => {
    const broker = await startBroker()
    const many = Object.fromEntries(Array.from({ length: 94 }, (_, at) => [`x${at}`, 'y']))
    expect(await greeted(broker, 'ws', { headers: { ...many, origin: 'http://evil.example' } })).toBeUndefined()
    ;(await greeted(broker, 'ws', { headers: many }))!()
  })

  test('fragments without an end: before CONNECT 64 KiB at most, then as many as a message may have', async () => {
    const broker = await startBroker()
    for (const before of [Buffer.alloc(0), frame(connectBytes)]) {
      const socket = await dialed(broker, 'ws')
      socket.write(
        'GET /mqtt HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n' +
          `sec-websocket-key: ${Buffer.alloc(16).toString('base64')}\r\nsec-websocket-protocol: mqtt\r\n\r\n`,
      )
      await once(socket, 'data')
      const closed = gone(socket)
      if (before.length > 0) socket.write(before)
      // A byte each: a message of them would be 2 MB, and hundreds of MB in memory.
      const fragment = frame(new Uint8Array(before.length > 0 ? 1 : 100), 0)
      socket.write(frame(Uint8Array.of(0x10), 2))
      const many = Buffer.concat(new Array<Buffer>(1000).fill(fragment))
      for (let i = 0; i < 100 && !socket.destroyed; i++) socket.write(many)
      await closed
    }
    const why = broker.log.map(({ fields, message }) => JSON.stringify(fields['why'] ?? message))
    expect(why.some((text) => /^.\d+ bytes without a CONNECT.$/.test(text))).toBe(true)
    ;(await greeted(broker, 'ws'))!()
  })
})
