import type { Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { accept, publish, startAedes, startScripted, type TestBroker } from './brokers.ts'
import { Godwit, godwit, type Given } from './godwit.ts'

interface Sent {
  readonly topic: string
  readonly payload: string | Buffer
  readonly retain?: boolean
  readonly qos?: 0 | 1 | 2
}

function send(broker: TestBroker, { topic, payload, retain = false, qos = 0 }: Sent): Promise<void> {
  const packet = { cmd: 'publish', topic, payload, qos, retain, dup: false } as const
  return new Promise((resolve, reject) => broker.aedes.publish(packet, (fault) => (fault ? reject(fault) : resolve())))
}

/** What `sub` shows of some messages: `before` it subscribes (retained), and after. */
async function shown(
  flags: readonly string[],
  messages: {
    readonly before?: readonly Sent[]
    readonly after?: readonly Sent[]
    /** What must have happened before those: retained messages come after the acknowledgement. */
    readonly between?: (command: Godwit, broker: TestBroker) => Promise<void>
  },
  given: Given = {},
): Promise<{ code: number; out: Buffer; err: string; broker: TestBroker }> {
  const broker = await startAedes()
  for (const message of messages.before ?? []) await send(broker, { ...message, retain: true })
  const subscribed = broker.subscribed()
  const command = new Godwit(['sub', '-p', String(broker.port), ...flags], given)
  await subscribed
  await messages.between?.(command, broker)
  for (const message of messages.after ?? []) await send(broker, message)
  return { code: await command.code, out: command.out.bytes, err: command.err.text, broker }
}

const hello = { topic: 'demo/hello', payload: 'hi' }
const empty = { topic: 'demo/none', payload: '' }
const binary = { topic: 'demo/raw', payload: Buffer.from([0xff, 0x00, 0x1b, 0x0a]) }
const nasty = { topic: 'demo/\u001b[2J', payload: 'a\u001b[31mred\u009b\tb\nc\r\u202e' }
const three = ['-t', 'demo/#', '-C', '3']

describe('what is shown', () => {
  const utf8 = (text: string): Buffer => Buffer.from(text)
  for (const [name, flags, after, out] of [
    ['payloads', ['-t', 'demo/#', '-C', '2'], [hello, hello], utf8('hi\nhi\n')],
    [
      'bytes stay bytes, and an empty payload is nothing',
      three,
      [hello, empty, binary],
      Buffer.concat([utf8('hi\n'), binary.payload, utf8('\n')]),
    ],
    [
      '-v',
      [...three, '-v'],
      [hello, empty, binary],
      Buffer.concat([utf8('demo/hello hi\ndemo/none (null)\ndemo/raw '), binary.payload, utf8('\n')]),
    ],
    ['-N', [...three, '-N'], [hello, hello, hello], utf8('hihihi')],
    [
      '-F',
      [...three, '-F', '%t|%p|%q|%r|%l\\t%x %%'],
      [hello, empty, binary],
      Buffer.concat([
        utf8('demo/hello|hi|0|0|2\t6869 %\ndemo/none||0|0|0\t %\ndemo/raw|'),
        binary.payload,
        utf8('|0|0|4\tff001b0a %\n'),
      ]),
    ],
    [
      '-T',
      ['-t', 'demo/#', '-T', 'demo/hello', '-T', '+/none', '-C', '1', '-v'],
      [hello, empty, { topic: 'demo/x', payload: 'x' }],
      utf8('demo/x x\n'),
    ],
    [
      'two filters',
      ['-t', 'a', '-t', 'b/+', '-C', '2', '-v'],
      [{ topic: 'a', payload: '1' }, hello, { topic: 'b/c', payload: '2' }],
      utf8('a 1\nb/c 2\n'),
    ],
    [
      'nasty text in a pipe is left alone',
      ['-t', '#', '-C', '1', '-v'],
      [nasty],
      utf8(`${nasty.topic} ${nasty.payload}\n`),
    ],
  ] as const)
    test(name, async () => {
      const { code, out: seen, err } = await shown(flags, { after })
      expect([code, seen.toString('latin1'), err]).toEqual([0, out.toString('latin1'), ''])
    })

  const safe = 'a\\u001b[31mred\\u009b\tb\nc\\u000d\\u202e'
  for (const [name, flags, out] of [
    ['a payload', [], `${safe}\n`],
    ['-v', ['-v'], `demo/\\u001b[2J ${safe}\n`],
    ['-F, whose own escapes do act', ['-F', '\\e[1m%t %p %C'], `\u001b[1mdemo/\\u001b[2J ${safe} \n`],
  ] as const)
    test(`nasty text on a terminal is harmless: ${name}`, async () => {
      const seen = await shown(['-t', '#', '-C', '1', ...flags], { after: [nasty] }, { terminal: true })
      expect(seen.out.toString()).toBe(out)
    })

  test('--json', async () => {
    const { out } = await shown([...three, '--json', '-q', '1'], { after: [{ ...hello, qos: 1 }, empty, binary] })
    const lines = out.toString().trimEnd().split('\n')
    const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(records.map(({ time: _time, messageId: _id, ...rest }) => rest)).toEqual([
      { schemaVersion: 1, topic: 'demo/hello', qos: 1, retain: false, payload: 'hi', encoding: 'utf8' },
      { schemaVersion: 1, topic: 'demo/none', qos: 0, retain: false, payload: '', encoding: 'utf8' },
      { schemaVersion: 1, topic: 'demo/raw', qos: 0, retain: false, payload: '/wAbCg==', encoding: 'base64' },
    ])
    expect(records[0]!['messageId']).toBeTypeOf('number')
    for (const { time } of records) expect(new Date(time as string).toISOString()).toBe(time)
  })

  test('--json on a terminal is still JSON, and harmless', async () => {
    const { out } = await shown(['-t', '#', '-C', '1', '--json'], { after: [nasty] }, { terminal: true })
    expect(out.toString()).toMatch(/^[\x20-\x7e]*\n$/)
    expect(JSON.parse(out.toString())).toMatchObject(nasty)
  })

  test('%J of something that is not JSON', async () => {
    const { out, err } = await shown(['-t', '#', '-C', '2', '-F', '%t %J'], {
      after: [hello, { topic: 'j', payload: '[1]' }],
    })
    expect(out.toString()).toMatch(
      /^demo\/hello \nj \{"tst":"[^"]+","topic":"j","qos":0,"retain":0,"payloadlen":3,"payload":\[1\]\}\n$/,
    )
    expect(err).toBe('the message on demo/hello is not valid JSON\n')
  })
})

describe('retained messages', () => {
  const before = [
    { topic: 'r/1', payload: 'old' },
    { topic: 'r/2', payload: 'old' },
  ]
  const after = [{ topic: 'r/3', payload: 'new' }]

  test('-R does not show them', async () => {
    const { out } = await shown(['-t', 'r/#', '-v', '-C', '1', '-R'], { before, after })
    expect(out.toString()).toBe('r/3 new\n')
  })

  test('--retained-only leaves at the first other message', async () => {
    const between = (command: Godwit): Promise<void> => command.out.until('r/2 old\n')
    const { code, out } = await shown(['-t', 'r/#', '-v', '--retained-only'], { before, between, after })
    expect([code, out.toString()]).toEqual([0, 'r/1 old\nr/2 old\n'])
  })

  test('--remove-retained clears them, but not those that -T names', async () => {
    const flags = ['-t', 'r/#', '-T', 'r/2', '--remove-retained', '-R', '-v', '-C', '2']
    const between = (_command: Godwit, { aedes }: TestBroker): Promise<void> =>
      new Promise((resolve) => void aedes.on('publish', (_packet, client) => client && resolve()))
    const { broker, out } = await shown(flags, { before, between, after })
    // What clears r/1 comes back to us like any message, as in mosquitto_sub.
    expect(out.toString()).toBe('r/1 (null)\nr/3 new\n')
    expect(broker.published).toEqual([{ topic: 'r/1', payload: Buffer.alloc(0), qos: 1, retain: true }])
  })
})

describe('the end', () => {
  test('-W', async () => {
    const { code, err } = await shown(['-t', 'a', '-W', '0.05'], {})
    expect([code, err]).toEqual([27, 'error: timed out\n'])
  })

  test('-W while it connects', async () => {
    const port = String(await startScripted(() => {}))
    expect((await godwit(['sub', '-p', port, '-t', 'a', '-W', '0.05'])).code).toBe(27)
  })

  test('-E', async () => {
    const { code, out, err } = await shown(['-t', 'a', '-E'], {})
    expect([code, out.length, err]).toEqual([0, 0, ''])
  })

  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    test(signal, async () => {
      const broker = await startAedes()
      const subscribed = broker.subscribed()
      const command = new Godwit(['sub', '-p', String(broker.port), '-t', 'a'])
      await subscribed
      command.signal(signal)
      expect([await command.code, command.err.text, command.listening]).toEqual([130, '', 0])
    })

  test('nobody reads stdout any more', async () => {
    const broker = await startAedes()
    const subscribed = broker.subscribed()
    const command = new Godwit(['sub', '-p', String(broker.port), '-t', 'a'])
    await subscribed
    command.out.screen.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
    expect([await command.code, command.err.text]).toEqual([0, ''])
  })

  test('-C acknowledges what it shows, and leaves the rest to the session', async () => {
    const acknowledged: number[] = []
    const port = await startScripted((packet, conversation) => {
      accept(packet, conversation)
      if (packet.cmd === 'puback') acknowledged.push(packet.messageId!)
      if (packet.cmd !== 'subscribe') return
      for (const messageId of [1, 2, 3, 4]) conversation.send(publish('a', String(messageId), { qos: 1, messageId }))
    })
    const command = await godwit([
      'sub',
      '-p',
      String(port),
      '-V',
      '5',
      '-c',
      '-i',
      'me',
      '-q',
      '1',
      '-t',
      'a',
      '-C',
      '2',
    ])
    expect(command).toEqual({ code: 0, out: '1\n2\n', err: '' })
    expect(acknowledged).toEqual([1, 2])
  })
})

describe('the conversation', () => {
  async function requests(flags: readonly string[]): Promise<Packet[]> {
    const packets: Packet[] = []
    const port = await startScripted((packet, conversation) => {
      packets.push(packet)
      accept(packet, conversation)
    })
    expect((await godwit(['sub', '-V', '5', '-p', String(port), '-i', 'me', ...flags])).code).toBe(0)
    return packets
  }

  test('one SUBSCRIBE for all filters, with options and properties', async () => {
    const properties = ['-D', 'subscribe', 'subscription-identifier', '7', '-D', 'subscribe', 'user-property', 'a', 'b']
    const flags = ['-t', 'a', '-t', '$share/g/b', '-q', '2', '--retain-as-published', '-E', ...properties]
    const packets = await requests(flags)
    expect(packets.map(({ cmd }) => cmd)).toEqual(['connect', 'subscribe', 'disconnect'])
    expect(packets[1]).toMatchObject({
      subscriptions: [
        { topic: 'a', qos: 2, rap: true },
        { topic: '$share/g/b', qos: 2, rap: true },
      ],
      properties: { subscriptionIdentifier: 7, userProperties: { a: 'b' } },
    })
  })

  test('-U alone unsubscribes, and leaves', async () => {
    const packets = await requests(['-c', '-U', 'a', '-U', 'b/#'])
    expect(packets.map(({ cmd }) => cmd)).toEqual(['connect', 'unsubscribe', 'disconnect'])
    expect(packets[0]).toMatchObject({ clean: false, properties: { sessionExpiryInterval: 4294967295 } })
    expect(packets[1]).toMatchObject({ unsubscriptions: ['a', 'b/#'] })
  })

  test('properties for DISCONNECT', async () => {
    const packets = await requests(['-t', 'a', '-E', '-D', 'disconnect', 'session-expiry-interval', '5'])
    expect(packets[2]).toMatchObject({ cmd: 'disconnect', properties: { sessionExpiryInterval: 5 } })
  })

  test('properties of messages', async () => {
    const properties = {
      contentType: 'text/plain',
      correlationData: Buffer.from('c'),
      messageExpiryInterval: 9,
      payloadFormatIndicator: true,
      responseTopic: 'r',
      subscriptionIdentifier: 7,
      userProperties: { a: ['1', '2'], b: '3' },
    }
    const port = await startScripted((packet, conversation) => {
      accept(packet, conversation)
      if (packet.cmd === 'subscribe') conversation.send(publish('a', 'x', { properties }))
    })
    const flags = ['sub', '-V', '5', '-p', String(port), '-t', 'a', '-C', '1']
    const { out } = await godwit([...flags, '-F', '%C|%D|%E|%F|%R|%S|%P|%A|'])
    expect(out).toBe('text/plain|c|9|1|r|7|a:1 a:2 b:3||\n')
    expect(JSON.parse((await godwit([...flags, '--json'])).out)).toMatchObject({
      properties: {
        contentType: 'text/plain',
        correlationData: 'Yw==',
        messageExpiryInterval: 9,
        payloadFormatIndicator: true,
        responseTopic: 'r',
        subscriptionIdentifier: 7,
        userProperties: [
          ['a', '1'],
          ['a', '2'],
          ['b', '3'],
        ],
      },
    })
  })
})
