import { describe, expect, test } from 'vitest'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { Bench, type TestRecord, told, Turns } from './log-kit.ts'

describe('a commit log', () => {
  test('shows again what was committed, in order', () => {
    const bench = new Bench()
    const records = [1, 100, 0, 20_000, 70_000, 3, 200_000, 5].map((size, n) =>
      bench.append(Buffer.alloc(size, n), n % 2 === 0, n),
    )
    bench.turns.run()
    expect(bench.log.durable).toBeGreaterThan(records.at(-1)!.lsn)
    const again = new Bench(bench.disk)
    expect(again.replayed.map(told)).toEqual(records.map(told))
    expect(again.damage).toEqual([])
  })
  test('keeps what was durable, and nothing that was not recorded', () => {
    for (let seed = 0; seed < 500; seed++) crashOften(seed)
  })
})

function crashOften(seed: number): void {
  const dice = new Dice(seed)
  let turns = new Turns()
  let disk = new SimDisk(dice.fork(1), turns.later)
  let known: TestRecord[] = []
  let floor = 0
  for (let life = 0; life < 4; life++) {
    const bench = new Bench(disk, { turns, from: 0, floor })
    const shown = new Set(bench.replayed.map(told))
    for (const record of known)
      expect(shown, `seed ${seed}: durable record ${record.lsn} in life ${life}`).toContain(told(record))
    known = [...bench.replayed]
    let durable = 0
    const recorded: TestRecord[] = []
    for (let step = dice.below(60); step > 0; step--) {
      const size = dice.weighted([
        [20, 100],
        [3, 5000],
        [1, 70_000],
      ])
      if (dice.chance(0.5))
        recorded.push(bench.append(Buffer.from(dice.bytes(dice.below(size))), dice.chance(0.6), dice.below(256)))
      else turns.run(1 + dice.below(4))
      durable = bench.log.durable
    }
    const all = new Map([...known, ...recorded].map((record) => [record.lsn, told(record)]))
    const promised = [...all.keys()].filter((lsn) => lsn < durable)
    turns = new Turns()
    disk = disk.crash(dice.fork(100 + life), turns.later)
    const after = new Bench(disk, { turns: new Turns(), from: 0 })
    const have = new Map(after.replayed.map((record) => [record.lsn, told(record)]))
    for (const [lsn, tell] of have) expect(all.get(lsn), `seed ${seed} ${lsn}`).toBe(tell)
    for (const lsn of promised) expect(have.has(lsn), `seed ${seed}: ${lsn} of ${durable}`).toBe(true)
    known = after.replayed
  }
}
