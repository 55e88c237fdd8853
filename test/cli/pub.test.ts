import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { Packet } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { accept, startAedes, startScripted } from './brokers.ts'
import { Godwit, godwit } from './godwit.ts'

let folder: string
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'godwit-pub-'))))
afterAll(() => rmSync(folder, { recursive: true }))

const ok = { code: 0, out: '', err: '' }

describe('what is published', () => {
  const raw = Buffer.from([0xff, 0x00, 0x0a, 0x41])
  for (const [name, flags, input, payloads] of [
    ['-m', ['-m', 'hi'], undefined, ['hi']],
    ['-m that looks like a flag', ['-m', '-5'], undefined, ['-5']],
    ['-m nothing', ['-m', ''], undefined, ['']],
    ['-n', ['-n'], undefined, ['']],
    ['-s', ['-s'], raw, [raw]],
    ['-f', ['-f', 'FILE'], undefined, [raw]],
    ['-l', ['-l'], 'a\n\nb', ['a', '', 'b']],
    ['-l with a newline at the end, and carriage returns', ['-l'], 'a\r\nb\n', ['a\r', 'b']],
    ['-l of nothing', ['-l'], '', []],
    ['--repeat', ['-m', 'x', '--repeat', '3'], undefined, ['x', 'x', 'x']],
    ['--repeat with a delay', ['-m', 'x', '--repeat', '2', '--repeat-delay', '0.001'], undefined, ['x', 'x']],
  ] as const)
    for (const qos of [0, 1, 2])
      test(`${name} with QoS ${qos}`, async () => {
        const { port, published } = await startAedes()
        const file = join(folder, 'payload')
        writeFileSync(file, raw)
        const args = flags.map((flag) => (flag === 'FILE' ? file : flag))
        const given = input === undefined ? {} : { input }
        expect(await godwit(['pub', '-p', String(port), '-t', 'a/b', '-q', String(qos), ...args], given)).toEqual(ok)
        // QoS 0 has no acknowledgement: the connection's orderly end says that all has been read.
        const wanted = payloads.map((payload) => ({ topic: 'a/b', payload: Buffer.from(payload), qos, retain: false }))
        expect(published).toEqual(wanted)
      })

  test('-r is kept', async () => {
    const { port, published } = await startAedes()
    expect(await godwit(['pub', '-p', String(port), '-t', 'a', '-r', '-m', 'x', '-q', '1'])).toEqual(ok)
    expect(published[0]).toMatchObject({ topic: 'a', retain: true })
  })

  test('-L names the topic', async () => {
    const { port, published } = await startAedes()
    expect(await godwit(['pub', '-L', `mqtt://127.0.0.1:${port}/a%20b/c`, '-m', 'x', '-q', '1'])).toEqual(ok)
    expect(published[0]).toMatchObject({ topic: 'a b/c' })
  })

  test('100,000 lines arrive, in order', async () => {
    const { port, published } = await startAedes()
    const lines = Array.from({ length: 100_000 }, (_, at) => `line ${at}`)
    expect(await godwit(['pub', '-p', String(port), '-t', 'a', '-l', '-q', '1'], { input: lines.join('\n') })).toEqual(
      ok,
    )
    expect(published.map(({ payload }) => payload.toString())).toEqual(lines)
  })

  test('a slow broker holds stdin back', async () => {
    const line = Buffer.alloc(65_536, 'x').fill('\n', 65_535)
    const total = 48 * 2 ** 20
    let [given, taken, most] = [0, 0, 0]
    const port = await startScripted((packet, conversation) => {
      accept(packet, conversation)
      if (packet.cmd !== 'connect') return
      conversation.socket.on('data', (bytes: Buffer) => {
        taken += bytes.length
        conversation.socket.pause()
        afterTurns(10, () => conversation.socket.resume())
      })
    })
    const command = new Godwit(['pub', '-p', String(port), '-t', 'a', '-l'])
    const source = new Readable({
      read() {
        most = Math.max(most, given - taken)
        this.push(given < total ? line : null)
        given += line.length
      },
    })
    source.pipe(command.stdin)
    expect(await command.code).toBe(0)
    // What the kernel holds for a socket is a few megabytes; without backpressure it would be all of it.
    expect(most).toBeLessThan(total / 3)
  })
})

function afterTurns(turns: number, run: () => void): void {
  setImmediate(() => (turns > 0 ? afterTurns(turns - 1, run) : run()))
}

describe('the connection', () => {
  for (const [name, flags, wanted] of [
    ['defaults', [], { protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 60 }],
    ['-V mqttv31', ['-V', 'mqttv31'], { protocolId: 'MQIsdp', protocolVersion: 3 }],
    ['-V 5', ['-V', '5', '-k', '7', '-i', 'me'], { protocolVersion: 5, clientId: 'me', keepalive: 7 }],
    ['-u and -P', ['-u', 'me', '-P', 'secret'], { username: 'me', password: Buffer.from('secret') }],
    ['--pw-file', ['-u', 'me', '--pw-file', 'FILE'], { username: 'me', password: Buffer.from('from file') }],
    [
      '-c',
      ['-c', '-i', 'me', '-V', '5'],
      { clean: false, clientId: 'me', properties: { sessionExpiryInterval: 4294967295 } },
    ],
    ['-x', ['-x', '60', '-V', '5'], { clean: true, properties: { sessionExpiryInterval: 60 } }],
    ['-x -1', ['-x', '-1', '-V', '5'], { properties: { sessionExpiryInterval: 4294967295 } }],
    [
      '-D turns MQTT 5 on',
      ['-D', 'connect', 'receive-maximum', '9'],
      { protocolVersion: 5, properties: { receiveMaximum: 9 } },
    ],
    [
      'a will',
      [
        '--will-topic',
        'w',
        '--will-payload',
        'gone',
        '--will-qos',
        '1',
        '--will-retain',
        '-D',
        'will',
        'will-delay-interval',
        '3',
      ],
      {
        will: { topic: 'w', payload: Buffer.from('gone'), qos: 1, retain: true, properties: { willDelayInterval: 3 } },
      },
    ],
  ] as const)
    test(name, async () => {
      let connect: Packet | undefined
      const port = await startScripted(
        (packet, conversation) => {
          if (packet.cmd === 'connect') connect = packet
          accept(packet, conversation)
        },
        flags.some((flag) => flag === '5' || flag === '-D') ? 5 : 4,
      )
      const file = join(folder, 'password')
      writeFileSync(file, 'from file\nand more\n')
      const args = flags.map((flag) => (flag === 'FILE' ? file : flag))
      expect(await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x', ...args])).toEqual(ok)
      expect(connect).toMatchObject(wanted)
    })

  test('a client id of our own fits into MQTT 3.1', async () => {
    const ids: string[] = []
    const port = await startScripted((packet, conversation) => {
      if (packet.cmd === 'connect') ids.push(packet.clientId)
      accept(packet, conversation)
    }, 4)
    await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x'])
    await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x', '-I', 'mine-'])
    expect(ids[0]).toMatch(/^godwit-pub-[0-9a-f]{8}$/)
    expect(ids[1]).toBe(`mine-${process.pid}`)
  })
})

describe('MQTT 5', () => {
  test('properties go with each message', async () => {
    const published: Packet[] = []
    const port = await startScripted((packet, conversation) => {
      if (packet.cmd === 'publish') published.push(packet)
      accept(packet, conversation)
    })
    const words =
      'publish content-type text/plain publish message-expiry-interval 9 publish response-topic r publish correlation-data c'
    const more =
      'publish payload-format-indicator 1 publish user-property a 1 publish user-property a 2 publish user-property b 3'
    const flags = `${words} ${more}`.split(/ (?=publish)/).flatMap((property) => ['-D', ...property.split(' ')])
    expect(await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x', '-q', '1', ...flags])).toEqual(ok)
    expect(published[0]).toMatchObject({
      properties: {
        contentType: 'text/plain',
        messageExpiryInterval: 9,
        responseTopic: 'r',
        correlationData: Buffer.from('c'),
        payloadFormatIndicator: true,
        userProperties: { a: ['1', '2'], b: '3' },
      },
    })
  })

  test('a topic alias stands for the topic from the second message on', async () => {
    const published: unknown[] = []
    const port = await startScripted((packet, conversation) => {
      if (packet.cmd === 'publish') published.push([packet.topic, packet.properties?.topicAlias])
      if (packet.cmd !== 'connect') return accept(packet, conversation)
      conversation.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties: { topicAliasMaximum: 5 } })
    })
    const args = ['-t', 'a/long/topic', '-l', '-q', '1', '-D', 'publish', 'topic-alias', '5']
    expect(await godwit(['pub', '-p', String(port), ...args], { input: '1\n2\n3' })).toEqual(ok)
    expect(published).toEqual([
      ['a/long/topic', 5],
      ['', 5],
      ['', 5],
    ])
  })

  test('never more on the way than the receive maximum of the broker', async () => {
    let onTheWay = 0
    let most = 0
    const port = await startScripted((packet, { send }) => {
      if (packet.cmd === 'connect') {
        send({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties: { receiveMaximum: 3 } })
      } else if (packet.cmd === 'publish') {
        most = Math.max(most, ++onTheWay)
        setImmediate(() => {
          onTheWay--
          send({ cmd: 'puback', messageId: packet.messageId!, reasonCode: 0 })
        })
      }
    })
    const input = 'x\n'.repeat(100)
    expect(await godwit(['pub', '-V', '5', '-p', String(port), '-t', 'a', '-l', '-q', '1'], { input })).toEqual(ok)
    expect([onTheWay, most]).toEqual([0, 3])
  })

  test('a message that matches no subscription is no failure', async () => {
    const port = await startScripted((packet, conversation) => {
      if (packet.cmd !== 'publish') return accept(packet, conversation)
      conversation.send({ cmd: 'puback', messageId: packet.messageId!, reasonCode: 0x10 })
    })
    expect(await godwit(['pub', '-V', '5', '-p', String(port), '-t', 'a', '-m', 'x', '-q', '1'])).toEqual(ok)
  })
})

test('-d shows the packets', async () => {
  const { port } = await startAedes()
  const { err } = await godwit(['pub', '-p', String(port), '-i', 'me', '-t', 'a', '-m', 'x', '-q', '1', '-d'])
  expect(err.replace(/ m\d+/g, ' m1').split('\n')).toEqual([
    'Client me sending CONNECT',
    'Client me received CONNACK (0)',
    `Client me sending PUBLISH m1 q1 r0 'a' (1 bytes)`,
    'Client me received PUBACK m1',
    'Client me sending DISCONNECT',
    '',
  ])
})
