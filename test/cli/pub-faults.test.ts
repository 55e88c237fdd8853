import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { accept, listen, startScripted } from './brokers.ts'
import { Godwit, godwit } from './godwit.ts'

describe('a broker that says no', () => {
  for (const [name, version, code, wanted] of [
    ['3.1.1: bad password', 4, 4, 'bad user name or password (0x04)'],
    ['3.1.1: not authorized', 4, 5, 'not authorized (0x05)'],
    ['5: not authorized', 5, 0x87, 'not authorized (0x87)'],
    ['5: QoS', 5, 0x9b, 'QoS not supported (0x9b)'],
    ['5: a code from the future', 5, 0xf0, 'reason (0xf0)'],
  ] as const)
    test(`refuses the connection, ${name}`, async () => {
      const port = await startScripted((_packet, { send }) => {
        send({ cmd: 'connack', returnCode: code, reasonCode: code, sessionPresent: false })
      }, version)
      expect(
        await godwit(['pub', '-V', version === 5 ? '5' : '3.1.1', '-p', String(port), '-t', 'a', '-m', 'x']),
      ).toEqual({
        code: 5,
        out: '',
        err: `error: mqtt://127.0.0.1:${port} refused the connection: ${wanted}\n`,
      })
    })

  test('refuses the connection, and says why: shown, but harmless', async () => {
    const port = await startScripted((_packet, { send }) => {
      const properties = { reasonString: 'go\u001b[2J away' }
      send({ cmd: 'connack', reasonCode: 0x8a, sessionPresent: false, properties })
    })
    const { err } = await godwit(['pub', '-V', '5', '-p', String(port), '-t', 'a', '-m', 'x'])
    expect(err).toBe(`error: mqtt://127.0.0.1:${port} refused the connection: banned (0x8a): go\\u001b[2J away\n`)
  })

  for (const qos of [1, 2])
    test(`refuses a message of QoS ${qos}`, async () => {
      const port = await startScripted((packet, conversation) => {
        if (packet.cmd !== 'publish') return accept(packet, conversation)
        const messageId = packet.messageId!
        const properties = { reasonString: 'full' }
        conversation.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId, reasonCode: 0x97, properties })
      })
      const args = ['pub', '-V', '5', '-p', String(port), '-t', 'a', '-l', '-q', String(qos)]
      expect(await godwit(args, { input: '1\n2\n' })).toEqual({
        code: 5,
        out: '',
        err: '0 messages were acknowledged before this:\nerror: the broker refused the message: quota exceeded (0x97): full\n',
      })
    })

  test('closes with a reason in the middle', async () => {
    const port = await startScripted((packet, conversation) => {
      if (packet.cmd !== 'publish') return accept(packet, conversation)
      conversation.send({ cmd: 'disconnect', reasonCode: 0x95 })
      conversation.socket.end()
    })
    expect(await godwit(['pub', '-V', '5', '-p', String(port), '-t', 'a', '-m', 'x', '-q', '1'])).toEqual({
      code: 5,
      out: '',
      err: `error: lost the connection to mqtt://127.0.0.1:${port}: packet too large (0x95)\n`,
    })
  })

  test('closes without a word in the middle', async () => {
    const port = await startScripted((packet, conversation) => {
      if (packet.cmd === 'publish') conversation.socket.destroy()
      else accept(packet, conversation)
    })
    const { code, err } = await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x', '-q', '1'])
    expect(code).toBe(1)
    expect(err).toBe(`error: lost the connection to mqtt://127.0.0.1:${port}: the broker closed the connection\n`)
  })

  for (const [name, properties, flags, wanted] of [
    ['QoS 2', { maximumQoS: 1 }, ['-q', '2'], 'this broker takes QoS 1 at most'],
    ['retained messages', { retainAvailable: false }, ['-r'], 'this broker keeps no retained messages'],
    ['room for a large message', { maximumPacketSize: 11 }, [], 'a message of 1 bytes: this broker takes 0 at most'],
    ['topic aliases', {}, ['-D', 'publish', 'topic-alias', '1'], 'cannot publish: Sending Topic Alias out of range'],
  ] as const)
    test(`has no ${name}`, async () => {
      const port = await startScripted((packet, conversation) => {
        if (packet.cmd !== 'connect') return accept(packet, conversation)
        conversation.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties })
      })
      const { code, err } = await godwit(['pub', '-V', '5', '-p', String(port), '-t', 'a', '-m', 'x', ...flags])
      expect([code === 0, err]).toEqual([false, `error: ${wanted}\n`])
    })
})

test('a broker that throws us out for a message of QoS 0', async () => {
  const port = await startScripted((packet, conversation) => {
    accept(packet, conversation)
    if (packet.cmd === 'connect') conversation.socket.once('data', () => conversation.socket.resetAndDestroy())
  })
  const { code, err } = await godwit(['pub', '-p', String(port), '-t', 'a', '-s'], { input: Buffer.alloc(3_000_000) })
  expect(code).toBe(1)
  expect(err).toMatch(/^error: (the broker closed before it had read everything|lost the connection to .*): .*reset\n$/)
})

describe('no broker there', () => {
  test('nobody listens', async () => {
    const server = createServer()
    const port = await listen(server)
    await new Promise((resolve) => server.close(resolve))
    const wanted = { code: 1, out: '', err: `error: cannot connect to mqtt://127.0.0.1:${port}: connection refused\n` }
    expect(await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x'])).toEqual(wanted)
    expect(await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x', '--quiet'])).toEqual({ ...wanted, err: '' })
    const { err } = await godwit(['pub', '-L', `ws://127.0.0.1:${port}`, '-t', 'a', '-m', 'x'])
    expect(err).toBe(`error: cannot connect to ws://127.0.0.1:${port}/mqtt: connection refused\n`)
  })

  test('somebody else listens', async () => {
    const port = await listen(createServer((socket) => socket.end('HTTP/1.1 404 Not Found\r\n\r\n')))
    const { code, err } = await godwit(['pub', '-L', `ws://127.0.0.1:${port}`, '-t', 'a', '-m', 'x'])
    expect([code, err]).toEqual([
      1,
      `error: cannot connect to ws://127.0.0.1:${port}/mqtt: Unexpected server response: 404\n`,
    ])
  })

  test('something else listens, and does not hang up', async () => {
    const port = await listen(createServer((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')))
    const { code, err } = await godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x'])
    expect(code).toBe(1)
    expect(err).toMatch(/^error: cannot connect to mqtt:\/\/127\.0\.0\.1:\d+: this is no MQTT: .+\n$/)
  })

  test('Ctrl-C while it connects', async () => {
    let connected = (): void => {}
    const asked = new Promise<void>((resolve) => (connected = resolve))
    const port = await listen(createServer(() => connected()))
    const command = new Godwit(['pub', '-p', String(port), '-t', 'a', '-m', 'x'])
    await asked
    command.signal('SIGINT')
    expect(await command.code).toBe(130)
    expect([command.err.text, command.listening]).toEqual(['', 0])
  })
})

const whatFor = 'what? -m TEXT, -f FILE, -l (lines of stdin), -s (all of stdin) or -n (nothing)'
describe('flags that make no sense end with 2', () => {
  for (const [args, wanted] of [
    [
      ['-t', 'a/#', '-m', 'x'],
      `option '-t, --topic <topic>' argument 'a/#' is invalid. topic name "a/#" contains a wildcard.`,
    ],
    [['-L', 'mqtt://h/a/+', '-m', 'x'], '-L: topic name "a/+" contains a wildcard.'],
    [['-m', 'x'], 'where to? -t TOPIC'],
    [['-t', 'a'], whatFor],
    [['-t', 'a', '-m', 'x', '-n'], `option '-m, --message <text>' cannot be used with option '-n, --null-message'`],
    [
      ['-t', 'a', '-q', '3', '-m', 'x'],
      `option '-q, --qos <qos>' argument '3' is invalid. It is a whole number from 0 to 2.`,
    ],
    [
      ['-t', 'a', '-p', '0', '-m', 'x'],
      `option '-p, --port <port>' argument '0' is invalid. It is a whole number from 1 to 65535.`,
    ],
    [
      ['-t', 'a', '-m', 'x', '-V', '6'],
      `option '-V, --protocol-version <version>' argument '6' is invalid. It is mqttv31, mqttv311 or mqttv5.`,
    ],
    [
      ['-t', 'a', '-m', 'x', '-V', '4'],
      `option '-V, --protocol-version <version>' argument '4' is invalid. It is mqttv31, mqttv311 or mqttv5.`,
    ],
    [
      ['-t', 'a', '-m', 'x', '-L', 'mqtt://h', '-h', 'g'],
      `option '-h, --host <host>' cannot be used with option '-L, --url <url>'`,
    ],
    [
      ['-t', 'a', '-m', 'x', '-L', 'http://h'],
      `option '-L, --url <url>' argument 'http://h' is invalid. Write it like mqtt://127.0.0.1:1883/topic, with mqtt, mqtts, ws or wss.`,
    ],
    [['-t', 'a', '-m', 'x', '-P', 'p'], 'a password needs a user name: -u'],
    [['-t', 'a', '-m', 'x', '-c'], '-c needs -i: a session is found by its client id'],
    [['-t', 'a', '-m', 'x', '-x', '9'], '-x needs -V mqttv5'],
    [['-t', 'a', '-m', 'x', '--will-retain'], 'a will needs --will-topic'],
    [['-t', 'a', '-m', 'x', '-L', 'mqtt://h', '--cafile', 'x'], 'mqtt:// does not use TLS: make it mqtts://'],
    [['-t', 'a', '-m', 'x', '--cafile', 'x', '--key', 'y'], '--cert and --key go together'],
    [['-t', 'a', '-m', 'x', '-V', '3.1.1', '-D', 'publish', 'content-type', 'a'], '-D needs -V mqttv5'],
    [
      ['-t', 'a', '-m', 'x', '-D', 'publish', 'content-typ', 'a'],
      `-D: publish has no property "content-typ", only topic-alias, payload-format-indicator, message-expiry-interval, content-type, response-topic, correlation-data, user-property`,
    ],
    [['-t', 'a', '-m', 'x', '--quiet', '-c'], '-c needs -i: a session is found by its client id'],
    [['-t', 'a', '-m', 'x', '--nonsense'], `unknown option '--nonsense'`],
  ] as const)
    test(args.join(' '), async () => {
      expect(await godwit(['pub', ...args])).toEqual({ code: 2, out: '', err: `error: ${wanted}\n` })
    })
})

test('a file that is not there', async () => {
  const { code, err } = await godwit(['pub', '-t', 'a', '-f', '/nowhere/at/all'])
  expect([code, err]).toEqual([1, 'error: cannot read /nowhere/at/all: no such file\n'])
})
