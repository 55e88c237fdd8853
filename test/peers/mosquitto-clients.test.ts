import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { bytes } from '../clients/kit.ts'
import { godwit, Program, run, startGodwit, temporary } from '../support/program.ts'
import { certificateFiles, levels, makeReady, manyLines, type Start, subscribed, succeeds, versions } from './kit.ts'

// Debian's mosquitto_pub, mosquitto_sub and mosquitto_rr against a godwit.

let port: string
beforeEach(async () => {
  const started = await startGodwit()
  port = String(started.port)
  await makeReady(started.port)
})

const sub: Start = (args) => new Program('mosquitto_sub', ['-p', port, ...args])
const pub = (args: readonly string[], input?: string | Buffer): Promise<string> =>
  succeeds('mosquitto_pub', ['-p', port, ...args], input)

for (const version of versions)
  describe(version, () => {
    const V = ['-V', version]

    for (const qos of levels) {
      const q = ['-q', String(qos)]

      test(`QoS ${qos}: messages arrive as they were sent`, async () => {
        const subscriber = await subscribed(sub, [...V, ...q, '-t', 'a/+', '-F', '%t %q %r %x'], 4)
        await pub([...V, ...q, '-t', 'a/text', '-m', 'grüße'])
        await pub([...V, ...q, '-t', 'a/none', '-n'])
        await pub([...V, ...q, '-t', 'a/bytes', '-s'], Buffer.of(0, 255, 10, 13))
        await pub([...V, ...q, '-t', 'a/kept', '-m', 'x', '-r'])
        expect(await subscriber.lines()).toEqual([
          `a/text ${qos} 0 ${Buffer.from('grüße').toString('hex')}`,
          `a/none ${qos} 0 `,
          `a/bytes ${qos} 0 00ff0a0d`,
          `a/kept ${qos} 0 78`,
        ])
      })

      test(`QoS ${qos}: 10,000 lines from stdin`, async () => {
        const subscriber = await subscribed(sub, [...V, ...q, '-t', 'a'], manyLines.length)
        await pub([...V, ...q, '-t', 'a', '-l'], `${manyLines.join('\n')}\n`)
        expect(await subscriber.lines()).toEqual(manyLines.map((line) => `a ${line}`))
      })
    }

    test('retained messages', async () => {
      for (const topic of ['r/1', 'r/2']) await pub([...V, '-q', '1', '-t', topic, '-m', 'kept', '-r'])
      const retained = [...V, '-t', 'r/#', '-v', '-W', '25']
      expect(await succeeds('mosquitto_sub', ['-p', port, ...retained, '-C', '2'])).toBe('r/1 kept\nr/2 kept\n')
      const fresh = await subscribed(sub, [...V, '-t', 'r/#', '-t', 'live', '-T', 'r/1'], 2)
      await pub([...V, '-t', 'live', '-m', 'x'])
      expect(await fresh.lines()).toEqual(['r/2 kept', 'live x'])
      await pub([...V, '-q', '1', '-t', 'r/1', '-n', '-r'])
      const remover = await subscribed(sub, [...V, '-t', 'r/#', '--remove-retained'])
      // What it clears, it gets itself, since it is subscribed.
      expect(await remover.program.out.until('r/2 (null)\n')).toContain('r/2 kept\n')
      await pub([...V, '-q', '1', '-t', 'r/3', '-m', 'last', '-r'])
      expect(await succeeds('mosquitto_sub', ['-p', port, ...retained, '-C', '1'])).toBe('r/3 last\n')
    })

    test('-W ends a subscriber that hears nothing', async () => {
      expect(await run('mosquitto_sub', ['-p', port, ...V, '-t', 'silent', '-W', '1'])).toMatchObject({ code: 27 })
    })

    test('a will fires when its client is killed, and not when it leaves', async () => {
      const watcher = await subscribed(sub, [...V, '-t', 'will/#', '-q', '2', '-F', '%t %p %q'], 1)
      const will = ['--will-topic', 'will/a', '--will-payload', 'gone', '--will-qos', '2', '--will-retain']
      const polite = await subscribed(sub, [...V, ...will])
      polite.program.signal('SIGTERM')
      await polite.program.code
      const device = await subscribed(sub, [...V, ...will])
      device.program.signal('SIGKILL')
      expect(await watcher.lines()).toEqual(['will/a gone 2'])
      const out = await succeeds('mosquitto_sub', ['-p', port, ...V, '-t', 'will/#', '-v', '-C', '1', '-W', '25'])
      expect(out).toBe('will/a gone\n')
    })

    test('a session that is kept has what came meanwhile', async () => {
      const kept = [...V, '-i', 'kept', '-c', '-q', '2', '-t', 'a', ...(version === 'mqttv5' ? ['-x', '300'] : [])]
      const first = await subscribed(sub, kept)
      first.program.signal('SIGTERM')
      await first.program.code
      for (const qos of [1, 2]) await pub([...V, '-q', String(qos), '-t', 'a', '-l'], '1\n2\n3\n')
      // QoS 2 is complete with its PUBREL, so it may come behind later QoS 1.
      const again = await subscribed(sub, kept, 6)
      expect((await again.lines()).toSorted()).toEqual(['a 1', 'a 1', 'a 2', 'a 2', 'a 3', 'a 3'])
    })

    test('a message of 1.5 MB', async () => {
      const file = join(temporary(), 'large')
      writeFileSync(file, bytes(1_500_000))
      const subscriber = await subscribed(sub, [...V, '-q', '1', '-t', 'large', '-F', '%t %l'], 1)
      await pub([...V, '-q', '1', '-t', 'large', '-f', file, '-r'])
      expect(await subscriber.lines()).toEqual(['large 1500000'])
      const hex = await succeeds('mosquitto_sub', ['-p', port, ...V, '-t', 'large', '-C', '1', '-F', '%x'])
      expect(hex.trim()).toBe(bytes(1_500_000).toString('hex'))
    })

    test('-U unsubscribes', async () => {
      const subscriber = await subscribed(sub, [...V, '-t', 'a', '-t', 'b', '-U', 'a'], 1)
      // UNSUBSCRIBE follows SUBSCRIBE; when a message to itself has come through, it has been heard.
      await pub([...V, '-t', 'b', '-m', 'x'])
      expect(await subscriber.lines()).toEqual(['b x'])
    })
  })

describe('mqttv5', () => {
  const V = ['-V', 'mqttv5']
  const property = (text: string): string[] => ['-D', ...text.split(' ')]

  test('properties of a message', async () => {
    const subscriber = await subscribed(sub, [...V, '-t', 'a', '-F', '%t %p %C %D %E %F %P %R'], 1)
    await pub([
      ...V,
      ...['-t', 'a', '-m', 'x'],
      ...property('publish content-type text/plain'),
      ...property('publish correlation-data 17'),
      ...property('publish message-expiry-interval 1000'),
      ...property('publish payload-format-indicator 1'),
      ...property('publish response-topic answers'),
      ...property('publish user-property one 1'),
      ...property('publish user-property one 2'),
      ...property('publish user-property another 3'),
    ])
    const [line] = await subscriber.lines()
    expect(line?.replace(/ (1000|99\d) /, ' ABOUT-1000 ')).toBe(
      'a x text/plain 17 ABOUT-1000 1 one:1 one:2 another:3 answers',
    )
  })

  test('subscription identifier, retain as published', async () => {
    const args = [...V, ...property('subscribe subscription-identifier 77'), '--retain-as-published']
    const subscriber = await subscribed(sub, [...args, '-t', 'a', '-F', '%t %r %S'], 2)
    await pub([...V, '-t', 'a', '-m', 'x'])
    await pub([...V, '-t', 'a', '-m', 'x', '-r'])
    expect(await subscriber.lines()).toEqual(['a 0 77', 'a 1 77'])
  })

  test('a topic alias for the lines of stdin', async () => {
    const subscriber = await subscribed(sub, [...V, '-t', 'long/name'], 3)
    await pub([...V, '-t', 'long/name', '-l', ...property('publish topic-alias 5')], 'a\nb\nc\n')
    expect(await subscriber.lines()).toEqual(['long/name a', 'long/name b', 'long/name c'])
  })

  test('receive maximum and maximum packet size of a subscriber', async () => {
    const args = [...V, ...property('connect receive-maximum 3'), ...property('connect maximum-packet-size 1000')]
    const subscriber = await subscribed(sub, [...args, '-q', '2', '-t', 'a'], 200)
    const lines = manyLines.slice(0, 200)
    // Too large for it: it is not sent, and stops nothing.
    await pub([...V, '-q', '1', '-t', 'a', '-m', 'x'.repeat(1000)])
    await pub([...V, '-q', '2', '-t', 'a', '-l'], `${lines.join('\n')}\n`)
    expect(await subscriber.lines()).toEqual(lines.map((line) => `a ${line}`))
  })

  test('a session without expiry ends with its connection', async () => {
    const kept = [...V, '-i', 'kept', '-c', '-x', '0', '-q', '1', '-t', 'a']
    const first = await subscribed(sub, kept)
    first.program.signal('SIGTERM')
    await first.program.code
    await pub([...V, '-q', '1', '-t', 'a', '-m', 'lost'])
    const again = await subscribed(sub, kept, 1)
    await pub([...V, '-q', '1', '-t', 'a', '-m', 'new'])
    expect(await again.lines()).toEqual(['a new'])
  })

  test('a delayed will', async () => {
    const watcher = await subscribed(sub, [...V, '-t', 'will/#'], 1)
    const will = ['--will-topic', 'will/a', '--will-payload', 'gone', ...property('will will-delay-interval 1')]
    const device = await subscribed(sub, [...V, ...will, '-i', 'device', '-c', '-x', '60'])
    device.program.signal('SIGKILL')
    expect(await watcher.lines()).toEqual(['will/a gone'])
  })

  test('three share the work', async () => {
    const members = await Promise.all([1, 2, 3].map(() => subscribed(sub, [...V, '-q', '1', '-t', '$share/g/jobs'])))
    const lines = manyLines.slice(0, 300)
    await pub([...V, '-q', '1', '-t', 'jobs', '-l'], `${lines.join('\n')}\n`)
    const end = await subscribed(sub, [...V, '-t', 'end'], 1)
    await pub([...V, '-t', 'end', '-m', ''])
    await end.lines()
    const came = members.map(({ program }) => program.out)
    for (const line of lines) {
      // Each line is with one of them, sooner or later.
      await Promise.any(came.map((out) => out.until(`jobs ${line}\n`)))
    }
    const all = came.flatMap(({ text }) => text.split('\n').filter((line) => line.startsWith('jobs')))
    expect(all.toSorted()).toEqual(lines.map((line) => `jobs ${line}`).toSorted())
  })

  test('mosquitto_rr gets its response', async () => {
    const responder = await subscribed(sub, [...V, '-t', 'service', '-F', '%t|%p|%R|%D'], 1)
    const asked = succeeds('mosquitto_rr', [
      '-p',
      port,
      ...V,
      '-t',
      'service',
      '-e',
      'answers',
      '-m',
      'question',
      '-W',
      '25',
    ])
    const [, payload, topic, correlation] = (await responder.lines())[0]!.split('|')
    expect([payload, topic]).toEqual(['question', 'answers'])
    const data = correlation ? property(`publish correlation-data ${correlation}`) : []
    await pub([...V, '-t', topic!, '-m', 'answer', ...data])
    expect(await asked).toBe('answer\n')
  })
})

test('over TLS, with a certificate of the client', async () => {
  const folder = temporary()
  const { cert, clientCert, clientKey } = await certificateFiles(folder)
  const file = join(folder, 'godwit.yaml')
  writeFileSync(
    file,
    `listeners:\n  - url: tls://127.0.0.1:0\n    tls: { cert: cert.pem, key: key.pem, ca: cert.pem, requestCert: true }\n`,
  )
  const started = await startGodwit(['--config', file])
  const reach = ['-h', '127.0.0.1', '-p', String(started.port), '--cafile', cert]
  const own = ['--cert', clientCert, '--key', clientKey]
  await succeeds('mosquitto_pub', [...reach, ...own, '-t', 'a', '-m', 'x', '-r', '-q', '1'])
  expect(await succeeds('mosquitto_sub', [...reach, ...own, '-t', 'a', '-v', '-C', '1'])).toBe('a x\n')
  expect((await run('mosquitto_pub', [...reach, '-t', 'a', '-m', 'x', '-q', '1'])).code).not.toBe(0)
})

test('$SYS tells who we are', async () => {
  expect(await succeeds('mosquitto_sub', ['-p', port, '-t', '$SYS/broker/version', '-C', '1', '-W', '25'])).toMatch(
    /^godwit version \d/,
  )
})

test('godwit sub writes what mosquitto_sub writes', async () => {
  const V = ['-V', 'mqttv5']
  const formats = ['%t|%p|%q|%r|%l|%x|%X', '%-12t|%12t|%010l|%5l', '%t|%C|%D|%E|%P|%R', '%t %%\\t\\n\\\\']
  for (const format of formats) {
    const args = [...V, '-q', '2', '-t', 'a/#', '-F', format, '-t', 'more']
    const both = await Promise.all([
      subscribed(sub, args, 3),
      subscribed((more) => godwit(['sub', '-p', port, ...more]), args, 3),
    ])
    const properties = ['-D', 'publish', 'content-type', 'x/y', '-D', 'publish', 'user-property', 'k', 'v']
    await pub([...V, '-q', '1', '-t', 'a/b', '-m', 'hello', ...properties])
    await pub([...V, '-q', '1', '-t', 'more', '-m', 'grüße', '-D', 'publish', 'response-topic', 'r'])
    await pub([...V, '-q', '1', '-t', 'a', '-n'])
    const outputs = await Promise.all(both.map(({ program }) => program.ended()))
    expect(outputs[1]).toEqual(outputs[0])
  }
})
