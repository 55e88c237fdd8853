import { join } from 'node:path'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { afterEach, describe, expect, test } from 'vitest'
import { Bell } from '../support/bell.ts'
import { Program, root, temporary } from '../support/program.ts'
import { RawClient } from '../support/raw.ts'

// A real Aedes, in a process of its own, that imports the package by its name.

const clients: MqttClient[] = []
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.endAsync(true)))
})

interface Running {
  readonly program: Program
  readonly port: number
}

async function start(data: string): Promise<Running> {
  const program = new Program(process.execPath, [join(root, 'test/aedes/broker.mjs'), data])
  const ended = program.ended().then(({ code, err }) => {
    throw new Error(`it ended with ${code}: ${err}`)
  })
  ended.catch(() => {})
  const text = await Promise.race([program.out.until('\n'), ended])
  return { program, port: Number(text.split(' ')[1]) }
}

async function restart({ program }: Running, data: string, how: NodeJS.Signals): Promise<Running> {
  program.signal(how)
  await program.code
  return start(data)
}

async function connect({ port }: Running, clientId: string, options: IClientOptions = {}): Promise<MqttClient> {
  const url = `mqtt://127.0.0.1:${port}`
  const client = await mqtt.connectAsync(url, { clientId, protocolVersion: 4, reconnectPeriod: 0, ...options })
  clients.push(client)
  return client
}

/** What comes to a client that is there from the first packet on. */
async function listen(
  running: Running,
  clientId: string,
  clean = false,
): Promise<{ until(texts: string[]): Promise<void> }> {
  const texts: string[] = []
  const bell = new Bell()
  const { port } = running
  const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { clientId, clean, protocolVersion: 4, reconnectPeriod: 0 })
  clients.push(client)
  client.on('message', (topic, payload, { retain }) => {
    texts.push(`${topic} ${payload.toString()}${retain ? ' retained' : ''}`)
    bell.ring()
  })
  await new Promise((resolve) => client.once('connect', resolve))
  if (clean) await client.subscribeAsync('#', { qos: 2 })
  return {
    async until(expected) {
      await bell.until(
        () => texts.length >= expected.length,
        () => texts.join('\n'),
      )
      expect([...texts].sort()).toEqual([...expected].sort())
    },
  }
}

async function subscribeAndLeave(running: Running, clientId: string): Promise<void> {
  const client = await connect(running, clientId, { clean: false })
  await client.subscribeAsync({ 'one/#': { qos: 1 }, 'two/#': { qos: 2 } })
  await client.endAsync()
}

for (const how of ['SIGTERM', 'SIGKILL'] as const)
  test(`what was acknowledged is there when Aedes starts again after ${how}`, async () => {
    const data = join(temporary(), 'data')
    let running = await start(data)
    await subscribeAndLeave(running, 'reader')
    const writer = await connect(running, 'writer')
    const expected: string[] = []
    for (let i = 0; i < 20; i++) {
      await writer.publishAsync('one/x', String(i), { qos: 1 })
      await writer.publishAsync('two/x', String(i), { qos: 2 })
      expected.push(`one/x ${i}`, `two/x ${i}`)
    }
    await writer.publishAsync('three', 'kept', { qos: 2, retain: true })
    await writer.publishAsync('four', 'not kept', { qos: 2, retain: true })
    await writer.publishAsync('four', '', { qos: 2, retain: true })

    running = await restart(running, data, how)
    await (await listen(running, 'reader')).until(expected)
    await (await listen(running, 'new', true)).until(['three kept retained'])

    // Delivered is delivered, and the subscriptions are still there.
    await Promise.all(clients.splice(0).map((client) => client.endAsync()))
    running = await restart(running, data, how)
    const again = await listen(running, 'reader')
    await (await connect(running, 'writer')).publishAsync('two/last', 'end', { qos: 2 })
    await again.until(['two/last end'])
  })

test('the will of a client whose broker was killed is sent by the next one', async () => {
  const data = join(temporary(), 'data')
  const running = await start(data)
  await subscribeAndLeave(running, 'reader')
  await connect(running, 'mortal', { will: { topic: 'one/will', payload: Buffer.from('gone'), qos: 1, retain: false } })
  const next = await restart(running, data, 'SIGKILL')
  await (await listen(next, 'reader')).until(['one/will gone'])
})

describe('exactly once, over SIGKILL', () => {
  const reader = { clientId: 'reader', clean: false }
  const raw = (running: Running) => RawClient.connect({ port: running.port } as never, 4, reader)

  test('to a subscriber: the same id until PUBREC, then PUBREL and never PUBLISH', async () => {
    const data = join(temporary(), 'data')
    let running = await start(data)
    await subscribeAndLeave(running, 'reader')
    await (await connect(running, 'writer')).publishAsync('two/x', 'm', { qos: 2 })
    const { messageId } = await (await raw(running)).expect('publish')

    running = await restart(running, data, 'SIGKILL')
    let client = await raw(running)
    expect(await client.expect('publish')).toMatchObject({ messageId, qos: 2 })
    client.send({ cmd: 'pubrec', messageId: messageId as number })
    expect(await client.expect('pubrel')).toMatchObject({ messageId })

    running = await restart(running, data, 'SIGKILL')
    client = await raw(running)
    expect(await client.expect('pubrel')).toMatchObject({ messageId })
    client.send({ cmd: 'pubcomp', messageId: messageId as number })
    await client.expectQuiet()
  })

  test('from a publisher: an id that was not released is known', async () => {
    const data = join(temporary(), 'data')
    let running = await start(data)
    await subscribeAndLeave(running, 'reader')
    const writer = { clientId: 'writer', clean: false }
    const open = () => RawClient.connect({ port: running.port } as never, 4, writer)
    let client = await open()
    client.publish('two/x', 'm', { qos: 2, messageId: 77 })
    await client.expect('pubrec')

    running = await restart(running, data, 'SIGKILL')
    client = await open()
    client.publish('two/x', 'm', { qos: 2, messageId: 77, dup: true })
    await client.expect('pubrec')
    client.send({ cmd: 'pubrel', messageId: 77 })
    await client.expect('pubcomp')

    running = await restart(running, data, 'SIGKILL')
    client = await open()
    client.publish('two/x', 'another', { qos: 2, messageId: 77 })
    await client.expect('pubrec')
    await (await listen(running, 'reader')).until(['two/x m', 'two/x another'])
  })
})
