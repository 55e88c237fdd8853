import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { expect, test } from 'vitest'
import { defaultLimits } from '../../src/broker/limits.ts'
import { type Guest, Lobby } from '../../src/platform/lobby.ts'
import { Repeats } from '../../src/platform/repeats.ts'
import { startBroker } from '../support/broker.ts'
import { listenerTls, makeCertificates } from '../support/certificates.ts'
import { RawClient } from '../support/raw.ts'
import { connectBytes, dialed, gone, greeted, transports } from './kit.ts'

class FakeSocket extends EventEmitter {
  remotePort = 1
  destroyed = false
  constructor(readonly remoteAddress = '192.0.2.1') {
    super()
  }
  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.emit('close')
  }
}

function world(most = Infinity, limits: Partial<typeof defaultLimits> = {}) {
  let nowMs = 0
  const lines: object[] = []
  const said = (fields: object, message: string): void => void lines.push({ ...fields, message })
  const open: string[] = []
  const lobby = new Lobby({
    clock: { now: () => nowMs, wall: () => 0, every: () => () => {}, endOfTurn: () => {} },
    log: { debug: said, info: said, warn: said, error: said },
    arrivals: {
      open: (address) => void open.push(address),
      close: (address) => void open.splice(open.indexOf(address), 1),
    },
    limits: { ...defaultLimits, ...limits },
    most,
  })
  const enter = (bytes = 0, address?: string): [FakeSocket, Guest | undefined] => {
    const socket = new FakeSocket(address)
    return [socket, lobby.enter(socket as unknown as Socket, bytes)]
  }
  return { lobby, enter, lines, open, pass: (ms: number) => void (nowMs += ms) }
}

test('when there is no room, who comes goes; from a second on, who has come first', () => {
  const { lobby, enter, pass } = world(Infinity, { bytesBeforeConnectTotal: 300 })
  const [[a, ofA], [b, ofB], [c]] = [enter(100), enter(100), enter(100)]
  expect(enter(100)[1]).toBeUndefined()
  lobby.hold(ofB!, 1)
  expect([a.destroyed, b.destroyed, lobby.bytes]).toEqual([false, true, 200])
  pass(1000)
  enter(100)
  expect(enter(50)[1]).toBeDefined()
  expect([a.destroyed, c.destroyed, lobby.bytes]).toEqual([true, false, 250])
  // Who has sent CONNECT, or has gone, counts no more; and no bytes of its count twice.
  ofA!.identified()
  c.destroy()
  expect([lobby.bytes, lobby.waiting]).toEqual([150, 2])
  lobby.hold(ofA!, 1000)
  expect(lobby.bytes).toBe(150)
  expect(lobby.refused).toMatchObject({ 'no-room': 3 })
  lobby.close()
  expect([lobby.bytes, lobby.waiting]).toEqual([0, 0])
})

test('one socket holds 64 KiB, and so many are open at a time', () => {
  const { lobby, enter, open } = world(2)
  const [first, guest] = enter()
  enter()
  expect(enter()[1]).toBeUndefined()
  expect(lobby.admit(guest!)).toBe(true)
  expect(open).toEqual(['192.0.2.1'])
  lobby.hold(guest!, 65_536)
  lobby.hold(guest!, 1025)
  expect([first.destroyed, open]).toEqual([true, []])
  expect(enter()[1]).toBeDefined()
  expect(lobby.refused).toMatchObject({ 'too-many-connections': 1, 'too-much': 1 })
  lobby.close()
})

test('a thousand refusals are a line, and a minute later another that tells of them', () => {
  const { lobby, enter, lines, pass } = world(0)
  for (let i = 0; i < 1000; i++) enter()
  expect(lines).toEqual([
    { remote: '192.0.2.1:1', why: '0 are open, as many as there may be', message: 'a connection was refused' },
  ])
  pass(60_000)
  enter()
  expect(lines[1]).toMatchObject({ unsaid: 999 })
  for (let i = 0; i < 1000; i++) enter(0, `198.51.100.${i % 200}`)
  expect(lines).toHaveLength(51)
  expect(lobby.refused['too-many-connections']).toBe(2001)
  const repeats = new Repeats({ now: () => 0 })
  repeats.say('a', (more) => expect(more).toEqual({}))
})

test('one clock from accept to CONNECT: what the way here has taken is gone', async () => {
  const { node } = await startBroker({ limits: { connectSeconds: 3600 } })
  const openedMs = performance.now() - 3_600_000
  await new Promise<void>((resolve) => {
    node.broker.accept({ remote: 'test', openedMs, write() {}, pause() {}, end: resolve, destroy() {} })
  })
})

test('nobody says CONNECT: gone in time, at whichever step they stand', async () => {
  const ours = await makeCertificates()
  const broker = await startBroker({ tls: listenerTls(ours), limits: { connectSeconds: 1 } })
  const silent = await Promise.all(transports.map((transport) => dialed(broker, transport)))
  const shaken = (await Promise.all([dialed(broker, 'tls'), dialed(broker, 'wss')])).map((socket) =>
    connectTls({ socket, rejectUnauthorized: false }).on('error', () => {}),
  )
  const slow = await dialed(broker, 'ws')
  slow.write('GET /mqtt HTTP/1.1\r\nhost: ')
  const posting = await dialed(broker, 'ws')
  posting.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx')
  const upgraded = await RawClient.open(broker, 5, 'ws')
  const half = await dialed(broker, 'tcp')
  half.write(connectBytes.subarray(0, 5))
  await Promise.all([...silent, ...shaken, slow, posting, half].map(gone))
  await upgraded.expectClosed()
  for (const transport of transports) (await greeted(broker, transport))!()
})

test('a reload: other limits hold for who comes next', async () => {
  const broker = await startBroker()
  ;(await greeted(broker, 'tcp'))!()
  await broker.reload(undefined, { limits: { ...broker.config.limits, bytesBeforeConnectTotal: 1 } })
  expect(await greeted(broker, 'tcp')).toBeUndefined()
})

test('abuse 1: a declared size above the limit closes at once, and a first byte that is no CONNECT', async () => {
  const ours = await makeCertificates()
  const broker = await startBroker({ tls: listenerTls(ours) })
  for (const first of ['10ffffff7f', '10808004', '3003', '00', '82ff'])
    for (const transport of ['tcp', 'tls'] as const) {
      const plain = await dialed(broker, transport)
      const socket =
        transport === 'tls' ? connectTls({ socket: plain, rejectUnauthorized: false }).on('error', () => {}) : plain
      socket.write(Buffer.from(first, 'hex'))
      await gone(plain)
    }
  expect(broker.node.broker.connections).toBe(0)
})
