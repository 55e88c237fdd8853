import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createConnection, createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { join } from 'node:path'
import { connect, type MqttClient } from 'mqtt'
import { afterEach, describe, expect, test } from 'vitest'
import { makeCertificates } from '../support/certificates.ts'
import { godwit, main, Program, root, run, screen, startGodwit, temporary } from '../support/program.ts'

// `godwit start` as a real process: what signals, pipes and exit codes make of it.

const clients = new Set<MqttClient>()
afterEach(async () => {
  await Promise.all([...clients].map((client) => client.endAsync(true)))
  clients.clear()
})

function client(port: number, protocolVersion: 3 | 4 | 5 = 5): MqttClient {
  const protocolId = protocolVersion === 3 ? 'MQIsdp' : 'MQTT'
  const mqtt = connect(`mqtt://127.0.0.1:${port}`, { protocolVersion, protocolId, reconnectPeriod: 0 })
  clients.add(mqtt)
  return mqtt
}

function happens(mqtt: MqttClient, event: 'connect' | 'close'): Promise<void> {
  return new Promise((resolve) => mqtt.once(event, () => resolve()))
}

/** A client that is told to go, and keeps its side of the connection open: it holds a drain up. */
async function stubborn(port: number): Promise<void> {
  const socket = createConnection({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {})
  socket.write(Buffer.from('101000044d51545405020000000003737475', 'hex'))
  await once(socket, 'data')
  socket.resume()
}

describe('the pair on the screen, pasted into a shell', () => {
  /** Pastes both lines, the second one until the first one has shown its message. */
  async function pasted(program: Program, cwd: string): Promise<string> {
    const line = (verb: string): string => new RegExp(`^  (\\S.* ${verb} .*)$`, 'm').exec(program.out.text)![1]!
    const subscriber = new Program('sh', ['-c', line('sub')], { cwd, group: true })
    const shown = subscriber.out.until('demo/hello hi\n')
    let waiting = true
    shown.finally(() => (waiting = false)).catch(() => {})
    // The subscriber does not say when the broker has heard it.
    while (waiting)
      expect(await run('sh', ['-c', line('pub')], { cwd, group: true })).toMatchObject({ code: 0, err: '' })
    return shown
  }

  test('in the checkout', async () => {
    const { program, port } = await startGodwit()
    expect(program.out.text).toContain(`  node dist/main.js sub -p ${port} -t 'demo/#' -v\n`)
    expect(await pasted(program, root)).toMatch(/^demo\/hello hi\n/)
  })

  test('from another folder, with an awkward path', async () => {
    const folder = temporary()
    const home = join(folder, `it's here`)
    cpSync(join(root, 'dist'), join(home, 'dist'), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'))
    cpSync(join(root, 'package.json'), join(home, 'package.json'))
    const program = new Program(
      process.execPath,
      ['--preserve-symlinks', join(home, 'dist/main.js'), 'start', '--listen', 'tcp://127.0.0.1:0'],
      { cwd: folder },
    )
    await screen(program)
    expect(await pasted(program, folder)).toMatch(/^demo\/hello hi\n/)
  })

  test('over TLS', async () => {
    const folder = temporary()
    const { cert, key } = await makeCertificates()
    writeFileSync(join(folder, 'cert.pem'), cert)
    writeFileSync(join(folder, 'key.pem'), key)
    const file = join(folder, 'godwit.yaml')
    writeFileSync(file, 'listeners: [{ url: "tls://127.0.0.1:0", tls: { cert: cert.pem, key: key.pem } }]\n')
    const { program } = await startGodwit(['--config', file])
    expect(await pasted(program, root)).toMatch(/^demo\/hello hi\n/)
  })
})

test('port 0 shows the port that the system chose', async () => {
  const { urls } = await startGodwit(['--listen', 'tcp://127.0.0.1:0', '--listen', 'ws://127.0.0.1:0'])
  expect(urls.map((url) => url.replace(/:[1-9]\d+/, ':PORT'))).toEqual([
    'tcp://127.0.0.1:PORT',
    'ws://127.0.0.1:PORT/mqtt',
  ])
  for (const url of urls) {
    const mqtt = connect(url, { reconnectPeriod: 0 })
    clients.add(mqtt)
    await happens(mqtt, 'connect')
  }
})

describe('SIGTERM', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    test(`${signal}: v5 clients are told, all are sent away, and it ends with 0`, async () => {
      const { program, port } = await startGodwit()
      const reasons: unknown[] = []
      const all = ([3, 4, 5] as const).map((version) => client(port, version))
      for (const mqtt of all) mqtt.on('disconnect', ({ reasonCode }) => reasons.push(reasonCode))
      await Promise.all(all.map((mqtt) => happens(mqtt, 'connect')))
      const closed = Promise.all(all.map((mqtt) => happens(mqtt, 'close')))
      program.signal(signal)
      await closed
      expect(await program.code).toBe(0)
      expect(reasons).toEqual([0x8b])
      expect(program.err.text).toMatch(/sending the clients away.*\n(.*\n)*.*"stopped"/)
    })

  test('while it waits for a stubborn client, nobody is let in', async () => {
    const { program, port } = await startGodwit()
    const polite = client(port)
    await Promise.all([stubborn(port), happens(polite, 'connect')])
    const closed = happens(polite, 'close')
    program.signal('SIGTERM')
    await closed
    const late = createConnection({ port, host: '127.0.0.1' })
    await expect(once(late, 'connect')).rejects.toThrow(/ECONNREFUSED/)
    expect(await program.code).toBe(0)
  })

  test('a second signal ends it at once, and not with 0', async () => {
    const { program, port } = await startGodwit()
    await stubborn(port)
    program.signal('SIGTERM')
    program.signal('SIGINT')
    // Of two signals that wait, the system may deliver either first.
    expect([1, 130]).toContain(await program.code)
    expect(program.err.text).toContain('once more to stop at once')
    expect(program.err.text).not.toContain('"stopped"')
  })
})

describe('SIGHUP', () => {
  test('a configuration with a mistake: the log says where, the old one stays', async () => {
    const file = join(temporary(), 'godwit.yaml')
    const listeners = `listeners: [{ url: 'tcp://127.0.0.1:0' }]\n`
    writeFileSync(file, `${listeners}logLevel: info\n`)
    const { program, port } = await startGodwit(['--config', file])
    const before = client(port)
    await happens(before, 'connect')
    for (const [text, where] of [
      ['limits: { packetBites: 1 }\n', `godwit.yaml:2:11: limits.packetBites: unknown key`],
      ['logLevel: [\n', 'godwit.yaml:3:1: '],
    ] as const) {
      writeFileSync(file, listeners + text)
      program.signal('SIGHUP')
      expect(await program.err.until(where)).toContain('the old one stays')
    }
    writeFileSync(file, `${listeners}logLevel: warn\n`)
    // Below its own new level already: what comes after it is a client's fault.
    program.signal('SIGHUP')
    const faulty = createConnection({ port, host: '127.0.0.1' })
    faulty.end('GET / HTTP/1.1\r\n\r\n')
    await program.err.until('the first packet must be CONNECT')
    const after = client(port)
    await happens(after, 'connect')
    expect(before.connected).toBe(true)
  })

  test('certificates that have changed on disk', async () => {
    const folder = temporary()
    const write = async (name: string): Promise<string> => {
      const { cert, key } = await makeCertificates(name)
      writeFileSync(join(folder, 'cert.pem'), cert)
      writeFileSync(join(folder, 'key.pem'), key)
      return cert
    }
    const file = join(folder, 'godwit.yaml')
    writeFileSync(file, 'listeners: [{ url: "tls://127.0.0.1:0", tls: { cert: cert.pem, key: key.pem } }]\n')
    const subject = async (port: number, ca: string): Promise<unknown> => {
      const socket = connectTls({ port, host: '127.0.0.1', ca })
      await once(socket, 'secureConnect')
      const { CN } = socket.getPeerCertificate().subject
      socket.destroy()
      return CN
    }
    const first = await write('first')
    const { program, port } = await startGodwit(['--config', file])
    expect(await subject(port, first)).toBe('first')
    const second = await write('second')
    program.signal('SIGHUP')
    await program.err.until('has been read again')
    expect(await subject(port, second)).toBe('second')
  })
})

describe('what cannot start', () => {
  test('a port that is taken: 1, and what to type instead', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const url = `tcp://127.0.0.1:${port}`
    const { code, out, err } = await godwit(['start', '--listen', url]).ended()
    other.close()
    expect([code, out]).toEqual([1, ''])
    expect(err).toBe(
      `error: cannot listen on ${url}: another program has this port. Stop it, or choose another port: ` +
        `node dist/main.js start --listen tcp://127.0.0.1:${port + 1}\n`,
    )
  })

  for (const [name, args, env, message] of [
    ['a flag', ['--log-level', 'loud'], {}, '--log-level: must be debug, info, warn, error, silent, not "loud"'],
    ['a variable', [], { GODWIT_LIMITS_PACKET_BYTES: 'x' }, 'GODWIT_LIMITS_PACKET_BYTES: must be a whole number'],
    ['a public address', ['--listen', 'tcp://0.0.0.0:0'], {}, 'is open to other machines'],
    ['a file that is not there', ['--config', '/nowhere/godwit.yaml'], {}, 'cannot read /nowhere/godwit.yaml'],
  ] as const)
    test(`a mistake in the configuration: ${name}: 3`, async () => {
      const { code, out, err } = await godwit(['start', '--listen', 'tcp://127.0.0.1:0', ...args], { env }).ended()
      expect([code, out]).toEqual([3, ''])
      expect(err).toContain(message)
      expect(err).toMatch(/error: a mistake in the configuration\n$/)
    })

  test('a mistake in a file: its line and column', async () => {
    const file = join(temporary(), 'godwit.yaml')
    writeFileSync(file, '# mine\nlistners: []\nlogLevel: loud\n')
    const { code, err } = await godwit(['start', '--config', file]).ended()
    expect(code).toBe(3)
    expect(err).toBe(
      `${file}:2:1: listners: unknown key, did you mean "listeners"?\n` +
        `${file}:3:11: logLevel: must be debug, info, warn, error, silent, not "loud"\n` +
        'error: 2 mistakes in the configuration\n',
    )
  })

  test('a word that is no command: 2', async () => {
    expect(await godwit(['strat']).ended()).toMatchObject({ code: 2, out: '' })
  })
})

test('npm start hands its arguments on, and Ctrl-C ends all of it', async () => {
  const folder = temporary()
  const { scripts, ...rest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  // Building here would pull `dist` from under the feet of other tests.
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...rest, scripts: { ...scripts, build: 'true' } }))
  for (const name of ['dist', 'node_modules']) symlinkSync(join(root, name), join(folder, name))
  const program = new Program('npm', ['start', '--', '--listen', 'ws://127.0.0.1:0/other'], {
    cwd: folder,
    group: true,
  })
  const { urls } = await screen(program)
  expect(urls).toEqual([expect.stringMatching(/^ws:\/\/127\.0\.0\.1:\d{2,}\/other$/)])
  program.signal('SIGINT')
  await program.code
  expect(program.err.text).toContain('"stopped"')
})

test('a reader that has seen enough ends sub', async () => {
  const { port } = await startGodwit()
  for (const topic of ['a', 'b', 'c'])
    expect((await godwit(['pub', '-p', String(port), '-t', topic, '-m', 'x', '-r']).ended()).code).toBe(0)
  const line = `'${process.execPath}' '${main}' sub -p ${port} -t '#' -v | head -n 1`
  const reader = new Program('sh', ['-c', line], { group: true })
  // It notices at the next message.
  await reader.out.until('a x\n')
  let waiting = true
  const ended = reader.code.finally(() => (waiting = false))
  while (waiting) await godwit(['pub', '-p', String(port), '-t', 'd', '-m', 'x']).ended()
  expect([await ended, reader.out.text]).toEqual([0, 'a x\n'])
})
