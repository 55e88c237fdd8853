import { describe, expect, test } from 'vitest'
import { AedesWorld } from './world.ts'

const seeds = Number(process.env.AEDES_SEEDS ?? 40)
const only = process.env.AEDES_SEED

describe('whatever Aedes asks for, and whenever it is cut off', () => {
  for (let seed = Number(only ?? 0); seed < (only === undefined ? seeds : Number(only) + 1); seed++)
    test(`what was answered is there, and nothing that nobody asked for (AEDES_SEED=${seed})`, async () => {
      const world = new AedesWorld(seed)
      await world.open()
      for (let life = 0; life < 4; life++) {
        for (let deeds = world.dice.below(120); deeds > 0; deeds--) {
          world.act()
          await world.goOn(world.dice.below(8))
        }
        await world.fall(world.dice.pick(['kill', 'crash', 'crash', 'close']))
      }
      expect(world.persistence.broker).toEqual({ id: 'broker 4' })
    })
})
