import { expect, test } from 'vitest'
import { Wait } from '../../src/broker/cluster-port.ts'
import { AckGate } from '../../src/broker/gate.ts'
import type { Connection } from '../../src/mqtt/connection.ts'
import type { Session } from '../../src/sessions/session.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import type { Durability, Lsn } from '../../src/store/port.ts'

/** A store that is as far as a test says. */
class Progress extends MemoryStore {
  override durable: Lsn = 0
  override written: Lsn = 0
  #tell = () => {}

  override onProgress(listener: () => void): void {
    this.#tell = listener
  }

  reach(written: Lsn, durable: Lsn): void {
    this.written = written
    this.durable = durable
    this.#tell()
  }
}

function gate() {
  const store = new Progress()
  const acks = new AckGate(store)
  const sent: number[] = []
  const client = { heldAcks: 0, heldSyncs: 0, state: 'connected' } as Connection<Session>
  const other = { heldAcks: 0, heldSyncs: 0, state: 'connected' } as Connection<Session>
  const promise = (packetId: number, lsn: Lsn, durability: Durability, wait?: Wait, to = client) =>
    acks.promise(to, lsn, (_client, id) => sent.push(id), packetId, 0, durability, wait)
  return { store, acks, sent, promise, client, other }
}

test('what is only written leaves behind what is synced, and waits for no sync of its own', () => {
  const { store, acks, sent, promise } = gate()
  promise(1, 100, 'fsync')
  promise(2, 200, 'os')
  promise(3, 0, 'memory')
  store.reach(150, 0)
  expect(sent).toEqual([])
  // The sync covered the first only, and nobody has asked for another one.
  store.reach(250, 150)
  expect(sent).toEqual([1, 2, 3])
  expect(acks.held).toBe(0)
})

test('what nobody wants leaves behind what is written, whatever its class', () => {
  const { store, sent, promise } = gate()
  promise(1, 100, 'os')
  promise(2, 0, 'fsync')
  store.reach(50, 50)
  expect(sent).toEqual([])
  store.reach(150, 50)
  expect(sent).toEqual([1, 2])
})

test('what is synced leaves behind what is written', () => {
  const { store, sent, promise } = gate()
  promise(1, 100, 'os')
  promise(2, 200, 'fsync')
  store.reach(150, 0)
  expect(sent).toEqual([1])
  store.reach(250, 0)
  expect(sent).toEqual([1])
  store.reach(250, 250)
  expect(sent).toEqual([1, 2])
})

function waitFor(words: number): Wait {
  const wait = new Wait()
  for (; words > 0; words--) wait.hold()
  return wait
}

test('what waits for other nodes holds what follows to the same client, and nobody else', () => {
  const { store, acks, sent, promise, client, other } = gate()
  const wait = waitFor(2)
  store.reach(100, 100)
  promise(1, 0, 'fsync', wait)
  promise(2, 0, 'memory')
  promise(3, 50, 'fsync', undefined, other)
  expect(sent).toEqual([3])
  wait.release()
  expect(sent).toEqual([3])
  wait.release()
  expect(sent).toEqual([3, 1, 2])
  expect([acks.held, client.heldAcks, client.heldSyncs]).toEqual([0, 0, 0])
})

test('words that come out of order, or before the store has come so far, release in order', () => {
  const { store, acks, sent, promise } = gate()
  const [first, second] = [waitFor(1), waitFor(1)]
  promise(1, 100, 'fsync', first)
  promise(2, 0, 'fsync', second)
  promise(3, 200, 'os')
  second.release()
  store.reach(300, 50)
  first.release()
  expect(sent).toEqual([])
  store.reach(300, 150)
  expect(sent).toEqual([1, 2, 3])
  expect(acks.held).toBe(0)
})

test('what waits for other nodes leaves behind what the store held before it', () => {
  const { store, acks, sent, promise } = gate()
  const wait = waitFor(1)
  promise(1, 100, 'fsync')
  promise(2, 0, 'fsync', wait)
  wait.release()
  expect(sent).toEqual([])
  store.reach(150, 150)
  expect(sent).toEqual([1, 2])
  expect(acks.held).toBe(0)
})

test('a share of another node that became ours is waited for in our store', () => {
  const { store, acks, sent, promise } = gate()
  const wait = waitFor(1)
  store.reach(100, 100)
  promise(1, 50, 'fsync', wait)
  wait.lsn = 120
  wait.release()
  expect(sent).toEqual([])
  store.reach(200, 130)
  expect(sent).toEqual([1])
  // The word may have come before the promise was made.
  const over = waitFor(1)
  over.lsn = 300
  over.release()
  promise(2, 0, 'fsync', over)
  expect(sent).toEqual([1])
  store.reach(400, 400)
  expect(sent).toEqual([1, 2])
  expect(acks.held).toBe(0)
})

test('a client that is gone is sent nothing, and nothing of it stays behind', () => {
  const { acks, sent, promise, client } = gate()
  const wait = waitFor(1)
  promise(1, 0, 'memory', wait)
  promise(2, 0, 'memory')
  Object.assign(client, { state: 'closed' })
  wait.release()
  expect(sent).toEqual([])
  expect([acks.held, client.heldAcks]).toEqual([0, 0])
})
