import { expect, test } from 'vitest'
import { HashIndex } from '../../src/routing/hash-index.ts'
import { Dice } from '../sim/dice.ts'

const segmentBytes = 8 * 1024 + 8

/** Keys in an index, looked up as its owners do: the number of a key is the key and one. */
class Keys {
  readonly index = new HashIndex()
  readonly #hashOf: (key: number) => number

  constructor(hashOf: (key: number) => number) {
    this.#hashOf = hashOf
  }

  /** Compares as many as have the key's hash. */
  find(key: number): boolean {
    for (let id = this.index.first(this.#hashOf(key)); id !== 0; id = this.index.next()) if (id === key + 1) return true
    return false
  }

  add(key: number): void {
    this.index.insert(this.#hashOf(key), key + 1)
  }

  remove(key: number): void {
    this.index.remove(this.#hashOf(key), key + 1)
  }
}

const spread = (key: number) => Math.imul(key, 0x9e3779b1)
const hashes: Record<string, (key: number) => number> = {
  'hashes as they should be': spread,
  'some that are the same, some that differ in their highest bits only': (key) =>
    key % 7 === 0 ? key << 20 : key % 5 === 0 ? spread(key >> 3) : spread(key),
  'two thousand that are the same': (key) => (key % 10 === 0 ? -1 : spread(key)),
  'all for the last slots of their segments': (key) => spread(key) | 0x3f00000,
}

test.each(Object.entries(hashes))(
  'a table that grows and shrinks, and turns back on the way, finds what is in it and nothing else: %s',
  (_, hashOf) => {
    const dice = new Dice(1)
    const keys = new Keys(hashOf)
    const known = new Set<number>()
    for (let turn = 0; turn < 9; turn++) {
      const target = turn === 8 ? 0 : dice.below(turn % 3 === 0 ? 1500 : 9000)
      while (known.size !== target) {
        // Now and then against the way that it is going: that is where a table turns.
        const add = known.size < target !== (known.size > 0 && dice.below(4) === 0)
        const [any] = known
        const key = add ? dice.below(20_000) : any!
        if (add === known.has(key)) continue
        if (add) keys.add(key)
        else keys.remove(key)
        if (add) known.add(key)
        else known.delete(key)
      }
      expect(keys.index.size).toBe(target)
      for (let key = 0; key < 20_000; key++)
        if (keys.find(key) !== known.has(key)) expect.fail(`key ${key} after turn ${turn}`)
    }
    expect(keys.index.bytes).toBe(segmentBytes + 8)
  },
)

test('a million entries take 17 bytes each, and go back to one segment', () => {
  const keys = new Keys(spread)
  const count = 1_000_000
  for (let key = 0; key < count; key++) keys.add(key)
  expect(keys.index.bytes / count).toBeLessThan(17)
  for (let key = 0; key < count; key += 997) if (!keys.find(key)) expect.fail(`key ${key}`)
  for (let key = 0; key < count; key++) keys.remove(key)
  expect(keys.index.bytes).toBe(segmentBytes + 8)
})
