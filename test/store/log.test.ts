import { describe, expect, test } from 'vitest'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { Bench, filler, segmentBytes, type TestRecord, told, Turns } from './log-kit.ts'

const some = Buffer.from('something')

describe('a commit log', () => {
  test('shows again what was committed, in order, whatever its size', () => {
    const bench = new Bench()
    const sizes = [1, 100, 0, 20_000, 70_000, 3, 200_000, 5, segmentBytes - 200, 0, 300, segmentBytes * 3, 1]
    const records = sizes.map((size, n) => bench.append(Buffer.alloc(size, n), n % 2 === 0, n))
    bench.turns.run()
    expect(bench.log.durable).toBeGreaterThan(records.at(-1)!.lsn)
    const again = new Bench(bench.disk)
    expect(again.replayed.map(told)).toEqual(records.map(told))
    expect(again.damage).toEqual([])
  })

  test('says where the next record will stand', () => {
    const bench = new Bench()
    const dice = new Dice(1)
    for (let n = 0; n < 2000; n++) {
      const { next } = bench.log
      expect(bench.append(filler(dice.below(3000), dice)).lsn).toBe(next)
      if (dice.chance(0.1)) bench.turns.run(1)
    }
    expect(bench.disk.list('log').length).toBeGreaterThan(10)
  })

  test('forgets a record that was not ended', () => {
    const bench = new Bench()
    const first = bench.append(some)
    bench.log.begin(9).bytes(Buffer.alloc(100_000), 0, 100_000)
    const second = bench.append(some)
    bench.log.begin(9).text('never')
    bench.turns.run()
    const third = bench.append(some)
    bench.turns.run()
    expect(new Bench(bench.disk).replayed.map(told)).toEqual([first, second, third].map(told))
  })

  test('commits a turn as one write and one sync, and what comes meanwhile as the next', () => {
    const bench = new Bench()
    for (let n = 0; n < 100; n++) bench.append(some)
    bench.turns.run(1)
    for (let n = 0; n < 100; n++) bench.append(some)
    bench.turns.run()
    // A new file, its name and its folder cost a sync more each, once.
    expect(bench.disk.calls).toEqual({ write: 2, sync: 2 + 2 })
  })

  test('only writes what nobody waits for, until something else is synced', () => {
    const bench = new Bench()
    const lazy = bench.append(some, false)
    bench.turns.run()
    expect(bench.log.written).toBeGreaterThan(lazy.lsn)
    expect(bench.log.durable).toBeLessThanOrEqual(lazy.lsn)
    expect(bench.disk.calls.sync).toBe(0)
    expect(new Bench(bench.disk.kill()).replayed.map(told)).toEqual([told(lazy)])
  })

  test('makes durable, with the next sync, all that was written before it', () => {
    const bench = new Bench()
    const records = Array.from({ length: 40 }, () => bench.append(Buffer.alloc(5000), false))
    bench.turns.run()
    records.push(bench.append(some))
    bench.turns.run()
    for (let seed = 0; seed < 5; seed++) expect(bench.log.durable).toBeGreaterThan(records.at(-1)!.lsn)
    expect(new Bench(bench.disk.crash()).replayed.map(told)).toEqual(records.map(told))
  })

  test('makes durable what a killed process has only written, before it counts on it', () => {
    for (let seed = 0; seed < 50; seed++) {
      const first = new Bench()
      const record = first.append(some, false)
      first.turns.run()
      const turns = new Turns()
      const second = new Bench(first.disk.kill(new Dice(seed), turns.later), { turns })
      turns.run()
      expect(second.log.durable).toBe(second.log.written)
      expect(new Bench(second.disk.crash()).replayed.map(told)).toEqual([told(record)])
    }
  })

  test('asks for what nobody waits for just before it writes', () => {
    const bench = new Bench()
    let lazy = 0
    bench.log.onCommit(() => {
      for (; lazy > 0; lazy--) bench.append(Buffer.from('lazy'), false)
    })
    lazy = 3
    bench.turns.run()
    expect(bench.disk.calls.write).toBe(0)
    bench.append(some)
    bench.turns.run()
    lazy = 2
    bench.log.commitSoon()
    bench.turns.run()
    expect(bench.disk.calls.write).toBe(2)
    expect(new Bench(bench.disk).replayed.map(({ content }) => content.toString())).toEqual([
      'something',
      ...Array.from({ length: 5 }, () => 'lazy'),
    ])
  })

  test('says that it is behind, and when it no longer is', () => {
    const bench = new Bench(undefined, { batchBytes: 10_000 })
    const heard: boolean[] = []
    bench.log.onProgress(() => heard.push(bench.log.behind))
    bench.append(Buffer.alloc(9000))
    expect(bench.log.behind).toBe(false)
    bench.append(Buffer.alloc(9000))
    expect(bench.log.behind).toBe(true)
    bench.turns.run()
    expect(bench.log.behind).toBe(false)
    expect(heard.at(-1)).toBe(false)
  })

  test('begins behind `floor`, and misses nothing between', () => {
    const first = new Bench()
    const record = first.append(some)
    first.turns.run()
    const floor = segmentBytes * 3 + 5
    const second = new Bench(first.disk, { floor, turns: first.turns })
    expect(second.log.next).toBeGreaterThan(floor)
    const more = second.append(some)
    second.turns.run()
    const third = new Bench(first.disk)
    expect(third.replayed.map(told)).toEqual([record, more].map(told))
    expect(third.damage).toEqual([])
  })

  test('commits all when it is closed, and lets go of the files', async () => {
    const bench = new Bench()
    const records = Array.from({ length: 30 }, (_, n) => bench.append(Buffer.alloc(9000), n < 20))
    const closed = bench.log.close()
    expect(bench.log.close()).toBe(closed)
    bench.turns.run()
    await closed
    expect(bench.disk.opened).toBe(0)
    expect(new Bench(bench.disk.crash()).replayed.map(told)).toEqual(records.map(told))
  })

  test('closes without ever having been used', async () => {
    const bench = new Bench()
    await bench.log.close()
    expect(bench.disk.list('log')).toEqual([])
  })
})

describe('a commit log on a full disk', () => {
  test('writes the same again each second until there is room', () => {
    for (let capacity = 0; capacity < 3000; capacity += 97) {
      const bench = new Bench()
      const told_: boolean[] = []
      bench.log.onProgress(() => told_.push(bench.log.full))
      bench.disk.capacity = capacity
      const records = [bench.append(Buffer.alloc(1500, 1)), bench.append(Buffer.alloc(2000, 2))]
      bench.turns.run()
      expect(bench.log.full).toBe(true)
      expect(bench.log.durable).toBe(0)
      records.push(bench.append(some))
      for (let n = 0; n < 5; n++) {
        bench.turns.tick()
        bench.turns.tick()
        bench.turns.run()
      }
      expect(bench.log.full).toBe(true)
      expect(told_).toEqual([true])
      bench.disk.capacity = Infinity
      bench.turns.tick()
      bench.turns.run()
      expect(bench.log.full).toBe(false)
      expect(bench.turns.ticking).toBe(false)
      expect(bench.log.durable).toBeGreaterThan(records.at(-1)!.lsn)
      expect(new Bench(bench.disk.crash()).replayed.map(told)).toEqual(records.map(told))
    }
  })

  test('fills its disk to the brim again and again, and loses nothing', () => {
    const bench = new Bench()
    const dice = new Dice(5)
    const records: TestRecord[] = []
    for (let n = 0; n < 60; n++) {
      bench.disk.capacity = dice.chance(0.5) ? Infinity : 200_000 - bench.disk.freeBytes() + dice.below(9000)
      if (bench.disk.capacity !== Infinity) bench.disk.capacity = bench.log.written - segmentBytes + dice.below(5000)
      records.push(bench.append(filler(dice.below(6000), dice)))
      bench.turns.run()
      bench.turns.tick()
      bench.turns.run()
    }
    bench.disk.capacity = Infinity
    bench.turns.tick()
    bench.turns.run()
    expect(bench.faults).toEqual([])
    expect(new Bench(bench.disk.crash()).replayed.map(told)).toEqual(records.map(told))
  })

  test('says so when it is closed, and lets go of the files', async () => {
    for (const before of [true, false]) {
      const bench = new Bench()
      bench.append(some)
      bench.turns.run()
      bench.disk.capacity = 0
      bench.append(some)
      if (before) bench.turns.run()
      const closed = expect(bench.log.close()).rejects.toMatchObject({ code: 'ENOSPC' })
      bench.turns.run()
      await closed
      expect(bench.turns.ticking).toBe(false)
      expect(bench.disk.opened).toBe(0)
    }
  })
})

describe('a commit log whose disk fails', () => {
  const faults = (['write', 'sync'] as const).flatMap((kind) =>
    Array.from({ length: 8 }, (_, n) => [kind, n + 1] as const),
  )

  test.each(faults)('at %s %i, calls nothing durable any more', async (kind, nth) => {
    const bench = new Bench()
    bench.disk.fail(kind, nth, 'EIO')
    let atFault = 0
    bench.log.onFailure(() => (atFault = bench.log.durable))
    const records: TestRecord[] = []
    for (let n = 0; n < 12; n++) {
      records.push(bench.append(Buffer.alloc(9000, n)))
      bench.turns.run()
    }
    bench.turns.tick()
    bench.turns.run()
    const calls = { ...bench.disk.calls }
    bench.append(some)
    bench.log.commitSoon()
    bench.turns.run()
    expect(bench.disk.calls).toEqual(calls)
    expect(calls[kind]).toBe(nth)
    expect(bench.faults).toMatchObject([{ code: 'EIO' }])
    expect(bench.log.durable).toBe(atFault)
    await expect(bench.log.close()).rejects.toMatchObject({ code: 'EIO' })
    expect(bench.disk.opened).toBe(0)
    const kept = new Set(new Bench(bench.disk.crash()).replayed.map(told))
    for (const record of records) if (record.lsn < atFault) expect(kept).toContain(told(record))
  })
})

describe('the segments of a log', () => {
  test('go when nobody holds a record in them', () => {
    const dice = new Dice(2)
    const bench = new Bench()
    const held: number[] = []
    let dropped = 0
    for (let n = 0; n < 3000; n++) {
      const { lsn } = bench.append(filler(dice.below(2000), dice))
      for (let times = dice.below(3); times > 0; times--) {
        bench.log.hold(lsn)
        held.push(lsn)
      }
      if (dice.chance(0.1)) bench.turns.run()
      while (held.length > 200) {
        const [lsn] = held.splice(dice.chance(0.9) ? 0 : dice.below(held.length), 1)
        bench.log.free(lsn!)
      }
      if (n % 50 > 0) continue
      const before = dice.below(2) * bench.log.durable
      dropped += bench.log.dropBefore(before)
      const segments = bench.log.segments()
      for (const { first, end, held: count } of segments) {
        expect(count).toBe(held.filter((lsn) => lsn >= first && lsn < first + segmentBytes).length)
        if (first !== segments.at(-1)!.first && first !== segments.at(-2)?.first)
          expect(count > 0 || end > before).toBe(true)
      }
      for (const lsn of held) expect(bench.log.readNow(lsn)).toBe(true)
    }
    expect(dropped).toBeGreaterThan(1_000_000)
    const left = bench.log.segments().reduce((sum, { first, end }) => sum + end - first, 0)
    expect(left).toBeLessThan(1_000_000)
    bench.log.dropBefore(Infinity)
    expect(bench.log.segments().at(-1)!.end).toBeGreaterThan(bench.log.written - 1)
  })

  test('stay open while somebody reads them', () => {
    const bench = new Bench(undefined, { cacheBytes: 0 })
    const records = Array.from({ length: 30 }, (_, n) => bench.append(Buffer.alloc(9000, n)))
    bench.turns.run()
    const heard: boolean[] = []
    bench.log.fetch(records[0]!.lsn, (found) => heard.push(found))
    expect(bench.log.dropBefore(bench.log.durable)).toBeGreaterThan(0)
    bench.turns.run()
    expect(heard.length).toBe(1)
    expect(bench.disk.opened).toBe(1)
    expect(bench.log.readNow(records.at(-20)!.lsn)).toBe(false)
  })
})

describe('reading a log', () => {
  test.each([0, 16, 128, 100_000])('gives what was recorded, with %i KiB of memory', (kib) => {
    for (let seed = 0; seed < 4; seed++) readAtWill(seed, kib * 1024)
  })

  test('reads one place once, and ahead', () => {
    const bench = new Bench(undefined, { segmentBytes: 16 * segmentBytes, cacheBytes: 4 * segmentBytes })
    const records = Array.from({ length: 2000 }, (_, n) => bench.append(Buffer.alloc(400, n)))
    bench.turns.run()
    const again = new Bench(bench.disk, { segmentBytes: 16 * segmentBytes, cacheBytes: 4 * segmentBytes })
    let found = 0
    for (const { lsn } of records.slice(0, 200)) again.log.fetch(lsn, (is) => (found += Number(is)))
    expect(found).toBe(0)
    bench.turns.run()
    again.turns.run()
    expect(found).toBe(200)
    for (const record of records.slice(0, 200)) {
      expect(again.log.read(record.lsn)).toBe(true)
      expect(told(again.found(record.lsn))).toBe(told(record))
    }
    expect(again.log.read(records.at(-1)!.lsn)).toBe(false)
  })

  test('finds nothing where no record begins', () => {
    const bench = new Bench(undefined, { cacheBytes: 0 })
    const { lsn } = bench.append(Buffer.alloc(40_000, 9))
    for (let n = 0; n < 20; n++) bench.append(Buffer.alloc(9000))
    bench.turns.run()
    const heard: boolean[] = []
    for (const place of [0, 5, lsn - 1, lsn + 1, lsn + 777, bench.log.next, bench.log.next + 1e9]) {
      expect(bench.log.read(place)).toBe(false)
      expect(bench.log.readNow(place)).toBe(false)
      bench.log.fetch(place, (found) => heard.push(found))
    }
    bench.turns.run()
    expect(heard).toEqual(Array.from({ length: 7 }, () => false))
  })

  test.each(['fetch', 'readNow'] as const)('reports what has been damaged since, once: %s', (how) => {
    const bench = new Bench(undefined, { cacheBytes: 0 })
    const records: TestRecord[] = []
    for (let n = 0; n < 60; n++) {
      records.push(bench.append(Buffer.alloc(3000, n)))
      bench.turns.run()
    }
    const damage: [number, number, string][] = []
    bench.log.onDamage((...what) => damage.push(what))
    // The file is changed under the log, as a disk does it.
    const hit = records[10]!
    bench.disk.damage(bench.disk.list('log').map((name) => `log/${name}`)[0]!, hit.lsn - segmentBytes + 100)
    const found = new Map<TestRecord, boolean>()
    for (const record of [...records, hit, hit]) {
      if (how === 'readNow') found.set(record, bench.log.readNow(record.lsn))
      else bench.log.fetch(record.lsn, (is) => found.set(record, is))
      bench.turns.run()
    }
    expect(records.filter((record) => !found.get(record))).toEqual([hit])
    expect(damage.length).toBe(1)
    const [from, to, file] = damage[0]!
    expect(from <= hit.lsn && hit.lsn < to).toBe(true)
    expect(bench.disk.contentOf(file)!.length).toBe(to - from)
  })
})

function readAtWill(seed: number, cacheBytes: number): void {
  const dice = new Dice(seed)
  const turns = new Turns()
  const disk = new SimDisk(dice.fork(1), turns.later)
  let bench = new Bench(disk, { turns, cacheBytes })
  const records: TestRecord[] = []
  let asked = 0
  let answered = 0
  const check = (record: TestRecord) => expect(told(bench.found(record.lsn))).toBe(told(record))
  const deeds: (() => void)[] = [
    () => {
      for (let n = dice.below(20); n > 0; n--) {
        records.push(
          bench.append(filler(dice.below(dice.pick([50, 50, 3000, 90_000])), dice), dice.chance(0.5), dice.below(256)),
        )
      }
    },
    () => turns.run(1 + dice.below(5)),
    () => {
      const at = dice.below(records.length)
      for (const record of records.slice(at, at + dice.below(10))) {
        asked++
        bench.log.fetch(record.lsn, (found) => {
          answered++
          expect(found).toBe(true)
          expect(bench.log.read(record.lsn)).toBe(true)
          check(record)
        })
      }
    },
    () => {
      const record = dice.pick(records)
      expect(bench.log.readNow(record.lsn)).toBe(true)
      check(record)
    },
    () => {
      const record = dice.pick(records)
      if (bench.log.read(record.lsn)) check(record)
    },
  ]
  deeds[0]!()
  records.push(bench.append(some))
  for (let step = 0; step < 400; step++) {
    dice.pick(deeds)()
    if (step !== 200) continue
    turns.run()
    bench = new Bench(disk, { turns, cacheBytes })
    expect(bench.replayed.map(told)).toEqual(records.map(told))
  }
  turns.run()
  expect(answered).toBe(asked)
}
