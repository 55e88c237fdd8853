import { expect, test } from 'vitest'
import { Chains, hashed, next } from '../../src/routing/chains.ts'
import { Records } from '../../src/routing/records.ts'
import { Dice } from '../sim/dice.ts'

/** A chained record with a key, looked up as its owners do. */
class Keys {
  readonly records = new Records(3)
  readonly chains = new Chains(this.records)

  find(key: number): number {
    const { records } = this
    for (let id = this.chains.first(hashOf(key)); id !== 0; id = records.get(id, next))
      if (records.get(id, hashed) === hashOf(key) && records.get(id, 2) === key) return id
    return 0
  }

  add(key: number): void {
    const id = this.records.allocate()
    this.records.set(id, 2, key)
    this.chains.insert(id, hashOf(key))
  }

  remove(key: number): void {
    const id = this.find(key)
    this.chains.remove(id)
    this.records.free(id)
  }
}

/** Some keys share a hash, and some hashes differ in their upper bits only. */
function hashOf(key: number): number {
  return key % 7 === 0 ? key << 20 : Math.imul(key, 0x9e3779b1)
}

test('a table that grows and shrinks, and turns back on the way, finds what is in it and nothing else', () => {
  const dice = new Dice(1)
  const keys = new Keys()
  const known = new Set<number>()
  for (let turn = 0; turn < 15; turn++) {
    const target = turn === 14 ? 0 : dice.below(turn % 3 === 0 ? 1500 : 9000)
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
    expect(keys.chains.size).toBe(target)
    for (let key = 0; key < 20_000; key++)
      if ((keys.find(key) !== 0) !== known.has(key)) expect.fail(`key ${key} after turn ${turn}`)
  }
  expect(keys.chains.bytes).toBeLessThanOrEqual(2 * 4096)
})
