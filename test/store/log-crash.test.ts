import { describe, expect, test } from 'vitest'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { Bench, filler, type TestRecord, told, Turns } from './log-kit.ts'

// A log lives, is killed or loses its power at any moment, and lives on: what it called durable is there, what it called
// written outlives a kill, nothing is there that was never recorded, and nothing between two records is missed in silence.

describe('a commit log that dies', () => {
  test.each(Array.from({ length: 8 }, (_, n) => n))('keeps its word, hundred seeds from %i00', (hundred) => {
    for (let seed = hundred * 100; seed < (hundred + 1) * 100; seed++) new Story(seed).live()
  })
})

class Story {
  readonly #seed: number
  readonly #dice: Dice
  /** All that was ever recorded, by its address. What was recorded again at an address that had been lost replaces it. */
  readonly #recorded = new Map<number, TestRecord>()
  #turns = new Turns()
  #disk: SimDisk
  #durable = 0
  #written = 0
  #died: 'of a kill' | 'of a power cut' = 'of a kill'
  #from = 0
  #floor = 0

  constructor(seed: number) {
    this.#seed = seed
    this.#dice = new Dice(seed)
    this.#disk = new SimDisk(this.#dice.fork(1), this.#turns.later)
  }

  live(): void {
    for (let life = 0; life < 5; life++) {
      const bench = new Bench(this.#disk, { turns: this.#turns, from: this.#from, floor: this.#floor })
      this.#judge(bench, life)
      this.#work(bench)
      this.#die(bench, life)
    }
  }

  #work(bench: Bench): void {
    const dice = this.#dice
    const sizes = [
      [30, 100],
      [5, 5000],
      [1, 70_000],
    ] as const
    for (let step = dice.below(60); step > 0; step--) {
      if (dice.chance(0.5)) this.#turns.run(1 + dice.below(4))
      else {
        const next = bench.log.next
        const record = bench.append(filler(dice.below(dice.weighted(sizes)), dice), dice.chance(0.5), dice.below(256))
        expect(record.lsn, this.#name()).toBe(next)
        this.#recorded.set(record.lsn, record)
      }
      // An index that was written here counts on all that is durable.
      if (dice.chance(0.05)) this.#from = this.#floor = Math.max(this.#from, bench.log.durable)
    }
  }

  #die({ log, disk }: Bench, life: number): void {
    this.#durable = log.durable
    this.#written = log.written
    expect(this.#durable, this.#name()).toBeLessThanOrEqual(this.#written)
    this.#turns = new Turns()
    const dice = this.#dice.fork(100 + life)
    this.#died = dice.pick(['of a kill', 'of a power cut'])
    this.#disk = this.#died === 'of a kill' ? disk.kill(dice, this.#turns.later) : disk.crash(dice, this.#turns.later)
  }

  #judge({ replayed, damage, log }: Bench, life: number): void {
    const name = `${this.#name()} died ${this.#died}, life ${life}`
    const kept = this.#died === 'of a kill' ? this.#written : this.#durable
    const shown = new Map(replayed.map((record) => [record.lsn, record]))
    expect([...shown.keys()], name).toEqual(replayed.map(({ lsn }) => lsn).sort((a, b) => a - b))
    for (const record of replayed) {
      const recorded = this.#recorded.get(record.lsn)
      expect(recorded && told(recorded), name).toBe(told(record))
    }
    const last = replayed.at(-1)?.lsn ?? 0
    for (const lsn of this.#recorded.keys()) {
      if (lsn < this.#from || shown.has(lsn)) continue
      expect(lsn, `${name}: it was promised`).toBeGreaterThanOrEqual(kept)
      const known = damage.some(({ from, to }) => from <= lsn && lsn < to)
      expect(known || lsn > last, `${name}: ${lsn} is missed in silence`).toBe(true)
      this.#recorded.delete(lsn)
    }
    expect(log.next, name).toBeGreaterThan(Math.max(last, this.#floor))
  }

  #name(): string {
    return `seed ${this.#seed}`
  }
}
