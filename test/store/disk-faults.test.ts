import { expect, test } from 'vitest'
import type { DiskFault } from '../../src/host.ts'
import { openDiskStore } from '../../src/store/disk-store.ts'
import { format, metaKey } from '../../src/store/image.ts'
import type { Loss } from '../../src/store/loss.ts'
import { StoreFormatError } from '../../src/store/restore.ts'
import { MemoryIndex } from '../sim/index.ts'
import { clone, silent, World } from './model.ts'
import { aliveIn } from './places.ts'

const sizes = { segmentBytes: 4096, checkpointBytes: 1 << 20, cacheBytes: 4096 }

/** A session with a queue of `count` messages of 200 bytes, one in a frame. */
function filled(count: number, options = {}): World {
  const world = new World(3, { ...sizes, ...options })
  world.begin('c')
  const [session] = world.state.sessions.values()
  for (let i = 0; i < count; i++) {
    world.put(session!)
    world.rest()
  }
  return world
}

function flip(world: World, lsn: number): void {
  const first = lsn - (lsn % sizes.segmentBytes)
  const name = `log/${first.toString(16).padStart(16, '0')}.seg`
  const bytes = world.disk.contentOf(name)!
  bytes[lsn - first + 20]! ^= 1
  world.disk.put(name, bytes)
}

test('damage inside the log takes only what stood there, and is counted by client', () => {
  const world = filled(30)
  const [session] = world.state.sessions.values()
  const { lsn } = session!.queue.places.get(10)!
  world.disk = clone(world.disk, world.dice, world.later)
  flip(world, lsn)
  world.open()
  const { losses, figures } = world.store
  expect(losses).toHaveLength(1)
  expect(losses[0]!.from).toBeLessThanOrEqual(lsn)
  expect(losses[0]!.to).toBeGreaterThan(lsn)
  expect([...losses[0]!.copies]).toEqual([['c', 1]])
  expect(figures).toMatchObject({ quarantined: 1, lostCopies: 1 })
  const [back] = world.recovered.sessions
  const { queue, number } = back!
  expect([queue.head, queue.next, queue.entryOf(10)]).toEqual([0, 30, 0])
  for (let seq = 0; seq < 30; seq++)
    if (seq !== 10) expect(world.store.readNow(queue.lsnOf(seq), number, seq)).toBeDefined()
})

test('damage that is found while reading is told to all whom it concerns', async () => {
  const world = filled(30)
  await world.close()
  const [session] = world.state.sessions.values()
  const { lsn } = session!.queue.places.get(10)!
  flip(world, lsn)
  world.open()
  expect(world.store.losses).toEqual([])
  const losses: Loss[] = []
  world.store.onLoss((loss) => losses.push(loss))
  expect(world.store.readNow(lsn, session!.number, 10)).toBeUndefined()
  let found: boolean | undefined
  world.store.fetch(lsn, (is) => (found = is))
  world.rest()
  expect(found).toBe(false)
  expect(losses.map(({ copies }) => [...copies])).toEqual([[['c', 1]]])
  expect(world.store.figures).toMatchObject({ quarantined: 1, lostCopies: 1 })
})

test('a file of the log that is gone takes its messages, and nothing else', async () => {
  const world = filled(60)
  await world.close()
  const [, second] = world.disk.list('log')
  const from = parseInt(second!, 16)
  const places = [...[...world.state.sessions.values()][0]!.queue.places.values()]
  const lost = places.filter(({ lsn }) => lsn >= from && lsn < from + sizes.segmentBytes).length
  expect(lost).toBeGreaterThan(5)
  world.disk.remove(`log/${second}`)
  world.open()
  expect(world.store.figures).toMatchObject({ quarantined: 1, lostCopies: lost })
  const [back] = world.recovered.sessions
  expect(aliveIn(back!.queue)).toHaveLength(60 - lost)
})

test.each(['ENOSPC', 'EIO'])('an index that ends with %s', (code) => {
  const world = filled(10)
  const faults: DiskFault[] = []
  world.store.onFailure((fault) => faults.push(fault))
  world.index.failCommit(1, code)
  world.store.close().catch(() => {})
  world.rest()
  expect(faults.map((fault) => fault.code)).toEqual(code === 'EIO' ? ['EIO'] : [])
})

test('an index without room is written when there is some again, with everything', async () => {
  const world = filled(0, { checkpointBytes: 4096, segmentBytes: 4096 })
  const [session] = world.state.sessions.values()
  for (let i = 0; i < 100; i++) {
    // Each second checkpoint fails.
    if (i % 20 === 0) world.index.failCommit(1, 'ENOSPC')
    world.put(session!)
    if (i % 3 === 0) world.settle(session!)
    world.rest()
  }
  expect(world.store.figures.checkpoints).toBeGreaterThan(1)
  expect(world.store.figures.droppedBytes).toBeGreaterThan(0)
  const died = await world.close()
  world.open()
  world.check(died, true)
})

test('a sync that fails is told once, and nothing is durable any more', () => {
  const world = filled(3)
  const faults: DiskFault[] = []
  world.store.onFailure((fault) => faults.push(fault))
  world.disk.fail('sync', world.disk.calls.sync + 1, 'EIO')
  const { durable } = world.store
  const [session] = world.state.sessions.values()
  world.put(session!)
  world.rest()
  world.put(session!)
  world.run(5000)
  expect(faults.map(({ code }) => code)).toEqual(['EIO'])
  expect(world.store.durable).toBe(durable)
})

test('a store on a disk with little room is full until there is more', () => {
  const world = filled(3, { reserveBytes: 100_000 })
  let told = 0
  world.store.onProgress(() => told++)
  expect(world.store.full).toBe(false)
  world.disk.capacity = 50_000
  world.run(1500)
  expect([world.store.full, told]).toEqual([true, 1])
  world.disk.capacity = 500_000
  world.run(1500)
  expect([world.store.full, told]).toEqual([false, 2])
})

test('old segments that are mostly dead are copied forward, and the disk comes back', () => {
  const world = filled(0, { checkpointBytes: 8192, collectBytesPerSecond: 1e6 })
  const [session] = world.state.sessions.values()
  for (let i = 0; i < 600; i++) {
    world.put(session!)
    world.rest()
    // One of twenty stays.
    if (i % 20 > 0) world.settleLast(session!)
    if (i % 50 === 0) world.run(500)
  }
  world.run(2000)
  const { copiedBytes, logBytes, droppedBytes } = world.store.figures
  expect(copiedBytes).toBeGreaterThan(1000)
  expect(logBytes).toBeLessThan(12 * sizes.segmentBytes)
  expect(droppedBytes).toBeGreaterThan(20 * sizes.segmentBytes)
  world.fall('crash')
})

test('a copy that is settled before its segment goes is not needed', async () => {
  const world = filled(100, { checkpointBytes: 4096 })
  const [session] = world.state.sessions.values()
  while (session!.queue.places.size > 0) world.settleLast(session!)
  world.run(1000)
  await world.close()
  expect(world.store.figures.droppedBytes).toBeGreaterThan(0)
  world.open()
  expect(world.recovered.sessions[0]!.queue).toMatchObject({ head: 100, next: 100 })
})

test('while somebody is there, the log says so now and then', () => {
  const world = new World(3, sizes)
  world.begin('c')
  const [session] = world.state.sessions.values()
  while (!session!.online || session!.expirySeconds !== 1000) world.touch(session!)
  world.run(65_000)
  const heardMs = world.time.now() - 15_000
  world.fall('kill')
  expect(world.recovered.sessions[0]!.endDueMs).toBeGreaterThan(heardMs + 1000 * 1000)
})

test.each([
  ['of a newer version', [[metaKey, Uint8Array.of(format + 1)]]],
  ['with keys that are none of ours', [['x', Uint8Array.of(0)]]],
] as const)('an index %s is refused', (_, entries) => {
  const world = new World(1, sizes)
  const index = new MemoryIndex(world.later, entries)
  const options = { disk: clone(world.disk, world.dice, world.later), clock: world.time, topics: world.topics, index }
  expect(() => openDiskStore({ ...options, log: silent, storeId: 1 })).toThrow(StoreFormatError)
})
