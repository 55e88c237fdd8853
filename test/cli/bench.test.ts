import { spawn } from 'node:child_process'
import net from 'node:net'
import { Writable } from 'node:stream'
import { Command, CommanderError } from 'commander'
import { generate } from 'mqtt-packet'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { benchCommand } from '../../src/cli/bench/command.ts'
import { Histogram } from '../../src/cli/bench/histogram.ts'
import { CliError, type Io } from '../../src/cli/io.ts'
import { freePort } from '../support/program.ts'
import { brokerWith as startBroker, type Faults } from './bench-broker.ts'
import { startAedes } from './brokers.ts'

let close: () => void = () => {}
afterEach(() => close())

async function brokerWith(faults: Faults): Promise<number> {
  const broker = await startBroker(faults)
  close = broker.close
  return broker.port
}

interface Result {
  code: number
  json: Record<string, number | string | boolean>
  stdout: string
  stderr: string
}

/** Runs `godwit bench …` in this process. */
async function bench(...args: string[]): Promise<Result> {
  const texts = { stdout: '', stderr: '' }
  const screen = (name: keyof typeof texts): Writable =>
    new Writable({ write: (chunk, _encoding, done) => ((texts[name] += String(chunk)), done()) })
  const io: Io = {
    stdin: process.stdin,
    stdout: screen('stdout'),
    stderr: screen('stderr'),
    env: {},
    invocation: 'godwit',
    onSignal: () => () => {},
    exit: () => {},
  }
  const root = new Command('godwit').addCommand(benchCommand(io))
  const style = (command: Command): void => {
    command.exitOverride().configureOutput({ writeErr: (text) => io.stderr.write(text) })
    command.commands.forEach(style)
  }
  style(root)
  let code = 0
  try {
    await root.parseAsync(['bench', ...args], { from: 'user' })
  } catch (fault) {
    if (fault instanceof CliError) texts.stderr += fault.message
    else if (!(fault instanceof CommanderError)) throw fault
    code = fault instanceof CliError ? fault.exit : 2
  }
  const { stdout, stderr } = texts
  return { code, json: stdout.startsWith('{') ? (JSON.parse(stdout) as Result['json']) : {}, stdout, stderr }
}

describe('counts balance', () => {
  for (const [name, args, received] of [
    ['QoS 0, one pair', ['-C', '5000'], 5000],
    ['QoS 1, ten pairs in order', ['-q', '1', '-n', '10', '-C', '5000', '--order', '--window', '16'], 5000],
    ['QoS 2, version 5', ['-q', '2', '-n', '3', '-C', '3000', '-V', '5', '--order'], 3000],
    ['fan-out', ['--mode', 'fanout', '-S', '20', '-C', '500', '--order'], 10_000],
    ['fan-in', ['--mode', 'fanin', '-n', '50', '-C', '5000', '-q', '1', '--order'], 5000],
    ['shared', ['--mode', 'shared', '-n', '4', '-S', '3', '-C', '2000', '-q', '1', '--order'], 2000],
    [
      'pairs with three subscribers to each publisher',
      ['-n', '2', '-S', '6', '-C', '1000', '-q', '1', '--order'],
      3000,
    ],
    ['persistent sessions, version 5', ['--persistent', '-n', '3', '-C', '3000', '-q', '1', '-V', '5'], 3000],
    ['no subscribers', ['-S', '0', '-n', '2', '-C', '2000'], 0],
    ['more than fits the packet ids', ['-q', '1', '-C', '70000', '--size', '0', '--window', '65535'], 70_000],
    ['frames larger than a read', ['-C', '20', '--size', '700000', '-q', '1', '--window', '3'], 20],
    ['a warm-up that is not counted', ['-C', '1000', '--warmup', '500', '-q', '1', '--order'], 1000],
  ] as const)
    test(name, async () => {
      const port = await brokerWith({})
      const { code, json, stderr } = await bench('pub', '--json', '-p', `${port}`, ...args)
      expect({ code, stderr, ok: json.ok, lost: json.lost }).toEqual({ code: 0, stderr: '', ok: true, lost: 0 })
      const sent = Number(args[args.indexOf('-C') + 1])
      expect(json).toMatchObject({ sent, received, expected: received, acked: json.qos === 0 ? 0 : sent })
    })

  test('subscribers at another broker, which knows nothing of this one', async () => {
    const port = await brokerWith({})
    const elsewhere = await startBroker({})
    const args = ['-p', `${port}`, '--sub-port', `${elsewhere.port}`, '-C', '10', '-q', '1', '--settle', '0.2']
    const { code, json } = await bench('pub', '--json', ...args)
    elsewhere.close()
    expect({ code, json }).toMatchObject({ code: 1, json: { acked: 10, received: 0, lost: 10 } })
  })

  test('against the bare lane, in its own process', async () => {
    const port = await freePort()
    const lane = spawn(process.execPath, ['bench/contenders/lane.mjs', `${port}`], { stdio: 'ignore' })
    close = () => lane.kill()
    await listening(port)
    const results = [
      await bench('pub', '--json', '-p', `${port}`, '-C', '100000', '-n', '10', '--order'),
      await bench('pub', '--json', '-p', `${port}`, '-C', '50000', '-n', '10', '-q', '1', '-V', '5', '--order'),
      await bench('pub', '--json', '-p', `${port}`, '-C', '2000', '--mode', 'fanout', '-S', '50'),
      await bench('pub', '--json', '-p', `${port}`, '-C', '50000', '--mode', 'fanin', '-n', '100'),
    ]
    expect(results.map(({ code, json }) => [code, json.received])).toEqual([
      [0, 100_000],
      [0, 50_000],
      [0, 100_000],
      [0, 50_000],
    ])
  })
})

describe('what a broker does wrong is found', () => {
  const pub = ['pub', '--json', '-C', '2000', '-q', '1', '--order', '--settle', '0.3']
  for (const [name, faults, args, code, problem] of [
    ['a lost message', { loses: 700 }, pub, 1, '1 messages were not delivered'],
    ['a message out of order', { swaps: 700 }, pub, 1, '1 messages came out of order'],
    ['a missing acknowledgement', { ignores: 700 }, pub, 1, '1 messages were not acknowledged'],
    ['a dropped connection', { drops: 700 }, pub, 1, 'clients lost their connection'],
    ['a refused connection', { refuses: 5 }, pub, 1, 'it refused the connection with code 5'],
    [
      'refused idle connections',
      { refuses: 5 },
      ['conn', '--json', '-n', '5'],
      1,
      'it refused the connection with code 5',
    ],
    ['silence', { mute: true }, ['pub', '--json', '--timeout', '0.3'], 27, 'no answer to CONNECT'],
    ['too few messages', {}, ['sub', '--json', '-C', '1', '--timeout', '0.3'], 27, '--timeout allows more'],
  ] as const)
    test(name, async () => {
      const port = await brokerWith(faults)
      const result = await bench(...args, '-p', `${port}`)
      expect(result.code).toBe(code)
      expect(result.stderr).toContain(problem)
      expect(result.json.ok).toBe(false)
    })

  test('a loss in the warm-up is reported as what it was', async () => {
    const port = await brokerWith({ loses: 300 })
    const { code, json } = await bench(...pub, '--warmup', '500', '-p', `${port}`)
    expect(code).toBe(1)
    expect(json).toMatchObject({ sent: 500, expected: 500, received: 499, lost: 1 })
    expect(json.outPerSecond).toBeLessThan(1e7)
  })

  test('nobody there', async () => {
    const port = await freePort()
    const { code, stderr } = await bench('pub', '-p', `${port}`)
    expect(code).toBe(1)
    expect(stderr).toContain(`nothing listens at 127.0.0.1:${port}`)
  })
})

test('bench latency measures from when a message was due', async () => {
  const port = await brokerWith({})
  const args = ['--rate', '2000', '--seconds', '0.5', '--warmup-seconds', '0.1', '-n', '10']
  const { code, json } = await bench('latency', '--json', '-p', `${port}`, ...args)
  expect(code).toBe(0)
  expect(json).toMatchObject({ sent: 1000, received: 1000, acked: 1000 })
  expect(json.p50Us).toBeGreaterThan(0)
  expect(json.p50Us).toBeLessThanOrEqual(json.p99Us as number)
  expect(json.p999Us).toBeLessThanOrEqual(json.maxUs as number)
  expect(json.seconds).toBeGreaterThan(0.45)
})

test('bench latency measures acknowledgements too', async () => {
  const port = await brokerWith({})
  const args = ['--rate', '2000', '--seconds', '0.5', '--warmup-seconds', '0.1', '-n', '10', '--offline']
  const { code, json } = await bench('latency', '--json', '-p', `${port}`, ...args)
  expect(code).toBe(0)
  expect(json).toMatchObject({ sent: 1000, received: 0, acked: 1000, queued: 1000 })
  expect(json.p50Us).toBeUndefined()
  expect(json.ackP50Us).toBeGreaterThan(0)
  expect(json.ackP50Us).toBeLessThanOrEqual(json.ackP99Us as number)
  expect(json.ackP999Us).toBeLessThanOrEqual(json.ackMaxUs as number)
})

describe('what is published to sessions that are offline comes when they are back', () => {
  for (const [name, args, queued, subscribers] of [
    ['one session', ['--mode', 'fanin', '-n', '4', '-C', '2000'], 2000, 1],
    ['fan-out', ['--mode', 'fanout', '-n', '2', '-S', '30', '-C', '100'], 3000, 30],
    ['pairs, many subscribers to a publisher', ['-n', '5', '-S', '50', '-C', '100', '--at-once', '7'], 1000, 50],
  ] as const)
    test(name, async () => {
      const port = `${(await startAedes()).port}`
      const offline = await bench('pub', '--json', '-p', port, '-q', '1', '--offline', ...args)
      expect(offline).toMatchObject({ code: 0, stderr: '' })
      expect(offline.json).toMatchObject({ ok: true, received: 0, expected: 0, queued, dropped: 0 })
      const drain = ['--persistent', '-S', `${subscribers}`, '-C', `${queued}`, '-q', '1']
      const drained = await bench('sub', '--json', '-p', port, ...drain)
      expect(drained).toMatchObject({ code: 0, json: { ok: true, received: queued } })
    })
})

test('bench sub counts what others publish', async () => {
  const port = await brokerWith({})
  const counting = bench('sub', '--json', '-p', `${port}`, '-S', '3', '-C', '30', '--quiet')
  const publisher = net.connect(port, '127.0.0.1')
  publisher.write(generate({ cmd: 'connect', clientId: 'other', protocolId: 'MQTT', protocolVersion: 4, keepalive: 0 }))
  const publish = generate({ cmd: 'publish', topic: 'a', payload: 'x', qos: 0, dup: false, retain: false })
  const timer = setInterval(() => publisher.write(publish), 5)
  const { code, json } = await counting
  clearInterval(timer)
  publisher.destroy()
  expect(code).toBe(0)
  expect(json.received).toBeGreaterThanOrEqual(30)
})

test('bench conn holds idle connections', async () => {
  const port = await brokerWith({})
  const { code, json } = await bench('conn', '--json', '-p', `${port}`, '-n', '300', '--hold', '0.1', '--at-once', '50')
  expect(code).toBe(0)
  expect(json).toMatchObject({ connections: 300, connected: 300, refused: 0, dropped: 0 })
})

describe('usage errors exit 2', () => {
  for (const args of [
    ['pub', '--qos', '3'],
    ['pub', '--count', 'many'],
    ['pub', '--count', '1.5'],
    ['pub', '--port', '70000'],
    ['pub', '--mode', 'ring'],
    ['pub', '-n', '3', '-S', '2'],
    ['pub', '-n', '3', '-S', '7'],
    ['pub', '--offline', '-S', '0'],
    ['pub', '-n', '10', '-C', '9'],
    ['pub', '--order', '--size', '15'],
    ['latency', '--size', '7'],
    ['sub', '--seconds', '0'],
    ['conn', '--connections', '0'],
    ['conn', '--protocol-version', '3'],
    ['nothing'],
  ])
    test(args.join(' '), async () => {
      const { code, stderr } = await bench(...args)
      expect(code).toBe(2)
      expect(stderr).not.toBe('')
    })
})

test('output: tab-separated in a pipe, a header unless told otherwise', async () => {
  const port = await brokerWith({})
  const { stdout } = await bench('pub', '-C', '100', '-p', `${port}`)
  expect(stdout).toMatch(/^figure\tvalue\nmode\tpairs\n/)
  expect((await bench('pub', '-C', '100', '-p', `${port}`, '--no-headers')).stdout).toMatch(/^mode\tpairs\n/)
})

describe('Histogram', () => {
  const oneTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1)
  for (const [name, values, quantiles] of [
    ['nothing', [], [0, 0, 0, 0]],
    ['one value', [7], [7, 7, 7, 7]],
    ['small values are exact', oneTo(100), [50, 99, 100, 100]],
    ['a tail', [...Array<number>(990).fill(10), ...Array<number>(10).fill(5000)], [10, 10, 5000, 5000]],
    ['below zero and beyond the end', [-5, 2 ** 40], [0, 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1]],
  ] as const)
    test(name, () => {
      const histogram = new Histogram()
      for (const value of values) histogram.record(value)
      expect([0.5, 0.99, 0.999, 1].map((q) => histogram.quantile(q))).toEqual(quantiles)
      expect(histogram.count).toBe(values.length)
    })

  test('a quantile is at most 1/64 above the true one, and never below it', () => {
    const histogram = new Histogram()
    const values = oneTo(20_000).map((i) => Math.floor(1.0008 ** i))
    for (const value of values) histogram.record(value)
    for (const q of [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.ceil(q * values.length) - 1]!
      expect(histogram.quantile(q)).toBeGreaterThanOrEqual(exact)
      expect(histogram.quantile(q)).toBeLessThanOrEqual(exact * (1 + 1 / 64))
    }
  })
})

beforeEach(() => {
  close = () => {}
})

async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = net.connect(port, '127.0.0.1')
    const open = await new Promise<boolean>((resolve) => {
      socket.on('connect', () => resolve(true))
      socket.on('error', () => resolve(false))
    })
    socket.destroy()
    if (open) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error(`nothing came up on port ${port}`)
}
