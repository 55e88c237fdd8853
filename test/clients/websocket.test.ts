import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { startBroker } from '../support/broker.ts'
import { Client, told, versions } from './kit.ts'

/** One HTTP exchange: status, headers and body. */
async function http(url: string, headers: Record<string, string> = {}): Promise<[IncomingMessage, string]> {
  const asked = request(url.replace('ws:', 'http:'), { headers }).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  return [response, await text(response)]
}

const upgrade = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
}

describe('abuse 26: what is no MQTT over WebSocket', () => {
  test('a browser that opens the address is told what to do', async () => {
    const { ws } = await startBroker()
    const [{ statusCode, headers }, body] = await http(ws)
    expect([statusCode, headers.upgrade, headers['content-type']]).toEqual([426, 'websocket', 'text/plain'])
    expect(body).toBe('This is an MQTT broker. Connect a WebSocket to /mqtt with the subprotocol "mqtt".\n')
  })

  for (const [name, path, headers, status, why] of [
    ['a wrong path', '/', { 'sec-websocket-protocol': 'mqtt' }, 404, 'no WebSocket at /; use /mqtt'],
    ['a longer path', '/mqtt/x', { 'sec-websocket-protocol': 'mqtt' }, 404, 'no WebSocket at /mqtt/x; use /mqtt'],
    ['no subprotocol', '/mqtt', {}, 400, 'the WebSocket subprotocol must be "mqtt"'],
    ['another subprotocol', '/mqtt', { 'sec-websocket-protocol': 'stomp, mqttx' }, 400, 'must be "mqtt"'],
    ['no key', '/mqtt', { 'sec-websocket-protocol': 'mqtt', 'sec-websocket-key': '' }, 400, ''],
    ['an old version', '/mqtt', { 'sec-websocket-protocol': 'mqtt', 'sec-websocket-version': '7' }, 400, ''],
  ] as const)
    test(`${name}: ${status}`, async () => {
      const broker = await startBroker()
      const [response, body] = await http(new URL(path, broker.ws).href, { ...upgrade, ...headers })
      expect(response.statusCode).toBe(status)
      expect(body).toContain(why)
      expect(broker.node.broker.connections).toBe(0)
      expect((await Client.join(broker, 5, { transport: 'ws' })).connack.reasonCode).toBe(0)
    })

  test('a text frame ends the connection with 1003', async () => {
    const { ws } = await startBroker()
    const socket = new WebSocket(ws, 'mqtt')
    await once(socket, 'open')
    socket.send('hello')
    expect((await once(socket, 'close'))[0]).toBe(1003)
  })
})

for (const [offered, chosen] of [
  [['mqtt'], 'mqtt'],
  [['mqttv3.1'], 'mqttv3.1'],
  [['mqttv3.1', 'mqtt'], 'mqtt'],
  [['other', 'mqtt'], 'mqtt'],
] as const)
  test(`of ${offered.join(', ')} the broker chooses ${chosen}`, async () => {
    const { ws } = await startBroker()
    const socket = new WebSocket(ws, [...offered])
    await once(socket, 'open')
    expect(socket.protocol).toBe(chosen)
    socket.terminate()
  })

test('a query behind the path is no other path', async () => {
  const broker = await startBroker()
  const client = await Client.join({ ...broker, ws: `${broker.ws}?token=x` }, 4, { transport: 'ws' })
  await client.mqtt.subscribeAsync('a')
  await client.mqtt.publishAsync('a', 'x')
  expect(told(await client.next())).toBe('a=x q0')
})

for (const version of versions)
  test(`${version}: clients of TCP and WebSocket talk to each other`, async () => {
    const broker = await startBroker()
    const tcp = await Client.join(broker, version)
    const ws = await Client.join(broker, version, { transport: 'ws' })
    await tcp.mqtt.subscribeAsync('to/tcp', { qos: 1 })
    await ws.mqtt.subscribeAsync('to/ws', { qos: 1 })
    await tcp.mqtt.publishAsync('to/ws', 'one', { qos: 1 })
    await ws.mqtt.publishAsync('to/tcp', 'two', { qos: 1 })
    expect([told(await ws.next()), told(await tcp.next())]).toEqual(['to/ws=one q1', 'to/tcp=two q1'])
  })
