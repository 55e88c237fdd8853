import { once } from 'node:events'
import { createServer } from 'node:net'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Authority } from '../support/authority.ts'
import { listen } from './brokers.ts'
import { makeCertificate, type CertificateFiles } from './certificates.ts'
import { Godwit, godwit, type Given } from './godwit.ts'

let folder: string
let certificate: CertificateFiles
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-start-'))
  certificate = await makeCertificate(folder)
})
afterAll(() => rmSync(folder, { recursive: true }))

const running: Godwit[] = []
afterEach(async () => {
  for (const command of running) command.signal('SIGTERM')
  await Promise.all(running.splice(0).map(({ code }) => code))
})

/** Starts a node, and waits until its screen is there. */
async function started(args: readonly string[], given: Given = {}): Promise<Godwit> {
  const command = new Godwit(['start', ...args], given)
  running.push(command)
  await Promise.race([command.out.until(' -m hi\n'), command.code])
  return command
}

/** The lines to paste: the flags after `godwit sub` and `godwit pub`. */
function pair(command: Godwit): { sub: string[]; pub: string[] } {
  const words = (verb: string): string[] =>
    new RegExp(`^  godwit (${verb} .*)$`, 'm').exec(command.out.text)![1]!.replaceAll("'", '').split(' ')
  return { sub: words('sub'), pub: words('pub') }
}

const anyPort = ['--listen', 'tcp://127.0.0.1:0']

describe('the screen', () => {
  test('of a plain start', async () => {
    const command = await started([...anyPort, '--listen', 'ws://127.0.0.1:0'])
    expect(command.out.text.replace(/:\d{2,}/g, ':PORT').replace(/-p \d+/g, '-p PORT')).toBe(`godwit 0.1.0

  tcp://127.0.0.1:PORT
  ws://127.0.0.1:PORT/mqtt
  data: in memory, nothing survives a restart

Try it, in two other terminals:
  godwit sub -p PORT -t 'demo/#' -v
  godwit pub -p PORT -t demo/hello -m hi

Only this machine can connect. To let everybody in, without a password:
  godwit start --listen tcp://0.0.0.0:PORT --allow-public

`)
    expect(command.out.text).not.toContain(':0')
  })

  test('of a public start has no such line', async () => {
    const command = await started(['--listen', 'tcp://0.0.0.0:0', '--allow-public'])
    expect(command.out.text).not.toContain('everybody')
    expect(pair(command).sub.join(' ')).toMatch(/^sub -p \d+ -t demo\/# -v$/)
  })

  test('where clients have to say who they are, its pair has a place for that, and it opens nothing to everybody', async () => {
    const file = join(folder, 'log-ins.yaml')
    const passwords = fileURLToPath(new URL('../access/mosquitto-pbkdf2.txt', import.meta.url))
    writeFileSync(
      file,
      `listeners: [{ url: 'tcp://127.0.0.1:0' }]\nauth: { mosquitto: { password_file: ${passwords} } }\n`,
    )
    const command = await started(['--config', file])
    expect(pair(command).pub.join(' ')).toMatch(/^pub -p \d+ -u USER -P PASSWORD -t demo\/hello -m hi$/)
    expect(command.out.text).not.toContain('everybody')
    expect(command.out.text).toContain('For others: a tls:// listener')
  })

  const secure = (url: string): string => {
    const file = join(folder, 'secure.yaml')
    const { cert, key } = certificate
    writeFileSync(file, `listeners:\n  - url: ${url}\n    tls: { cert: ${cert}, key: ${key} }\n`)
    return file
  }
  for (const [name, args] of [
    ['tcp', () => anyPort],
    ['ws', () => ['--listen', 'ws://127.0.0.1:0/other']],
    ['tls', () => ['--config', secure('tls://127.0.0.1:0')]],
    ['wss', () => ['--config', secure('wss://127.0.0.1:0')]],
  ] as const)
    test(`its pair can be pasted: ${name}`, async () => {
      const { sub, pub } = pair(await started(args()))
      const subscriber = new Godwit([...sub, '-C', '1', '-d'])
      await subscriber.err.until('received SUBACK')
      expect(await godwit([...pub, '-q', '1'])).toEqual({ code: 0, out: '', err: '' })
      expect([await subscriber.code, subscriber.out.text]).toEqual([0, 'demo/hello hi\n'])
    })
})

describe('the end', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    test(`${signal} sends the clients away, and is no failure`, async () => {
      const command = await started(anyPort)
      const { sub } = pair(command)
      const subscriber = new Godwit([...sub, '-V', '5', '-d'])
      await subscriber.err.until('received SUBACK')
      command.signal(signal)
      expect([await command.code, command.exited, command.listening]).toEqual([0, undefined, 0])
      await subscriber.err.until('server shutting down (0x8b); trying again')
      subscriber.signal('SIGINT')
      await subscriber.code
    })

  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 1],
  ] as const)
    test(`a second signal, ${signal}, does not wait`, async () => {
      const command = await started(anyPort)
      command.signal('SIGTERM')
      command.signal(signal)
      expect(command.exited).toBe(code)
      await command.code
    })

  test('a Ctrl-C that comes twice, as npm passes it on, is one', async () => {
    const command = await started(anyPort)
    command.signal('SIGINT')
    command.signal('SIGINT')
    expect([await command.code, command.exited]).toEqual([0, undefined])
  })
})

describe('SIGHUP', () => {
  test('reads the configuration again; a bad one changes nothing', async () => {
    const file = join(folder, 'reload.yaml')
    const write = (text: string): void => writeFileSync(file, `listeners: [{ url: 'tcp://127.0.0.1:0' }]\n${text}\n`)
    write('logLevel: info')
    const command = await started(['--config', file])
    write('logLevle: warn')
    command.signal('SIGHUP')
    await command.err.until('the old one stays')
    expect(command.err.text).toContain(`reload.yaml:2:1: logLevle: unknown key, did you mean \\"logLevel\\"?`)
    write('logLevel: debug')
    command.signal('SIGHUP')
    await command.err.until('read again')
    expect(pair(command).pub[0]).toBe('pub')
    expect((await godwit(pair(command).pub)).code).toBe(0)
  })

  test('of two in a row, the later one holds, though the first has more to read', async () => {
    const authority = await Authority.make('ours')
    const files = { 'ca.pem': authority.cert, 'list.pem': await authority.revoke([]) }
    for (const [name, { pem }] of Object.entries(files)) writeFileSync(join(folder, name), pem)
    for (const name of ['first', 'second', 'third']) {
      const { cert, key } = await authority.issue(`CN=${name}`)
      writeFileSync(join(folder, `${name}.pem`), cert.pem)
      writeFileSync(join(folder, `${name}.key`), key.pem)
    }
    const file = join(folder, 'twice.yaml')
    const write = (name: string, logLevel: string, more = ''): void => {
      const tls = `{ cert: ${name}.pem, key: ${name}.key, ca: ca.pem, requestCert: true${more} }`
      writeFileSync(file, `listeners: [{ url: 'tls://127.0.0.1:0', tls: ${tls} }]\nlogLevel: ${logLevel}\n`)
    }
    write('first', 'info')
    const command = await started(['--config', file])
    const port = Number(/tls:\/\/127\.0\.0\.1:(\d+)/.exec(command.out.text)![1])
    // Too quiet to say that it has been read.
    write('second', 'warn', ', crl: [list.pem]')
    command.signal('SIGHUP')
    write('third', 'info')
    command.signal('SIGHUP')
    await command.err.until('read again')
    const device = await authority.issue('CN=device')
    const mine = { ca: authority.cert.pem, cert: device.cert.pem, key: device.key.pem }
    const socket = connect({ port, host: '127.0.0.1', ...mine })
    await once(socket, 'secureConnect')
    expect(socket.getPeerCertificate().subject.CN).toBe('third')
    socket.destroy()
  })
})

describe('what cannot start', () => {
  test('a port that is taken', async () => {
    const port = await listen(createServer())
    const url = `tcp://127.0.0.1:${port}`
    const { code, out, err } = await godwit(['start', '--listen', url])
    expect([code, out]).toEqual([1, ''])
    expect(err).toBe(
      `error: cannot listen on ${url}: another program has this port. Stop it, or choose another port: ` +
        `godwit start --listen tcp://127.0.0.1:${port + 1}\n`,
    )
  })

  test('an address that this machine does not have', async () => {
    const { code, err } = await godwit(['start', '--listen', 'tcp://192.0.2.1:1883', '--allow-public'])
    expect([code, err]).toEqual([1, 'error: cannot listen on tcp://192.0.2.1:1883: this machine has no such address\n'])
  })

  test('a certificate that is none', async () => {
    const file = join(folder, 'bad.yaml')
    const cert = join(folder, 'bad.pem')
    writeFileSync(cert, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    writeFileSync(file, `listeners:\n  - url: tls://127.0.0.1:0\n    tls: { cert: ${cert}, key: ${certificate.key} }\n`)
    const { code, err } = await godwit(['start', '--config', file])
    expect(code).toBe(3)
    expect(err).toMatch(/^error: cannot listen on tls:\/\/127\.0\.0\.1:0: .+\n$/)
  })

  test('a public address', async () => {
    expect(await godwit(['start', '--listen', 'tcp://0.0.0.0:0'])).toEqual({
      code: 3,
      out: '',
      err:
        '--listen: tcp://0.0.0.0:0 is open to other machines, and nobody has to log in (auth). ' +
        'To open it all the same, add: --allow-public\nerror: a mistake in the configuration\n',
    })
  })

  test('a configuration with mistakes', async () => {
    const given = { env: { GODWIT_LOG_LEVEL: 'loud', GODWIT_LISTN: 'x' } }
    expect(await godwit(['start', '--data', ''], given)).toEqual({
      code: 3,
      out: '',
      err: [
        '--data: must be a directory name, not ""',
        'GODWIT_LISTN: unknown variable, did you mean "GODWIT_LISTEN"?',
        'GODWIT_LOG_LEVEL: must be debug, info, warn, error, silent, not "loud"',
        'error: 3 mistakes in the configuration\n',
      ].join('\n'),
    })
  })
})

describe('the log', () => {
  test('is JSON in a pipe', async () => {
    const command = await started(anyPort)
    command.signal('SIGTERM')
    await command.code
    const lines = command.err.text.trimEnd().split('\n')
    const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(records).toContainEqual({ level: 'info', time: expect.any(String) as string, msg: 'stopped' })
    for (const { time } of records) expect(new Date(time as string).toISOString()).toBe(time)
  })

  test('is short on a terminal', async () => {
    const command = await started(anyPort, { terminal: true })
    command.signal('SIGTERM')
    await command.code
    const lines = command.err.text.trimEnd().split('\n')
    for (const line of lines) expect(line).toMatch(/^\d\d:\d\d:\d\d (info |warn ) /)
    const wanted = 'info  sending the clients away; once more to stop at once signal=SIGTERM'
    expect(lines.map((line) => line.slice(9))).toEqual(expect.arrayContaining([wanted, 'info  stopped']))
  })

  test('is silent if that is wanted', async () => {
    const command = await started([...anyPort, '--log-level', 'silent'])
    command.signal('SIGTERM')
    await command.code
    expect(command.err.text).toBe('')
  })
})
