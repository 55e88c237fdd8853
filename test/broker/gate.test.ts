import { expect, test } from 'vitest'
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
  const promise = (packetId: number, lsn: Lsn, durability: Durability) =>
    acks.promise(client, lsn, (_client, id) => sent.push(id), packetId, 0, durability)
  return { store, acks, sent, promise }
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
