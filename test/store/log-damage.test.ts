import { describe, expect, test } from 'vitest'
import { LogFormatError } from '../../src/store/frames.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { Bench, type Damage, filler, segmentBytes, type TestRecord, told, Turns } from './log-kit.ts'

// Each byte of a log is cut off or changed: nothing is shown that was not recorded, nothing but the end is missed in silence.

const name = (slot: number) => `log/${(slot * segmentBytes).toString(16).padStart(16, '0')}.seg`

/** A log of `segments` segments, the last one not quite full, and what is in it. */
function written(segments: number): { records: TestRecord[]; files: Map<string, Buffer>; end: number } {
  const dice = new Dice(7)
  const bench = new Bench()
  const records: TestRecord[] = []
  while (bench.log.next < (segments + 1) * segmentBytes - 8000) {
    records.push(bench.append(filler(dice.below(1500), dice)))
    if (dice.chance(0.5)) bench.turns.run()
  }
  bench.turns.run()
  const names = bench.disk.list('log').map((own) => `log/${own}`)
  expect(names.length).toBe(segments)
  return { records, files: new Map(names.map((own) => [own, bench.disk.contentOf(own)!])), end: bench.log.durable }
}

/** Opens these files. */
function opened(files: ReadonlyMap<string, Buffer>): Bench {
  const turns = new Turns()
  const disk = new SimDisk(new Dice(1), turns.later)
  for (const [own, bytes] of files) disk.put(own, bytes)
  return new Bench(disk, { turns, cacheBytes: 0 })
}

/** What is shown was recorded; what is not shown is reported, or cut off at the end. */
function judge({ replayed, damage, log }: Bench, records: readonly TestRecord[], context: string): void {
  const shown = new Map(replayed.map((record) => [record.lsn, record]))
  for (const { lsn } of replayed) if (lsn >= log.written) throw new Error(`${context}: ${lsn} is shown behind the end`)
  for (const record of records) {
    const found = shown.get(record.lsn)
    shown.delete(record.lsn)
    const missed = record.lsn >= log.written || damage.some(({ from, to }) => from <= record.lsn && record.lsn < to)
    if (found ? missed || !found.content.equals(record.content) : !missed)
      throw new Error(`${context}: ${record.lsn} is wrong`)
  }
  if (shown.size > 0) throw new Error(`${context}: shows what was never recorded`)
}

const whole = written(1)
const own = name(1)
const bytes = whole.files.get(own)!

describe('a log of one file', () => {
  test('cut off at each byte, keeps the records of whole frames', () => {
    const ends = frameEnds(bytes)
    for (let size = 0; size < bytes.length; size++) {
      const bench = opened(new Map([[own, bytes.subarray(0, size)]]))
      judge(bench, whole.records, `cut at ${size}`)
      if (bench.damage.length > 0) throw new Error(`cut at ${size}: a torn end is no damage`)
      const end = ends.findLast((at) => at <= size) ?? 0
      if (bench.log.written !== (end && segmentBytes + end)) throw new Error(`cut at ${size}: ends elsewhere`)
    }
  }, 60_000)

  test('with a bit flipped in each of its bytes, never shows what was not recorded', { timeout: 120_000 }, () => {
    for (let at = 0; at < bytes.length; at++) flip(at, 1 << (at % 8))
  })

  test('with a bit flipped in each byte of a head, never shows what was not recorded', () => {
    for (const end of frameEnds(bytes).slice(0, -1))
      for (let at = end - 40; at < end + 50; at++) flip(Math.max(0, at), 4)
  })

  function flip(at: number, bits: number): void {
    const changed = Buffer.from(bytes)
    changed[at]! ^= bits
    const bench = opened(new Map([[own, changed]]))
    judge(bench, whole.records, `${at} flipped`)
    const torn = frameEnds(bytes).at(-2)!
    const reported = bench.damage.some(({ from, to }) => from <= segmentBytes + at && segmentBytes + at < to)
    if (reported !== at < torn) throw new Error(`${at} flipped: ${reported ? '' : 'not '}reported`)
  }

  test('behind zeros or old bytes, goes on where it ended', () => {
    for (const rest of [Buffer.alloc(5000), bytes.subarray(1000, 9000), Buffer.alloc(3, 0xff)]) {
      const bench = opened(new Map([[own, Buffer.concat([bytes, rest])]]))
      expect(bench.replayed.map(told)).toEqual(whole.records.map(told))
      expect(bench.damage).toEqual([])
      expect(bench.log.written).toBe(whole.end)
      const more = bench.append(Buffer.from('more'))
      bench.turns.run()
      expect(new Bench(bench.disk).replayed.map(told)).toEqual([...whole.records, more].map(told))
    }
  })

  test('saves what was damaged, and says how many records it was', () => {
    const [, second, third] = frameEnds(bytes)
    const changed = Buffer.from(bytes)
    changed[third! - 1]! ^= 1
    const bench = opened(new Map([[own, changed]]))
    const lost = whole.records.filter(({ lsn }) => lsn >= segmentBytes + second! && lsn < segmentBytes + third!)
    const [from, to] = [segmentBytes + second!, segmentBytes + third!]
    const file = `quarantine/${from.toString(16).padStart(16, '0')}-${to.toString(16).padStart(16, '0')}.bin`
    expect(bench.damage).toEqual<Damage[]>([{ from, to, file, records: lost.length }])
    bench.turns.run()
    expect(bench.disk.contentOf(file)).toEqual(changed.subarray(second, third))
    expect(bench.disk.opened).toBe(1)
  })

  test('of another store, of another version or with segments of another size, is refused and left alone', () => {
    const turns = new Turns()
    const disk = new SimDisk(new Dice(1), turns.later)
    disk.put(own, bytes)
    expect(() => new Bench(disk, { storeId: 1 })).toThrow(LogFormatError)
    expect(() => new Bench(disk, { segmentBytes: segmentBytes / 2 })).toThrow(LogFormatError)
    expect(() => new Bench(disk, { segmentBytes: segmentBytes * 2 })).toThrow(LogFormatError)
    expect(disk.contentOf(own)).toEqual(bytes)
    expect(disk.opened).toBe(0)
  })
})

describe('a log of many files', () => {
  const many = written(4)

  test.each<[what: string, change: (files: Map<string, Buffer>) => void, from: number, to: number]>([
    ['is missing', (files) => files.delete(name(2)), 2, 3],
    ['is empty', (files) => files.set(name(2), Buffer.alloc(0)), 2, 3],
    ['is garbage', (files) => files.set(name(2), Buffer.alloc(segmentBytes, 0xf5)), 2, 3],
    ['is cut short', (files) => files.set(name(2), files.get(name(2))!.subarray(0, 30_000)), 2, 3],
    ['has lost its head', (files) => files.get(name(2))!.fill(0, 0, 40), 2, 3],
    ['and another are missing', (files) => files.delete(name(2)) && files.delete(name(3)), 2, 4],
    ['is that of another', (files) => files.set(name(2), files.get(name(3))!), 2, 3],
  ])('reports when one %s', (_what, change, from, to) => {
    const files = new Map([...many.files].map(([own, bytes]) => [own, Buffer.from(bytes)]))
    change(files)
    const bench = opened(files)
    judge(bench, many.records, 'changed')
    expect(bench.damage.length).toBe(1)
    // A segment is full a little before its slot ends.
    const [damage] = bench.damage
    expect(damage!.from).toBeGreaterThanOrEqual(from * segmentBytes - segmentBytes / 16)
    expect(damage!.to).toBeLessThan(to * segmentBytes + 2000)
    expect(bench.log.written).toBe(many.end)
  })

  test('with a bit flipped anywhere, misses nothing in silence but the last frame', () => {
    const dice = new Dice(3)
    for (let n = 0; n < 400; n++) {
      const own = dice.pick([...many.files.keys()])
      const changed = Buffer.from(many.files.get(own)!)
      const at = dice.below(changed.length)
      changed[at]! ^= 1 << dice.below(8)
      judge(opened(new Map(many.files).set(own, changed)), many.records, `${own} ${at} flipped`)
    }
  })

  test('whose last file never got a frame, ends in the one before', () => {
    const bench = opened(new Map(many.files).set(name(5), Buffer.alloc(100)))
    expect(bench.log.written).toBe(many.end)
    expect(bench.damage).toEqual([])
    expect(bench.disk.list('log').length).toBe(4)
  })

  test('shows what stands from a place on', () => {
    const turns = new Turns()
    const disk = new SimDisk(new Dice(1), turns.later)
    for (const [own, bytes] of many.files) disk.put(own, bytes)
    for (const { lsn: from } of many.records.filter((_, n) => n % 20 === 0)) {
      const bench = new Bench(disk, { from, floor: from })
      expect(bench.replayed.map(told)).toEqual(many.records.filter(({ lsn }) => lsn >= from).map(told))
      expect(bench.damage).toEqual([])
      void bench.log.close()
    }
  })

  test('whose end somebody has relied on, reports it when it is gone', () => {
    const files = new Map(many.files)
    const last = [...files.keys()].at(-1)!
    files.set(last, files.get(last)!.subarray(0, 20_000))
    const turns = new Turns()
    const disk = new SimDisk(new Dice(1), turns.later)
    for (const [own, bytes] of files) disk.put(own, bytes)
    const bench = new Bench(disk, { turns, from: many.end, floor: many.end })
    expect(bench.damage.map(({ to }) => to)).toEqual([many.end])
    expect(bench.log.next).toBeGreaterThan(many.end)
    const more = bench.append(Buffer.from('more'))
    turns.run()
    const again = new Bench(disk, { from: many.end, floor: many.end })
    expect(again.replayed.map(told)).toEqual([told(more)])
    expect(again.damage).toEqual([])
  })
})

/** Where the head and each frame end in a file. */
function frameEnds(file: Buffer): number[] {
  const ends = [40]
  while (ends.at(-1)! < file.length) ends.push(ends.at(-1)! + file.readUInt32LE(ends.at(-1)! + 8))
  return ends
}
