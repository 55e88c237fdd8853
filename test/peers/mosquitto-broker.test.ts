import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { freePort, godwit, main, Program, run, temporary } from '../support/program.ts'
import { certificateFiles, levels, makeReady, manyLines, type Start, subscribed, succeeds, versions } from './kit.ts'

// `godwit pub` and `godwit sub` against Debian's mosquitto.

interface Mosquitto {
  readonly program: Program
  readonly port: number
  readonly wsPort: number
  readonly tlsPort: number
  readonly guardedPort: number
  readonly cafile: string
}

/** Starts one on free ports: plain, WebSocket, TLS with certificates of clients, and one that asks for a password. */
async function startMosquitto(): Promise<Mosquitto> {
  const folder = temporary()
  const { cert, key, clientCert, clientKey } = await certificateFiles(folder)
  const [port, wsPort, tlsPort, guardedPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
  const passwords = join(folder, 'passwords')
  await succeeds('mosquitto_passwd', ['-c', '-b', passwords, 'ann', 'secret'])
  const file = join(folder, 'mosquitto.conf')
  const lines = [
    'per_listener_settings true',
    'persistence false',
    'log_dest stderr',
    'log_type all',
    'max_queued_messages 0',
    // It would give up the rights that it needs to read the folder of this test.
    'user root',
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    `listener ${wsPort} 127.0.0.1`,
    'protocol websockets',
    'allow_anonymous true',
    `listener ${tlsPort} 127.0.0.1`,
    'allow_anonymous true',
    'require_certificate true',
    `certfile ${cert}`,
    `keyfile ${key}`,
    `cafile ${cert}`,
    `listener ${guardedPort} 127.0.0.1`,
    'allow_anonymous false',
    `password_file ${passwords}`,
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  const program = new Program('mosquitto', ['-c', file])
  await program.err.until('running')
  own = ['--cafile', cert, '--cert', clientCert, '--key', clientKey]
  return { program, port: port, wsPort, tlsPort, guardedPort, cafile: cert }
}

let mosquitto: Mosquitto
let own: string[]
let port: string
beforeEach(async () => {
  mosquitto = await startMosquitto()
  port = String(mosquitto.port)
  await makeReady(mosquitto.port)
})

const sub: Start = (args) => godwit(['sub', '-p', port, ...args])
const pub = (args: readonly string[], input?: string | Buffer): Promise<string> =>
  succeeds(process.execPath, [main, 'pub', '-p', port, ...args], input)

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
        expect((await subscriber.lines()).toSorted()).toEqual([
          `a/bytes ${qos} 0 00ff0a0d`,
          `a/kept ${qos} 0 78`,
          `a/none ${qos} 0 `,
          `a/text ${qos} 0 ${Buffer.from('grüße').toString('hex')}`,
        ])
      })

      test(`QoS ${qos}: 10,000 lines from stdin`, async () => {
        const subscriber = await subscribed(sub, [...V, ...q, '-t', 'a'], manyLines.length)
        await pub([...V, ...q, '-t', 'a', '-l'], `${manyLines.join('\n')}\n`)
        expect(await subscriber.lines()).toEqual(manyLines.map((line) => `a ${line}`))
      })
    }

    test('retained messages, -W, and a will', async () => {
      await pub([...V, '-q', '1', '-t', 'r', '-m', 'kept', '-r'])
      const watcher = await subscribed(sub, [...V, '-q', '2', '-t', 'will', '-t', 'r', '-F', '%t %p %q %r'], 2)
      const will = ['--will-topic', 'will', '--will-payload', 'gone', '--will-qos', '2']
      const device = await subscribed(sub, [...V, ...will])
      device.program.signal('SIGKILL')
      expect((await watcher.lines()).toSorted()).toEqual(['r kept 1 1', 'will gone 2 0'])
      expect(await godwit(['sub', '-p', port, ...V, '-t', 'silent', '-W', '0.2']).ended()).toMatchObject({ code: 27 })
    })

    test('a session that is kept has what came meanwhile', async () => {
      const kept = [...V, '-i', 'kept', '-c', '-q', '2', '-t', 'a', ...(version === 'mqttv5' ? ['-x', '300'] : [])]
      const first = await subscribed(sub, kept)
      first.program.signal('SIGTERM')
      expect(await first.program.code).toBe(130)
      for (const qos of [1, 2]) await pub([...V, '-q', String(qos), '-t', 'a', '-l'], '1\n2\n3\n')
      const again = await subscribed(sub, kept, 6)
      expect((await again.lines()).toSorted()).toEqual(['a 1', 'a 1', 'a 2', 'a 2', 'a 3', 'a 3'])
    })

    test('over WebSocket and TLS', async () => {
      const ws = ['-L', `ws://127.0.0.1:${mosquitto.wsPort}/mqtt`]
      const tls = ['-L', `mqtts://127.0.0.1:${mosquitto.tlsPort}`, ...own]
      for (const reach of [ws, tls]) {
        const subscriber = await subscribed(
          (args) => godwit(['sub', ...reach, ...args]),
          [...V, '-t', 'a', '-q', '2'],
          1,
        )
        await succeeds(process.execPath, [main, 'pub', ...reach, ...V, '-t', 'a', '-m', 'x', '-q', '2'])
        expect(await subscriber.lines()).toEqual(['a x'])
      }
      const bare = tls.slice(0, 4)
      const { code, err } = await godwit(['pub', ...bare, ...V, '-t', 'a', '-m', 'x', '-q', '1']).ended()
      expect(code).toBe(1)
      expect(err).toMatch(/^error: .*mqtts:.*\n$/)
    })

    test('a password: right, wrong, none', async () => {
      const reach = ['pub', '-p', String(mosquitto.guardedPort), ...V, '-t', 'a', '-m', 'x', '-q', '1']
      expect(await godwit([...reach, '-u', 'ann', '-P', 'secret']).ended()).toEqual({ code: 0, out: '', err: '' })
      for (const who of [['-u', 'ann', '-P', 'wrong'], []]) {
        const { code, err } = await godwit([...reach, ...who]).ended()
        expect(code).toBe(5)
        expect(err).toMatch(/not authorized/)
      }
    })
  })

test('properties of MQTT 5 are what mosquitto_sub shows', async () => {
  const V = ['-V', 'mqttv5']
  const property = (text: string): string[] => ['-D', ...text.split(' ')]
  const format = '%t %p %C %D %F %P %R'
  const both = await Promise.all([
    subscribed((args) => new Program('mosquitto_sub', ['-p', port, ...args]), [...V, '-t', 'a', '-F', format], 1),
    subscribed(sub, [...V, '-t', 'a', '-F', format], 1),
  ])
  await pub([
    ...V,
    ...['-t', 'a', '-m', 'x'],
    ...property('publish content-type text/plain'),
    ...property('publish correlation-data 17'),
    ...property('publish payload-format-indicator 1'),
    ...property('publish response-topic answers'),
    ...property('publish user-property one 1'),
    ...property('publish user-property one 2'),
  ])
  for (const subscriber of both) expect(await subscriber.lines()).toEqual(['a x text/plain 17 1 one:1 one:2 answers'])
})

test('a broker that goes away: pub says so, sub waits for it', async () => {
  const subscriber = await subscribed(sub, ['-t', 'a'])
  await mosquitto.program.kill()
  await subscriber.program.err.until('trying again')
  const { code, err } = await run(process.execPath, [main, 'pub', '-p', port, '-t', 'a', '-m', 'x'])
  expect([code, err]).toEqual([1, `error: cannot connect to mqtt://127.0.0.1:${port}: connection refused\n`])
})
