import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { connect, type IClientOptions, type MqttClient } from 'mqtt'
import { afterEach, describe, expect, test } from 'vitest'
import type { Table } from '../../src/admin/control.ts'
import type { NodeStatus } from '../../src/cluster/cluster.ts'
import { Bell } from '../support/bell.ts'
import { Cluster, type Node } from '../support/cluster.ts'
import { freePort, godwit, startGodwit, temporary } from '../support/program.ts'

// A cluster of three real processes, made as docs/cluster.md says.

const clients = new Set<MqttClient>()
afterEach(async () => {
  await Promise.all([...clients].map((client) => client.endAsync(true)))
  clients.clear()
})

async function three(): Promise<{ cluster: Cluster; a: Node; b: Node; c: Node }> {
  const cluster = await Cluster.start(['a', 'b', 'c'])
  return { cluster, a: cluster.node('a'), b: cluster.node('b'), c: cluster.node('c') }
}

const command = (verb: readonly string[], { data }: Node) => godwit(['cluster', ...verb, '--data', data]).ended()

async function json<T>(verb: readonly string[], node: Node): Promise<T> {
  const { code, out, err } = await command([...verb, '--json'], node)
  expect([code, err]).toEqual([0, ''])
  return JSON.parse(out) as T
}

/** Done when the node sees this one so; undefined: not at all. */
function sees(node: Node, other: string, state: NodeStatus['state'] | undefined): Promise<void> {
  return node.until(
    `one that sees ${other} ${state}`,
    ({ nodes }) => nodes.find(({ node: name }) => name === other)?.state === state,
  )
}

/** A client, and what has come to it: from the first message on, which may come with CONNACK. */
class Client {
  readonly #mqtt: MqttClient
  readonly #came: string[] = []
  readonly #bell = new Bell()

  constructor({ url }: Node, options: IClientOptions) {
    this.#mqtt = connect(url, { protocolVersion: 5, reconnectPeriod: 0, ...options })
    clients.add(this.#mqtt)
    this.#mqtt.on('error', () => {})
    this.#mqtt.on('message', (_topic, payload) => {
      this.#came.push(payload.toString())
      this.#bell.ring()
    })
  }

  async connected(): Promise<this> {
    await new Promise<void>((resolve, reject) => {
      this.#mqtt.once('connect', () => resolve())
      this.#mqtt.once('close', () => reject(new Error('the connection was closed')))
    })
    return this
  }

  async subscribe(): Promise<void> {
    await this.#mqtt.subscribeAsync('demo/#', { qos: 1 })
  }

  /** Done when each of them has been acknowledged. */
  async publish(...payloads: readonly string[]): Promise<void> {
    await Promise.all(payloads.map((payload) => this.#mqtt.publishAsync('demo/n', payload, { qos: 1 })))
  }

  /** Done when what came is as `done` wants it. */
  async until(done: (came: readonly string[]) => boolean): Promise<void> {
    await this.#bell.until(
      () => done(this.#came),
      () => `messages that came: ${this.#came.join(' ')}`,
    )
  }

  /** What came, when it is so much. */
  async came(count: number): Promise<readonly string[]> {
    await this.until(({ length }) => length >= count)
    return this.#came
  }

  async end(): Promise<void> {
    await this.#mqtt.endAsync()
  }
}

const client = (node: Node, options: IClientOptions = {}): Promise<Client> => new Client(node, options).connected()

const kept: IClientOptions = { clientId: 'keeper', clean: false, properties: { sessionExpiryInterval: 3600 } }

/** A session at a node, without its client. */
async function sessionAt(node: Node): Promise<void> {
  const subscriber = await client(node, kept)
  await subscriber.subscribe()
  await subscriber.end()
}

describe('three nodes', () => {
  test('subscribe at c, publish at a; c is killed, its share waits at a, and goes over when it is back', async () => {
    const { cluster, a, b, c } = await three()
    const subscriber = await client(c, kept)
    await subscriber.subscribe()
    const publisher = await client(a)
    const numbers = (from: number, count: number) => Array.from({ length: count }, (_, at) => String(from + at))
    await publisher.publish(...numbers(0, 100))
    expect(await subscriber.came(100)).toEqual(numbers(0, 100))

    await c.kill()
    await sees(a, 'c', 'dead')
    await sees(b, 'c', 'dead')
    // Acknowledged, as they are on the disk of a.
    await publisher.publish(...numbers(100, 50))
    const waiting = (await a.status()).nodes.find(({ node }) => node === 'c')
    expect(waiting).toMatchObject({ state: 'dead', handoff: true, queueMessages: 50 })

    await c.start()
    const back = await client(c, kept)
    // What it had acknowledged just before it was killed may come again.
    await back.until((came) => came.includes('149'))
    expect([...new Set(await back.came(50))].filter((number) => Number(number) >= 100)).toEqual(numbers(100, 50))
    await cluster.whole()
    const { tables } = await json<{ tables: readonly Table[] }>(['routes'], a)
    expect(tables.map(({ node }) => node)).toEqual(['a', 'b', 'c'])
    expect(await command(['routes', 'verify'], a)).toMatchObject({ code: 0 })
  })

  test('a session goes along with its client', async () => {
    const { a, c } = await three()
    await sessionAt(c)
    const publisher = await client(a)
    await publisher.publish('while away')
    const after = await client(a, kept)
    await publisher.publish('here')
    expect(await after.came(2)).toEqual(['while away', 'here'])
    await c.until('without the session', ({ sessions }) => sessions === 0)
  })

  test('evict gives up what waits for a node that is gone', async () => {
    const { a, b, c } = await three()
    await sessionAt(c)
    expect(await command(['evict', 'c', '--yes'], a)).toMatchObject({ code: 5 })
    await c.kill()
    await sees(a, 'c', 'dead')
    const publisher = await client(a)
    await publisher.publish('nobody gets it')
    expect(await json(['evict', 'c', '--yes'], a)).toMatchObject({ node: 'c', lost: { messages: 1 } })
    await sees(a, 'c', undefined)
    await sees(b, 'c', undefined)
  })

  test('drain: sessions go over, and the node ends', async () => {
    const { a, c } = await three()
    await sessionAt(c)
    const publisher = await client(a)
    await publisher.publish('kept')
    expect(await json(['drain'], c)).toMatchObject({ moved: 1, remaining: 0 })
    expect(await c.program.code).toBe(0)
    const after = await client(a, kept)
    expect(await after.came(1)).toEqual(['kept'])
  })

  test('leave asks before sessions stay behind', async () => {
    const { a, c } = await three()
    await sessionAt(c)
    expect(await command(['leave'], c)).toMatchObject({ code: 2 })
    expect(await json(['leave', '--yes'], c)).toMatchObject({ left: true, lost: { sessions: 1 } })
    expect(await c.program.code).toBe(0)
    await sees(a, 'c', 'left')
  })
})

describe('its identity', () => {
  test('is for its owner alone', async () => {
    const identity = join(temporary(), 'cluster')
    expect(await godwit(['cluster', 'init', identity]).ended()).toMatchObject({ code: 0 })
    expect(statSync(identity).mode & 0o777).toBe(0o700)
    const names = readdirSync(identity, { recursive: true, encoding: 'utf8' })
    expect(names.filter((name) => (statSync(join(identity, name)).mode & 0o077) !== 0)).toEqual([])
    // What is there is not written over.
    expect((await godwit(['cluster', 'init', identity]).ended()).code).not.toBe(0)
  })

  test('a node without the directory joins with a token, once, and starts again without it', async () => {
    const cluster = await Cluster.start(['a'])
    const a = cluster.node('a')
    const token = await godwit(['cluster', 'token', '--cluster', a.identity]).ended()
    expect(token).toMatchObject({ code: 0 })
    const args = (name: string, data: string, links: number): string[] => [
      ...['--node', name, '--cluster-listen', `127.0.0.1:${links}`, '--join', a.linkAddress],
      ...['--listen', 'tcp://127.0.0.1:0', '--data', data],
    ]
    const [folder, links] = [temporary(), await freePort()]
    const withToken = ['--join-token', token.out.trim()]
    const first = await startGodwit([...withToken, ...args('d', join(folder, 'd'), links)])
    await sees(a, 'd', 'alive')
    first.program.signal('SIGTERM')
    expect(await first.program.code).toBe(0)
    await startGodwit(args('d', join(folder, 'd'), links))
    await sees(a, 'd', 'alive')
    const again = await godwit(['start', ...withToken, ...args('e', join(folder, 'e'), await freePort())]).ended()
    expect(again.code).not.toBe(0)
    expect(again.err).toContain('the token has been used already')
  })

  test('a directory that is none: 3', async () => {
    const args = ['--node', 'a', '--cluster-listen', '127.0.0.1:0', '--listen', 'tcp://127.0.0.1:0']
    const { code, err } = await godwit(['start', '--cluster', temporary(), ...args]).ended()
    expect(code).toBe(3)
    expect(err).toMatch(/^error: .*godwit cluster init/m)
  })
})
