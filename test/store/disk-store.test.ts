import { describe, expect, test } from 'vitest'
import { World } from './model.ts'

const seeds = Number(process.env.STORE_SEEDS ?? 150)
const first = Number(process.env.STORE_SEED ?? 0)

const tiny = { segmentBytes: 8192, checkpointBytes: 4096, cacheBytes: 16_384, collectBytesPerSecond: 1e6 }

describe('whatever a broker does, and whenever it is cut off', () => {
  for (let seed = first; seed < first + (process.env.STORE_SEED === undefined ? seeds : 1); seed++)
    test(`what was durable is there, and nothing else (STORE_SEED=${seed})`, () => {
      const world = new World(seed, {
        ...tiny,
        segmentBytes: 2048 << (seed % 3),
        checkpointBytes: 1 << (10 + (seed % 8)),
      })
      for (let life = 0; life < 4; life++) {
        for (let deeds = world.dice.below(300); deeds > 0; deeds--) world.act()
        world.fall(world.dice.pick(['kill', 'crash']))
      }
    })
})

describe('closed in order', () => {
  for (let seed = first; seed < first + 20; seed++)
    test(`everything is there, and what was settled stays away (STORE_SEED=${seed})`, async () => {
      const world = new World(seed, tiny)
      for (let life = 0; life < 3; life++) {
        for (let deeds = 0; deeds < 60; deeds++) world.act()
        const died = await world.close()
        world.open()
        world.check(died, true)
      }
      expect(world.store.figures.quarantined).toBe(0)
    })
})
