import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import { expect } from 'vitest'
import { type ClientOptions, WebSocket } from 'ws'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import { join, told } from './kit.ts'
import {
  bytes,
  clausesLogged,
  connect,
  each,
  hex,
  only5,
  packet,
  transports,
  u16,
  type Version,
  versions,
} from './wire.ts'

// Sections 4.2, 6 and 7: what carries the packets, and where they begin in it.

/** What a client might say in one go, and the answers. */
async function dialogue(broker: TestBroker, version: Version) {
  const other = await RawClient.open(broker, version)
  const connack = await other.bytes(connect(version, { payload: ['other'], keepAliveSeconds: 60 })).expect('connack')
  const none = only5(version)
  const request = bytes(
    connect(version, { payload: ['c'], keepAliveSeconds: 60 }),
    packet(0x82, u16(1), none, 'a/b', 1),
    packet(0x32, 'a/b', u16(2), none, 'x'.repeat(200)),
    packet(0x40, u16(1)),
    packet(0xa2, u16(3), none, 'a/b'),
    hex('c0 00'),
  )
  return {
    request,
    answers: {
      connack: connack.raw,
      suback: packet(0x90, u16(1), none, 1),
      publish: packet(0x32, 'a/b', u16(1), none, 'x'.repeat(200)),
      puback: packet(0x40, u16(2)),
      unsuback: version === 5 ? packet(0xb0, u16(3), none, 0) : packet(0xb0, u16(3)),
      pingresp: hex('d0 00'),
    },
  }
}

for (const transport of transports)
  covers(
    ['5:MQTT-4.2-1', '5:MQTT-6.0.0-2', '3.1.1:MQTT-6.0.0-2', '3.1.1:MQTT-7.1.1-1', '3.1.1:MQTT-7.0.0-2'],
    `packets are found wherever they begin and end in the stream, over ${transport}`,
    async () => {
      const broker = await startBroker()
      for (const version of versions) {
        const { request, answers } = await dialogue(broker, version)
        for (const size of [1, 2, 3, 5, 7, 16, 64, 250, request.length]) {
          const client = await RawClient.open(broker, version, transport)
          for (let at = 0; at < request.length; at += size) client.bytes(request.subarray(at, at + size))
          for (const [cmd, raw] of Object.entries(answers))
            expect((await client.expect(cmd as keyof typeof answers)).raw).toEqual(raw)
          await client.disconnect()
        }
      }
      expect(clausesLogged(broker)).toEqual([])
    },
  )

/** A WebSocket, and the frames that came through it. */
async function dial(broker: TestBroker, protocols: string | string[] = 'mqtt', options: ClientOptions = {}) {
  const socket = new WebSocket(broker.ws, protocols, options)
  const frames: (readonly [isBinary: boolean, data: Buffer])[] = []
  socket.on('message', (data: Buffer, isBinary) => frames.push([isBinary, data]))
  await once(socket, 'open')
  return { socket, frames }
}

covers(
  ['5:MQTT-6.0.0-2', '3.1.1:MQTT-6.0.0-2'],
  'a packet may be spread over the fragments of a WebSocket message, with pings between, and empty ones',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const { request, answers } = await dialogue(broker, version)
      const { socket, frames } = await dial(broker)
      let pongs = 0
      socket.on('pong', () => pongs++)
      socket.send(Buffer.alloc(0))
      for (let at = 0; at < request.length; at += 3) {
        socket.send(request.subarray(at, at + 3), { binary: true, fin: false })
        if (at % 30 === 0) socket.ping('still there?')
      }
      socket.send(Buffer.alloc(0), { binary: true, fin: true })
      const wanted = bytes(...Object.values(answers))
      const came = () => bytes(...frames.map(([, data]) => data))
      while (came().length < wanted.length) await once(socket, 'message')
      expect(came()).toEqual(wanted)
      expect(pongs).toBeGreaterThan(5)
      socket.terminate()
    }
  },
)

covers(
  ['5:MQTT-6.0.0-4', '3.1.1:MQTT-6.0.0-3', '3.1.1:MQTT-6.0.0-4'],
  'the WebSocket subprotocol is "mqtt", and nobody gets in without it',
  async () => {
    const broker = await startBroker()
    for (const offered of ['mqtt', ['mqtt'], ['mqttv3.1', 'mqtt'], ['mqtt', 'other']]) {
      const { socket } = await dial(broker, offered)
      expect(socket.protocol).toBe('mqtt')
      socket.terminate()
    }
    // What clients of MQTT 3.1 offer, which says nothing of WebSockets.
    const { socket: old } = await dial(broker, 'mqttv3.1')
    expect(old.protocol).toBe('mqttv3.1')
    old.terminate()
    for (const [url, offered, status] of [
      [broker.ws, [], 400],
      [broker.ws, ['MQTT'], 400],
      [broker.ws, ['other', 'mqtts'], 400],
      [broker.ws.replace('/mqtt', '/other'), ['mqtt'], 404],
    ] as const) {
      const socket = new WebSocket(url, [...offered]).on('error', () => {})
      const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
      expect(response.statusCode).toBe(status)
      socket.terminate()
    }
  },
)

covers(
  ['5:MQTT-6.0.0-1', '3.1.1:MQTT-6.0.0-1', '3.1.1:MQTT-7.0.0-2'],
  'what the server sends is binary, and no extension of WebSocket is wanted',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const { socket, frames } = await dial(broker, 'mqtt', { perMessageDeflate: true })
      expect(socket.extensions).toBe('')
      socket.send(connect(version))
      await once(socket, 'message')
      socket.send(hex('c0 00'))
      await once(socket, 'message')
      expect(frames.map(([isBinary]) => isBinary)).toEqual([true, true])
      socket.terminate()
    }
  },
)

covers(
  ['5:MQTT-6.0.0-1', '3.1.1:MQTT-6.0.0-1'],
  'a text frame closes the connection, and nothing that comes with it counts',
  async () => {
    const broker = await startBroker()
    const witness = await join(broker, 'witness')
    await witness.subscribe('#')
    for (const version of versions) {
      const request = connect(version, { flags: 6, payload: ['c', only5(version), 'gone', 'x'] })
      const publish = packet(0x30, 'a', only5(version), 'x')
      for (const before of ['nothing', 'CONNECT', 'half a packet']) {
        const { socket } = await dial(broker)
        if (before !== 'nothing') {
          socket.send(request)
          await once(socket, 'message')
        }
        if (before === 'half a packet') socket.send(publish.subarray(0, 3))
        socket.send(before === 'nothing' ? request.toString('latin1') : publish.toString('latin1'), { binary: false })
        socket.send(before === 'nothing' ? request : publish)
        const [code] = (await once(socket, 'close')) as [number]
        expect(code).toBe(1003)
        // As if the network had failed: the will is published, and only that.
        if (before !== 'nothing') expect(told(await witness.expect('publish'))).toBe('gone=x q0')
        await witness.expectQuiet()
      }
    }
    expect(clausesLogged(broker)).toEqual(new Array(9).fill('MQTT-6.0.0-1'))
  },
)

covers(
  ['5:MQTT-6.0.0-1', '3.1.1:MQTT-6.0.0-1'],
  'a frame of a type that there is not, or that breaks the rules of WebSocket, closes the connection',
  async () => {
    const frames = {
      'a reserved data frame': '83 80 00 00 00 00',
      'the last reserved data frame': '87 80 00 00 00 00',
      'a reserved control frame': '8b 80 00 00 00 00',
      'a frame without a mask': '82 02 c0 00',
      'a reserved bit': 'c2 82 00 00 00 00 c0 00',
      'a fragment of nothing': '80 82 00 00 00 00 c0 00',
      'a message within a message': '02 81 00 00 00 00 c0 82 81 00 00 00 00 00',
    }
    const broker = await startBroker()
    await each(frames, async (frame) => {
      const upgrade = request(broker.ws.replace('ws:', 'http:'), {
        headers: {
          connection: 'upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': Buffer.alloc(16).toString('base64'),
          'sec-websocket-protocol': 'mqtt',
        },
      })
      upgrade.end()
      const [, socket] = (await once(upgrade, 'upgrade')) as [unknown, Socket]
      const came: Buffer[] = []
      socket.on('data', (chunk: Buffer) => came.push(chunk))
      socket.on('error', () => {})
      socket.write(hex(frame))
      await once(socket, 'close')
      // Close, 1002: a protocol error.
      expect(Buffer.concat(came)).toEqual(hex('88 02 03 ea'))
    })
    await (await join(broker, 'other')).expectQuiet()
    expect(broker.node.broker.connections).toBe(1)
  },
)

covers(['5:MQTT-4.2-1', '3.1.1:MQTT-7.1.1-1'], 'a large message comes whole and in order, either way', async () => {
  const broker = await startBroker()
  const payload = Buffer.alloc(1_500_000)
  for (let at = 0; at < payload.length; at += 4) payload.writeUInt32BE(at, at)
  for (const transport of transports)
    for (const version of versions) {
      const client = await RawClient.connect(broker, version, {}, transport)
      await client.subscribe('large')
      client.publish('large', payload)
      const { raw } = await client.expect('publish')
      expect(raw.equals(packet(0x30, 'large', only5(version), payload))).toBe(true)
      await client.disconnect()
    }
})

covers(['3.1.1:MQTT-7.0.0-2'], 'clients of every version and transport exchange messages', async () => {
  const broker = await startBroker()
  const clients: RawClient[] = []
  for (const transport of transports)
    for (const version of versions) {
      const client = await join(broker, `${version}${transport}`, version, {}, transport)
      await client.subscribe('to/+', 2)
      clients.push(client)
    }
  for (const [n, client] of clients.entries()) {
    client.publish(`to/${n}`, 'x', { qos: 1, messageId: 1 })
    for (const other of clients) expect(told(await other.expect('publish'))).toBe(`to/${n}=x q1`)
    await client.expect('puback')
  }
})
