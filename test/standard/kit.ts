import type { IConnectPacket } from 'mqtt-packet'
import { afterEach, expect, vi } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { RawClient, type Received, type Transport } from '../support/raw.ts'
import { transports, type Version } from './wire.ts'

// What the tests of sections 3.3 to 3.11 and 4.3 to 4.9 share: clients, rows, and the broker's clock.

/** A connected client with an id of its own. */
export function join(
  broker: TestBroker,
  clientId: string,
  version: Version = 5,
  connect: Partial<IConnectPacket> = {},
  transport: Transport = 'tcp',
): Promise<RawClient> {
  return RawClient.connect(broker, version, { clientId, ...connect }, transport)
}

/** The same for a client whose session outlives its connection. */
export function joinKept(
  broker: TestBroker,
  clientId: string,
  version: Version = 5,
  properties: Record<string, unknown> = {},
  transport: Transport = 'tcp',
): Promise<RawClient> {
  const kept = version === 5 ? { properties: { sessionExpiryInterval: 3600, ...properties } } : {}
  return join(broker, clientId, version, { clean: false, ...kept }, transport)
}

type Mutable<R extends readonly unknown[]> = R extends readonly [...infer T] ? T : never

/** Runs `run` on each row, and names the row that fails. */
export async function eachRow<const R extends readonly unknown[]>(
  rows: readonly R[],
  run: (...row: Mutable<R>) => Promise<void> | void,
): Promise<void> {
  for (const row of rows)
    try {
      await run(...(row as unknown as Mutable<R>))
    } catch (fault) {
      throw new Error(`row ${JSON.stringify(row)}: ${String(fault)}`, { cause: fault })
    }
}

/** A packet that breaks a rule, for a version or for all, and what a v5 client is told. */
export type Fault = readonly [what: string, bytes: Buffer | ((version: Version) => Buffer), reason: number]

/**
 * Each fault ends its connection, over TCP and WebSocket: v5 with the reason, 3.x without a word. The broker takes it for
 * the client's fault and not for its own, names a clause in its log, and nobody else notices.
 */
export async function closes(speaking: readonly Version[], faults: readonly Fault[]): Promise<void> {
  const broker = await startBroker({ limits: { topicAliases: 32 } })
  const bystander = await join(broker, 'bystander')
  await bystander.subscribe('#')
  let count = 0
  for (const transport of transports)
    for (const version of speaking)
      await eachRow(faults, async (what, bytes, reason) => {
        const client = await join(broker, `bad${count++}`, version, {}, transport)
        client.bytes(typeof bytes === 'function' ? bytes(version) : bytes)
        await client.expectDisconnect(reason)
        const { fields } = broker.log.findLast(({ level }) => level === 'warn')!
        expect(fields, `${what}, ${version}, ${transport}`).toMatchObject({
          client: `bad${count - 1}`,
          clause: expect.stringMatching(/^MQTT-/) as string,
        })
      })
  await bystander.expectQuiet()
  expect(broker.log.filter(({ level }) => level === 'error')).toEqual([])
}

/** What a client sees of a PUBLISH, in one line: `t=payload q1 retain dup`. */
export function told(packet: Received): string {
  const { topic, payload, qos, retain, dup } = packet as unknown as {
    topic: string
    payload: Buffer
    qos: number
    retain: boolean
    dup: boolean
  }
  return `${topic}=${payload.toString()} q${qos}${retain ? ' retain' : ''}${dup ? ' dup' : ''}`
}

/** The next `count` packets, each of which must be a PUBLISH; they are not acknowledged. */
export async function publishes(client: RawClient, count: number): Promise<Received[]> {
  const packets: Received[] = []
  while (packets.length < count) packets.push(await client.expect('publish'))
  return packets
}

/** The same, told. */
export async function hears(client: RawClient, count: number): Promise<string[]> {
  return (await publishes(client, count)).map(told)
}

/** Takes a PUBLISH to its end, as its QoS wants it. */
export async function acknowledge(client: RawClient, packet: Received): Promise<void> {
  const { qos, messageId } = packet as unknown as { qos: number; messageId: number }
  if (qos === 1) client.send({ cmd: 'puback', messageId })
  if (qos !== 2) return
  client.send({ cmd: 'pubrec', messageId })
  await client.expect('pubrel')
  client.send({ cmd: 'pubcomp', messageId })
}

/** Waits until the broker has done what this client asked for so far, and forgets its answers. */
export async function settle(client: RawClient): Promise<void> {
  client.bytes('c0 00')
  while ((await client.next()).cmd !== 'pingresp');
}

/** Publishes each payload to `t` at its QoS, one after the other, each to its end. */
export async function publishEach(
  pub: RawClient,
  messages: readonly (readonly [payload: string, qos: number])[],
  options: Record<string, unknown> = {},
): Promise<void> {
  for (const [payload, qos] of messages) {
    pub.publish('t', payload, { qos, messageId: 1, ...options })
    if (qos === 1) await pub.expect('puback')
    if (qos === 2) {
      await pub.expect('pubrec')
      pub.send({ cmd: 'pubrel', messageId: 1 })
      await pub.expect('pubcomp')
    }
  }
}

const hostNow = performance.now.bind(performance)
let aheadMs = 0
afterEach(() => {
  aheadMs = 0
  vi.restoreAllMocks()
})

/** Moves the broker's clock ahead: the host is the one place where the broker sees time. */
export function hasten(seconds: number): void {
  aheadMs += seconds * 1000
  vi.spyOn(performance, 'now').mockImplementation(() => hostNow() + aheadMs)
}
